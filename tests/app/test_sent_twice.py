"""A form that is sent twice, by a double click or by going back, is recorded once; one too late, not."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from app.api.parts import Parts
from app.api.recording import recorded
from app.domain import Caller, Role
from app.reveal import open_case
from app.service import Application
from tests.app import tiny
from tests.app.governed import Governed, governed
from tests.app.test_case_pages import DECISION, Visitor, new_case, words

OTHER = {"reason_code": "other", "reason_text": "Read it again."}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Governed]:
    with governed(tmp_path_factory.mktemp("twice")) as started:
        yield started


def steps(service: Governed, decision: str) -> list[str]:
    case = open_case(service.started.parts.log, decision, reader=Caller("a test", Role.ADMIN))
    return [event.type for event in case.events]


def at_once(send: Callable[[], httpx.Response]) -> list[httpx.Response]:
    with ThreadPoolExecutor(2) as pool:
        return [each.result() for each in [pool.submit(send) for _ in range(2)]]


def test_a_stop_sent_twice_is_one_stop(service: Governed) -> None:
    stops = service.started.parts.stops
    ann, bob = (Visitor(service.started, name, Role.MODEL_OWNER) for name in ("ann", "bob"))
    path = f"/models/{tiny.NAME}/stop"
    for answer in at_once(lambda: ann.post(path, reason="Odd figures.")):
        assert answer.status_code == 303
    assert ann.post(path, reason="Odd figures.").status_code == 303
    assert len(stops.state.stops) == 1
    # The near misses: for another reason, by somebody else, of all models.
    ann.post(path, reason="Odd figures again.")
    bob.post(path, reason="Odd figures.")
    owner = service.person("ann", Role.MODEL_OWNER)
    body = {"model": None, "reason": "Odd figures."}
    told = [service.post("/v1/stop", body, owner) for _ in range(2)]
    assert [answer.status_code for answer in told] == [201, 201]
    assert told[0].json() == told[1].json()
    assert len(stops.state.stops) == 4
    service.started.resume_all()
    ann.post(path, reason="Odd figures.")
    assert len(stops.state.stops) == 1, "one that was lifted can be made again"
    service.started.resume_all()


def test_a_letter_recorded_twice_is_one_letter(service: Governed) -> None:
    decision = new_case(service)
    ann, bob = Visitor(service.started, "ann"), Visitor(service.started, "bob")
    path = f"/decisions/{decision}/letter"
    labels = [field.label for field in service.started.parts.model(tiny.NAME).bundle.card.fields]
    said = {"outcome": "yes", "language": "en", "action": "record"}
    text = f"We looked at {', '.join(labels)}."
    for answer in at_once(lambda: ann.post(path, **said, text=text)):
        assert answer.status_code == 303
    assert ann.post(f"/decisions/{decision}/take").status_code == 303
    assert ann.post(path, **said, text=text).status_code == 303
    assert steps(service, decision) == ["notice", "taken"]
    assert ann.post(path, **said, text=f"{text} And more.").status_code == 303
    assert bob.post(path, **said, text=text).status_code == 303
    assert steps(service, decision).count("notice") == 3


def test_what_the_person_says_is_recorded_once(service: Governed) -> None:
    decision = new_case(service)
    ann, rev = Visitor(service.started, "ann"), Visitor(service.started, "rev", Role.REVIEWER)
    path = f"/decisions/{decision}"
    ann.post(f"{path}/decision", **DECISION)
    for answer in at_once(
        lambda: ann.post(f"{path}/contest", text="It is not so.", on_behalf_of="person")
    ):
        assert answer.status_code == 303
    assert (
        ann.post(f"{path}/contest", text="It is not so.", on_behalf_of="person").status_code == 303
    )
    assert steps(service, decision)[1:] == ["contest"]
    for answer in at_once(lambda: ann.post(f"{path}/contest", text="And here is why.")):
        assert answer.status_code == 303
    assert steps(service, decision)[1:] == ["contest", "representation"]
    ann.post(f"{path}/contest", text="And more.")
    ann.post(f"{path}/contest", text="And here is why.")
    assert steps(service, decision)[2:] == ["representation"] * 3, "said again after something else"
    reviewed = {**DECISION, "outcome": "no"}
    for answer in at_once(lambda: rev.post(f"{path}/review", **reviewed)):
        assert answer.status_code == 303
    assert rev.post(f"{path}/review", **reviewed).status_code == 303
    assert steps(service, decision).count("review") == 1
    assert rev.post(f"{path}/review", **{**reviewed, **OTHER}).status_code == 409
    # The same words against the review are a contest of their own.
    assert (
        ann.post(f"{path}/contest", text="It is not so.", on_behalf_of="person").status_code == 303
    )
    assert steps(service, decision)[-1] == "contest"


def test_a_correction_sent_twice_leads_to_the_case_that_it_made(service: Governed) -> None:
    decision = new_case(service)
    ann = Visitor(service.started, "ann")
    path = f"/decisions/{decision}/correct?field=count"
    said = {"value": "6", "source": "verified", "reason": "The bill."}
    first, second = at_once(lambda: ann.post(path, **said))
    assert (first.status_code, second.status_code) == (303, 303)
    assert first.headers["location"] == second.headers["location"]
    third = ann.post(path, **said)
    assert third.headers["location"] == first.headers["location"]
    assert ann.post(path, **{**said, "reason": "Another bill."}).status_code == 409
    assert ann.post(path, **{**said, "value": "7"}).status_code == 409
    assert ann.post(path, **{**said, "value": "much"}).status_code == 409
    assert steps(service, decision) == ["corrected"]


def test_a_correction_is_made_though_its_repetition_has_recorded_the_case_first(
    service: Governed, monkeypatch: pytest.MonkeyPatch
) -> None:
    decision = new_case(service)
    ann = Visitor(service.started, "ann")

    async def overtaken(parts: Parts, application: Application) -> object:
        await recorded(parts, application)
        return await recorded(parts, application)

    monkeypatch.setattr("app.api.corrections.recorded", overtaken)
    path = f"/decisions/{decision}/correct?field=count"
    made = ann.post(path, value="6", source="verified", reason="The bill.")
    assert made.status_code == 303
    new = made.headers["location"].rsplit("/", 1)[1]
    assert (steps(service, decision), steps(service, new)) == (["corrected"], ["corrects"])


def test_a_form_with_a_mistake_for_a_decided_case_hears_that_it_is_decided(
    service: Governed,
) -> None:
    decision = new_case(service)
    ann, bob = Visitor(service.started, "ann"), Visitor(service.started, "bob")
    path = f"/decisions/{decision}"
    assert bob.post(f"{path}/decision", outcome="yes").status_code == 422, "the near miss"
    ann.post(f"{path}/decision", **DECISION)
    for form in ("decision", "own-assessment"):
        late = bob.post(f"{path}/{form}", outcome="yes")
        assert late.status_code == 409
        assert "This case has been decided in the meantime" in words(late)
        assert "Choose" not in words(late).partition("Case ")[0]
    assert len(steps(service, decision)) == 1


def test_a_form_with_a_mistake_for_a_corrected_case_hears_that_it_is_corrected(
    service: Governed,
) -> None:
    decision = new_case(service)
    ann = Visitor(service.started, "ann")
    path = f"/decisions/{decision}"
    ann.post(f"{path}/correct?field=count", value="6", source="verified", reason="The bill.")
    late = ann.post(f"{path}/decision", outcome="yes")
    assert late.status_code == 409
    assert "This case was corrected in the meantime" in words(late)


def test_an_outcome_that_is_on_no_page_is_refused_in_words(service: Governed) -> None:
    decision = new_case(service)
    ann = Visitor(service.started, "ann")
    for outcome in ("perhaps", "x" * 100):
        answer = ann.post(f"/decisions/{decision}/decision", **{**DECISION, "outcome": outcome})
        assert answer.status_code == 422, answer.text[:300]
    assert steps(service, decision) == []
