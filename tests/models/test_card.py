"""A card says everything once, in plain YAML, or is refused with the place of the fault."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.card import Card, parse_card, write_card
from models.demo.card import demo_card
from models.errors import CardRefusedError
from models.wording import format_value, needs_all_digits, phrase
from tests.models.graphs import card, field

TEXT = """
name: test
version: "1"
title: A test
owner: Test suite
purpose: Tests
legal_basis: None
output:
  task: classification
  meaning: the probability of yes
  classes: ["no", "yes"]
  positive_class: "yes"
fields:
- name: income
  type: number
  label: Income
  wording: income of {value}
- name: tenure
  type: string
  label: Tenure
  wording: "tenure: {value}"
  categories: [Council, Private]
what_it_cannot_know: []
limitations: []
"""


def test_a_card_is_read_as_written() -> None:
    read = parse_card(TEXT.encode())
    assert [f.name for f in read.fields] == ["income", "tenure"]
    assert read.output.positive_index == 1


TAIL = b"what_it_cannot_know: []\nlimitations: []\n"


@pytest.mark.parametrize("told", [demo_card(), card()])
def test_a_written_card_reads_back_equal(told: Card) -> None:
    assert parse_card(write_card(told)) == told


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('version: "1"', "version: 1", "version: Input should be a valid string"),
        ('version: "1"', "version: 2026-01-01", "not JSON serializable"),
        ("name: test", "name: Test Model", "name: String should match pattern"),
        ("owner: Test suite", "owner: ''", "owner: String should have at least 1"),
        ("owner: Test suite\n", "", "owner: Field required"),
        ("owner: Test suite", 'owner: "a\\e[2K\\rb"', "text without '\\x1b', which shows it as"),
        ("owner: Test suite", 'owner: "a \\u202eb"', "text without '\\u202e', which shows it as"),
        ("owner: Test suite", "owner: a\nowner: b", "key 'owner' appears twice"),
        ("owner: Test suite", "owner: a\ncolour: b", "colour: Extra inputs are not permitted"),
        ("owner: Test suite", "owner: a\n1: b", "key 1 is not text"),
        ("owner: Test suite", "owner: &a x\ncontact: *a", "aliases are not allowed"),
        ("owner: Test suite", "owner: !!python/name:os.system", "could not determine a constr"),
        ("owner: Test suite", f"owner: {'[' * 20}{']' * 20}", "nested deeper than 16"),
        ("owner: Test suite", f"owner: {'[' * 50_000}", "nested deeper than 16"),
        ("owner: Test suite", "owner: {<<: {a: b}}", "want plain YAML"),
        ("owner: Test suite", "owner: 'a", "scanning a quoted scalar"),
        ('classes: ["no", "yes"]', "classes: [no, yes]", 'with "yes", "no", "on" and "off" in q'),
        ('positive_class: "yes"', "positive_class: maybe", "positive_class is one of"),
        ('classes: ["no", "yes"]', 'classes: ["yes"]', "at least two classes"),
        ('classes: ["no", "yes"]', 'classes: ["yes", "yes"]', "a class appears twice"),
        ("task: classification", "task: regression", "a regression has no classes"),
        ("task: classification", "task: ranking", "output.task"),
        ("- name: tenure", "- name: income", "field 'income' appears twice"),
        ("  categories: [Council, Private]\n", "", "a string lists its categories"),
        ("[Council, Private]", "[Council, Council]", "a category appears twice"),
        ("[Council, Private]", "[Council, 1]", "every category of this field is of type string"),
        ("[Council, Private]", "[Council, no]", "fields.1.categories.1"),
        ("type: number", "type: money", "fields.0.type"),
        ("type: number", "type: number\n  minimum: .inf", "want plain YAML"),
        ("type: number", "type: number\n  minimum: 2\n  maximum: 1", "minimum is above maximum"),
        ("type: number", "type: integer\n  minimum: 0.5", "limits of a whole number are whole"),
        ("type: number", "type: number\n  categories: [1]", "categories are for strings"),
        ("type: number", "type: boolean\n  minimum: 1", "minimum and maximum are for numbers"),
        ("type: number", "type: number\n  missing_value: -1", "needs may_be_missing"),
        (
            "type: number",
            "type: number\n  may_be_missing: true\n  missing_value: true",
            "missing_value is of type number",
        ),
        ("type: number", "type: number\n  may_be_unknown: true", "needs categories"),
        ("type: number", "type: number\n  direction: increase", "direction is for actionable"),
        ("type: number", "type: number\n  column: 1", "column needs input"),
        ("type: number", "type: number\n  unit_one: week", "unit_one needs unit"),
        ("type: number", "type: number\n  input: x\n  column: -1", "column counts from 0"),
        ("type: number", "type: number\n  value_wording: {a: b}", "value_wording is for"),
        ("name: income", 'name: " income"', "no space at either end"),
        ("name: income", 'name: "in\\ncome"', "printable characters"),
        (
            "limitations: []",
            "limitations: []\nprotected: [income]",
            "'income' is a field: take it out",
        ),
        ("limitations: []", "limitations: []\nsample_tolerance: 0.5", "sample_tolerance"),
    ],
)
def test_a_card_that_is_not_plain_and_whole_is_refused(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(CardRefusedError) as caught:
        parse_card(TEXT.replace(old, new, 1).encode())
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"\xff\xfe\x00", b"- a\n- b", b"just text", b"\x00"]
)
def test_a_file_that_is_no_card_is_refused(content: bytes) -> None:
    with pytest.raises(CardRefusedError, match=r"^card\.yaml: got "):
        parse_card(content)


def test_a_card_without_fields_is_refused() -> None:
    with pytest.raises(CardRefusedError, match="got 0 fields, want 1 to 1000"):
        parse_card(TEXT[: TEXT.index("fields:")].encode() + b"fields: []\n" + TAIL)


def test_a_translation_has_its_own_word_for_one_or_none() -> None:
    words = {"label": "Misoedd", "wording": "{value} yma", "unit": "mis"}
    for one, written in ((None, "1 mis"), ("un", "1 un")):
        fields = {"months": {**words, "unit_one": one}}
        told = card(
            fields=[field("months", "integer", unit="months", unit_one="month")],
            translations={"cy": {"title": "Cerdyn", "fields": fields}},
        )
        assert format_value(told.field("months"), 1) == "1 month"
        assert format_value(told.in_language("cy").field("months"), 1) == written


def test_a_field_is_found_by_its_name() -> None:
    told = card(fields=[field("income")], protected=("sex",))
    assert told.field("income").name == "income"
    with pytest.raises(KeyError):
        told.field("sex")


@pytest.mark.parametrize(
    ("unit", "value", "words"),
    [
        ("£ a week", 1250.0, "£1,250 a week"),
        ("£", -12.5, "-£12.50"),
        ("%", 12.345, "12.35%"),
        ("months", 3, "3 months"),
        ("months", 1, "1 month"),
        ("months", 1.0, "1 month"),
        ("months", 1.5, "1.50 months"),
        ("months", -1, "-1 months"),
        (None, 0.0149, "0.0149"),
        (None, -0.12345, "-0.123"),
        (None, 0.9996, "1.00"),
        ("£", 0.5, "£0.50"),
        ("£", 0.4999, "£0.50"),
        (None, 0.0004, "0.0004"),
        (None, 0.0000272, "0.0000272"),
        (None, -0.00009996, "-0.0001"),
        (None, 9e-10, "9e-10"),
        (None, 1e20, "1e+20"),
        (None, True, "yes"),
        (None, None, "not known"),
    ],
)
def test_a_value_is_written_as_a_person_would(
    unit: str | None, value: float | None, words: str
) -> None:
    one = "month" if unit == "months" else None
    told = field("x", unit=unit, unit_one=one) if unit else field("x")
    assert format_value(told, value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.751, "0.751"), (0.75, "0.75"), (12345.125, "12,345.125"), (3.0, "3"), (1e-10, "1e-10"),
     (0.00012345, "0.00012345"), (1.5e20, "1.5e+20")],
)  # fmt: skip
def test_a_number_that_rounding_would_make_another_has_all_its_digits(
    value: float, words: str
) -> None:
    told = field("x", wording="a share of {value}")
    assert format_value(told, value, exact=True) == words
    assert phrase(told, value, exact=True) == f"a share of {words}"


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_two_numbers_are_told_in_the_order_that_they_are_in(before: float, after: float) -> None:
    told = field("x")
    texts = (
        format_value(told, before, exact=needs_all_digits(before, after)),
        format_value(told, after, exact=True),
    )
    first, second = (float(text.replace(",", "")) for text in texts)
    assert second == after
    assert (first < second, first > second) == (before < after, before > after)


def test_a_whole_number_that_is_a_code_is_written_as_it_is() -> None:
    """Of a list of whole numbers each is a name: a year, a postcode, a kind."""
    told = field("x", "integer", categories=[3, 2019, 12345], wording="code {value}")
    assert phrase(told, 2019) == "code 2019"
    assert format_value(told, 12345) == "12345"
    assert format_value(field("x", "integer"), 12345) == "12,345"


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"minimum": 1800, "maximum": 2030}, "1998"),
        ({"minimum": 1800, "maximum": 2030, "unit": "hours"}, "1,998 hours"),
        ({"minimum": 0, "maximum": 2030}, "1,998"),
        ({"minimum": 1800, "maximum": 3000}, "1,998"),
        ({"minimum": 1800}, "1,998"),
    ],
)
def test_a_whole_number_that_can_only_be_a_year_is_written_as_one(
    limits: dict[str, Any], words: str
) -> None:
    assert format_value(field("built", "integer", **limits), 1998) == words
    assert format_value(field("built", **limits), 1998.0) == words.replace("1998", "1,998")


@pytest.mark.parametrize("wording", ["income of {value}", "{value} coming in", "income"])
def test_a_missing_value_has_words_although_the_card_gives_it_none(wording: str) -> None:
    told = field("x", label="Weekly income", wording=wording, may_be_missing=True)
    assert phrase(told, None) == "no value for Weekly income"
    said = told.model_copy(update={"value_wording": {"missing": "no figure for income"}})
    assert phrase(said, None) == "no figure for income"


def test_a_phrase_for_the_value_itself_wins() -> None:
    told = field(
        "x",
        "string",
        categories=["A", "B"],
        may_be_missing=True,
        value_wording={"A": "being A", "missing": "no word on x"},
    )
    assert phrase(told, "A") == "being A"
    assert phrase(told, "B") == "x: B"
    assert phrase(told, None) == "no word on x"
    assert (
        phrase(field("rent").model_copy(update={"wording": "rent of {value}"}), 5.0) == "rent of 5"
    )
