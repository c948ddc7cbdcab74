"""A policy gives every score exactly one outcome, the same every time, and in the order of bands."""

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from app.policy import Policy, PolicyError, load_policy

BANDS = [
    {"rule": "low", "at_least": 0.0, "outcome": "no", "label": "No", "supported_by": "lower", "adverse": True},
    {"rule": "middle", "at_least": 0.4, "outcome": "ask", "label": "Ask", "supported_by": "higher", "adverse": False},
    {"rule": "high", "at_least": 0.7, "outcome": "yes", "label": "Yes", "supported_by": "higher", "adverse": False},
]  # fmt: skip
PLAIN: dict[str, object] = {
    "policy": "test",
    "version": "1",
    "model": "tiny",
    "description": "Three outcomes.",
    "near_threshold": 0.05,
    "what_would_change": "never",
    "bands": BANDS,
}

scores = st.floats(0, 1)
starts = st.lists(st.floats(0, 1, exclude_min=True), min_size=0, max_size=6, unique=True).map(
    lambda rest: [0.0, *sorted(rest)]
)


def policy(starts_at: list[float], *, near: float = 0.05) -> Policy:
    return Policy.model_validate(
        {
            **PLAIN,
            "near_threshold": near,
            "bands": [
                {**BANDS[0], "rule": f"band-{place}", "outcome": f"outcome-{place}", "at_least": at}
                for place, at in enumerate(starts_at)
            ],
        }
    )


def place(of: Policy, score: float) -> int:
    return int(of.apply(score, target=0).outcome.removeprefix("outcome-"))


@given(starts, scores)
def test_every_score_has_one_outcome_whose_band_holds_it(at: list[float], score: float) -> None:
    chosen = place(policy(at), score)
    ends = [*at[1:], math.inf]
    assert at[chosen] <= score < ends[chosen]
    assert sum(low <= score < high for low, high in zip(at, ends, strict=True)) == 1


@given(starts, scores)
def test_the_same_score_always_has_the_same_outcome(at: list[float], score: float) -> None:
    first = policy(at).apply(score, target=3)
    assert policy(at).apply(score, target=3) == first
    assert (first.score, first.target) == (score, 3)


