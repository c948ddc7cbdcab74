"""Checks of a range of entries and of all the rows that belong to them. See ``audit.verify``."""

from binascii import b2a_base64
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from audit.checkpoint import Checkpoint, parse_checkpoint
from audit.envelope import (
    NONCE_BYTES,
    TAG_BYTES,
    WRAPPED_KEY_BYTES,
    WRAPPED_SUBJECT_KEY_BYTES,
    open_envelope,
    subject_row_digest,
    unlinked_handle,
    unwrap_record_key,
    unwrap_subject_key,
    wrapped_key_commitment,
)
from audit.errors import EnvelopeError, LeafError, NoteError
from audit.faults import Faults
from audit.findings import RangeFindings, RangeTask
from audit.keys import LogKeys
from audit.merkle import HASH_SIZE, extend, frontier_root, leaf_hash
from audit.note import Note, VerifierKey, open_note, parse_note
from audit.records import ERASURE, GENESIS
from audit.scan import Scanner
from audit.scanned_leaf import LeafScanner, ScannedLeaf
from audit.step_checks import check_steps, has_steps
from audit.store import SqlRow
from audit.tiles import TILE_WIDTH

_PAYLOADS = "SELECT seq, envelope FROM payload WHERE seq >= $1 AND seq < $2"
_KEYS = "SELECT seq, subject, wrapped FROM record_key WHERE seq >= $1 AND seq < $2"
_ERASED = "SELECT seq, erasure, subject FROM erased WHERE seq >= $1 AND seq < $2"
_SUBJECTS = (
    "SELECT subject, handle, wrapped, digest FROM subject_key WHERE subject >= $1 AND subject < $2"
)
_ERASURE_TYPE, _GENESIS_TYPE = ERASURE.encode(), GENESIS.encode()
_CACHED_SUBJECTS = 65_536


