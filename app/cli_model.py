"""``grounds model`` and ``grounds bundle submit``: the registry from the command line, over the API.

Changes go through a running service with a person's key, as anybody's do: there is no way around it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.table import Table

from app.bundle_store import store_of
from app.client import HERE, ServiceRefusedError, needed_auth_header
from app.settings import Settings
from app.terminal import out, say

model_app = typer.Typer(
    help="Versions of models, their stages and policies. Needs a running service, and a key in "
    "GROUNDS_KEY.",
    no_args_is_help=True,
)

Url = Annotated[str, typer.Option(help="The service.")]
Reason = Annotated[str, typer.Option(help="Why: it is recorded in the log.")]
Model = Annotated[str, typer.Argument(help="The model's name.")]
Bundle = Annotated[str, typer.Option(help="The bundle's digest, or as much of it as is unique.")]
PolicyDigest = Annotated[
    str, typer.Option(help="The policy's digest, or as much of it as is unique.")
]
SECONDS = 120.0
SHOWN = 12
"""Characters of a digest that the list shows; enough to name it by."""


def submit(
    path: Annotated[Path, typer.Argument(help="The bundle's directory.")],
    policy: Annotated[Path, typer.Option(help="policy.yaml, as it would be used.")],
    reason: Reason,
    url: Url = HERE,
) -> None:
    """Put a bundle and its policy into the store by digest, and register them as submitted."""
    store = store_of(Settings())
    files, rules = store.submit_bundle(path), store.submit_policy(policy)
    say(f"bundle {files.digest}\npolicy {rules.digest}")
    body = {"bundle": files.digest, "policy": rules.digest, "reason": reason}
    _show(_post(url, f"/v1/models/{files.card.name}/versions", body))


@model_app.command("versions")
def versions(model: Model, url: Url = HERE) -> None:
    """List a model's versions and their stages."""
    _show(_get(url, f"/v1/models/{model}/versions"))


@model_app.command("history")
def history(model: Model, url: Url = HERE) -> None:
    """List every change of a model's versions: who, when and why."""
    for change in _get(url, f"/v1/models/{model}/stages")["changes"]:
        what = change["stage"] + (f" {change['percent']} %" if change["percent"] else "")
        what = f"rollback to {what}" if change["rollback"] else what
        say(
            f"{change['at']}  {change['type']}: {_short(change['bundle'])} with "
            f"{_short(change['policy'])} {what}, by {change['by']}: {change['reason']}"
        )


