"""What the log asks of a store: one place for rows that many may read and that only grows.

There are two, with one behaviour: ``audit.sqlite`` for one process with a file, ``audit.postgres``
for several processes with one database. Reading is the same SQL for both, in ``audit.row_reader``.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from audit.errors import LogStateError
from audit.rows import Group, Head, News

if TYPE_CHECKING:
    from audit.digest_index import Digests

SqlValue: TypeAlias = int | float | str | bytes | None
SqlRow: TypeAlias = tuple[SqlValue, ...]


class ConstraintViolationError(LogStateError):
    """A row of the group breaks a UNIQUE rule. The group was rolled back."""


class Connection(Protocol):
    """A way to read the store, from any thread."""

    def query(self, statement: str, *parameters: SqlValue) -> Sequence[SqlRow]:
        """Return a query's rows. Parameters are ``$1``, ``$2``, first used in this order.

        Raises LogStateError (and its kinds).
        """
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...


class Writer(Protocol):
    """The one way to write. Not for two threads at once; the log sees to that."""

    @property
    def digests(self) -> "Digests | None":
        """How rows are found by digests; None where the store itself has an index of them."""
        ...

    def prepare_schema(self) -> None:
        """Make sure that the tables are there and of this version. Raises SchemaVersionError."""
        ...

    def begin(
        self, known: int, subjects: Callable[[], Sequence[bytes]], sought: str | None
    ) -> News | None:
        """Keep all other writers out until ``commit`` or ``roll_back``.

        Once they are out ``subjects`` is asked for handles, and ``sought`` is an identifier to look
        for. Returns what others have appended after
        the first ``known`` entries, with those of the subjects that are there; None where nobody else
        can append. Raises LogStateError when that cannot be.
        """
        ...

    def commit(self, group: Group, *, old: Head, new: Head) -> None:
        """Write the group and move the head from ``old`` to ``new``, in one durable transaction.

        Raises ConstraintViolationError or LogFullError after a clean rollback, LogUnavailableError
        when the database went away and the group is not there or nobody can tell, LogBrokenError
        when what is on the disk is not known.
        """
        ...

    def roll_back(self) -> None:
        """Let others write again without having written anything."""
        ...

    def signing(self) -> AbstractContextManager[None]:
        """Keep all others from signing checkpoints meanwhile."""
        ...

    def insert_checkpoint(self, previous: int | None, size: int, note: bytes) -> None:
        """Store a signed checkpoint durably, provided that the newest stored is of ``previous``.

        The same one again is no error. Raises DamagedLogError when another is in its place.
        """
        ...

    def purge(self) -> bool:
        """Remove what was erased from every file of the store; False when that cannot be now."""
        ...

    def close(self) -> None:
        """Give connections and locks back."""
        ...


class Store(Protocol):
    """Where a log's rows are."""

    @property
    def name(self) -> str:
        """What messages call it. Without secrets."""
        ...

    def exists(self) -> bool:
        """Return whether there is a log in it."""
        ...

    def connect(self) -> Connection:
        """Open it for reading. Raises LogMissingError, SchemaVersionError."""
        ...

    def open_writer(self) -> Writer:
        """Open it for writing. Raises LogLockedError where only one process may write."""
        ...


def open_store(directory: Path, url: str | None) -> Store:
    """Return the store of the log in ``directory``: PostgreSQL at ``url``, or else SQLite.

    Raises LogStateError when the driver for PostgreSQL is not installed.
    """
    if url is None:
        from audit.sqlite import SqliteStore

        return SqliteStore(directory)
    from audit.postgres import PostgresStore  # needs the extra `postgres`

    return PostgresStore(url)
