"""Random policies on random cases: always the same, always an outcome or a refusal, and in order."""

import math
import os
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.conditions import Conditions
from app.domain import Circumstances, Origin
from app.judging import Judge
from app.policy import Policy
from models.card import Value
from models.schema import EncodedCase, Flag
from tests.app import tiny

EXAMPLES = 10_000 if os.environ.get("GROUNDS_LONG") else 300
ON = date(2026, 11, 24)
FIELDS = tiny.card().fields
OUTCOMES = ("refuse", "ask", "grant")
EXPRESSIONS = (
    "adverse", "near_threshold", "unfamiliar", "small_group", "score > 0.5", "outcome == 'ask'",
    "case.amount > 10.0", "case.count == 3", "case.answer == 'yes'", "size(stale) > 0",
    "adverse && size(estimated) > 0", "'amount' in imputed", "size(missing) > 0", "purpose == 'a'",
)  # fmt: skip
KINDS = ("person", "evidence", "second_person", "no_advice")

scores = st.floats(0, 1)


@st.composite
def written(draw: st.DrawFn) -> dict[str, Any]:
    """Return a policy as a body might write it, its outcomes in any order."""
    starts = [0.0, *sorted(draw(st.sets(st.floats(0.01, 1), max_size=4)))]
    outcomes = [draw(st.sampled_from(OUTCOMES)) for _ in starts]
    content: dict[str, Any] = {
        "policy": "random",
        "version": "1",
        "model": tiny.NAME,
        "description": "Random.",
        "near_threshold": draw(st.floats(0, 0.2)),
        "what_would_change": "never",
        "bands": [
            {
                "rule": f"band-{place}",
                "at_least": start,
                "outcome": outcome,
                "label": outcome,
                "supported_by": "higher",
                "adverse": outcome == "refuse",
            }
            for place, (start, outcome) in enumerate(zip(starts, outcomes, strict=True))
        ],
        "rules": [
            {
                "rule": f"rule-{place}",
                "when": draw(st.sampled_from(EXPRESSIONS)),
                "requires": draw(st.sampled_from(KINDS)),
                "description": "Random.",
            }
            for place in range(draw(st.integers(0, 4)))
        ],
        "provenance": {"stale_after_days": {"amount": 30}},
        "small_group": {"fields": ["answer"], "fewer_than": 3},
    }
    if draw(st.booleans()):
        content["outcomes_rise"] = [each for each in OUTCOMES if each in outcomes]
    return content


@st.composite
def cases(draw: st.DrawFn) -> tuple[EncodedCase, Circumstances, bool]:
    values: dict[str, Value] = {
        "amount": draw(st.none() | st.floats(0, 50)),
        "count": draw(st.none() | st.integers(0, 5)),
        "answer": draw(st.sampled_from([None, "yes", "no", "perhaps"])),
    }
    flags = tuple(Flag(name, "missing") for name, value in values.items() if value is None)
    origins = {
        name: Origin(
            draw(st.sampled_from(["declared", "verified", "estimated", "imputed"])),
            draw(st.none() | st.integers(0, 100).map(lambda days: ON - timedelta(days))),
        )
        for name in draw(st.sets(st.sampled_from(sorted(values))))
    }
    said = Circumstances(purpose=draw(st.sampled_from([None, "a"])), provenance=origins)
    return EncodedCase(feeds={}, values=values, flags=flags), said, draw(st.booleans())


def judge_of(policy: Policy) -> Judge:
    return Judge(Conditions(policy.rules, FIELDS), {"answer": {"yes": 5, "no": 2}})


def judged(policy: Policy, score: float, given_: tuple[EncodedCase, Circumstances, bool]) -> Any:
    case, said, unfamiliar = given_
    return judge_of(policy).judge(
        policy, score, target=0, case=case, circumstances=said, is_unfamiliar=unfamiliar, on=ON
    )


def accepted(content: Mapping[str, Any]) -> Policy | None:
    """Return the policy; None for one that says it rises and does not."""
    try:
        return Policy.model_validate(content)
    except ValidationError as err:
        if "do not rise" not in str(err):
            raise
        return None


