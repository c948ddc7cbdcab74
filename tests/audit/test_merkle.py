"""The tree against published vectors and a naive recursion; every mutated proof must be refused."""

from collections.abc import Callable, Iterator
from functools import cache

import pytest

from audit import merkle
from audit.errors import ProofError, RootMismatchError
from tests.reference import naive_merkle

EXHAUSTIVE = 130

VECTOR_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
VECTOR_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAF_1 = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
LEAF_2 = "0298d122906dcfc10892cb53a73992fc5b9f493ea4c9badb27b791b4127a7fe7"
LEAF_3 = "07506a85fd9dd2f120eb694f86011e5bb4662e5c415a62917033d4a9624487e7"
NODE_23 = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
NODE_47 = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
NODE_45 = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
NODE_67 = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
NODE_46 = "837dbb152e9b079010717e84e865da4ebc0fa198a806d59d31bf15accef22d0e"


def range_root_over(entries: list[bytes]) -> merkle.RangeRoot:
    return cache(lambda start, stop: naive_merkle.mth(entries[start:stop]))


@pytest.mark.parametrize("size", range(9))
def test_roots_match_the_published_vectors(size: int) -> None:
    hashes = [merkle.leaf_hash(entry) for entry in VECTOR_LEAVES[:size]]
    assert merkle.root_of(hashes).hex() == VECTOR_ROOTS[size]


def test_many_leaves_at_once_lead_to_the_same_frontier_as_one_by_one() -> None:
    leaves = [merkle.leaf_hash(bytes([number])) for number in range(40)]
    for before in range(20):
        for count in range(20):
            one_by_one: list[bytes] = []
            for size in range(before):
                merkle.extend(one_by_one, size, leaves[size])
            at_once = list(one_by_one)
            for size in range(before, before + count):
                merkle.extend(one_by_one, size, leaves[size])
            merkle.extend_by(at_once, before, leaves[before : before + count])
            assert at_once == one_by_one


@pytest.mark.parametrize(
    ("index", "size", "want"),
    [(0, 8, [LEAF_1, NODE_23, NODE_47]), (6, 7, [NODE_45, VECTOR_ROOTS[4]])],
)
def test_inclusion_proofs_match_the_published_vectors(
    index: int, size: int, want: list[str]
) -> None:
    got = merkle.inclusion_proof(index, size, range_root_over(VECTOR_LEAVES))
    assert [node.hex() for node in got] == want


@pytest.mark.parametrize(
    ("first", "second", "want"),
    [
        (6, 8, [NODE_45, NODE_67, VECTOR_ROOTS[4]]),
        (3, 7, [LEAF_2, LEAF_3, VECTOR_ROOTS[2], NODE_46]),
    ],
)
def test_consistency_proofs_match_the_published_vectors(
    first: int, second: int, want: list[str]
) -> None:
    got = merkle.consistency_proof(first, second, range_root_over(VECTOR_LEAVES))
    assert [node.hex() for node in got] == want


ENTRIES = [index.to_bytes(2, "big") * 3 for index in range(EXHAUSTIVE)]
ROOTS = [naive_merkle.mth(ENTRIES[:size]) for size in range(EXHAUSTIVE + 1)]


def test_frontier_agrees_with_the_naive_recursion_at_every_size() -> None:
    frontier: list[bytes] = []
    for size, entry in enumerate(ENTRIES):
        assert merkle.frontier_root(frontier) == ROOTS[size]
        assert len(frontier) == size.bit_count()
        merkle.extend(frontier, size, merkle.leaf_hash(entry))
    assert merkle.frontier_root(frontier) == ROOTS[EXHAUSTIVE]


@pytest.mark.parametrize("size", range(1, EXHAUSTIVE + 1))
def test_inclusion_is_proved_for_every_leaf_and_every_mutation_is_refused(size: int) -> None:
    range_root = range_root_over(ENTRIES)
    for index in range(size):
        proof = list(merkle.inclusion_proof(index, size, range_root))
        if size <= 40 or index % 13 == size % 13:
            assert proof == naive_merkle.path(index, ENTRIES[:size])
        leaf = merkle.leaf_hash(ENTRIES[index])
        merkle.verify_inclusion(leaf, proof, index=index, size=size, root=ROOTS[size])
        for mutated in inclusion_mutations(leaf, proof, index, size):
            with pytest.raises(ProofError):
                mutated()


