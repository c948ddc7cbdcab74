"""Signed notes against published vectors, openssl, and near-misses that must be refused."""

import base64
import itertools
import shutil
import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint, sign_checkpoint
from audit.errors import NoteError, SignatureError, UntrustedNoteError
from audit.note import COSIGNATURE, Note, SigningKey, VerifierKey, open_note, parse_note

DASH = "\N{EM DASH}"
SPEC_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = (
    "This is an example message.\n\n"
    f"{DASH} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFX"
    "mRKuwHjG1Yu72IneyaQM=\n"
).encode()

LOG_VKEY = "example.com/audit-test+022a1b9c+AQJx2i9U+7K+4f5ezuZxC91YGMozerVhEFwmiq4pyrov"
WITNESS_VKEY = "witness.example.com/w1+4b17e692+BLQm5Atp7+MJrDvo1XLJ6Kh8tINrQoifD0I0ukwHMXUH"
TEXT = "example.com/audit-test\n8\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n"
LOG_LINE = (
    f"{DASH} example.com/audit-test AiobnO/tMs2ofoTJPKlTcRz1kL6bVZZx0HzIdv6AIypazHysLbpBiTyDU5X3wEfp"
    "+3kpwjFjLL2ZCosy185PJkMAZws=\n"
)
WITNESS_LINE = (
    f"{DASH} witness.example.com/w1 SxfmkgAAAABlU/EAgYoh+5oFgi2NYnlABD5EoUrHbeUUKEb81ROjZiYpSQTxGjfq"
    "10Rv8yMPGrnMOrc7dpxAJ2q4ZGzer3+/xsQ1DA==\n"
)
NOTE = f"{TEXT}\n{LOG_LINE}{WITNESS_LINE}".encode()
LOG_KEY = SigningKey.from_seed("example.com/audit-test", sha256(b"audit test log key").digest())
WITNESS_KEY = SigningKey.from_seed(
    "witness.example.com/w1", sha256(b"audit test witness key").digest(), COSIGNATURE
)


def test_the_specification_vector_verifies() -> None:
    note, signers = open_note(SPEC_NOTE, [VerifierKey.parse(SPEC_VKEY)])
    assert note.text == "This is an example message.\n"
    assert [key.name for key in signers] == ["example.com/foo"]


def test_our_keys_sign_the_published_bytes() -> None:
    assert LOG_KEY.verifier.format() == LOG_VKEY
    assert WITNESS_KEY.verifier.format() == WITNESS_VKEY
    signatures = (LOG_KEY.sign(TEXT), WITNESS_KEY.cosign(TEXT, timestamp=1_700_000_000))
    assert Note(TEXT, signatures).format() == NOTE


def test_log_and_witness_signatures_verify_together() -> None:
    trusted = [VerifierKey.parse(LOG_VKEY), VerifierKey.parse(WITNESS_VKEY)]
    note, signers = open_note(NOTE, trusted)
    assert signers == tuple(trusted)
    assert parse_checkpoint(note.text).size == 8


def test_unknown_keys_are_ignored() -> None:
    _, signers = open_note(NOTE, [VerifierKey.parse(WITNESS_VKEY)])
    assert [key.name for key in signers] == ["witness.example.com/w1"]


def test_a_note_nobody_trusted_signed_is_refused() -> None:
    with pytest.raises(UntrustedNoteError, match=r"example\.com/foo"):
        open_note(NOTE, [VerifierKey.parse(SPEC_VKEY)])


def test_a_wrong_signature_by_a_known_key_refuses_the_whole_note() -> None:
    wrong = NOTE.replace(b"AiobnO/tMs2o", b"AiobnO/tMs2p")
    with pytest.raises(SignatureError, match="audit-test"):
        open_note(wrong, [VerifierKey.parse(LOG_VKEY), VerifierKey.parse(WITNESS_VKEY)])
    changed = NOTE.replace(b"\n8\n", b"\n9\n")
    with pytest.raises(SignatureError):
        open_note(changed, [VerifierKey.parse(LOG_VKEY)])


def test_a_cosignature_binds_its_time() -> None:
    line = WITNESS_KEY.cosign(TEXT, timestamp=1_700_000_000)
    later = (1_700_000_001).to_bytes(8, "big") + line.signature[8:]
    assert WITNESS_KEY.verifier.verifies(TEXT, line.signature)
    assert not WITNESS_KEY.verifier.verifies(TEXT, later)
    assert not WITNESS_KEY.verifier.verifies(TEXT, line.signature[:-1])


