"""Turning records into the rows of one transaction: leaves, envelopes, keys, tiles, head.

In two steps. *Drafting* does what costs most and needs neither a place in the log nor the store:
encryption, digests, canonical facts. *Finishing* numbers the drafts, hashes their leaves and grows the
tree; it alone is done while other writers wait. Nothing here is written, and nothing is remembered until the caller
says that the group is durable.
"""

import os
import threading
from binascii import b2a_base64
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from audit.digests import body_digest, idempotency_digest, subject_handle
from audit.envelope import (
    KEY_BYTES,
    RecordKey,
    SealedPayload,
    seal,
    subject_row_digest,
    unlinked_handle,
    unwrap_subject_key,
    wrap_record_key,
    wrap_subject_key,
    wrapped_key_commitment,
)
from audit.errors import DamagedLogError, EnvelopeError, LeafError, RecordRejectedError
from audit.keys import LogKeys
from audit.leaf import IdempotencyTag, canonical_facts, encode_around_key
from audit.merkle import leaf_hash
from audit.records import NewRecord, Receipt
from audit.row_reader import RowReader
from audit.rows import Group, News, SubjectRow
from audit.tiles import GrowingTree

_CACHED_SUBJECTS = 4_096

Subjects: TypeAlias = Mapping[bytes, tuple[int, bytes] | SubjectRow]
"""Subjects' numbers and keys, or their rows as stored, by handle."""


class SubjectKeys:
    """Subjects' unwrapped keys, the most recently used ones only. Safe from any thread."""

    def __init__(self) -> None:
        self._keys: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, handle: bytes) -> tuple[int, bytes] | None:
        """Return (subject, key)."""
        with self._lock:
            found = self._keys.get(handle)
            if found is not None:
                self._keys.move_to_end(handle)
            return found

    def add(self, handle: bytes, subject: int, key: bytes) -> None:
        """Remember a subject's key, forgetting the one longest unused."""
        with self._lock:
            self._keys[handle] = (subject, key)
            if len(self._keys) > _CACHED_SUBJECTS:
                self._keys.popitem(last=False)

    def forget(self, subjects: Iterable[int]) -> None:
        """Drop the keys of subjects that may be erased."""
        gone = frozenset(subjects)
        with self._lock:
            for handle in [handle for handle, known in self._keys.items() if known[0] in gone]:
                del self._keys[handle]

    def forget_all(self) -> None:
        """Drop every key."""
        with self._lock:
            self._keys.clear()


@dataclass(slots=True, repr=False)
class Draft:
    """One record, done as far as can be without knowing its index, nor what is stored."""

    record: NewRecord
    erasures: int
    """How many erasures its log had seen when it was begun: it may hold the keys of later ones."""
    leaf: tuple[bytes, bytes]
    """Before and after the wrapped key's digest."""
    sealed: SealedPayload | None = None
    handle: bytes | None = None
    """Of the record's subject; None when it has none, so that its key is its alone."""
    subject: int | None = None
    """Its number; None for one not met before."""
    subject_key: bytes = b""
    """Its key, or what becomes its key."""
    wrapped_key: bytes = b""
    idempotency: bytes | None = None


@dataclass(slots=True, repr=False)
class PreparedGroup:
    """A group ready to commit, and the state that holds once it is."""

    tree: GrowingTree
    rows: Group = field(default_factory=Group)
    receipts: list[Receipt] = field(default_factory=list)
    used_subjects: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)


