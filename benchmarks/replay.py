"""Replaying a log of decisions: how many a second, by how many processes.

``python -m benchmarks.replay`` makes a log of the demonstration's decisions, as the service would have
recorded them, replays it whole, and tries its cases under another policy. Everything is read from the
disk and decrypted; every decision is scored, explained, worded and compared byte for byte.
"""

import argparse
import os
import platform
import resource
import tempfile
import time
from contextlib import closing
from itertools import cycle, islice
from pathlib import Path

import yaml

from app.domain import Caller, Role
from app.engine import Prepared, Unfinished
from app.environment import environment
from app.ids import new_id, utc_now
from app.log_store import log_directory, log_store
from app.main import ROUTE_PATHS
from app.metrics import Metrics
from app.replay_report import RunReport
from app.replay_run import Run, run_replay
from app.served import open_all
from app.service import Application, Service
from app.settings import Settings
from app.stops import Stops
from audit.log import Log
from models.demo.build import build_demo, demo_applications

GROUP = 256
POLICY = Path(__file__).parents[1] / "app" / "demo" / "policy.yaml"
CALLER = Caller(key_id="benchmark", role=Role.CALLER)


def main() -> None:
    """Make the log and replay it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=100_000)
    parser.add_argument("--workers", default="1,2", help="numbers of processes, one run each")
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
    with tempfile.TemporaryDirectory(prefix="grounds-bench-") as place:
        settings = Settings(
            models_dir=Path(place) / "models", data_dir=Path(place) / "data", allow_unsigned=True
        )
        directory = settings.models_dir / "housing-support"
        build_demo(directory / "bundle")
        policy = yaml.safe_load(POLICY.read_text())
        policy["what_would_change"] = options.what_would_change
        (directory / "policy.yaml").write_text(yaml.safe_dump(policy))
        other = Path(place) / "policy-other.yaml"
        policy["bands"][-1]["at_least"] += 0.1
        other.write_text(yaml.safe_dump({**policy, "version": "other"}))
        start = time.perf_counter()
        _make(settings, options.decisions)
        elapsed = time.perf_counter() - start
        print(f"made {options.decisions:,} decisions in {elapsed:.0f} s", flush=True)
        print("\n| what | processes | decisions/s | CPU ms a decision | peak MB of one process |")
        print("|---|---|---|---|---|")
        for workers in map(int, options.workers.split(",")):
            report = _measured("replay", Run(settings), workers)
            if not report.all_same or report.sums.decisions != options.decisions:
                raise SystemExit(f"not all identical: {report.body()['verdicts']}")
            _measured("another policy", Run(settings, with_policy=other), workers)


def _measured(what: str, run: Run, workers: int) -> RunReport:
    cpu, start = _cpu(), time.perf_counter()
    report = run_replay(run, clock=utc_now, workers=workers)
    elapsed, used = time.perf_counter() - start, _cpu() - cpu
    count = report.sums.decisions
    who = resource.RUSAGE_SELF if workers == 1 else resource.RUSAGE_CHILDREN
    peak = resource.getrusage(who).ru_maxrss / 1024
    print(
        f"| {what} | {workers} | {count / elapsed:,.0f} | {1000 * used / count:.2f} | {peak:,.0f} |",
        flush=True,
    )
    return report


def _make(settings: Settings, count: int) -> None:
    (served,) = open_all(settings, lambda _: None).values()
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
        cases = islice(cycle(demo_applications().cases), count)
        group: list[Prepared] = []
        for number, values in enumerate(cases, start=1):
            asked = Application(
                id=new_id(),
                served=served,
                caller=CALLER,
                case=served.bundle.schema.encode(values),
                subject=None,
                idempotency=None,
                service=service,
            )
            prepared = asked.prepare()
            if isinstance(prepared, Unfinished):
                prepared = prepared.finish().prepare()
            if not isinstance(prepared, Prepared):
                raise TypeError("a finished decision is not ready to be recorded")
            group.append(prepared)
            if len(group) == GROUP or number == count:
                log.append([each.record for each in group])
                group = []


def _cpu() -> float:
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


if __name__ == "__main__":
    main()
