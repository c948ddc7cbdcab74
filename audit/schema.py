"""The SQLite schema: what the migrations make of a new file, and how an older file gets there.

``verify`` compares each object's text with what the file holds, by the file's own version.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import apsw

from audit.errors import LogStateError, SchemaVersionError
from audit.migrations import Step, steps

APPLICATION_ID = 0x47726E64
"""Marks the file as ours: ``file`` and ``sqlite3`` show it. ASCII "Grnd"."""
STEPS = steps("sqlite")
VERSION = STEPS[-1].number


def migrate(connection: apsw.Connection, todo: Sequence[Step] = STEPS) -> None:
    """Run the steps that the file has not had, in one transaction.

    Raises SchemaVersionError for a file that a newer program wrote, LogStateError for one that is
    no log.
    """
    with _transaction(connection):
        if _integer(connection, "SELECT count(*) FROM sqlite_schema") == 0:
            connection.pragma("application_id", APPLICATION_ID)
        application = connection.pragma("application_id")
        if application != APPLICATION_ID:
            raise LogStateError(f"the file is not a log: application id {application!r}")
        version = _integer(connection, "PRAGMA user_version")
        newest = todo[-1].number
        if version > newest:
            raise SchemaVersionError(got=version, want=newest)
        for step in todo:
            if step.number > version:
                connection.execute(step.sql)
                connection.pragma("user_version", step.number)


def check_version(connection: apsw.Connection) -> None:
    """Raise unless the file is a log of this schema version."""
    application = connection.pragma("application_id")
    if application != APPLICATION_ID:
        raise LogStateError(f"the file is not a log: application id {application!r}")
    version = _integer(connection, "PRAGMA user_version")
    if version != VERSION:
        raise SchemaVersionError(got=version, want=VERSION)


def _integer(connection: apsw.Connection, statement: str) -> int:
    ((value,),) = connection.execute(statement).fetchall()
    if not isinstance(value, int):
        raise LogStateError(f"{statement} gives {type(value).__name__}, want an integer")
    return value


@contextmanager
def _transaction(connection: apsw.Connection) -> Iterator[None]:
    """Commit what is done inside, or nothing of it: with the first error, not one about undoing."""
    connection.execute("BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # On a full disk SQLite has rolled back by itself, and a second ROLLBACK is an error.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@cache
def statements(version: int) -> dict[str, str]:
    """Return name of each object -> the statement that makes it, as SQLite stores it at this version."""
    connection = apsw.Connection(":memory:")
    try:
        migrate(connection, STEPS[:version])
        rows = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
        return {str(name): str(sql) for name, sql in rows}
    finally:
        connection.close()


STATEMENTS: dict[str, str] = statements(VERSION)
"""Those of a file that is up to date."""

TABLES: tuple[str, ...] = tuple(
    name for name, sql in STATEMENTS.items() if sql.startswith("CREATE TABLE")
)
