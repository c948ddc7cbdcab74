"""The log's own speed: appending under load, as it grows, verifying, proving, replaying.

``python -m benchmarks.log`` prints one table. Loads run in processes of their own and in turn with
their floor, so that ratios hold when the machine's speed drifts. ``benchmarks/README.md`` says
what each line means.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, field
from importlib.metadata import version
from pathlib import Path

import asyncpg

from audit.log import Log
from audit.postgres import PostgresStore
from audit.records import Idempotency, NewRecord
from audit.verify import verify
from benchmarks.log_load import FACTS, open_log
from benchmarks.replay import rates
from tests.postgres import Database, Server

PAYLOADS = (2_048, 12_224)
"""Bytes of a caseworker's decision, and of a recommendation, as ``app`` pads them."""
REPLICAS = 4
SMALL = 1_000
GROUP = 64
COMPARED_TURNS, COMPARED_GROUPS = 15, 15
PROOFS = 1_000
PEER_LEAVES = 100_000
SERVER = {"shared_buffers": "1GB", "min_wal_size": "2GB", "max_wal_size": "4GB"}
"""What a server with a few gigabytes of memory is given."""
USED_SEGMENTS = 100
"""Files of the write-ahead log that it has used before, 16 MB each: more than a load writes."""
PEER = "pymerkle==7.0.0"

Make = Callable[[int, bytes], NewRecord]
"""``(number, payload)`` -> that record."""