@pytest.mark.parametrize(
    "change",
    [
        lambda note: note[:-1],
        lambda note: note + b"\n",
        lambda note: note.replace(b"\n\n", b"\n"),
        lambda note: note.replace(DASH.encode(), b"-", 1),
        lambda note: note.replace(b"audit-test\n8", b"audit-test\r\n8"),
        lambda note: note.replace(b"audit-test\n8", b"audit-test\t\n8"),
        lambda note: note.replace(b"AiobnO", b"Aiob nO"),
        lambda note: note.replace(b"AZws=\n", b"AZws\n"),
        lambda note: note.replace(b"AZws=\n", b"AZwt=\n"),
        lambda note: note.replace(b"AZws=\n", b"AZws=\n\n"),
        lambda note: note.replace(b"AiobnO/", b"AiobnO_"),
        lambda note: note.replace(f"{DASH} witness".encode(), f"{DASH}  witness".encode()),
        lambda note: note.replace(f"{DASH} witness".encode(), f"{DASH} wit+ness".encode()),
        lambda note: note.replace(f"{DASH} witness".encode(), f"{DASH} wit\xa0ness".encode()),
        lambda note: note.replace(b"example", b"ex\xffmple", 1),
        lambda note: note[: note.index(DASH.encode())],
        lambda note: note + f"{DASH} short AiobnA==\n".encode(),
        lambda note: note + f"{DASH} nothing\n".encode(),
        lambda note: note + LOG_LINE.encode() * 100,
        lambda note: b"x" * 1_000_000 + note,
    ],
    ids=map(str, itertools.count()),
)
def test_near_misses_of_a_note_are_refused(change: Callable[[bytes], bytes]) -> None:
    changed = change(NOTE)
    assert changed != NOTE
    with pytest.raises(NoteError):
        open_note(changed, [VerifierKey.parse(LOG_VKEY)])


def test_a_note_has_at_most_a_million_bytes() -> None:
    key = SigningKey.generate("log")
    rest = len(Note("\n", (key.sign("\n"),)).format())
    for more in (0, 1):
        text = "x" * (1_000_000 - rest + more) + "\n"
        note = Note(text, (key.sign(text),)).format()
        if more:
            with pytest.raises(NoteError, match="1000001 bytes, want at most 1000000"):
                open_note(note, [key.verifier])
        else:
            open_note(note, [key.verifier])


def test_sixteen_signatures_and_blank_lines_in_the_text_are_accepted() -> None:
    keys = [SigningKey.generate(f"log{number}") for number in range(16)]
    text = "first\n\nsecond\n"
    note = Note(text, tuple(key.sign(text) for key in keys)).format()
    parsed, signers = open_note(note, [key.verifier for key in keys])
    assert parsed.text == text
    assert len(signers) == 16


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com/audit-test\n8\n",
        TEXT + "\n",
        TEXT[:-1],
        "\n" + TEXT,
        TEXT.replace("\n8\n", "\n08\n"),
        TEXT.replace("\n8\n", "\n-8\n"),
        TEXT.replace("\n8\n", "\n+8\n"),
        TEXT.replace("\n8\n", "\n8 \n"),
        TEXT.replace("\n8\n", "\n\n"),
        TEXT.replace("\n8\n", "\n٨\n"),
        TEXT.replace("\n8\n", "\n9223372036854775808\n"),
        TEXT.replace("Qyg=", "Qyh="),
        TEXT.replace("Qyg=", "Qyg"),
        TEXT.replace("XcnaeacG", ""),
    ],
)
def test_near_misses_of_a_checkpoint_are_refused(text: str) -> None:
    with pytest.raises(NoteError):
        parse_checkpoint(text)


def test_extension_lines_are_kept() -> None:
    checkpoint = parse_checkpoint(TEXT + "an extension\n")
    assert checkpoint.extensions == ("an extension",)
    assert checkpoint.format() == TEXT + "an extension\n"


def test_a_checkpoint_of_another_log_is_refused() -> None:
    trusted = [VerifierKey.parse(LOG_VKEY)]
    assert open_checkpoint(NOTE, origin="example.com/audit-test", trusted=trusted).size == 8
    with pytest.raises(NoteError, match=r"want 'example\.com/other'"):
        open_checkpoint(NOTE, origin="example.com/other", trusted=trusted)


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "example.com/foo",
        SPEC_VKEY.replace("530d903a", "530d903b"),
        SPEC_VKEY.replace("530d903a", "530D903A"),
        SPEC_VKEY.replace("530d903a", "0530d903a"),
        SPEC_VKEY.replace("example.com/foo", "example.com/fop"),
        SPEC_VKEY.replace("AekyeRrm", "BekyeRrm"),
        SPEC_VKEY[:-4],
        SPEC_VKEY + " ",
        "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+",
    ],
)
def test_near_misses_of_a_verifier_key_are_refused(vkey: str) -> None:
    with pytest.raises(NoteError):
        VerifierKey.parse(vkey)


