"""C2SP tlog-checkpoint: a log's origin, size and root as the text of a signed note.

https://c2sp.org/tlog-checkpoint
"""

from collections.abc import Sequence
from dataclasses import dataclass

from audit.errors import NoteError
from audit.merkle import HASH_SIZE
from audit.note import (
    Note,
    SigningKey,
    VerifierKey,
    decode_base64,
    encode_base64,
    open_note,
    parse_note,
)

MAX_SIZE = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says about itself at one size."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def format(self) -> str:
        """Return the note text."""
        lines = (self.origin, str(self.size), encode_base64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)


def parse_checkpoint(text: str) -> Checkpoint:
    """Read a note text as a checkpoint. Raises NoteError unless it is in the one valid spelling."""
    if not text.endswith("\n"):
        raise NoteError("a checkpoint ends with a newline, this one does not")
    lines = text[:-1].split("\n")
    if len(lines) < 3:
        raise NoteError(f"a checkpoint has {len(lines)} lines, want origin, size and root")
    if not all(lines):
        raise NoteError("a checkpoint has no empty lines, this one does")
    origin, size, root, *extensions = lines
    return Checkpoint(origin, parse_size(size), _parse_root(root), tuple(extensions))


def parse_size(text: str) -> int:
    """Read a decimal number below 2**63 without sign or leading zero. Raises NoteError."""
    if not text.isascii() or not text.isdigit() or (text[0] == "0" and text != "0"):
        raise NoteError("a size is decimal digits without a leading zero, this one is not")
    if len(text) > 19 or int(text) > MAX_SIZE:
        raise NoteError(f"a size is at most {MAX_SIZE}, this one is larger")
    return int(text)


def sign_checkpoint(checkpoint: Checkpoint, *keys: SigningKey) -> bytes:
    """Return the checkpoint as a note signed by the log's key, or by both while it changes."""
    text = checkpoint.format()
    return Note(text, tuple(key.sign(text) for key in keys)).format()


def open_checkpoint(note: bytes, *, origin: str, trusted: Sequence[VerifierKey]) -> Checkpoint:
    """Return the checkpoint of a note that one of ``trusted`` signed.

    Raises NoteError when the note is malformed or of another log, SignatureError when it is not
    signed as it must be.
    """
    parsed, _ = open_note(note, trusted)
    checkpoint = parse_checkpoint(parsed.text)
    if checkpoint.origin != origin:
        raise NoteError(f"the checkpoint is of log {checkpoint.origin!r}, want {origin!r}")
    return checkpoint


def unverified_checkpoint(note: bytes, *, origin: str) -> Checkpoint:
    """Return a note's checkpoint without checking any signature. Raises NoteError."""
    checkpoint = parse_checkpoint(parse_note(note).text)
    if checkpoint.origin != origin:
        raise NoteError(f"the checkpoint is of log {checkpoint.origin!r}, want {origin!r}")
    return checkpoint


def _parse_root(text: str) -> bytes:
    root = decode_base64(text)
    if len(root) != HASH_SIZE:
        raise NoteError(f"a root has {len(root)} bytes, want {HASH_SIZE}")
    return root
