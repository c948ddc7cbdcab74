"""Signing checkpoints: never another history than the one signed before, nor one not re-read.

Before every signature the leaves since the last one are read from the store again and grow the tree
that was signed, by a second path; older leaves are ``verify``'s. The last signed checkpoint is kept
in a file outside the database too: it is the memory that a restored backup does not have.
"""

from collections.abc import Callable, Sequence
from time import perf_counter, sleep

from audit import merkle, tiles
from audit.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from audit.errors import DamagedLogError, LogRolledBackError, NoteError
from audit.note import SigningKey
from audit.outside import OutsideMemory, SignedCount
from audit.row_reader import RowReader
from audit.rows import Head
from audit.tiles import GrowingTree

_CHUNK = 128
"""Leaves read in one go. Reading and hashing a second's worth at once, 70 ms, kept appending threads
from the interpreter's lock so often that their p99 doubled; see ``_recompute``."""


class Signer:
    """Signs the checkpoints of one log."""

    def __init__(
        self, outside: OutsideMemory, *, origin: str, keys: Sequence[SigningKey], rows: RowReader
    ) -> None:
        """All of ``keys`` sign; ``outside`` remembers what."""
        self._outside = outside
        self._origin = origin
        self.keys = keys
        self._rows = rows
        # The tree up to which leaves were re-read and the result signed.
        self._signed = GrowingTree()
        self._note: bytes | None = None
        self._count = 0
        """How many checkpoints were signed, up to that one."""

    def newest(self) -> tuple[int, bytes] | None:
        """Return (size, note) of the last checkpoint this process signed or recalled."""
        return None if self._note is None else (self._signed.size, self._note)

    def sign(self, head: Head, store: Callable[[int | None, int, bytes], None]) -> bytes:
        """Return a signed checkpoint of ``head``, given to ``store`` and copied to the file first.

        ``store`` hears the size signed before, the new size and the note. Raises DamagedLogError,
        and does not sign, when the stored leaves lead to another root, and LogRolledBackError when
        there are fewer than were signed.
        """
        if self._note is not None and self._signed.size == head.size:
            return self._note
        if head.size < self._signed.size:
            raise self._rolled_back(head.size, self._signed.size)
        recomputed = self._recompute(head)
        note = sign_checkpoint(Checkpoint(self._origin, head.size, recomputed.root()), *self.keys)
        store(None if self._note is None else self._signed.size, head.size, note)
        self._outside.keep(note, SignedCount(self._count + 1, head.size))
        self._signed, self._note, self._count = recomputed, note, self._count + 1
        return note

    def follow(self) -> bool:
        """Go on from the newest stored checkpoint; return whether another process signed it.

        Raises LogRolledBackError when the database has forgotten one, or leads elsewhere.
        """
        stored = self._rows.last_checkpoint()
        if self._note is None:
            if stored is not None:
                self._adopt(stored)
            return stored is not None
        if stored is None or stored[0] < self._signed.size:
            raise LogRolledBackError(
                f"the database has forgotten the signed checkpoint of size {self._signed.size}: "
                "it is older than what others have seen"
            )
        if stored[0] == self._signed.size:
            if stored[1] != self._note:
                raise self._forked(self._signed.size)
            return False
        if self._root(self._signed.size) != self._signed.root():
            raise self._forked(self._signed.size)
        self._adopt(stored)
        return True

    def recall(self, size: int) -> None:
        """Compare the database of ``size`` entries with the last signed checkpoint, and go on there.

        Raises LogRolledBackError when the database is older than what was signed, or differs.
        """
        stored = self._rows.last_checkpoint()
        note = self._outside.note()
        if note is None:
            # Before the first checkpoint is copied there is nothing to compare with. Later the file
            # cannot have vanished by a crash.
            if stored and self._rows.checkpoint_count(beyond=0, up_to=stored[0]) > 1:
                raise LogRolledBackError(
                    f"{self._outside.path} is missing, so a rolled-back database would go "
                    "unnoticed: restore it"
                )
            return
        outside = self._checked(note, str(self._outside.path))
        if outside.size > size:
            raise self._rolled_back(size, outside.size)
        if stored is None or stored[0] < outside.size:
            raise LogRolledBackError(
                f"the database does not know the signed checkpoint of size {outside.size}"
            )
        if self._root(outside.size) != outside.root:
            raise self._forked(outside.size)
        self._adopt(stored)

    def _adopt(self, stored: tuple[int, bytes]) -> None:
        """Take a stored checkpoint for the last signed one."""
        newest = self._checked(stored[1], "the newest stored checkpoint")
        if newest.size > self._rows.head().size:
            raise self._forked(newest.size)
        signed = tiles.grow_from(newest.size, self._rows.hashes)
        if signed.root() != newest.root:
            raise self._forked(newest.size)
        known = self._outside.count() or SignedCount(0, 0)
        if known.size > newest.size:
            raise self._rolled_back(newest.size, known.size)
        count = known.count + self._rows.checkpoint_count(beyond=known.size, up_to=newest.size)
        if known.size < newest.size or self._outside.note() != stored[1]:
            self._outside.keep(stored[1], SignedCount(count, newest.size))
        # All at once and last: what failed half-way would not be taken up again the next time.
        self._signed, self._note, self._count = signed, stored[1], count

    def _recompute(self, head: Head) -> GrowingTree:
        """Return the tree grown from the last signed one by re-reading the stored leaves."""
        recomputed = self._signed.copy()
        while recomputed.size < head.size:
            stop = min(recomputed.size + _CHUNK, head.size)
            start = perf_counter()
            leaves = self._rows.leaves(recomputed.size, stop)
            if len(leaves) != stop - recomputed.size:
                raise DamagedLogError(
                    f"of entries {recomputed.size} to {stop} one is missing; not signing"
                )
            recomputed.append([merkle.leaf_hash(leaf) for leaf in leaves])
            if stop < head.size:  # as long as that took, others have the interpreter to themselves
                sleep(perf_counter() - start)
        if recomputed.root() != head.root:
            raise DamagedLogError(
                f"the stored leaves lead to another root at size {head.size} than was appended; "
                "not signing: run verify"
            )
        return recomputed

    def _checked(self, note: bytes, what: str) -> Checkpoint:
        try:
            return open_checkpoint(
                note, origin=self._origin, trusted=[key.verifier for key in self.keys]
            )
        except NoteError as err:
            raise LogRolledBackError(f"{what} is not a checkpoint of this log: {err}") from err

    @staticmethod
    def _rolled_back(size: int, signed: int) -> LogRolledBackError:
        return LogRolledBackError(
            f"the database has {size} entries, but a checkpoint of {signed} was "
            "signed: it is older than what others have seen; restore the newer one"
        )

    @staticmethod
    def _forked(size: int) -> LogRolledBackError:
        return LogRolledBackError(
            f"the entries do not lead to the root signed at size {size}: "
            "this is another history than the one that was signed"
        )

    def _root(self, size: int) -> bytes:
        return tiles.range_root(0, size, self._rows.hashes)
