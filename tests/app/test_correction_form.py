"""The form that corrects a fact takes what was meant, or says what is wrong with it: it guesses nothing."""

from collections.abc import Iterator

import pytest

from app.domain import Caller, Role
from app.reading import read_decision
from app.web.language import COOKIE
from models.demo.cases import DEMO_CASES
from tests.app.governed import Governed, governed
from tests.app.test_case_pages import BROWSER, Visitor, new_case, words
from tests.started import DEMONSTRATION, Started

SAID = {"value": "20", "source": "verified", "date": "2026-11-01", "reason": "The bill."}
A_NUMBER = "Write a number, like 12 or 12.50"
A_WHOLE_NUMBER = "Write a whole number, like 12"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Governed]:
    with governed(tmp_path_factory.mktemp("corrections")) as started:
        yield started


@pytest.mark.parametrize(
    "text",
    ["50,5", "1,00", "10,00", "0,500", "1.000,50", "1,000,00", "1000,000", ",5", "1,", "1_0", "1e3",
     "12.", "inf", "nan", "\N{ARABIC-INDIC DIGIT ONE}2", "--1", "-£-1", "£", "1 000"],
)  # fmt: skip
def test_a_number_that_could_be_read_in_two_ways_is_refused(service: Governed, text: str) -> None:
    ann = Visitor(service.started, "ann")
    path = f"/decisions/{new_case(service)}/correct?field=amount"
    refused = ann.post(path, **{**SAID, "value": text})
    assert refused.status_code == 422
    assert A_NUMBER in words(refused)


@pytest.mark.parametrize("text", ["2,0", "2.50", "2.0", "1_0", "10,00", "1,000,00", "much"])
def test_a_whole_number_is_asked_for_where_one_is_wanted(service: Governed, text: str) -> None:
    ann = Visitor(service.started, "ann")
    path = f"/decisions/{new_case(service)}/correct?field=count"
    refused = ann.post(path, **{**SAID, "value": text})
    assert refused.status_code == 422
    assert A_WHOLE_NUMBER in words(refused)


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [("amount", "1,003.5", 1003.5), ("amount", "1,234,567", 1234567.0), ("count", "12", 12),
     ("amount", "£ 20.50", 20.5), ("amount", "-£20", -20.0), ("amount", "£-20", -20.0),
     ("amount", "1003.5", 1003.5), ("amount", "0.5", 0.5), ("count", "1,012", 1012)],
)  # fmt: skip
def test_a_number_as_people_write_it_is_taken(
    service: Governed, field: str, text: str, value: float
) -> None:
    ann = Visitor(service.started, "ann")
    path = f"/decisions/{new_case(service)}/correct?field={field}"
    made = ann.post(path, **{**SAID, "value": text})
    assert made.status_code == 303, words(made)
    new = read_decision(
        service.started.parts.log,
        made.headers["location"].rpartition("/")[2],
        reader=Caller("a test", Role.ADMIN),
    )
    assert new.content.case[field] == value


@pytest.mark.parametrize("day", ["20251130", "2025-W48-1", "2025-11-31", "30 November 2025"])
def test_a_day_of_another_form_is_the_days_fault_and_not_the_numbers(
    service: Governed, day: str
) -> None:
    ann = Visitor(service.started, "ann")
    path = f"/decisions/{new_case(service)}/correct?field=amount"
    refused = ann.post(path, **{**SAID, "date": day})
    assert refused.status_code == 422
    assert "Write the day like 2026-11-30" in words(refused)
    assert 'href="#date"' in refused.text
    assert 'href="#value"' not in refused.text


def test_a_number_that_the_model_cannot_hold_is_refused_in_words(service: Governed) -> None:
    ann = Visitor(service.started, "ann")
    path = f"/decisions/{new_case(service)}/correct?field"
    for field, value in (("count", "123456789123456789"), ("amount", "9" * 400)):
        refused = ann.post(f"{path}={field}", **{**SAID, "value": value})
        assert refused.status_code == 422
        assert "The model cannot work with this number" in words(refused)
    refused = ann.post(f"{path}=amount", **{**SAID, "value": "", "unknown": "yes"})
    assert refused.status_code == 422
    assert "Say what is right" in words(refused)


@pytest.mark.parametrize(
    ("value", "english", "welsh"),
    [
        ("-1", "must be 0 or more", "fod yn 0 neu fwy"),
        ("1,000.01", "must be 1,000 or less", "fod yn 1,000 neu lai"),
    ],
)
def test_limits_are_told_by_label_and_in_the_pages_language(
    demonstration: Started, value: str, english: str, welsh: str
) -> None:
    name = "weekly_debt_repayments"
    answer = demonstration.ask(DEMONSTRATION, DEMO_CASES["eviction-date-set"]).json()
    path = f"/decisions/{answer['id']}/correct?field={name}"
    ann = Visitor(demonstration, "ann")
    label = demonstration.parts.model(DEMONSTRATION).bundle.card.field(name).label
    said = {**SAID, "value": value}
    shown = words(ann.post(path, **said))
    assert f"{label} {english}" in shown
    session = demonstration.session(Role.CASEWORKER, actor="ann")
    shown = words(
        demonstration.client.post(
            path,
            data={**demonstration.form(session), **said},
            headers={**BROWSER, "Cookie": f"{session['Cookie']}; {COOKIE}=cy"},
        )
    )
    assert f"Rhaid i {label} {welsh}" in shown
    assert name not in shown


def test_a_value_beside_not_known_is_asked_about(demonstration: Started) -> None:
    answer = demonstration.ask(DEMONSTRATION, DEMO_CASES["eviction-date-set"]).json()
    path = f"/decisions/{answer['id']}/correct?field=weekly_debt_repayments"
    ann = Visitor(demonstration, "ann")
    both = {**SAID, "value": "5", "unknown": "yes"}
    refused = ann.post(path, **both)
    assert refused.status_code == 422
    assert "but not both" in words(refused)
    assert 'value="5"' in refused.text
    assert ann.post(path, **{**both, "value": ""}).status_code == 303


def test_what_is_wrong_is_summed_up_in_the_order_of_the_page(service: Governed) -> None:
    ann = Visitor(service.started, "ann")
    path = f"/decisions/{new_case(service)}/correct?field=amount"
    refused = words(ann.post(path, value="50,5", source="", date="20251130", reason=""))
    summary = refused.partition("There is a problem")[2]
    said = (A_NUMBER, "Say where the right value", "Write the day like", "Say how you know")
    places = [summary.index(each) for each in said]
    assert places == sorted(places)
