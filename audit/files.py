"""Durable small files and the writer's lock."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from audit.errors import LogLockedError

UNFINISHED = ".tmp"
"""Ends the name of a file that is being written, and of what a crash left of one."""


def write_durably(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Replace ``path`` so that after a power cut it holds the old content or the new, never a mix.

    Raises OSError.
    """
    temporary = path.with_name(path.name + UNFINISHED)
    with suppress(FileNotFoundError):
        temporary.unlink()  # left by a crash; O_EXCL below must not follow what someone put there
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        _give_to_owner_of(path.parent, descriptor)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    # fsync the directory too: after a power cut the rename itself may be lost.
    sync_directory(path.parent)


def _give_to_owner_of(directory: Path, descriptor: int) -> None:
    """Let what root replaces belong to whom the directory belongs, as SQLite does with its files.

    A service that runs as somebody else could not read a key that was rotated with `sudo`.
    """
    if os.geteuid() == 0:
        owner = directory.stat()
        with suppress(PermissionError):  # a root without the right to do so
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


def sync_directory(directory: Path) -> None:
    """Make the directory's entries durable. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class WriterLock:
    """The one writer's lock on a log directory, held by the operating system until released."""

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises LogLockedError when another holder, even in this process, has it."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock_patiently(descriptor)
        except BlockingIOError as err:
            os.close(descriptor)
            raise LogLockedError(
                f"{path} is locked: the log is open for writing elsewhere; one writer at a time"
            ) from err
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Give the lock back. The file stays: unlinking it would let two writers in."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def writer_is_alive(path: Path) -> bool:
    """Return whether some process holds the writer's lock on this file."""
    with _opened(path) as descriptor:
        if descriptor is None:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _lock_patiently(descriptor: int) -> None:
    """Take the lock, waiting 100 ms for a verification that looks whether a writer is alive."""
    for _ in range(10):
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.01)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)
