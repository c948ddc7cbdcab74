"""What the browser tests look at: the production service on a port of its own, with cases in it."""

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copytree
from typing import Any

import httpx
import yaml

from app.demo.asking import request_body
from app.domain import Role
from app.ids import utc_now
from app.keys import KeyStore
from app.replay_run import Run, run_replay
from app.settings import Settings
from models.demo.cases import DEMO_CASES
from tests.app.versions import Owner
from tests.browser import wide
from tests.service import ServiceProcess
from tests.started import DEMONSTRATION, make_key, make_keys

NOBODY = "019a9f3e-5c1d-7a52-9c0a-6f2e1b7d4c11"
"""An identifier that no decision has."""
SUBJECT = "QQ-12-34-56-C"
"""What the cases' persons are called by the caller: no address may hold it."""
GONE = "QQ-65-43-21-C"
"""Somebody whose cases are erased."""
LONG_NAME = "caseworker-of-the-northmoor-and-district-joint-benefits-team-001"
"""As long as a person's name may be."""
REASON = {"code": "facts_support", "text": "The home is adapted."}
WAIT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class World:
    """A running service and what is in it."""

    address: str
    keys: Mapping[Role, str]
    places: Mapping[str, str]
    """What may stand in a page's path, by name."""

    def fill(self, path: str) -> str:
        """Return a page's path with the places in it filled in, as in ``tests/browser/pages.py``."""
        return path.format(**self.places)


@contextmanager
def running_world(models: Path, directory: Path) -> Iterator[World]:
    """Run the demonstration's service, and let everything happen in it that a page can show."""
    copytree(models, directory / "served")
    wide.write(directory / "served" / wide.NAME)
    settings = Settings(
        models_dir=directory / "served", data_dir=directory / "data", demo_sign_in=True
    )
    keys = make_keys(settings)
    with closing(KeyStore(settings.data_dir / "access.sqlite3")) as store:
        long_name = make_key(store, Role.CASEWORKER, actor=LONG_NAME)
    with ServiceProcess(settings) as service:
        address = service.address
        decisions = {name: ask(address, keys, name) for name in DEMO_CASES}
        contested(address, keys, decisions["large-household-adapted-home"])
        withheld, shown = (_ask(address, keys, wide.NAME, {"case": wide.CASE}) for _ in range(2))
        view = {"outcome": "full-bill", "reason": REASON}
        _sent(address, long_name, f"decisions/{shown}/take", {})
        _sent(
            address, long_name, f"decisions/{shown}/own-assessment", {**view, "confidence": "high"}
        )
        _sent(address, long_name, f"decisions/{shown}/caseworker-decision", view)
        erased = ask(address, keys, "close-call", subject=GONE)
        _sent(
            address, keys[Role.ADMIN], "subjects/erasure", {"subject": GONE, "basis": "Article 17"}
        )
        _on_trial(settings, address, keys)
        stop = _sent(
            address,
            keys[Role.MODEL_OWNER],
            "stop",
            {"model": wide.NAME, "reason": "The hours of care are counted twice."},
        )
        places = {
            "decision": next(iter(decisions.values())),
            **{name.replace("-", "_"): value for name, value in decisions.items()},
            "nobody": NOBODY,
            "model": DEMONSTRATION,
            "wide": wide.NAME,
            "withheld": withheld,
            "forty_facts": shown,
            "erased": erased,
            "stop": str(stop["stops"][-1]["number"]),
            **_audited(address, keys[Role.AUDITOR], settings, directory),
        }
        yield World(address, keys, places)


def ask(address: str, keys: Mapping[Role, str], name: str, *, subject: str = SUBJECT) -> str:
    """Ask about a demonstration case; return the decision's identifier."""
    body = {**request_body(DEMO_CASES[name]), "subject": subject}
    return _ask(address, keys, DEMONSTRATION, body)


def _on_trial(settings: Settings, address: str, keys: Mapping[Role, str]) -> None:
    """Make the wide model's bundle under another policy a canary, and let it advise on one case."""
    directory = settings.models_dir / wide.NAME
    with httpx.Client(base_url=address, timeout=60) as client:
        owner = Owner(settings, client, wide.NAME)
        policy = owner.submit_policy(directory, {**wide.POLICY, "version": "trial"})
        canary = replace(owner.submit(directory), policy=policy)
        owner.bring(canary, "accepted", "shadow")
        assert owner.move(canary, "live", percent=99).is_success
    _ask(address, keys, wide.NAME, {"case": {**wide.CASE, wide.NAMES[0]: 12.0}})


def contested(address: str, keys: Mapping[Role, str], decision: str) -> None:
    """Decide a case and contest the decision."""
    for step, body in (
        ("take", {}),
        ("caseworker-decision", {"outcome": "priority", "reason": REASON}),
        ("contest", {"text": "Somebody else needs it more."}),
    ):
        _sent(address, keys[Role.CASEWORKER], f"decisions/{decision}/{step}", body)


def _audited(address: str, key: str, settings: Settings, directory: Path) -> dict[str, str]:
    """Verify the log, replay it, and try another policy; return what the runs are called."""
    begun = _sent(address, key, "log/verifications", {})
    deadline = time.monotonic() + WAIT_SECONDS
    while begun["status"] == "running" and time.monotonic() < deadline:
        time.sleep(0.05)
        begun = httpx.get(
            f"{address}/v1/log/verifications/{begun['id']}", headers=_header(key), timeout=60
        ).json()
    policy = yaml.safe_load((settings.models_dir / DEMONSTRATION / "policy.yaml").read_text())
    policy["bands"][-1]["at_least"] += 0.1
    other = directory / "stricter.yaml"
    other.write_text(yaml.safe_dump({**policy, "version": "stricter"}))
    replay, impact = (
        _sent(address, key, "replays", run_replay(run, clock=utc_now).body())
        for run in (Run(settings), Run(settings, with_policy=other))
    )
    return {"verification": begun["id"], "replay": replay["id"], "impact": impact["id"]}


def _ask(address: str, keys: Mapping[Role, str], model: str, body: dict[str, object]) -> str:
    return str(_sent(address, keys[Role.CALLER], f"models/{model}/decisions", body)["id"])


def _sent(address: str, key: str, path: str, body: object) -> dict[str, Any]:
    answer = httpx.post(f"{address}/v1/{path}", json=body, headers=_header(key), timeout=60)
    assert answer.is_success, answer.text
    told: dict[str, Any] = answer.json()
    return told


def _header(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
