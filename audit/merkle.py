"""The Merkle tree of RFC 9162 section 2.1: hashes, frontier, proofs and their verification.

Pure: bytes and integers in, bytes out. A *frontier* is the list of roots of the perfect subtrees
that make up a tree, biggest first; it is all that appending needs. A *range root* is the hash of
leaves ``start <= i < stop``; proofs are lists of range roots, so whoever stores hashes provides one
function ``(start, stop) -> hash`` and gets proofs.
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from audit.errors import ProofError, RootMismatchError

HASH_SIZE = 32
EMPTY_ROOT = sha256(b"").digest()

RangeRoot = Callable[[int, int], bytes]
"""``(start, stop)`` -> hash of the leaves ``start <= i < stop``, which form a subtree."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of one entry's bytes."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of the node over two subtrees."""
    return sha256(b"\x01" + left + right).digest()


def extend(frontier: list[bytes], size: int, leaf: bytes) -> None:
    """Append one leaf hash to ``frontier``, the frontier of a tree of ``size`` leaves, in place."""
    node = leaf
    while size & 1:
        node = sha256(b"\x01" + frontier.pop() + node).digest()
        size >>= 1
    frontier.append(node)


def extend_by(frontier: list[bytes], size: int, leaves: Sequence[bytes]) -> list[list[bytes]]:
    """As ``extend`` for each of ``leaves``: a height at a time, which is four times as fast.

    Returns the nodes that came to be, by height: first the leaves, then the nodes over two, and so on.
    """
    made = []
    alone = []
    nodes = list(leaves)
    while nodes:
        made.append(nodes)
        row = [frontier.pop(), *nodes] if size & 1 else nodes
        if len(row) & 1:
            alone.append(row[-1])
        pairs = zip(row[::2], row[1::2], strict=False)  # without the last, where it is alone
        nodes = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
        size >>= 1
    frontier += reversed(alone)
    return made


def frontier_root(frontier: Sequence[bytes]) -> bytes:
    """Return the root of the tree that ``frontier`` stands for."""
    if not frontier:
        return EMPTY_ROOT
    root = frontier[-1]
    for node in reversed(frontier[:-1]):
        root = node_hash(node, root)
    return root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root over leaf hashes."""
    frontier: list[bytes] = []
    extend_by(frontier, 0, list(leaves))
    return frontier_root(frontier)


def perfect_subtrees(start: int, stop: int) -> list[tuple[int, int]]:
    """Split a subtree's leaves into perfect subtrees: pairs (height, position), left to right.

    The subtree at ``(height, position)`` holds leaves ``position << height`` and up. ``start`` must
    be a multiple of the largest power of two not above ``stop - start``, as subtrees' starts are.
    """
    pieces = []
    while start < stop:
        height = (stop - start).bit_length() - 1
        if start & ((1 << height) - 1):
            raise ProofError(f"leaves {start} to {stop} are not a subtree")
        pieces.append((height, start >> height))
        start += 1 << height
    return pieces


def inclusion_proof(index: int, size: int, range_root: RangeRoot) -> tuple[bytes, ...]:
    """Return PATH(index, D[size]) of RFC 9162 2.1.3.1, the leaf's side first.

    Raises ProofError unless 0 <= index < size.
    """
    _check_index(index, size)
    ranges = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            ranges.append((middle, stop))
            stop = middle
        else:
            ranges.append((start, middle))
            start = middle
    return tuple(range_root(*pair) for pair in reversed(ranges))


def consistency_proof(first: int, second: int, range_root: RangeRoot) -> tuple[bytes, ...]:
    """Return PROOF(first, D[second]) of RFC 9162 2.1.4.1; empty when the sizes are equal.

    Raises ProofError unless 1 <= first <= second.
    """
    _check_sizes(first, second)
    ranges = []
    start, stop = 0, second
    while first != stop:
        middle = start + _split(stop - start)
        if first <= middle:
            ranges.append((middle, stop))
            stop = middle
        else:
            ranges.append((start, middle))
            start = middle
    if start:  # the first tree is not itself a node of the proof, so its last subtree is needed
        ranges.append((start, stop))
    return tuple(range_root(*pair) for pair in reversed(ranges))


