"""Numbers in words: never a certainty that is not one, never more than a person reads."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import Advice, Reason, Rule
from app.words import MOST_REASONS, percent, points, rank, sentence, summary, tell
from models.card import Value
from tests.models.graphs import field

sizes = st.floats(-1, 1, allow_subnormal=False)


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


def reason(
    name: str,
    contribution: float,
    *,
    supported_by: int = 1,
    value: Value = 3.0,
    in_probability: bool = True,
) -> Reason:
    return Reason(
        field=field(name, label=f"Label {name}", wording=f"{name} of {{value}}"),
        value=value,
        contribution=contribution,
        probability_change=contribution / 4 if in_probability else None,
        contrast=None,
        supports=None if contribution == 0 else (contribution > 0) == (supported_by > 0),
    )


def test_a_reason_is_a_sentence_with_direction_and_size() -> None:
    assert sentence(reason("rent", 0.4)) == "Rent of 3 raised the estimate by 10 points."
    assert sentence(reason("rent", -0.04)) == "Rent of 3 lowered the estimate by 1 point."


def test_what_is_not_a_probability_is_said_in_its_own_unit() -> None:
    assert (
        sentence(reason("rent", -1234.5678, in_probability=False))
        == "Rent of 3 lowered the estimate by 1.23e+03."
    )


def test_a_text_without_letters_leaves_the_fields_name() -> None:
    empty = Reason(
        field=field("remark", "string", label="Remark", wording="{value}", categories=["", "x"]),
        value="",
        contribution=0.4,
        probability_change=0.1,
        contrast=None,
        supports=True,
    )
    assert sentence(empty) == "Remark raised the estimate by 10 points."


reasons_drawn = st.lists(sizes, max_size=15).flatmap(
    lambda drawn: st.sampled_from([1, -1]).map(
        lambda sign: [
            reason(f"f{place}", size, supported_by=sign) for place, size in enumerate(drawn)
        ]
    )
)


@given(reasons_drawn)
def test_at_most_seven_are_named_and_all_that_count_are_counted(reasons: list[Reason]) -> None:
    told = tell(reasons)
    counting = [each for each in reasons if each.contribution != 0]
    lines = told.supporting + told.opposing
    together = [re.match(r"(\d+) other factors?\b", line) for line in lines]
    named = sum(match is None for match in together)
    assert named == min(len(counting), MOST_REASONS)
    assert named + sum(int(match[1]) for match in together if match) == len(counting)
    assert sum(match is not None for match in together) <= 2


@given(reasons_drawn)
def test_the_sides_are_for_and_against_and_strongest_first(reasons: list[Reason]) -> None:
    told = tell(reasons)
    by_sentence = {sentence(each): each for each in reasons if each.contribution != 0}
    for lines, supports in ((told.supporting, True), (told.opposing, False)):
        named = [by_sentence[line] for line in lines if "other factor" not in line]
        assert all(each.supports is supports for each in named)
        strengths = [abs(each.contribution) for each in named]
        assert strengths == sorted(strengths, reverse=True)
        # The line for the rest, where there is one, comes last.
        assert all("other factor" not in line for line in lines[:-1])
    assert told.strongest == [sentence(each) for each in rank(reasons)[:3]]


@given(reasons_drawn)
def test_what_is_said_adds_up_to_the_change_as_nearly_as_it_is_rounded(
    reasons: list[Reason],
) -> None:
    told = tell(reasons)
    total, roughness = 0.0, 0.0
    for line in told.supporting + told.opposing:
        sign = 1 if " raised " in line else -1
        said = line.rsplit(" by ", 1)[1].split()[0]
        total += 0.0 if said == "less" else sign * float(said)
        roughness += 0.1 if said == "less" else 0.05
    exact = sum(each.contribution / 4 for each in reasons) * 100
    assert abs(total - exact) <= roughness + 1e-9


def test_ties_keep_the_cards_order() -> None:
    tied = [reason("b", 0.2), reason("a", -0.2), reason("c", 0.2), reason("d", 0.3)]
    assert [each.field.name for each in rank(tied)] == ["d", "b", "a", "c"]


def test_eight_reasons_end_in_the_one_that_is_left() -> None:
    told = tell([reason(f"f{n}", 0.8 - n / 10) for n in range(8)])
    assert len(told.supporting) == MOST_REASONS + 1
    assert told.supporting[-1] == "1 other factor raised the estimate by 2.5 points."
    nine = tell([reason(f"f{n}", 0.9 - n / 10) for n in range(9)])
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
