"""How many batches may be under way at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import BatchesFullError


class Batches:
    """Counts the batches under way: each holds its body and some answers in memory."""

    def __init__(self, *, limit: int) -> None:
        """At most ``limit`` at a time."""
        self._limit = limit
        self._under_way = 0

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Count one batch while the block runs. Raises BatchesFullError."""
        if self._under_way >= self._limit:
            raise BatchesFullError(limit=self._limit)
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
