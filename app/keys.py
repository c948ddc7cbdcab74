"""Access keys: who may call, in which role.

A key is shown once, when it is made; only its SHA-256 is kept. That is enough for 256 random bits:
slow password hashes protect guessable secrets, and a key is not one. Whoever comes with a key has it
looked up in the store, so that a revoked key stops working at once.
"""

import asyncio
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw

from app.domain import Caller, Clock, Kind, Role
from app.ids import timestamp
from app.private_file import open_private

FILE = "access.sqlite3"
SCHEMA = """
CREATE TABLE IF NOT EXISTS access_key(
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  role TEXT NOT NULL,
  secret_sha256 BLOB NOT NULL,
  created TEXT NOT NULL,
  revoked TEXT,
  kind TEXT NOT NULL DEFAULT 'machine',
  actor TEXT NOT NULL DEFAULT '',
  agreement TEXT
) STRICT
"""
ADDED = {
    "kind": "TEXT NOT NULL DEFAULT 'machine'",
    "actor": "TEXT NOT NULL DEFAULT ''",
    "agreement": "TEXT",
}
"""Columns that stores of an earlier version lack. Their keys are machines' until made anew."""
ACTOR = re.compile(r"[A-Za-z0-9._-]{1,64}").fullmatch
PREFIX = "grounds"
PARTS = 3


class KeyStoreError(Exception):
    """The store of access keys cannot be used, or has no such key."""


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """What is known of a key; never its secret."""

    id: str
    name: str
    role: Role
    created: str
    revoked: str | None
    kind: Kind
    actor: str
    agreement: str | None


class KeyStore:
    """The file of access keys, in a database of its own beside the log."""

    def __init__(self, path: Path) -> None:
        """Open or make the store. Raises KeyStoreError when it cannot be used."""
        try:
            self._connection = open_private(path)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute(SCHEMA)
            have = {row[1] for row in self._connection.execute("PRAGMA table_info(access_key)")}
            for column, kind in ADDED.items():
                if column not in have:
                    self._connection.execute(f"ALTER TABLE access_key ADD COLUMN {column} {kind}")
        except (OSError, apsw.Error) as err:
            raise KeyStoreError(f"cannot open the access keys in {path}: {err}") from err

    def create(
        self,
        *,
        name: str,
        role: Role,
        clock: Clock,
        kind: Kind = Kind.MACHINE,
        actor: str = "",
        agreement: str | None = None,
    ) -> str:
        """Make a key and return its text: the only time that it can be seen.

        Raises KeyStoreError when a person's key does not say whose it is, or the store cannot be
        written.
        """
        if (kind is Kind.HUMAN) != bool(actor):
            raise KeyStoreError(
                "a person's key names its holder (actor), and a machine's key names nobody"
            )
        if actor and ACTOR(actor) is None:
            raise KeyStoreError("an actor is 1 to 64 letters, digits, '.', '_' and '-'")
        key_id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        with _converted("written"):
            self._connection.execute(
                "INSERT INTO access_key"
                "(id, name, role, secret_sha256, created, kind, actor, agreement)"
                " VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    key_id,
                    name,
                    role.value,
                    _digest(secret),
                    timestamp(clock()),
                    kind.value,
                    actor,
                    agreement,
                ),
            )
            self._fold()
        return f"{PREFIX}_{key_id}_{secret}"

    def authenticate(self, text: str) -> Caller | None:
        """Return who holds the key, or None when it is unknown, wrong or revoked.

        Raises KeyStoreError when the store cannot be read.
        """
        parts = text.split("_", PARTS - 1)
        if len(parts) != PARTS or parts[0] != PREFIX:
            return None
        try:
            row = self._connection.execute(
                "SELECT secret_sha256, role, kind, actor, agreement FROM access_key"
                " WHERE id = ? AND revoked IS NULL",
                (parts[1],),
            ).fetchone()
        except apsw.Error as err:  # not by a context manager: this is on a decision's path
            raise KeyStoreError("the access keys cannot be read") from err
        if row is None or not hmac.compare_digest(row[0], _digest(parts[2])):
            return None
        return Caller(
            key_id=parts[1],
            role=Role(row[1]),
            kind=Kind(row[2]),
            actor=row[3],
            agreement=row[4],
        )

    def entries(self) -> list[KeyEntry]:
        """Return every key, oldest first. Raises KeyStoreError."""
        with _converted("read"):
            rows = self._connection.execute(
                "SELECT id, name, role, created, revoked, kind, actor, agreement"
                " FROM access_key ORDER BY created, id"
            )
            return [
                KeyEntry(row[0], row[1], Role(row[2]), row[3], row[4], Kind(row[5]), row[6], row[7])
                for row in rows
            ]

    def revoke(self, key_id: str, *, clock: Clock) -> None:
        """End a key. Raises KeyStoreError, also when there is no such key in use."""
        with _converted("written"):
            self._connection.execute(
                "UPDATE access_key SET revoked = ? WHERE id = ? AND revoked IS NULL",
                (timestamp(clock()), key_id),
            )
            changed = self._connection.changes()
            self._fold()
        if changed != 1:
            raise KeyStoreError(f"no key in use has the id {key_id}")

    def close(self) -> None:
        """Close the store."""
        self._connection.close()

    def _fold(self) -> None:
        """Bring what was written into the file itself, which operators copy from service to service."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


class TurnKeys:
    """The keys for the event loop: who comes with one in the same turn is looked up once.

    A look-up gives the interpreter's lock away, which under load wakes others in vain. The next turn,
    some milliseconds later, asks the file again, so that a key that was revoked is refused at once.
    """

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys
        self._found: dict[str, Caller | None] = {}

    def authenticate(self, text: str) -> Caller | None:
        """As ``KeyStore.authenticate``. Call it from the loop's thread."""
        if text in self._found:
            return self._found[text]
        caller = self._keys.authenticate(text)
        if not self._found:
            asyncio.get_running_loop().call_soon(self._found.clear)
        self._found[text] = caller
        return caller


@contextmanager
def _converted(what: str) -> Iterator[None]:
    try:
        yield
    except apsw.Error as err:
        raise KeyStoreError(f"the access keys cannot be {what}: {err}") from err


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
