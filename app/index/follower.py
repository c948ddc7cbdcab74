"""Follows the log and keeps the index up to date, off the path of every decision.

Batches are small, and while decisions wait for their record the follower rests nine times as long
as it works: under load lists fall behind, and decisions do not.
"""

import asyncio
from collections.abc import Callable
from threading import Lock
from time import perf_counter

import structlog

from app.index.rows import TYPES, WITH_PAYLOAD, advised_outcome, changes
from app.index.store import IndexStore, IndexStoreError, Position, Statement
from audit.errors import AuditError, DamagedLogError
from audit.leaf import leaf_ending, parse_leaf
from audit.reader import LogReader
from audit.records import ERASURE
from audit.rows import EntryRow

BATCH = 128
"""Entries taken in at a time: about 15 ms of work."""
INTERVAL_SECONDS = 0.25
REST = 9
"""Times as long as a batch took, while decisions wait."""
REACH_SECONDS = 2.0
"""How long a page waits for the index to know what its reader has just done."""

_ENDINGS = tuple(map(leaf_ending, TYPES))

_log = structlog.get_logger("grounds.index")


class Follower:
    """Keeps one index. Safe from any thread."""

    def __init__(
        self, log: LogReader, store: IndexStore, *, busy: Callable[[], bool] = lambda: False
    ) -> None:
        """``busy`` says whether decisions wait. Raises IndexStoreError, and as reading the log."""
        self._log, self.store, self._busy = log, store, busy
        self._stepping = Lock()
        self._position = store.position()
        self._unpurged = False
        self._news = asyncio.Event()
        if not self._is_of_this_log(self._position):
            _log.warning("the index is of another log: making it anew")
            self.rebuild()

    @property
    def behind(self) -> int:
        """Entries of the log that the index does not know yet."""
        return max(0, self._log.size - self._position.next)

    def rebuild(self) -> None:
        """Begin anew from the log's first entry."""
        with self._stepping:
            self.store.clear()
            self._position = self.store.position()

    def step(self) -> bool:
        """Take in one batch; return whether there is more.

        Raises IndexStoreError or AuditError: then the same batch comes again.
        """
        with self._stepping:
            old = self._position
            size = self._log.size
            rows = self._log.entries(old.next, min(size, old.next + BATCH))
            if rows:
                statements = [each for row in rows for each in self._changes(row)]
                new = Position(
                    rows[-1].seq + 1,
                    rows[-1].leaf_hash,
                    complete=old.complete or rows[-1].seq + 1 == size,
                )
                moved = self.store.write(statements, old=old, new=new)
                # Another process that keeps this file, or makes it anew, has been here otherwise.
                self._position = new if moved else self.store.position()
            if self._unpurged:
                self._unpurged = not self.store.purge()
            return self._position.next < size

    def catch_up(self, advance: Callable[[int, int], None] = lambda _done, _total: None) -> None:
        """Take in all there is. Raises as ``step``."""
        while self.step():
            advance(self._position.next, self._log.size)

    async def run(self) -> None:
        """Follow until cancelled. A fault is logged, and the batch tried again."""
        while True:
            begun = perf_counter()
            try:
                more = await asyncio.to_thread(self.step)
            except (AuditError, IndexStoreError) as err:
                _log.error("index", error=type(err).__name__, reason=str(err))
                more = False
            if more:
                took = perf_counter() - begun
                await asyncio.sleep(took * REST if self._busy() else 0)
                continue
            try:
                async with asyncio.timeout(INTERVAL_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()

    async def reach(self, index: int) -> bool:
        """Wait a little until the index knows an entry; return whether it does.

        So that whoever has just taken a step finds it in their list.
        """
        deadline = perf_counter() + REACH_SECONDS
        while self._position.next <= index and perf_counter() < deadline:
            self._news.set()
            await asyncio.sleep(0.01)
        return self._position.next > index

    def _is_of_this_log(self, position: Position) -> bool:
        if position.next == 0:
            return True
        rows = self._log.entries(position.next - 1, position.next)
        return bool(rows) and rows[0].leaf_hash == position.leaf_hash

    def _changes(self, row: EntryRow) -> list[Statement]:
        if not row.leaf.endswith(_ENDINGS):
            return []
        leaf = parse_leaf(row.leaf)
        if leaf.type == ERASURE:
            self._unpurged = True
        payload, damaged = None, False
        if leaf.type in WITH_PAYLOAD:
            try:
                payload = self._log.read_index(row.seq).payload
            except DamagedLogError as err:
                _log.error("index", error=type(err).__name__, entry=row.seq)
                damaged = True
        return changes(row.seq, leaf, payload, advised=self._advised, damaged=damaged)

    def _advised(self, index: int) -> str | None:
        try:
            payload = self._log.read_index(index).payload
        except DamagedLogError:
            return None  # met, and told of, when the recommendation itself was taken in
        if payload is None:
            return None
        return advised_outcome(payload)
