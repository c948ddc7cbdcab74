"""Clients that append to a log as the service does: one engine thread, a group at a time.

Beside each load stands a floor: the same clients, whose records are only inserted and committed,
with no key, leaf, tree or checkpoint.
"""

import asyncio
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue

import apsw
import asyncpg
import uvloop

from app import collector
from app.background import background_threads
from app.engine import Engine
from app.ids import utc_now
from app.work import Prepared
from audit.log import Log
from audit.postgres import PostgresStore
from audit.records import Idempotency, NewRecord
from audit.store import Store

ORIGIN = "benchmark.example/log"
CLIENTS = 64
PEOPLE = 10_000
GROUP_LIMIT, QUEUE_LIMIT = 256, 4_096
WARM_UP_SECONDS = 1.0
CHECKPOINT_SECONDS = 1.0
NICENESS = 10
"""Of the services, where PostgreSQL is on the same machine: see docs/operations.md."""
FACTS = {
    "model": {"name": "housing-support", "version": "1.0.0", "sha256": "ab" * 32},
    "policy": "cd" * 32,
}

Submit = Callable[[int], "asyncio.Future[object]"]


@dataclass(frozen=True, slots=True)
class Load:
    """What the clients of one process saw."""

    seconds: float
    latencies: list[float]
    """Of each acknowledged record, in seconds."""


@dataclass(frozen=True, slots=True)
class Event:
    """Work that is done already: a record to append."""

    record: NewRecord
    idempotency: Idempotency | None = None

    def prepare(self) -> Prepared:
        """Return the record."""
        return Prepared(self.record, b"", "event")

    def recorded(self, prepared: Prepared) -> None:
        """Count nothing."""


def record(number: int, payload: bytes, *, replica: int = 0) -> NewRecord:
    """Return the ``number``-th record of a process, about one of so many people."""
    person = number * 7_919 % PEOPLE  # their keys are met in no order
    return NewRecord("event", f"{number:012x}-{replica}", FACTS, payload, f"person-{person}")


def open_log(directory: Path, store: Store | None = None) -> Log:
    """Open the log, making it where there is none."""
    return Log.open(directory, origin=ORIGIN, clock=utc_now, create=True, store=store)


def load_log(log: Log, *, payload_bytes: int, seconds: float, replica: int = 0) -> Load:
    """Let the clients append for so long, while a checkpoint is signed every second."""
    payload = os.urandom(payload_bytes)

    async def run() -> Load:
        asyncio.get_running_loop().set_default_executor(background_threads())
        engine = Engine(
            log,
            queue_limit=QUEUE_LIMIT,
            group_limit=GROUP_LIMIT,
            on_group=lambda _size, _seconds: None,
        )
        engine.start()
        signing = asyncio.create_task(_sign(log))
        try:
            return await _clients(
                lambda number: engine.submit(Event(record(number, payload, replica=replica))),
                seconds,
            )
        finally:
            signing.cancel()
            await asyncio.gather(signing, return_exceptions=True)
            await engine.stop()

    return _run(run())


