"""Turning records into the rows of one transaction: leaves, envelopes, keys, tiles, head.

In two steps. *Drafting* does what costs most and needs neither a place in the log nor the store:
encryption, digests, canonical facts. *Finishing* numbers the drafts, hashes their leaves and grows the
tree; it alone is done while other writers wait. Nothing here is written, and nothing is remembered until the caller
says that the group is durable.
"""

import threading
from binascii import b2a_base64
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from audit.digests import body_digest, idempotency_digest, subject_handle
from audit.envelope import (
    KEY_BYTES,
    RECORD_SECRET_BYTES,
    SUBJECT_SECRET_BYTES,
    SealedPayload,
    fresh_secrets,
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
from audit.rows import Group, SubjectRow
from audit.tiles import GrowingTree

_CACHED_SUBJECTS = 16_384
"""About 6 MB."""


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


@dataclass(frozen=True, slots=True, repr=False)
class Keyed:
    """What of an entry depends on whose it is."""

    subject: int
    subject_key: bytes
    wrapped_key: bytes
    leaf: bytes
    leaf_hash: bytes


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
    idempotency: bytes | None = None
    keyed: Keyed | None = None
    """None while it is not known whether its subject has a key, nor which."""


@dataclass(slots=True, repr=False)
class PreparedGroup:
    """A group ready to commit, and the state that holds once it is."""

    tree: GrowingTree
    rows: Group = field(default_factory=Group)
    met_subjects: dict[bytes, tuple[int, bytes]] = field(default_factory=dict)


class GroupBuilder:
    """Prepares groups for one log."""

    def __init__(self, *, origin: str, keys: LogKeys) -> None:
        self._origin = origin
        self._keys = keys
        self._known = SubjectKeys()

    def draft(self, records: Sequence[NewRecord], *, timestamp: str, erasures: int) -> list[Draft]:
        """Return the records' drafts. Reads nothing, and may be called from any thread.

        Raises RecordRejectedError naming the record whose facts cannot become a leaf.
        """
        handles = [self._handle(record, position) for position, record in enumerate(records)]
        # All of them before any leaf: what encrypts and hashes stays in the processor's caches.
        secrets = fresh_secrets(RECORD_SECRET_BYTES, len(records))
        sealed = [
            None
            if record.payload is None
            else seal(record.payload, record_id=record.id, secret=secret)
            for record, secret in zip(records, secrets, strict=True)
        ]
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
                    self._draft(
                        record, sealed[position], handles[position], canonical, timestamp, erasures
                    )
                )
            except LeafError as err:
                raise RecordRejectedError(str(err), position=position) from err
        return drafts

    def unknown(self, drafts: Iterable[Draft]) -> list[bytes]:
        """Return the handles of subjects whose keys neither the drafts nor we know by now."""
        handles = set()
        for draft in drafts:
            if draft.keyed is None and draft.handle is not None:
                draft.keyed = self._known_key(draft)
                if draft.keyed is None:
                    handles.add(draft.handle)
        return list(handles)

    def finish(
        self, tree: GrowingTree, drafts: Sequence[Draft], stored: Mapping[bytes, SubjectRow]
    ) -> PreparedGroup:
        """Return the rows of drafts appended to ``tree``, which is left as it is.

        ``stored`` are those of the drafts' ``unknown`` subjects that are stored, by handle. Raises
        RecordRejectedError naming the record whose subject's stored key does not open.
        """
        group = PreparedGroup(tree.copy())
        rows, tree = group.rows, group.tree
        hashes = []
        without = sum(draft.sealed is not None and draft.keyed is None for draft in drafts)
        secrets = iter(fresh_secrets(SUBJECT_SECRET_BYTES, without))
        for position, draft in enumerate(drafts):
            index = tree.size + position
            if draft.sealed is None:
                leaf = draft.leaf[0]
                hashed = leaf_hash(leaf)
            else:
                try:
                    keyed = draft.keyed or self._own(group, draft, index, stored, next(secrets))
                except DamagedLogError as err:
                    raise RecordRejectedError(str(err), position=position) from err
                leaf, hashed = keyed.leaf, keyed.leaf_hash
                if draft.handle is not None:
                    group.met_subjects[draft.handle] = keyed.subject, keyed.subject_key
                rows.payloads.append((index, draft.sealed.envelope))
                rows.record_keys.append((index, keyed.subject, keyed.wrapped_key))
                if draft.idempotency is not None:
                    rows.idempotency.append((draft.idempotency, index))
            rows.entries.append((index, draft.record.id, leaf, hashed))
            hashes.append(hashed)
        rows.tiles = tree.append(hashes)
        return group

    def committed(self, group: PreparedGroup) -> list[Receipt]:
        """Return the receipts of a group that is durable now, and remember its subjects' keys."""
        for handle, (subject, key) in group.met_subjects.items():
            self._known.add(handle, subject, key)
        return [Receipt(self._origin, index, hashed) for index, _, _, hashed in group.rows.entries]

    def forget(self, subjects: Iterable[int]) -> None:
        """Drop the keys of subjects that may be erased."""
        self._known.forget(subjects)

    def forget_all(self) -> None:
        """Drop every subject's key."""
        self._known.forget_all()

    def _handle(self, record: NewRecord, position: int) -> bytes | None:
        if record.subject is None:
            return None
        try:
            return subject_handle(self._keys.digest, record.subject)
        except UnicodeEncodeError as err:
            raise RecordRejectedError(
                f"the subject is not Unicode text: {err.reason}", position=position
            ) from err

    def _draft(
        self,
        record: NewRecord,
        sealed: SealedPayload | None,
        handle: bytes | None,
        facts: str,
        timestamp: str,
        erasures: int,
    ) -> Draft:
        if sealed is None:
            leaf = encode_around_key(
                record.type, record.id, timestamp, facts, payload=None, idempotency=None
            )
            return Draft(record, erasures, leaf)
        tag: IdempotencyTag | None = None
        if record.idempotency is not None:
            tag = IdempotencyTag(
                idempotency_digest(self._keys.digest, record.idempotency),
                body_digest(sealed.record_key.salt, record.idempotency.fingerprint),
            )
        leaf = encode_around_key(
            record.type, record.id, timestamp, facts, payload=sealed.digests, idempotency=tag
        )
        draft = Draft(record, erasures, leaf, sealed, handle, None if tag is None else tag.key)
        draft.keyed = self._known_key(draft)
        return draft

    def _known_key(self, draft: Draft) -> Keyed | None:
        """Return the rest of a draft whose subject's key is remembered."""
        known = None if draft.handle is None else self._known.get(draft.handle)
        return None if known is None else _keyed(draft, *known)

    def _opened(self, subject: SubjectRow) -> tuple[int, bytes]:
        """Return (subject's number, key)."""
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
        index: int,
        stored: Mapping[bytes, SubjectRow],
        secret: bytes,
    ) -> Keyed:
        """Return the rest of a draft that is about to get its index.

        Its subject's key is stored, or made by an earlier draft of this group, or made now, from
        ``secret``.
        """
        handle = draft.handle
        if handle is None:
            key = self._add_subject(group, index, unlinked_handle(index), secret)
            return _keyed(draft, index, key)
        found = group.met_subjects.get(handle)
        if found is None:
            if handle in stored:
                found = self._opened(stored[handle])
            else:
                found = index, self._add_subject(group, index, handle, secret)
        return _keyed(draft, *found)

    def _add_subject(self, group: PreparedGroup, index: int, handle: bytes, secret: bytes) -> bytes:
        """Make the row of a subject not met before, numbered as its first record; return its key."""
        key, nonce = secret[:KEY_BYTES], secret[KEY_BYTES:]
        wrapped = wrap_subject_key(
            self._keys.master, key, nonce=nonce, subject=index, handle=handle
        )
        digest = subject_row_digest(index, handle, wrapped)
        group.rows.subject_keys.append((index, handle, wrapped, digest))
        return key


def _keyed(draft: Draft, subject: int, subject_key: bytes) -> Keyed:
    """Return the rest of a sealed draft, once its subject's number and key are known."""
    if draft.sealed is None:
        raise ValueError("a draft without a payload is no subject's")
    wrapped = wrap_record_key(draft.sealed.record_key, subject_key=subject_key)
    digest = wrapped_key_commitment(wrapped, subject=subject)
    leaf = draft.leaf[0] + b2a_base64(digest, newline=False) + draft.leaf[1]
    return Keyed(subject, subject_key, wrapped, leaf, leaf_hash(leaf))
