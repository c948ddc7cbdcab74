"""What caseworkers and reviewers do on the pages: the same rules as the API's, said in words."""

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from html import unescape
from pathlib import Path

import httpx
import orjson
import pytest

from app.domain import Role
from app.ids import utc_now
from app.lineup import Serving
from app.log_entries import READ
from app.practice import PracticeCase, PracticeStore
from audit.leaf import parse_leaf
from tests.app import tiny
from tests.app.governed import Governed, governed
from tests.app.test_admission import assessed
from tests.app.test_notices import LETTER, own_template
from tests.problems import assert_problem
from tests.started import DEMONSTRATION, Started

BROWSER = {"Accept": "text/html"}
DECISION = {"outcome": "yes", "reason_code": "facts_support", "reason_text": "The papers say so."}


class Visitor:
    """Somebody with a browser that has no JavaScript."""

    def __init__(self, started: Started, name: str, role: Role = Role.CASEWORKER) -> None:
        self.started = started
        self._session = started.session(role, actor=name)

    def get(self, path: str) -> httpx.Response:
        response: httpx.Response = self.started.client.get(
            path, headers={**self._session, **BROWSER}, follow_redirects=False
        )
        return response

    def post(self, path: str, **filled_in: str) -> httpx.Response:
        response: httpx.Response = self.started.client.post(
            path,
            data={**self.started.form(self._session), **filled_in},
            headers={**self._session, **BROWSER},
            follow_redirects=False,
        )
        return response


@pytest.fixture(scope="module")
def concurrent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Governed]:
    with governed(tmp_path_factory.mktemp("concurrent")) as service:
        yield service


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Governed]:
    directory = tmp_path_factory.mktemp("after")
    with governed(directory, reveal="after_own_assessment") as service:
        yield service


def new_case(service: Governed, **more: object) -> str:
    identifier: str = service.ask(**more).json()["id"]  # type: ignore[arg-type]
    return identifier


def words(response: httpx.Response) -> str:
    """Return what a page says."""
    main = response.text.partition("<main")[2].partition("</main>")[0]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", main)).split())


def advice_in(service: Governed, decision: str) -> list[str]:
    """Return every sentence of a recorded answer that comes from the model."""
    payload = service.started.parts.log.read(decision).payload
    assert payload is not None
    explanation = orjson.loads(payload)["answer"]["explanation"]
    return [explanation["summary"], *explanation["reasons_for"], *explanation["reasons_against"]]


def test_the_own_view_comes_first_and_until_then_the_page_has_nothing_of_the_advice(
    after: Governed,
) -> None:
    decision = new_case(after)
    ann, bob = Visitor(after.started, "ann"), Visitor(after.started, "bob")
    path = f"/decisions/{decision}"
    told = advice_in(after, decision)
    before = ann.get(path)
    assert before.status_code == 200
    for sentence in (*told, "percentage points", "<svg", "What would have changed it"):
        assert sentence not in unescape(before.text)
    assert "Facts of this case" in words(before)
    # Deciding at once is refused, and what the page then shows has no advice either.
    early = ann.post(f"{path}/decision", **DECISION)
    assert early.status_code == 422
    assert all(sentence not in unescape(early.text) for sentence in told)
    incomplete = ann.post(f"{path}/own-assessment", outcome="no")
    assert incomplete.status_code == 422
    for message in ("Choose how sure you are", "Choose a reason", "Say why in your own words"):
        assert message in words(incomplete)
    said = {**DECISION, "outcome": "no", "confidence": "high"}
    for _ in range(2):  # pressed twice
        assert ann.post(f"{path}/own-assessment", **said).status_code == 303
    shown = ann.get(path)
    assert all(sentence in unescape(shown.text) for sentence in told)
    assert "Before you saw this you thought: No" in words(shown)
    assert all(sentence not in unescape(bob.get(path).text) for sentence in told)
    assert ann.get(f"{path}/letter").status_code == 200
    assert bob.get(f"{path}/letter").status_code == 409
    assert ann.post(f"{path}/decision", **DECISION).status_code == 303
    assert "The decision is what was advised" in words(bob.get(path))


def test_a_view_that_need_not_have_come_first_is_not_said_to(concurrent: Governed) -> None:
    """Where the advice is shown at once nobody knows what somebody had seen."""
    decision = new_case(concurrent)
    assert concurrent.assess(decision, "ann").status_code == 201
    page = words(Visitor(concurrent.started, "ann").get(f"/decisions/{decision}"))
    assert "Before you saw this" not in page
    assert "Your own view, as you recorded it:" in page


@pytest.mark.parametrize(("outcome", "words_"), [("yes", "is what was advised"),
                                                 ("no", "departs from the advice")])  # fmt: skip
