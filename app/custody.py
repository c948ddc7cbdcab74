"""What may be erased and what must be kept: legal holds, erasure, and how long records are kept.

The log is the only register of holds: setting and lifting one are entries. An erasure is checked
against them while nobody can append, so that a hold set before it always wins.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import get_args

from app.case_entries import case_of, following
from app.domain import Clock, NewId
from app.keeping_errors import OwnStateError, TooEarlyError, UnknownHoldError
from app.lifecycle import EntryType
from app.retention import Period, Retention
from app.stops import ControlType
from audit.errors import DamagedLogError, UnderHoldError
from audit.leaf import Leaf, parse_leaf
from audit.log import Log
from audit.rare import RareEntries
from audit.reader import LogReader
from audit.records import Erasure, NewRecord

HOLD_SET = "hold_set"
HOLD_LIFTED = "hold_lifted"
TYPES = (HOLD_SET, HOLD_LIFTED)
OWN_STATE = frozenset((*get_args(ControlType), *get_args(EntryType)))
"""Entries by which every service knows what is stopped and what is in use."""

_CHUNK = 1_024
_BATCH = 200
"""Records of one expiry transaction: callers wait no longer for it than for a group of decisions."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold in force."""

    id: str
    since: str
    basis: str
    actor: str
    index: int
    """Of the entry that set it. On a subject, that entry is one of the subject's own."""
    record: int | None
    """The entry held; None for a hold on a subject."""


@dataclass(frozen=True, slots=True)
class Expired:
    """What a retention run did."""

    erased: tuple[int, ...]
    held: int
    """Records past their time that a hold keeps."""
    purged: bool


BASIS = r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]{1,200}$"
"""What a ground in law looks like: one line, and nothing that makes it read as another."""


