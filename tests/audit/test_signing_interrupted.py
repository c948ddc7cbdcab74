"""Signing is interrupted at each of its steps, and the next time makes up for it: no count is off.

Two signers share a log's rows, each with a directory of its own, as replicas do. At every read and
write of one of them the database goes away once, or the other one signs: a server that is killed
gives up the lock that keeps it from that.
"""

import itertools
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from audit.checkpoint import unverified_checkpoint
from audit.errors import LogUnavailableError
from audit.keys import read_keys
from audit.log import Log
from audit.outside import OutsideMemory
from audit.postgres import PostgresStore
from audit.records import NewRecord
from audit.row_reader import RowReader
from audit.signer import Signer
from audit.sqlite import SqliteStore
from audit.sqlite_scan import SqliteSource
from audit.store import Connection, SqlRow, SqlValue
from audit.verify import verify
from tests.audit.check_log import check_log
from tests.audit.conftest import ORIGIN, Clock
from tests.postgres import Server, server_or_skip

Happening = Callable[["Replicas"], None]


class Steps:
    """Counts steps, and lets something happen at one of them, once."""

    def __init__(self) -> None:
        self.taken = 0
        self._at = 0
        self._happen: Callable[[], None] = lambda: None

    def expect(self, at: int, happen: Callable[[], None]) -> None:
        self.taken, self._at, self._happen = 0, at, happen

    def forget(self) -> None:
        self._at = 0

    def meet(self) -> None:
        self.taken += 1
        if self.taken == self._at:
            self._happen()


@dataclass
class SteppingConnection:
    inner: Connection
    steps: Steps

    def query(self, statement: str, *parameters: SqlValue) -> Sequence[SqlRow]:
        self.steps.meet()
        return self.inner.query(statement, *parameters)

    def close(self) -> None:
        self.inner.close()


class Replicas:
    """A log that is open, and the signer of another process that has it open too."""

    def __init__(self, place: Path) -> None:
        self.steps = Steps()
        self.log = Log.open(place / "first", origin=ORIGIN, clock=Clock(), create=True)
        self.second = place / "second"
        shutil.copytree(place / "first", self.second, ignore=shutil.ignore_patterns("log.sqlite3*"))
        store = SqliteStore(place / "first")
        self._rows = RowReader(SteppingConnection(store.connect(), self.steps))
        self._signer = self._start()
        self._numbers = itertools.count()

    def append(self) -> None:
        record = NewRecord("event", f"{next(self._numbers):08d}", {}, b"payload", "s")
        self.log.append([record])

    def sign(self) -> bytes:
        """Sign as the second process."""
        self._signer.follow()
        return self._signer.sign(self._rows.head(), self._insert)

    def restart(self) -> None:
        """Start the second process again."""
        self._signer = self._start()
        self._signer.recall(self._rows.head().size)

    def check(self) -> None:
        source = SqliteSource(self.log.directory)
        for directory in (self.log.directory, self.second):
            for use_keys in (False, True):
                report = verify(directory, use_keys=use_keys, source=source)
                assert (report.faults, report.notices) == ((), ())

    def close(self) -> None:
        self._rows.close()
        self.log.close()

    def _start(self) -> Signer:
        keys = read_keys(self.second / "keys", origin=ORIGIN).signers
        return Signer(OutsideMemory(self.second), origin=ORIGIN, keys=keys, rows=self._rows)

    def _insert(self, previous: int | None, size: int, note: bytes) -> None:
        """Store a checkpoint as PostgreSQL does, where the lock may have gone."""
        self.steps.meet()
        newest = self.log.stored_checkpoint()
        if newest is not None and unverified_checkpoint(newest, origin=ORIGIN).size != previous:
            raise LogUnavailableError("another process has signed meanwhile; this one did not")
        self.log._writer.insert_checkpoint(previous, size, note)
        self.steps.meet()


def goes_away(_replicas: Replicas) -> None:
    raise LogUnavailableError("the server is killed")


def another_signs(replicas: Replicas) -> None:
    replicas.append()
    replicas.log.checkpoint()


@pytest.mark.parametrize("happen", [goes_away, another_signs])
@pytest.mark.parametrize("restarted", [False, True])
def test_what_interrupts_signing_leaves_no_count_off(
    tmp_path: Path, happen: Happening, restarted: bool
) -> None:
    for at in itertools.count(1):
        with closing(Replicas(tmp_path / str(at))) as replicas:
            for _ in range(3):
                replicas.append()
                replicas.log.checkpoint()
            replicas.append()
            replicas.steps.expect(at, partial(happen, replicas))
            with suppress(LogUnavailableError):
                (replicas.restart if restarted else replicas.sign)()
            taken = replicas.steps.taken
            replicas.steps.forget()
            if not restarted:
                replicas.sign()
            replicas.append()
            note = replicas.sign()
            assert (replicas.second / "checkpoint").read_bytes() == note
            assert replicas.log.checkpoint() == note
            replicas.check()
        if taken < at:
            break
    assert at > 10


@dataclass
class KillingConnection:
    """Kills the server before the first statement that begins in a certain way."""

    inner: Connection
    server: Server
    before: list[str]

    def query(self, statement: str, *parameters: SqlValue) -> Sequence[SqlRow]:
        if self.before and statement.startswith(self.before[0]):
            self.before.clear()
            self.server.kill()
        return self.inner.query(statement, *parameters)

    def close(self) -> None:
        self.inner.close()


@dataclass(frozen=True)
class KillingStore(PostgresStore):
    server: Server = field(kw_only=True)
    before: list[str] = field(kw_only=True)

    def connect(self) -> Connection:  # type: ignore[override]  # a PostgresConnection, wrapped
        return KillingConnection(super().connect(), self.server, self.before)


READS = (
    "SELECT size, note FROM checkpoint",
    "SELECT hashes FROM tile",
    "SELECT leaf_hash FROM entry",
    "SELECT size, frontier, root FROM head",
    "SELECT count(*) FROM checkpoint",
    "SELECT leaf FROM entry",
)
"""All that signing reads."""


def test_a_server_killed_at_any_read_of_signing_leaves_no_count_off(tmp_path: Path) -> None:
    with server_or_skip() as server, server.database() as database:
        store = KillingStore(database.url, server=server, before=[])
        first = Log.open(tmp_path / "0", origin=ORIGIN, clock=Clock(), create=True, store=store)
        shutil.copytree(tmp_path / "0", tmp_path / "1")
        second = Log.open(tmp_path / "1", origin=ORIGIN, clock=Clock(), store=store)
        with closing(first), closing(second):
            for number, read in enumerate(READS):
                first.append([NewRecord("event", f"{number}-0", {}, b"payload")])
                first.checkpoint()
                second.append([NewRecord("event", f"{number}-1", {}, b"payload")])
                store.before.append(read)
                with suppress(LogUnavailableError):
                    second.checkpoint()
                assert not store.before, f"signing does not read: {read}"
                server.start()
                note = second.checkpoint()
                assert first.checkpoint() == note
                for directory in (first.directory, second.directory):
                    check_log(directory, store=store)
