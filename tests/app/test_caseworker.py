"""The advice is kept back until it may be seen, people decide, and a decision is final once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain import Role
from audit.verify import verify
from tests.app import tiny
from tests.app.governed import REASON, Governed, governed
from tests.problems import assert_problem

ADVICE_WORDS = (b"raised the estimate", b"lowered the estimate", b'"outcome"', b'"score"',
                b"contribution", b"Yes ", b"similar_cases")  # fmt: skip
LOW = {"amount": 1.0, "count": 1, "answer": "no"}


@pytest.fixture(scope="module")
def concurrent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Governed]:
    with governed(tmp_path_factory.mktemp("concurrent")) as service:
        yield service


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Governed]:
    directory = tmp_path_factory.mktemp("after")
    with governed(directory, reveal="after_own_assessment") as service:
        yield service


def assert_no_advice(content: bytes) -> None:
    for word in ADVICE_WORDS:
        assert word not in content, word


def test_no_byte_of_the_advice_is_shown_before_the_own_assessment(after: Governed) -> None:
    key = {"Idempotency-Key": "kept-back"}
    path = f"/v1/models/{tiny.NAME}/decisions"
    first = after.post(path, {"case": tiny.CASE}, {**after.machine, **key})
    assert first.status_code == 201
    assert first.json()["advice"]["status"] == "withheld"
    again = after.post(path, {"case": tiny.CASE}, {**after.machine, **key})
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json()
    decision = first.json()["id"]
    seen = [first.content, again.content]
    readers = [after.machine, *(after.person("reader", role) for role in Role if role not in
               {Role.CALLER, Role.MODEL_OWNER, Role.EQUALITY})]  # fmt: skip
    for reader in readers:
        response = after.get(f"/v1/decisions/{decision}", reader)
        assert_problem(response, slug="advice-withheld", status=409)
        seen.append(response.content)
        history = after.get(f"/v1/decisions/{decision}/history", reader)
        assert history.json()["steps"] == []
        seen.append(history.content.replace(b'"outcome":null', b""))
    # tests/app/test_case_pages.py does the same for the pages.
    for route in (f"/v1/decisions/{decision}/evidence",):
        response = after.get(route, after.person("reader"))
        assert response.status_code == 409
        seen.append(response.content)
    seen.append(after.get("/metrics", {}).content.replace(b'"score"', b""))
    assert b'outcome="yes"' not in seen[-1]
    for content in seen[:-1]:
        assert_no_advice(content)

    refused = after.decide(decision, "ann")
    assert_problem(refused, slug="step-missing", status=409)
    assert_no_advice(refused.content)
    assessed = after.assess(decision, "ann", outcome="no")
    assert assessed.status_code == 201
    assert_no_advice(assessed.content.replace(b'"outcome":"no"', b""))
    # Ann sees it now, and so does the system that shows it to her; nobody else yet.
    shown = after.get(f"/v1/decisions/{decision}", after.person("ann"))
    assert shown.json()["recommendation"]["outcome"] == "yes"
    assert after.get(f"/v1/decisions/{decision}", after.machine).content == shown.content
    assert_problem(
        after.get(f"/v1/decisions/{decision}", after.person("bob")),
        slug="advice-withheld", status=409,
    )  # fmt: skip
    assert b"raised the estimate" in shown.content  # so the search above does find advice


def test_a_concurrent_policy_shows_the_advice_at_once(concurrent: Governed) -> None:
    """The near miss."""
    answer = concurrent.ask()
    assert answer.json()["advice"] == {"status": "given", "reason": None}
    assert b"raised the estimate" in answer.content


def test_on_request_shows_it_to_who_asked_and_lets_others_decide_without(tmp_path: Path) -> None:
    with governed(tmp_path, reveal="on_request") as service:
        decision = service.ask().json()["id"]
        path = f"/v1/decisions/{decision}"
        assert service.get(path, service.person("ann")).status_code == 409
        assert service.step(decision, "advice-request", service.person("ann")).status_code == 201
        assert service.get(path, service.person("ann")).status_code == 200
        assert service.get(path, service.person("bob")).status_code == 409
        decided = service.decide(decision, "bob", "no")
        assert decided.json()["content"]["final"] is True
        assert service.get(path, service.person("bob")).status_code == 200
        history = service.get(f"{path}/history", service.person("bob")).json()
        assert [step["type"] for step in history["steps"]] == [
            "advice_requested",
            "caseworker_decision",
        ]


@pytest.mark.parametrize(("outcome", "agrees"), [("yes", True), ("no", False)])
def test_departing_needs_exactly_what_accepting_needs(
    concurrent: Governed, outcome: str, agrees: bool
) -> None:
    decision = concurrent.ask().json()["id"]
    body = {"outcome": outcome, "reason": REASON}
    for missing in body:
        lacking = {name: value for name, value in body.items() if name != missing}
        refused = concurrent.step(
            decision, "caseworker-decision", concurrent.person("ann"), **lacking
        )
        assert_problem(refused, slug="invalid-request", status=422)
    decided = concurrent.decide(decision, "ann", outcome)
    assert decided.status_code == 201
    assert decided.json()["content"]["agrees"] is agrees
    assert decided.json()["content"]["final"] is True
    again = concurrent.decide(decision, "bob", outcome)
    assert_problem(again, slug="already-decided", status=409)


def test_a_decision_sent_again_is_recorded_once_and_another_is_refused(
    concurrent: Governed,
) -> None:
    """Whoever had no answer sends it again, as every client does when the network fails."""
    decision = concurrent.ask().json()["id"]
    decided = concurrent.decide(decision, "ann", "yes")
    again = concurrent.decide(decision, "ann", "yes")
    assert (again.status_code, again.json()) == (201, decided.json())
    history = concurrent.get(f"/v1/decisions/{decision}/history", concurrent.person("ann")).json()
    assert len(history["steps"]) == 1
    assert_problem(concurrent.decide(decision, "ann", "no"), slug="already-decided", status=409)
    contested = concurrent.step(
        decision, "contest", concurrent.person("ann"), text="It is wrong.", on_behalf_of="person"
    )
    assert contested.status_code == 201
    assert_problem(concurrent.decide(decision, "ann", "yes"), slug="already-decided", status=409)


def test_a_machine_never_decides_unless_the_policy_lets_it(concurrent: Governed) -> None:
    decision = concurrent.ask().json()["id"]
    body = {"outcome": "yes", "reason": REASON}
    refused = concurrent.step(decision, "caseworker-decision", concurrent.machine, **body)
    assert_problem(refused, slug="human-needed", status=403)


def test_a_machine_let_decide_ends_favourable_cases_only(tmp_path: Path) -> None:
    rules = [
        {"rule": "unsure", "when": "near_threshold", "requires": "person", "description": "Close."}
    ]
    with governed(tmp_path, final_decision="machine_where_favourable", rules=rules) as service:
        good, bad = service.ask().json()["id"], service.ask(LOW).json()["id"]

        def decide(decision: str, outcome: str) -> int:
            body = {"outcome": outcome, "reason": REASON}
            return service.step(
                decision, "caseworker-decision", service.machine, **body
            ).status_code

        assert decide(good, "no") == 403  # adverse, and not as advised
        assert decide(good, "yes") == 201
        assert decide(bad, "no") == 403  # adverse
        assert decide(bad, "yes") == 403  # not as advised
        assert service.decide(bad, "ann", "no").status_code == 201


def test_evidence_is_asked_for_alike_whatever_the_outcome(tmp_path: Path) -> None:
    rules = [
        {
            "rule": "guessed",
            "when": "size(estimated) > 0",
            "requires": "evidence",
            "description": "A figure was estimated.",
        }
    ]
    with governed(tmp_path, rules=rules) as service:
        guess = {"amount": {"source": "estimated"}}
        for outcome in ("yes", "no"):
            answer = service.ask(provenance=guess).json()
            assert answer["requirements"][0]["requires"] == "evidence"
            assert answer["provenance"][0] == {
                "field": "amount", "source": "estimated", "date": None, "stale": False,
            }  # fmt: skip
            refused = service.decide(answer["id"], "ann", outcome)
            assert_problem(refused, slug="evidence-needed", status=409)
            taken = service.decide(answer["id"], "ann", outcome, evidence="Saw the bank statement.")
            assert taken.status_code == 201
        plain = service.ask().json()
        assert plain["requirements"] == []
        assert service.decide(plain["id"], "ann").status_code == 201


def test_where_two_must_agree_one_is_not_enough(tmp_path: Path) -> None:
    rules = [
        {"rule": "two", "when": "true", "requires": "second_person", "description": "Two decide."}
    ]
    with governed(tmp_path, rules=rules) as service:
        decision = service.ask().json()["id"]
        assert service.decide(decision, "ann", "yes").json()["content"]["final"] is False
        assert_problem(
            service.decide(decision, "ann", "yes"), slug="another-person-needed", status=409
        )
        # The same person with another key is the same person.
        as_admin = service.step(
            decision, "caseworker-decision", service.person("ann", Role.ADMIN),
            outcome="yes", reason=REASON,
        )  # fmt: skip
        assert_problem(as_admin, slug="another-person-needed", status=409)
        assert service.decide(decision, "bob", "no").json()["content"]["final"] is False
        path = f"/v1/decisions/{decision}/history"
        status = service.get(path, service.person("ann")).json()["status"]
        assert status == "waiting_for_second_person"
        assert service.decide(decision, "bob", "yes").json()["content"]["final"] is True
        assert service.get(path, service.person("ann")).json()["outcome"] == "yes"


def test_a_contest_is_reviewed_by_somebody_else_and_the_clock_runs(concurrent: Governed) -> None:
    decision = concurrent.ask(LOW).json()["id"]
    early = concurrent.step(decision, "contest", concurrent.machine, text="No!")
    assert_problem(early, slug="step-missing", status=409)
    concurrent.decide(decision, "ann", "no")
    contest = concurrent.step(decision, "contest", concurrent.machine, text="The sum is wrong.")
    assert contest.status_code == 201
    due = contest.json()["content"]["due"]
    waiting = concurrent.get("/v1/contests", concurrent.person("rev", Role.REVIEWER)).json()
    mine = [each for each in waiting["contests"] if each["decision"] == decision]
    assert [(each["due"], each["overdue"]) for each in mine] == [(due, False)]
    added = concurrent.step(decision, "representation", concurrent.machine, text="See the letter.")
    assert added.status_code == 201

    def review(name: str) -> int:
        return concurrent.step(
            decision, "review", concurrent.person(name, Role.REVIEWER),
            outcome="yes", reason=REASON,
        ).status_code  # fmt: skip

    assert review("ann") == 409  # she decided
    assert review("rev") == 201
    history = concurrent.get(f"/v1/decisions/{decision}/history", concurrent.machine).json()
    assert (history["status"], history["outcome"]) == ("reviewed", "yes")
    # A further contest: the reviewer took part by now.
    concurrent.step(decision, "contest", concurrent.machine, text="Still wrong.")
    assert review("rev") == 409
    assert review("rev-2") == 201


def test_only_one_of_many_at_once_is_final(concurrent: Governed) -> None:
    decision = concurrent.ask().json()["id"]
    people = [concurrent.person(f"p{n}") for n in range(8)]

    def decide(headers: dict[str, str]) -> int:
        body = {"outcome": "yes", "reason": REASON}
        return concurrent.step(decision, "caseworker-decision", headers, **body).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(decide, people))
    assert sorted(statuses) == [201] + [409] * 7


@settings(max_examples=25)
@given(outcome=st.text(min_size=1, max_size=64).filter(lambda text: text not in {"yes", "no"}))
def test_an_outcome_that_the_policy_does_not_know_is_refused(
    concurrent: Governed, outcome: str
) -> None:
    decision = getattr(concurrent, "_one", None) or concurrent.ask().json()["id"]
    concurrent._one = decision  # type: ignore[attr-defined]  # one decision is enough for all
    refused = concurrent.decide(decision, "ann", outcome)
    assert_problem(refused, slug="invalid-request", status=422)


def test_every_step_is_bound_to_the_recommendation_and_the_log_stays_sound(
    concurrent: Governed,
) -> None:
    answer = concurrent.ask().json()
    concurrent.decide(answer["id"], "ann")
    log = concurrent.started.parts.log
    facts = log.read(f"{answer['id']}.1").facts
    assert facts["of"] == answer["receipt"]["index"]
    assert facts["leaf"] == answer["receipt"]["leaf_hash"]
    assert "yes" not in str(facts)
    assert "ann" not in str(facts)
    log.checkpoint()
    assert verify(concurrent.started.settings.data_dir / "log").sound


def test_erasing_a_decision_erases_what_happened_to_it(concurrent: Governed) -> None:
    decision = concurrent.ask().json()["id"]
    concurrent.decide(decision, "ann")
    erased = concurrent.post(
        f"/v1/decisions/{decision}/erasure", {"basis": "a test"},
        concurrent.started.key(Role.ADMIN),
    )  # fmt: skip
    assert erased.status_code == 200, erased.text
    assert concurrent.started.parts.log.read(f"{decision}.1").erased


def test_following_and_overriding_are_counted(concurrent: Governed) -> None:
    def count(agreement: str) -> float:
        found = concurrent.started.parts.metrics.registry.get_sample_value(
            "grounds_caseworker_decisions_total",
            {"model": tiny.NAME, "arm": "live", "agreement": agreement},
        )
        assert found is not None
        return found

    before = count("followed"), count("overrode")
    decision = ""
    for outcome in ("yes", "no", "no"):
        decision = concurrent.ask().json()["id"]
        assert concurrent.decide(decision, "counted", outcome).status_code == 201
    # Not counted: what is recorded already, and what is refused since it is final.
    assert concurrent.decide(decision, "counted", "no").status_code == 201
    assert concurrent.decide(decision, "another", "no").status_code == 409
    assert (count("followed"), count("overrode")) == (before[0] + 1, before[1] + 2)


def test_the_page_of_a_case_without_advice_says_so_and_how_to_decide(tmp_path: Path) -> None:
    rule = {
        "rule": "never", "when": "true", "requires": "no_advice", "description": "Not for this.",
    }  # fmt: skip
    with governed(tmp_path, rules=[rule], manual_route="Ask a colleague.") as service:
        decision = service.ask().json()["id"]
        cookie = service.started.session(Role.CASEWORKER, actor="ann")
        page = service.started.client.get(f"/decisions/{decision}", headers=cookie)
        assert page.status_code == 200
        for told in ("No advice on this case", "Not for this.", "Ask a colleague.", "caseworker"):
            assert told in page.text
        assert "app-bars" not in page.text, "no chart of reasons"