class GroupBuilder:
    """Prepares groups for one log."""

    def __init__(self, *, origin: str, keys: LogKeys, rows: RowReader) -> None:
        self._origin = origin
        self._keys = keys
        self._rows = rows
        self._known = SubjectKeys()

    def draft(self, records: Sequence[NewRecord], *, timestamp: str, erasures: int) -> list[Draft]:
        """Return the records' drafts. Reads nothing, and may be called from any thread.

        Raises RecordRejectedError naming the record whose facts cannot become a leaf.
        """
        handles = [self._handle(record, position) for position, record in enumerate(records)]
        facts: dict[int, str] = {}
        drafts = []
        for position, record in enumerate(records):
            try:
                # The records of one model share one facts object; while the group holds it, no
                # other has its identity.
                canonical = facts.get(id(record.facts))
                if canonical is None:
                    canonical = facts[id(record.facts)] = canonical_facts(record.facts)
                drafts.append(
                    self._draft(record, handles[position], canonical, timestamp, erasures)
                )
            except LeafError as err:
                raise RecordRejectedError(str(err), position=position) from err
        return drafts

    def stored(self, drafts: Iterable[Draft]) -> Subjects:
        """Return, by handle, the subjects that drafts did not know of and that have a key by now."""
        return self._find(
            {draft.handle for draft in drafts if draft.handle is not None and draft.subject is None}
        )

    def finish(
        self,
        tree: GrowingTree,
        drafts: Sequence[Draft],
        *,
        stored: Subjects,
        news: News | None = None,
    ) -> PreparedGroup:
        """Return the rows and receipts of drafts appended to ``tree``, which is left as it is.

        ``stored`` are the ``stored`` subjects of the drafts, ``news`` what other writers appended
        since the drafts were begun, if they did. Raises RecordRejectedError naming the record whose
        subject's stored key does not open.
        """
        group = PreparedGroup(tree.copy())
        rows, tree = group.rows, group.tree
        for position, draft in enumerate(drafts):
            index = tree.size
            leaf = draft.leaf[0]
            sealed = draft.sealed
            if sealed is not None:
                try:
                    subject, wrapped = self._own(group, draft, sealed.record_key, stored, news)
                except DamagedLogError as err:
                    raise RecordRejectedError(str(err), position=position) from err
                digest = wrapped_key_commitment(wrapped, subject=subject)
                leaf += b2a_base64(digest, newline=False) + draft.leaf[1]
                rows.payloads.append((index, sealed.envelope))
                rows.record_keys.append((index, subject, wrapped))
                if draft.idempotency is not None:
                    rows.idempotency.append((draft.idempotency, index))
            hashed = leaf_hash(leaf)
            rows.entries.append((index, draft.record.id, leaf, hashed))
            filled = tree.append(hashed)
            if filled:
                rows.tiles += filled
            group.receipts.append(Receipt(self._origin, index, hashed))
        return group

    def committed(self, group: PreparedGroup) -> None:
        """Remember the keys of the subjects that the group, durable now, is about."""
        for handle, (subject, key) in group.used_subjects.items():
            self._known.add(handle, subject, key)

    def forget(self, subjects: Iterable[int]) -> None:
        """Drop the keys of subjects that may be erased."""
        self._known.forget(subjects)

    def forget_all(self) -> None:
        """Drop every subject's key."""
        self._known.forget_all()

    @staticmethod
    def handles(drafts: Iterable[Draft]) -> list[bytes]:
        """Return the handles of the drafts' subjects."""
        return list({draft.handle for draft in drafts if draft.handle is not None})

    def _handle(self, record: NewRecord, position: int) -> bytes | None:
        if record.subject is None:
            return None
        try:
            return subject_handle(self._keys.digest, record.subject)
        except UnicodeEncodeError as err:
            raise RecordRejectedError(
                f"the subject is not Unicode text: {err.reason}", position=position
            ) from err

    def _find(self, handles: Iterable[bytes]) -> Subjects:
        """Return what is known or stored of subjects, by handle."""
        found: dict[bytes, tuple[int, bytes] | SubjectRow] = {}
        unknown = []
        for handle in handles:
            known = self._known.get(handle)
            if known is None:
                unknown.append(handle)
            else:
                found[handle] = known
        if unknown:
            found.update(self._rows.find_subjects(unknown))
        return found

    def _draft(
        self,
        record: NewRecord,
        handle: bytes | None,
        facts: str,
        timestamp: str,
        erasures: int,
    ) -> Draft:
        if record.payload is None:
            leaf = encode_around_key(
                record.type, record.id, timestamp, facts, payload=None, idempotency=None
            )
            return Draft(record, erasures, leaf)
        sealed = seal(record.payload, record_id=record.id)
        known = None if handle is None else self._known.get(handle)
        subject, key = known or (None, os.urandom(KEY_BYTES))
        tag: IdempotencyTag | None = None
        if record.idempotency is not None:
            tag = IdempotencyTag(
                idempotency_digest(self._keys.digest, record.idempotency),
                body_digest(sealed.record_key.salt, record.idempotency.fingerprint),
            )
        leaf = encode_around_key(
            record.type, record.id, timestamp, facts, payload=sealed.digests, idempotency=tag
        )
        return Draft(
            record,
            erasures,
            leaf,
            sealed,
            handle,
            subject,
            key,
            wrap_record_key(sealed.record_key, subject_key=key),
            None if tag is None else tag.key,
        )

    def _opened(self, subject: tuple[int, bytes] | SubjectRow) -> tuple[int, bytes]:
        """Return (subject's number, key)."""
        if not isinstance(subject, SubjectRow):
            return subject
        try:
            key = unwrap_subject_key(
                self._keys.master,
                subject.wrapped,
                subject=subject.subject,
                handle=subject.handle,
            )
        except EnvelopeError as err:
            raise DamagedLogError(f"subject {subject.subject}: {err}") from err
        return subject.subject, key

    def _own(
        self,
        group: PreparedGroup,
        draft: Draft,
        record_key: RecordKey,
        stored: Subjects,
        news: News | None,
    ) -> tuple[int, bytes]:
        """Return (subject's number, wrapped key) of a draft that is about to get its index.

        Since it was begun, another draft or writer may have made its subject's key, or an erasure
        taken it: ``news`` say how they all are now, and without news the stored ones are.
        """
        index, handle = group.tree.size, draft.handle
        if handle is None:
            self._add_subject(group, index, unlinked_handle(index), draft.subject_key)
            return index, draft.wrapped_key
        now = group.used_subjects.get(handle)
        if now is None:
            current = (stored if news is None else news.subjects).get(handle)
            if current is not None:
                now = self._opened(current)
            elif news is None and draft.subject is not None:
                now = draft.subject, draft.subject_key
        if now is None:
            # A key that was known and is erased must not come back.
            now = index, draft.subject_key if draft.subject is None else os.urandom(KEY_BYTES)
            self._add_subject(group, index, handle, now[1])
        group.used_subjects[handle] = now
        if now[1] == draft.subject_key:
            return now[0], draft.wrapped_key
        return now[0], wrap_record_key(record_key, subject_key=now[1])

    def _add_subject(self, group: PreparedGroup, index: int, handle: bytes, key: bytes) -> None:
        """Make the row of a subject not met before, whose number is its first record's index."""
        wrapped = wrap_subject_key(self._keys.master, key, subject=index, handle=handle)
        digest = subject_row_digest(index, handle, wrapped)
        group.rows.subject_keys.append((index, handle, wrapped, digest))
