"""Reading a log in PostgreSQL that may be damaged. See ``audit.scan``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from audit import postgres_schema
from audit.errors import LogStateError, LogUnavailableError
from audit.postgres_session import Connection, Session
from audit.store import SqlRow, SqlValue

_SCANNING = {
    "default_transaction_read_only": "on",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}


@dataclass(frozen=True, slots=True)
class PostgresSource:
    """The database of a log."""

    url: str = field(repr=False)

    def open(self) -> "PostgresScanner":
        """Open a view. Raises LogMissingError, SchemaVersionError, LogUnavailableError."""
        return PostgresScanner(self.url)


class PostgresScanner:
    """A read-only connection for checking, one snapshot for everything. One thread."""

    id_as_bytes = "convert_to(id, 'UTF8')"
    is_live = True
    """There may always be another process that writes."""

    def __init__(self, url: str) -> None:
        self._session = Session(url, writes=False, settings=_SCANNING, call_seconds=None)
        try:
            postgres_schema.check_version(self._session)
            self._session.run(_begin, what="beginning to check")
        except BaseException:
            self._session.close()
            raise

    def check_undisturbed(self) -> None:
        """Do nothing: the snapshot is one as long as its connection holds."""

    def header_faults(self) -> list[str]:
        """Return what is wrong with the schema: triggers that are missing or switched off."""
        rows = self.rows(
            "SELECT tgname, tgenabled::text FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid"
            " WHERE relnamespace = 'grounds'::regnamespace AND NOT tgisinternal"
        )
        if rows is None:
            return ["the triggers cannot be read"]
        found = {str(name): state for name, state in rows}
        return [
            f"the trigger {name} is {'missing' if name not in found else 'switched off'}"
            for name in postgres_schema.TRIGGERS
            if found.get(name) not in ("O", "A")
        ]

    def tail_faults(self) -> list[str]:
        """Return nothing: the server recovers its own write-ahead log."""
        return []

    def page_faults(self) -> list[str]:
        """Return nothing: ``pg_amcheck`` and data checksums are the server's own checks."""
        return []

    def value(self, statement: str, *parameters: SqlValue) -> int | None:
        """Return one integer, or None when there is none to be read."""
        rows = self.rows(statement, *parameters)
        first = rows[0][0] if rows else None
        return first if isinstance(first, int) else None

    def rows(self, statement: str, *parameters: SqlValue) -> list[SqlRow] | None:
        """Return the rows of a query, or None when they cannot all be read.

        Raises LogUnavailableError when the server goes away, which says nothing about the log.
        """
        try:
            return self._fetch(statement, parameters)
        except LogUnavailableError:
            raise  # and with its connection the snapshot is gone
        except LogStateError:
            return None

    def by_key(
        self, statement: str, start: int, stop: int, *, dense: bool = False
    ) -> tuple[dict[int, SqlRow], dict[int, str]]:
        """Return rows ``start <= key < stop`` by key: see ``audit.scan.Scanner``."""
        rows = self.rows(statement, start, stop)
        if rows is not None and (len(rows) == stop - start or not dense):
            return {row[0]: row for row in rows if isinstance(row[0], int)}, {}
        found: dict[int, SqlRow] = {}
        unreadable: dict[int, str] = {}
        for key in range(start, stop):
            try:
                for row in self._fetch(statement, (key, key + 1)):
                    found[key] = row
            except LogUnavailableError:
                raise
            except LogStateError as err:
                unreadable[key] = str(err)
        return found, unreadable

    def walk(self, statement: str, *parameters: SqlValue) -> Iterator[SqlRow]:
        """Yield a query's rows until the end or the first that cannot be read."""
        yield from self.rows(statement, *parameters) or ()

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _fetch(self, statement: str, parameters: Sequence[SqlValue]) -> list[SqlRow]:
        async def fetch(connection: Connection) -> list[SqlRow]:
            # A page that cannot be read fails the statement; the snapshot must survive that.
            async with connection.transaction():
                return [tuple(row) for row in await connection.fetch(statement, *parameters)]

        return self._session.go_on(fetch, what="checking")


async def _begin(connection: Connection) -> None:
    await connection.transaction(isolation="repeatable_read", readonly=True).start()
