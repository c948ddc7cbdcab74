"""A case is accepted exactly as it is or refused with every fault named."""

import json
import math
import string
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.card import Field
from models.checks import MAX_TEXT
from models.errors import CardRefusedError, CaseRejectedError, FieldFault
from models.graph import GraphInput
from models.schema import CaseSchema, Flag
from models.slots import lay_out
from tests.models.feeds import feeds_of
from tests.models.graphs import card, field

INPUTS = (
    GraphInput("floats", "float32", rank=2, width=4),
    GraphInput("age", "int64", rank=2, width=1),
    GraphInput("count", "int32", rank=1, width=1),
    GraphInput("amount", "float64", rank=2, width=1),
    GraphInput("texts", "string", rank=2, width=2),
)
FIELDS = (
    field("income", minimum=0, maximum=5000, unit="£ a week"),
    field("savings", may_be_missing=True),
    field("rooms", "integer", minimum=0),
    field("adapted", "boolean", input="floats", column=3),
    field("age", "integer"),
    field("count", "integer", may_be_missing=True, missing_value=-1),
    field("amount"),
    field("tenure", "string", categories=["Council", "Private"]),
    field(
        "notice",
        "string",
        categories=["None", "Served"],
        may_be_missing=True,
        missing_value="Not recorded",
        may_be_unknown=True,
    ),
)
CASE: Mapping[str, object] = {
    "income": 310.5,
    "savings": 20,
    "rooms": 3,
    "adapted": True,
    "age": 2**60 + 1,
    "count": 4,
    "amount": 0.1,
    "tenure": "Private",
    "notice": "Served",
}


def make_schema(fields: tuple[Field, ...] = FIELDS) -> CaseSchema:
    placed = tuple(
        f.model_copy(update={"input": "floats", "column": place}) if place < 4 else f
        for place, f in enumerate(fields)
    )
    told = card(fields=placed)
    return CaseSchema(told, lay_out(told, INPUTS))


SCHEMA = make_schema()


def faults_of(**changed: object) -> tuple[FieldFault, ...]:
    with pytest.raises(CaseRejectedError) as caught:
        SCHEMA.encode({**CASE, **changed})
    return caught.value.faults


def faults_or_none(case: Mapping[str, object]) -> tuple[FieldFault, ...]:
    try:
        SCHEMA.encode(case)
    except CaseRejectedError as err:
        return err.faults
    return ()


def test_an_accepted_case_is_fed_exactly() -> None:
    encoded = SCHEMA.encode(CASE)
    assert encoded.flags == ()
    assert encoded.values == {**CASE, "savings": 20.0}
    assert list(encoded.values) == [f.name for f in FIELDS]
    assert isinstance(encoded.values["savings"], float)
    assert encoded.values["adapted"] is True
    feeds = encoded.feeds
    assert feeds["floats"].dtype == np.float32
    assert feeds["floats"].tolist() == [[310.5, 20.0, 3.0, 1.0]]
    assert feeds["age"].dtype == np.int64
    assert feeds["age"].tolist() == [[2**60 + 1]]
    assert feeds["count"].dtype == np.int32
    assert feeds["count"].tolist() == [4]
    assert feeds["amount"].dtype == np.float64
    assert feeds["amount"].tolist() == [[0.1]]
    assert feeds["texts"].tolist() == [["Private", "Served"]]


def test_missing_values_are_fed_as_the_card_says_and_flagged() -> None:
    encoded = SCHEMA.encode({**CASE, "savings": None, "count": None, "notice": None})
    assert encoded.values["savings"] is encoded.values["count"] is encoded.values["notice"] is None
    assert math.isnan(encoded.feeds["floats"][0, 1])
    assert encoded.feeds["count"].tolist() == [-1]
    assert encoded.feeds["texts"].tolist() == [["Private", "Not recorded"]]
    assert encoded.flags == (
        Flag("savings", "missing"),
        Flag("count", "missing"),
        Flag("notice", "missing"),
    )


