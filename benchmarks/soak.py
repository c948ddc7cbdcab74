"""A long steady load, and a log that is full against one that is empty.

``python -m benchmarks.soak --minutes 60`` keeps Grounds at a steady rate and samples its memory, its
latency and its errors; ``--minutes 10`` is the nightly form. ``python -m benchmarks.soak --records
1000000`` fills a log, as ``benchmarks.log`` does, then measures it and an empty one in turn. Both end
with 1 when a bound is broken. Every request goes to this machine, and the run ends by itself.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

from app.ids import new_id, utc_now
from app.log_store import log_directory
from app.settings import Settings
from audit.log import Log
from audit.records import NewRecord
from benchmarks import machine, open_loop, targets
from benchmarks.grounds_service import MODEL, Prepared, prepare_grounds, wait_until_read
from benchmarks.log_load import FACTS
from benchmarks.processes import end_in_order, free_port, server
from benchmarks.shared_model import cases as made_cases
from benchmarks.shared_model import write_rows
from benchmarks.targets import Target
from benchmarks.wrk import Load, Run

MOST_GROWTH = 0.05
"""Of memory, once a tenth of the time is over and the caches are full, to the end."""
CACHES_FULL = 100_000
"""How many decisions fill the page caches of the log and of the index, 16 MiB each."""
MOST_DIFFERENCE = 0.10
"""Of throughput and p99 between a full log and an empty one."""
SLICE_SECONDS = 30.0
GROUP = 256
PAYLOAD_BYTES = 12 * 1024
"""About what a recommendation takes in the log."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One slice of a long load."""

    minute: float
    latency: open_loop.Latency
    memory_mib: float


