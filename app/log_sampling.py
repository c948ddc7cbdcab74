"""Log lines of errors, sampled: a fault under load must not fill the disk that it comes from.

Keys are names of the code's (a kind of problem, a place in the code), never anything of a request.
"""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from time import monotonic

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MOST_A_MINUTE = 10
MINUTE = 60.0


@dataclass(slots=True)
class _Minute:
    begun: float
    written: int = 0
    suppressed: int = 0


class Sampler:
    """Says which lines to write. Use from one thread."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._minutes: dict[tuple[str, ...], _Minute] = {}

    def admit(self, *key: str) -> int | None:
        """Return how many lines like this were left out before it; None to leave it out too."""
        now = self._now()
        minute = self._minutes.get(key)
        if minute is None or now >= minute.begun + MINUTE:
            suppressed = 0 if minute is None else minute.suppressed
            self._minutes[key] = _Minute(now, written=1)
            return suppressed
        if minute.written < MOST_A_MINUTE:
            minute.written += 1
            return 0
        minute.suppressed += 1
        return None


_NAMES = ("event", "error", "what", "endpoint", "model")


def sampled_faults(now: Callable[[], float] = monotonic) -> Processor:
    """Return what leaves out log lines of what goes on beside the requests and fails again and again.

    It looks at lines that name an ``error``. Problems of requests are sampled where they arise; an
    ``entry`` is one thing to look at, and each is written.
    """
    sampler, lock = Sampler(now), Lock()

    def process(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
        if "error" not in line or "suppressed" in line or "entry" in line:
            return line
        with lock:
            suppressed = sampler.admit(*(str(line[name]) for name in _NAMES if name in line))
        if suppressed is None:
            raise structlog.DropEvent
        return {**line, "suppressed": suppressed} if suppressed else line

    return process