def test_an_unknown_category_passes_with_a_flag_where_the_card_allows_it() -> None:
    encoded = SCHEMA.encode({**CASE, "notice": "served"})
    assert encoded.feeds["texts"].tolist() == [["Private", "served"]]
    assert encoded.flags == (Flag("notice", "unknown"),)


@pytest.mark.parametrize(
    ("changed", "code", "kind", "says"),
    [
        ({"income": "310"}, "wrong_type", "string", "got string; want a number from 0 to 5,000"),
        ({"income": True}, "wrong_type", "boolean", "want a number"),
        ({"income": [1]}, "wrong_type", "array", "want a number"),
        ({"income": {}}, "wrong_type", "object", "want a number"),
        ({"income": b"1"}, "wrong_type", "something that is not JSON", "want a number"),
        ({"income": math.nan}, "not_finite", "number", "not a finite number"),
        ({"savings": math.inf}, "not_finite", "number", "not a finite number"),
        ({"savings": -math.inf}, "not_finite", "number", "not a finite number"),
        ({"income": -0.01}, "below_minimum", "number", "below the minimum, 0"),
        ({"income": 5000.01}, "above_maximum", "number", "above the maximum, 5,000"),
        ({"income": 5001}, "above_maximum", "integer", "above the maximum, 5,000"),
        ({"income": None}, "null_not_allowed", "null", "may not be missing"),
        ({"rooms": 3.5}, "wrong_type", "number", "want a whole number of at least 0"),
        ({"rooms": True}, "wrong_type", "boolean", "want a whole number"),
        ({"rooms": math.nan}, "wrong_type", "number", "want a whole number"),
        ({"rooms": math.inf}, "wrong_type", "number", "want a whole number"),
        ({"rooms": -1.0}, "below_minimum", "integer", "below the minimum, 0"),
        ({"age": 2.0**53 + 2}, "wrong_type", "number", "want a whole number"),
        ({"rooms": -1}, "below_minimum", "integer", "below the minimum, 0"),
        (
            {"rooms": 2**24 + 1},
            "not_representable",
            "integer",
            "every whole number from -16,777,216 to 16,777,216 is allowed",
        ),
        ({"savings": 2**24 + 1}, "not_representable", "integer", "16,777,216 is allowed"),
        ({"savings": 16777217.0}, "not_representable", "number", "16,777,216 is allowed"),
        ({"savings": 20000000.5}, "not_representable", "number", "16,777,216 is allowed"),
        ({"savings": 1e39}, "not_representable", "number", "float32 holds"),
        ({"savings": 10**400}, "not_representable", "integer", "float32 holds"),
        ({"amount": 2**53 + 1}, "not_representable", "integer", "9,007,199,254,740,992"),
        ({"age": 2**63}, "not_representable", "integer", "9,223,372,036,854,775,807"),
        ({"count": 2**31}, "not_representable", "integer", "2,147,483,647"),
        ({"adapted": 1}, "wrong_type", "integer", "want true or false"),
        ({"adapted": None}, "null_not_allowed", "null", "may not be missing"),
        ({"tenure": "private"}, "unknown_category", "string", "did you mean 'Private'?"),
        ({"tenure": ""}, "unknown_category", "string", "want one of: Council, Private"),
        ({"tenure": "\ud800"}, "unknown_category", "string", "want one of"),
        ({"tenure": 1}, "wrong_type", "integer", "want one of: Council, Private"),
        ({"tenure": None}, "null_not_allowed", "null", "may not be missing"),
        ({"notice": "\ud800"}, "not_representable", "string", "valid Unicode"),
        ({"notice": "none \u202e21"}, "not_representable", "string", "turn its direction"),
        ({"notice": "\u2067none"}, "not_representable", "string", "turn its direction"),
        ({"notice": "none\x1bmore"}, "not_representable", "string", "control characters"),
        ({"notice": "x" * (MAX_TEXT + 1)}, "not_representable", "string", "at most 1000"),
        ({"notice": 5}, "wrong_type", "integer", "want text"),
        ({"incom": 1}, "unknown_field", "field", "did you mean 'income'?"),
    ],
)
def test_a_fault_says_what_is_allowed(
    changed: dict[str, object], code: str, kind: str, says: str
) -> None:
    (fault,) = faults_of(**changed)
    assert (fault.field, fault.code, fault.got_kind) == (next(iter(changed)), code, kind)
    assert says in fault.message
    assert fault.allowed


