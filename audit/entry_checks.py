"""Checks of one entry and of all the rows that belong to it. See ``audit.verify``."""

from collections.abc import Iterator
from hashlib import sha256

from audit.envelope import (
    NONCE_BYTES,
    TAG_BYTES,
    WRAPPED_KEY_BYTES,
    WRAPPED_SUBJECT_KEY_BYTES,
    Commitments,
    erased_handle,
    open_envelope,
    subject_row_digest,
    unwrap_record_key,
    unwrap_subject_key,
    wrapped_key_commitment,
)
from audit.errors import EnvelopeError, LeafError
from audit.faults import Faults
from audit.keys import LogKeys
from audit.leaf import Leaf, parse_leaf
from audit.merkle import HASH_SIZE, leaf_hash
from audit.records import ERASURE
from audit.scan import Scanner
from audit.sqlite import SqlRow

# The id as bytes: a flipped bit can leave text that is not UTF-8.
_ENTRIES = "SELECT seq, CAST(id AS BLOB), leaf, leaf_hash FROM entry WHERE seq >= ? AND seq < ?"
_PAYLOADS = "SELECT seq, envelope FROM payload WHERE seq >= ? AND seq < ?"
_KEYS = "SELECT seq, subject, wrapped FROM record_key WHERE seq >= ? AND seq < ?"
_ERASED = "SELECT seq, erasure, subject FROM erased WHERE seq >= ? AND seq < ?"


