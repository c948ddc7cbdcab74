"""Where log lines go: a place that is full or gone ends nothing of what was to be told there.

A line is written from within requests, the writing thread and the one that signs. If it raised, an answer
that is recorded would be a 500, and signing would end for good, over a full disk that holds the log lines.
"""

from threading import Lock
from typing import TextIO

# On a line of its own: the last that fitted may be half a one.
_LOST = '\n{{"event":"log lines may be lost","level":"warning","lines":{count}}}\n'


class LogStream:
    """A stream that counts what it cannot write, and says so once it can. Safe from any thread."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = Lock()
        self._failed = 0

    def write(self, text: str) -> int:
        """Write a line, or count it; return its length either way."""
        with self._lock:
            try:
                if self._failed:
                    self._stream.write(_LOST.format(count=self._failed))
                    self._stream.flush()
                    self._failed = 0
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):  # ValueError: it was closed
                self._failed += 1
        return len(text)

    def flush(self) -> None:
        """Do nothing: each line is written through."""
