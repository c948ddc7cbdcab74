"""A log in a temporary directory, on either store, with a clock that the test moves."""

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from audit.leaf import Facts
from audit.log import Log
from audit.postgres import PostgresStore
from audit.records import Idempotency, NewRecord
from audit.sqlite import SqliteStore
from audit.store import Store
from tests.postgres import Database, Server, server_or_skip

ORIGIN = "example.com/log"
START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

OpenLog = Callable[..., Log]
MakeRecord = Callable[..., NewRecord]

on_both_stores = pytest.mark.parametrize("engine", ["sqlite", "postgres"], indirect=True)
"""Runs a test, or a file's tests, with the log in SQLite and with the log in PostgreSQL."""


class Clock:
    """Each reading is a second after the one before."""

    def __init__(self) -> None:
        self._ticks = itertools.count()

    def __call__(self) -> datetime:
        return START + timedelta(seconds=next(self._ticks))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """One PostgreSQL for all tests of a run."""
    with server_or_skip() as server:
        yield server


@pytest.fixture
def database(postgres_server: Server) -> Iterator[Database]:
    """A database with the log's empty tables."""
    with postgres_server.database() as database:
        yield database


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """The store under test: SQLite, unless the test asks for both."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
def store(engine: str, directory: Path, request: pytest.FixtureRequest) -> Store:
    """Where the log's rows are."""
    if engine == "sqlite":
        return SqliteStore(directory)
    database: Database = request.getfixturevalue("database")
    return PostgresStore(database.url)


@pytest.fixture
def open_log(directory: Path, store: Store) -> Iterator[OpenLog]:
    """Open the log, creating it when missing; whatever is still open at the end is closed."""
    opened: list[Log] = []

    def open_one(*, create: bool = True, vfs: str | None = None) -> Log:
        log = Log.open(
            directory,
            origin=ORIGIN,
            clock=Clock(),
            create=create,
            store=store if vfs is None else SqliteStore(directory, vfs=vfs),
        )
        opened.append(log)
        return log

    yield open_one
    for log in opened:
        log.close()


@pytest.fixture
def record() -> MakeRecord:
    """Make records with ids in time order."""
    numbers = itertools.count()

    def make(
        payload: bytes | None = b"payload",
        *,
        subject: str | None = None,
        key: str | None = None,
        fingerprint: bytes = b"fingerprint",
        record_id: str | None = None,
        record_type: str = "recommendation",
        facts: Facts | None = None,
    ) -> NewRecord:
        number = f"00000000-0000-7000-8000-{next(numbers):012x}"
        return NewRecord(
            type=record_type,
            id=number if record_id is None else record_id,
            facts={"model": {"name": "demo", "sha256": "ab" * 32}} if facts is None else facts,
            payload=payload,
            subject=subject,
            idempotency=None if key is None else Idempotency("caller", key, fingerprint),
        )

    return make
