"""Where the rare entries are: found by reading each leaf once, remembered from then on.

Holds and timestamps are few among many decisions. The log is their only record, so that nothing
beside it can disagree with it; this index is memory, made when first asked and kept up to date.
"""

import threading
from collections.abc import Iterable

from audit.leaf import Leaf, leaf_ending, parse_leaf
from audit.reader import LogReader

_CHUNK = 4_096


class RareEntries:
    """The entries of some types, in order. Safe from any thread."""

    def __init__(self, log: LogReader, types: Iterable[str]) -> None:
        self._log = log
        self._endings = tuple(map(leaf_ending, types))
        self._found: list[tuple[int, Leaf]] = []
        self._next = 0
        self._lock = threading.Lock()

    def entries(self) -> list[tuple[int, Leaf]]:
        """Return (index, leaf) of each such entry that is durable by now."""
        with self._lock:
            size = self._log.size
            while self._next < size:
                stop = min(self._next + _CHUNK, size)
                for row in self._log.entries(self._next, stop):
                    if row.leaf.endswith(self._endings):
                        self._found.append((row.seq, parse_leaf(row.leaf)))
                self._next = stop
            return list(self._found)