@pytest.mark.parametrize(
    "changed",
    [
        {"income": 0},
        {"income": 5000},
        {"rooms": 2**24},
        {"savings": 2**24},
        {"savings": 2**24 + 2},
        {"savings": -(2.0**100)},
        {"savings": 1e-40},
        {"amount": 2**53},
        {"age": -(2**63)},
        {"count": 2**31 - 1},
        {"notice": "x" * MAX_TEXT},
    ],
)
def test_the_last_value_allowed_is_accepted(changed: dict[str, object]) -> None:
    SCHEMA.encode({**CASE, **changed})


def test_every_fault_is_reported_at_once() -> None:
    case = {**CASE, "income": "x", "rooms": -1, "extra": 1}
    del case["age"], case["savings"]
    with pytest.raises(CaseRejectedError) as caught:
        SCHEMA.encode(case)
    assert [(f.field, f.code) for f in caught.value.faults] == [
        ("income", "wrong_type"),
        ("savings", "missing_field"),
        ("rooms", "below_minimum"),
        ("age", "missing_field"),
        ("extra", "unknown_field"),
    ]
    assert "send null where it is not known" in caught.value.faults[1].message
    assert "null" not in caught.value.faults[3].message


def test_a_fault_never_repeats_the_value() -> None:
    name_typed = "Zebedee-4471"
    (fault,) = faults_of(tenure=name_typed)
    assert name_typed not in str(fault)
    (fault,) = faults_of(income=987654.25)
    assert "987" not in str(fault)


def test_strange_field_names_are_cut_short_and_counted() -> None:
    faults = faults_of(**{f"\n{'y' * 500}{i}": 1 for i in range(500)})
    assert len(faults) == 21
    assert all(len(f.message) < 200 and f.message.isprintable() for f in faults)
    assert "480 more" in faults[-1].message


@pytest.mark.parametrize("sent", ["3", "3.0", "3e0", "30e-1"])
def test_an_integer_is_one_however_json_writes_it(sent: str) -> None:
    """JSON Schema 2020-12 says so, and callers hold the published schema against their cases."""
    told = field("income", "integer", categories=[1, 3])
    for schema in (SCHEMA, make_schema((told, *FIELDS[1:]))):
        name = "rooms" if schema is SCHEMA else "income"
        encoded = schema.encode({**CASE, name: json.loads(sent)})
        assert repr(encoded.values[name]) == "3"
        assert encoded.flags == ()
        whole = schema.encode({**CASE, name: 3})
        assert repr(encoded.values) == repr(whole.values)
        assert all((encoded.feeds[each] == whole.feeds[each]).all() for each in whole.feeds)
    assert SCHEMA.encode({**CASE, "age": -(2.0**53)}).values["age"] == -(2**53)
    assert repr(SCHEMA.encode({**CASE, "rooms": -0.0}).values["rooms"]) == "0"


def test_true_is_not_the_category_one() -> None:
    schema = make_schema((field("income", "integer", categories=[1, 2]), *FIELDS[1:]))
    assert schema.encode({**CASE, "income": 1}).values["income"] == 1
    for value, code in ((True, "wrong_type"), (1.5, "wrong_type"), (3, "unknown_category")):
        with pytest.raises(CaseRejectedError) as caught:
            schema.encode({**CASE, "income": value})
        assert caught.value.faults[0].code == code


def test_an_unknown_whole_category_is_flagged_and_still_has_to_fit() -> None:
    told = field("income", "integer", categories=[1, 2], may_be_unknown=True)
    schema = make_schema((told, *FIELDS[1:]))
    assert schema.encode({**CASE, "income": 3}).flags == (Flag("income", "unknown"),)
    with pytest.raises(CaseRejectedError, match="income cannot be held exactly"):
        schema.encode({**CASE, "income": 2**24 + 1})


