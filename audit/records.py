"""What goes into the log and what comes out of it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from audit.errors import DuplicateIdempotencyError, DuplicateIdError, RecordRejectedError
from audit.leaf import ID_FORM, TYPE_FORM, Facts

GENESIS = "genesis"
ERASURE = "erasure"
KEY_ROTATED = "key_rotated"
OWN_TYPES = frozenset({GENESIS, ERASURE, KEY_ROTATED})
"""Entries that the log writes itself, because their facts mean something to ``verify``."""

_ID = re.compile(ID_FORM).fullmatch
_TYPE = re.compile(TYPE_FORM).fullmatch


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A caller's key for one request, so that its repetition can be answered from the log."""

    scope: str
    """Whose keys these are: keys of two callers never meet."""
    key: str
    fingerprint: bytes
    """Of the request. Stored only as a keyed digest that dies with the payload."""


@dataclass(frozen=True, slots=True)
class NewRecord:
    """One event to append. Facts go into the public leaf; the payload is encrypted apart."""

    type: str
    id: str
    """Unique; time-ordered ids (UUID version 7) keep the index small and commits short."""
    facts: Facts
    """Small, free of floats and of personal data."""
    payload: bytes | None = None
    subject: str | None = field(default=None, repr=False)
    """Whose data the payload is: what one erasure erases together. None: a key of its own."""
    idempotency: Idempotency | None = field(default=None, repr=False)
    follows: int | None = None
    """The entry that the payload says more about: once that one is erased, this one is refused."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The promise that an entry is durable at this place."""

    origin: str
    index: int
    leaf_hash: bytes


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One record as read back, its leaf and payload checked against each other."""

    index: int
    id: str
    type: str
    timestamp: str
    facts: Facts
    leaf: bytes
    """The stored bytes."""
    leaf_hash: bytes
    payload: bytes | None
    """Decrypted; None when the record never had one, or when it is erased."""
    erased: bool


@dataclass(frozen=True, slots=True)
class IdempotencyMatch:
    """An earlier record under the same idempotency key."""

    index: int
    id: str
    same_request: bool | None
    """Whether the fingerprint is the same; None when the record is erased and nobody can tell."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure did."""

    indexes: tuple[int, ...]
    """Entries whose payload, key and salt are gone."""
    receipts: tuple[Receipt, ...]
    """Of the entries that say so. Empty when there was nothing to erase."""
    purged: bool
    """Whether the bytes have left every file too. False while another process reads the log:
    ``Log.purge`` finishes it later."""


def check_records(records: Sequence[NewRecord]) -> None:
    """Raise RecordRejectedError for the first record that cannot be appended, whatever is beside it."""
    for position, record in enumerate(records):
        if _TYPE(record.type) is None or record.type in OWN_TYPES:
            raise RecordRejectedError(
                f"type is {record.type!r}, want lower-case letters, digits, _ and ., "
                f"and none of {sorted(OWN_TYPES)}",
                position=position,
            )
        if record.idempotency is not None and record.payload is None:
            raise RecordRejectedError(
                "an idempotency key needs a payload: its request's digest dies with the payload",
                position=position,
            )
        if record.subject is not None and record.payload is None:
            raise RecordRejectedError("a subject without a payload", position=position)
    check_ids(records)


def check_ids(records: Sequence[NewRecord]) -> None:
    """Raise RecordRejectedError for the first malformed id."""
    for position, record in enumerate(records):
        if _ID(record.id) is None:
            raise RecordRejectedError(
                f"id is {record.id!r}, want 1 to 64 letters, digits, '.', '_' and '-'",
                position=position,
            )


def check_distinct(records: Iterable[NewRecord]) -> None:
    """Raise for the first record of a group whose id or idempotency key another of it has."""
    ids: set[str] = set()
    keys: set[tuple[str, str]] = set()
    for position, record in enumerate(records):
        if record.id in ids:
            raise DuplicateIdError(position=position, record_id=record.id)
        ids.add(record.id)
        request = record.idempotency
        if request is not None:
            if (request.scope, request.key) in keys:
                raise DuplicateIdempotencyError(position=position, scope=request.scope, index=None)
            keys.add((request.scope, request.key))