def main() -> None:
    """Run what was asked for."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, help="how long the steady load lasts, at most 60")
    options.add_argument("--rate", type=float, default=500.0, help="requests a second, steady")
    options.add_argument("--records", type=int, help="entries of the full log")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=5, help="of one run of wrk")
    chosen = options.parse_args()
    end_in_order()
    if chosen.minutes is None and chosen.records is None:
        options.error("want --minutes, --records or both")
    print("\n".join(machine.described()))
    sound = True
    with tempfile.TemporaryDirectory(prefix="grounds-soak-") as folder:
        place = Path(folder)
        rows = place / "rows.npz"
        write_rows(rows)
        prepared = prepare_grounds(place, rows, names=(MODEL,))
        if chosen.minutes is not None:
            sound &= _steady(place, rows, prepared, min(chosen.minutes, 60.0), chosen.rate)
        if chosen.records is not None:
            sound &= _full(place, rows, prepared, chosen)
    sys.exit(0 if sound else 1)


def _steady(place: Path, rows: Path, prepared: Prepared, minutes: float, rate: float) -> bool:
    """Load for so long; return whether memory held and nothing failed."""
    target = targets.grounds(prepared, made_cases(rows), free_port())
    samples: list[Sample] = []
    with server(
        target.command, ready=target.ready, log=place / "soak.log", environment=target.environment
    ) as running:
        start = time.monotonic()
        print("| minute | sent | failed | p50 ms | p99 ms | MiB |\n|---|---|---|---|---|---|")
        while (passed := time.monotonic() - start) < minutes * 60:
            latency = open_loop.measure(
                target.url,
                headers=target.headers,
                bodies=target.bodies,
                rate=rate,
                seconds=min(SLICE_SECONDS, minutes * 60 - passed + 1),
                seed=len(samples),
            )
            sample = Sample((time.monotonic() - start) / 60, latency, running.own_memory_mib())
            samples.append(sample)
            print(
                f"| {sample.minute:.1f} | {latency.sent} | {latency.failed} | {latency.p50:.2f} "
                f"| {latency.p99:.2f} | {sample.memory_mib:.0f} |",
                flush=True,
            )
    failed = sum(each.latency.failed for each in samples)
    sent = list(accumulate(each.latency.sent for each in samples))
    print(f"\n{sent[-1]:,} sent, {failed} failed")
    full = bisect_left(sent, CACHES_FULL)
    if full >= len(samples) - 1:
        print(f"too short to tell of memory: want more than {CACHES_FULL:,} requests")
        return False
    warm = samples[max(full, len(samples) // 10)].memory_mib
    growth = samples[-1].memory_mib / warm - 1
    print(
        f"memory {warm:.0f} to {samples[-1].memory_mib:.0f} MiB: {growth:+.1%}"
        f" (at most {MOST_GROWTH:+.0%})"
    )
    return failed == 0 and growth <= MOST_GROWTH


def _full(place: Path, rows: Path, prepared: Prepared, chosen: argparse.Namespace) -> bool:
    """Measure a full log and an empty one in turn; return whether they are alike."""
    settings = prepared.settings.model_copy(update={"data_dir": place / "full"})
    settings.data_dir.mkdir()
    keys = (prepared.settings.data_dir / "access.sqlite3").read_bytes()
    (settings.data_dir / "access.sqlite3").write_bytes(keys)
    begin = time.monotonic()
    fill(settings, chosen.records)
    print(f"\n{chosen.records:,} entries made in {(time.monotonic() - begin) / 60:.1f} minutes")
    cases = made_cases(rows)
    with ExitStack() as stack:
        loads: list[tuple[str, Load]] = []
        for number, each in enumerate((prepared, replace(prepared, settings=settings))):
            target = targets.grounds(each, cases, free_port())
            target = replace(target, bodies=_about_people(target.bodies, chosen.records))
            stack.enter_context(
                server(
                    target.command,
                    ready=target.ready,
                    log=place / f"full-{number}.log",
                    environment=target.environment,
                )
            )
            load = _load(place, f"full-{number}", target)
            load.run(64, 2)
            loads.append((target.ready.removesuffix("/health/ready"), load))
        runs: tuple[list[Run], list[Run]] = ([], [])
        for _ in range(chosen.rounds):
            for (_, load), found in zip(loads, runs, strict=True):
                for address, _ in loads:  # what one follows in its log is not to slow the other
                    wait_until_read(address)
                found.append(load.run(16, chosen.seconds))
    empty, full = (_middle(found) for found in runs)
    print("\n| log | answers a second | p99 ms |\n|---|---|---|")
    print(f"| empty | {empty[0]:,.0f} | {empty[1]:.2f} |")
    print(f"| {chosen.records:,} entries | {full[0]:,.0f} | {full[1]:.2f} |")
    slower, later = full[0] / empty[0] - 1, full[1] / empty[1] - 1
    print(
        f"\nfull against empty: {slower:+.1%} answers, {later:+.1%} p99 "
        f"(at most {MOST_DIFFERENCE:.0%} worse)"
    )
    return slower >= -MOST_DIFFERENCE and later <= MOST_DIFFERENCE


def fill(settings: Settings, entries: int) -> None:
    """Append so many records of about a recommendation's size, each about another person."""
    payload = b"{" + b" " * (PAYLOAD_BYTES - 2) + b"}"
    with closing(
        Log.open(log_directory(settings), origin=settings.log_origin, clock=utc_now, create=True)
    ) as log:
        for first in range(0, entries, GROUP):
            log.append(
                [
                    NewRecord(
                        type="benchmark",
                        id=new_id(),
                        facts=FACTS,
                        payload=payload,
                        subject=_person(number),
                        idempotency=None,
                    )
                    for number in range(first, min(first + GROUP, entries))
                ]
            )


def _person(number: int) -> str:
    return f"person-{number}"


def _about_people(bodies: Sequence[str], count: int) -> list[str]:
    """Return the bodies, each about another of so many people, in no order."""
    return [
        json.dumps({**json.loads(body), "subject": _person(number * 7_919 % count)})
        for number, body in enumerate(bodies)
    ]


def _load(place: Path, name: str, target: Target) -> Load:
    return Load(place, name, url=target.url, headers=target.headers, bodies=target.bodies)


def _middle(runs: Sequence[Run]) -> tuple[float, float]:
    return (
        statistics.median(run.per_second for run in runs),
        statistics.median(run.p99 for run in runs),
    )


if __name__ == "__main__":
    main()