@given(starts, scores, scores)
def test_a_higher_score_never_falls_into_a_lower_band(at: list[float], a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert place(policy(at), low) <= place(policy(at), high)


@given(starts)
def test_each_band_begins_exactly_at_its_threshold(at: list[float]) -> None:
    made = policy(at)
    for number, start in enumerate(at):
        assert place(made, start) == number
        if number:
            assert place(made, math.nextafter(start, -1)) == number - 1


@given(starts, scores, st.floats(0, 0.5))
def test_near_is_nearer_than_the_margin_to_a_line_between_two_outcomes(
    at: list[float], score: float, near: float
) -> None:
    advice = policy(at, near=near).apply(score, target=0)
    assert advice.near_threshold == any(abs(score - line) < near for line in at[1:])


def test_the_lowest_possible_score_is_not_a_line() -> None:
    assert not policy([0.0, 0.5]).apply(0.0, target=0).near_threshold
    assert policy([0.0, 0.5]).apply(0.46, target=0).near_threshold


@pytest.mark.parametrize(
    ("score", "rule", "description"),
    [
        (0.0, "low", "the score is below 0.4"),
        (0.4, "middle", "the score is 0.4 or more and below 0.7"),
        (1.0, "high", "the score is 0.7 or more"),
    ],
)
def test_the_rule_is_said_in_words(score: float, rule: str, description: str) -> None:
    advice = Policy.model_validate(PLAIN).apply(score, target=0)
    assert (advice.rule.id, advice.rule.description) == (rule, description)


def test_a_score_that_is_not_a_number_has_no_outcome() -> None:
    with pytest.raises(PolicyError, match="no band for the score"):
        Policy.model_validate(PLAIN).apply(math.nan, target=0)


def test_a_score_below_every_band_has_no_outcome() -> None:
    with pytest.raises(PolicyError, match="no band"):
        policy([0.0]).apply(-0.1, target=0)


def write(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_the_digest_names_the_meaning_and_not_the_spelling(tmp_path: Path) -> None:
    plain = load_policy(write(tmp_path, PLAIN), lowest_score=0)
    spelt = load_policy(
        write(tmp_path, "# a comment\n" + yaml.safe_dump(PLAIN, default_flow_style=True)),
        lowest_score=0,
    )
    other = load_policy(write(tmp_path, {**PLAIN, "near_threshold": 0.051}), lowest_score=0)
    assert plain.digest == spelt.digest != other.digest
    assert plain.digest.startswith("sha256:")


def test_a_policy_keeps_its_digest_whatever_policies_learn_to_say() -> None:
    """Every recorded decision names it: what was by default when it was written is not in it."""
    assert Policy.model_validate(PLAIN).digest == (
        "sha256:d123a15218117cfffa4ae27d10bcf292824bba069ca227068b370d26c3d9a6d2"
    )


@pytest.mark.parametrize(("score", "towards"), [(0.2, -1), (0.5, 1), (0.9, 1)])
def test_a_band_says_which_way_reasons_for_it_point(score: float, towards: int) -> None:
    assert Policy.model_validate(PLAIN).apply(score, target=0).supported_by == towards


def with_band(**change: object) -> dict[str, object]:
    return {**PLAIN, "bands": [{**BANDS[0], **change}, *BANDS[1:]]}


RULE = {"rule": "rent", "when": "true", "requires": "person", "description": "Rent is due."}
PURPOSE = {"purpose": "rent", "description": "Help with rent.", "legal_bases": ["article-1"]}
LETTER = {
    "body": "The council", "matter": "your rent", "contact": "Call us.",
    "ask_for_a_person": "Ask.", "appeal": "Write to us.",
    "outcomes": {"no": "You get none.", "ask": "We ask you.", "yes": "You get it."},
}  # fmt: skip


def with_letter(**outcomes: str) -> dict[str, object]:
    return {**PLAIN, "notice": {"letters": {"en": {**LETTER, "outcomes": outcomes}}}}


def test_a_policy_with_rules_purposes_and_letters_is_one() -> None:
    """What the refusals below are near misses of."""
    Policy.model_validate(
        {
            **PLAIN,
            "rules": [RULE, {**RULE, "rule": "other"}],
            "purposes": [PURPOSE, {**PURPOSE, "purpose": "other"}],
            "notice": {"letters": {"en": LETTER}},
            "outcomes_rise": ["no", "ask", "yes"],
        }
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (with_band(at_least=0.1), "starts at 0.1, want 0 or less"),
        (with_band(at_least=0.4), "bands must start at rising scores"),
        (with_band(at_least=math.nan), "bands.0.at_least"),
        (with_band(at_least=math.inf), "bands.0.at_least"),
        (with_band(rule="high"), "each band needs a rule name of its own"),
        ({**PLAIN, "rules": [RULE, RULE]}, "other than the bands'"),
        ({**PLAIN, "rules": [{**RULE, "rule": "high"}]}, "other than the bands'"),
        ({**PLAIN, "purposes": [PURPOSE, PURPOSE]}, "a purpose appears twice"),
        (with_band(outcome="yes"), "one outcome is adverse in one band and not in another"),
        (with_letter(no="No.", yes="Yes."), "want one sentence for each of ask, no, yes"),
        (with_letter(no="No.", ask="?", yes="Yes.", more="."), "letters.en.outcomes"),
        ({**PLAIN, "outcomes_rise": ["no", "yes"]}, "names each outcome of the bands once"),
        ({**PLAIN, "outcomes_rise": ["ask", "no", "yes"]}, "do not rise as outcomes_rise says"),
        (with_band(outcome="No!"), "bands.0.outcome"),
        (with_band(supported_by="both"), "bands.0.supported_by"),
        (with_band(colour="red"), "bands.0.colour"),
        ({**PLAIN, "bands": []}, "bands"),
        ({**PLAIN, "near_threshold": -0.1}, "near_threshold"),
        ({**PLAIN, "near_threshold": math.inf}, "near_threshold"),
        ({**PLAIN, "version": 1}, "version"),
        ({"policy": "test"}, "version: Field required"),
        ("- a\n- b\n", "is not a policy"),
        ("a: [", "is not YAML"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
        ("version: 2026-13-45", "is not YAML"),
        ("", "is not a policy"),
        ("x" * 300_000, "has 300000 bytes, want at most 262144"),
    ],
)
def test_what_is_not_a_policy_is_refused_with_the_place(
    tmp_path: Path, content: object, message: str
) -> None:
    with pytest.raises(PolicyError) as refused:
        load_policy(write(tmp_path, content), lowest_score=0)
    assert message in str(refused.value)


def test_a_band_that_no_score_reaches_is_refused(tmp_path: Path) -> None:
    """A line in per cent: everybody would be below it."""
    percent = {**PLAIN, "bands": [*BANDS[:-1], {**BANDS[-1], "at_least": 50}]}
    path = write(tmp_path, percent)
    with pytest.raises(PolicyError, match="last band starts at 50, want 1 or less"):
        load_policy(path, lowest_score=0, highest_score=1)


def test_a_policy_that_is_not_there_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"cannot read .*none\.yaml: No such file"):
        load_policy(tmp_path / "none.yaml", lowest_score=0)


def test_a_regression_needs_a_band_without_a_lower_end(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="want -inf or less"):
        load_policy(write(tmp_path, PLAIN), lowest_score=-math.inf)
    open_ended = load_policy(write(tmp_path, with_band(at_least=-math.inf)), lowest_score=-math.inf)
    assert open_ended.apply(-1e300, target=0).outcome == "no"


def ruled(outcomes: list[str], at: list[float], *, near: float) -> Policy:
    """Return a policy whose rules lead to these outcomes."""
    bands = [
        {**BANDS[0], "rule": f"rule-{place}", "outcome": outcome, "at_least": start}
        for place, (outcome, start) in enumerate(zip(outcomes, at, strict=False))
    ]
    return Policy.model_validate({**PLAIN, "near_threshold": near, "bands": bands})


@given(starts, st.lists(st.sampled_from("abc"), min_size=7, max_size=7), scores, st.floats(0, 0.5))
def test_near_a_threshold_means_near_a_line_to_another_outcome(
    at: list[float], outcomes: list[str], score: float, near: float
) -> None:
    """A line between two rules for one outcome turns nothing, however near it is."""
    advice = ruled(outcomes, at, near=near).apply(score, target=0)
    lines = [
        line
        for line, before, after in zip(at[1:], outcomes, outcomes[1:], strict=False)
        if before != after
    ]
    assert advice.near_threshold == any(abs(score - line) < near for line in lines)


@given(starts, scores)
def test_the_scores_of_a_rule_are_those_that_it_describes(at: list[float], score: float) -> None:
    of = policy(at)
    advice = of.apply(score, target=0)
    low, high = advice.within
    assert (low, high) == of.ends(advice.rule.id)
    assert low <= score < high
    for end in (low, high):
        assert (repr(end) in advice.rule.description) == math.isfinite(end)


def test_of_a_rule_that_is_no_bands_every_score_is_told() -> None:
    assert policy([0.0, 0.5]).ends("stranger") == (-math.inf, math.inf)
