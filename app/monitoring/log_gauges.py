"""How large the log is, and how long it has held entries that no checkpoint covers."""

from pathlib import Path
from time import monotonic

import structlog

from app.metrics import Metrics
from audit.checkpoint import unverified_checkpoint
from audit.errors import AuditError
from audit.reader import LogReader

_log = structlog.get_logger("grounds.log_gauges")


class LogGauges:
    """Measured once a second; each measurement reads one row and a few file sizes."""

    def __init__(self, log: LogReader, directory: Path, metrics: Metrics) -> None:
        self._log, self._directory, self._metrics = log, directory, metrics
        self._uncovered_since: float | None = None

    def measure(self) -> None:
        """Set the gauges. What cannot be read is logged, and leaves the age growing."""
        now = monotonic()
        if self._is_covered():
            self._uncovered_since = None
        elif self._uncovered_since is None:
            self._uncovered_since = now
        since = self._uncovered_since
        self._metrics.checkpoint_age.set(0.0 if since is None else now - since)
        try:
            self._metrics.log_bytes.set(_bytes_in(self._directory))
        except OSError as err:
            _log.error("size of the log unreadable", error=type(err).__name__, reason=str(err))

    def _is_covered(self) -> bool:
        try:
            size = self._log.size
            note = self._log.stored_checkpoint()
            return (
                note is not None
                and unverified_checkpoint(note, origin=self._log.origin).size >= size
            )
        except AuditError as err:
            _log.error("checkpoint unreadable", error=type(err).__name__)
            return False


def _bytes_in(directory: Path) -> int:
    total = 0
    for path in directory.iterdir() if directory.is_dir() else ():
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # a write-ahead log that went meanwhile
    return total