@dataclass(slots=True)
class Table:
    """Lines of the result, printed as they are known."""

    missed: list[str] = field(default_factory=list)

    def add(self, what: str, measured: str, target: str = "", *, met: bool | None = None) -> None:
        """Add a line, saying whether the target was met, where there is one."""
        said = "" if met is None else "met" if met else "MISSED"
        if met is False:
            self.missed.append(what)
        print(f"| {what} | {measured} | {target} | {said} |", flush=True)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of each load; medians are shown")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--entries", type=int, default=1_000_000, help="in the grown log")
    parser.add_argument("--only", default="sqlite,postgres,growth,replay,peer", help="parts to run")
    parser.add_argument("--decisions", type=int, default=100_000, help="to replay")
    options = parser.parse_args()
    parts = options.only.split(",")
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(", ".join(f"{name} {version(name)}" for name in ("apsw", "asyncpg", "cryptography")))
    print(f"medians of {options.rounds} rounds; load when begun {os.getloadavg()[0]:.1f}\n")
    table = Table()
    print("| what | measured | target | |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="grounds-bench-") as place:
        if "sqlite" in parts:
            _sqlite(table, Path(place), rounds=options.rounds, seconds=options.seconds)
        if "postgres" in parts:
            _postgres(table, Path(place), rounds=options.rounds, seconds=options.seconds)
        if "growth" in parts:
            _growth(table, Path(place), entries=options.entries)
        if "replay" in parts:
            _replay(table, Path(place), decisions=options.decisions)
        if "peer" in parts:
            _peer(table, Path(place))
    print(f"\nload when ended {os.getloadavg()[0]:.1f}")
    print(f"targets missed: {'; '.join(table.missed) or 'none'}")


def _sqlite(table: Table, place: Path, *, rounds: int, seconds: float) -> None:
    for payload in PAYLOADS:
        ours, floor = [], []
        for _ in range(rounds):
            for runs, is_floor in ((ours, False), (floor, True)):
                with _folder(place / "sqlite") as folder:
                    runs.append(
                        _load(
                            [folder], payload=payload, seconds=seconds, url=None, is_floor=is_floor
                        )
                    )
        target = Target(5_000, 0.010) if payload == PAYLOADS[0] else None
        _add_load(table, f"SQLite, 64 clients, {payload:,} bytes", ours, target)
        table.add("the same, a plain INSERT", _said(floor))


def _postgres(table: Table, place: Path, *, rounds: int, seconds: float) -> None:
    server = Server(SERVER)
    try:
        _use(server)
        for payload in PAYLOADS:
            ours, floor = [], []
            for _ in range(rounds):
                with server.database() as database, _folder(place / "replicas") as folder:
                    replicas = _replicas(folder, database)
                    ours.append(
                        _load(
                            replicas, payload=payload, seconds=seconds, url=database.url,
                            is_floor=False,
                        )
                    )  # fmt: skip
                    asyncio.run(_make_floor(database))
                    floor.append(
                        _load(
                            replicas, payload=payload, seconds=seconds, url=database.owner_url,
                            is_floor=True,
                        )
                    )  # fmt: skip
                    database.execute("CHECKPOINT")  # its write-ahead log can be used again
            target = Target(15_000, 0.020) if payload == PAYLOADS[0] else None
            name = f"PostgreSQL, {REPLICAS} replicas x 64 clients, {payload:,} bytes"
            _add_load(table, name, ours, target)
            table.add("the same, a plain INSERT", _said(floor))
    finally:
        server.remove()


def _use(server: Server) -> None:
    """Bring a new server to where one in use is that shares its machine with the services.

    Whoever appends next is woken while the last one's server process has yet to answer; under this
    policy it does not take the processor from that one. See docs/operations.md.

    It goes back to files of the write-ahead log that it has written before. A new one makes each while
    everybody waits: 10 to 20 ms, several times a second.
    """
    if sys.platform == "linux":
        os.sched_setscheduler(server.pid, os.SCHED_BATCH, os.sched_param(0))
    with server.database() as database:
        for _ in range(USED_SEGMENTS):
            database.execute("SELECT pg_logical_emit_message(true, 'grounds', 'used')")
            database.execute("SELECT pg_switch_wal()")
        database.execute("CHECKPOINT")


def _replicas(folder: Path, database: Database) -> list[Path]:
    """Return the directories of replicas: keys and checkpoint of the first, copied."""
    first = folder / "0"
    open_log(first, PostgresStore(database.url)).close()
    others = [folder / str(number) for number in range(1, REPLICAS)]
    return [first, *(Path(shutil.copytree(first, other)) for other in others)]


async def _make_floor(database: Database) -> None:
    connection = await asyncpg.connect(database.owner_url)
    await connection.execute("CREATE TABLE floor (id text PRIMARY KEY, payload bytea)")
    await connection.execute("ALTER TABLE floor ALTER payload SET STORAGE EXTERNAL")
    await connection.close()


@dataclass(frozen=True, slots=True)
class Target:
    """What a load should reach: acknowledged a second, and seconds."""

    per_second: int
    p99: float


@dataclass(frozen=True, slots=True)
class _Run:
    per_second: float
    p50: float
    p99: float


def _load(
    folders: Sequence[Path], *, payload: int, seconds: float, url: str | None, is_floor: bool
) -> _Run:
    """Return what the clients of all processes saw together."""
    processes, answers = [], []
    for replica, folder in enumerate(folders):
        answers.append(folder / "load.json")
        told = {"place": str(folder), "url": url, "payload_bytes": payload, "seconds": seconds,
                "replica": replica, "floor": is_floor, "answer": str(answers[-1])}  # fmt: skip
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.log_load", json.dumps(told)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                start_new_session=True,
            )
        )  # fmt: skip
    for process in processes:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            sys.exit("a load did not start")
    for process in processes:
        if process.stdin is not None:
            process.stdin.write("\n")
            process.stdin.flush()
    if any(process.wait() for process in processes):
        sys.exit("a load failed")
    loads = [json.loads(answer.read_text()) for answer in answers]
    latencies = sorted(latency for load in loads for latency in load["latencies"])
    return _Run(
        per_second=sum(len(load["latencies"]) / load["seconds"] for load in loads),
        p50=latencies[len(latencies) // 2],
        p99=latencies[len(latencies) * 99 // 100],
    )


def _median(runs: Sequence[_Run]) -> _Run:
    return _Run(*(statistics.median(column) for column in zip(*map(astuple, runs), strict=True)))


def _said(runs: Sequence[_Run]) -> str:
    run = _median(runs)
    return f"{run.per_second:,.0f}/s, p50 {run.p50 * 1e3:.1f} ms, p99 {run.p99 * 1e3:.1f} ms"


def _add_load(table: Table, what: str, runs: Sequence[_Run], target: Target | None) -> None:
    if target is None:
        table.add(what, _said(runs))
        return
    run = _median(runs)
    met = run.per_second >= target.per_second and run.p99 < target.p99
    wanted = f"{target.per_second:,}/s, p99 < {target.p99 * 1e3:.0f} ms"
    table.add(what, _said(runs), wanted, met=met)


def _growth(table: Table, place: Path, *, entries: int) -> None:
    """Compare appending to a small log with appending to a grown one, then verify that."""
    kinds = (
        ("no subject", _plain),
        ("a new subject each", _new_subject),
        ("a new subject and an idempotency key each", _new_subject_and_key),
    )
    for name, make in kinds:
        with _folder(place / "growth") as folder:
            with closing(open_log(folder / "grown")) as grown:
                _fill(grown, entries, make)
                costs = _compared(grown, folder, make)
                ratio = costs[0] / costs[1]
                table.add(
                    f"append to {entries:,} against {SMALL:,} entries, {name}",
                    f"{costs[0] * 1e6:.0f} / {costs[1] * 1e6:.0f} us of processor = {ratio:.2f}",
                    "1.10",
                    met=ratio <= 1.10,
                )
                if make is _new_subject:
                    _proofs(table, grown)
            if make is _new_subject:
                _verification(table, folder / "grown")


def _plain(number: int, payload: bytes) -> NewRecord:
    return NewRecord("event", f"{number:012x}", FACTS, payload)


def _new_subject(number: int, payload: bytes) -> NewRecord:
    return NewRecord("event", f"{number:012x}", FACTS, payload, f"person-{number}")


def _new_subject_and_key(number: int, payload: bytes) -> NewRecord:
    request = Idempotency("caller", f"key-{number}", b"fingerprint")
    return NewRecord("event", f"{number:012x}", FACTS, payload, f"person-{number}", request)


def _groups(log: Log, make: Make, count: int) -> list[list[NewRecord]]:
    payload = os.urandom(256)
    return [
        [make(start + at, payload) for at in range(GROUP)]
        for start in range(log.size, log.size + count * GROUP, GROUP)
    ]


def _fill(log: Log, entries: int, make: Make) -> None:
    while log.size < entries:
        for group in _groups(log, make, 1):
            log.append(group)
    log.checkpoint()


def _compared(grown: Log, place: Path, make: Make) -> tuple[float, float]:
    """Return processor seconds a record, of appending to the grown log and to small ones in turn.

    A stretch at a time, so that copying the write-ahead log, on another thread, is counted where it
    belongs.
    """
    long, short = [], []
    for turn in range(COMPARED_TURNS):
        with closing(open_log(place / f"small-{turn}")) as small:
            _fill(small, SMALL, make)
            for log, costs in ((grown, long), (small, short)):
                groups = _groups(log, make, COMPARED_GROUPS)
                start = time.process_time()
                for group in groups:
                    log.append(group)
                costs.append((time.process_time() - start) / (COMPARED_GROUPS * GROUP))
    return statistics.median(long), statistics.median(short)


def _proofs(table: Table, log: Log) -> None:
    rng = random.Random(1)  # noqa: S311 - which to prove is no secret
    taken = []
    for _ in range(PROOFS):
        record_id = f"{rng.randrange(1, log.size - GROUP):012x}"
        start = time.perf_counter()
        log.proof(record_id)
        taken.append(time.perf_counter() - start)
    taken.sort()
    p50, p99 = taken[PROOFS // 2], taken[PROOFS * 99 // 100]
    table.add(
        f"proof of one of {log.size:,} entries",
        f"p50 {p50 * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms",
        "2 ms",
        met=p50 < 0.002,
    )


def _replay(table: Table, place: Path, *, decisions: int) -> None:
    workers = os.cpu_count() or 1
    with _folder(place / "replay") as folder:
        for rate in rates(
            folder,
            decisions=decisions,
            workers=[workers],
            what_would_change="adverse_or_near_threshold",
        ):
            table.add(f"{rate.what}, {rate.workers} processes", f"{rate.per_second:,.0f}/s")


def _verification(table: Table, folder: Path) -> None:
    for use_keys, what in ((False, "without keys"), (True, "payloads decrypted")):
        start = time.perf_counter()
        report = verify(folder, use_keys=use_keys)
        taken = time.perf_counter() - start
        if not report.sound:
            sys.exit(f"the log is not sound: {report.faults[:3]}")
        rate = report.size / taken
        table.add(
            f"verify {report.size:,} entries of 256 bytes, {what}",
            f"{rate:,.0f}/s",
            "" if use_keys else "100,000/s",
            met=None if use_keys else rate >= 100_000,
        )


def _peer(table: Table, place: Path) -> None:
    environment = place / "peer"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", PEER], check=True)
    script = Path(__file__).with_name("log_peer.py")
    done = subprocess.run(
        [python, script, place, str(PEER_LEAVES)], check=True, capture_output=True, text=True
    )
    said = json.loads(done.stdout)
    table.add(f"{PEER}, SQLite, append", f"{said['append'] * 1e3:.2f} ms, one at a time")
    with _folder(place / "single") as folder, closing(open_log(folder / "log")) as log:
        start = time.perf_counter()
        for number in range(SMALL):
            log.append([_plain(number, b"x" * 256)])
        taken = (time.perf_counter() - start) / SMALL
        table.add("ours, the same", f"{taken * 1e3:.2f} ms, one at a time")
    table.add(f"{PEER}, proof of one of {PEER_LEAVES:,}", f"p50 {said['proof'] * 1e3:.2f} ms")


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path)


if __name__ == "__main__":
    main()
