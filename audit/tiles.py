"""C2SP tlog-tiles: the tree cut into tiles of 256 hashes, as stored, published and read for proofs.

Hash ``i`` of tile ``(level, n)`` is the root of the ``256**level`` leaves from
``(n * 256 + i) * 256**level``. Full tiles never change; each is written once, with the entry that
fills it. https://c2sp.org/tlog-tiles
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from audit.errors import ProofError
from audit.merkle import HASH_SIZE, extend_by, frontier_root, node_hash, perfect_subtrees

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
MAX_LEVEL = 63
CHECKPOINT = "checkpoint"
"""The path of the newest checkpoint, beside the tiles."""

ReadHashes = Callable[[int, int, int], Sequence[bytes]]
"""``(level, first, count)`` -> that many hashes of a level; never across a tile's border."""


@dataclass(frozen=True, slots=True)
class FullTile:
    """A tile of 256 hashes and the root over them, which is one hash of the level above."""

    level: int
    position: int
    root: bytes
    hashes: bytes
    """8,192 bytes."""


@dataclass(slots=True)
class GrowingTree:
    """What appending needs to know of a tree: frontier and the hashes of its unfinished tiles."""

    size: int = 0
    frontier: list[bytes] = field(default_factory=list)
    unfinished: list[list[bytes]] = field(default_factory=lambda: [[]])
    """By level, at most 255 hashes each."""

    def copy(self) -> "GrowingTree":
        """Return an independent copy."""
        return GrowingTree(self.size, list(self.frontier), [list(row) for row in self.unfinished])

    def append(self, leaves: Sequence[bytes]) -> list[FullTile]:
        """Append leaf hashes and return the tiles they fill, lowest level first."""
        made = extend_by(self.frontier, self.size, leaves)
        filled: list[FullTile] = []
        for level, values in enumerate(made[::TILE_HEIGHT]):
            if level == len(self.unfinished):
                self.unfinished.append([])
            row = self.unfinished[level]
            row += values
            height = (level + 1) * TILE_HEIGHT
            # The nodes that came to be at this height are the roots of the tiles now full.
            roots = made[height] if height < len(made) else []
            filled += [
                FullTile(
                    level,
                    (self.size >> height) + at,
                    root,
                    b"".join(row[at * TILE_WIDTH : (at + 1) * TILE_WIDTH]),
                )
                for at, root in enumerate(roots)
            ]
            del row[: len(roots) * TILE_WIDTH]
        self.size += len(leaves)
        return filled

    def root(self) -> bytes:
        """Return the tree's root."""
        return frontier_root(self.frontier)


def grow_from(size: int, read: ReadHashes) -> GrowingTree:
    """Rebuild the state after ``size`` leaves from stored hashes."""
    frontier = [perfect_root(height, at, read) for height, at in perfect_subtrees(0, size)]
    unfinished: list[list[bytes]] = []
    count = size
    while True:
        width = count % TILE_WIDTH
        unfinished.append(list(read(len(unfinished), count - width, width)) if width else [])
        count //= TILE_WIDTH
        if not count:
            return GrowingTree(size, frontier, unfinished)


def range_root(start: int, stop: int, read: ReadHashes) -> bytes:
    """Return the hash of the subtree of leaves ``start <= i < stop`` from stored hashes."""
    return frontier_root(
        [perfect_root(height, at, read) for height, at in perfect_subtrees(start, stop)]
    )


def perfect_root(height: int, position: int, read: ReadHashes) -> bytes:
    """Return the root of the perfect subtree of ``2**height`` leaves at ``position``."""
    level, rest = divmod(height, TILE_HEIGHT)
    hashes = read(level, position << rest, 1 << rest)
    if len(hashes) != 1 << rest:
        raise ProofError(f"level {level} has {len(hashes)} hashes there, want {1 << rest}")
    while len(hashes) > 1:
        hashes = [
            node_hash(left, right) for left, right in zip(hashes[::2], hashes[1::2], strict=True)
        ]
    return hashes[0]


def split_hashes(hashes: bytes) -> list[bytes]:
    """Return a tile's bytes as hashes. Raises ProofError when they are not whole hashes."""
    if len(hashes) % HASH_SIZE:
        raise ProofError(f"a tile has {len(hashes)} bytes, want a multiple of {HASH_SIZE}")
    return [hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE)]


def tile_widths(size: int) -> list[tuple[int, int]]:
    """Return, for each level of a tree of ``size`` leaves, (full tiles, hashes in the partial)."""
    widths = []
    while size:
        widths.append(divmod(size, TILE_WIDTH))
        size //= TILE_WIDTH
    return widths


def tile_path(level: int, position: int, width: int = TILE_WIDTH) -> str:
    """Return the path of a tile of hashes, relative to the log's prefix."""
    if not 0 <= level <= MAX_LEVEL:
        raise ProofError(f"tile level is {level}, want 0 to {MAX_LEVEL}")
    return f"tile/{level}/{_numbered(position, width)}"


def bundle_path(position: int, width: int = TILE_WIDTH) -> str:
    """Return the path of an entry bundle, relative to the log's prefix."""
    return f"tile/entries/{_numbered(position, width)}"


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Return entries as one bundle: each after its length in two bytes, big-endian."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def decode_bundle(bundle: bytes) -> list[bytes]:
    """Return a bundle's entries. Raises ProofError when lengths and bytes disagree."""
    entries: list[bytes] = []
    at = 0
    while at < len(bundle):
        length = int.from_bytes(bundle[at : at + 2], "big")
        entry = bundle[at + 2 : at + 2 + length]
        if at + 2 > len(bundle) or len(entry) != length:
            raise ProofError(f"the bundle ends inside entry {len(entries)}")
        entries.append(entry)
        at += 2 + length
    return entries


def _numbered(position: int, width: int) -> str:
    if position < 0 or not 1 <= width <= TILE_WIDTH:
        raise ProofError(f"tile {position} of width {width}, want position >= 0, width 1 to 256")
    groups = [f"{position % 1000:03d}"]
    while position := position // 1000:
        groups.append(f"x{position % 1000:03d}")
    path = "/".join(reversed(groups))
    return path if width == TILE_WIDTH else f"{path}.p/{width}"