def test_departing_asks_for_just_what_following_asks(
    concurrent: Governed, outcome: str, words_: str
) -> None:
    path = f"/decisions/{new_case(concurrent)}"
    ann = Visitor(concurrent.started, "ann")
    assert "checked" not in ann.get(path).text.partition('/decision"')[2], "nothing is chosen"
    said = {**DECISION, "outcome": outcome, "reason_text": "Do the papers not say so?"}
    for name in said:
        lacking = {each: text for each, text in said.items() if each != name}
        refused = ann.post(f"{path}/decision", **lacking)
        assert refused.status_code == 422
        assert f'href="#{name}"' in refused.text
    for name in ("outcome", "reason_code"):
        assert ann.post(f"{path}/decision", **{**said, name: "other than those"}).status_code == 422
    assert ann.post(f"{path}/decision", **said).status_code == 303
    assert words_ in words(ann.get(path))
    assert ". Do the papers not say so? " in words(ann.get(path)), "in what has happened"
    # Sent twice it leads to what the first one made; anything else comes too late.
    assert ann.post(f"{path}/decision", **said).status_code == 303
    assert ann.post(f"{path}/decision", **{**said, "reason_text": "Another."}).status_code == 409


@pytest.mark.parametrize(("language", "word"), [("en", "Error"), ("cy", "Gwall")])
def test_a_mistake_is_in_the_title_and_before_each_message_in_the_pages_language(
    concurrent: Governed, language: str, word: str
) -> None:
    case = f"/decisions/{new_case(concurrent)}"
    untouched = Visitor(concurrent.started, "ann").get(case).text
    assert "govuk-error-message" not in untouched, "nothing is wrong with it yet"
    path = f"{case}/decision"
    session = concurrent.started.session(Role.CASEWORKER, actor="ann")
    page = concurrent.started.client.post(
        path,
        data=concurrent.started.form(session),
        headers={**BROWSER, "Cookie": f"{session['Cookie']}; grounds-language={language}"},
    )
    assert page.status_code == 422
    assert f"<title>{word}: " in page.text
    told = re.findall(r'<span class="govuk-visually-hidden">(\w+):</span>', page.text)
    assert told == [word] * 3


def test_a_form_for_a_case_that_somebody_else_has_decided_says_that_it_was_not_recorded(
    concurrent: Governed,
) -> None:
    path = f"/decisions/{new_case(concurrent)}"
    bob, cy = Visitor(concurrent.started, "bob"), Visitor(concurrent.started, "cy")
    assert bob.post(f"{path}/decision", **DECISION).status_code == 303
    late = cy.post(f"{path}/decision", **{**DECISION, "reason_text": "I had not seen that."})
    assert late.status_code == 409
    assert "decided in the meantime. What you sent was not recorded" in words(late)
    assert "Decided by bob" in words(late)
    # There is no form any more that it could be kept in, and going back leads to this page.
    assert "What you wrote: I had not seen that." in words(late)
    assert "What you wrote" not in words(cy.get(path))


def test_whoever_decides_without_the_advice_can_give_what_is_asked_for(tmp_path: Path) -> None:
    """The rules ask it of them too, and the page must have a place for it."""
    rules = [
        {"rule": "seen", "when": "true", "requires": "evidence", "description": "See the papers."}
    ]
    with governed(tmp_path, reveal="on_request", rules=rules) as service:
        path = f"/decisions/{new_case(service)}"
        ann = Visitor(service.started, "ann")
        assert 'name="evidence"' not in ann.get(path).text
        refused = ann.post(f"{path}/decision", **DECISION)
        assert "Say what you checked, and how" in words(refused)
        again = ann.post(f"{path}/decision", evidence="The bank statement.", outcome="yes")
        for page in (refused, again):
            assert page.status_code == 422
            assert 'id="evidence"' in page.text
            assert "The advice is not shown yet." in words(page)
            assert "See the papers." not in words(page)
        assert "The bank statement." in again.text
        # Which rule asks may be anything: only its own words say why.
        assert "old or nobody has checked" not in words(refused)
        said = {**DECISION, "evidence": "The bank statement."}
        assert ann.post(f"{path}/decision", **said).status_code == 303
        early = ann.get(f"/decisions/{new_case(service)}/letter")
        assert early.status_code == 409
        assert "others when you ask to see it" in words(early)
        back = early.text.partition("Go to the case</a>")[0].rpartition('href="')[2]
        assert ann.get(back.partition('"')[0]).status_code == 200
        nobody = ann.get("/decisions/00000000-0000-7000-8000-000000000000/letter")
        assert "Go to the case" not in nobody.text