def test_private_keys_round_trip_as_text() -> None:
    for key in (LOG_KEY, WITNESS_KEY):
        text = key.format()
        assert text.startswith(f"PRIVATE+KEY+{key.name}+")
        assert SigningKey.parse(text).verifier == key.verifier
        assert SigningKey.parse(text).format() == text


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.removeprefix("PRIVATE+"),
        lambda text: text.replace("022a1b9c", "022a1b9d"),
        lambda text: text.replace("audit-test", "audit-tess"),
        lambda text: text + "AAAA",
        lambda text: text.rpartition("+")[0] + "+AQ==",
    ],
    ids=map(str, itertools.count()),
)
def test_near_misses_of_a_private_key_are_refused(change: Callable[[str], str]) -> None:
    with pytest.raises(NoteError):
        SigningKey.parse(change(LOG_KEY.format()))


def test_text_that_no_note_can_hold_is_not_signed() -> None:
    for text in ("no newline", "tab\t\n", ""):
        with pytest.raises(NoteError):
            LOG_KEY.sign(text)
    with pytest.raises(NoteError):
        SigningKey.generate("two words")


names = st.text(
    st.characters(codec="utf-8", exclude_characters="+"), min_size=1, max_size=20
).filter(lambda name: not any(char.isspace() or char < " " for char in name))
texts = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], include_characters="\n"), max_size=200
).map(lambda text: text + "\n")


@given(name=names, text=texts, seed=st.binary(min_size=32, max_size=32))
def test_any_note_round_trips(name: str, text: str, seed: bytes) -> None:
    key = SigningKey.from_seed(name, seed)
    note = Note(text, (key.sign(text),))
    parsed, signers = open_note(note.format(), [VerifierKey.parse(key.verifier.format())])
    assert parsed == note
    assert signers == (key.verifier,)


@given(
    origin=names,
    size=st.integers(0, 2**63 - 1),
    root=st.binary(min_size=32, max_size=32),
)
def test_any_checkpoint_round_trips(origin: str, size: int, root: bytes) -> None:
    checkpoint = Checkpoint(origin, size, root)
    assert parse_checkpoint(checkpoint.format()) == checkpoint
    signed = sign_checkpoint(checkpoint, LOG_KEY)
    assert open_checkpoint(signed, origin=origin, trusted=[LOG_KEY.verifier]) == checkpoint


@given(at=st.integers(0, len(NOTE) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_never_leaves_a_valid_note_saying_something_else(at: int, bit: int) -> None:
    changed = bytearray(NOTE)
    changed[at] ^= 1 << bit
    trusted = [VerifierKey.parse(LOG_VKEY)]
    try:
        note, _ = open_note(bytes(changed), trusted)
    except NoteError:
        return
    # Only the witness's line, unknown here, may differ.
    assert note.text == TEXT
    assert note.signatures[0] == parse_note(NOTE).signatures[0]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize("forged", [False, True])
def test_openssl_agrees_about_a_checkpoint_signature(tmp_path: Path, forged: bool) -> None:
    key = SigningKey.generate("example.com/log")
    signed = sign_checkpoint(Checkpoint("example.com/log", 3, bytes(32)), key)
    text, _, block = signed.partition(b"\n\n")
    encoded = block.split(b" ")[2]
    spki = bytes.fromhex("302a300506032b6570032100") + key.verifier.public_key
    pem = base64.encodebytes(spki).decode()
    (tmp_path / "key.pem").write_text(
        f"-----BEGIN PUBLIC KEY-----\n{pem}-----END PUBLIC KEY-----\n"
    )
    (tmp_path / "signature").write_bytes(base64.b64decode(encoded)[4:])
    (tmp_path / "text").write_bytes(text + (b"\n!" if forged else b"\n"))
    verdict = subprocess.run(  # noqa: S603 - fixed arguments, nothing from outside
        [
            *("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin"),
            *("-in", "text", "-sigfile", "signature"),
        ],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert (verdict.returncode == 0) is not forged, verdict