def inclusion_mutations(
    leaf: bytes, proof: list[bytes], index: int, size: int
) -> Iterator[Callable[[], None]]:
    root = ROOTS[size]

    def check(
        leaf: bytes = leaf,
        proof: list[bytes] = proof,
        index: int = index,
        size: int = size,
        root: bytes = root,
    ) -> Callable[[], None]:
        return lambda: merkle.verify_inclusion(leaf, proof, index=index, size=size, root=root)

    yield check(index=index - 1)
    yield check(index=index + 1)
    yield check(index=index ^ 2)
    yield check(leaf=merkle.leaf_hash(b"another entry"))
    yield check(root=b"")
    yield check(root=merkle.EMPTY_ROOT)
    yield check(root=bytes(32))
    yield check(size=0)
    # Another size can share the proof's shape, but then it has another root.
    for other in (size * 2, size // 2, size + 1, size - 1):
        yield check(size=other, root=ROOTS[other] if other <= EXHAUSTIVE else bytes(32))
    for mutated in proof_mutations(proof, root):
        yield check(proof=mutated)


def proof_mutations(proof: list[bytes], root: bytes) -> Iterator[list[bytes]]:
    for at, node in enumerate(proof):
        flipped = bytes([node[0] ^ 8]) + node[1:]
        yield [*proof[:at], flipped, *proof[at + 1 :]]
        yield [*proof[:at], *proof[at + 1 :]]
        yield [*proof[:at], bytes(32), *proof[at:]]
        yield [*proof[:at], node[:31], *proof[at + 1 :]]
    yield [*proof, b""]
    yield [*proof, bytes(32)]
    yield [root, *proof]
    yield [*proof, root]


@pytest.mark.parametrize("second", range(1, EXHAUSTIVE + 1))
def test_consistency_is_proved_for_every_pair_and_every_mutation_is_refused(second: int) -> None:
    range_root = range_root_over(ENTRIES)
    for first in range(1, second + 1):
        proof = list(merkle.consistency_proof(first, second, range_root))
        if second <= 40 or first % 13 == second % 13:
            assert proof == naive_merkle.proof(first, ENTRIES[:second])
        roots = {"first_root": ROOTS[first], "second_root": ROOTS[second]}
        merkle.verify_consistency(proof, first=first, second=second, **roots)
        for mutated in proof_mutations(proof, ROOTS[second]):
            with pytest.raises(ProofError):
                merkle.verify_consistency(mutated, first=first, second=second, **roots)
        for sizes in ((first - 1, second), (first + 1, second), (second, first), (0, second)):
            if sizes[0] == sizes[1] == first == second:
                continue
            with pytest.raises(ProofError):
                merkle.verify_consistency(proof, first=sizes[0], second=sizes[1], **roots)
        with pytest.raises(ProofError):
            merkle.verify_consistency(
                proof, first=first, second=second, first_root=bytes(32), second_root=ROOTS[second]
            )
        with pytest.raises(ProofError):
            merkle.verify_consistency(
                proof, first=first, second=second, first_root=ROOTS[first], second_root=bytes(32)
            )


def test_a_wrong_root_is_told_apart_from_a_malformed_proof() -> None:
    with pytest.raises(RootMismatchError) as caught:
        merkle.verify_inclusion(ROOTS[1], [], index=0, size=1, root=bytes(32))
    assert caught.value.want == bytes(32)
    assert caught.value.got == ROOTS[1]


def test_proofs_outside_the_tree_are_refused() -> None:
    range_root = range_root_over(ENTRIES)
    for index, size in ((-1, 5), (5, 5), (0, 0)):
        with pytest.raises(ProofError):
            merkle.inclusion_proof(index, size, range_root)
    for first, second in ((0, 5), (6, 5), (0, 0)):
        with pytest.raises(ProofError):
            merkle.consistency_proof(first, second, range_root)


@pytest.mark.parametrize(("start", "stop"), [(0, 13), (8, 13), (4, 8), (12, 13), (5, 5)])
def test_perfect_subtrees_cover_a_subtree_in_order(start: int, stop: int) -> None:
    covered = [
        leaf
        for height, position in merkle.perfect_subtrees(start, stop)
        for leaf in range(position << height, (position + 1) << height)
    ]
    assert covered == list(range(start, stop))


def test_leaves_that_are_no_subtree_are_refused() -> None:
    with pytest.raises(ProofError):
        merkle.perfect_subtrees(3, 7)