def test_where_two_must_agree_each_is_told_what_they_and_others_propose_by_now(
    tmp_path: Path,
) -> None:
    rules = [
        {"rule": "two", "when": "true", "requires": "second_person", "description": "Two decide."}
    ]
    with governed(tmp_path, rules=rules) as service:
        path = f"/decisions/{new_case(service)}"
        ann, bob = Visitor(service.started, "ann"), Visitor(service.started, "bob")
        assert "Yours is the first." in words(ann.get(path))
        for outcome in ("yes", "no", "no"):  # the last one pressed twice
            said = {**DECISION, "outcome": outcome}
            assert ann.post(f"{path}/decision", **said).status_code == 303
        more = {**DECISION, "outcome": "no", "reason_text": "And one more reason."}
        again = ann.post(f"{path}/decision", **more)
        assert "Somebody else has to come to the same decision" in words(again)
        mine, theirs = words(ann.get(path)), words(bob.get(path))
        assert re.search(r"You have proposed: No .*\. You can change it until two people", mine)
        assert "Yours is the first." not in mine
        # What Ann proposed before she changed her mind is not proposed any more.
        assert re.search(r"Somebody else has proposed: No [^,]* Your decision", theirs)
        assert "You have proposed" not in theirs


def test_a_case_is_taken_found_and_handed_back(concurrent: Governed) -> None:
    decision = new_case(concurrent, subject="person/1")
    ann, bob = Visitor(concurrent.started, "ann-2"), Visitor(concurrent.started, "bob-2")
    path = f"/decisions/{decision}"
    assert ann.post(f"{path}/take").status_code == 303
    # The list has it at once: the step waits until its own index knows.
    assert f'href="{path}"' in ann.get("/cases?which=mine").text
    assert f'href="{path}"' not in bob.get("/cases?which=mine").text
    assert f'href="{path}"' not in bob.get("/cases?which=nobody&order=newest").text
    assert "ann-2 has this case" in words(bob.get(path))
    assert "Take this case" not in words(bob.get(path))
    refused = bob.post(f"{path}/take")
    assert refused.status_code == 422
    assert "Somebody else has taken this case" in words(refused)
    assert ann.post(f"{path}/release").status_code == 303
    assert f'href="{path}"' in bob.get("/cases?which=nobody&order=newest").text
    # By number, and by the case system's reference, which is in no address.
    assert bob.post("/cases/search", search=decision).headers["location"] == path
    assert bob.post("/cases/search", search=decision.upper()).headers["location"] == path
    assert f'href="{path}"' in bob.post("/cases/search", search=f" {decision[-8:].upper()}").text
    found = bob.post("/cases/search", search="person/1")
    assert f'href="{path}"' in found.text
    assert "No case was found" in words(bob.post("/cases/search", search="person/2"))
    nothing = bob.post("/cases/search", search=" ")
    assert nothing.status_code == 422
    assert "Enter the number of a case, or a reference for the person" in words(nothing)
    assert "There are no cases" not in words(nothing)


def test_a_button_beside_the_form_leaves_what_is_filled_in(tmp_path: Path) -> None:
    """Each of them stood in a form of its own, and took the text of the other with it."""
    said = {"outcome": "no", "reason_code": "other", "reason_text": "The <papers> say so."}
    with governed(tmp_path, reveal="on_request") as service:
        path = f"/decisions/{new_case(service)}"
        ann, bob = Visitor(service.started, "ann"), Visitor(service.started, "bob")
        for step in ("take", "take", "advice-request", "release", "release"):
            kept = ann.post(f"{path}/{step}", **said)
            assert kept.status_code == 200, step
            assert "The &lt;papers&gt; say so." in kept.text
            assert kept.text.count(" checked") == 2
            # All in one form, whose first button is the one that Enter presses.
            assert kept.text.count("<form") == 2, "the other one signs out"
            assert re.search(r'form="answer"[^>]*>', kept.text)[0].endswith(" hidden>")  # type: ignore[index]
        assert ann.post(f"{path}/take").status_code == 303
        taken = bob.post(f"{path}/take", **said)
        assert taken.status_code == 422
        assert "Somebody else has taken this case" in words(taken)
        assert "The &lt;papers&gt; say so." in taken.text


def test_a_search_while_the_index_is_made_anew_says_to_try_again(concurrent: Governed) -> None:
    decision = new_case(concurrent)
    index = concurrent.started.parts.index
    with index._stepping:
        index.store.clear()
        refused = Visitor(concurrent.started, "ann").post("/cases/search", search=decision[-8:])
    index.rebuild()
    index.catch_up()
    assert refused.status_code == 503
    assert "They come back by themselves. Wait a moment and try again." in words(refused)