@dataclass(frozen=True, slots=True)
class _Subject:
    """A subject's row: whether its key was erased, and the key where it can be had."""

    is_erased: bool
    key: bytes | None


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows beside the entries of one tile, by index."""

    payloads: dict[int, SqlRow]
    keys: dict[int, SqlRow]
    erased: dict[int, SqlRow]


class EntryChecks:
    """Checks ranges of entries over one view of a store."""

    def __init__(
        self,
        scanner: Scanner,
        *,
        origin: str,
        trusted: Sequence[VerifierKey],
        keys: LogKeys | None,
    ) -> None:
        """``origin`` is empty, and nothing trusted, when the log's first entry cannot be read."""
        self._scanner = scanner
        self._origin = origin
        self._trusted = trusted
        self._keys = keys
        self._leaves = LeafScanner()
        self._subjects: OrderedDict[int, _Subject | None] = OrderedDict()
        self._entries = (
            f"SELECT seq, {scanner.id_as_bytes}, leaf, leaf_hash FROM entry"  # noqa: S608 - our own SQL
            " WHERE seq >= $1 AND seq < $2"
        )
        self._found = RangeFindings(0, 0)
        self._faults = Faults()
        self._steps: list[tuple[int, ScannedLeaf]] = []
        """Entries of the tile under way that say something of others."""

    def check(
        self, task: RangeTask, checked: Callable[[int], None] = lambda _count: None
    ) -> RangeFindings:
        """Return what is wrong with a range, and what others need to go on from it.

        For an entry that cannot be read the hash is taken from the stored column or tile, if there,
        so that the entries after it can still be checked against the signed roots. ``checked``
        hears, tile by tile, how many entries have been checked.
        """
        found = self._found = RangeFindings(task.start, task.stop)
        self._faults = found.faults
        sizes = self._checkpoint_sizes(task)
        hashes = list(task.prefix)
        start = task.start
        while start < task.stop:
            first = start - len(hashes)
            stop = min(first + TILE_WIDTH, task.stop)
            hashes += self._check_tile_of_entries(start, stop)
            frontier: list[bytes] = []
            for at, leaf in enumerate(hashes):
                extend(frontier, at, leaf)
                if first + at + 1 in sizes and at + 1 < TILE_WIDTH:
                    found.frontiers[first + at + 1] = tuple(frontier)
            if len(hashes) == TILE_WIDTH:
                found.tile_roots.append(frontier_root(frontier))
                self._check_tile(first // TILE_WIDTH, frontier_root(frontier), b"".join(hashes))
                hashes = []
            checked(stop - start)
            start = stop
        found.tail = hashes
        return found

    def open_checkpoint(self, note: object) -> Checkpoint:
        """Return a stored note's checkpoint. Raises NoteError unless it is this log's, and signed."""
        return self._opened(note)[1]

    def _opened(self, note: object) -> tuple[Note, Checkpoint]:
        if not isinstance(note, bytes):
            raise NoteError("not bytes")
        parsed = open_note(note, self._trusted)[0] if self._trusted else parse_note(note)
        checkpoint = parse_checkpoint(parsed.text)
        if self._origin and checkpoint.origin != self._origin:
            raise NoteError(f"it is of log {checkpoint.origin!r}, want {self._origin!r}")
        return parsed, checkpoint

    def _open_stored(self, note: object) -> Checkpoint:
        """Return a row's checkpoint: the log alone has signed it, so every line is by a key of its.

        Of two lines, while the key changes, one may be damaged into that of a key nobody knows.
        """
        parsed, checkpoint = self._opened(note)
        known = {(key.name, key.key_id) for key in self._trusted}
        for line in parsed.signatures:
            if known and (line.name, line.key_id) not in known:
                raise NoteError(f"it has a signature by {line.name!r}, key {line.key_id.hex()}")
        return checkpoint

    def _checkpoint_sizes(self, task: RangeTask) -> set[int]:
        """Return the sizes at which the frontier is wanted, after opening the stored checkpoints."""
        rows = self._scanner.rows(
            "SELECT size, note FROM checkpoint WHERE size > $1 AND size <= $2 ORDER BY size",
            task.start,
            task.stop,
        )
        if rows is None:
            self._faults.add(
                None,
                "checkpoint",
                f"checkpoints of sizes {task.start} to {task.stop} cannot be read",
            )
        for stored_size, note in rows or []:
            try:
                checkpoint = self._open_stored(note)
            except NoteError as err:
                self._faults.add(
                    None, "checkpoint", f"the stored checkpoint of size {stored_size!r}: {err}"
                )
                continue
            if checkpoint.size != stored_size:
                self._faults.add(
                    None,
                    "checkpoint",
                    f"a checkpoint of size {checkpoint.size} is stored as {stored_size!r}",
                )
                continue
            self._found.checkpoints.append(checkpoint)
        return {*task.sizes, *(checkpoint.size for checkpoint in self._found.checkpoints)}

    def _check_tile_of_entries(self, start: int, stop: int) -> list[bytes]:
        """Check entries ``start <= index < stop`` and return the hashes of their leaves."""
        scanner = self._scanner
        entries, unreadable = scanner.by_key(self._entries, start, stop, dense=True)
        payloads, bad_payloads = scanner.by_key(_PAYLOADS, start, stop)
        keys, bad_keys = scanner.by_key(_KEYS, start, stop)
        erased, bad_erased = scanner.by_key(_ERASED, start, stop)
        rows = _Rows(payloads, keys, erased)
        for kind, bad in (
            ("payload", bad_payloads),
            ("key", bad_keys),
            ("erasure", bad_erased),
        ):
            for index, why in bad.items():
                self._faults.add(index, kind, f"cannot be read: {why}")
        self._check_subjects(start, stop, rows)
        hashes = []
        for index in range(start, stop):
            if index in erased:
                self._note_erased(index, erased[index], keys.get(index))
            row = entries.get(index)
            if row is None:
                why = (
                    f"cannot be read: {unreadable[index]}" if index in unreadable else "is missing"
                )
                self._faults.add(index, "missing", f"the entry {why}")
                self._found.has_payload.append(0)
                hashes.append(self._known_hash(index))
            else:
                hashes.append(self._check_entry(index, row, rows))
        check_steps(scanner, self._faults, self._steps)
        self._steps.clear()
        return hashes

    def _check_entry(self, index: int, row: SqlRow, rows: _Rows) -> bytes:
        self._found.has_payload.append(0)
        _, record_id, content, stored_hash = row
        if not isinstance(content, bytes):
            self._faults.add(index, "leaf", "the leaf is not bytes")
            return self._known_hash(index)
        computed = leaf_hash(content)
        if computed != stored_hash:
            self._faults.add(index, "leaf", "the leaf does not have its stored hash")
        try:
            leaf = self._leaves.scan(content)
        except LeafError as err:
            self._faults.add(index, "leaf", str(err))
            return computed
        if leaf.id != record_id:
            self._faults.add(index, "id", "is stored under another id than its leaf's")
        self._check_payload(index, leaf, rows)
        if leaf.idempotency_key is not None:
            self._check_idempotency(index, leaf)
        if leaf.type == _ERASURE_TYPE:
            self._note_erasure(index, leaf)
        elif leaf.type == _GENESIS_TYPE and index:
            self._faults.add(index, "genesis", "is a genesis entry, which only the first is")
        if has_steps(leaf):
            self._steps.append((index, leaf))
        return computed

    def _check_payload(self, index: int, leaf: ScannedLeaf, rows: _Rows) -> None:
        payload, key = rows.payloads.get(index), rows.keys.get(index)
        if leaf.length is None:
            if payload is not None or key is not None:
                self._faults.add(index, "payload", "has a payload its leaf does not know")
            return
        self._found.has_payload[-1] = 1
        if index in self._found.erased:
            if payload is None or payload[1] != bytes(int(leaf.length) + NONCE_BYTES + TAG_BYTES):
                self._faults.add(index, "erasure", "is marked as erased, yet it is not all zeros")
            return
        subject_key, wrapped = self._check_key(index, leaf, key)
        if payload is None:
            self._faults.add(index, "payload", "the payload is MISSING: gone without an erasure")
            return
        envelope = payload[1]
        if not isinstance(envelope, bytes) or _digest(envelope) != leaf.envelope:
            self._faults.add(index, "payload", "the payload is not the one the leaf commits to")
        elif subject_key is not None:
            self._open(index, leaf, envelope, subject_key=subject_key, wrapped=wrapped)

    def _open(
        self, index: int, leaf: ScannedLeaf, envelope: bytes, *, subject_key: bytes, wrapped: bytes
    ) -> None:
        commitments = leaf.commitments()
        if commitments is None:
            return
        try:
            record_key = unwrap_record_key(wrapped, subject_key=subject_key)
            open_envelope(
                envelope,
                record_id=leaf.id.decode(),
                record_key=record_key,
                commitments=commitments,
            )
        except EnvelopeError as err:
            self._faults.add(index, "payload", str(err))

    def _check_key(
        self, index: int, leaf: ScannedLeaf, row: SqlRow | None
    ) -> tuple[bytes | None, bytes]:
        """Return (the subject's key when it can be had, the wrapped key)."""
        if row is None:
            self._faults.add(index, "key", "the key is MISSING: gone without an erasure")
            return None, b""
        _, number, wrapped = row
        if (
            not isinstance(number, int)
            or not isinstance(wrapped, bytes)
            or _base64(wrapped_key_commitment(wrapped, subject=number)) != leaf.wrapped_key
        ):
            self._faults.add(index, "key", "the key row is not the one the leaf commits to")
            return None, b""
        subject = self._subject(number)
        if subject is None:
            self._faults.add(index, "subject-key", f"the key of subject {number} is MISSING")
            return None, b""
        if subject.is_erased:
            self._faults.add(index, "subject-key", f"the key of subject {number} is zeros")
        return subject.key, wrapped

    def _check_idempotency(self, index: int, leaf: ScannedLeaf) -> None:
        self._found.idempotent += 1
        tag = leaf.leaf().idempotency
        key = None if tag is None else tag.key
        rows = self._scanner.rows(
            "SELECT seq FROM idempotency WHERE key = $1 AND seq = $2", key, index
        )
        if rows != [(index,)]:
            self._faults.add(index, "idempotency", "is not found by its idempotency key")

    def _note_erased(self, index: int, mark: SqlRow, key: SqlRow | None) -> None:
        _, erasure, subject = mark
        if not isinstance(erasure, int) or not isinstance(subject, int):
            self._faults.add(index, "erasure", "the mark of its erasure is not of integers")
            return
        self._found.erased[index] = erasure
        if key != (index, subject, bytes(WRAPPED_KEY_BYTES)):
            self._faults.add(index, "erasure", "is marked as erased, yet its key is not all zeros")
        if self._subject(subject) is None:
            self._faults.add(index, "erasure", f"was of subject {subject}, who is not there")

    def _note_erasure(self, index: int, leaf: ScannedLeaf) -> None:
        erased = erased_by(leaf)
        if erased is None:
            self._faults.add(index, "erasure", "the erasure entry does not say what it erased")
        else:
            self._found.erasures[index] = erased

    def _check_subjects(self, start: int, stop: int, rows: _Rows) -> None:
        """Check the rows of subjects first met in these entries.

        A subject's number is the index of their first record, which must be theirs.
        """
        subjects, unreadable = self._scanner.by_key(_SUBJECTS, start, stop)
        for number, why in unreadable.items():
            self._faults.add(number, "subject-key", f"cannot be read: {why}")
        for number, row in subjects.items():
            self._found.subjects.append(number)
            subject, fault = self._judge(number, row)
            if fault is not None:
                self._faults.add(number, "subject-key", fault)
            self._remember(number, subject)
            key = rows.keys.get(number)
            if key is None or key[1] != number:
                self._faults.add(number, "subject-key", "a subject's key belongs to no record")

    def _subject(self, number: int) -> _Subject | None:
        """Return a subject, None when there is no readable row. Faults are told at its own place."""
        if number in self._subjects:
            return self._subjects[number]
        rows = self._scanner.rows(
            "SELECT subject, handle, wrapped, digest FROM subject_key WHERE subject = $1", number
        )
        subject = self._judge(number, rows[0])[0] if rows else None
        self._remember(number, subject)
        return subject

    def _judge(self, number: int, row: SqlRow) -> tuple[_Subject, str | None]:
        """Return what a subject's row says, and what is wrong with it."""
        _, handle, wrapped, digest = row
        if (
            not isinstance(handle, bytes)
            or not isinstance(wrapped, bytes)
            or subject_row_digest(number, handle, wrapped) != digest
        ):
            return _Subject(is_erased=False, key=None), "a subject's key row is damaged"
        if wrapped == bytes(WRAPPED_SUBJECT_KEY_BYTES):
            fault = (
                None if handle == unlinked_handle(number) else "is erased, yet its handle is not"
            )
            return _Subject(is_erased=True, key=None), fault
        if self._keys is None:
            return _Subject(is_erased=False, key=None), None
        try:
            key = unwrap_subject_key(self._keys.master, wrapped, subject=number, handle=handle)
        except EnvelopeError as err:
            return _Subject(is_erased=False, key=None), str(err)
        return _Subject(is_erased=False, key=key), None

    def _remember(self, number: int, subject: _Subject | None) -> None:
        self._subjects[number] = subject
        if len(self._subjects) > _CACHED_SUBJECTS:
            self._subjects.popitem(last=False)

    def _check_tile(self, position: int, root: bytes, hashes: bytes) -> None:
        check_tile(
            self._scanner, self._faults, level=0, position=position, root=root, hashes=hashes
        )

    def _known_hash(self, index: int) -> bytes:
        """Return the best guess at the hash of a leaf that is gone, for the tree's sake only."""
        rows = self._scanner.rows("SELECT leaf_hash FROM entry WHERE seq = $1", index)
        if rows and isinstance(rows[0][0], bytes) and len(rows[0][0]) == HASH_SIZE:
            return rows[0][0]
        rows = self._scanner.rows(
            "SELECT hashes FROM tile WHERE level = 0 AND position = $1", index // TILE_WIDTH
        )
        if rows and isinstance(rows[0][0], bytes):
            at = index % TILE_WIDTH * HASH_SIZE
            if len(rows[0][0]) >= at + HASH_SIZE:
                return rows[0][0][at : at + HASH_SIZE]
        return bytes(HASH_SIZE)


def erased_by(leaf: ScannedLeaf) -> tuple[int, ...] | None:
    """Return the indexes that an erasure entry names, None when it does not name any."""
    indexes = leaf.facts.get("of")
    if not isinstance(indexes, list) or not all(type(item) is int for item in indexes):
        return None
    return tuple(item for item in indexes if isinstance(item, int))


def check_tile(
    scanner: Scanner, faults: Faults, *, level: int, position: int, root: bytes, hashes: bytes
) -> None:
    """Compare a stored tile with the one that the leaves make, naming the entries concerned."""
    span = 1 << (8 * level)
    first = position * TILE_WIDTH * span
    rows = scanner.rows(
        "SELECT root, hashes FROM tile WHERE level = $1 AND position = $2", level, position
    )
    if rows and rows[0] == (root, hashes):
        return
    what = f"tile {level}/{position}"
    stored = rows[0][1] if rows else None
    if not isinstance(stored, bytes) or len(stored) != len(hashes):
        faults.add(first, "tile", f"{what} cannot be read", count=TILE_WIDTH * span)
        return
    if rows and rows[0][0] != root:
        faults.add(first, "tile", f"the root of {what} is wrong", count=TILE_WIDTH * span)
    for at in range(TILE_WIDTH):
        place = slice(at * HASH_SIZE, (at + 1) * HASH_SIZE)
        if stored[place] != hashes[place]:
            faults.add(first + at * span, "tile", f"hash {at} of {what} is wrong", count=span)


def _digest(content: bytes) -> bytes:
    return b2a_base64(sha256(content).digest(), newline=False)


def _base64(content: bytes) -> bytes:
    return b2a_base64(content, newline=False)
