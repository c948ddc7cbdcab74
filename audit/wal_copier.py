"""Copying SQLite's write-ahead log into the database's file, beside the one who writes.

Commits are appended to the WAL, which would grow for ever. Copying takes some milliseconds a
megabyte, so a thread does it on a connection of its own while commits go on. Now and then they wait
for the short rest that has come meanwhile: once all is copied, the next commit begins the WAL anew.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

_COPIED_PAGES = 256
"""The copy begins when 2 MB have come since the last one."""
_MOST_PAGES = 2_048
"""Past 16 MB commits wait for the rest. At each copy it would be every twelfth group that waits."""


class WalCopier:
    """Copies whenever it is due. Ends at the first failure."""

    def __init__(self, path: Path, *, vfs: str | None, writing: threading.Lock) -> None:
        """Open a connection. ``writing`` is held by whoever writes on another one."""
        self.failure: str | None = None
        """Why the database's file may lack what it should hold: then nothing more may be written."""
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_EXRESCODE
        self._connection = apsw.Connection(str(path), flags=flags, vfs=vfs)
        self._connection.pragma("synchronous", "FULL")
        self._writing = writing
        self._copying = threading.Lock()
        self._due = threading.Event()
        self._due_at = 0
        """How many pages the WAL had when a copy was last due."""
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="wal-copier", daemon=True)
        self._thread.start()

    def hear(self, pages: int) -> None:
        """Hear how many pages the WAL has after a commit."""
        if pages < self._due_at:  # it was begun anew
            self._due_at = 0
        if pages - self._due_at >= _COPIED_PAGES:
            self._due_at = pages
            self._due.set()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Copy nothing meanwhile. Enter it before taking ``writing``."""
        with self._copying:
            yield

    def close(self) -> None:
        """End the thread and close the connection. Raises apsw.Error."""
        self._closing = True
        self._due.set()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while self._due.wait() and not self._closing and self.failure is None:
            self._due.clear()
            with self._copying:
                self._copy()
                if self._due_at >= _MOST_PAGES and self.failure is None:
                    with self._writing:
                        self._copy()

    def _copy(self) -> None:
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except (apsw.BusyError, apsw.FullError):
            pass  # nothing is lost: what was committed is in the WAL, which only grows
        except apsw.Error as err:
            # A failed flush of the file is never tried again as if it had not happened.
            self.failure = f"copying the WAL failed: {type(err).__name__}: {err}"