def test_lists_are_paged_without_losing_a_case(tmp_path: Path) -> None:
    with governed(tmp_path) as service:
        cases = [new_case(service) for _ in range(53)]
        service.started.parts.index.catch_up()
        ann = Visitor(service.started, "ann")
        address, found = "/cases?which=nobody&order=oldest", []
        while address:
            page = ann.get(address).text
            found += re.findall(r'href="/decisions/([0-9a-f-]{36})"', page)
            following = re.search(r'rel="next" href="([^"]*)"', page)
            address = unescape(following[1]) if following else ""
        assert found == cases
        assert "There are no cases" in words(ann.get("/cases?which=mine"))
        assert ann.get("/cases?cursor=x").status_code == 422
        assert ann.get("/cases?which=others").status_code == 422


def test_a_fact_that_looks_wrong_leads_to_a_corrected_case(concurrent: Governed) -> None:
    decision = new_case(concurrent)
    ann = Visitor(concurrent.started, "ann")
    path = f"/decisions/{decision}/correct?field=amount"
    assert f"/decisions/{decision}/correct?field=amount" in ann.get(f"/decisions/{decision}").text
    assert "12.5" in words(ann.get(path))
    said = {"value": "1,003.5", "source": "verified", "date": "2026-11-01", "reason": "The bill."}
    for name, wrong, message in (
        ("value", "", "Say what is right"),
        ("value", "much", "Write a number"),
        ("source", "", "Say where the right value comes from"),
        ("date", "yesterday", "Write the day like"),
        ("date", "2999-01-01", "The day cannot be in the future"),
        ("reason", "", "Say how you know"),
    ):
        refused = ann.post(path, **{**said, name: wrong})
        assert refused.status_code == 422, (name, wrong)
        assert message in words(refused)
    made = ann.post(path, **said)
    assert made.status_code == 303
    new = ann.get(made.headers["location"])
    assert "1,003.5" in words(new)
    assert "checked, 1 November 2026" in words(new)
    assert "made from another one" in words(new)
    assert made.headers["location"] in ann.get(f"/decisions/{decision}").text
    assert ann.get(path).status_code == 409
    other = new_case(concurrent)
    assert ann.get(f"/decisions/{other}/correct?field=none").status_code == 422
    text = f"/decisions/{other}/correct?field=answer"
    assert ann.post(text, **{**said, "value": tiny.HOSTILE}).status_code == 303


def test_another_language_is_of_the_same_page(concurrent: Governed) -> None:
    """It left out what the address goes on to say, and led from a form's mistakes to no page at all."""
    path = f"/decisions/{new_case(concurrent)}"
    ann = Visitor(concurrent.started, "ann")

    def other(page: httpx.Response) -> str:
        link = re.search(r'href="(/language/cy[^"]*)"', page.text)
        assert link is not None
        there: str = ann.get(unescape(link[1])).headers["location"]
        assert ann.get(there).status_code == 200
        return there

    for address in (f"{path}/correct?field=count", "/cases?which=all&status=open", path):
        assert other(ann.get(address)) == address
    assert other(ann.post(f"{path}/decision", outcome="no")) == path
    assert other(ann.post(f"{path}/own-assessment", outcome="no")) == path
    assert other(ann.post("/cases/search", search="nobody")) == "/cases"
    assert other(ann.post(f"{path}/correct?field=count")) == f"{path}/correct?field=count"
    nobody = concurrent.started.client.get(
        f"{path}/correct?field=count", headers=BROWSER, follow_redirects=False
    )
    assert nobody.headers["location"] == f"/sign-in?back={path}/correct%3Ffield%3Dcount"


def test_what_people_write_is_shown_and_not_obeyed(concurrent: Governed) -> None:
    """In every text field, when it is refused, recorded, and in everything that shows it later."""
    decision = new_case(concurrent)
    ann, rev = (
        Visitor(concurrent.started, "ann"),
        Visitor(concurrent.started, "rev", Role.REVIEWER),
    )
    path = f"/decisions/{decision}"
    hostile = tiny.HOSTILE
    answers = [
        ann.post("/cases/search", search=hostile),
        ann.post(f"{path}/decision", outcome=hostile, reason_code=hostile, reason_text=hostile),
        ann.post(f"{path}/correct?field=count", value=hostile, source=hostile, date=hostile,
                 reason=hostile),
        ann.post(f"{path}/letter", text=hostile, outcome="yes", language="en", action="show"),
        ann.post(f"{path}/letter", text=hostile, outcome=hostile, language=hostile),
        ann.post(f"{path}/decision", **{**DECISION, "reason_text": hostile}),
        ann.post(f"{path}/contest", text=hostile, on_behalf_of=hostile),
        ann.post(f"{path}/contest", text=hostile, on_behalf_of="person"),
        rev.post(f"{path}/review", outcome=hostile, reason_code=hostile, reason_text=hostile),
        ann.get(path),
        ann.get(f"{path}/contest"),
    ]  # fmt: skip
    for answer in answers:
        assert answer.status_code < 500
        assert "<script>alert" not in answer.text
        assert "<img" not in answer.text
    assert hostile in words(answers[-1]) or hostile in unescape(answers[-1].text)