def inclusion_proof_length(index: int, size: int) -> int:
    """Return how many hashes a proof of ``index`` in a tree of ``size`` leaves has."""
    _check_index(index, size)
    inner = (index ^ (size - 1)).bit_length()
    return inner + (index >> inner).bit_count()


def verify_inclusion(
    leaf: bytes, proof: Sequence[bytes], *, index: int, size: int, root: bytes
) -> None:
    """Check that the leaf hash is at ``index`` of the tree with this size and root.

    Raises ProofError when the proof has the wrong shape, RootMismatchError when it leads elsewhere.
    RFC 9162 2.1.3.2.
    """
    want = inclusion_proof_length(index, size)
    if len(proof) != want:
        raise ProofError(f"inclusion proof has {len(proof)} hashes, want {want}")
    _check_hashes(leaf, root, *proof)
    position, last, node = index, size - 1, leaf
    for sibling in proof:
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            node = node_hash(node, sibling)
        position >>= 1
        last >>= 1
    if node != root:
        raise RootMismatchError(got=node, want=root)


def verify_consistency(
    proof: Sequence[bytes], *, first: int, second: int, first_root: bytes, second_root: bytes
) -> None:
    """Check that the tree of ``first`` leaves is the beginning of the tree of ``second`` leaves.

    Raises ProofError when the proof has the wrong shape, RootMismatchError when it leads elsewhere.
    RFC 9162 2.1.4.2.
    """
    _check_sizes(first, second)
    _check_hashes(first_root, second_root, *proof)
    if first == second:
        if proof:
            raise ProofError(f"equal sizes need no proof, got {len(proof)} hashes")
        if first_root != second_root:
            raise RootMismatchError(got=first_root, want=second_root)
        return
    path = _consistency_path(proof, first, second, first_root)
    position, last = first - 1, second - 1
    while position & 1:
        position >>= 1
        last >>= 1
    old = new = path[0]
    for sibling in path[1:]:
        if position & 1 or position == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            new = node_hash(new, sibling)
        position >>= 1
        last >>= 1
    if old != first_root:
        raise RootMismatchError(got=old, want=first_root)
    if new != second_root:
        raise RootMismatchError(got=new, want=second_root)


def _consistency_path(
    proof: Sequence[bytes], first: int, second: int, first_root: bytes
) -> list[bytes]:
    """Return the proof with the first tree's root put back in front where the RFC leaves it out."""
    path = list(proof)
    if first & (first - 1) == 0:  # a perfect first tree is itself the proof's first node
        path.insert(0, first_root)
    shift = ((first - 1) ^ first).bit_length() - 1  # the trailing ones of first - 1
    want = 1 + inclusion_proof_length((first - 1) >> shift, ((second - 1) >> shift) + 1)
    if len(path) != want:
        left_out = len(path) - len(proof)
        raise ProofError(f"consistency proof has {len(proof)} hashes, want {want - left_out}")
    return path


def _split(count: int) -> int:
    """Return the largest power of two smaller than ``count``, which is at least 2."""
    return 1 << ((count - 1).bit_length() - 1)


def _check_index(index: int, size: int) -> None:
    if not 0 <= index < size:
        raise ProofError(f"index is {index}, want 0 <= index < size {size}")


def _check_sizes(first: int, second: int) -> None:
    if not 1 <= first <= second:
        raise ProofError(f"sizes are {first} and {second}, want 1 <= first <= second")


def _check_hashes(*hashes: bytes) -> None:
    for value in hashes:
        if len(value) != HASH_SIZE:
            raise ProofError(f"a hash has {len(value)} bytes, want {HASH_SIZE}")
