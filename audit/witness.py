"""An independent witness: cosigns checkpoints of logs that only ever grow. C2SP tlog-witness.

https://c2sp.org/tlog-witness. It keeps one checkpoint for each log, the last it cosigned, and never
cosigns another that does not continue it: whoever asks two witnesses' users to compare notes cannot
be shown two histories. Check and store are one step under one lock, and durable before the answer.

Files of its directory: ``key`` (its secret), ``lock``, and for each log ``logs/<sha256(origin)>/``
with ``vkeys`` (the log's keys, one a line) and ``checkpoint`` (the last cosigned, with signatures).
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from audit.checkpoint import Checkpoint, parse_checkpoint, parse_size
from audit.errors import (
    LogLockedError,
    NoteError,
    ProofError,
    SignatureError,
    WitnessStateError,
)
from audit.files import WriterLock, write_durably
from audit.merkle import EMPTY_ROOT, HASH_SIZE, verify_consistency
from audit.note import (
    COSIGNATURE,
    ED25519,
    Note,
    SigningKey,
    VerifierKey,
    decode_base64,
    open_note,
    parse_note,
)

MAX_BODY_BYTES = 64 * 1024
"""63 hashes take 2.8 KB; the rest is a checkpoint with more signatures than any log has."""
MAX_PROOF_LINES = 63

_KEY_FILE = "key"
_VKEYS_FILE = "vkeys"
_CHECKPOINT_FILE = "checkpoint"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the witness says to a request, in HTTP's terms."""

    status: int
    body: bytes
    media_type: str = "text/plain; charset=utf-8"


class Witness:
    """An open witness. ``add_checkpoint`` may be called from any thread."""

    def __init__(
        self, directory: Path, *, key: SigningKey, lock: WriterLock, clock: Callable[[], datetime]
    ) -> None:
        """Use ``Witness.open``."""
        self._directory = directory
        self._key = key
        self._lock = lock
        self._clock = clock
        self._one_at_a_time = threading.Lock()

    @classmethod
    def open(
        cls, directory: Path, *, clock: Callable[[], datetime], name: str | None = None
    ) -> "Witness":
        """Open a witness; at its first start, make it under ``name`` with a key of its own.

        Raises WitnessStateError, NoteError for a name that no key can have.
        """
        path = directory / _KEY_FILE
        if name is None and not path.exists():
            raise WitnessStateError(f"{path} does not exist: give a name to make a new witness")
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            lock = WriterLock(directory / "lock")
        except LogLockedError as err:
            raise WitnessStateError(f"{directory} is in use by another witness") from err
        try:
            if not path.exists():
                _create_key(path, name or "")
            return cls(directory, key=_read_key(path, name), lock=lock, clock=clock)
        except BaseException:
            lock.release()
            raise

    @property
    def vkey(self) -> str:
        """Return the key that verifies this witness' cosignatures."""
        return self._key.verifier.format()

    def add_checkpoint(self, body: bytes) -> Answer:
        """Cosign a checkpoint that continues the last one of its log, or say why not.

        Raises OSError when the new state cannot be stored, WitnessStateError when the old one
        cannot be read: then nothing was cosigned.
        """
        if len(body) > MAX_BODY_BYTES:
            return _refusal(413, f"the body may have at most {MAX_BODY_BYTES} bytes")
        try:
            old, proof, note = _parse_request(body)
            unverified = parse_checkpoint(parse_note(note).text)
        except NoteError as err:
            return _refusal(400, str(err))
        keys = self._keys_of(unverified.origin)
        if keys is None:
            return _refusal(404, "this witness does not know the log")
        try:
            parsed, signers = open_note(note, keys)
        except SignatureError as err:
            return _refusal(403, str(err))
        if old > unverified.size:
            return _refusal(400, f"the old size {old} is above the checkpoint's {unverified.size}")
        with self._one_at_a_time:
            return self._check_and_store(old, proof, parsed, unverified, signers)

    def checkpoint(self, origin_digest: str) -> bytes | None:
        """Return the last cosigned checkpoint of the log with this hex SHA-256 of its origin."""
        if len(origin_digest) != 64 or origin_digest.strip("0123456789abcdef"):
            return None
        return _read_optional(self._directory / "logs" / origin_digest / _CHECKPOINT_FILE)

    def close(self) -> None:
        """Let another process open the directory."""
        self._lock.release()

    def _check_and_store(
        self,
        old: int,
        proof: list[bytes],
        note: Note,
        new: Checkpoint,
        signers: tuple[VerifierKey, ...],
    ) -> Answer:
        directory = _log_directory(self._directory, new.origin)
        last = self._last(directory)
        # The specification asks for 409 for another root of the same size too.
        if old != last.size or (new.size == last.size and new.root != last.root):
            return Answer(409, f"{last.size}\n".encode(), "text/x.tlog.size")
        try:
            _check_growth(last, new, proof)
        except ProofError as err:
            return _refusal(422, str(err))
        cosignature = self._key.cosign(note.text, timestamp=int(self._clock().timestamp()))
        known = {(key.name, key.key_id) for key in signers}
        kept = [sig for sig in note.signatures if (sig.name, sig.key_id) in known]
        # Durable before the answer: a witness that forgets could be shown another history.
        write_durably(
            directory / _CHECKPOINT_FILE, Note(note.text, (*kept, cosignature)).format(), mode=0o600
        )
        return Answer(200, cosignature.line().encode())

    def _last(self, directory: Path) -> Checkpoint:
        stored = _read_optional(directory / _CHECKPOINT_FILE)
        if stored is None:
            return Checkpoint("", 0, EMPTY_ROOT)
        try:
            note, _ = open_note(stored, [self._key.verifier])
            return parse_checkpoint(note.text)
        except NoteError as err:
            raise WitnessStateError(f"{directory / _CHECKPOINT_FILE} is damaged: {err}") from err

    def _keys_of(self, origin: str) -> list[VerifierKey] | None:
        return _read_vkeys(_log_directory(self._directory, origin) / _VKEYS_FILE)


