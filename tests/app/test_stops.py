"""A stop holds from its answer on, everywhere, across restarts, until two people let it go."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain import Caller, Kind, Role
from app.keeping_errors import OwnStateError
from app.refusals import AdviceStoppedError, AnotherPersonError, NotStoppedError
from app.settings import Settings
from app.stops import Stop, Stops, StopState, _after, resume_record, stop_record
from audit.reader import LogReader
from tests.app import tiny
from tests.app.governed import REASON, Governed, governed
from tests.problems import assert_problem
from tests.started import start

ROUTE = "Ring the duty officer."


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Governed]:
    with governed(tmp_path_factory.mktemp("stops"), manual_route=ROUTE) as made:
        yield made


@pytest.fixture(autouse=True)
def _nothing_stays_stopped(service: Governed) -> Iterator[None]:
    yield
    for number in list(service.started.parts.stops.state.stops):
        for name in ("cleaner-1", "cleaner-2"):
            resume(service, number, name)
    assert service.ask().status_code == 201


def stop(service: Governed, model: str | None = None, name: str = "owner") -> int:
    answer = service.post(
        "/v1/stop", {"model": model, "reason": "A test."}, service.person(name, Role.MODEL_OWNER)
    )
    assert answer.status_code == 201, answer.text
    number: int = answer.json()["stops"][-1]["number"]
    return number


def resume(service: Governed, number: int, name: str) -> int:
    headers = service.person(name, Role.MODEL_OWNER)
    return service.post(f"/v1/stops/{number}/resume", {"reason": "Mended."}, headers).status_code


@pytest.mark.parametrize("model", [None, tiny.NAME])
def test_nothing_is_advised_from_the_stops_answer_on(service: Governed, model: str | None) -> None:
    decision = service.ask().json()["id"]
    before = service.started.recommendations()
    stop(service, model)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: service.ask(), range(40)))
    for answer in answers:
        problem = assert_problem(answer, slug="advice-stopped", status=503)
        assert problem["detail"] == f"advice stopped: decide unaided. {ROUTE}"
    assert service.started.recommendations() == before
    # What was advised before can be read and decided.
    assert service.get(f"/v1/decisions/{decision}", service.machine).status_code == 200
    assert service.decide(decision, "ann").status_code == 201


def test_work_that_waited_while_it_was_stopped_is_stopped_too(service: Governed) -> None:
    """The check on the engine's thread, without the one at the door."""
    parts = service.started.parts
    stop(service)
    with pytest.raises(AdviceStoppedError):
        parts.stops.check(tiny.NAME, manual_route=None)

    class Open:
        """The door's look at the stops, as it was a moment earlier."""

        def check(self, model: str, *, manual_route: str | None) -> None: ...

    with service.started.replaced(stops=Open()):
        answer = service.ask()
    assert_problem(answer, slug="advice-stopped", status=503)


def test_another_models_stop_is_not_this_ones(service: Governed) -> None:
    """The near miss; and a model that is not served cannot be stopped by mistake."""
    parts = service.started.parts
    answer = service.post(
        "/v1/stop", {"model": "tinny", "reason": "x"}, service.person("owner", Role.MODEL_OWNER)
    )
    assert_problem(answer, slug="unknown-model", status=404)
    stops = Stops(parts.log)
    other = Stop(1, "another", "", "", "")
    stops._numbered._state = StopState(count=10**6, stops={1: other})
    stops.check(tiny.NAME, manual_route=None)


def test_two_people_are_needed_to_resume(service: Governed) -> None:
    number = stop(service)
    assert resume(service, number, "owner") == 200
    assert service.ask().status_code == 503
    again = resume(service, number, "owner")
    assert again == 409
    assert service.ask().status_code == 503
    machine = service.post(f"/v1/stops/{number}/resume", {"reason": "x"}, service.machine)
    assert_problem(machine, slug="forbidden", status=403)
    assert resume(service, number, "second") == 200
    assert service.ask().status_code == 201
    gone = service.post(
        f"/v1/stops/{number}/resume", {"reason": "x"}, service.person("second", Role.MODEL_OWNER)
    )
    assert_problem(gone, slug="not-stopped", status=409)


