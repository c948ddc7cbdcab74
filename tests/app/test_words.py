"""Numbers in words: never a certainty that is not one, never more than a person reads."""

import re
from collections.abc import Sequence
from dataclasses import replace
from math import inf, nextafter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import Advice, Rule
from app.words import (
    MOST_REASONS,
    NOTHING,
    Moved,
    Teller,
    Told,
    figure,
    percent,
    points,
    rank,
    summary,
)
from models.card import Value
from models.wording import phrase
from tests.app.test_policy import ruled, starts
from tests.models.graphs import field

sizes = st.floats(-1, 1, allow_subnormal=False)
shares = st.one_of(st.floats(0, 1), st.integers(0, 100).map(lambda whole: whole / 100))


@pytest.mark.parametrize(
    ("probability", "words"),
    [
        (0.0, "0%"),
        (5e-324, "less than 1%"),
        (0.0049, "less than 1%"),
        (0.005, "less than 1%"),
        (0.0051, "1%"),
        (0.0149, "1%"),
        (0.494, "49%"),
        (0.5, "50%"),
        (0.9949, "99%"),
        (0.9951, "more than 99%"),
        (1 - 2**-53, "more than 99%"),
        (1.0, "100%"),
    ],
)
def test_a_probability_is_a_whole_percentage_and_claims_no_certainty(
    probability: float, words: str
) -> None:
    assert percent(probability) == words


@given(st.floats(0, 1))
def test_only_a_certain_probability_is_called_certain(probability: float) -> None:
    words = percent(probability)
    assert (words == "0%") == (probability == 0)
    assert (words == "100%") == (probability == 1)
    figure = int("".join(c for c in words if c.isdigit()))
    assert abs(figure - probability * 100) <= 1


@pytest.mark.parametrize(
    ("probability", "within", "words"),
    [
        (0.04997, (0.0, 0.05), "4.997%"),
        (0.5, (0.5, inf), "50%"),
        (0.4996, (-inf, 0.5), "49.96%"),
        (0.15433, (0.15431, inf), "15.433%"),
        (0.0049, (0.001, 0.0049001), "less than 1%"),
        (0.28999, (0.28, 0.29), "28.999%"),
        (0.28999, (0.28, 0.295), "29%"),
    ],
)
def test_a_percentage_has_the_decimals_that_its_rule_asks_for(
    probability: float, within: tuple[float, float], words: str
) -> None:
    assert percent(probability, within=within) == words


@given(st.lists(shares, min_size=3, max_size=3, unique=True).map(sorted))
def test_a_rounded_percentage_is_never_outside_the_scores_of_its_rule(drawn: list[float]) -> None:
    low, score, high = drawn
    for within in ((low, high), (score, high), (-inf, high), (low, inf)):
        words = percent(score, within=within)
        if words.endswith("%") and words[0].isdigit():
            assert within[0] <= float(words.replace("%", "e-2")) < within[1]


@given(st.lists(st.floats(-1e14, 1e14), min_size=3, max_size=3, unique=True).map(sorted))
def test_a_rounded_number_is_never_outside_the_scores_of_its_rule(drawn: list[float]) -> None:
    low, score, high = drawn
    for within in ((low, high), (score, high), (-inf, high), (low, inf)):
        assert within[0] <= float(figure(score, within=within).replace(",", "")) < within[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (1e-300, "less than 0.1 points"),
        (0.00099, "less than 0.1 points"),
        (0.001, "0.1 points"),
        (-0.001, "0.1 points"),
        (0.0094, "0.9 points"),
        (0.00999, "1 point"),
        (0.01, "1 point"),
        (-0.0104, "1 point"),
        (0.0106, "1.1 points"),
        (0.1, "10 points"),
        (0.2139, "21.4 points"),
        (-1.0, "100 points"),
    ],
)
def test_a_change_is_in_percentage_points(change: float, words: str) -> None:
    assert points(change) == words


@given(sizes)
def test_points_are_right_to_a_tenth_and_never_nothing(change: float) -> None:
    words = points(change)
    assert not words.startswith("0 ")
    if not words.startswith("less"):
        assert abs(float(words.split()[0]) - abs(change) * 100) <= 0.05 + 1e-9


def teller(count: int) -> Teller:
    return Teller(
        [field(f"f{n}", label=f"Label {n}", wording=f"f{n} of {{value}}") for n in range(count)]
    )


def moved(
    contributions: Sequence[float],
    *,
    supported_by: int = 1,
    values: Sequence[Value] | None = None,
    in_probability: bool = True,
) -> Moved:
    return Moved(
        values=[3.0] * len(contributions) if values is None else values,
        contributions=contributions,
        changes=[each / 4 for each in contributions] if in_probability else None,
        contrast=None,
        supported_by=supported_by,
    )


def tell(given: Moved) -> Told:
    return teller(len(given.values)).tell(given)


