"""The form that corrects a fact takes what was meant, or says what is wrong with it: it guesses nothing."""

from collections.abc import Iterator

import pytest

from app.domain import Caller, Role
from app.reading import read_decision
from tests.app.governed import Governed, governed
from tests.app.test_case_pages import Visitor, new_case, words

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
