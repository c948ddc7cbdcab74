"""C2SP signed notes: text plus signature lines, and the keys that make and check them.

Strict on purpose: a parser that accepts two spellings of one note lets two auditors disagree.
https://c2sp.org/signed-note, https://c2sp.org/tlog-cosignature (Ed25519 types only).
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from audit.errors import NoteError, SignatureError, UntrustedNoteError

ED25519 = 0x01
COSIGNATURE = 0x04

MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100
_SIGNATURE_START = "\N{EM DASH} "
_PRIVATE_PREFIX = "PRIVATE+KEY+"


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line: the key's name and id, and the signature bytes after the id."""

    name: str
    key_id: bytes
    signature: bytes

    def line(self) -> str:
        """Return the line as it stands in a note, with its newline."""
        return f"{_SIGNATURE_START}{self.name} {encode_base64(self.key_id + self.signature)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A parsed note. Parsing checks no signature: see ``open_note``."""

    text: str
    """The signed text, with its final newline."""
    signatures: tuple[NoteSignature, ...]

    def format(self) -> bytes:
        """Return the note's bytes."""
        return (self.text + "\n" + "".join(sig.line() for sig in self.signatures)).encode()


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key that checks signatures of one kind under one name."""

    name: str
    algorithm: int
    """ED25519 or COSIGNATURE."""
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """Return the four bytes that name this key on a signature line."""
        return _key_id(self.name, self.algorithm, self.public_key)

    @classmethod
    def parse(cls, vkey: str) -> "VerifierKey":
        """Read ``name+id+key``. Raises NoteError when any part is malformed or does not fit."""
        name, key_id, key = _split_key(vkey)
        algorithm, public_key = key[0], key[1:]
        if algorithm not in (ED25519, COSIGNATURE) or len(public_key) != 32:
            raise NoteError(
                f"verifier key of type {algorithm:02x} with {len(public_key)} bytes, "
                "want type 01 or 04 with 32"
            )
        parsed = cls(name, algorithm, public_key)
        if parsed.key_id.hex() != key_id:
            raise NoteError(f"verifier key says its id is {key_id}, it is {parsed.key_id.hex()}")
        return parsed

    def format(self) -> str:
        """Return the ``name+id+key`` text."""
        key = encode_base64(bytes([self.algorithm]) + self.public_key)
        return f"{self.name}+{self.key_id.hex()}+{key}"

    def verifies(self, text: str, signature: bytes) -> bool:
        """Return whether this key made ``signature`` over ``text``."""
        if self.algorithm == COSIGNATURE:
            if len(signature) != 72:
                return False
            message = cosigned_message(text, int.from_bytes(signature[:8], "big"))
            signature = signature[8:]
        else:
            message = text.encode()
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 private key under a name."""

    name: str
    private_key: Ed25519PrivateKey
    algorithm: int = ED25519

    @classmethod
    def generate(cls, name: str) -> "SigningKey":
        """Make a new key from the system's randomness."""
        _check_name(name)
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, name: str, seed: bytes, algorithm: int = ED25519) -> "SigningKey":
        """Make the key of a 32-byte seed."""
        _check_name(name)
        return cls(name, Ed25519PrivateKey.from_private_bytes(seed), algorithm)

    @classmethod
    def parse(cls, text: str) -> "SigningKey":
        """Read ``PRIVATE+KEY+name+id+key``, as Go's note package writes it. Raises NoteError."""
        if not text.startswith(_PRIVATE_PREFIX):
            raise NoteError(f"a private key starts with {_PRIVATE_PREFIX}, this text does not")
        name, key_id, key = _split_key(text.removeprefix(_PRIVATE_PREFIX))
        if key[0] not in (ED25519, COSIGNATURE) or len(key) != 33:
            raise NoteError("the private key is not of type 01 or 04 with a seed of 32 bytes")
        parsed = cls.from_seed(name, key[1:], key[0])
        if parsed.verifier.key_id.hex() != key_id:
            raise NoteError(f"the private key's id {key_id} does not fit its name and seed")
        return parsed

    def format(self) -> str:
        """Return the ``PRIVATE+KEY+...`` text. It is the secret itself."""
        key = encode_base64(bytes([self.algorithm]) + self.private_key.private_bytes_raw())
        return f"{_PRIVATE_PREFIX}{self.name}+{self.verifier.key_id.hex()}+{key}"

    @property
    def verifier(self) -> VerifierKey:
        """Return the public half."""
        public_key = self.private_key.public_key().public_bytes_raw()
        return VerifierKey(self.name, self.algorithm, public_key)

    def sign(self, text: str) -> NoteSignature:
        """Return the signature line over ``text``. Raises NoteError for text no note can hold."""
        _check_text(text)
        return NoteSignature(self.name, self.verifier.key_id, self.private_key.sign(text.encode()))

    def cosign(self, text: str, *, timestamp: int) -> NoteSignature:
        """Return a witness's signature over ``text`` at ``timestamp``, seconds since 1970."""
        _check_text(text)
        signature = self.private_key.sign(cosigned_message(text, timestamp))
        return NoteSignature(
            self.name, self.verifier.key_id, timestamp.to_bytes(8, "big") + signature
        )


