"""Who is signed in on the pages: kept here, so that signing out ends it whatever a browser keeps.

The browser holds a random token and nothing else; the store holds the token's SHA-256. A session
begins as a visitor's, which can do nothing but sign in; signing in and choosing a role each make a
new token, so that one planted in a browser beforehand opens nothing.
"""

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import apsw

from app.domain import Caller, Clock, Kind, Role
from app.private_file import open_private

FILE = "sessions.sqlite3"
SCHEMA = """
CREATE TABLE IF NOT EXISTS session(
  token_sha256 BLOB PRIMARY KEY,
  csrf TEXT NOT NULL,
  begun INTEGER NOT NULL,
  seen INTEGER NOT NULL,
  actor TEXT,
  roles TEXT NOT NULL DEFAULT '[]',
  role TEXT,
  source TEXT,
  pending TEXT
) STRICT
"""
VISITOR_MINUTES = 15
"""How long a visitor may take to sign in."""
MOST_VISITORS = 10_000
"""Unfinished sign-ins that are kept: the store cannot be flooded. The oldest give way to a new one, which
could be kept out for long otherwise by whoever begins many."""
SEEN_EVERY_SECONDS = 30
"""How stale the time of the last request may be: reading a page seldom needs a write."""


class SessionStoreError(Exception):
    """The store of sessions cannot be used."""


class SignInError(Exception):
    """The settings of signing in do not fit together."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A sign-in that was begun: what its answer must match, and where to go afterwards."""

    back: str = "/"
    state: str = ""
    nonce: str = ""
    verifier: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """One browser's session."""

    csrf: str
    """What every form of the session sends along."""
    actor: str | None
    """Who signed in, in the body's own opaque name; None for a visitor."""
    roles: tuple[Role, ...]
    """The roles that they may choose from."""
    role: Role | None
    """The one they act in; None until it is chosen."""
    source: str | None
    """Who vouched for them: the provider, or the demonstration."""
    pending: Pending

    @property
    def caller(self) -> Caller | None:
        """The same as a key's holder is; None for whoever may not act yet."""
        if self.actor is None or self.role is None:
            return None
        name = hashlib.sha256(f"{self.source}\n{self.actor}".encode()).hexdigest()[:12]
        return Caller(key_id=f"person-{name}", role=self.role, kind=Kind.HUMAN, actor=self.actor)