@model_app.command("stage")
def stage(
    model: Model,
    stage: Annotated[str, typer.Argument(help="accepted, shadow, live or retired.")],
    bundle: Bundle,
    policy: PolicyDigest,
    reason: Reason,
    url: Url = HERE,
    percent: Annotated[
        int | None, typer.Option(help="With live: a canary with this share of the cases.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="With accepted: what `grounds bundle accept` wrote.")
    ] = None,
) -> None:
    """Move a version to another stage."""
    body: dict[str, object] = {
        **_version(url, model, bundle, policy), "stage": stage, "reason": reason, "percent": percent
    }  # fmt: skip
    if report is not None:
        try:
            body["report"] = json.loads(report.read_bytes())
        except (OSError, ValueError) as error:
            raise typer.BadParameter(str(error), param_hint="--report") from error
    _show(_post(url, f"/v1/models/{model}/stages", body))


@model_app.command("policy")
def policy(
    model: Model,
    path: Annotated[Path, typer.Argument(help="The new policy.yaml.")],
    reason: Reason,
    url: Url = HERE,
) -> None:
    """Put a policy into the store and around the active version's bundle."""
    rules = store_of(Settings()).submit_policy(path)
    say(f"policy {rules.digest}")
    _show(_post(url, f"/v1/models/{model}/policy", {"policy": rules.digest, "reason": reason}))


@model_app.command("rollback")
def rollback(
    model: Model,
    reason: Reason,
    url: Url = HERE,
    bundle: Annotated[
        str | None,
        typer.Option(help="With --policy: the version to leave. Needed for a second step back."),
    ] = None,
    policy: Annotated[str | None, typer.Option(help="See --bundle.")] = None,
) -> None:
    """Undo the latest step towards live: end the canary, or return to the version before."""
    if (bundle is None) != (policy is None):
        raise typer.BadParameter("--bundle and --policy are given together")
    leaving = {} if bundle is None or policy is None else _version(url, model, bundle, policy)
    _show(_post(url, f"/v1/models/{model}/rollback", {"reason": reason, **leaving}))


@model_app.command("compare")
def compare(model: Model, bundle: Bundle, policy: PolicyDigest, url: Url = HERE) -> None:
    """Say what a shadow version would have said beside what was said."""
    version = _version(url, model, bundle, policy)
    found = _get(url, f"/v1/models/{model}/comparison", version)
    say(
        f"{found['cases']:,} cases in shadow: {found['compared']:,} compared, {found['failed']:,} "
        f"failed, {found['left_out']:,} left out"
    )
    agreement = found["agreement"]
    if agreement is None:
        say("too few to say more")
        return
    say(
        f"same outcome: {agreement['value']:.1%} (95 % interval {agreement['low']:.1%} to "
        f"{agreement['high']:.1%}); more adverse: {found['more_adverse']:,}"
    )
    table = Table("Given", "Shadow", "Cases")
    for pair in found["outcomes"]:
        table.add_row(pair["given"], pair["shadow"], f"{pair['cases']:,}")
    out.print(table)


def _version(url: str, model: str, bundle: str, policy: str) -> dict[str, str]:
    """Return the one registered version whose digests begin so."""
    found = [
        each
        for each in _get(url, f"/v1/models/{model}/versions")["versions"]
        if _begins(each["bundle"], bundle) and _begins(each["policy"], policy)
    ]
    if len(found) != 1:
        raise ServiceRefusedError(
            f"{len(found)} versions of {model} begin so; want exactly one of "
            "`grounds model versions`"
        )
    return {"bundle": found[0]["bundle"], "policy": found[0]["policy"]}


def _begins(digest: str, given: str) -> bool:
    return digest.startswith("sha256:" + given.removeprefix("sha256:"))


def _get(url: str, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
    return _ask(url, "GET", path, params=params)


def _post(url: str, path: str, body: Mapping[str, object]) -> dict[str, Any]:
    return _ask(url, "POST", path, body=body)


def _ask(
    url: str,
    method: str,
    path: str,
    *,
    params: Mapping[str, str] | None = None,
    body: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    address = url + path
    headers = needed_auth_header(url, role="model_owner, auditor or admin")
    try:
        response = httpx.request(
            method,
            address,
            params=params,
            json=body,
            headers=headers,
            timeout=SECONDS,
        )
        answer: dict[str, Any] = response.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as err:
        raise ServiceRefusedError(f"{address}: {str(err) or type(err).__name__}") from err
    if response.is_error:
        raise ServiceRefusedError(f"{answer.get('title')}: {_said(answer)}")
    return answer


def _said(problem: Mapping[str, Any]) -> str:
    """Return what is wrong, with each member of the request that is at fault."""
    faults = [f"{each['field']}: {each['message']}" for each in problem.get("errors") or ()]
    # Obligations are in the detail already.
    shown = faults if problem.get("type") == "/problems/invalid-request" else []
    return "; ".join(shown) or str(problem.get("detail"))


def _show(shown: Mapping[str, Any]) -> None:
    table = Table("Version", "Bundle", "Policy", "", "Stage", "Share", "Open", "May go to")
    for each in shown["versions"]:
        share = (
            "all others" if each["active"] else f"{each['percent']} %" if each["percent"] else ""
        )
        table.add_row(
            each["version"],
            _short(each["bundle"]),
            each["policy_version"],
            _short(each["policy"]),
            each["stage"],
            share,
            "yes" if each["open_here"] else "no",
            ", ".join(each["may_go_to"]),
        )
    out.print(table)


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:SHOWN]