def test_a_contest_has_a_clock_and_another_person_reviews_it(concurrent: Governed) -> None:
    decision = new_case(concurrent)
    ann = Visitor(concurrent.started, "ann", Role.ADMIN)
    rev = Visitor(concurrent.started, "rev", Role.REVIEWER)
    path = f"/decisions/{decision}"
    assert ann.get(f"{path}/contest").status_code == 409  # nothing is decided
    ann.post(f"{path}/decision", **DECISION)
    empty, unsaid = (ann.post(f"{path}/contest", text=text) for text in ("", "It is not so."))
    assert "Write what the person says" in words(empty)
    # Whose words they are is recorded for good, and not for the service to guess.
    for page in (empty, unsaid):
        assert page.status_code == 422
        assert 'href="#on_behalf_of"' in page.text
    assert "It is not so." in unsaid.text
    assert (
        ann.post(f"{path}/contest", text="It is not so.", on_behalf_of="person").status_code == 303
    )
    assert ann.post(f"{path}/contest", text="And here is why.").status_code == 303
    shown = words(ann.get(f"{path}/contest"))
    assert "28 days are left" in shown
    assert "It is not so." in shown
    assert "And here is why." in shown
    assert "Somebody else has to review it" in shown
    queue = rev.get("/reviews").text
    assert f'href="{path}"' in queue
    own = ann.post(f"{path}/review", **{**DECISION, "outcome": "no"})
    assert own.status_code == 422
    assert "Somebody who took no part" in words(own)
    assert rev.post(f"{path}/review", outcome="no").status_code == 422
    assert rev.post(f"{path}/review", **{**DECISION, "outcome": "no"}).status_code == 303
    assert "Reviewed by rev" in words(ann.get(path))
    reviewed = words(ann.get(f"{path}/contest"))
    assert re.search(r"why\. Reviewed .* The decision: No .* The papers say so\.", reviewed)
    # Whoever reads on must not take the form for one that answers the review.
    assert re.search(r"papers say so\. If the person disagrees again What does the", reviewed)
    assert f'href="{path}"' not in rev.get("/reviews").text


def contested(service: Governed) -> tuple[str, Visitor, Visitor]:
    """Return the path of a new case that was decided and contested, its caseworker and a reviewer."""
    path = f"/decisions/{new_case(service)}"
    ann = Visitor(service.started, "ann")
    rev = Visitor(service.started, "rev", Role.REVIEWER)
    ann.post(f"{path}/decision", **DECISION)
    ann.post(f"{path}/contest", text="It is not so.", on_behalf_of="person")
    return path, ann, rev


def test_what_is_added_to_a_contest_that_has_been_reviewed_begins_no_other(
    concurrent: Governed,
) -> None:
    path, ann, rev = contested(concurrent)
    assert 'name="adds"' in ann.get(f"{path}/contest").text
    assert rev.post(f"{path}/review", **{**DECISION, "outcome": "no"}).status_code == 303
    late = ann.post(f"{path}/contest", text="And here is why.", adds="yes")
    assert late.status_code == 409
    assert "reviewed in the meantime. What you sent was not recorded" in words(late)
    assert "And here is why." in late.text, "it can be sent as a contest of its own"
    assert "<title>Error: " in late.text
    assert "Reviewed" in words(ann.get(path)).partition("Receipt")[0].split("Advice")[0]


def test_what_is_added_to_a_contest_takes_nothing_from_a_review_that_is_begun(
    concurrent: Governed,
) -> None:
    path, _, rev = contested(concurrent)
    both = {
        "text": "And here is why.",
        "adds": "yes",
        "outcome": "no",
        "reason_text": "I think so.",
    }
    too_soon = rev.post(f"{path}/review", **both, reason_code="other")
    assert too_soon.status_code == 422
    assert "Add this first, or take it out" in words(too_soon)
    assert "And here is why.</textarea>" in too_soon.text
    for _ in range(2):  # loading the page again sends the form again
        added = rev.post(f"{path}/contest", **both)
        assert added.status_code == 200
        assert "I think so.</textarea>" in added.text
        assert re.search(r'value="no" checked', added.text)
        assert "And here is why.</textarea>" not in added.text, "it is recorded"
        assert words(added).count("And here is why.") == 1
    assert rev.post(f"{path}/review", **{**DECISION, "outcome": "no"}).status_code == 303


