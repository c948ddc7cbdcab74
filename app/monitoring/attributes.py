"""Protected attributes of people, kept apart: to compare groups, and for nothing else.

They come through a channel of their own, under a role of their own, into a file of their own. They
are never in a case, a record, a payload, a log line or a metric of less than a group. They can be
purged at any time; what stays is whole numbers by group.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import apsw
import orjson

from app.private_file import open_private

FILE = "protected-attributes.sqlite3"
SCHEMA = """
CREATE TABLE IF NOT EXISTS report(
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  model TEXT NOT NULL,
  place INTEGER NOT NULL,
  decision TEXT NOT NULL UNIQUE,
  groups BLOB NOT NULL,
  at TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS report_of_model ON report(model, place);
CREATE TABLE IF NOT EXISTS counter(model TEXT PRIMARY KEY, reports INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS canary_report(
  decision TEXT PRIMARY KEY REFERENCES report(decision) ON DELETE CASCADE,
  model TEXT NOT NULL,
  run INTEGER NOT NULL,
  place INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS canary_report_of_run ON canary_report(model, run, place);
CREATE TABLE IF NOT EXISTS canary_counter(
  model TEXT, run INTEGER, reports INTEGER NOT NULL, PRIMARY KEY(model, run)
) STRICT;
CREATE TABLE IF NOT EXISTS aggregate(model TEXT NOT NULL, at TEXT NOT NULL, body BLOB NOT NULL) STRICT;
"""


class AttributeStoreError(Exception):
    """The store of protected attributes cannot be used."""


@dataclass(frozen=True, slots=True)
class Reported:
    """What was reported about the person of one decision."""

    place: int
    """Which report on this model, or on this canary of it, it is, counted from 0."""
    decision: str
    groups: Mapping[str, str]
    """By attribute."""


class AttributeStore:
    """The file of protected attributes. Safe from any thread."""

    def __init__(self, path: Path) -> None:
        """Open or make the store. Raises AttributeStoreError when it cannot be used."""
        self._lock = Lock()
        try:
            self._connection = open_private(path)
            # What is deleted must not be left in free pages, nor in a write-ahead log.
            self._connection.execute("PRAGMA secure_delete=ON; PRAGMA journal_mode=TRUNCATE")
            self._connection.execute("PRAGMA foreign_keys=ON")
            self._connection.execute(SCHEMA)
        except (OSError, apsw.Error) as err:
            raise AttributeStoreError(f"cannot open the attributes in {path}: {err}") from err

    def put(
        self, model: str, decision: str, groups: Mapping[str, str], *, at: str,
        canary: int | None = None,
    ) -> None:  # fmt: skip
        """Keep what was reported for a decision; a later report replaces an earlier one.

        ``canary``: the entry of the log that began the canary which made the decision. Its reports are
        numbered apart as well, so that its tests are not timed by the active version's.
        """
        body = orjson.dumps(dict(groups), option=orjson.OPT_SORT_KEYS)
        with self._transaction():
            changed = self._run(
                "UPDATE report SET groups = ?, at = ? WHERE decision = ? RETURNING number",
                (body, at, decision),
            )
            if changed:
                return
            ((reports,),) = self._run(
                "INSERT INTO counter VALUES(?, 1) "
                "ON CONFLICT(model) DO UPDATE SET reports = reports + 1 RETURNING reports",
                (model,),
            )
            self._run(
                "INSERT INTO report(model, place, decision, groups, at) VALUES(?, ?, ?, ?, ?)",
                (model, int(reports) - 1, decision, body, at),
            )
            if canary is None:
                return
            ((reports,),) = self._run(
                "INSERT INTO canary_counter VALUES(?, ?, 1) ON CONFLICT(model, run) "
                "DO UPDATE SET reports = reports + 1 RETURNING reports",
                (model, canary),
            )
            self._run(
                "INSERT INTO canary_report(decision, model, run, place) VALUES(?, ?, ?, ?)",
                (decision, model, canary, int(reports) - 1),
            )

    def latest(self, model: str, most: int, *, canary: int | None = None) -> list[Reported]:
        """Return the latest reports on a model, or on one canary of it, oldest first."""
        with self._lock:
            if canary is None:
                rows = self._run(
                    "SELECT place, decision, groups FROM report WHERE model = ? "
                    "ORDER BY place DESC LIMIT ?",
                    (model, most),
                )
            else:
                rows = self._run(
                    "SELECT canary_report.place, decision, groups "
                    "FROM canary_report JOIN report USING(decision) "
                    "WHERE canary_report.model = ? AND run = ? "
                    "ORDER BY canary_report.place DESC LIMIT ?",
                    (model, canary, most),
                )
        return [
            Reported(place=row[0], decision=row[1], groups=orjson.loads(row[2]))
            for row in reversed(rows)
        ]

    def count(self, model: str, *, canary: int | None = None) -> int:
        """Return how many reports there have ever been on a model or a canary, purged ones too."""
        with self._lock:
            if canary is None:
                rows = self._run("SELECT reports FROM counter WHERE model = ?", (model,))
            else:
                rows = self._run(
                    "SELECT reports FROM canary_counter WHERE model = ? AND run = ?",
                    (model, canary),
                )
        return int(rows[0][0]) if rows else 0

    def forget(self, decisions: Iterable[str]) -> int:
        """Delete what was reported for some decisions; return how many had anything."""
        gone = 0
        with self._transaction():
            for decision in decisions:
                gone += len(
                    self._run("DELETE FROM report WHERE decision = ? RETURNING 1", (decision,))
                )
        return gone

    def purge(self, model: str, *, before: str, at: str, aggregate: Mapping[str, object]) -> int:
        """Delete a model's reports from before a moment, keeping ``aggregate``; return how many."""
        gone = 0
        with self._transaction():
            gone = len(
                self._run(
                    "DELETE FROM report WHERE model = ? AND at < ? RETURNING 1", (model, before)
                )
            )
            if gone:
                self._run(
                    "INSERT INTO aggregate VALUES(?, ?, ?)", (model, at, orjson.dumps(aggregate))
                )
        return gone

    def expire(self, model: str, *, before: str) -> int:
        """Delete a model's reports from before a moment; return how many."""
        with self._lock:
            return len(
                self._run(
                    "DELETE FROM report WHERE model = ? AND at < ? RETURNING 1", (model, before)
                )
            )

    def aggregates(self, model: str) -> list[tuple[str, Mapping[str, object]]]:
        """Return what was kept at each purge: when, and the figures by group."""
        with self._lock:
            rows = self._run("SELECT at, body FROM aggregate WHERE model = ? ORDER BY at", (model,))
        return [(row[0], orjson.loads(row[1])) for row in rows]

    def close(self) -> None:
        """Close the store."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Do all or nothing; its beginning and its end can fail as well as what it does."""
        try:
            with self._lock, self._connection:
                yield
        except apsw.Error as err:
            raise AttributeStoreError("the protected attributes cannot be written") from err

    def _run(self, statement: str, values: tuple[str | bytes | int, ...]) -> list[tuple[Any, ...]]:
        try:
            return list(self._connection.execute(statement, values))
        except apsw.Error as err:
            raise AttributeStoreError("the protected attributes cannot be read or written") from err
