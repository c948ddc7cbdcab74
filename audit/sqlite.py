"""The log's rows in a SQLite file: one process writes, through one connection and one transaction.

Exactly one connection writes; ``audit.wal_copier`` has one of its own, and readers theirs,
read-only. Every ``apsw`` error is converted here. SQLite's WAL before 3.51.3 can lose commits when
two connections write or copy at once; ``apsw`` carries its own SQLite, and older ones are refused.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

import apsw

from audit import schema
from audit.digest_index import DigestIndex, Digests
from audit.envelope import WRAPPED_SUBJECT_KEY_BYTES, subject_row_digest, unlinked_handle
from audit.errors import (
    DamagedLogError,
    LogBrokenError,
    LogFullError,
    LogLockedError,
    LogMissingError,
    LogStateError,
)
from audit.files import WriterLock
from audit.layout import DATABASE_FILE, LOCK_FILE
from audit.rows import Group, Head
from audit.store import ConstraintViolationError, SqlRow, SqlValue
from audit.wal_copier import WalCopier

_OLDEST_SQLITE = (3, 51, 3)
_MOST_ROWS = 64
"""Of one statement."""
_STATEMENTS = 512
"""Kept compiled: one for each table and number of rows, 8 MB if all of them are met."""
_PAGE_BYTES = 8_192
"""Envelopes of 2 to 3 KB leave a third of a 4 KB page empty."""


@dataclass(frozen=True, slots=True)
class SqliteStore:
    """A log's database file in its directory."""

    directory: Path
    vfs: str | None = None
    """Another SQLite file layer."""

    @property
    def path(self) -> Path:
        """The database file."""
        return self.directory / DATABASE_FILE

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.path)

    def exists(self) -> bool:
        """Return whether the log's first entry is there, or whatever else is not ours to fill.

        A crash can leave a file without tables, from before anything was promised.
        """
        if not self.path.is_file():
            return False
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_EXRESCODE
        with converted(f"{self.path} cannot be opened"):
            connection = apsw.Connection(str(self.path), flags=flags, vfs=self.vfs)
            # Only the writer checkpoints: SQLite would try to as the last connection closes.
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            try:
                tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
                if "entry" not in tables:
                    return bool(tables)
                return bool(connection.execute("SELECT 1 FROM entry WHERE seq = 0").fetchall())
            finally:
                connection.close()

    def connect(self) -> "SqliteConnection":
        """Open the file for reading. Raises LogMissingError, SchemaVersionError."""
        return SqliteConnection(self.path, vfs=self.vfs)

    def open_writer(self) -> "SqliteWriter":
        """Open the file for writing, making it when it is missing. Raises LogLockedError."""
        lock = WriterLock(self.directory / LOCK_FILE)
        try:
            return SqliteWriter(self.path, lock, vfs=self.vfs)
        except BaseException:
            lock.release()
            raise


class SqliteConnection:
    """A read-only connection that any thread may use, one at a time."""

    def __init__(self, path: Path, *, vfs: str | None = None) -> None:
        check_sqlite()
        if not path.is_file():
            raise LogMissingError(f"{path} does not exist: there is no log here")
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_EXRESCODE
        # SQLite would make files beside the database, and a copy kept as evidence may not allow it.
        is_kept = not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists()
        address = path.absolute().as_uri() + ("?immutable=1" if is_kept else "")
        self._lock = threading.Lock()
        with converted(f"{path} cannot be opened"):
            self._connection = apsw.Connection(address, flags=flags, vfs=vfs)
            self._connection.set_busy_timeout(1_000)
            schema.check_version(self._connection)

    def query(self, statement: str, *parameters: SqlValue) -> list[SqlRow]:
        """Return a query's rows."""
        with self._lock, converted("reading failed"):
            return self._connection.execute(statement, parameters).fetchall()

    def close(self) -> None:
        """Close the connection."""
        with self._lock, converted("closing failed"):
            self._connection.close()


