"""Reading a store that may be damaged: every row on its own if need be, and nothing trusted.

The store's own reader stops at the first damaged page, which is right for serving. Here a damaged
page costs the rows on it and no others. Statements are SQL that every engine here understands;
parameters are ``$1``, ``$2``, first used in this order.
"""

from collections.abc import Iterator
from typing import Protocol

from audit.store import SqlRow, SqlValue


class Scanner(Protocol):
    """A read-only view of a store for checking, one snapshot as far as it can. One thread."""

    @property
    def id_as_bytes(self) -> str:
        """The SQL that reads the column ``id`` as bytes: damage can leave text that is not UTF-8."""
        ...

    @property
    def is_live(self) -> bool:
        """Whether a writer may be at work, so that later views may hold more."""
        ...

    def check_undisturbed(self) -> None:
        """Raise LogStateError when what was read may not be of one moment. Ask at the end."""
        ...

    def header_faults(self) -> list[str]:
        """Return what is wrong with the store's identity and schema."""
        ...

    def tail_faults(self) -> list[str]:
        """Return what shows that acknowledged groups were lost at the end of the store."""
        ...

    def page_faults(self) -> list[str]:
        """Return what the engine itself finds wrong with pages, rows and indexes."""
        ...

    def value(self, statement: str, *parameters: SqlValue) -> int | None:
        """Return one integer, or None when there is none to be read."""
        ...

    def rows(self, statement: str, *parameters: SqlValue) -> list[SqlRow] | None:
        """Return the rows of a query, or None when they cannot all be read."""
        ...

    def by_key(
        self, statement: str, start: int, stop: int, *, dense: bool = False
    ) -> tuple[dict[int, SqlRow], dict[int, str]]:
        """Return rows ``start <= key < stop`` by key, and why others could not be read.

        ``statement`` selects the key first and takes (start, stop). A range that cannot be read, or
        that has gaps where it should be ``dense``, is read again row by row.
        """
        ...

    def walk(self, statement: str, *parameters: SqlValue) -> Iterator[SqlRow]:
        """Yield a query's rows until the end or the first that cannot be read."""
        ...

    def close(self) -> None:
        """Give the view back."""
        ...


class Source(Protocol):
    """Where a log is stored: what a process of its own needs to open a view. Can be pickled."""

    def open(self) -> Scanner:
        """Open a view. Raises LogMissingError, DamagedLogError when it is no store at all."""
        ...
