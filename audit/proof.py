"""C2SP tlog-proof: one file that proves an entry is in a log, checkable offline.

https://c2sp.org/tlog-proof
"""

from collections.abc import Sequence
from dataclasses import dataclass

from audit.checkpoint import Checkpoint, open_checkpoint, parse_size
from audit.errors import NoteError
from audit.merkle import HASH_SIZE, verify_inclusion
from audit.note import VerifierKey, decode_base64, encode_base64, parse_note

_HEADER = "c2sp.org/tlog-proof@v1"
_MAX_HASHES = 63


@dataclass(frozen=True, slots=True)
class LogProof:
    """An entry's index and inclusion proof in the tree of a checkpoint."""

    index: int
    hashes: tuple[bytes, ...]
    """Leaf side first."""
    checkpoint: bytes
    """The signed note, verbatim."""
    extra: bytes | None = None
    """Application data. Nothing signs it."""

    def format(self) -> bytes:
        """Return the file's bytes."""
        lines = [_HEADER]
        if self.extra is not None:
            lines.append(f"extra {encode_base64(self.extra)}")
        lines.append(f"index {self.index}")
        lines += map(encode_base64, self.hashes)
        return "".join(f"{line}\n" for line in lines).encode() + b"\n" + self.checkpoint


def parse_proof(content: bytes) -> LogProof:
    """Read a proof file; nothing is verified. Raises NoteError unless it is well-formed."""
    head, blank, checkpoint = content.partition(b"\n\n")
    if not blank:
        raise NoteError("the proof has no blank line before its checkpoint")
    parse_note(checkpoint)
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as err:
        raise NoteError(f"the proof's lines are not ASCII: {err}") from err
    if lines.pop(0) != _HEADER:
        raise NoteError(f"the proof does not start with {_HEADER}")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = decode_base64(lines.pop(0).removeprefix("extra "))
    if not lines or not lines[0].startswith("index "):
        raise NoteError("the proof has no index line")
    index = parse_size(lines.pop(0).removeprefix("index "))
    if len(lines) > _MAX_HASHES:
        raise NoteError(f"the proof has {len(lines)} hashes, want at most {_MAX_HASHES}")
    hashes = tuple(map(decode_base64, lines))
    if any(len(node) != HASH_SIZE for node in hashes):
        raise NoteError(f"a hash of the proof does not have {HASH_SIZE} bytes")
    return LogProof(index, hashes, checkpoint, extra)


def verify_proof(
    proof: LogProof, *, leaf_hash: bytes, origin: str, trusted: Sequence[VerifierKey]
) -> Checkpoint:
    """Return the checkpoint under which the leaf is proved to be in the log.

    Raises NoteError or SignatureError for the checkpoint, ProofError for the proof.
    """
    checkpoint = open_checkpoint(proof.checkpoint, origin=origin, trusted=trusted)
    verify_inclusion(
        leaf_hash,
        proof.hashes,
        index=proof.index,
        size=checkpoint.size,
        root=checkpoint.root,
    )
    return checkpoint