class SqliteWriter:
    """The one connection that writes."""

    def __init__(self, path: Path, lock: WriterLock, *, vfs: str | None = None) -> None:
        """Open the file. ``lock`` keeps other processes out until the writer is closed."""
        check_sqlite()
        self._process_lock = lock
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_EXRESCODE
        with converted(f"{path} cannot be opened"):
            self._connection = apsw.Connection(
                str(path), flags=flags, vfs=vfs, statementcachesize=_STATEMENTS
            )
            self._cursor = self._connection.cursor()
            self._connection.set_busy_timeout(1_000)
            self._connection.pragma("page_size", _PAGE_BYTES)  # heeded only by a new file
            mode = self._connection.pragma("journal_mode", "wal")
            if mode != "wal":
                raise LogStateError(f"{path} has journal mode {mode}, want wal")
            for pragma, value in (
                ("synchronous", "FULL"),
                ("secure_delete", "ON"),
                ("cell_size_check", "ON"),
                ("trusted_schema", "OFF"),
                ("recursive_triggers", "ON"),  # so that INSERT OR REPLACE meets the triggers too
                ("wal_autocheckpoint", 0),
                ("cache_size", -16_384),
            ):
                self._connection.pragma(pragma, value)
            # What a crash left in the WAL may be only in the page cache, its fsync failed. Copying
            # it into the file now, with a new fsync, makes it durable before anything builds on it.
            _copy_all(self._connection, path)
        self._digests: Digests | None = None
        self._using = threading.Lock()
        """Held by whoever uses the connection."""
        with converted(f"{path} cannot be opened"):
            self._copier = WalCopier(path, vfs=vfs, writing=self._using)
        self._connection.set_wal_hook(self._hear_wal)

    @property
    def digests(self) -> Digests:
        """Where the rows of digests are."""
        if self._digests is None:
            raise LogStateError("the tables are not prepared")
        return self._digests

    def prepare_schema(self) -> None:
        """Make the tables of a new file, or bring an older file's up to date, and read the digests."""
        with self._using:
            with converted("the tables cannot be made or brought up to date"):
                try:
                    schema.migrate(self._connection)
                except apsw.ConstraintError as err:
                    raise DamagedLogError(
                        f"the older tables hold rows that no entry explains ({err}); run verify"
                    ) from err
            with converted("the digests of subjects and requests cannot be read; run verify"):
                read = self._connection.execute
                self._digests = Digests(
                    DigestIndex.of(_findable(read("SELECT subject, handle FROM subject_key"))),
                    DigestIndex.of(_checked(read("SELECT key, seq FROM idempotency"))),
                )

    def begin(
        self,
        known: int,  # noqa: ARG002
        subjects: Callable[[], Sequence[bytes]],
        sought: str | None,  # noqa: ARG002
    ) -> None:
        """Keep nobody out and return nothing: this process alone writes, and the log sees to its threads."""
        subjects()

    def roll_back(self) -> None:
        """Do nothing: nothing was begun."""

    def signing(self) -> AbstractContextManager[None]:
        """Keep nobody out: this process alone signs."""
        return nullcontext()

    def commit(self, group: Group, *, old: Head, new: Head) -> None:
        """Write the group and move the head, in one durable transaction.

        Raises ConstraintViolationError or LogFullError after a clean rollback, LogBrokenError when
        what is on the disk is not known.
        """
        with self._using:
            self._check_sound()
            try:
                self._check_new(group)
                self._write(group, old, new)
            except apsw.Error as err:
                raise self._failed(err, old) from err
            self.digests.subjects.add(_findable(row[:2] for row in group.subject_keys))
            self.digests.requests.add(group.idempotency)

    def insert_checkpoint(self, previous: int | None, size: int, note: bytes) -> None:  # noqa: ARG002
        """Store a signed checkpoint, durably. The same one again is no error."""
        with self._using:
            self._check_sound()
            try:
                self._cursor.execute(
                    "INSERT INTO checkpoint VALUES (?, ?) ON CONFLICT DO NOTHING", (size, note)
                )
                stored = self._one("SELECT note FROM checkpoint WHERE size = ?", size)
            except apsw.Error as err:
                raise self._failed(err, None) from err
        if stored != note:
            raise DamagedLogError(f"another checkpoint is stored for size {size}")

    def purge(self) -> bool:
        """Empty the WAL, so that what was erased is in no file. False when a reader holds it."""
        with self._copier.paused(), self._using:
            self._check_sound()
            try:
                self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            except apsw.BusyError:
                return False
            except apsw.Error as err:
                raise self._failed(err, None) from err
        return True

    def close(self) -> None:
        """Close the connection; the last one out copies the WAL into the file and removes it."""
        try:
            with converted("closing failed"):
                self._copier.close()
                self._connection.close()
        finally:
            self._process_lock.release()

    def _check_new(self, group: Group) -> None:
        """Raise ConstraintViolationError for a subject or a request that has a row already."""
        handles = [handle for handle, _ in _findable(row[:2] for row in group.subject_keys)]
        keys = [key for key, _ in group.idempotency]
        for index, digests, stored in (
            (self.digests.subjects, handles, "SELECT handle FROM subject_key WHERE subject = ?"),
            (self.digests.requests, keys, "SELECT key FROM idempotency WHERE seq = ?"),
        ):
            rows = {self._one(stored, number) for number in index.candidates(digests)}
            if rows.intersection(digests) or len(set(digests)) < len(digests):
                raise ConstraintViolationError("a subject or a request would have two rows")

    def _write(self, group: Group, old: Head, new: Head) -> None:
        run = self._cursor.execute
        run("BEGIN IMMEDIATE")
        self._insert("entry", group.entries)
        self._insert("payload", group.payloads)
        self._insert("record_key", group.record_keys)
        self._insert("subject_key", group.subject_keys)
        self._insert("idempotency", group.idempotency)
        if group.erased:
            self._erase(group.erased)
        self._insert(
            "tile", [(tile.level, tile.position, tile.root, tile.hashes) for tile in group.tiles]
        )
        run(
            "UPDATE head SET size = ?, frontier = ?, root = ? WHERE size = ? AND root = ?",
            (new.size, new.frontier, new.root, old.size, old.root),
        )
        if self._connection.changes() != 1:
            self._roll_back(old)
            raise LogBrokenError(f"the head is no longer at size {old.size}: another writer?")
        run("COMMIT")

    def _insert(self, table: str, rows: Sequence[tuple[SqlValue, ...]]) -> None:
        """Insert rows, many with one statement.

        Every statement gives the interpreter's lock away and must win it back: with one a row, a busy
        event loop makes a group of 64 wait hundreds of times.
        """
        for at in range(0, len(rows), _MOST_ROWS):
            piece = rows[at : at + _MOST_ROWS]
            self._cursor.execute(_insertion(table, len(piece[0]), len(piece)), [*chain(*piece)])

    def _hear_wal(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        self._copier.hear(pages)
        return apsw.SQLITE_OK

    def _check_sound(self) -> None:
        if self._copier.failure is not None:
            raise LogBrokenError(self._copier.failure)

    def _erase(self, erased: Sequence[tuple[int, int, int]]) -> None:
        """Overwrite envelopes, keys and salts with zeros, in place: see audit.schema."""
        many = self._cursor.executemany
        many("INSERT INTO erased VALUES (?, ?, ?)", erased)
        rows = [(seq,) for seq, _, _ in erased]
        many("UPDATE payload SET envelope = zeroblob(length(envelope)) WHERE seq = ?", rows)
        many("UPDATE record_key SET wrapped = zeroblob(length(wrapped)) WHERE seq = ?", rows)
        gone = bytes(WRAPPED_SUBJECT_KEY_BYTES)
        subjects = {subject: unlinked_handle(subject) for _, _, subject in erased}
        many(
            "UPDATE subject_key SET handle = ?2, wrapped = ?3, digest = ?4 WHERE subject = ?1"
            " AND NOT EXISTS (SELECT 1 FROM record_key WHERE subject = ?1"
            " AND NOT EXISTS (SELECT 1 FROM erased WHERE erased.seq = record_key.seq))",
            [
                (subject, handle, gone, subject_row_digest(subject, handle, gone))
                for subject, handle in subjects.items()
            ],
        )

    def _failed(self, err: apsw.Error, old: Head | None) -> LogStateError:
        """Roll back and say what the failure means for the writer."""
        if isinstance(err, apsw.BusyError) and not self._connection.in_transaction:
            return LogLockedError(f"another connection is writing to the database: {err}")
        clean = self._roll_back(old)
        if clean and isinstance(err, apsw.ConstraintError):
            return ConstraintViolationError(str(err))
        if clean and isinstance(err, apsw.FullError):
            return LogFullError(f"the disk is full: {err}")
        return LogBrokenError(f"a write failed, reopen the log: {type(err).__name__}: {err}")

    def _roll_back(self, old: Head | None) -> bool:
        """Return whether the database is provably as before."""
        try:
            # SQLite has often rolled back by itself already, and a second ROLLBACK is an error.
            if self._connection.in_transaction:
                self._cursor.execute("ROLLBACK")
            return old is None or self._one("SELECT size FROM head") == old.size
        except apsw.Error:
            return False

    def _one(self, statement: str, *parameters: SqlValue) -> SqlValue:
        row = self._connection.execute(statement, parameters).fetchone()
        return None if row is None else row[0]


def _findable(rows: Iterable[tuple[int, bytes]]) -> Iterator[tuple[bytes, int]]:
    """Yield (handle, subject) of those whom a digest leads to: not of erased ones, nor of nobody."""
    return _checked(
        (handle, number)
        for number, handle in rows
        if number < 0 or handle != unlinked_handle(number)
    )


def _checked(rows: Iterable[tuple[bytes, int]]) -> Iterator[tuple[bytes, int]]:
    """Yield (digest, row) pairs. A damaged page may hold anything in a digest's place."""
    for digest, row in rows:
        if not isinstance(digest, bytes):
            raise DamagedLogError(
                f"the digest of row {row} is {type(digest).__name__}, want bytes; run verify"
            )
        yield digest, row


@contextmanager
def converted(what: str) -> Iterator[None]:
    """Convert SQLite's errors into ours."""
    try:
        yield
    except (apsw.CorruptError, apsw.NotADBError, UnicodeDecodeError) as err:
        raise DamagedLogError(f"{what}: {err}") from err
    except apsw.Error as err:
        raise LogStateError(f"{what}: {type(err).__name__}: {err}") from err


def _copy_all(connection: apsw.Connection, path: Path) -> None:
    """Copy the WAL into the file and empty it, or leave it as it is for whoever is reading it.

    What was erased right before a crash is then in it until the next purge or the log is closed.
    """
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.BusyError as err:
        frames, copied = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        if frames != copied:
            raise LogStateError(
                f"{path} is being read as it was before a crash, so that what came after cannot be "
                "copied into it: wait for whoever reads it, a verification perhaps"
            ) from err


@cache
def _insertion(table: str, columns: int, rows: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"INSERT INTO {table} VALUES {', '.join([row] * rows)}"  # noqa: S608  # names of ours


def check_sqlite() -> None:
    """Refuse a SQLite whose WAL can lose commits."""
    version = apsw.sqlite_lib_version()
    if tuple(map(int, version.split("."))) < _OLDEST_SQLITE:
        raise LogStateError(f"SQLite is {version}, want 3.51.3 or later: older ones lose commits")