class EntryChecks:
    """Everything about entries except the tree that their hashes make."""

    def __init__(self, scanner: Scanner, faults: Faults, keys: LogKeys | None) -> None:
        self._scanner = scanner
        self._faults = faults
        self._keys = keys
        self._erased: dict[int, int] = {}
        self._erasures: dict[int, frozenset[int]] = {}
        self._idempotent = 0
        self._has_payload = bytearray()
        self._subjects: dict[int, bytes | None] = {}
        self._used_subjects: set[int] = set()
        self._erased_subjects: set[int] = set()
        self._read_subjects()

    @property
    def erased_count(self) -> int:
        """Return how many payloads were erased."""
        return len(self._erased)

    def leaf_hashes(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """Check entries ``start <= index < stop`` and yield each with the hash of its leaf.

        For an entry that cannot be read the hash is taken from the stored column or tile, if there,
        so that the entries after it can still be checked against the signed roots.
        """
        entries, unreadable = self._scanner.by_key(_ENTRIES, start, stop, dense=True)
        payloads, bad_payloads = self._scanner.by_key(_PAYLOADS, start, stop)
        keys, bad_keys = self._scanner.by_key(_KEYS, start, stop)
        erased, bad_erased = self._scanner.by_key(_ERASED, start, stop)
        self._has_payload.extend(bytes(stop - start))
        for index in range(start, stop):
            for kind, bad in (
                ("payload", bad_payloads),
                ("key", bad_keys),
                ("erasure", bad_erased),
            ):
                if index in bad:
                    self._faults.add(index, kind, f"cannot be read: {bad[index]}")
            if index in erased:
                self._note_erased(index, erased[index], keys.get(index))
            row = entries.get(index)
            if row is None:
                why = (
                    f"cannot be read: {unreadable[index]}" if index in unreadable else "is missing"
                )
                self._faults.add(index, "missing", f"the entry {why}")
                yield index, self._known_hash(index)
                continue
            yield index, self._check_entry(index, row, payloads.get(index), keys.get(index))

    def finish(self, size: int) -> None:
        """Check what only shows once all entries are read."""
        for index, erasure in self._erased.items():
            if index not in self._erasures.get(erasure, ()):
                self._faults.add(
                    index,
                    "erasure",
                    f"is marked as erased by entry {erasure}, which does not say so",
                )
        for erasure, indexes in self._erasures.items():
            for index in sorted(indexes):
                if index not in self._erased:
                    self._faults.add(
                        index, "erasure", f"entry {erasure} erased it, yet it is there"
                    )
        for subject in sorted(self._subjects.keys() - self._used_subjects):
            self._faults.add(subject, "subject-key", "a subject's key belongs to no record")
        for table, want in (
            ("payload", self._has_payload.count(1)),
            ("record_key", self._has_payload.count(1)),
            ("erased", len(self._erased)),
            ("idempotency", self._idempotent),
        ):
            got = self._scanner.value(f"SELECT count(*) FROM {table}")  # noqa: S608 - names above
            if got != want:
                self._faults.add(None, table, f"{table} has {got} rows, the entries explain {want}")
            beyond = self._scanner.rows(
                f"SELECT seq FROM {table} WHERE seq < 0 OR seq >= ?",  # noqa: S608
                size,
            )
            for (seq,) in beyond or []:
                self._faults.add(None, table, f"{table} has a row for entry {seq!r}, of {size}")

    def name_page_damage(self, size: int) -> None:
        """Look every row up by its key and through every index, to name those not found there.

        On a damaged page a row can be seen in passing and yet not be found when it is wanted.
        """
        for index in range(size):
            self._expect_found(index, "id", "entry WHERE id = (SELECT id FROM entry WHERE seq = ?)")
            if not self._has_payload[index]:
                continue
            self._expect_found(index, "payload", "payload WHERE seq = ?")
            self._expect_found(
                index,
                "key",
                "record_key WHERE seq = ?1"
                " AND subject = (SELECT subject FROM record_key WHERE seq = ?1)",
            )
        for index in self._erased:
            self._expect_found(index, "erasure", "erased WHERE seq = ?")
        for subject in self._subjects:
            self._expect_found(
                subject,
                "subject-key",
                "subject_key WHERE handle = (SELECT handle FROM subject_key WHERE subject = ?)",
                key="subject",
            )

    def _expect_found(self, index: int, kind: str, where: str, *, key: str = "seq") -> None:
        found = self._scanner.rows(f"SELECT {key} FROM {where}", index)  # noqa: S608 - texts above
        if found != [(index,)]:
            self._faults.add(index, kind, "is not found where it belongs: a page is damaged")

    def _check_entry(
        self, index: int, row: SqlRow, payload: SqlRow | None, key: SqlRow | None
    ) -> bytes:
        _, record_id, content, stored_hash = row
        if not isinstance(content, bytes):
            self._faults.add(index, "leaf", "the leaf is not bytes")
            return self._known_hash(index)
        computed = leaf_hash(content)
        if computed != stored_hash:
            self._faults.add(index, "leaf", "the leaf does not have its stored hash")
        try:
            leaf = parse_leaf(content)
        except LeafError as err:
            self._faults.add(index, "leaf", str(err))
            return computed
        if leaf.id.encode() != record_id:
            self._faults.add(index, "id", "is stored under another id than its leaf's")
        self._check_payload(index, leaf, payload, key)
        self._check_idempotency(index, leaf)
        if leaf.type == ERASURE:
            self._note_erasure(index, leaf)
        return computed

    def _check_payload(
        self, index: int, leaf: Leaf, payload: SqlRow | None, key: SqlRow | None
    ) -> None:
        if leaf.payload is None:
            if payload is not None or key is not None:
                self._faults.add(index, "payload", "has a payload its leaf does not know")
            return
        self._has_payload[index] = 1
        if index in self._erased:
            if payload is None or payload[1] != bytes(
                leaf.payload.length + (NONCE_BYTES + TAG_BYTES)
            ):
                self._faults.add(index, "erasure", "is marked as erased, yet it is not all zeros")
            return
        envelope = self._check_envelope(index, leaf.payload, payload)
        subject_key, wrapped = self._check_key(index, leaf.payload, key)
        if self._keys is None or envelope is None or subject_key is None:
            return
        try:
            record_key = unwrap_record_key(wrapped, subject_key=subject_key)
            open_envelope(
                envelope, record_id=leaf.id, record_key=record_key, commitments=leaf.payload
            )
        except EnvelopeError as err:
            self._faults.add(index, "payload", str(err))

    def _check_envelope(
        self, index: int, commitments: Commitments, row: SqlRow | None
    ) -> bytes | None:
        if row is None:
            self._faults.add(index, "payload", "the payload is MISSING: gone without an erasure")
            return None
        envelope = row[1]
        if not isinstance(envelope, bytes) or sha256(envelope).digest() != commitments.envelope:
            self._faults.add(index, "payload", "the payload is not the one the leaf commits to")
            return None
        return envelope

    def _check_key(
        self, index: int, commitments: Commitments, row: SqlRow | None
    ) -> tuple[bytes | None, bytes]:
        """Return (the subject's key when it can be had, the wrapped key)."""
        if row is None:
            self._faults.add(index, "key", "the key is MISSING: gone without an erasure")
            return None, b""
        _, subject, wrapped = row
        if (
            not isinstance(subject, int)
            or not isinstance(wrapped, bytes)
            or wrapped_key_commitment(wrapped, subject=subject) != commitments.wrapped_key
        ):
            self._faults.add(index, "key", "the key row is not the one the leaf commits to")
            return None, b""
        if subject not in self._subjects:
            self._faults.add(index, "subject-key", f"the key of subject {subject} is MISSING")
        if subject in self._erased_subjects:
            self._faults.add(index, "subject-key", f"the key of subject {subject} is zeros")
        self._used_subjects.add(subject)
        return self._subjects.get(subject), wrapped

    def _check_idempotency(self, index: int, leaf: Leaf) -> None:
        if leaf.idempotency is None:
            return
        self._idempotent += 1
        rows = self._scanner.rows("SELECT seq FROM idempotency WHERE key = ?", leaf.idempotency.key)
        if rows != [(index,)]:
            self._faults.add(index, "idempotency", "is not found by its idempotency key")

    def _note_erased(self, index: int, mark: SqlRow, key: SqlRow | None) -> None:
        _, erasure, subject = mark
        if not isinstance(erasure, int) or not isinstance(subject, int):
            self._faults.add(index, "erasure", "the mark of its erasure is not of integers")
            return
        self._erased[index] = erasure
        self._used_subjects.add(subject)
        if key != (index, subject, bytes(WRAPPED_KEY_BYTES)):
            self._faults.add(index, "erasure", "is marked as erased, yet its key is not all zeros")
        if subject not in self._subjects:
            self._faults.add(index, "erasure", f"was of subject {subject}, who is not there")

    def _note_erasure(self, index: int, leaf: Leaf) -> None:
        indexes = leaf.facts.get("of")
        if isinstance(indexes, list) and all(isinstance(item, int) for item in indexes):
            self._erasures[index] = frozenset(item for item in indexes if isinstance(item, int))
        else:
            self._faults.add(index, "erasure", "the erasure entry does not say what it erased")

    def _read_subjects(self) -> None:
        """Check every subject's row by itself; with the master key, unwrap its key."""
        for subject, handle, wrapped, digest in self._scanner.walk(
            "SELECT subject, handle, wrapped, digest FROM subject_key ORDER BY subject"
        ):
            if not isinstance(subject, int):
                continue
            self._subjects[subject] = None
            if (
                not isinstance(handle, bytes)
                or not isinstance(wrapped, bytes)
                or subject_row_digest(subject, handle, wrapped) != digest
            ):
                self._faults.add(subject, "subject-key", "a subject's key row is damaged")
            elif wrapped == bytes(WRAPPED_SUBJECT_KEY_BYTES):
                if handle != erased_handle(subject):
                    self._faults.add(subject, "subject-key", "is erased, yet its handle is not")
                self._erased_subjects.add(subject)
            elif self._keys is not None:
                try:
                    self._subjects[subject] = unwrap_subject_key(
                        self._keys.master, wrapped, subject=subject, handle=handle
                    )
                except EnvelopeError as err:
                    self._faults.add(subject, "subject-key", str(err))

    def _known_hash(self, index: int) -> bytes:
        """Return the best guess at the hash of a leaf that is gone, for the tree's sake only."""
        rows = self._scanner.rows("SELECT leaf_hash FROM entry WHERE seq = ?", index)
        if rows and isinstance(rows[0][0], bytes) and len(rows[0][0]) == HASH_SIZE:
            return rows[0][0]
        rows = self._scanner.rows(
            "SELECT hashes FROM tile WHERE level = 0 AND position = ?", index // 256
        )
        if rows and isinstance(rows[0][0], bytes):
            at = index % 256 * HASH_SIZE
            if len(rows[0][0]) >= at + HASH_SIZE:
                return rows[0][0][at : at + HASH_SIZE]
        return bytes(HASH_SIZE)
