"""The rows of the store as Python sees them, whichever engine holds them."""

from collections.abc import Mapping
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
    subjects: Mapping[bytes, SubjectRow]
    """The subjects that were asked for and are there, by handle."""
    erased: bool
    """Whether records were erased: then what is remembered of subjects' keys may be gone."""
    is_taken: bool
    """Whether an entry has the identifier that was asked for."""