def sentence(given: Moved, place: int = 0) -> str:
    return teller(len(given.values)).sentence(given, place)


def test_a_reason_is_a_sentence_with_direction_and_size() -> None:
    assert sentence(moved([0.4])) == "F0 of 3 raised the estimate by 10 points."
    assert sentence(moved([-0.04])) == "F0 of 3 lowered the estimate by 1 point."


def test_what_is_not_a_probability_is_said_in_its_own_unit() -> None:
    assert (
        sentence(moved([-1234.5678], in_probability=False))
        == "F0 of 3 lowered the estimate by 1,235."
    )


@pytest.mark.parametrize(
    ("unit", "size", "together", "estimate"),
    [
        ("weeks", "2.5 weeks", "3 weeks", "12.25 weeks"),
        ("£ a week", "£2.5 a week", "£3 a week", "£12.25 a week"),
        ("%", "2.5 points", "3 points", "12.25%"),
        (None, "2.5", "3", "12.25"),
    ],
)
def test_a_number_is_told_in_the_cards_unit(
    unit: str | None, size: str, together: str, estimate: str
) -> None:
    count = MOST_REASONS + 2
    names = [field(f"f{n}", wording=f"f{n} of {{value}}") for n in range(count)]
    numbers = [2.5] * MOST_REASONS + [1.5] * 2
    told = Teller(names, unit).tell(moved(numbers, in_probability=False))
    assert told.supporting[0] == f"F0 of 3 raised the estimate by {size}."
    assert told.supporting[-1] == f"2 other factors together raised the estimate by {together}."
    said = summary(
        advice(score=12.25, near=False), is_probability=False, base_probability=None, unit=unit
    )
    assert said.endswith(f"Its estimate for this case is {estimate}.")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (0.65625, "0.656"),
        (999.4, "999"),
        (999.6, "1,000"),
        (-54321.5, "-54,322"),
        (999_999_999_999_999.0, "999,999,999,999,999"),
        (1e15, "1e+15"),
        (-0.0000631, "-0.0000631"),
        (0.00009996, "0.0001"),
        (1e-9, "0.000000001"),
        (9e-10, "9e-10"),
    ],
)
def test_a_number_is_written_out_as_people_read_it(number: float, words: str) -> None:
    assert figure(number) == words


def test_a_text_without_letters_leaves_the_fields_name() -> None:
    remark = field("remark", "string", label="Remark", wording="{value}", categories=["", "x"])
    empty = moved([0.4], values=[""])
    assert Teller([remark]).sentence(empty, 0) == "Remark raised the estimate by 10 points."


@pytest.mark.parametrize("value", ["x", "", None, "stranger", "missing"])
def test_a_looked_up_phrase_is_the_one_that_would_be_made(value: Value) -> None:
    remark = field(
        "remark",
        "string",
        label="Remark",
        wording="says {value} and {value}",
        categories=["", "x"],
        may_be_missing=True,
        value_wording={"x": "crossed", "missing": "nothing said"},
    )
    words = phrase(remark, value)
    told = Teller([remark]).sentence(moved([0.4], values=[value]), 0)
    assert told == f"{words[0].upper()}{words[1:]} raised the estimate by 10 points."


@pytest.mark.parametrize("value", [None, 0.0, -0.004, -3.0, 1234.5, 2e15])
@pytest.mark.parametrize(
    "wording", ["rent", "rent of {value}", "élan {value}", "ß {value} and {value}", "{value} left"]
)
@pytest.mark.parametrize("unit", [None, "£ a week", "%", "days"])
def test_a_sentence_about_a_number_is_its_phrase_with_a_capital(
    value: Value, wording: str, unit: str | None
) -> None:
    rent = field("rent", label="Rent", wording=wording, unit=unit, may_be_missing=True)
    words = phrase(rent, value)
    told = Teller([rent]).sentence(moved([0.4], values=[value]), 0)
    assert told == f"{words[0].upper()}{words[1:]} raised the estimate by 10 points."


moves_drawn = st.builds(
    lambda drawn, sign: moved(drawn, supported_by=sign),
    st.lists(sizes, max_size=15),
    st.sampled_from([1, -1]),
)


@given(moves_drawn)
def test_at_most_seven_are_named_and_all_that_count_are_counted(given: Moved) -> None:
    told = tell(given)
    least = NOTHING * max(map(abs, given.contributions), default=0.0)
    counting = [each for each in given.contributions if abs(each) > least]
    lines = told.supporting + told.opposing
    together = [re.match(r"(\d+) other factors?\b", line) for line in lines]
    named = sum(match is None for match in together)
    assert named == min(len(counting), MOST_REASONS)
    assert named + sum(int(match[1]) for match in together if match) == len(counting)
    assert sum(match is not None for match in together) <= 2