class SessionStore:
    """The file of sessions, beside that of the access keys."""

    def __init__(self, path: Path, *, clock: Clock, idle: timedelta, longest: timedelta) -> None:
        """Open or make the store. Raises SessionStoreError when it cannot be used."""
        self._clock = clock
        self._idle = int(idle.total_seconds())
        self._longest = int(longest.total_seconds())
        try:
            self._connection = open_private(path)
            self._connection.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL")
            self._connection.execute(SCHEMA)
        except (OSError, apsw.Error) as err:
            raise SessionStoreError(f"cannot open the sessions in {path}: {err}") from err

    def begin(self, *, back: str) -> str:
        """Begin a visitor's session and return its token."""
        now = self._now()
        self._forget_old(now)
        ((waiting,),) = self._rows("SELECT count(*) FROM session WHERE actor IS NULL")
        if waiting >= MOST_VISITORS:
            # Some more than one, so that a flood does not have them sorted each time.
            self._run(
                "DELETE FROM session WHERE token_sha256 IN (SELECT token_sha256 FROM session"
                " WHERE actor IS NULL ORDER BY begun, rowid LIMIT ?)",
                (1 + waiting - MOST_VISITORS + MOST_VISITORS // 100,),
            )
        return self._insert(now, begun=now, pending=Pending(back=back))

    def find(self, token: str) -> Session | None:
        """Return the session of a token, or None when there is none or its time is over."""
        now = self._now()
        key = _digest(token)
        rows = self._rows(
            "SELECT csrf, begun, seen, actor, roles, role, source, pending FROM session"
            " WHERE token_sha256 = ?",
            (key,),
        )
        if not rows:
            return None
        ((csrf, begun, seen, actor, roles, role, source, pending),) = rows
        if self._is_over(now, begun=begun, seen=seen, is_visitor=actor is None):
            self.end(token)
            return None
        if now - seen >= SEEN_EVERY_SECONDS:
            self._run("UPDATE session SET seen = ? WHERE token_sha256 = ?", (now, key))
        return Session(
            csrf=csrf,
            actor=actor,
            roles=tuple(Role(each) for each in json.loads(roles)),
            role=None if role is None else Role(role),
            source=source,
            pending=Pending(**json.loads(pending or "{}")),
        )

    def wait_for(self, token: str, pending: Pending) -> None:
        """Note what the answer to a begun sign-in must match."""
        self._run(
            "UPDATE session SET pending = ? WHERE token_sha256 = ?",
            (_as_text(pending), _digest(token)),
        )

    def sign_in(self, token: str, *, actor: str, roles: Sequence[Role], source: str) -> str:
        """End a visitor's session, begin the person's and return its token.

        Somebody with one role acts in it at once.
        """
        now = self._now()
        session = self.find(token)
        back = Pending(back="/" if session is None else session.pending.back)
        self.end(token)
        role = roles[0] if len(roles) == 1 else None
        return self._insert(
            now, begun=now, pending=back, actor=actor, roles=roles, role=role, source=source
        )

    def choose(self, token: str, role: Role) -> str:
        """Let a person act in one of their roles, under a new token, which is returned.

        Raises ValueError for a role that is not theirs.
        """
        session = self.find(token)
        if session is None or session.actor is None or role not in session.roles:
            raise ValueError("not a role of this session")
        ((begun,),) = self._rows(
            "SELECT begun FROM session WHERE token_sha256 = ?", (_digest(token),)
        )
        self.end(token)
        return self._insert(
            self._now(),
            begun=begun,
            pending=session.pending,
            actor=session.actor,
            roles=session.roles,
            role=role,
            source=session.source,
        )

    def end(self, token: str) -> None:
        """End a session; its token opens nothing any more."""
        self._run("DELETE FROM session WHERE token_sha256 = ?", (_digest(token),))

    def close(self) -> None:
        """Close the store."""
        self._connection.close()

    def _insert(
        self,
        now: int,
        *,
        begun: int,
        pending: Pending,
        actor: str | None = None,
        roles: Sequence[Role] = (),
        role: Role | None = None,
        source: str | None = None,
    ) -> str:
        token = secrets.token_urlsafe(32)
        self._run(
            "INSERT INTO session(token_sha256, csrf, begun, seen, actor, roles, role, source,"
            " pending) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                _digest(token),
                secrets.token_urlsafe(32),
                begun,
                now,
                actor,
                json.dumps(roles),
                role,
                source,
                _as_text(pending),
            ),
        )
        return token

    def _is_over(self, now: int, *, begun: int, seen: int, is_visitor: bool) -> bool:
        if is_visitor:
            return now - begun >= VISITOR_MINUTES * 60
        return now - seen >= self._idle or now - begun >= self._longest

    def _forget_old(self, now: int) -> None:
        self._run(
            "DELETE FROM session WHERE (actor IS NULL AND begun <= ?) OR begun <= ?"
            " OR (actor IS NOT NULL AND seen <= ?)",
            (now - VISITOR_MINUTES * 60, now - self._longest, now - self._idle),
        )

    def _now(self) -> int:
        moment: datetime = self._clock()
        return int(moment.timestamp())

    def _run(self, sql: str, values: tuple[Any, ...]) -> None:
        try:
            self._connection.execute(sql, values)
        except apsw.Error as err:
            raise SessionStoreError("the sessions cannot be written") from err

    def _rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except apsw.Error as err:
            raise SessionStoreError("the sessions cannot be read") from err


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _as_text(pending: Pending) -> str:
    return json.dumps(
        {
            "back": pending.back,
            "state": pending.state,
            "nonce": pending.nonce,
            "verifier": pending.verifier,
        }
    )
