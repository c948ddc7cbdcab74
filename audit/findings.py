"""What checking one range of entries asks for and finds. Ranges are checked apart, by processes."""

from array import array
from dataclasses import dataclass, field

from audit.checkpoint import Checkpoint
from audit.faults import Faults

Frontier = tuple[bytes, ...]
"""Roots of the perfect subtrees of the leaves after the last full tile, biggest first."""


@dataclass(frozen=True, slots=True)
class RangeTask:
    """Entries ``start <= index < stop`` to check. All but the last range stop at a full tile."""

    start: int
    stop: int
    prefix: Frontier = ()
    """Hashes of the leaves between the last full tile and ``start``, known to be right."""
    sizes: tuple[int, ...] = ()
    """Sizes within the range at which the tree's frontier is wanted."""


@dataclass(slots=True)
class RangeFindings:
    """What was found in a range, to be put together with what was found in the others."""

    start: int
    stop: int
    faults: Faults = field(default_factory=Faults)
    tile_roots: list[bytes] = field(default_factory=list)
    """Of the tiles of level 0 that the range fills."""
    tail: list[bytes] = field(default_factory=list)
    """Leaf hashes after the last of these."""
    frontiers: dict[int, Frontier] = field(default_factory=dict)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    """The stored ones whose size is in the range and whose signature is good."""
    erased: dict[int, int] = field(default_factory=dict)
    """Index of each erased entry -> the entry that is said to have erased it."""
    erasures: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Index of each erasure entry -> what it says it erased."""
    has_payload: bytearray = field(default_factory=bytearray)
    """For each entry whether its leaf commits to a payload."""
    subjects: "array[int]" = field(default_factory=lambda: array("q"))
    """Subjects whose row is in the range."""
    idempotent: int = 0
    """How many leaves have an idempotency key."""
