"""The tlog-proof file: round trips, offline verification and near-misses."""

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import merkle
from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.errors import NoteError, ProofError, SignatureError
from audit.note import SigningKey
from audit.proof import LogProof, parse_proof, verify_proof
from tests.reference import naive_merkle

KEY = SigningKey.from_seed("example.com/log", bytes(32))
ENTRIES = [bytes([number]) for number in range(7)]
SIGNED = sign_checkpoint(Checkpoint("example.com/log", 7, naive_merkle.mth(ENTRIES)), KEY)
PROOF = LogProof(5, tuple(naive_merkle.path(5, ENTRIES)), SIGNED)


def test_a_proof_file_verifies_offline() -> None:
    checkpoint = verify_proof(
        parse_proof(PROOF.format()),
        leaf_hash=merkle.leaf_hash(ENTRIES[5]),
        origin="example.com/log",
        trusted=[KEY.verifier],
    )
    assert checkpoint.size == 7


def test_the_file_has_the_published_shape() -> None:
    lines = PROOF.format().decode().split("\n")
    assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 5"]
    assert lines[5] == ""
    assert PROOF.format().endswith(b"\n\n" + SIGNED)


def test_another_leaf_index_log_or_key_is_refused() -> None:
    good = merkle.leaf_hash(ENTRIES[5])
    trusted = [KEY.verifier]
    with pytest.raises(ProofError):
        verify_proof(
            PROOF,
            leaf_hash=merkle.leaf_hash(ENTRIES[4]),
            origin="example.com/log",
            trusted=trusted,
        )
    with pytest.raises(ProofError):
        verify_proof(
            LogProof(4, PROOF.hashes, SIGNED),
            leaf_hash=good,
            origin="example.com/log",
            trusted=trusted,
        )
    with pytest.raises(NoteError):
        verify_proof(PROOF, leaf_hash=good, origin="example.com/other", trusted=trusted)
    with pytest.raises(SignatureError):
        verify_proof(
            PROOF,
            leaf_hash=good,
            origin="example.com/log",
            trusted=[SigningKey.generate("example.com/log").verifier],
        )


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b"@v1", b"@v2"),
        lambda text: text.replace(b"index 5", b"index 05"),
        lambda text: text.replace(b"index 5", b"index  5"),
        lambda text: text.replace(b"index 5\n", b""),
        lambda text: text.replace(b"index 5\n", b"index 5\nextra AA==\n"),
        lambda text: text.replace(b"index 5\n", b"index 5\nAAAA\n"),
        lambda text: text.replace(b"index 5\n", b"index 5\n" + b"A" * 43 + b"=\n" * 64),
        lambda text: text.replace(b"\n\n", b"\n", 1),
        lambda text: text.replace(b"index", b"\xffndex"),
        lambda text: text[:-1],
    ],
    ids=map(str, itertools.count()),
)
def test_near_misses_are_refused(change: Callable[[bytes], bytes]) -> None:
    changed = change(PROOF.format())
    assert changed != PROOF.format()
    with pytest.raises(NoteError):
        parse_proof(changed)


@given(
    index=st.integers(0, 2**63 - 1),
    hashes=st.lists(st.binary(min_size=32, max_size=32), max_size=63),
    extra=st.none() | st.binary(max_size=64),
)
def test_any_proof_round_trips(index: int, hashes: list[bytes], extra: bytes | None) -> None:
    proof = LogProof(index, tuple(hashes), SIGNED, extra)
    assert parse_proof(proof.format()) == proof
