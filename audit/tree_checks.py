"""Putting the findings of ranges together: the tree, its upper tiles, and what was signed of it."""

from collections.abc import Iterable, Sequence

from audit import merkle, tiles
from audit.checkpoint import Checkpoint
from audit.entry_checks import check_tile
from audit.errors import ProofError, RootMismatchError
from audit.faults import Faults
from audit.findings import Frontier, RangeFindings
from audit.merkle import HASH_SIZE
from audit.scan import Scanner
from audit.tiles import TILE_WIDTH, FullTile, GrowingTree, ReadHashes


class TreeChecks:
    """Grows the tree from ranges' findings, in order, and compares what was stored and signed."""

    def __init__(self, scanner: Scanner, faults: Faults) -> None:
        self._scanner = scanner
        self._faults = faults
        # A tree whose leaves are the roots of the tiles of level 0: its tiles are those from level
        # 1 up, and its frontier is the whole tree's, but for the leaves after the last full tile.
        self._tiles = GrowingTree()
        self._tail: Sequence[bytes] = ()
        self.compared = 0
        """How many signed checkpoints were compared with the tree."""

    def start_from(self, size: int, root: bytes) -> Frontier:
        """Take the first ``size`` leaves from stored hashes, which must lead to ``root``.

        Returns the leaf hashes after the last full tile. Raises ProofError when hashes are missing,
        RootMismatchError when they lead elsewhere.
        """
        read = stored_hashes(self._scanner)
        whole, rest = divmod(size, TILE_WIDTH)
        grown = tiles.grow_from(whole, lambda level, first, count: read(level + 1, first, count))
        tail = tuple(read(0, size - rest, rest)) if rest else ()
        got = _root(grown.frontier, _frontier(tail))
        if got != root:
            raise RootMismatchError(got=got, want=root)
        self._tiles, self._tail = grown, tail
        return tail

    def add(self, found: RangeFindings, signed: Iterable[tuple[str, Checkpoint]] = ()) -> None:
        """Take the next range in. ``signed`` are (kind of fault, checkpoint) besides the stored."""
        within = sorted(
            [*(("checkpoint", checkpoint) for checkpoint in found.checkpoints), *signed],
            key=lambda pair: pair[1].size,
        )
        at = 0
        for root in (*found.tile_roots, None):
            covered = self._tiles.size * TILE_WIDTH
            while at < len(within) and within[at][1].size < covered + TILE_WIDTH:
                kind, checkpoint = within[at]
                self._compare(kind, checkpoint, found.frontiers.get(checkpoint.size, ()))
                at += 1
            if root is not None:
                for tile in self._tiles.append([root]):
                    self._check_tile(tile)
        self._tail = found.tail

    @property
    def size(self) -> int:
        """Return how many leaves the tree has."""
        return self._tiles.size * TILE_WIDTH + len(self._tail)

    def frontier(self) -> Frontier:
        """Return the roots of the perfect subtrees, biggest first."""
        return (*self._tiles.frontier, *_frontier(self._tail))

    def root(self) -> bytes:
        """Return the root that the leaves lead to."""
        return merkle.frontier_root(self.frontier())

    def check_head(self) -> None:
        """Compare the stored head with the tree."""
        rows = self._scanner.rows("SELECT one, size, frontier, root FROM head")
        if rows != [(1, self.size, b"".join(self.frontier()), self.root())]:
            self._faults.add(
                None, "head", f"the stored head is not that of the {self.size} stored entries"
            )

    def check_tile_count(self) -> None:
        """Report tiles that no entries account for."""
        want = sum(full for full, _ in tiles.tile_widths(self.size))
        if self._scanner.value("SELECT count(*) FROM tile") != want:
            self._faults.add(None, "tile", f"there are not {want} tiles, as there should be")

    def _compare(self, kind: str, checkpoint: Checkpoint, rest: Frontier) -> None:
        self.compared += 1
        got = _root(self._tiles.frontier, rest)
        if got != checkpoint.root:
            self._faults.add(
                None,
                kind,
                f"at size {checkpoint.size} the entries lead to root {got.hex()}, "
                f"signed is {checkpoint.root.hex()}",
            )

    def _check_tile(self, tile: FullTile) -> None:
        check_tile(
            self._scanner,
            self._faults,
            level=tile.level + 1,
            position=tile.position,
            root=tile.root,
            hashes=tile.hashes,
        )


def stored_hashes(scanner: Scanner) -> ReadHashes:
    """Return a reader of the hashes that the store keeps: see ``audit.tiles.ReadHashes``."""

    def read(level: int, first: int, count: int) -> list[bytes]:
        position, offset = divmod(first, TILE_WIDTH)
        found: list[bytes] = []
        rows = scanner.rows(
            "SELECT hashes FROM tile WHERE level = $1 AND position = $2", level, position
        )
        if rows and isinstance(rows[0][0], bytes):
            start = offset * HASH_SIZE
            found = tiles.split_hashes(rows[0][0][start : start + count * HASH_SIZE])
        elif level == 0:
            found = _column(
                scanner, "SELECT leaf_hash FROM entry WHERE seq >= $1 AND seq < $2 ORDER BY seq",
                first, first + count,
            )  # fmt: skip
        else:
            found = _column(
                scanner, "SELECT root FROM tile WHERE level = $1 AND position >= $2 AND position < $3"
                " ORDER BY position",
                level - 1, first, first + count,
            )  # fmt: skip
        if len(found) != count or any(len(value) != HASH_SIZE for value in found):
            raise ProofError(f"level {level} has {len(found)} hashes from {first}, want {count}")
        return found

    return read


def _column(scanner: Scanner, statement: str, *parameters: int) -> list[bytes]:
    rows = scanner.rows(statement, *parameters) or []
    return [row[0] for row in rows if isinstance(row[0], bytes)]


def _frontier(leaves: Sequence[bytes]) -> Frontier:
    frontier: list[bytes] = []
    merkle.extend_by(frontier, 0, leaves)
    return tuple(frontier)


def _root(whole: Sequence[bytes], rest: Sequence[bytes]) -> bytes:
    return merkle.frontier_root([*whole, *rest])
