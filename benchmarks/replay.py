"""Replaying a log of decisions: how many a second, by how many processes.

``python -m benchmarks.replay`` makes a log of the demonstration's decisions, as the service would have
recorded them, replays it whole, and tries its latest cases under another policy. Each case is advised
on once and recorded again under other identifiers; a replay does not know, and does all its work.
Everything is read from the disk and decrypted; every decision is scored, explained, worded and compared
byte for byte. How far it is, it says on standard error.
"""

import argparse
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import structlog
import yaml

from app.bundle_store import store_of
from app.domain import Caller, Role
from app.environment import environment
from app.first_start import find_models
from app.ids import new_id, utc_now
from app.log_store import log_directory, log_store
from app.main import ROUTE_PATHS
from app.metrics import Metrics
from app.replay_report import RunReport
from app.replay_run import Run, run_replay
from app.served import ServedModel, join
from app.service import Application, Service
from app.settings import Settings
from app.stops import Stops
from app.trust import vouched
from app.work import Prepared, Unfinished
from audit.log import Log
from audit.records import NewRecord
from models.demo.build import build_demo, demo_applications
from models.rows import Row

GROUP = 256
CASES = 1_000
COMPARED = 10_000
PROGRESS_SECONDS = 10.0
POLICY = Path(__file__).parents[1] / "app" / "demo" / "policy.yaml"
CALLER = Caller(key_id="benchmark", role=Role.CALLER)


def main() -> None:
    """Make the log and replay it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=100_000)
    parser.add_argument(
        "--workers", default=str(os.cpu_count()), help="numbers of processes, one run each"
    )
    parser.add_argument(
        "--what-would-change",
        default="adverse_or_near_threshold",
        choices=("adverse_or_near_threshold", "never"),
        help="whether the policy asks for that search, most of a decision's time",
    )
    options = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(
        f"load when begun {os.getloadavg()[0]:.1f}; what would change: {options.what_would_change}"
    )
    print("\n| what | processes | decisions/s | CPU ms a decision | peak MB of one process |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="grounds-bench-") as place:
        for rate in rates(
            Path(place),
            decisions=options.decisions,
            workers=[int(number) for number in options.workers.split(",")],
            what_would_change=options.what_would_change,
        ):
            print(
                f"| {rate.what} | {rate.workers} | {rate.per_second:,.0f} | {rate.cpu_ms:.2f} |"
                f" {rate.peak_mb:,.0f} |",
                flush=True,
            )


@dataclass(frozen=True, slots=True)
class Rate:
    """How quickly a log was replayed."""

    what: str
    workers: int
    per_second: float
    """Decisions."""
    cpu_ms: float
    """Processor time of a decision, in all processes."""
    peak_mb: float
    """Memory of the largest process."""


def rates(
    place: Path, *, decisions: int, workers: Sequence[int], what_would_change: str
) -> Iterator[Rate]:
    """Make a log of so many decisions in ``place`` and replay it, with each number of processes."""
    # Standard output is the table's.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    settings = Settings(models_dir=place / "models", data_dir=place / "data", allow_unsigned=True)
    directory = settings.models_dir / "housing-support"
    build_demo(directory / "bundle")
    policy = yaml.safe_load(POLICY.read_text())
    policy["what_would_change"] = what_would_change
    (directory / "policy.yaml").write_text(yaml.safe_dump(policy))
    other = place / "policy-other.yaml"
    policy["bands"][-1]["at_least"] += 0.1
    other.write_text(yaml.safe_dump({**policy, "version": "other"}))
    start = time.perf_counter()
    _make(settings, decisions)
    elapsed = time.perf_counter() - start
    print(f"made {decisions:,} decisions in {elapsed:.0f} s", file=sys.stderr, flush=True)
    latest = min(COMPARED, decisions)
    for number in workers:
        report, rate = _measured(f"replay of {decisions:,} decisions", Run(settings), number)
        if set(report.sums.verdicts) != {"identical"} or report.sums.decisions != decisions:
            raise SystemExit(f"not all identical: {report.body()['verdicts']}")
        yield rate
        tried = Run(settings, with_policy=other)
        yield _measured(f"the latest {latest:,} under another policy", tried, number, latest)[1]


def _measured(
    what: str, run: Run, workers: int, limit: int | None = None
) -> tuple[RunReport, Rate]:
    cpu, start = _cpu(), time.perf_counter()
    advance = _Progress(what).advance
    report = run_replay(run, clock=utc_now, workers=workers, limit=limit, advance=advance)
    elapsed, used = time.perf_counter() - start, _cpu() - cpu
    count = report.sums.decisions
    who = resource.RUSAGE_SELF if workers == 1 else resource.RUSAGE_CHILDREN
    peak = resource.getrusage(who).ru_maxrss / 1024
    return report, Rate(what, workers, count / elapsed, 1000 * used / count, peak)


def _make(settings: Settings, count: int) -> None:
    served = _served(settings)
    with closing(
        Log.open(
            log_directory(settings),
            origin=settings.log_origin,
            clock=utc_now,
            create=True,
            store=log_store(settings),
        )
    ) as log:
        service = Service(
            clock=utc_now,
            metrics=Metrics([served.name], ROUTE_PATHS),
            runtime=environment(settings),
            stops=Stops(log),
        )
        made = [
            _prepared(served, values, service)
            for values in islice(demo_applications().cases, CASES)
        ]
        for start in range(0, count, GROUP):
            numbers = range(start, min(start + GROUP, count))
            log.append([_again(made[number % len(made)]) for number in numbers])


def _prepared(served: ServedModel, values: Row, service: Service) -> NewRecord:
    prepared = Application(
        id=new_id(),
        served=served,
        caller=CALLER,
        case=served.bundle.schema.encode(values),
        subject=None,
        idempotency=None,
        service=service,
    ).prepare()
    if isinstance(prepared, Unfinished):
        prepared = prepared.finish().prepare()
    if not isinstance(prepared, Prepared):
        raise TypeError("a finished decision is not ready to be recorded")
    return prepared.record


def _again(record: NewRecord) -> NewRecord:
    """Return the record of the same case asked again: another identifier, wherever it is told."""
    if record.payload is None:
        raise TypeError("a recommendation has a payload")
    again = new_id()
    return replace(
        record, id=again, payload=record.payload.replace(record.id.encode(), again.encode())
    )


def _served(settings: Settings) -> ServedModel:
    (found,) = find_models(settings, store_of(settings)).values()
    return join(
        found.files,
        found.policy,
        settings,
        vouched_for=vouched(found.files, settings),
        directory=found.directory,
    )


class _Progress:
    """Says now and then, on standard error, how far something is and how long it will take."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._start = self._last = time.perf_counter()

    def advance(self, done: int, total: int) -> None:
        """Hear how many of how many are done."""
        now = time.perf_counter()
        if now - self._last < PROGRESS_SECONDS or not done:
            return
        self._last = now
        rate = done / (now - self._start)
        print(
            f"{self._what}: {done:,} of {total:,}, {rate:,.0f}/s, {(total - done) / rate:,.0f} s to go",
            file=sys.stderr,
            flush=True,
        )


def _cpu() -> float:
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


if __name__ == "__main__":
    main()