@settings(max_examples=EXAMPLES)
@given(content=written(), score=scores, given_=cases())
def test_the_same_case_has_the_same_advice_under_the_same_policy(
    content: dict[str, Any], score: float, given_: tuple[EncodedCase, Circumstances, bool]
) -> None:
    policy = accepted(content)
    if policy is None:
        return
    first = judged(policy, score, given_)
    again = judged(Policy.model_validate(content), score, given_)
    assert first == again
    # Total: one of the policy's outcomes, or a refusal that names its rule.
    band = policy.band(first.rule.id)
    assert band is not None
    assert band.outcome == first.outcome
    withheld = [each.rule.id for each in first.requires if each.kind == "no_advice"]
    assert first.is_withheld == bool(withheld)
    # No rule made the outcome another: it is the band's alone.
    assert first.outcome == policy.apply(score, target=0).outcome
    assert len({each.rule.id for each in first.requires}) == len(first.requires)


@settings(max_examples=EXAMPLES)
@given(content=written(), low=scores, high=scores, given_=cases())
def test_where_declared_a_higher_score_never_leads_to_an_earlier_outcome(
    content: dict[str, Any],
    low: float,
    high: float,
    given_: tuple[EncodedCase, Circumstances, bool],
) -> None:
    policy = accepted(content)
    if policy is None or not policy.outcomes_rise:
        return
    places = [
        policy.outcomes_rise.index(judged(policy, score, given_).outcome)
        for score in sorted((low, high))
    ]
    assert places == sorted(places)


def test_bands_that_fall_are_refused_only_where_rising_is_declared() -> None:
    """The near miss: the same bands, with and without the claim."""
    bands = [
        {**band, "outcome": outcome}
        for band, outcome in zip(tiny.policy()["bands"], ("grant", "refuse"), strict=True)  # type: ignore[call-overload]  # a list of two
    ]
    content = {**tiny.policy(), "bands": bands}
    falling = Policy.model_validate(content)
    assert falling.apply(0.9, target=0).outcome == "refuse"
    with pytest.raises(ValidationError, match="do not rise"):
        Policy.model_validate({**content, "outcomes_rise": ["refuse", "grant"]})
    Policy.model_validate({**content, "outcomes_rise": ["grant", "refuse"]})


@pytest.mark.parametrize(("days", "stale"), [(30, False), (31, True)])
def test_a_value_is_stale_from_the_day_after_its_last(days: int, stale: bool) -> None:
    policy = Policy.model_validate(
        {**tiny.policy(), "provenance": {"stale_after_days": {"amount": 30}}}
    )
    said = Circumstances(provenance={"amount": Origin("declared", ON - timedelta(days))})
    case = EncodedCase(feeds={}, values=dict(tiny.CASE), flags=())
    assert judged(policy, 0.2, (case, said, False)).stale == (("amount",) if stale else ())


@pytest.mark.parametrize(("least", "small"), [(2, False), (3, True)])
def test_a_group_is_small_below_the_number_and_unseen_values_are_of_none(
    least: int, small: bool
) -> None:
    policy = Policy.model_validate(
        {**tiny.policy(), "small_group": {"fields": ["answer"], "fewer_than": least}}
    )
    judge = judge_of(policy)
    assert judge.is_small_group(policy, {"answer": "no"}) is small
    assert judge.is_small_group(policy, {"answer": "unseen"})
    assert not judge.is_small_group(policy, {"answer": "yes"})


def test_a_broken_limit_withholds_the_advice_whatever_the_rules() -> None:
    policy = Policy.model_validate(tiny.policy())
    case = EncodedCase(feeds={}, values=dict(tiny.CASE), flags=())
    assert judged(policy, 0.2, (case, Circumstances(unaided=True), False)).is_withheld
    assert not judged(policy, 0.2, (case, Circumstances(), False)).is_withheld
    assert math.isclose(judged(policy, 0.2, (case, Circumstances(), False)).score, 0.2)