def cosigned_message(text: str, timestamp: int) -> bytes:
    """Return what a witness signs: a header with the time, then the whole note text."""
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def parse_note(note: bytes) -> Note:
    """Read a note without checking signatures. Raises NoteError unless it is well-formed."""
    if len(note) > MAX_NOTE_BYTES:
        raise NoteError(f"the note has {len(note)} bytes, want at most {MAX_NOTE_BYTES}")
    try:
        content = note.decode()
    except UnicodeDecodeError as err:
        raise NoteError(f"the note is not UTF-8: {err}") from err
    _check_characters(content)
    # The text itself may hold blank lines; the signatures follow the last one.
    text, blank, block = content.rpartition("\n\n")
    if not blank:
        raise NoteError("the note has no blank line between text and signatures")
    if not block.endswith("\n"):
        raise NoteError("the note does not end with a newline")
    lines = block[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise NoteError(f"the note has {len(lines)} signatures, want at most {MAX_SIGNATURES}")
    return Note(text + "\n", tuple(parse_signature_line(line) for line in lines))


def parse_signature_line(line: str) -> NoteSignature:
    """Read one signature line, without its newline. Raises NoteError."""
    if not line.startswith(_SIGNATURE_START):
        raise NoteError("a signature line starts with an em dash and a space, this one does not")
    name, space, encoded = line.removeprefix(_SIGNATURE_START).partition(" ")
    if not space:
        raise NoteError("a signature line is: em dash, space, name, space, base64")
    _check_name(name)
    signature = decode_base64(encoded)
    if len(signature) < 5:
        raise NoteError(f"a signature has {len(signature)} bytes, want a key id and more")
    return NoteSignature(name, signature[:4], signature[4:])


def open_note(note: bytes, trusted: Sequence[VerifierKey]) -> tuple[Note, tuple[VerifierKey, ...]]:
    """Return the note and the trusted keys that signed it.

    Signatures by unknown keys are ignored. Raises NoteError for a malformed note, SignatureError
    when a trusted key's signature is wrong, UntrustedNoteError when no trusted key has signed.
    """
    parsed = parse_note(note)
    known = {(key.name, key.key_id): key for key in trusted}
    signers = []
    for signature in parsed.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None:
            continue
        if not key.verifies(parsed.text, signature.signature):
            raise SignatureError(f"the signature by {key.name} ({key.key_id.hex()}) is wrong")
        signers.append(key)
    if not signers:
        raise UntrustedNoteError(
            f"no trusted key has signed the note; signed by "
            f"{[f'{sig.name} ({sig.key_id.hex()})' for sig in parsed.signatures]}, "
            f"trusted are {[f'{key.name} ({key.key_id.hex()})' for key in trusted]}"
        )
    return parsed, tuple(signers)


def encode_base64(value: bytes) -> str:
    """Return standard base64 with padding."""
    return binascii.b2a_base64(value, newline=False).decode("ascii")


def decode_base64(text: str) -> bytes:
    """Read standard base64, only in the one spelling ``encode_base64`` writes. Raises NoteError."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as err:
        raise NoteError(f"not base64: {err}") from err
    if encode_base64(value) != text:  # stray bits after the last byte
        raise NoteError("base64 is not in its canonical spelling")
    return value


def _key_id(name: str, algorithm: int, public_key: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + bytes([algorithm]) + public_key).digest()[:4]


def _split_key(text: str) -> tuple[str, str, bytes]:
    # The base64 part may itself contain '+'.
    parts = text.split("+", 2)
    if len(parts) != 3:
        raise NoteError("a key is name+id+base64, this text has fewer parts")
    name, key_id, encoded = parts
    _check_name(name)
    if len(key_id) != 8 or key_id.strip("0123456789abcdef"):
        raise NoteError("a key's id is eight lower-case hex digits, this one is not")
    key = decode_base64(encoded)
    if not key:
        raise NoteError("the key is empty")
    return name, key_id, key


def _check_name(name: str) -> None:
    if any("\ud800" <= char <= "\udfff" for char in name):
        raise NoteError(f"key name is {name!r}, want UTF-8")
    if not name or "+" in name or any(char.isspace() for char in name):
        raise NoteError(f"key name is {name!r}, want non-empty, without spaces and '+'")
    _check_characters(name)


def _check_text(text: str) -> None:
    if not text.endswith("\n"):
        raise NoteError("a note's text ends with a newline, this one does not")
    _check_characters(text)


def _check_characters(text: str) -> None:
    if any(char < " " and char != "\n" for char in text):
        raise NoteError("a note holds no control characters but newlines, this one does")