def test_a_decision_that_needs_its_letter_first_says_so_before_it_is_filled_in(
    tmp_path: Path,
) -> None:
    said = "The letter to the person has to be recorded before this decision: No"
    with governed(tmp_path, aia=assessed(50), notice={"letters": {"en": LETTER}}) as service:
        path = f"/decisions/{new_case(service)}"
        ann = Visitor(service.started, "ann")
        rev = Visitor(service.started, "rev", Role.REVIEWER)
        shown = ann.get(path)
        assert said in words(shown)
        assert 'href="#letter"' in shown.text
        # What was filled in all the same is not gone on the way to the letter.
        leading = f'href="{path}/letter" target="_blank"'
        assert leading not in shown.text
        refused = ann.post(f"{path}/decision", **{**DECISION, "outcome": "no"})
        assert refused.status_code == 422
        assert leading in refused.text
        assert "(opens in new tab)" in words(refused)
        assert ann.post(f"{path}/decision", **DECISION).status_code == 303
        assert said not in words(ann.get(path)), "it is decided"
        ann.post(f"{path}/contest", text="It is not so.", on_behalf_of="person")
        assert said in words(rev.get(f"{path}/contest"))
        assert f'href="{path}/letter">' in rev.get(f"{path}/contest").text
        assert leading in rev.post(f"{path}/review", **{**DECISION, "outcome": "no"}).text
        assert said not in words(ann.get(f"{path}/contest")), "somebody else reviews it"
        draft = service.get(f"/v1{path}/notice?outcome=no", service.person("rev")).json()["text"]
        letter = re.sub(r"\[\[.*?\]\]", "Your papers show other sums.", draft)
        sent = rev.post(f"{path}/letter", outcome="no", language="en", text=letter, action="record")
        assert sent.status_code == 303
        assert said not in words(rev.get(f"{path}/contest"))
        assert rev.post(f"{path}/review", **{**DECISION, "outcome": "no"}).status_code == 303


def test_a_contest_that_is_to_be_answered_today_says_so(tmp_path: Path) -> None:
    with governed(tmp_path, review={"answer_within_days": 1}) as service:
        path = f"/decisions/{new_case(service)}"
        ann = Visitor(service.started, "ann")
        ann.post(f"{path}/decision", **DECISION)
        ann.post(f"{path}/contest", text="It is not so.", on_behalf_of="person")
        assert "1 day is left." in words(ann.get(f"{path}/contest"))
        with service.started.replaced(clock=lambda: utc_now() + timedelta(days=1)):
            last = words(ann.get(f"{path}/contest"))
        assert "That is today." in last
        assert "0 days" not in last


def test_a_letter_is_drafted_made_a_file_and_recorded(demonstration: Started) -> None:
    from models.demo.cases import DEMO_CASES

    answer = demonstration.ask(DEMONSTRATION, DEMO_CASES["eviction-date-set"]).json()
    ann = Visitor(demonstration, "ann")
    path = f"/decisions/{answer['id']}/letter"
    draft = ann.get(path)
    text = unescape(re.search(r"<textarea[^>]*>\n?(.*?)</textarea>", draft.text, re.DOTALL)[1])  # type: ignore[index]
    assert "Northmoor" in text
    said = {"outcome": "priority", "language": "en", "text": text}
    pdf = ann.post(path, **said, action="pdf")
    assert pdf.headers["content-type"] == "application/pdf"
    assert pdf.content.startswith(b"%PDF-")
    assert answer["id"][-8:] in pdf.headers["content-disposition"]
    unprintable = ann.post(path, **{**said, "text": f"{text}\n\n漢"}, action="pdf")
    assert unprintable.status_code == 422
    assert "cannot be printed with this character in it: 漢" in words(unprintable)
    refused = ann.post(path, **{**said, "text": "Dear person, no."}, action="record")
    assert refused.status_code == 422
    assert "Name in the letter what weighed: " in words(refused)
    for action in ("record", "pdf"):
        unfilled = ann.post(path, **{**said, "text": f"{text}\n\n[[why]]"}, action=action)
        assert "Fill in the places that stand in [[ ]]" in words(unfilled)
    hard = " ".join(["Notwithstanding", "administrative", "considerations"] * 60)
    refused = ann.post(path, **{**said, "text": f"{text}\n\n{hard}"}, action="record")
    assert "The letter is too hard to read" in words(refused)
    assert ann.post(path, **{**said, "text": ""}, action="record").status_code == 422
    assert "No letter is recorded yet" in words(ann.get(f"/decisions/{answer['id']}"))
    assert ann.post(path, **said, action="record").status_code == 303
    # Whoever reviews the case reads what the person was told.
    for visitor in (ann, Visitor(demonstration, "rev", Role.REVIEWER)):
        shown = words(visitor.get(f"/decisions/{answer['id']}"))
        assert "1 letter is recorded. Read the letter that ann recorded, " in shown
        assert " ".join(text.split()) in shown
    welsh = ann.get(f"{path}?language=cy").text
    assert "Cyngor Bwrdeistref Northmoor" in welsh


