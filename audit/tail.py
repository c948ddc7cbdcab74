"""The newest part of a log's digests in memory, where the writer finds them until they are moved.

In 256 buckets, each of which is a stretch of the tables that it is moved into: the digests that begin
with one byte, or the subjects with one last byte. Reading is safe from any thread while one adds.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from audit.digest_pages import INDEX_BYTES, PREFIX_BYTES, entry, split
from audit.rows import Group

BUCKETS = 256
_BARE = bytes(8)


def is_linked(handle: bytes) -> bool:
    """Return whether a handle is a subject's digest. Others begin with zeros: ``unlinked_handle``."""
    return not handle.startswith(_BARE)


def part_of(subject: int) -> int:
    """Return the bucket of a subject's records."""
    return subject % BUCKETS


def _packed() -> list[bytearray]:
    return [bytearray() for _ in range(BUCKETS)]


def _record_buckets() -> list[dict[int, int]]:
    return [{} for _ in range(BUCKETS)]


@dataclass(slots=True)
class Tail:
    """What is to be found of the entries from ``start`` on."""

    start: int
    was_read: bool = False
    """From the rows, when the log was opened: then some of it may have been moved before."""
    handles: dict[bytes, int] = field(default_factory=dict)
    """Subjects by handle."""
    requests: dict[bytes, int] = field(default_factory=dict)
    """Entries by the digest of their request's key."""
    packed_handles: list[bytearray] = field(default_factory=_packed)
    """The same in buckets, as entries of ``audit.digest_pages``."""
    packed_requests: list[bytearray] = field(default_factory=_packed)
    records: list[dict[int, int]] = field(default_factory=_record_buckets)
    """In buckets, subjects by their records after the first one."""

    def add(self, group: Group) -> None:
        """Add what a group brought."""
        self.add_handles(group.subject_keys)
        self.add_requests(group.idempotency)
        self.add_records(group.record_keys)

    # Entries are made in place, without a call for each: a log being opened has 100,000 of them.

    def add_handles(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Add (subject, handle, ...) of those that are anyone's."""
        handles, packed = self.handles, self.packed_handles
        for row in rows:
            handle = row[1]
            if not handle.startswith(_BARE):
                handles[handle] = subject = row[0]
                packed[handle[0]] += handle[:PREFIX_BYTES] + subject.to_bytes(INDEX_BYTES, "big")

    def add_requests(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Add (digest of a request's key, entry)."""
        requests, packed = self.requests, self.packed_requests
        for key, seq in rows:
            requests[key] = seq
            packed[key[0]] += key[:PREFIX_BYTES] + seq.to_bytes(INDEX_BYTES, "big")

    def add_records(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Add (entry, subject, ...) of those that are not the subject's first."""
        records = self.records
        for row in rows:
            if row[0] != row[1]:
                records[row[1] % BUCKETS][row[0]] = row[1]

    def forget(self, handle: bytes) -> None:
        """Drop the handle of a subject that was erased."""
        subject = self.handles.pop(handle, None)
        if subject is not None:
            kept = split(self.packed_handles[handle[0]])
            kept.remove(entry(handle, subject))
            self.packed_handles[handle[0]] = bytearray(b"".join(kept))

    def records_of(self, subject: int) -> list[int]:
        """Return a subject's records after the first one."""
        # As a list at once: another thread may be adding.
        return [seq for seq, of in list(self.records[part_of(subject)].items()) if of == subject]
