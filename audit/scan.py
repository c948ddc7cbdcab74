"""Reading a database that may be damaged: every row on its own if need be, and nothing trusted.

``audit.sqlite`` stops at the first damaged page, which is right for serving. Here a damaged page
costs the rows on it and no others.
"""

from collections.abc import Iterator
from pathlib import Path

import apsw

from audit import schema
from audit.errors import DamagedLogError, LogMissingError
from audit.files import writer_is_alive
from audit.sqlite import SqlRow, SqlValue

UNREADABLE = (apsw.Error, UnicodeDecodeError, MemoryError)
"""What reading a damaged page raises: SQLite's own errors, text that is none, absurd lengths."""


class Scanner:
    """A read-only connection for checking. One thread."""

    def __init__(self, path: Path, *, lock: Path) -> None:
        """Open the database. Raises LogMissingError, DamagedLogError when it is no database."""
        if not path.is_file():
            raise LogMissingError(f"{path} does not exist: there is no log here")
        wal = path.with_name(path.name + "-wal")
        in_use = writer_is_alive(lock) or (wal.exists() and wal.stat().st_size > 0)
        # A log at rest is opened without locks, and without the side files that a reader of another
        # user would leave behind for the service to trip over.
        name = path.absolute().as_uri() + ("" if in_use else "?immutable=1")
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_EXRESCODE
        try:
            self._connection = apsw.Connection(name, flags=flags)
            self._connection.set_busy_timeout(1_000)
            self._connection.pragma("cell_size_check", "ON")
            self._connection.pragma("trusted_schema", "OFF")
            if in_use:  # one snapshot for everything that follows
                self._connection.execute("BEGIN")
            self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        except UNREADABLE as err:
            raise DamagedLogError(f"{path} cannot be read: {err}") from err

    def header_faults(self) -> list[str]:
        """Return what is wrong with the file's identity and schema."""
        faults = []
        try:
            for pragma, want in (
                ("application_id", schema.APPLICATION_ID),
                ("user_version", schema.VERSION),
            ):
                got = self._connection.pragma(pragma)
                if got != want:
                    faults.append(f"{pragma} is {got!r}, want {want}")
            rows = self._connection.execute("SELECT name, sql FROM sqlite_schema").fetchall()
        except UNREADABLE as err:
            return [*faults, f"the schema cannot be read: {err}"]
        found = {str(name): sql for name, sql in rows if sql is not None}
        for name in sorted(schema.STATEMENTS.keys() | found.keys()):
            if name not in found:
                faults.append(f"{name} is missing from the schema")
            elif schema.STATEMENTS.get(name) != found[name]:
                faults.append(f"{name} is not what this version of the schema makes")
        return faults

    def integrity_faults(self) -> list[str]:
        """Return what SQLite itself finds wrong with pages, rows and indexes."""
        try:
            lines = [
                str(line) for (line,) in self._connection.execute("PRAGMA integrity_check(1000)")
            ]
        except UNREADABLE as err:
            return [f"the integrity check stopped: {err}"]
        return [] if lines == ["ok"] else lines

    def value(self, statement: str) -> int | None:
        """Return one integer, or None when there is none to be read."""
        try:
            row = self._connection.execute(statement).fetchone()
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
        """Return rows ``start <= key < stop`` by key, and why others could not be read.

        ``statement`` selects the key first and takes (start, stop). A range that cannot be read, or
        that has gaps where it should be ``dense``, is read again row by row.
        """
        rows = self.rows(statement, start, stop)
        found = {row[0]: row for row in rows or [] if isinstance(row[0], int)}
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

    def walk(self, statement: str) -> Iterator[SqlRow]:
        """Yield a query's rows until the end or the first that cannot be read."""
        try:
            yield from self._connection.execute(statement)
        except UNREADABLE:
            return

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