@pytest.mark.parametrize(
    ("place", "told", "message"),
    [
        (4, field("age", "integer", may_be_missing=True), "may_be_missing for an input of int64"),
        (
            5,
            field("count", "integer", may_be_missing=True, missing_value=2**40),
            "got missing_value; want a value that int32 can hold",
        ),
        (
            0,
            field("income", "integer", categories=[1, 2**24 + 1]),
            "got category 16777217; want a value that float32 holds",
        ),
        (
            7,
            field("tenure", "string", categories=["a"], may_be_missing=True),
            "may_be_missing for an input of string",
        ),
    ],
)
def test_a_card_that_could_not_be_fed_is_refused(place: int, told: Field, message: str) -> None:
    with pytest.raises(CardRefusedError, match=message):
        make_schema((*FIELDS[:place], told, *FIELDS[place + 1 :]))


def test_a_whole_field_in_a_float_input_may_be_missing_as_nan() -> None:
    schema = make_schema((*FIELDS[:2], field("rooms", "integer", may_be_missing=True), *FIELDS[3:]))
    assert math.isnan(schema.encode({**CASE, "rooms": None}).feeds["floats"][0, 2])


def test_many_rows_are_fed_as_one_by_one() -> None:
    other = {**CASE, "income": 1.0, "tenure": "Council"}
    feeds = feeds_of(SCHEMA, [CASE, other])
    for name, rows in feeds.items():
        for number, case in enumerate((CASE, other)):
            np.testing.assert_array_equal(rows[number], SCHEMA.encode(case).feeds[name][0])


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=3,
)
numbers = st.integers(-(2**70), 2**70) | st.floats()


@given(
    st.dictionaries(
        st.sampled_from([f.name for f in FIELDS]) | st.text(string.printable, max_size=5),
        anything,
    )
)
def test_any_case_is_encoded_or_rejected_and_nothing_else(case: dict[str, object]) -> None:
    faults = faults_or_none(case)
    assert all(f.message and f.code and f.allowed for f in faults)
    assert (set(case) == {f.name for f in FIELDS}) or faults
    for name, value in case.items():
        assert len(faults_or_none({**CASE, name: value})) <= 1


@given(numbers, st.sampled_from([("savings", "floats", 1), ("rooms", "floats", 2)]))
def test_a_whole_number_accepted_into_float32_is_held_exactly(
    value: float, place: tuple[str, str, int]
) -> None:
    name, graph_input, column = place
    try:
        encoded = SCHEMA.encode({**CASE, name: value})
    except CaseRejectedError:
        return
    fed = encoded.feeds[graph_input][0, column].item()
    assert encoded.values[name] == value
    assert fed == (value if float(value).is_integer() else float(np.float32(value)))


@given(numbers, st.sampled_from(["age", "count", "amount"]))
def test_a_number_accepted_into_a_wider_input_is_held_exactly(value: float, name: str) -> None:
    try:
        encoded = SCHEMA.encode({**CASE, name: value})
    except CaseRejectedError:
        return
    assert encoded.feeds[name].item() == value == encoded.values[name]


def test_the_json_schema_says_what_encode_does() -> None:
    schema = SCHEMA.json_schema()
    assert schema["required"] == [f.name for f in FIELDS]
    assert schema["additionalProperties"] is False
    properties = schema["properties"]
    assert isinstance(properties, dict)
    assert properties["income"] == {
        "type": "number",
        "title": "income",
        "description": "Unit: £ a week.",
        "minimum": 0.0,
        "maximum": 5000.0,
    }
    assert properties["savings"]["type"] == ["number", "null"]
    assert (properties["rooms"]["minimum"], properties["rooms"]["maximum"]) == (0, 2**24)
    assert properties["tenure"]["enum"] == ["Council", "Private"]
    assert "enum" not in properties["notice"]
    assert properties["notice"]["maxLength"] == MAX_TEXT