def test_two_stops_both_have_to_be_resumed(service: Governed) -> None:
    first, second = stop(service), stop(service, tiny.NAME)
    for number in (first, second):
        assert service.ask().status_code == 503
        assert resume(service, number, "one") == 200
        assert resume(service, number, "two") == 200
    assert service.ask().status_code == 201


def test_another_process_sees_it_at_its_next_look(service: Governed) -> None:
    settings_ = service.started.settings
    with closing(
        LogReader.open_readonly(settings_.data_dir / "log", origin=settings_.log_origin)
    ) as reader:
        elsewhere = Stops(reader)
        number = stop(service)
        elsewhere.check(tiny.NAME, manual_route=None)  # it has not looked yet
        elsewhere.refresh()
        with pytest.raises(AdviceStoppedError):
            elsewhere.check(tiny.NAME, manual_route=None)
        for name in ("a", "b"):
            resume(service, number, name)
        elsewhere.refresh()
        elsewhere.check(tiny.NAME, manual_route=None)


def test_a_stop_survives_a_restart(tmp_path: Path) -> None:
    with governed(tmp_path) as first:
        stop(first)
    again = Settings(models_dir=tmp_path / "models", data_dir=tmp_path / "data")
    with start(again) as second:
        assert second.ask(tiny.NAME, tiny.CASE).status_code == 503


def test_many_at_once_each_get_a_number_of_their_own(service: Governed) -> None:
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda n: stop(service, None, f"owner-{n}"), range(4)))
    assert len(set(service.started.parts.stops.state.stops)) == 4
    assert len(numbers) == 4


PEOPLE = tuple(Caller("k", Role.ADMIN, Kind.HUMAN, name) for name in ("a", "b", "c"))


@settings(max_examples=200)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["stop", "resume"]), st.integers(1, 8), st.sampled_from(PEOPLE)),
        max_size=30,
    )
)
def test_a_stop_ends_only_after_two_different_people(
    steps: list[tuple[str, int, Caller]],
) -> None:
    """Against the plain reading: who asked for which stop, in what order."""
    state = StopState()
    asked: dict[int, str | None] = {}
    for step, number, who in steps:
        if step == "stop":
            record = stop_record(state, model=None, reason="r", actor=who, at="t")
            asked[state.count + 1] = None
        else:
            try:
                record = resume_record(state, number, reason="r", actor=who, at="t")
            except NotStoppedError:
                assert number not in asked
                continue
            except AnotherPersonError:
                assert asked[number] == who.name
                continue
            if asked[number] is None:
                asked[number] = who.name
            else:
                assert asked.pop(number) != who.name
        assert record.payload is not None
        state = _after(state, record.type, orjson.loads(record.payload))
        assert set(state.stops) == set(asked)


def test_reasons_and_people_are_not_in_the_leaf(service: Governed) -> None:
    stop(service, None, "secret-name")
    log = service.started.parts.log
    leaf = log.read(f"control.{service.started.parts.stops.state.count}").leaf
    assert b"secret-name" not in leaf
    assert b"A test." not in leaf
    assert REASON["text"].encode() not in leaf


@pytest.mark.parametrize("model", [None, tiny.NAME])
def test_the_gauge_says_what_is_stopped(service: Governed, model: str | None) -> None:
    def gauge() -> float | None:
        return service.started.parts.metrics.registry.get_sample_value(
            "grounds_model_stopped", {"model": tiny.NAME}
        )

    assert gauge() == 0
    number = stop(service, model)
    assert gauge() == 1
    resume(service, number, "one")
    assert gauge() == 1
    resume(service, number, "two")
    assert gauge() == 0


def test_no_entry_that_tells_what_is_stopped_or_in_use_is_erased(service: Governed) -> None:
    stop(service)
    parts = service.started.parts
    for record in (f"control.{parts.stops.state.count}", "registry.1"):
        with pytest.raises(OwnStateError, match="stays in the log"):
            parts.custody.erase(
                parts.log, basis="b", actor="a", new_id=parts.new_id, record_ids=[record]
            )
