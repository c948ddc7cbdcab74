"""The log's secrets in files: signing key, master key and the key of keyed digests.

They are made once, at the log's creation, and never regenerated: a lost master key must be noticed,
not papered over by a new one that opens nothing. Files are readable by their owner alone.
"""

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.errors import KeyFileError, NoteError
from audit.files import write_durably
from audit.note import SigningKey, decode_base64, encode_base64

SIGNING_KEY_FILE = "log.key"
MASTER_KEY_FILE = "master.key"
DIGEST_KEY_FILE = "digest.key"
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True, repr=False)
class LogKeys:
    """What a writer holds. ``repr`` is off so that no traceback shows a key."""

    signing: SigningKey
    master: AESGCM
    digest: bytes
    """Key of the HMACs over subject ids and idempotency keys."""
    master_check: bytes
    digest_check: bytes
    """Digests the genesis entry records, so that another log's keys are noticed at once."""


def create_keys(directory: Path, *, origin: str) -> None:
    """Make the three key files of a new log. Existing files are kept: a crash may have left some.

    Raises KeyFileError when the directory or a file left there is open to others.
    """
    directory.mkdir(mode=0o700, exist_ok=True)
    _check_mode(directory, 0o700)
    contents = {
        SIGNING_KEY_FILE: SigningKey.generate(origin).format(),
        MASTER_KEY_FILE: encode_base64(os.urandom(_SECRET_BYTES)),
        DIGEST_KEY_FILE: encode_base64(os.urandom(_SECRET_BYTES)),
    }
    for name, text in contents.items():
        if not (directory / name).exists():
            write_durably(directory / name, text.encode() + b"\n", mode=0o600)


def read_keys(directory: Path, *, origin: str) -> LogKeys:
    """Read the key files of an existing log.

    Raises KeyFileError, saying how to mend it, when one is missing, malformed or open to others.
    """
    if not directory.is_dir():
        raise KeyFileError(
            f"{directory} is missing; the log cannot be opened without its keys: restore them"
        )
    _check_mode(directory, 0o700)
    path = directory / SIGNING_KEY_FILE
    try:
        signing = SigningKey.parse(_read_text(path))
    except NoteError as err:
        raise KeyFileError(f"{path} is not a signing key: {err}") from err
    if signing.name != origin:
        raise KeyFileError(f"{path} is the key of {signing.name!r}, want {origin!r}")
    master = _read_secret(directory / MASTER_KEY_FILE)
    digest = _read_secret(directory / DIGEST_KEY_FILE)
    return LogKeys(
        signing=signing,
        master=AESGCM(master),
        digest=digest,
        master_check=_check_value(b"master", master),
        digest_check=_check_value(b"digest", digest),
    )


def _check_value(label: bytes, secret: bytes) -> bytes:
    return sha256(b"grounds/key-check/v1\n" + label + b"\n" + secret).digest()


def _read_secret(path: Path) -> bytes:
    try:
        secret = decode_base64(_read_text(path))
    except NoteError as err:
        raise KeyFileError(f"{path} is not a key: {err}") from err
    if len(secret) != _SECRET_BYTES:
        raise KeyFileError(f"{path} holds {len(secret)} bytes, want {_SECRET_BYTES}")
    return secret


def _read_text(path: Path) -> str:
    try:
        _check_mode(path, 0o600)
        return path.read_text("ascii").removesuffix("\n")
    except FileNotFoundError as err:
        raise KeyFileError(
            f"{path} is missing; it is never made anew for an existing log: restore it"
        ) from err
    except (OSError, UnicodeDecodeError) as err:
        raise KeyFileError(f"{path} cannot be read: {err}") from err


def _check_mode(path: Path, want: int) -> None:
    got = path.stat().st_mode & 0o777
    if got & 0o077:
        raise KeyFileError(
            f"{path} has mode {got:04o}, others can use it; mend it with: chmod {want:o} {path}"
        )
