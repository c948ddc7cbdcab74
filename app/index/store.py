"""The index's file: rows of decisions, and up to which entry of the log they are known.

A SQLite file of its own, which each process keeps for itself. It says nothing that the log does not
say: whatever is wrong with it (another schema, another log, a damaged file), it is made anew. Rows
and position change in one transaction, so that a crash leaves an index that only has to go on.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol, TypeAlias

import apsw

from app.problem_type import AppError

FILE = "decision-index.sqlite3"
VERSION = 3
"""Of the rows, and of what is read from the log into them: raise it when either changes."""

SCHEMA = """
CREATE TABLE decision(
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
  created TEXT NOT NULL,
  model TEXT NOT NULL,
  version TEXT NOT NULL,
  policy TEXT,
  policy_version TEXT,
  caller TEXT,
  status TEXT NOT NULL,
  advised TEXT,
  outcome TEXT,
  departed INTEGER,
  reason TEXT,
  holder TEXT,
  decided TEXT,
  due TEXT,
  opened_by TEXT,
  opened TEXT,
  dwell_ms INTEGER,
  corrects TEXT,
  corrected_as TEXT
) STRICT;
CREATE INDEX decision_by_status ON decision(status);
CREATE INDEX decision_unheld ON decision(status) WHERE holder IS NULL;
CREATE INDEX decision_by_holder ON decision(holder) WHERE holder IS NOT NULL;
CREATE INDEX decision_by_holder_status ON decision(holder, status) WHERE holder IS NOT NULL;
CREATE INDEX decision_by_caller ON decision(caller);
CREATE INDEX decision_by_caller_status ON decision(caller, status);
CREATE INDEX decision_by_model ON decision(model);
CREATE INDEX decision_by_model_status ON decision(model, status);
CREATE INDEX decision_by_version ON decision(version);
CREATE INDEX decision_by_policy ON decision(policy_version);
CREATE INDEX decision_by_advised ON decision(advised);
CREATE INDEX decision_by_outcome ON decision(outcome) WHERE outcome IS NOT NULL;
CREATE INDEX decision_by_departure ON decision(departed) WHERE departed IS NOT NULL;
CREATE INDEX decision_by_created ON decision(created);
CREATE INDEX decision_by_reference ON decision(substr(id, -8));
CREATE INDEX decision_by_due ON decision(due) WHERE status = 'contested';
CREATE INDEX decision_by_decided ON decision(model, decided) WHERE decided IS NOT NULL;
CREATE TABLE about(of INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY(of, seq)) STRICT, WITHOUT ROWID;
CREATE TABLE position(next INTEGER NOT NULL, leaf_hash BLOB, complete INTEGER NOT NULL) STRICT;
INSERT INTO position VALUES(0, NULL, 0);
"""

Sql: TypeAlias = "str | int | float | bytes | None"
Statement: TypeAlias = tuple[str, Sequence[Sql]]


class Query(Protocol):
    """Returns a query's rows."""

    def __call__(self, statement: str, parameters: Sequence[Sql] = ()) -> list[tuple[Sql, ...]]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Position:
    """How far an index is."""

    next: int
    """The first entry of the log that it does not know."""
    leaf_hash: bytes | None
    """Of the last that it does."""
    complete: bool
    """Whether it has ever caught up with its log."""


class IndexStoreError(AppError):
    """The index's file cannot be read or written."""


class IndexNotReadyError(AppError):
    """The index is being made from the log."""


class IndexStore:
    """The file: one connection that writes, one that reads. Safe from any thread."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it anew when it cannot be used. Raises IndexStoreError."""
        self.path = path
        self._writing, self._reading = Lock(), Lock()
        try:
            self._writer = self._opened() or self._made()
            self._reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
            self._reader.set_busy_timeout(2000)
            self._reader.pragma("query_only", value=True)
        except (OSError, apsw.Error) as err:
            raise IndexStoreError(f"cannot open the index of decisions in {path}: {err}") from err

    def position(self) -> Position:
        """Return how far the index is."""
        with self._using(self._reading):
            return _position(self._reader)

    def write(self, statements: Sequence[Statement], *, old: Position, new: Position) -> bool:
        """Apply what some entries changed and move the position, in one transaction.

        False, and nothing is changed, when another process has moved it meanwhile.
        """
        with self._using(self._writing):
            run = self._writer.execute
            run("BEGIN IMMEDIATE")
            try:
                if _position(self._writer) != old:
                    run("ROLLBACK")
                    return False
                for statement, parameters in statements:
                    run(statement, parameters)
                run(
                    "UPDATE position SET next = ?, leaf_hash = ?, complete = ?",
                    (new.next, new.leaf_hash, new.complete),
                )
                run("COMMIT")
            except BaseException:
                run("ROLLBACK")
                raise
            return True

    @contextmanager
    def reading(self) -> Iterator[Query]:
        """Give queries that all see one moment of the whole index.

        Raises IndexNotReadyError while it is being made: lists would lack decisions.
        """
        with self._using(self._reading), self._reader:
            position = _position(self._reader)
            if not position.complete:
                raise IndexNotReadyError(
                    f"{position.next:,} entries of the log are in the index so far"
                )
            yield lambda statement, parameters=(): list(self._reader.execute(statement, parameters))

    def purge(self) -> bool:
        """Leave what was overwritten in no file. False when a reader is in the way."""
        with self._using(self._writing):
            try:
                self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            except apsw.BusyError:
                return False
            return True

    def clear(self) -> None:
        """Begin anew: no rows, and the position at the log's first entry."""
        with self._using(self._writing), self._writer:
            self._writer.execute("DELETE FROM decision")
            self._writer.execute("DELETE FROM about")
            self._writer.execute("UPDATE position SET next = 0, leaf_hash = NULL, complete = 0")

    def close(self) -> None:
        """Close the file, once nobody writes any more."""
        with self._writing, self._reading:
            self._reader.close()
            self._writer.close()

    def _opened(self) -> apsw.Connection | None:
        """Return the file open for writing, None when it is missing or cannot be used."""
        if not self.path.exists():
            return None
        try:
            connection = _connection(self.path)
            if connection.pragma("user_version") == VERSION:
                connection.execute("SELECT count(*) FROM position")
                return connection
            connection.close()
        except (apsw.NotADBError, apsw.CorruptError, apsw.SQLError):
            pass  # nothing is lost: the log has it all
        return None

    def _made(self) -> apsw.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        self.path.touch(mode=0o600)
        connection = _connection(self.path)
        with connection:
            connection.execute(SCHEMA)
            connection.pragma("user_version", VERSION)
        return connection

    @contextmanager
    def _using(self, lock: Lock) -> Iterator[None]:
        with lock:
            try:
                yield
            except apsw.Error as err:
                raise IndexStoreError(f"the index of decisions: {type(err).__name__}") from err


def _position(connection: apsw.Connection) -> Position:
    ((following, leaf_hash, complete),) = connection.execute(
        "SELECT next, leaf_hash, complete FROM position"
    )
    return Position(following, leaf_hash, bool(complete))


def _connection(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(2000)
    connection.pragma("journal_mode", "wal")
    # A power cut may cost the last batches, never half of one: they are read from the log again.
    connection.pragma("synchronous", "normal")
    connection.pragma("secure_delete", "on")
    connection.pragma("cache_size", -16_384)
    os.chmod(path, 0o600)  # noqa: PTH101
    return connection
