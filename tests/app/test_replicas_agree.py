"""What one service does between another's look at the log and its record, on one PostgreSQL."""

import asyncio
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app.api.witness import create_witness_app
from app.domain import Caller, Role
from app.engine import Engine
from app.errors import IdempotencyConflictError
from app.ids import utc_now
from app.metrics import Metrics
from app.refusals import AdviceStoppedError
from app.stops import Stops, stop_record
from app.witnesses import Witnesses, load_policy_file
from app.work import Earlier, Outcome, Prepared, Recorded
from audit.appender import More
from audit.errors import UnknownRecordError
from audit.group import Draft
from audit.log import Log
from audit.postgres import PostgresStore
from audit.records import Idempotency, NewRecord, Receipt
from audit.witness import Witness, add_log
from tests.postgres import Server, server_or_skip

ORIGIN = "example.org/replicas"
OWNER = Caller("key-1", Role.MODEL_OWNER)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with server_or_skip() as server:
        yield server


@pytest.fixture
def logs(server: Server, tmp_path: Path) -> Iterator[tuple[Log, Log]]:
    """The log as two services have it open, with keys and checkpoint copied."""
    with server.database() as database:
        store = PostgresStore(database.url)
        one, two = tmp_path / "one", tmp_path / "two"
        first = Log.open(one, origin=ORIGIN, clock=utc_now, create=True, store=store)
        shutil.copytree(one, two)
        second = Log.open(two, origin=ORIGIN, clock=utc_now, store=store)
        yield first, second
        first.close()
        second.close()


@dataclass(frozen=True)
class Advice:
    """Work that a stop forbids."""

    id: str
    stops: Stops
    model: str = "tiny"
    idempotency: Idempotency | None = None

    def prepare(self) -> Prepared:
        def check() -> None:
            self.stops.check(self.model, manual_route=None)

        record = NewRecord("advice", self.id, {}, b"{}", None, self.idempotency)
        return Prepared(record, b"{}", "yes", check=check)

    def recorded(self, prepared: Prepared) -> None:
        assert prepared.answer


class Overtaken:
    """A service's log, into which another one writes once, right before it appends."""

    broken: str | None = None

    def __init__(self, log: Log, other: Callable[[], object]) -> None:
        self._log, self._other = log, [other]
        self.draft, self.find_idempotent = log.draft, log.find_idempotent

    def append_drafts(
        self, drafts: Sequence[Draft], more: More, unless: str | None
    ) -> list[Receipt]:
        while self._other:
            self._other.pop()()
        return self._log.append_drafts(drafts, more, unless)


def outcomes(
    log: Log, stops: Stops, work: Sequence[Advice], *, other: Callable[[], object]
) -> list[Outcome | BaseException]:
    """Return what comes of a group that was checked before ``other`` and is appended after it."""

    async def submit() -> list[Outcome | BaseException]:
        engine = Engine(
            Overtaken(log, other),  # type: ignore[arg-type]  # the parts that are used
            queue_limit=9,
            group_limit=9,
            on_group=lambda *_: None,
            stops=stops,
        )
        engine.start()
        found = await asyncio.gather(*map(engine.submit, work), return_exceptions=True)
        await engine.stop()
        return found

    return asyncio.run(submit())


def test_no_advice_comes_after_a_stop_that_another_service_recorded(
    logs: tuple[Log, Log],
) -> None:
    """However long this service was held up after it had looked: a paused machine advised later."""
    first, second = logs
    stops = Stops(second)

    def stop() -> None:
        record = stop_record(
            Stops(first).state, model="tiny", reason="Odd.", actor=OWNER, at="2026-11-27T12:00:00Z"
        )
        first.append([record])

    work = [Advice("stopped", stops), Advice("other", stops, model="other")]
    stopped, other = outcomes(second, stops, work, other=stop)
    assert isinstance(stopped, AdviceStoppedError)
    assert isinstance(other, Recorded)
    with pytest.raises(UnknownRecordError):
        first.receipt("stopped")


def test_a_request_that_another_service_records_meanwhile_has_its_answer(
    logs: tuple[Log, Log],
) -> None:
    first, second = logs
    stops = Stops(second)

    def key(name: str, fingerprint: bytes = b"f") -> Idempotency:
        return Idempotency("caller", name, fingerprint)

    def elsewhere() -> None:
        for name in ("same", "twin", "body"):
            first.append([NewRecord("advice", f"first-{name}", {}, b"{}", None, key(name))])

    work = [
        Advice("a", stops, idempotency=key("same")),
        Advice("b", stops, idempotency=key("own")),
        Advice("c", stops, idempotency=key("body", b"another")),
        Advice("d", stops, idempotency=key("twin")),
        Advice("e", stops),
    ]
    same, own, body, twin, bare = outcomes(second, stops, work, other=elsewhere)
    assert (same, twin) == (Earlier("first-same"), Earlier("first-twin"))
    assert isinstance(body, IdempotencyConflictError)
    assert isinstance(own, Recorded)
    assert isinstance(bare, Recorded)
    assert second.size == 1 + 3 + 2


def test_a_witness_that_another_service_has_asked_meanwhile_is_not_in_conflict(
    logs: tuple[Log, Log], tmp_path: Path
) -> None:
    """The one that was asked for an older checkpoint said that the database was set back."""
    first, second = logs
    witness = Witness.open(tmp_path / "witness", clock=utc_now, name="w.example")
    add_log(tmp_path / "witness", first.verifier_key)
    policy = tmp_path / "policy"
    policy.write_text(
        f"log {first.verifier_key}\nwitness w {witness.vkey} http://w.example\nquorum w\n"
    )

    async def ask() -> list[str]:
        transport = httpx.ASGITransport(create_witness_app(witness))
        async with httpx.AsyncClient(transport=transport) as client:
            trusted = load_policy_file(policy, origin=ORIGIN)
            one, two = (Witnesses(log, trusted, metrics=Metrics([]), client=client) for log in logs)
            older = first.checkpoint()
            first.append([NewRecord("event", f"e{number}", {}) for number in range(5)])
            await one.collect(first.checkpoint())
            assert second.size == 1, "it has not looked"
            await two.collect(older)
            return two.alarms

    try:
        alarms = asyncio.run(ask())
    finally:
        witness.close()
    assert not any("set back" in alarm for alarm in alarms)
