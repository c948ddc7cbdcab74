"""Rules ask for care, are checked when they are loaded, and are never taken as met by default."""

import random
from collections.abc import Mapping
from typing import Any

import pytest

from app.conditions import GENERAL, ConditionError, Conditions
from app.policy_terms import CareRule
from models.card import Value
from tests.models.graphs import field

FIELDS = (
    field("rent", wording="{value}", input="x"),
    field("children", "integer", wording="{value}", input="x"),
    field("tenure", "string", wording="{value}", categories=["own", "rent"], input="x"),
    field("disabled", "boolean", wording="{value}", input="x"),
    field("weekly rent", wording="{value}", input="x"),
)
CASE: dict[str, Value] = {
    "rent": 100.0, "children": 2, "tenure": "rent", "disabled": False, "weekly rent": 1.0,
}  # fmt: skip
LISTS = ("missing", "unknown", "declared", "verified", "estimated", "imputed", "stale")
FACTS: dict[str, object] = {
    "score": 0.4,
    "outcome": "no",
    "adverse": True,
    "near_threshold": False,
    "unfamiliar": False,
    "small_group": False,
    "purpose": "",
    **{name: [] for name in LISTS},
}


def rule(when: str, requires: str = "person", name: str = "a-rule") -> CareRule:
    return CareRule.model_validate(
        {"rule": name, "when": when, "requires": requires, "description": "Why."}
    )


def judged(
    *rules: CareRule, case: Mapping[str, Value] | None = None, **facts: object
) -> list[tuple[str, str]]:
    asked = Conditions(rules, FIELDS).judge(case or CASE, {**FACTS, **facts})
    return [(each.rule.id, each.kind) for each in asked]


@pytest.mark.parametrize(
    ("when", "applies"),
    [
        ("adverse", True),
        ("adverse && size(estimated) > 0", False),
        ("score < 0.5 && outcome == 'no'", True),
        ("case.rent > 99.5", True),
        ("case.rent > 100.0", False),
        ("case.children == 2 && case.tenure in ['rent']", True),
        ("case.disabled || near_threshold", False),
        ("adverse // and a comment", True),
    ],
)
def test_a_rule_asks_where_its_expression_is_true_and_only_there(when: str, applies: bool) -> None:
    asked = [("a-rule", "person")] if applies else []
    assert judged(rule(when)) == asked
    assert judged(rule("false", name="other"), rule(when)) == asked


def test_every_general_name_can_be_read() -> None:
    assert FACTS.keys() == GENERAL.keys()
    for name in LISTS:
        conditions = Conditions((rule(f"'rent' in {name}"),), FIELDS)
        assert len(conditions.judge(CASE, {**FACTS, name: ["rent"]})) == 1
        assert judged(rule(f"'rent' in {name}")) == []


@pytest.mark.parametrize(
    ("when", "complaint"),
    [
        ("case.rnt > 1.0", "undeclared reference to 'case.rnt'"),
        ("case.rent > 1", "no matching overload"),
        ("case.rent > 'a'", "no matching overload"),
        ("scor > 0.1", "undeclared reference to 'scor'"),
        ("score", "gives DOUBLE, want true or false"),
        ("adverse &&", "Syntax error"),
        ("case.weekly rent > 1.0", "Syntax error"),
        ("now() > 1", "undeclared reference"),
    ],
)
def test_a_rule_that_does_not_fit_the_card_is_refused_when_loaded(
    when: str, complaint: str
) -> None:
    with pytest.raises(ConditionError, match="rule a-rule: ") as refused:
        Conditions((rule(when),), FIELDS)
    assert complaint in str(refused.value)


@pytest.mark.parametrize("others", [(), (rule("false", name="other"),)])
def test_a_rule_over_a_missing_value_withholds_the_advice(others: tuple[CareRule, ...]) -> None:
    case = {**CASE, "rent": None}
    assert judged(rule("case.rent > 1.0"), *others, case=case) == [("a-rule", "no_advice")]
    # The near misses: a guard before it, and a value that is there.
    guarded = rule("!('rent' in missing) && case.rent > 1.0")
    assert judged(guarded, *others, case=case, missing=["rent"]) == []
    assert judged(rule("case.rent > 1.0"), *others) == [("a-rule", "person")]


def test_a_rule_that_fails_does_not_hide_another_that_applies() -> None:
    asked = judged(
        rule("case.rent > 1.0", name="broken"),
        rule("adverse", "second_person", name="sound"),
        case={**CASE, "rent": None},
    )
    assert asked == [("broken", "no_advice"), ("sound", "second_person")]


def test_one_look_at_all_rules_finds_what_each_alone_finds() -> None:
    """The shortcut against the long way, on random sets of rules and cases."""
    draw = random.Random(5)  # noqa: S311  # a test, the same on every run
    texts = [
        "adverse", "near_threshold", "case.rent > 50.0", "case.children > 1",
        "size(estimated) > 0", "score >= 0.5", "case.tenure == 'own'",
    ]  # fmt: skip
    for _ in range(200):
        chosen = [
            rule(draw.choice(texts), draw.choice(["person", "evidence", "no_advice"]), f"r{n}")
            for n in range(draw.randint(1, 5))
        ]
        case: dict[str, Value] = {
            **CASE,
            "rent": draw.choice([None, 20.0, 80.0]),
            "children": draw.choice([None, 0, 3]),
        }
        facts: dict[str, Any] = {
            "adverse": draw.random() < 0.5,
            "near_threshold": draw.random() < 0.3,
            "estimated": draw.choice([[], ["rent"]]),
            "score": draw.random(),
        }
        together = judged(*chosen, case=case, **facts)
        alone = [found for each in chosen for found in judged(each, case=case, **facts)]
        assert together == alone
