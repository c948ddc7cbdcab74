"""Checking that what was signed, and is kept outside a log's rows, is remembered by them."""

from collections.abc import Sequence

from audit.checkpoint import Checkpoint, parse_checkpoint
from audit.entry_checks import EntryChecks
from audit.errors import LogRolledBackError, NoteError
from audit.faults import Faults
from audit.layout import CHECKPOINT_COUNT_FILE, CHECKPOINT_FILE
from audit.note import parse_note
from audit.outside import OutsideMemory, SignedCount
from audit.scan import Scanner


class SignedChecks:
    """Checks of checkpoints from elsewhere against the stored ones."""

    def __init__(self, scanner: Scanner, faults: Faults, checks: EntryChecks) -> None:
        self._scanner = scanner
        self._faults = faults
        self._checks = checks
        self.notices: list[str] = []
        """What is no fault and should be known."""

    def check(
        self, held: Sequence[bytes], outside: bytes | None, count: SignedCount | None, size: int
    ) -> list[tuple[str, Checkpoint]]:
        """Return (kind of fault, checkpoint) of what was signed and is kept outside the rows.

        ``outside`` and ``count`` are what the two files in the log's directory say.
        """
        found: list[tuple[str, Checkpoint]] = []
        if outside is None:
            self._faults.add(None, "checkpoint-file", f"{CHECKPOINT_FILE} is missing")
        else:
            checkpoint = self.opened(outside, "checkpoint", f"the file {CHECKPOINT_FILE}")
            if checkpoint is not None:
                self._check_remembered(checkpoint.size, count)
                found.append(("checkpoint-file", checkpoint))
        for note in held:
            what = "a checkpoint that is held elsewhere"
            checkpoint = self.opened(note, "held-checkpoint", what)
            if checkpoint is not None:
                self._check_kept(checkpoint)
                found.append(("held-checkpoint", checkpoint))
        longest = max((checkpoint.size for _, checkpoint in found), default=0)
        if longest > size:
            self._faults.add(
                size,
                "rolled-back",
                f"a checkpoint of {longest} entries was signed, the database has {size}",
                count=longest - size,
            )
        return [pair for pair in found if 1 <= pair[1].size <= size]

    def opened(self, note: bytes, kind: str, what: str) -> Checkpoint | None:
        """Return a note's checkpoint, None and a fault when it is not this log's."""
        try:
            return self._checks.open_checkpoint(note)
        except NoteError as err:
            self._faults.add(None, kind, f"{what}: {err}")
            return None

    def _check_remembered(self, size: int, count: SignedCount | None) -> None:
        """Report stored checkpoints and the one outside that do not remember each other.

        The file may be one behind, after a crash between the two writes. It may be far behind in a
        backup, where it is copied before the database; then the count is as old. A count that knows
        later signatures says that the file was put back.
        """
        newest = self._scanner.value("SELECT max(size) FROM checkpoint")
        if newest is None:
            self._faults.add(None, "checkpoint", "no signed checkpoint is stored, one is outside")
            return
        if size > newest:
            return  # told by whoever compares it with the entries
        if not self._scanner.rows("SELECT 1 FROM checkpoint WHERE size = $1", size):
            self._faults.add(
                None,
                "checkpoint",
                f"the checkpoint of size {size}, kept outside, is not stored",
            )
        if self._scanner.is_live:
            return
        known = newest if count is None else count.size
        later = self._scanner.value(
            "SELECT count(*) FROM checkpoint WHERE size > $1 AND size <= $2", size, known
        )
        if later is not None and later > 1:
            self._faults.add(
                None,
                "checkpoint-file",
                f"it is of size {size}, a later one of size {known} was signed: a rolled-back "
                "database would go unnoticed",
            )
        elif size < newest:
            self.notices.append(
                f"{CHECKPOINT_FILE} is of size {size}, the database has signed {newest}: as in a "
                "backup, where it is copied first; opening the log brings it up to date"
            )

    def _check_kept(self, held: Checkpoint) -> None:
        """Report a checkpoint that the log signed, as the caller can show, and no longer stores."""
        newest = self._scanner.value("SELECT max(size) FROM checkpoint")
        stored = self._scanner.rows("SELECT 1 FROM checkpoint WHERE size = $1", held.size)
        if newest is not None and held.size <= newest and not stored:
            self._faults.add(
                None,
                "checkpoint",
                f"the checkpoint of size {held.size}, held elsewhere, was deleted",
            )


def remembered(memory: OutsideMemory, faults: Faults) -> tuple[bytes | None, SignedCount | None]:
    """Return the last signed checkpoint and how many there were, reporting what is not remembered.

    The count is read first, because a log in use writes it last: so it is behind, and never ahead.
    """
    try:
        count = memory.count()
    except LogRolledBackError as err:
        faults.add(None, "checkpoint-file", str(err))
        return memory.note(), None
    note = memory.note()
    # Of a log's first checkpoint there is nothing to count, and a crash may have come before it was.
    if count is None and note is not None and _size(note) != 1:
        faults.add(None, "checkpoint-file", f"{CHECKPOINT_COUNT_FILE} is missing")
    return note, count


def check_count(scanner: Scanner, faults: Faults, signed: SignedCount) -> None:
    """Report stored checkpoints that are fewer, or more, than have been signed."""
    rows = scanner.rows("SELECT count(*), max(size) FROM checkpoint WHERE size <= $1", signed.size)
    if rows is not None and rows != [(signed.count, signed.size)]:
        faults.add(
            None,
            "checkpoint",
            f"{signed.count} checkpoints were signed, the last of size {signed.size}; "
            f"stored are {rows[0][0]!r}, the last of size {rows[0][1]!r}",
        )


def _size(note: bytes) -> int | None:
    try:
        return parse_checkpoint(parse_note(note).text).size
    except NoteError:
        return None  # told by whoever opens it