class Custody:
    """Holds, erasures and retention of one log. Safe from any thread."""

    def __init__(
        self, log: LogReader, rare: RareEntries, *, retention: Retention, clock: Clock
    ) -> None:
        """``rare`` knows at least the entries of ``TYPES``."""
        self._log = log
        self._rare = rare
        self._retention = retention
        self._clock = clock
        self._unpurged = False

    @property
    def alarms(self) -> list[str]:
        """Return what is wrong at present."""
        if self._unpurged:
            return [
                "erased bytes are still in files: a process reads them, or PostgreSQL must clean up"
            ]
        return []

    @property
    def backups_kept_days(self) -> int | None:
        """Return for how long backups keep what was erased, None when nobody has said."""
        return self._retention.backups_kept_days

    def period_of(self, model: str) -> Period | None:
        """Return how long a model's decisions are kept, None when nobody has said."""
        return self._retention.of(model)

    def holds(self) -> list[Hold]:
        """Return the holds in force, oldest first."""
        found: dict[str, Hold] = {}
        for index, leaf in self._rare.entries():
            if leaf.type == HOLD_SET:
                record = leaf.facts.get("of")
                found[leaf.id] = Hold(
                    id=leaf.id,
                    since=leaf.timestamp,
                    basis=str(leaf.facts.get("basis")),
                    actor=str(leaf.facts.get("actor")),
                    index=index,
                    record=record if isinstance(record, int) else None,
                )
            elif leaf.type == HOLD_LIFTED:
                found.pop(str(leaf.facts.get("hold")), None)
        return list(found.values())

    def hold_record(
        self,
        *,
        hold_id: str,
        basis: str,
        actor: str,
        subject: str | None = None,
        record_id: str | None = None,
    ) -> NewRecord:
        """Return the entry that holds a subject or a record. Raises UnknownRecordError."""
        facts = {"basis": basis, "actor": actor}
        if record_id is not None:
            of = self._log.receipt(record_id).index
            return NewRecord(HOLD_SET, hold_id, {**facts, "of": of})
        # The payload says nothing; it makes the entry one of the subject's, whose number is then
        # known without their name. Once the hold is lifted it is erased with the rest.
        return NewRecord(HOLD_SET, hold_id, facts, payload=b'{"v":1}', subject=subject)

    def lifting_record(self, *, new_id: NewId, hold_id: str, basis: str, actor: str) -> NewRecord:
        """Return the entry that lifts a hold. Raises UnknownHoldError."""
        self._log.catch_up()  # another service may have set it a moment ago
        if all(hold.id != hold_id for hold in self.holds()):
            raise UnknownHoldError
        return NewRecord(HOLD_LIFTED, new_id(), {"hold": hold_id, "basis": basis, "actor": actor})

    def check_erasable(self, indexes: Sequence[int]) -> None:
        """Raise UnderHoldError or TooEarlyError if any of these entries must be kept."""
        leaves = [(index, self._leaf(index)) for index in indexes]
        for _, leaf in leaves:
            if leaf.type in OWN_STATE:
                raise OwnStateError(record_id=leaf.id)
        held = self._held_by(indexes)
        if held:
            raise UnderHoldError(holds=sorted({hold for holds in held.values() for hold in holds}))
        until = [moment for each in leaves if (moment := self._keep_until(*each)) is not None]
        latest = max(until, default=None)
        if latest is not None and latest > self._clock():
            raise TooEarlyError(until=latest)

    def erase(
        self,
        log: Log,
        *,
        basis: str,
        actor: str,
        new_id: NewId,
        subject: str | None = None,
        record_ids: Sequence[str] = (),
    ) -> Erasure:
        """Erase a subject, or single records: of a recommendation, all that follows it too.

        Raises UnderHoldError, TooEarlyError, UnknownRecordError, and as ``Log.append``.
        """
        if subject is not None:
            done = log.erase_subject(
                subject, basis=basis, actor=actor, new_id=new_id, check=self.check_erasable
            )
            self._unpurged = not done.purged
            return done
        recommendations = {log.receipt(record_id).index for record_id in record_ids}
        # All but the newest entries are looked through before others are kept from appending.
        size = log.catch_up()
        ids = [*record_ids, *(row.id for row in following(log, recommendations))]
        return self._erase_records(
            log,
            ids,
            basis=basis,
            actor=actor,
            new_id=new_id,
            late=lambda: [row.seq for row in following(log, recommendations, beyond=size)],
        )

    def purge_if_needed(self, log: Log) -> None:
        """Try again to remove erased bytes from every file, if a reader was in the way."""
        if self._unpurged:
            self._unpurged = not log.purge()

    def expire(
        self,
        log: Log,
        *,
        actor: str,
        new_id: NewId,
        advance: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Expired:
        """Erase every case past its model's ceiling that no hold keeps, with all that followed it.

        What follows a recommendation later than its ceiling, or was left by a run that was cut
        short, goes with the next run. Raises as ``Log.append``.
        """
        now = self._clock()
        erased: list[int] = []
        held = 0
        purged = True
        size = log.catch_up()
        for start in range(0, size, _CHUNK):
            due = self._due(start, min(start + _CHUNK, size), now)
            kept = self._held_by([index for index, _ in due])
            held += len(kept)
            ids = [record_id for index, record_id in due if index not in kept]
            for at in range(0, len(ids), _BATCH):
                done = self._erase_records(
                    log,
                    ids[at : at + _BATCH],
                    basis="retention period over",
                    actor=actor,
                    new_id=new_id,
                )
                erased += done.indexes
                purged = done.purged
            advance(min(start + _CHUNK, size), size)
        return Expired(tuple(erased), held, purged)

    def _erase_records(
        self,
        log: Log,
        record_ids: Sequence[str],
        *,
        basis: str,
        actor: str,
        new_id: NewId,
        late: Callable[[], Sequence[int]] = list,
    ) -> Erasure:
        done = log.erase_records(
            record_ids,
            basis=basis,
            actor=actor,
            new_id=new_id,
            check=self.check_erasable,
            late=late,
        )
        self._unpurged = not done.purged
        return done

    def _due(self, start: int, stop: int, now: datetime) -> list[tuple[int, str]]:
        """Return (index, id) of the entries whose case's time is over and content still there."""
        found = []
        for row in self._log.entries(start, stop):
            leaf = parse_leaf(row.leaf)
            if leaf.payload is None:
                continue
            recommendation = self._recommendation(row.seq, leaf)
            rule = None if recommendation is None else self._retention.of(_model(recommendation))
            if recommendation is None or rule is None or rule.erase_after_days is None:
                continue
            due = _moment(recommendation) + timedelta(days=rule.erase_after_days)
            if due <= now and self._log.erasure_of(row.seq) is None:
                found.append((row.seq, row.id))
        return found

    def _keep_until(self, index: int, leaf: Leaf) -> datetime | None:
        recommendation = self._recommendation(index, leaf)
        rule = None if recommendation is None else self._retention.of(_model(recommendation))
        if recommendation is None or rule is None:
            return None
        return _moment(recommendation) + timedelta(days=rule.keep_days)

    def _recommendation(self, index: int, leaf: Leaf) -> Leaf | None:
        """Return the leaf by whose model and time an entry is kept and erased; None for no case's."""
        of = case_of(index, leaf)
        return leaf if of == index else None if of is None else self._leaf(of)

    def _held_by(self, indexes: Sequence[int]) -> dict[int, list[str]]:
        """Return the held entries among these, each with the holds on it or on its recommendation."""
        holds = self.holds()
        records = {hold.record: hold.id for hold in holds if hold.record is not None}
        subjects: dict[int, str] = {}
        for hold in holds:
            if hold.record is None:
                number = self._log.subject_number(hold.index)
                if number is None:
                    raise DamagedLogError(f"the hold of entry {hold.index} has lost its subject")
                subjects[number] = hold.id
        found: dict[int, list[str]] = {}
        if not holds:
            return found
        for index in indexes:
            of = case_of(index, self._leaf(index))
            by: set[str] = set()
            for each in {index, index if of is None else of}:
                number = self._log.subject_number(each) if subjects else None
                if each in records:
                    by.add(records[each])
                if number is not None and number in subjects:
                    by.add(subjects[number])
            if by:
                found[index] = sorted(by)
        return found

    def _leaf(self, index: int) -> Leaf:
        return parse_leaf(self._log.entry(index).leaf)


def _moment(leaf: Leaf) -> datetime:
    return datetime.fromisoformat(leaf.timestamp)


def _model(leaf: Leaf) -> str:
    model = leaf.facts.get("model")
    return str(model.get("name")) if isinstance(model, dict) else ""
