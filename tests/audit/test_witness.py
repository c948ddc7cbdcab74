"""The witness: each status of the protocol, what it keeps, and what it never cosigns."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.checkpoint import Checkpoint, parse_checkpoint, sign_checkpoint
from audit.errors import NoteError, WitnessStateError
from audit.note import (
    COSIGNATURE,
    SigningKey,
    VerifierKey,
    encode_base64,
    open_note,
    parse_signature_line,
)
from audit.witness import MAX_BODY_BYTES, Answer, Witness, add_log
from tests.reference import naive_merkle

LOG = SigningKey.from_seed("example.com/log", bytes(32))
STRANGER = SigningKey.from_seed("example.com/log", b"\1" * 32)
ENTRIES = [bytes([number]) for number in range(40)]
FORK = [*ENTRIES[:5], b"other", *ENTRIES[6:]]
NOW = datetime(2026, 11, 24, tzinfo=UTC)


def clock() -> datetime:
    return NOW


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    opened = Witness.open(tmp_path / "witness", name="w.example/1", clock=clock)
    add_log(tmp_path / "witness", LOG.verifier.format())
    return opened


def signed(size: int, entries: list[bytes] = ENTRIES, key: SigningKey = LOG) -> bytes:
    root = naive_merkle.mth(entries[:size])
    return sign_checkpoint(Checkpoint("example.com/log", size, root), key)


def request(
    old: int, size: int, entries: list[bytes] = ENTRIES, *, proof: list[bytes] | None = None
) -> bytes:
    if proof is None:
        proof = naive_merkle.proof(old, entries[:size]) if 0 < old < size else []
    lines = "".join(f"{encode_base64(node)}\n" for node in proof)
    return f"old {old}\n{lines}\n".encode() + signed(size, entries)


def last(witness: Witness) -> Checkpoint | None:
    note = witness.checkpoint(sha256(b"example.com/log").hexdigest())
    if note is None:
        return None
    both = [LOG.verifier, VerifierKey.parse(witness.vkey)]
    opened, signers = open_note(note, both)
    assert signers == tuple(both)
    return parse_checkpoint(opened.text)


def test_growth_is_cosigned_with_the_time(witness: Witness) -> None:
    for old, size in ((0, 3), (3, 3), (3, 8), (8, 40)):
        answer = witness.add_checkpoint(request(old, size))
        assert answer.status == 200
        (line,) = answer.body.decode().splitlines()
        signature = parse_signature_line(line)
        note = signed(size) + answer.body
        opened, _ = open_note(note, [VerifierKey.parse(witness.vkey)])
        assert int.from_bytes(signature.signature[:8], "big") == int(NOW.timestamp())
        assert last(witness) == parse_checkpoint(opened.text)


def test_an_old_size_that_is_not_the_last_is_answered_with_the_last(witness: Witness) -> None:
    assert witness.add_checkpoint(request(2, 8)) == Answer(409, b"0\n", "text/x.tlog.size")
    witness.add_checkpoint(request(0, 8))
    assert witness.add_checkpoint(request(3, 9)) == Answer(409, b"8\n", "text/x.tlog.size")
    assert witness.add_checkpoint(request(0, 5)) == Answer(409, b"8\n", "text/x.tlog.size")


def test_another_root_of_the_last_size_is_a_conflict(witness: Witness) -> None:
    """C2SP tlog-witness: 409, and not 422 as for a proof that does not verify."""
    witness.add_checkpoint(request(0, 8))
    assert witness.add_checkpoint(request(8, 8, FORK)) == Answer(409, b"8\n", "text/x.tlog.size")
    assert witness.add_checkpoint(request(8, 8)).status == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"old 8\n", 400),
        (request(8, 9)[:-1], 400),
        (request(8, 9).replace(b"old 8", b"old 08"), 400),
        (request(8, 9).replace(b"old 8", b"old  8"), 400),
        (request(8, 9).replace(b"old", b"new"), 400),
        (request(8, 9, proof=[bytes(31)]), 400),
        (request(8, 9, proof=[bytes(32)] * 64), 400),
        (request(10, 9), 400),
        (b"old 8\n\n" + signed(9).replace(b"example.com/log\n9", b"example.com/log2\n9"), 404),
        (b"old 8\n\n" + signed(9, key=STRANGER), 403),
        (request(8, 9).replace(b"log\n9\n", b"log\n7\n"), 403),
        (request(8, 9, FORK), 422),
        (request(8, 8, FORK), 409),
        (request(8, 8, proof=[bytes(32)]), 422),
        (request(8, 9, proof=[]), 422),
        (request(8, 9, proof=[bytes(32)] * 63), 422),
        (b"x" * (MAX_BODY_BYTES + 1), 413),
    ],
    ids=str,
)
def test_whatever_does_not_continue_the_log_is_refused(
    witness: Witness, body: bytes, status: int
) -> None:
    assert witness.add_checkpoint(request(0, 8)).status == 200
    before = last(witness)
    assert witness.add_checkpoint(body).status == status
    assert last(witness) == before
    assert witness.add_checkpoint(request(8, 9)).status == 200


def test_a_first_checkpoint_takes_no_proof_and_an_empty_log_has_the_empty_root(
    witness: Witness,
) -> None:
    assert witness.add_checkpoint(request(0, 8, proof=[bytes(32)])).status == 422
    lie = sign_checkpoint(Checkpoint("example.com/log", 0, bytes(32)), LOG)
    assert witness.add_checkpoint(b"old 0\n\n" + lie).status == 409
    assert last(witness) is None
    assert witness.add_checkpoint(request(0, 0)).status == 200
    assert witness.add_checkpoint(request(0, 8)).status == 200


def test_it_remembers_through_a_restart(witness: Witness, tmp_path: Path) -> None:
    witness.add_checkpoint(request(0, 8))
    vkey = witness.vkey
    witness.close()
    again = Witness.open(tmp_path / "witness", clock=clock)
    assert again.vkey == vkey
    assert again.add_checkpoint(request(0, 5)).status == 409
    assert again.add_checkpoint(request(8, 9, FORK)).status == 422
    assert again.add_checkpoint(request(8, 9)).status == 200


def test_its_key_is_its_owners_alone(witness: Witness, tmp_path: Path) -> None:
    key = tmp_path / "witness" / "key"
    assert key.stat().st_mode & 0o777 == 0o600
    witness.close()
    key.chmod(0o640)
    with pytest.raises(WitnessStateError, match="chmod 600"):
        Witness.open(tmp_path / "witness", clock=clock)


def test_a_second_process_a_missing_name_and_another_name_are_refused(
    witness: Witness, tmp_path: Path
) -> None:
    with pytest.raises(WitnessStateError, match="in use"):
        Witness.open(tmp_path / "witness", clock=clock)
    with pytest.raises(WitnessStateError, match="give a name"):
        Witness.open(tmp_path / "new", clock=clock)
    witness.close()
    with pytest.raises(WitnessStateError, match=r"want 'w\.example/2'"):
        Witness.open(tmp_path / "witness", name="w.example/2", clock=clock)


@pytest.mark.parametrize("content", [b"", b"damaged", signed(8)])
def test_a_damaged_state_cosigns_nothing(witness: Witness, tmp_path: Path, content: bytes) -> None:
    witness.add_checkpoint(request(0, 8))
    (path,) = (tmp_path / "witness" / "logs").glob("*/checkpoint")
    path.write_bytes(content)
    with pytest.raises(WitnessStateError):
        witness.add_checkpoint(request(8, 9))


def test_what_cannot_be_stored_is_not_answered(
    witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness.add_checkpoint(request(0, 8))

    def failing(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing)
        with pytest.raises(OSError, match="Input/output"):
            witness.add_checkpoint(request(8, 9))
    kept = last(witness)
    assert kept is not None
    assert kept.size == 8


def test_logs_are_added_while_it_runs_and_may_have_two_keys(
    witness: Witness, tmp_path: Path
) -> None:
    assert witness.add_checkpoint(b"old 0\n\n" + signed(8, key=STRANGER)).status == 403
    add_log(tmp_path / "witness", STRANGER.verifier.format())
    assert witness.add_checkpoint(b"old 0\n\n" + signed(8, key=STRANGER)).status == 200
    assert witness.add_checkpoint(request(8, 9)).status == 200
    with pytest.raises(NoteError, match="type 01"):
        add_log(tmp_path / "witness", witness.vkey)


def test_of_many_at_once_each_continues_the_one_before(witness: Witness) -> None:
    """Sizes 1 to 39 are sent at once by threads that heed 409: nobody goes back."""

    def send(size: int) -> int:
        old = 0
        while True:
            answer = witness.add_checkpoint(request(old, size))
            if answer.status != 409:
                return answer.status
            old = int(answer.body)
            if old > size:
                return 409

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(send, range(1, 40)))
    assert set(statuses) <= {200, 409}
    assert statuses[-1] == 200
    kept = last(witness)
    assert kept is not None
    assert kept.size == 39


@settings(max_examples=200)
@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 255))
def test_no_bytes_break_it(junk: bytes, at: int, value: int) -> None:
    """A changed request is refused, or is the very same request."""
    good = bytearray(request(3, 8))
    good[at % len(good)] = value
    witness = Witness(
        Path("/nonexistent"),
        key=SigningKey.from_seed("w", bytes(32), COSIGNATURE),
        lock=None,  # type: ignore[arg-type]  # not opened, not closed
        clock=clock,
    )
    for body in (junk, bytes(good)):
        assert witness.add_checkpoint(body).status in {400, 404}
