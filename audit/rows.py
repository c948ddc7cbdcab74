"""The rows of the store as Python sees them, whichever engine holds them."""

from dataclasses import dataclass, field

from audit.tiles import FullTile


@dataclass(frozen=True, slots=True)
class Head:
    """The tree's size, frontier and root as stored."""

    size: int
    frontier: bytes
    root: bytes


@dataclass(frozen=True, slots=True)
class EntryRow:
    """One entry as stored."""

    seq: int
    id: str
    leaf: bytes
    leaf_hash: bytes


@dataclass(frozen=True, slots=True)
class SubjectRow:
    """A subject's key as stored."""

    subject: int
    handle: bytes
    wrapped: bytes
    digest: bytes


@dataclass(slots=True)
class Group:
    """The rows of one transaction."""

    entries: list[tuple[int, str, bytes, bytes]] = field(default_factory=list)
    payloads: list[tuple[int, bytes]] = field(default_factory=list)
    record_keys: list[tuple[int, int, bytes]] = field(default_factory=list)
    subject_keys: list[tuple[int, bytes, bytes, bytes]] = field(default_factory=list)
    idempotency: list[tuple[bytes, int]] = field(default_factory=list)
    erased: list[tuple[int, int, int]] = field(default_factory=list)
    tiles: list[FullTile] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class News:
    """What other writers have appended since a given size."""

    head: Head
    hashes: tuple[bytes, ...] | None
    """Of the new entries' leaves, in order; None when they are too many to be read one by one."""
    subjects: tuple[SubjectRow, ...]
    """Subjects that are new, or some of whose records were erased, as they are now."""
    erased_subjects: frozenset[int]
    """Subjects some of whose records were erased: what was known of their keys may be gone."""
