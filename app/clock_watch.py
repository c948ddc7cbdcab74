"""Noticing a clock that was set back: entries would be dated before those that they follow.

The log's order is by index, so nothing is refused and nothing is lost. But holds, retention, letters and
whoever reads an entry years later go by its date, and an operator should hear of it while it can be mended.
"""

from datetime import UTC, datetime, timedelta

import structlog

from app.domain import Clock
from audit.leaf import parse_leaf
from audit.reader import LogReader

TOLERATED = timedelta(seconds=10)
"""What time services correct at once, and what the clocks of several services may be apart."""

AT_START = 100
"""Entries that are looked at first: a start writes some itself before anything is compared."""

_log = structlog.get_logger("grounds.clock")


class ClockWatch:
    """Compares the clock with the newest moment that it or the log has shown. Raises AuditError."""

    def __init__(self, log: LogReader, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._latest = datetime.min.replace(tzinfo=UTC)
        self.alarm: str | None = None
        self._look_from(log.size - AT_START)
        self.look()

    def look(self) -> None:
        """Compare; raise AuditError when the log cannot be read. Not for the event loop."""
        now = self._clock()
        self._look_from(self._log.size - 1)
        behind = self._latest - now
        self._latest = max(self._latest, now)
        if behind <= TOLERATED:
            if self.alarm is not None:
                _log.info("the clock has caught up")
            self.alarm = None
            return
        seconds = int(behind.total_seconds())
        if self.alarm is None:
            _log.error("the clock was set back", behind_seconds=seconds)
        self.alarm = f"the clock is {seconds} s behind an earlier entry: see that it is right"

    def _look_from(self, first: int) -> None:
        for row in self._log.entries(max(first, 0), self._log.size):
            self._latest = max(self._latest, datetime.fromisoformat(parse_leaf(row.leaf).timestamp))
