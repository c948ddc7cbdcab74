"""Reading a SQLite log that may be damaged. See ``audit.scan``."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import apsw

from audit import schema
from audit.errors import DamagedLogError, LogMissingError, LogStateError
from audit.files import writer_is_alive
from audit.layout import DATABASE_FILE, LOCK_FILE
from audit.store import SqlRow, SqlValue
from audit.wal import lost_commits

UNREADABLE = (apsw.Error, UnicodeDecodeError, MemoryError)
"""What reading a damaged page raises: SQLite's own errors, text that is none, absurd lengths."""
_CACHE_KIB = 65_536


@dataclass(frozen=True, slots=True)
class SqliteSource:
    """The directory of a log kept in SQLite."""

    directory: Path

    def open(self) -> "SqliteScanner":
        """Open a view. Raises LogMissingError, DamagedLogError."""
        return SqliteScanner(self.directory / DATABASE_FILE, lock=self.directory / LOCK_FILE)


class SqliteScanner:
    """A read-only connection for checking. One thread."""

    id_as_bytes = "CAST(id AS BLOB)"

    def __init__(self, path: Path, *, lock: Path) -> None:
        """Open the database. Raises LogMissingError, DamagedLogError when it is no database."""
        if not path.is_file():
            raise LogMissingError(f"{path} does not exist: there is no log here")
        self._path = path
        self._wal = path.with_name(path.name + "-wal")
        self._lock = lock
        self._is_live = writer_is_alive(lock)
        in_use = self._is_live or (self._wal.exists() and self._wal.stat().st_size > 0)
        self._is_at_rest = not in_use
        self._state = _state(path)
        # A log at rest is opened without locks, and without the side files that a reader of another
        # user would leave behind for the service to trip over.
        name = path.absolute().as_uri() + ("" if in_use else "?immutable=1")
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_EXRESCODE
        try:
            self._connection = apsw.Connection(name, flags=flags)
            self._connection.set_busy_timeout(1_000)
            self._connection.pragma("cell_size_check", "ON")
            self._connection.pragma("trusted_schema", "OFF")
            self._connection.pragma("cache_size", -_CACHE_KIB)
            if in_use:  # one snapshot for everything that follows
                self._connection.execute("BEGIN")
            self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        except UNREADABLE as err:
            raise DamagedLogError(f"{path} cannot be read: {err}") from err

    @property
    def is_live(self) -> bool:
        """Whether a process holds the writer's lock, or has held it since this view was opened."""
        return self._is_live or writer_is_alive(self._lock) or _state(self._path) != self._state

    def check_undisturbed(self) -> None:
        """Raise LogStateError when somebody has opened for writing what was read as at rest."""
        if self._is_at_rest and self.is_live:
            raise LogStateError(
                f"{self._path} was opened for writing while it was read as a log at rest: "
                "verify it again"
            )

    def header_faults(self) -> list[str]:
        """Return what is wrong with the file's identity and schema."""
        faults = []
        try:
            application = self._connection.pragma("application_id")
            version = self._connection.pragma("user_version")
            rows = self._connection.execute("SELECT name, sql FROM sqlite_schema").fetchall()
        except UNREADABLE as err:
            return [f"the schema cannot be read: {err}"]
        if application != schema.APPLICATION_ID:
            faults.append(f"application_id is {application!r}, want {schema.APPLICATION_ID}")
        # An older file, a backup perhaps, is no worse: it is brought up to date when it is opened.
        if not isinstance(version, int) or not 1 <= version <= schema.VERSION:
            faults.append(f"user_version is {version!r}, want {schema.VERSION}")
            version = schema.VERSION
        wanted = schema.statements(version)
        found = {str(name): sql for name, sql in rows if sql is not None}
        for name in sorted(wanted.keys() | found.keys()):
            if name not in found:
                faults.append(f"{name} is missing from the schema")
            elif wanted.get(name) != found[name]:
                faults.append(f"{name} is not what version {version} of the schema makes")
        return faults

    def tail_faults(self) -> list[str]:
        """Return what shows that acknowledged groups were lost from the write-ahead log."""
        page_size = self.value("PRAGMA page_size")
        if page_size is None:
            return []
        try:
            lost = lost_commits(self._wal, page_size=page_size)
        except OSError as err:
            return [f"{self._wal.name} cannot be read: {err}"]
        if not lost or self.is_live:  # then frames are being written as we look
            return []
        what = f"{self._wal.name} is damaged before {lost} commits"
        return [f"{what}, of which only the last may not have been acknowledged: they are lost"]

    def page_faults(self) -> list[str]:
        """Return what SQLite itself finds wrong, and bytes that no page accounts for."""
        try:
            lines = [
                str(line) for (line,) in self._connection.execute("PRAGMA integrity_check(1000)")
            ]
        except UNREADABLE as err:
            lines = [f"the integrity check stopped: {err}"]
        found = [] if lines == ["ok"] else lines
        pages, size = self.value("PRAGMA page_count"), self.value("PRAGMA page_size")
        on_disk = self._path.stat().st_size
        if pages is not None and size is not None and on_disk > pages * size:
            found.append(f"{on_disk - pages * size} bytes lie beyond the last page")
        return found

    def value(self, statement: str, *parameters: SqlValue) -> int | None:
        """Return one integer, or None when there is none to be read."""
        try:
            row = self._connection.execute(statement, parameters).fetchone()
        except UNREADABLE:
            return None
        return row[0] if row is not None and isinstance(row[0], int) else None

    def rows(self, statement: str, *parameters: SqlValue) -> list[SqlRow] | None:
        """Return the rows of a query, or None when they cannot all be read."""
        try:
            return self._connection.execute(statement, parameters).fetchall()
        except UNREADABLE:
            return None

    def by_key(
        self, statement: str, start: int, stop: int, *, dense: bool = False
    ) -> tuple[dict[int, SqlRow], dict[int, str]]:
        """Return rows ``start <= key < stop`` by key: see ``audit.scan.Scanner``."""
        rows = self.rows(statement, start, stop)
        found = {row[0]: row for row in rows or [] if type(row[0]) is int}
        whole = len(found) == stop - start or not dense
        if rows is not None and len(found) == len(rows) and whole:
            return found, {}
        unreadable: dict[int, str] = {}
        for key in range(start, stop):
            if key in found:
                continue
            try:
                for row in self._connection.execute(statement, (key, key + 1)):
                    found[key] = row
            except UNREADABLE as err:
                unreadable[key] = str(err)
        return {key: row for key, row in found.items() if start <= key < stop}, unreadable

    def walk(self, statement: str, *parameters: SqlValue) -> Iterator[SqlRow]:
        """Yield a query's rows until the end or the first that cannot be read."""
        with suppress(*UNREADABLE):
            yield from self._connection.execute(statement, parameters)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