def add_log(directory: Path, vkey: str) -> VerifierKey:
    """Let a witness cosign for a log; a running one heeds it at once. A second key is added.

    Raises NoteError for what is not a log's key.
    """
    key = VerifierKey.parse(vkey)
    if key.algorithm != ED25519:
        raise NoteError(f"a log's key has type 01, this one {key.algorithm:02x}")
    log = _log_directory(directory, key.name)
    log.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys = _read_vkeys(log / _VKEYS_FILE) or []
    if key not in keys:
        lines = "".join(f"{known.format()}\n" for known in (*keys, key))
        write_durably(log / _VKEYS_FILE, lines.encode())
    return key


def _check_growth(old: Checkpoint, new: Checkpoint, proof: list[bytes]) -> None:
    """Raise ProofError unless ``new`` continues ``old``."""
    if old.size == 0:
        if proof:
            raise ProofError("a first checkpoint needs no proof, this one has one")
        return
    verify_consistency(
        proof, first=old.size, second=new.size, first_root=old.root, second_root=new.root
    )


def _parse_request(body: bytes) -> tuple[int, list[bytes], bytes]:
    head, blank, note = body.partition(b"\n\n")
    if not blank:
        raise NoteError("the body has no empty line before the checkpoint")
    try:
        first, *lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as err:
        raise NoteError("the lines before the checkpoint are not ASCII") from err
    if not first.startswith("old "):
        raise NoteError("the body does not begin with `old SIZE`")
    if len(lines) > MAX_PROOF_LINES:
        raise NoteError(f"the proof has {len(lines)} lines, want at most {MAX_PROOF_LINES}")
    proof = [decode_base64(line) for line in lines]
    if any(len(node) != HASH_SIZE for node in proof):
        raise NoteError(f"a line of the proof does not have {HASH_SIZE} bytes")
    return parse_size(first.removeprefix("old ")), proof, note


def _create_key(path: Path, name: str) -> None:
    key = SigningKey(name, SigningKey.generate(name).private_key, COSIGNATURE)
    write_durably(path, key.format().encode() + b"\n", mode=0o600)


def _read_key(path: Path, name: str | None) -> SigningKey:
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise WitnessStateError(
            f"{path} has mode {mode:04o}, others can use it; mend it with: chmod 600 {path}"
        )
    try:
        key = SigningKey.parse(path.read_text("ascii").removesuffix("\n"))
    except (NoteError, UnicodeDecodeError) as err:
        raise WitnessStateError(f"{path} is not a witness' key: {err}") from err
    if key.algorithm != COSIGNATURE:
        raise WitnessStateError(f"{path} is a log's key, want a witness' (type 04)")
    if name is not None and key.name != name:
        raise WitnessStateError(f"{path} is the key of {key.name!r}, want {name!r}")
    return key


def _log_directory(directory: Path, origin: str) -> Path:
    return directory / "logs" / sha256(origin.encode()).hexdigest()


def _read_vkeys(path: Path) -> list[VerifierKey] | None:
    content = _read_optional(path)
    if content is None:
        return None
    try:
        return [VerifierKey.parse(line) for line in content.decode().splitlines()]
    except (NoteError, UnicodeDecodeError) as err:
        raise WitnessStateError(f"{path} is damaged: {err}") from err


def _read_optional(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _refusal(status: int, why: str) -> Answer:
    return Answer(status, f"{why}\n".encode())