def load_sqlite_floor(path: Path, *, payload_bytes: int, seconds: float) -> Load:
    """As ``load_log``, with rows of an id and a payload in a SQLite file of its own."""
    connection = apsw.Connection(str(path))
    for name, value in (("page_size", 8_192), ("journal_mode", "wal"), ("synchronous", "FULL")):
        connection.pragma(name, value)
    connection.execute("CREATE TABLE event (id TEXT PRIMARY KEY, payload BLOB) STRICT")

    def insert(rows: Sequence[tuple[str, bytes]]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO event VALUES (?, ?)", rows)
        connection.execute("COMMIT")

    with closing(connection):
        return _load_floor(insert, payload_bytes=payload_bytes, seconds=seconds, replica=0)


def load_postgres_floor(url: str, *, payload_bytes: int, seconds: float, replica: int) -> Load:
    """As ``load_sqlite_floor``, in the table ``floor`` of a database."""
    loop = asyncio.new_event_loop()
    connection = loop.run_until_complete(asyncpg.connect(url))
    statement = "INSERT INTO floor SELECT * FROM unnest($1::text[], $2::bytea[])"

    def insert(rows: Sequence[tuple[str, bytes]]) -> None:
        columns = zip(*rows, strict=True)
        loop.run_until_complete(connection.execute(statement, *columns))

    try:
        return _load_floor(insert, payload_bytes=payload_bytes, seconds=seconds, replica=replica)
    finally:
        loop.run_until_complete(connection.close())
        loop.close()


def _run(load: Coroutine[object, object, Load]) -> Load:
    """Run it on the event loop that the service has."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(load)


async def _clients(submit: Submit, seconds: float) -> Load:
    """Let each client send, wait for the acknowledgement, and send again."""
    numbers = itertools.count(1)
    latencies: list[float] = []
    start = time.perf_counter() + WARM_UP_SECONDS
    end = start + seconds

    async def client() -> None:
        while (sent := time.perf_counter()) < end:
            await submit(next(numbers))
            if sent >= start:
                latencies.append(time.perf_counter() - sent)

    collector.settle()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return Load(time.perf_counter() - start, latencies)


async def _sign(log: Log) -> None:
    while True:
        await asyncio.sleep(CHECKPOINT_SECONDS)
        await asyncio.to_thread(log.checkpoint_in_turn)


def _load_floor(
    insert: Callable[[Sequence[tuple[str, bytes]]], None],
    *,
    payload_bytes: int,
    seconds: float,
    replica: int,
) -> Load:
    payload = os.urandom(payload_bytes)
    queue: SimpleQueue[tuple[int, asyncio.Future[object]] | None] = SimpleQueue()

    def write(loop: asyncio.AbstractEventLoop) -> None:
        for group in _groups(queue):
            insert([(f"{number:012x}-{replica}", payload) for number, _ in group])
            loop.call_soon_threadsafe(_settle, [future for _, future in group])

    async def run() -> Load:
        loop = asyncio.get_running_loop()
        writer = threading.Thread(target=write, args=(loop,))
        writer.start()

        def submit(number: int) -> "asyncio.Future[object]":
            future: asyncio.Future[object] = loop.create_future()
            queue.put((number, future))
            return future

        try:
            return await _clients(submit, seconds)
        finally:
            queue.put(None)
            await asyncio.to_thread(writer.join)

    return _run(run())


def _groups(
    queue: "SimpleQueue[tuple[int, asyncio.Future[object]] | None]",
) -> Iterator[list[tuple[int, "asyncio.Future[object]"]]]:
    while (first := queue.get()) is not None:
        group = [first]
        while len(group) < GROUP_LIMIT and not queue.empty():
            entry = queue.get()
            if entry is None:
                yield group
                return
            group.append(entry)
        yield group


def _settle(futures: Sequence["asyncio.Future[object]"]) -> None:
    for future in futures:
        future.set_result(None)


def main() -> None:
    """Run one process's load: told in JSON, started by a line, answered in a file of JSON."""
    wanted = json.loads(sys.argv[1])
    place, url = Path(wanted["place"]), wanted["url"]
    sizes = {"payload_bytes": wanted["payload_bytes"], "seconds": wanted["seconds"]}
    replica = wanted["replica"]
    with ExitStack() as stack:
        log: Log | None = None
        if not wanted["floor"]:
            store = PostgresStore(url) if url else None
            log = stack.enter_context(closing(open_log(place, store)))
        if url:
            _give_way_to_the_server()
        print("ready", flush=True)
        sys.stdin.readline()
        if log is not None:
            load = load_log(log, replica=replica, **sizes)
        elif url:
            load = load_postgres_floor(url, replica=replica, **sizes)
        else:
            load = load_sqlite_floor(place / "floor.sqlite3", **sizes)
    Path(wanted["answer"]).write_text(json.dumps(asdict(load)))


def _give_way_to_the_server() -> None:
    """Let the server's processes go first: beside the services, it is what all of them wait for."""
    by_session = Path("/proc/sys/kernel/sched_autogroup_enabled")
    if by_session.exists() and by_session.read_text().strip() == "1":
        # Then niceness counts within a session alone, and this one is not the server's.
        Path("/proc/self/autogroup").write_text(str(NICENESS))
    else:
        os.nice(NICENESS)


if __name__ == "__main__":
    main()
