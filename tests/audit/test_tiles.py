"""Tiles against the published examples, the naive recursion, and a client that sees files only."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import merkle
from audit.checkpoint import open_checkpoint
from audit.errors import DamagedLogError, LogRolledBackError, ProofError
from audit.log import Log
from audit.note import VerifierKey
from audit.publish import publish
from audit.tiles import (
    GrowingTree,
    bundle_path,
    decode_bundle,
    encode_bundle,
    grow_from,
    range_root,
    split_hashes,
    tile_path,
    tile_widths,
)
from tests.audit.conftest import ORIGIN, Clock, MakeRecord, OpenLog
from tests.reference import naive_merkle


@pytest.mark.parametrize(
    ("position", "width", "want"),
    [
        (5, 256, "tile/0/005"),
        (1_234_067, 256, "tile/0/x001/x234/067"),
        (1_000, 256, "tile/0/x001/000"),
        (273, 112, "tile/0/273.p/112"),
        (0, 1, "tile/0/000.p/1"),
    ],
)
def test_tiles_have_the_published_paths(position: int, width: int, want: str) -> None:
    assert tile_path(0, position, width) == want
    assert bundle_path(position, width) == want.replace("tile/0", "tile/entries")


@pytest.mark.parametrize(
    ("level", "position", "width"),
    [(64, 0, 256), (-1, 0, 256), (0, -1, 256), (0, 0, 0), (0, 0, 257)],
)
def test_numbers_that_name_no_tile_are_refused(level: int, position: int, width: int) -> None:
    with pytest.raises(ProofError):
        tile_path(level, position, width)


@pytest.mark.parametrize(
    ("size", "want"),
    [
        (0, []),
        (1, [(0, 1)]),
        (255, [(0, 255)]),
        (256, [(1, 0), (0, 1)]),
        (70_000, [(273, 112), (1, 17), (0, 1)]),
    ],
)
def test_a_size_has_the_published_tiles(size: int, want: list[tuple[int, int]]) -> None:
    assert tile_widths(size) == want


def test_a_growing_tree_fills_tiles_and_can_be_rebuilt_from_them() -> None:
    leaves = [merkle.leaf_hash(number.to_bytes(4, "big")) for number in range(66_000)]
    levels: list[list[bytes]] = [[], [], []]
    tree = GrowingTree()
    for start, stop in itertools.pairwise((0, 1, 2, 250, 257, 512, 512, 1_300, 65_530, 66_000)):
        for tile in tree.append(leaves[start:stop]):
            assert tile.position == len(levels[tile.level]) // 256
            levels[tile.level] += split_hashes(tile.hashes)
            assert tile.root == merkle.root_of(split_hashes(tile.hashes))
    assert [len(level) for level in levels] == [65_792, 256, 0]

    def read(level: int, first: int, count: int) -> list[bytes]:
        if level == 0:
            return leaves[first : first + count]
        span = 256**level
        return [
            merkle.root_of(leaves[at * span : (at + 1) * span])
            for at in range(first, first + count)
        ]

    assert tree.root() == merkle.root_of(leaves)
    again = grow_from(66_000, read)
    assert (again.size, again.frontier, again.unfinished) == (
        tree.size,
        tree.frontier,
        tree.unfinished,
    )
    for start, stop in ((0, 66_000), (65_536, 66_000), (0, 65_536), (512, 768), (65_792, 66_000)):
        assert range_root(start, stop, read) == merkle.root_of(leaves[start:stop])


@given(st.lists(st.binary(max_size=70), max_size=20))
def test_any_bundle_round_trips(entries: list[bytes]) -> None:
    bundle = encode_bundle(entries)
    assert decode_bundle(bundle) == entries
    for cut in range(len(bundle)):
        try:
            assert len(decode_bundle(bundle[:cut])) < len(entries)
        except ProofError:
            continue


def test_torn_tiles_are_refused() -> None:
    with pytest.raises(ProofError, match="multiple of 32"):
        split_hashes(bytes(33))


def grow(log: Log, size: int, record: MakeRecord) -> None:
    log.append([record(None) for _ in range(size - log.size)])
    log.checkpoint()


def test_published_files_alone_prove_every_entry(
    open_log: OpenLog, record: MakeRecord, tmp_path: Path
) -> None:
    log, target = open_log(), tmp_path / "public"
    vkey = VerifierKey.parse(str(log.read_index(0).facts["vkey"]))
    for size in (1, 255, 256, 257, 600):
        grow(log, size, record)
        assert publish(log, target).size == size
        assert publish(log, target).files == 0
        note = (target / "checkpoint").read_bytes()
        checkpoint = open_checkpoint(note, origin=ORIGIN, trusted=[vkey])
        client = Client(target, size)
        entries = client.entries()
        assert checkpoint.size == len(entries) == size
        assert naive_merkle.mth(entries) == checkpoint.root
        for index in {0, size // 2, size - 1}:
            proof = merkle.inclusion_proof(index, size, client.range_root)
            assert list(proof) == naive_merkle.path(index, entries)
    # Partial tiles of every published size are still there.
    for size in (1, 255, 256, 257):
        assert merkle.root_of(map(merkle.leaf_hash, Client(target, size).entries())) == log.root(
            size
        )


class Client:
    """Knows the specification, a directory and a size; asks for tiles a log of that size has."""

    def __init__(self, directory: Path, size: int) -> None:
        self._directory = directory
        self._size = size

    def entries(self) -> list[bytes]:
        entries = []
        for position in range((self._size + 255) // 256):
            width = min(256, self._size - position * 256)
            entries += decode_bundle((self._directory / bundle_path(position, width)).read_bytes())
        return entries

    def range_root(self, start: int, stop: int) -> bytes:
        return range_root(start, stop, self._hashes)

    def _hashes(self, level: int, first: int, count: int) -> list[bytes]:
        position, offset = divmod(first, 256)
        width = min(256, (self._size >> (8 * level)) - position * 256)
        content = (self._directory / tile_path(level, position, width)).read_bytes()
        assert len(content) == 32 * width
        return split_hashes(content)[offset : offset + count]


def test_another_history_is_not_published_over_the_first(
    open_log: OpenLog, record: MakeRecord, tmp_path: Path
) -> None:
    log, target = open_log(), tmp_path / "public"
    grow(log, 10, record)
    publish(log, target)
    other = Log.open(tmp_path / "other", origin=ORIGIN, clock=Clock(), create=True)
    with pytest.raises(LogRolledBackError):
        publish(other, target)
    grow(other, 12, record)
    with pytest.raises(LogRolledBackError):
        publish(other, target)
    other.close()
    tile = target / tile_path(0, 0, 10)
    tile.write_bytes(bytes(320))
    (target / "checkpoint").unlink()
    with pytest.raises(DamagedLogError, match="other content"):
        publish(log, target)


def test_tiles_the_log_does_not_have_are_refused(open_log: OpenLog, record: MakeRecord) -> None:
    log = open_log()
    grow(log, 257, record)
    assert len(log.tile(0, 0)) == 8192
    assert log.tile(1, 0, width=1) == merkle.root_of(split_hashes(log.tile(0, 0)))
    for level, position, width in ((0, 1, 256), (0, 1, 2), (1, 0, 2), (2, 0, 1)):
        with pytest.raises(ProofError):
            log.tile(level, position, width=width)
    for position, width in ((1, 256), (0, 0)):
        with pytest.raises(ProofError):
            log.bundle(position, width=width)
