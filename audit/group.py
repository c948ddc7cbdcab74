"""Turning records into the rows of one transaction: leaves, envelopes, keys, tiles, head.

Nothing here is written, and nothing is remembered until the caller says that the group is durable.
"""

import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from audit.digests import body_digest, idempotency_digest, subject_handle
from audit.envelope import (
    KEY_BYTES,
    Commitments,
    seal,
    subject_row_digest,
    unwrap_subject_key,
    wrap_subject_key,
)
from audit.errors import DamagedLogError, EnvelopeError, LeafError, RecordRejectedError
from audit.keys import LogKeys
from audit.leaf import IdempotencyTag, Leaf, encode_leaf
from audit.merkle import leaf_hash
from audit.records import NewRecord, Receipt
from audit.rows import Group
from audit.sqlite_reader import Reader
from audit.tiles import GrowingTree

_CACHED_SUBJECTS = 4_096


class SubjectKeys:
    """Subjects' unwrapped keys, the most recently used ones only."""

    def __init__(self) -> None:
        self._keys: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()

    def get(self, handle: bytes) -> tuple[int, bytes] | None:
        """Return (subject, key)."""
        found = self._keys.get(handle)
        if found is not None:
            self._keys.move_to_end(handle)
        return found

    def add(self, handle: bytes, subject: int, key: bytes) -> None:
        """Remember a subject's key, forgetting the one longest unused."""
        self._keys[handle] = (subject, key)
        if len(self._keys) > _CACHED_SUBJECTS:
            self._keys.popitem(last=False)

    def forget(self, handle: bytes) -> None:
        """Drop an erased subject's key."""
        self._keys.pop(handle, None)


@dataclass(slots=True)
class PreparedGroup:
    """A group ready to commit, and the state that holds once it is."""

    tree: GrowingTree
    rows: Group
    receipts: list[Receipt]
    new_subjects: dict[bytes, tuple[int, bytes]]


class GroupBuilder:
    """Prepares groups for one log."""

    def __init__(self, *, origin: str, keys: LogKeys, rows: Reader) -> None:
        self._origin = origin
        self._keys = keys
        self._rows = rows
        self._known = SubjectKeys()

    def prepare(
        self, tree: GrowingTree, records: Sequence[NewRecord], *, timestamp: str
    ) -> PreparedGroup:
        """Return the group's rows and receipts; ``tree`` is left as it is.

        Raises RecordRejectedError naming the record whose facts cannot become a leaf, or whose
        subject's stored key does not open.
        """
        group = PreparedGroup(tree.copy(), Group(), [], {})
        for position, record in enumerate(records):
            try:
                self._add(group, record, timestamp)
            except (DamagedLogError, LeafError, UnicodeEncodeError) as err:
                raise RecordRejectedError(str(err), position=position) from err
        return group

    def _add(self, group: PreparedGroup, record: NewRecord, timestamp: str) -> None:
        index = group.tree.size
        commitments: Commitments | None = None
        tag: IdempotencyTag | None = None
        if record.payload is not None:
            subject, subject_key = self._subject_key(group, record.subject, index)
            sealed = seal(
                record.payload,
                record_id=record.id,
                subject=subject,
                subject_key=subject_key,
            )
            commitments = sealed.commitments
            group.rows.payloads.append((index, sealed.envelope))
            group.rows.record_keys.append((index, subject, sealed.wrapped_key))
            if record.idempotency is not None:
                tag = IdempotencyTag(
                    idempotency_digest(self._keys.digest, record.idempotency),
                    body_digest(sealed.record_key.salt, record.idempotency.fingerprint),
                )
                group.rows.idempotency.append((tag.key, index))
        leaf = encode_leaf(Leaf(record.type, record.id, timestamp, record.facts, commitments, tag))
        hashed = leaf_hash(leaf)
        group.rows.entries.append((index, record.id, leaf, hashed))
        group.rows.tiles += group.tree.append(hashed)
        group.receipts.append(Receipt(self._origin, index, hashed))

    def _subject_key(
        self, group: PreparedGroup, subject: str | None, index: int
    ) -> tuple[int, bytes]:
        """Return (subject's number, key), making them for a subject not met before."""
        if subject is None:
            handle = os.urandom(16)  # found by no one: this record's key is its alone
        else:
            handle = subject_handle(self._keys.digest, subject)
            known = group.new_subjects.get(handle) or self._known.get(handle)
            if known is not None:
                return known
            stored = self._rows.find_subject(handle)
            if stored is not None:
                try:
                    key = unwrap_subject_key(
                        self._keys.master,
                        stored.wrapped,
                        subject=stored.subject,
                        handle=handle,
                    )
                except EnvelopeError as err:
                    raise DamagedLogError(f"subject {stored.subject}: {err}") from err
                self._known.add(handle, stored.subject, key)
                return stored.subject, key
        key = os.urandom(KEY_BYTES)
        wrapped = wrap_subject_key(self._keys.master, key, subject=index, handle=handle)
        group.rows.subject_keys.append(
            (index, handle, wrapped, subject_row_digest(index, handle, wrapped))
        )
        if subject is not None:
            group.new_subjects[handle] = (index, key)
        return index, key

    def committed(self, group: PreparedGroup) -> None:
        """Remember the keys of subjects that are durable now."""
        for handle, (subject, key) in group.new_subjects.items():
            self._known.add(handle, subject, key)

    def forget(self, handles: Iterable[bytes]) -> None:
        """Drop the keys of subjects that are erased."""
        for handle in handles:
            self._known.forget(handle)
