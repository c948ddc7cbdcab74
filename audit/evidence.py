"""An evidence pack: everything about one record that an outsider needs to check it, in one zip.

The same bytes for the same record under the same checkpoint: fixed times, order and permissions,
and no compression, whose output changes with the library's version. ``verify.py`` in it is
``audit/standalone_verify.py``, which needs Python and ``cryptography`` and nothing of ours.
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from audit.checkpoint import Checkpoint, open_checkpoint, unverified_checkpoint
from audit.errors import DamagedLogError, LogRolledBackError, NoteError
from audit.merkle import EMPTY_ROOT
from audit.note import encode_base64
from audit.proof import LogProof
from audit.reader import LogReader
from audit.records import StoredRecord

MEDIA_TYPE = "application/zip"
_VERIFIER = Path(__file__).with_name("standalone_verify.py")
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can state."""


@dataclass(frozen=True, slots=True)
class StampedCheckpoint:
    """A checkpoint, an authority's timestamp over it (TimeStampResp, DER), and its roots (PEM)."""

    note: bytes
    response: bytes
    roots: bytes


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a pack holds beside the record itself."""

    trust_policy: bytes
    """A tlog-policy file: the log's key, and the witnesses that must have cosigned."""
    rotations: Sequence[bytes] = ()
    """The leaves that handed the log over to new keys, in order."""
    stamped: StampedCheckpoint | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Documents of the application: card, policy."""


def build_pack(
    log: LogReader,
    record_id: str,
    *,
    note: bytes,
    surroundings: Surroundings,
    disclose: bool,
    held: bytes | None = None,
) -> bytes:
    """Return the evidence pack of a record under the checkpoint ``note``.

    ``disclose`` puts the plaintext in it, with the key and salt that open this one record. ``held``
    is a checkpoint that the reader kept: the pack then proves that the log continues it.

    Raises UnknownRecordError, ProofError when the checkpoint does not cover the record, NoteError
    for a ``held`` that is no checkpoint of this log, LogRolledBackError when the log does not
    continue ``held``.
    """
    stored = log.read(record_id)
    files = {
        "leaf.json": stored.leaf,
        "decision.tlog-proof": _proof(log, stored.index, note),
        "trust-policy.txt": surroundings.trust_policy,
        "verify.py": _VERIFIER.read_bytes(),
        **surroundings.files,
    }
    if surroundings.rotations:
        files["rotations.json"] = _json([encode_base64(leaf) for leaf in surroundings.rotations])
    if surroundings.stamped is not None:
        stamped = surroundings.stamped
        files["timestamp.tsr"] = stamped.response
        files["timestamp.tlog-proof"] = _proof(log, stored.index, stamped.note)
        files["timestamp-roots.pem"] = stamped.roots
    if held is not None:
        files["consistency.json"] = _consistency(log, held, note)
    files.update(_erasure(log, stored, note) if stored.erased else _payload(log, stored, disclose))
    manifest = {
        "v": 1,
        "log": log.origin,
        "decision": record_id,
        "index": stored.index,
        "size": unverified_checkpoint(note, origin=log.origin).size,
        "erased": stored.erased,
        "disclosed": disclose and not stored.erased,
        "files": {name: sha256(content).hexdigest() for name, content in files.items()},
    }
    return _zipped({"manifest.json": _json(manifest), **files})


def _proof(log: LogReader, index: int, note: bytes) -> bytes:
    size = unverified_checkpoint(note, origin=log.origin).size
    return LogProof(index, log.inclusion_proof(index, size), note).format()


def _payload(log: LogReader, stored: StoredRecord, disclose: bool) -> dict[str, bytes]:  # noqa: FBT001 - named where it counts
    envelope = log.envelope(stored.index)
    if envelope is None or stored.payload is None:
        raise DamagedLogError(f"entry {stored.index} has no payload and was not erased")
    files = {"envelope.bin": envelope}
    if disclose:
        secret = log.record_key(stored.index)
        files["payload.json"] = stored.payload
        files["disclosure.json"] = _json(
            {"key": encode_base64(secret.key), "salt": encode_base64(secret.salt)}
        )
    return files


def _erasure(log: LogReader, stored: StoredRecord, note: bytes) -> dict[str, bytes]:
    at = log.erasure_of(stored.index)
    if at is None:
        raise DamagedLogError(f"entry {stored.index} is erased, and no entry says by which")
    if at >= unverified_checkpoint(note, origin=log.origin).size:
        raise NoteError("the checkpoint is older than the erasure; take a newer one")
    return {
        "erasure-leaf.json": log.entry(at).leaf,
        "erasure.tlog-proof": _proof(log, at, note),
    }


def _consistency(log: LogReader, held: bytes, note: bytes) -> bytes:
    kept = open_checkpoint(held, origin=log.origin, trusted=log.verifier_keys())
    check_continues(log, kept)
    new = unverified_checkpoint(note, origin=log.origin)
    first, second = sorted((kept.size, new.size))
    proof = log.consistency_proof(first, second) if first else ()
    return _json({"from": held.decode(), "proof": [encode_base64(node) for node in proof]})


def check_continues(log: LogReader, kept: Checkpoint) -> None:
    """Raise LogRolledBackError unless the log continues a checkpoint that somebody kept."""
    if not 0 < kept.size <= log.size:
        if kept.size == 0 and kept.root == EMPTY_ROOT:
            raise NoteError("a checkpoint of size 0 says nothing that could be continued")
        raise LogRolledBackError(
            f"your checkpoint is of {kept.size} entries, the log has {log.size}: keep it, it proves "
            "that the log was set back"
        )
    if log.root(kept.size) != kept.root:
        raise LogRolledBackError(
            f"at size {kept.size} the log has another root than your checkpoint: keep it, it proves "
            "that the log showed two histories"
        )


def _json(content: object) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True).encode() + b"\n"


def _zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, date_time=_EPOCH)
            entry.create_system = 3  # Unix, whatever this machine is
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()
