"""The PostgreSQL schema: making it, bringing it up to date, and what the service's role may do."""

import re
from collections.abc import Sequence

from audit.errors import LogMissingError, SchemaVersionError
from audit.migrations import Step, steps
from audit.postgres_session import LOCKS, MIGRATING, SCHEMA, Connection, Session

STEPS = steps("postgres")
VERSION = STEPS[-1].number
TRIGGERS: tuple[str, ...] = tuple(
    name for step in STEPS for name in re.findall(r"CREATE TRIGGER (\w+)", step.sql)
)
"""The triggers that refuse changes, by name."""

_TABLES = "entry, payload, record_key, subject_key, idempotency, erased, tile, checkpoint, head, migration"
GRANTS = (
    f"GRANT USAGE ON SCHEMA {SCHEMA} TO %1$I;"
    f"GRANT SELECT ON {_TABLES} TO %1$I;"
    "GRANT INSERT ON entry, payload, record_key, subject_key, idempotency, tile, checkpoint"
    " TO %1$I;"
    "GRANT EXECUTE ON FUNCTION advance_head, erase TO %1$I"
)
"""What the role that serves needs, and all it gets: no UPDATE, no DELETE. ``%1$I`` is its name."""

_MIGRATION = """
CREATE TABLE IF NOT EXISTS migration (
  number integer PRIMARY KEY,
  name text NOT NULL,
  applied timestamptz NOT NULL DEFAULT now()
)"""


def migrate(url: str, *, role: str | None = None, todo: Sequence[Step] = STEPS) -> tuple[int, int]:
    """Run the steps that the database has not had, in one transaction; return (before, after).

    ``url`` is of the tables' owner, who may create a schema; ``role``, which must exist, is given
    what serving needs. Raises SchemaVersionError for a database that a newer program wrote.
    """
    session = Session(url, writes=True, settings={"statement_timeout": "0"}, call_seconds=None)

    async def run(connection: Connection) -> tuple[int, int]:
        async with connection.transaction():
            await connection.execute(f"SELECT pg_advisory_xact_lock({LOCKS}, {MIGRATING})")
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            await connection.execute(_MIGRATION)
            before = await connection.fetchval("SELECT coalesce(max(number), 0) FROM migration")
            newest = todo[-1].number
            if before > newest:
                raise SchemaVersionError(got=before, want=newest)
            for step in todo:
                if step.number > before:
                    await connection.execute(step.sql)
                    await connection.execute(
                        "INSERT INTO migration (number, name) VALUES ($1, $2)",
                        step.number,
                        step.name,
                    )
            if role is not None:
                await connection.execute(
                    await connection.fetchval("SELECT format($1, $2::text)", GRANTS, role)
                )
        return before, newest

    try:
        return session.run(run, what="migrating")
    finally:
        session.close()


def check_version(session: Session) -> None:
    """Raise LogMissingError where there are no tables, SchemaVersionError for other ones."""

    async def version(connection: Connection) -> int:
        number: int = await connection.fetchval("SELECT coalesce(max(number), 0) FROM migration")
        return number

    got = session.run(version, what="looking at the schema", reopen=True)
    if got == 0:
        raise LogMissingError(f"{session.name} holds no log: run `grounds log migrate`")
    if got != VERSION:
        raise SchemaVersionError(got=got, want=VERSION)
