"""Other people's Merkle functions agree with ours: sigstore's, for every index up to 130 leaves."""

from types import SimpleNamespace

import pytest
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore.errors import VerificationError

from audit import merkle
from audit.tiles import range_root

ENTRIES = [b"entry %d" % number for number in range(130)]
LEAVES = [merkle.leaf_hash(entry) for entry in ENTRIES]


def accepts(entry: bytes, proof: tuple[bytes, ...], index: int, size: int, root: bytes) -> bool:
    """Ask sigstore, with what it reads of an entry of its own log."""
    stated = SimpleNamespace(log_index=index, tree_size=size, hashes=list(proof), root_hash=root)
    inner = SimpleNamespace(inclusion_proof=stated, canonicalized_body=entry)
    try:
        verify_merkle_inclusion(SimpleNamespace(_inner=inner))  # type: ignore[arg-type]  # all it reads
    except VerificationError:
        return False
    return True


@pytest.mark.parametrize("size", [*range(1, 34), 64, 65, 127, 128, 129, 130])
def test_sigstore_accepts_our_proofs_and_refuses_our_near_misses(size: int) -> None:
    def hashes(level: int, first: int, count: int) -> list[bytes]:
        assert level == 0
        return LEAVES[first : first + count]

    root = merkle.root_of(LEAVES[:size])
    for index in range(size):
        proof = merkle.inclusion_proof(
            index, size, lambda start, stop: range_root(start, stop, hashes)
        )
        assert accepts(ENTRIES[index], proof, index, size, root)
        assert not accepts(ENTRIES[index] + b"x", proof, index, size, root)
        assert not accepts(ENTRIES[index], (*proof, bytes(32)), index, size, root)
        if size > 1:
            assert not accepts(ENTRIES[index], proof[:-1], index, size, root)
            assert not accepts(ENTRIES[index], proof, index ^ 1, size, root) or index ^ 1 >= size
