"""A state that is told by numbered entries of the log, followed by every process.

Entries ``<prefix>.1``, ``<prefix>.2`` and so on, without a gap: the log takes each identifier once, so
two processes cannot act on the same state, and the state is read again from the log after a restart.
Every process looks for the next number a few times a second: one look-up.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Generic, Protocol, Self, TypeVar

import structlog

from audit.errors import AuditError, UnknownRecordError
from audit.reader import LogReader
from audit.records import StoredRecord

INTERVAL_SECONDS = 0.25
"""How often a process looks: well within the second in which a stop has to be effective."""

_log = structlog.get_logger("grounds.numbered")


class Counted(Protocol):
    """A state that knows how many entries it was told by."""

    @property
    def count(self) -> int: ...  # noqa: D102

    def after(self, entry: StoredRecord) -> Self:
        """Return the state after one more entry. Raises DamagedLogError for one that says nothing."""
        ...


State = TypeVar("State", bound=Counted)


class Numbered(Generic[State]):
    """The state as the log has it. Reading is free; looking for news is one look-up."""

    def __init__(self, log: LogReader, prefix: str, state: State) -> None:
        """``state`` is the one before the first entry."""
        self._log, self._prefix = log, prefix
        self._state = state
        self._lock = threading.Lock()

    @property
    def state(self) -> State:
        """What is known at this moment."""
        return self._state

    def refresh(self) -> State:
        """Take in what the log has by now. Raises AuditError."""
        with self._lock:
            while True:
                try:
                    stored = self._log.read(f"{self._prefix}.{self._state.count + 1}")
                except UnknownRecordError:
                    return self._state
                self._state = self._state.after(stored)


async def follow(refresh: Callable[[], object], what: str) -> None:
    """Look for news until cancelled. A fault is logged, and looked for again."""
    while True:
        await asyncio.sleep(INTERVAL_SECONDS)
        try:
            await asyncio.to_thread(refresh)
        except AuditError as err:
            _log.error("following", what=what, error=type(err).__name__)
