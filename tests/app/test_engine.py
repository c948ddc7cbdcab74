"""The engine: groups, what fails alone, what fails together, and the way back."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from app import engine as engine_module
from app.domain import Caller, Role
from app.engine import Engine
from app.errors import EngineStoppedError, OverloadedError
from app.ids import new_id, utc_now
from app.log_entries import EntryWork
from app.refusals import AdviceStoppedError
from app.stops import Stops, stop_record
from app.work import Made, Outcome, Prepared, Recorded, Unfinished, Work, alone
from audit.appender import More
from audit.errors import (
    DamagedLogError,
    DuplicateIdError,
    LogBrokenError,
    LogFullError,
    LogRolledBackError,
    LogStateError,
    LogUnavailableError,
)
from audit.group import Draft
from audit.log import Log
from audit.records import Idempotency, NewRecord, Receipt

STOPPED_AT = "2026-11-27T12:00:00Z"


@dataclass(frozen=True)
class Note:
    """Work that records a text."""

    id: str
    text: bytes = b"{}"
    idempotency: Idempotency | None = None

    def prepare(self) -> Prepared | Unfinished:
        record = NewRecord(
            type="note",
            id=self.id,
            facts={},
            payload=self.text,
            subject=None,
            idempotency=self.idempotency,
        )
        return Prepared(record, self.text, "noted")

    def recorded(self, prepared: Prepared) -> None:
        assert prepared.result == "noted"


@dataclass(frozen=True)
class Failing(Note):
    """Work that cannot be done."""

    def prepare(self) -> Prepared | Unfinished:
        raise ZeroDivisionError


class FullDisk:
    """A log whose disk is full for the next ``failures`` appends."""

    def __init__(self, log: Log, failures: int) -> None:
        self._log = log
        self._failures = failures
        self.broken: LogStateError | None = None

    def draft(self, records: Sequence[NewRecord]) -> list[Draft]:
        return self._log.draft(records)

    def append_drafts(
        self, drafts: Sequence[Draft], more: More, unless: str | None
    ) -> list[Receipt]:
        if self._failures:
            self._failures -= 1
            raise LogFullError("no room")
        return self._log.append_drafts(drafts, more, unless)

    def find_idempotent(self, request: Idempotency) -> object:
        return self._log.find_idempotent(request)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log.open(tmp_path / "log", origin="example.org/test", clock=utc_now, create=True)


def run(
    log: object, work: Sequence[Work], *, check: Callable[[Engine], None] = lambda _: None
) -> list[Outcome | BaseException]:
    """Submit all work at once, so that it is one group, and return what came of each."""

    async def submit() -> list[Outcome | BaseException]:
        engine = Engine(
            log,  # type: ignore[arg-type]  # a log, or a fake of the parts that are used
            queue_limit=100,
            group_limit=64,
            on_group=lambda _size, _seconds: None,
        )
        engine.start()
        futures = [engine.submit(each) for each in work]
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        check(engine)
        await engine.stop()
        return outcomes

    return asyncio.run(submit())


def test_work_that_fails_costs_only_its_own_answer(log: Log) -> None:
    good, bad, other = run(log, [Note(new_id()), Failing(new_id()), Note(new_id())])
    assert isinstance(good, Recorded)
    assert isinstance(bad, ZeroDivisionError)
    assert isinstance(other, Recorded)
    assert log.size == 3  # genesis and two notes


class Waited:
    """A log that other writers hold until more work was submitted here."""

    broken: str | None = None

    def __init__(self, log: Log, arrive: Callable[[], None]) -> None:
        self._log, self._arrive = log, arrive
        self.groups: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def append_drafts(
        self, drafts: Sequence[Draft], more: More, unless: str | None
    ) -> list[Receipt]:
        if not self.groups:
            self._arrive()
        receipts = self._log.append_drafts(drafts, more, unless)
        self.groups.append(len(receipts))
        return receipts


def test_what_comes_while_other_writers_are_waited_for_joins_the_group(log: Log) -> None:
    """Up to the first with a key, which has to be looked up."""
    key = Idempotency(scope="a", key="k", fingerprint=b"f")
    late = [Note(new_id()), Forbidden(new_id()), Note(new_id()), Note(new_id(), idempotency=key)]

    async def go() -> tuple[list[int], list[Outcome | BaseException]]:
        loop = asyncio.get_running_loop()
        outcomes: list[asyncio.Future[Outcome]] = []

        def arrive() -> None:
            arrived = threading.Event()
            loop.call_soon_threadsafe(lambda: outcomes.extend(map(engine.submit, late)))
            # Prepared in the turn of the event loop after that.
            loop.call_soon_threadsafe(lambda: loop.call_soon(lambda: loop.call_soon(arrived.set)))
            assert arrived.wait(10)

        waited = Waited(log, arrive)
        engine = Engine(
            waited,  # type: ignore[arg-type]  # a fake of the parts that are used
            queue_limit=10,
            group_limit=64,
            on_group=lambda *_: None,
        )
        engine.start()
        first = await engine.submit(Note(new_id()))
        others = await asyncio.gather(*outcomes, return_exceptions=True)
        await engine.stop()
        return waited.groups, [first, *others]

    groups, outcomes = asyncio.run(go())
    assert groups == [3, 1]
    assert [type(each) for each in outcomes] == [
        *(Recorded, Recorded, PermissionError, Recorded, Recorded)
    ]


@dataclass(frozen=True)
class Advice(Note):
    """Work that a stop forbids."""

    stops: Stops | None = None

    def prepare(self) -> Prepared:
        def check() -> None:
            assert self.stops is not None
            self.stops.check("tiny", manual_route=None)

        return Prepared(NewRecord("note", self.id, {}, self.text), self.text, "noted", check=check)


@pytest.mark.parametrize("group_limit", [64, 1])
def test_no_advice_comes_after_a_stop_in_the_log(log: Log, group_limit: int) -> None:
    """Though it was asked for in the same moment: in one group with the stop, or the next."""
    stops = Stops(log)
    owner = Caller("key-1", Role.MODEL_OWNER)
    record = stop_record(stops.state, model="tiny", reason="Odd.", actor=owner, at=STOPPED_AT)
    work: list[Work] = [
        Advice(new_id(), stops=stops),
        EntryWork(record),
        Advice(new_id(), stops=stops),
        Note(new_id()),
    ]

    async def go() -> list[Outcome | BaseException]:
        engine = Engine(
            log, queue_limit=9, group_limit=group_limit, on_group=lambda *_: None, stops=stops
        )
        engine.start()
        found = await asyncio.gather(*map(engine.submit, work), return_exceptions=True)
        await engine.stop()
        return found

    found = asyncio.run(go())
    assert [type(each) for each in found] == [Recorded, Recorded, AdviceStoppedError, Recorded]


class Faulty:
    """A log that fails in a way nobody foresaw, once, at one of two places."""

    broken: str | None = None

    def __init__(self, log: Log, method: str) -> None:
        self._log, self._method = log, method

    def __getattr__(self, name: str) -> Any:
        if name != self._method:
            return getattr(self._log, name)
        self._method = ""
        raise OSError("nobody foresaw this")


@pytest.mark.parametrize("method", ["draft", "append_drafts"])
def test_a_fault_nobody_foresaw_reaches_those_who_wait_and_the_next_go_on(
    log: Log, method: str
) -> None:
    async def go() -> list[Outcome | BaseException]:
        engine = Engine(
            Faulty(log, method),  # type: ignore[arg-type]  # a fake of the parts that are used
            queue_limit=2,
            group_limit=64,
            on_group=lambda _size, _seconds: None,
        )
        engine.start()
        first = await asyncio.gather(
            *(engine.submit(Note(new_id())) for _ in range(2)), return_exceptions=True
        )
        assert engine.waiting == 0
        after = await engine.submit(Note(new_id()))
        await engine.stop()
        return [*first, after]

    one, other, after = asyncio.run(go())
    assert isinstance(one, OSError)
    assert isinstance(other, OSError)
    assert isinstance(after, Recorded)


@pytest.mark.filterwarnings("ignore:Exception in thread engine")  # that it dies is the point
def test_should_the_thread_die_nobody_is_left_waiting(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_engine: Engine, _group: object) -> None:
        raise SystemExit  # what no handler of the engine's takes

    monkeypatch.setattr(Engine, "_append", die)
    outcomes = run(log, [Note(new_id()) for _ in range(70)])
    assert all(isinstance(each, EngineStoppedError) for each in outcomes)


def test_what_takes_long_is_prepared_a_little_at_a_time(log: Log) -> None:
    """So that the event loop sees to its sockets in between."""
    groups: list[int] = []

    def slowly(works: Sequence[Work]) -> list[Made]:
        groups.append(len(works))
        time.sleep(0.004 * len(works))
        return alone(works)

    async def go() -> None:
        engine = Engine(
            log, queue_limit=100, group_limit=64, on_group=lambda *_: None, prepare=slowly
        )
        engine.start()
        await asyncio.gather(*(engine.submit(Note(new_id())) for _ in range(40)))
        await engine.stop()

    asyncio.run(go())
    assert groups == [25, *[1] * 15]


@dataclass(frozen=True)
class Forbidden(Note):
    """Work that was allowed when it was prepared, and is not when it would be recorded."""

    def prepare(self) -> Prepared | Unfinished:
        prepared = super().prepare()
        assert isinstance(prepared, Prepared)

        def check() -> None:
            raise PermissionError

        return replace(prepared, check=check)


def test_what_is_forbidden_while_it_waits_is_not_recorded(log: Log) -> None:
    good, stopped = run(log, [Note(new_id()), Forbidden(new_id())])
    assert isinstance(good, Recorded)
    assert isinstance(stopped, PermissionError)
    assert log.size == 2


def test_a_record_that_the_log_refuses_costs_the_others_nothing(log: Log) -> None:
    taken = new_id()
    outcomes = run(log, [Note(taken), Note(new_id()), Note(taken), Note(new_id())])
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds.count(DuplicateIdError) == 1
    assert kinds.count(Recorded) == 3
    assert log.size == 4


def test_a_full_disk_fails_the_group_and_is_recovered_from(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: list[str | None] = []

    def look(engine: Engine) -> None:
        faults.append(engine.fault)
        # Time passes: without traffic, nobody would find out that there is room again.
        monkeypatch.setattr(engine_module, "RECOVERY_SECONDS", 0.0)
        faults.append(engine.fault)

    outcomes = run(FullDisk(log, failures=100), [Note(new_id())], check=look)
    assert isinstance(outcomes[0], LogFullError)
    assert faults[0] == "the last record could not be written (LogFullError)"
    assert faults[1] is None
    assert log.size == 1


class Hanging(FullDisk):
    """A log whose disk does not answer until it is let."""

    def __init__(self, log: Log) -> None:
        super().__init__(log, failures=0)
        self.asked, self.let = threading.Event(), threading.Event()

    def append_drafts(
        self, drafts: Sequence[Draft], more: More, unless: str | None
    ) -> list[Receipt]:
        self.asked.set()
        assert self.let.wait(60)
        return super().append_drafts(drafts, more, unless)


class Away(FullDisk):
    """A log that cannot be read already when an earlier answer is looked for."""

    def __init__(self, log: Log, error: Exception) -> None:
        super().__init__(log, failures=0)
        self._error = error

    def find_idempotent(self, request: Idempotency) -> object:  # noqa: ARG002
        raise self._error


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (LogUnavailableError("no answer in time"), "(LogUnavailableError)"),
        (LogStateError("there is no such database"), "(LogStateError)"),
        (DamagedLogError("this one key"), None),
    ],
)
def test_a_log_that_cannot_be_read_for_an_earlier_answer_is_a_fault(
    log: Log, error: Exception, fault: str | None
) -> None:
    faults: list[str | None] = []
    asked = Note(new_id(), idempotency=Idempotency(scope="a", key="k", fingerprint=b"f"))
    (outcome,) = run(Away(log, error), [asked], check=lambda engine: faults.append(engine.fault))
    assert outcome is error
    assert faults == [fault and f"the last record could not be written {fault}"]


def test_while_a_store_hangs_nothing_is_ready(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging: Any = Hanging(log)
    faults: list[str | None] = []

    async def go() -> None:
        engine = Engine(hanging, queue_limit=9, group_limit=9, on_group=lambda *_: None)
        engine.start()
        outcome = engine.submit(Note(new_id()))
        await asyncio.to_thread(hanging.asked.wait, 60)
        faults.append(engine.fault)
        monkeypatch.setattr(engine_module, "STALL_SECONDS", 0.0)
        faults.append(engine.fault)
        hanging.let.set()
        await outcome
        faults.append(engine.fault)
        await engine.stop()

    asyncio.run(go())
    assert faults == [None, "the log has not taken a record for some seconds", None]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (LogBrokenError("fsync failed"), "once the disk is sound"),
        (LogRolledBackError("the database has 1 entries, it had 2"), "the database was set back"),
    ],
)
def test_after_a_broken_log_nothing_is_ready(log: Log, broken: LogStateError, said: str) -> None:
    disk = FullDisk(log, failures=0)
    disk.broken = broken
    faults: list[str | None] = []
    run(disk, [], check=lambda engine: faults.append(engine.fault))
    assert faults[0] is not None
    assert said in faults[0]


def test_a_stopped_engine_takes_nothing_and_a_full_queue_says_so(log: Log) -> None:
    async def go() -> None:
        engine = Engine(log, queue_limit=0, group_limit=1, on_group=lambda _size, _seconds: None)
        with pytest.raises(EngineStoppedError):
            engine.submit(Note(new_id()))
        engine.start()
        with pytest.raises(OverloadedError):
            engine.submit(Note(new_id()))
        await engine.stop()

    asyncio.run(go())


def test_the_same_key_twice_in_one_group_makes_one_record(log: Log) -> None:
    key = Idempotency(scope="a", key="k", fingerprint=b"f")
    first = Note(new_id(), idempotency=key)
    outcomes = run(log, [first, Note(new_id(), idempotency=key), Note(new_id(), idempotency=key)])
    assert isinstance(outcomes[0], Recorded)
    assert [getattr(outcome, "id", None) for outcome in outcomes[1:]] == [first.id, first.id]
    assert log.size == 2