def test_another_letter_replaces_no_edited_text_unasked(tmp_path: Path) -> None:
    with governed(tmp_path, notice={"letters": {"en": LETTER}}) as service:
        path = f"/decisions/{new_case(service)}/letter"
        ann = Visitor(service.started, "ann")
        draft = unescape(
            ann.get(f"{path}?outcome=yes")
            .text.partition("<textarea")[2]
            .partition("</textarea>")[0]
        ).partition(">")[2]
        of_yes = {"outcome": "yes", "language": "en", "other_outcome": "no", "other_language": "en"}
        written = ann.post(path, **of_yes, text=draft, action="write")
        assert written.headers["location"] == f"{path}?outcome=no&language=en"
        edited = f"{draft} And I have <edited> it."
        asked = ann.post(path, **of_yes, text=edited, action="write")
        assert asked.status_code == 422
        assert "You have changed the text." in words(asked)
        assert "And I have &lt;edited&gt; it." in asked.text
        # What is recorded with a text is what it tells, whatever was chosen since.
        for action in ("record", "show", "pdf"):
            refused = ann.post(path, **of_yes, text=edited, action=action)
            assert refused.status_code == 422
            assert "The text is for “Yes " in words(refused)
            assert 'href="#other_outcome"' in refused.text
            assert "And I have &lt;edited&gt; it." in refused.text
        replaced = ann.post(path, **of_yes, text=edited, action="replace")
        assert replaced.headers["location"] == f"{path}?outcome=no&language=en"
        spoken = {**of_yes, "other_outcome": "yes", "other_language": "cy"}
        assert 'href="#other_language"' in ann.post(path, **spoken, text=edited, action="pdf").text
        strange = ann.post(path, **{**of_yes, "other_outcome": "none"}, text=edited, action="write")
        assert strange.status_code == 422


def test_a_letter_of_another_decision_than_the_one_in_force_says_so(tmp_path: Path) -> None:
    said = "This letter tells another decision than the one in force: Yes"
    with governed(tmp_path, notice={"letters": {"en": LETTER}}) as service:
        path = f"/decisions/{new_case(service)}"
        ann = Visitor(service.started, "ann")
        assert said not in words(ann.get(f"{path}/letter?outcome=no")), "nothing is decided"
        assert ann.post(f"{path}/decision", **DECISION).status_code == 303
        assert said in words(ann.get(f"{path}/letter?outcome=no"))
        assert said not in words(ann.get(f"{path}/letter"))


def test_a_letter_too_short_to_be_measured_is_drafted(tmp_path: Path) -> None:
    own = own_template(tmp_path / "own", "{{ letter.body }}: {{ outcome }}")
    terms = {"letters": {"en": LETTER}}
    with governed(tmp_path, notice=terms, settings={"notices_dir": own}) as service:
        draft = Visitor(service.started, "ann").get(f"/decisions/{new_case(service)}/letter")
    assert draft.status_code == 200
    assert "too short to say how hard it is to read" in words(draft)


def test_that_a_case_was_read_is_recorded_before_it_is_shown(concurrent: Governed) -> None:
    decision = new_case(concurrent)
    log = concurrent.started.parts.log
    ann = Visitor(concurrent.started, "ann")
    for path in ("", "/letter", "/correct?field=count"):
        size = log.size
        assert ann.get(f"/decisions/{decision}{path}").status_code == 200
        (row,) = log.entries(size, log.size)
        leaf = parse_leaf(row.leaf)
        assert (leaf.type, leaf.facts["reader"]) == (READ, "ann")


