"""``grounds replay``: recompute recorded decisions, or try their cases with something else."""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import orjson
import typer
from rich.table import Table

from app.ids import new_id, utc_now
from app.impact import ImpactReport
from app.selection import Selection, moment
from app.terminal import DataDir, ModelsDir, complain, out, progress, say, settings_in
from audit.replay import MAX_ULPS

if TYPE_CHECKING:
    from app.replay_report import RunReport

OTHERWISE = 1
INTERRUPTED = 130
SHOWN = 20
"""Exceptions named on the terminal; the report names more."""


LAST = 2**62
"""No log has as many entries, and a database can still compare with it."""


def replay(
    decision: Annotated[str | None, typer.Argument(help="One decision; without it, all.")] = None,
    data_dir: DataDir = None,
    models_dir: ModelsDir = None,
    bundles: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Where to look for bundles and policies besides; may be repeated.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the latest so many decisions.")
    ] = None,
    from_index: Annotated[int, typer.Option(min=0, max=LAST, help="The first entry.")] = 0,
    to_index: Annotated[int | None, typer.Option(min=0, max=LAST, help="The last entry.")] = None,
    since: Annotated[
        str | None, typer.Option(help="A day (UTC) or a moment: decisions from then on.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="A day (UTC) or a moment: decisions before it.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only this model's.")] = None,
    version: Annotated[str | None, typer.Option(help="Only this version's.")] = None,
    digest: Annotated[str | None, typer.Option(help="Only this bundle's: sha256:...")] = None,
    with_bundle: Annotated[
        Path | None, typer.Option(help="Try the cases with this bundle instead.")
    ] = None,
    with_policy: Annotated[
        Path | None, typer.Option(help="Try the cases under this policy instead.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; default: one for each core.")
    ] = None,
    max_ulps: Annotated[
        int, typer.Option(min=0, help="How far apart numbers may be to count as within ULPs.")
    ] = MAX_ULPS,
    report_file: Annotated[
        Path | None, typer.Option("--out", help="Write the report to this file, as JSON.")
    ] = None,
    results_file: Annotated[
        Path | None,
        typer.Option("--results", help="Write index, leaf hash and verdict of each decision."),
    ] = None,
    service: Annotated[
        str | None,
        typer.Option(
            help="Record through the running service at this address, with the key in GROUNDS_KEY."
        ),
    ] = None,
    *,
    json_output: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    record: Annotated[
        bool,
        typer.Option(
            help="Put the run on record. Without --service the service must be stopped, unless its "
            "log is in PostgreSQL."
        ),
    ] = True,
) -> None:
    """Recompute recorded decisions and compare the bits, or try their cases with something else."""
    _check_before(digest, report_file, results_file)
    from app.replay import verdict_body  # runs models, which takes longer to load
    from app.replay_recorder import Service, record_here, replay_one, writable
    from app.replay_run import Run, RunInterruptedError, run_replay

    run = Run(
        settings_in(data_dir, models_dir),
        Selection(
            start=from_index,
            stop=None if to_index is None else to_index + 1,
            since=None if since is None else moment(since, option="--since"),
            until=None if until is None else moment(until, option="--until"),
            model=model,
            version=version,
            digest=digest,
        ),
        directories=tuple(bundles or ()),
        max_ulps=max_ulps,
        with_bundle=with_bundle,
        with_policy=with_policy,
    )
    with ExitStack() as opened:
        asked = None if service is None else opened.enter_context(closing(Service(service)))
        log = None
        if record and asked is None:
            # Before anything is recomputed: a long run that cannot be recorded is a waste.
            log = opened.enter_context(writable(run, clock=utc_now))
        if decision is not None and not run.is_counterfactual:
            told = (
                asked.replay(decision)
                if record and asked is not None
                else verdict_body(
                    replay_one(run, decision, log=log, clock=utc_now, new_id=new_id),
                    max_ulps=max_ulps,
                )
            )
            _tell_one(decision, told, json_output=json_output)
        try:
            with _lines_to(results_file) as on_lines, progress("Replaying") as advance:
                report = run_replay(
                    run,
                    clock=utc_now,
                    decision=decision,
                    limit=limit,
                    workers=workers,
                    advance=advance,
                    on_lines=on_lines,
                )
        except RunInterruptedError as error:
            complain(f"grounds: {error}")
            raise typer.Exit(INTERRUPTED) from error
        if report_file is not None:
            report_file.write_bytes(report.encode())
        entry = None
        if asked is not None and record:
            entry = asked.record(report)
        elif log is not None:
            entry = record_here(log, report, clock=utc_now, new_id=new_id)
    if json_output:
        sys.stdout.write(report.encode().decode() + "\n")
    else:
        _tell(report, entry)
    if report.kind == "replay" and not report.all_as_it_should_be:
        raise typer.Exit(OTHERWISE)


def _tell_one(decision: str, told: Mapping[str, Any], *, json_output: bool) -> None:
    """Print the verdict on one decision and end."""
    if json_output:
        out.print_json(orjson.dumps({"decision": decision, **told}).decode())
    else:
        parts = [str(told["verdict"]).replace("_", " ")]
        if told["reason"]:
            parts.append(str(told["reason"]))
        say(f"{decision}: {': '.join(parts)}")
        for each in told["differences"]:
            say(f"  {_difference(each)}")
        for each in told["environment_changed"]:
            say(f"  {each['name']} was {each['recorded']}, is {each['current']}")
    raise typer.Exit(0 if told["verdict"] in {"identical", "within_ulps"} else OTHERWISE)


def _tell(report: "RunReport", entry: str | None) -> None:
    body = report.body()
    sums = report.sums
    for each in sums.exceptions[:SHOWN] if report.kind == "replay" else ():
        told = "; ".join(_difference(one) for one in each.told_differences)
        say(f"{each.decision}: {each.verdict.replace('_', ' ')}: {each.reason or told}")
    if report.kind == "replay" and sums.decisions - sums.verdicts["identical"] > SHOWN:
        say(f"... and {sums.decisions - sums.verdicts['identical'] - SHOWN:,} more")
    for (name, recorded, current), count in sorted(sums.environment.items(), key=str):
        say(f"{name} was {recorded}, is {current}: {count:,} of those that differ")
    impact = report.impact
    if impact is not None:
        tell_impact(impact)
    told = ", ".join(
        f"{count:,} {name.replace('_', ' ')}" for name, count in sums.verdicts.most_common()
    )
    if report.kind == "counterfactual":
        told = ", ".join(
            f"{sums.verdicts[name]:,} {name.replace('_', ' ')}"
            for name in ("erased", "model_missing", "failed", "damaged")
            if sums.verdicts[name]
        )
        told = f"; not tried: {told}" if told else ""
        say(f"{sums.decisions:,} decisions{told}")
    else:
        say(f"{sums.decisions:,} decisions replayed: {told or 'none found'}")
    say(f"results sha256 {body['results_sha256']}")
    if entry is not None:
        say(f"on record as {entry}")


def tell_impact(impact: ImpactReport) -> None:
    """Print what would change."""
    table = Table("Recorded", "Instead", "Decisions", "Share of all", "For example")
    for each in impact.transitions:
        table.add_row(
            each.recorded,
            each.instead,
            f"{each.count:,}",
            f"{each.count / impact.compared:.1%}",
            ", ".join(each.examples[:2]),
        )
    out.print(table)
    groups = Table("Group", "Compared", "Changed", "Share")
    for share in (*impact.by_version, *impact.by_outcome):
        groups.add_row(
            share.name, f"{share.compared:,}", f"{share.changed:,}", f"{share.share:.1%}"
        )
    out.print(groups)
    scores = impact.scores
    if scores is not None:
        say(
            f"scores: mean {scores.mean_recorded:.4f} recorded, {scores.mean_instead:.4f} instead; "
            f"differences from {scores.lowest_difference:+.4f} to {scores.highest_difference:+.4f}"
        )
    for asked in impact.requirements:
        say(f"{asked.kind}: asked for {asked.recorded:,} times, {asked.instead:,} instead")
    for refused in impact.refused_fields:
        say(f"{refused.count:,} cases are refused for {refused.field}")
    say(
        f"{impact.changed:,} of {impact.compared:,} outcomes change ({impact.share_changed:.1%}): "
        f"{impact.became_adverse:,} become adverse, {impact.no_longer_adverse:,} no longer are"
    )


def _difference(body: Mapping[str, Any]) -> str:
    told = f"{body['name']} {body['detail']}"
    if body["max_ulps"] is not None:
        told += f", up to {body['max_ulps']:,} ULP"
    if body["places"]:
        told += f", at {', '.join(body['places'][:5])}"
    return told


@contextmanager
def _lines_to(path: Path | None) -> Iterator[Callable[[bytes], object]]:
    if path is None:
        yield lambda _lines: None
        return
    file: BinaryIO
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file.write
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)  # it is there unless all went well


def _check_before(digest: str | None, *files: Path | None) -> None:
    """Refuse what would come to light only once all is replayed."""
    if digest is not None and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise typer.BadParameter("want --digest as `grounds bundle show` prints it: sha256:...")
    for path in files:
        if path is not None and not path.parent.is_dir():
            raise typer.BadParameter(f"{path} cannot be written: there is no such directory")