@given(moves_drawn)
def test_the_sides_are_for_and_against_and_strongest_first(given: Moved) -> None:
    told = tell(given)
    by_sentence = {
        sentence(given, place): contribution
        for place, contribution in enumerate(given.contributions)
        if contribution != 0
    }
    for lines, supports in ((told.supporting, True), (told.opposing, False)):
        named = [by_sentence[line] for line in lines if "other factor" not in line]
        assert all((each * given.supported_by > 0) is supports for each in named)
        strengths = [abs(each) for each in named]
        assert strengths == sorted(strengths, reverse=True)
        # The line for the rest, where there is one, comes last.
        assert all("other factor" not in line for line in lines[:-1])
    ranked = rank(given.contributions)
    assert told.strongest == [sentence(given, place) for place in ranked[:3]]


@given(moves_drawn)
def test_what_is_said_adds_up_to_the_change_as_nearly_as_it_is_rounded(given: Moved) -> None:
    told = tell(given)
    total, roughness = 0.0, 0.0
    for line in told.supporting + told.opposing:
        sign = 1 if " raised " in line else -1
        said = line.rsplit(" by ", 1)[1].split()[0]
        total += 0.0 if said == "less" else sign * float(said)
        roughness += 0.1 if said == "less" else 0.05
    exact = sum(each / 4 for each in given.contributions) * 100
    assert abs(total - exact) <= roughness + 1e-9


def test_ties_keep_the_cards_order() -> None:
    assert rank([0.2, -0.2, 0.0, 0.2, 0.3]) == [4, 0, 1, 3]


def test_what_is_left_of_rounding_is_no_factor() -> None:
    """A million less a million is 1e-10, and moves nothing."""
    assert rank([4e6, -7e-12, 5e-6]) == [0, 2]
    told = tell(moved([4e6, -7e-12], in_probability=False))
    assert told.supporting == ["F0 of 3 raised the estimate by 4,000,000."]
    assert told.opposing == []


def test_eight_reasons_end_in_the_one_that_is_left() -> None:
    told = tell(moved([0.8 - n / 10 for n in range(8)]))
    assert len(told.supporting) == MOST_REASONS + 1
    assert told.supporting[-1] == "1 other factor raised the estimate by 2.5 points."
    nine = tell(moved([0.9 - n / 10 for n in range(9)]))
    assert nine.supporting[-1] == "2 other factors together raised the estimate by 7.5 points."


def advice(*, score: float, near: bool) -> Advice:
    return Advice(
        outcome="award",
        label="Award support",
        rule=Rule("high", "the score is 0.5 or more"),
        score=score,
        target=1,
        supported_by=1,
        near_threshold=near,
        adverse=False,
    )


def test_the_summary_says_outcome_estimate_and_starting_point() -> None:
    assert summary(advice(score=0.8, near=False), is_probability=True, base_probability=0.004) == (
        "The model suggests: Award support. Its estimate for this case is 80%, from a starting "
        "point of less than 1% for comparable cases."
    )
    near = summary(advice(score=0.5, near=True), is_probability=True, base_probability=0.4)
    assert near.endswith("a small change could turn it.")
    assert "%" not in summary(
        advice(score=1234.5, near=False), is_probability=False, base_probability=None
    )


def test_the_summarys_estimate_does_not_contradict_the_rule() -> None:
    """Fifty percent is not below one half."""
    below = replace(advice(score=0.4996, near=False), within=(-inf, 0.5))
    told = summary(below, is_probability=True, base_probability=0.4)
    assert "is 49.96%, from a starting point of 40%" in told
    assert "is 49.96%." in summary(below, is_probability=True, base_probability=None)
    number = replace(advice(score=1.3599051, near=False), within=(-inf, 1.36))
    told = summary(number, is_probability=False, base_probability=None)
    assert "is 1.3599." in told


@given(
    starts,
    st.lists(st.sampled_from("abc"), min_size=7, max_size=7),
    shares,
    st.sampled_from([0.0, 0.01, 0.2]),
)
def test_a_summary_says_of_a_score_what_the_policy_makes_of_it(
    at: list[float], outcomes: list[str], score: float, near: float
) -> None:
    """Asked of the policy itself: of the estimate as it is rounded, and of both sides of each line."""
    policy = ruled(outcomes, at, near=near)
    given = policy.apply(score, target=0)
    said = re.fullmatch(
        r"The model suggests: No\. Its estimate for this case is ([^%]*)%\.( This is close .*)?",
        summary(given, is_probability=True, base_probability=None),
    )
    assert said
    if not said[1].startswith(("less", "more")):
        assert policy.apply(float(f"{said[1]}e-2"), target=0).rule == given.rule
    turns = any(
        policy.apply(line, target=0).outcome != policy.apply(nextafter(line, -1), target=0).outcome
        for line in at[1:]
        if abs(score - line) < near
    )
    assert bool(said[2]) is turns
