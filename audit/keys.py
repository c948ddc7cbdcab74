"""The log's secrets in files: signing key, master key and the key of keyed digests.

They are made once, at the log's creation, and never regenerated: a lost master key must be noticed,
not papered over by a new one that opens nothing. Files are readable by their owner alone.
"""

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit.errors import ForeignKeyError, KeyFileError, NoteError
from audit.files import write_durably
from audit.master_key import FROM_FILE, SECRET_BYTES, Command, parsed_secret, printed_key
from audit.note import SigningKey, encode_base64

SIGNING_KEY_FILE = "log.key"
MASTER_KEY_FILE = "master.key"
DIGEST_KEY_FILE = "digest.key"
NEXT_KEY_FILE = "log.key.next"
"""A new signing key whose entry may not be durable yet."""
RETIRING_KEY_FILE = "log.key.retiring"
"""The signing key before this one; it signs beside it until everybody has learnt the new one."""
NAMES = {"vkey": "signing key", "master_check": "master key", "digest_check": "digest key"}
"""What people call what the log's first entry names."""


@dataclass(frozen=True, slots=True, repr=False)
class LogKeys:
    """What a writer holds. ``repr`` is off so that no traceback shows a key."""

    signing: SigningKey
    master: AESGCM
    digest: bytes
    """Key of the digests of subjects and idempotency keys: see ``audit.digests``."""
    master_check: bytes
    digest_check: bytes
    """Digests of the secrets, which tell nothing of them."""
    retiring: SigningKey | None = None
    """The signing key before this one, while both sign."""

    @property
    def signers(self) -> tuple[SigningKey, ...]:
        """Return the keys that sign checkpoints, the newest first."""
        return (self.signing,) if self.retiring is None else (self.signing, self.retiring)

    def named(self) -> dict[str, str]:
        """Return how the log's first entry names these keys: another log's are noticed at once."""
        return {
            "vkey": self.signing.verifier.format(),
            "master_check": encode_base64(self.master_check),
            "digest_check": encode_base64(self.digest_check),
        }


def create_keys(directory: Path, *, origin: str, master_command: Command = FROM_FILE) -> None:
    """Make the key files of a new log. Existing files are kept: a crash may have left some.

    A master key that ``master_command`` gives is made by whoever keeps it. Raises KeyFileError when the
    directory or a file left there is open to others.
    """
    directory.mkdir(mode=0o700, exist_ok=True)
    _check_mode(directory, 0o700)
    contents = {
        SIGNING_KEY_FILE: SigningKey.generate(origin).format(),
        DIGEST_KEY_FILE: encode_base64(os.urandom(SECRET_BYTES)),
    }
    if not master_command:
        contents[MASTER_KEY_FILE] = encode_base64(os.urandom(SECRET_BYTES))
    for name, text in contents.items():
        if not (directory / name).exists():
            write_durably(directory / name, text.encode() + b"\n", mode=0o600)


def read_keys(directory: Path, *, origin: str, master_command: Command = FROM_FILE) -> LogKeys:
    """Read the key files of an existing log, and the master key from ``master_command`` if there is one.

    Raises KeyFileError, saying how to mend it, when one is missing, malformed or open to others.
    """
    if not directory.is_dir():
        raise KeyFileError(
            f"{directory} is missing; the log cannot be opened without its keys: restore them"
        )
    _check_mode(directory, 0o700)
    signing = _read_signing_key(directory / SIGNING_KEY_FILE, origin)
    retiring = None
    if (directory / RETIRING_KEY_FILE).exists():
        retiring = _read_signing_key(directory / RETIRING_KEY_FILE, origin)
    master = _read_master(directory / MASTER_KEY_FILE, master_command)
    digest = _read_secret(directory / DIGEST_KEY_FILE)
    return LogKeys(
        signing=signing,
        master=AESGCM(master),
        digest=digest,
        master_check=_check_value(b"master", master),
        digest_check=_check_value(b"digest", digest),
        retiring=retiring,
    )


def stage_signing_key(directory: Path, key: SigningKey) -> None:
    """Keep a new signing key before the entry that hands over to it is written."""
    write_durably(directory / NEXT_KEY_FILE, key.format().encode() + b"\n", mode=0o600)


def staged_vkey(directory: Path, *, origin: str) -> str | None:
    """Return the vkey of the staged key, None when there is none. Raises KeyFileError."""
    path = directory / NEXT_KEY_FILE
    return _read_signing_key(path, origin).verifier.format() if path.exists() else None


def promote_signing_key(directory: Path, *, origin: str, vkey: str) -> bool:
    """Make the staged key the signing key, if it is the one with this vkey.

    Returns False when it is another or there is none. A crash in between leaves files from which
    the same call goes on.
    """
    path = directory / NEXT_KEY_FILE
    if staged_vkey(directory, origin=origin) != vkey:
        return False
    current = (directory / SIGNING_KEY_FILE).read_bytes()
    if current != path.read_bytes():
        write_durably(directory / RETIRING_KEY_FILE, current, mode=0o600)
        write_durably(directory / SIGNING_KEY_FILE, path.read_bytes(), mode=0o600)
    path.unlink()
    return True


def drop_retiring_key(directory: Path) -> bool:
    """Let the signing key before this one sign no more; return whether there was one."""
    found = (directory / RETIRING_KEY_FILE).exists()
    (directory / RETIRING_KEY_FILE).unlink(missing_ok=True)
    return found


def _check_value(label: bytes, secret: bytes) -> bytes:
    return sha256(b"grounds/key-check/v1\n" + label + b"\n" + secret).digest()


def _read_signing_key(path: Path, origin: str) -> SigningKey:
    try:
        key = SigningKey.parse(_read_text(path))
    except NoteError as err:
        raise KeyFileError(f"{path} is not a signing key: {err}") from err
    if key.name != origin:
        raise ForeignKeyError(f"{path} is the key of {key.name!r}, want {origin!r}")
    return key


def _read_master(path: Path, command: Command) -> bytes:
    if not command and not path.exists():
        raise KeyFileError(
            f"{path} is missing; it is never made anew for an existing log: restore it, or name the "
            "program that gives the master key, where one does"
        )
    if not command:
        return _read_secret(path)
    printed = printed_key(command)
    # Both are there while somebody moves the key into a service: then it is to be the same one.
    if path.exists() and _read_secret(path) != printed:
        raise KeyFileError(f"{path} is another master key than the one that {command[0]} gives")
    return printed


def _read_secret(path: Path) -> bytes:
    try:
        return parsed_secret(_read_text(path))
    except NoteError as err:
        raise KeyFileError(f"{path} is not a key: {err}") from err


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