def test_what_can_be_the_matter_with_a_case_has_a_page(tmp_path: Path) -> None:
    with governed(tmp_path) as service:
        decision = new_case(service)
        path = f"/decisions/{decision}"
        ann = Visitor(service.started, "ann")
        with service.started.replaced(served=Serving()):  # the model is not served any more
            gone = ann.get(path)
            assert gone.status_code == 200
            assert "card is not here any more" in words(gone)
            assert ann.get(f"{path}/letter").status_code == 200
            assert ann.get(f"{path}/correct?field=count").status_code == 422
            assert ann.get("/cases").status_code == 200
        assert "No draft can be made here" in words(ann.get(f"{path}/letter"))
        admin = service.person("root", Role.ADMIN)
        service.post("/v1/stop", {"model": tiny.NAME, "reason": "A test."}, admin)
        stopped = words(ann.get(path))
        assert "has stopped this model" in stopped
        assert "The case can be decided." in stopped
        # The form would be filled in for nothing: a corrected case is advised on anew.
        assert "Its facts can be corrected once advice goes on." in stopped
        assert "This looks wrong" not in stopped
        form = {"value": "4", "source": "verified", "reason": "A test."}
        refused = ann.post(f"{path}/correct?field=count", **form)
        assert refused.status_code == 503
        assert "Nothing was recorded." in words(refused)
        assert service.decide(decision, "bob").status_code == 201
        decided = words(ann.get(path))
        assert "has stopped this model" in decided
        assert "can be decided" not in decided, "it is"
        service.started.resume_all()
        service.post(f"/v1{path}/erasure", {"basis": "a test"}, admin)
        erased = ann.get(path)
        assert erased.status_code == 410
        assert "was erased" in words(erased)
        assert "Nothing was recorded." not in words(erased), "nothing was sent"
        sent = ann.post(f"{path}/decision", **DECISION)
        assert sent.status_code == 410
        assert "Nothing was recorded." in words(sent)


# Practice.


class _Known:
    """Practice cases without a file."""

    def __init__(self, cases: tuple[PracticeCase, ...]) -> None:
        self._cases = cases

    def of(self, _: object) -> tuple[PracticeCase, ...]:
        return self._cases


@pytest.fixture
def practising(concurrent: Governed) -> Iterator[Started]:
    cases = (
        PracticeCase(case=dict(tiny.CASE), outcome="yes", why="All of it speaks for it."),
        PracticeCase(case=dict(tiny.CASE), outcome="no", why="The file said otherwise."),
    )
    with concurrent.started.replaced(practice_cases=_Known(cases)):
        yield concurrent.started


def figures(started: Started) -> Mapping[str, int]:
    report = started.client.get(
        f"/v1/models/{tiny.NAME}/reliance", headers=started.key(Role.REVIEWER)
    ).json()
    told: Mapping[str, int] = report["practice"]
    return told


def test_practice_gives_feedback_and_touches_nothing_live(practising: Started) -> None:
    ann = Visitor(practising, "ann")
    size = practising.parts.log.size
    metrics = practising.client.get("/metrics").text.count("grounds_decisions_total{")
    decided = practising.parts.metrics.decisions.collect()
    before = figures(practising)
    first = f"/practice/{tiny.NAME}/1"
    facts = ann.get(first)
    assert "Reasons for this recommendation" not in words(facts)
    assert ann.post(first).status_code == 422
    advised = ann.post(first, outcome="no")
    assert "Reasons for this recommendation" in words(advised)
    assert "All of it speaks for it." not in words(advised)
    told = words(ann.post(first, own="no", outcome="yes"))
    assert "You were right" in told
    assert "You changed your mind after the advice" in told
    assert "All of it speaks for it." in told
    wrong = words(ann.post(f"/practice/{tiny.NAME}/2", own="no", outcome="yes"))
    assert "The advice was wrong, and so was the decision" in wrong
    after_ = figures(practising)
    changed = {name: after_[name] - before[name] for name in after_}
    assert changed == {
        "advice_right": 1, "advice_right_followed": 1, "advice_wrong": 1,
        "advice_wrong_followed": 1, "switched_to_right": 1, "switched_to_wrong": 1,
    }  # fmt: skip
    assert practising.parts.log.size == size
    assert practising.client.get("/metrics").text.count("grounds_decisions_total{") == metrics
    assert practising.parts.metrics.decisions.collect() == decided
    for number in ("3", "0", "999", "9" * 5000, "one"):
        assert "Page not found" in words(ann.get(f"/practice/{tiny.NAME}/{number}")), number
    assert ann.get("/practice/none/1").status_code == 404
    files = practising.settings.data_dir.glob("practice*")
    assert all(b"ann" not in each.read_bytes() for each in files)


def test_a_model_without_practice_cases_says_so(concurrent: Governed) -> None:
    ann = Visitor(concurrent.started, "ann")
    assert "There are no practice cases here" in words(ann.get("/practice"))
    assert_problem(
        concurrent.get(f"/v1/models/{tiny.NAME}/reliance", concurrent.person("ann")),
        slug="forbidden", status=403,
    )  # fmt: skip


def test_tallies_that_cannot_be_written_are_a_fault_of_practice_alone(
    practising: Started, tmp_path: Path
) -> None:
    closed = PracticeStore(tmp_path / "practice")
    closed.close()
    with practising.replaced(practice=closed):
        assert_problem(
            practising.client.get(
                f"/v1/models/{tiny.NAME}/reliance", headers=practising.key(Role.REVIEWER)
            ),
            slug="practice-unavailable", status=503,
        )  # fmt: skip
        assert practising.ask(tiny.NAME, tiny.CASE).status_code == 201
