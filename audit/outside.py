"""What a log remembers outside its database, so that a database that was set back is noticed.

Two files: the last signed checkpoint, and how many there have been. With the first a database older
than the last signature is refused, with the second ``verify`` notices that a stored checkpoint was
deleted although the newest is there. The count is written last: after a crash it is behind, never
ahead, and says itself for which size it holds.
"""

import errno
import re
from dataclasses import dataclass
from pathlib import Path

from audit.errors import (
    LogBrokenError,
    LogFullError,
    LogRolledBackError,
    LogStateError,
    TooManyFilesError,
)
from audit.files import write_durably
from audit.layout import CHECKPOINT_COUNT_FILE, CHECKPOINT_FILE

_TOO_MANY = (errno.EMFILE, errno.ENFILE)
_COUNT = re.compile(rb"([1-9][0-9]{0,17}) ([1-9][0-9]{0,17})\n").fullmatch


@dataclass(frozen=True, slots=True)
class SignedCount:
    """How many checkpoints have been signed, the last of them for ``size`` entries."""

    count: int
    size: int


class OutsideMemory:
    """The two files in a log's directory."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / CHECKPOINT_FILE
        self._count_path = directory / CHECKPOINT_COUNT_FILE

    def note(self) -> bytes | None:
        """Return the last signed checkpoint, None when the file is missing.

        Raises LogStateError when it cannot be read.
        """
        return _read(self.path)

    def count(self) -> SignedCount | None:
        """Return how many were signed, None when the file is missing.

        Raises LogRolledBackError when it is not as ``keep`` writes it, LogStateError when it cannot
        be read.
        """
        content = _read(self._count_path)
        if content is None:
            return None
        found = _COUNT(content)
        if found is None:
            raise LogRolledBackError(
                f"{self._count_path} does not say how many checkpoints were signed: restore it"
            )
        return SignedCount(int(found[1]), int(found[2]))

    def keep(self, note: bytes, signed: SignedCount) -> None:
        """Remember a checkpoint that is stored. Raises LogFullError (and its kind), LogBrokenError."""
        try:
            write_durably(self.path, note)
            write_durably(self._count_path, b"%d %d\n" % (signed.count, signed.size))
        except OSError as err:
            if err.errno in (errno.ENOSPC, errno.EDQUOT):
                raise LogFullError(f"no room for the checkpoint file: {err}") from err
            if err.errno in _TOO_MANY:
                # No open file has failed, so both may be written anew, and flushed, the next time.
                raise TooManyFilesError(f"the checkpoint file cannot be opened: {err}") from err
            raise LogBrokenError(f"the checkpoint file cannot be written: {err}") from err


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as err:
        kind = TooManyFilesError if err.errno in _TOO_MANY else LogStateError
        raise kind(f"{path} cannot be read: {err}") from err
