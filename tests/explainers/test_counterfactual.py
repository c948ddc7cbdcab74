"""Counterfactuals are the smallest allowed changes, and each is confirmed by the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from explainers.counterfactual import (
    Change,
    Judge,
    Limits,
    Trial,
    find_counterfactuals,
    vary,
)
from explainers.domains import Categories, Direction, Domain, Numbers, Value, numbers
from explainers.errors import TimeBudgetError
from explainers.explainer import Slot
from tests.explainers.served import oracle_set, row, serve

Case = Mapping[str, Value]


def judge_of(case: Case, score: Callable[[Case], float]) -> Judge:
    def judge(trials: Sequence[Trial]) -> NDArray[np.float64]:
        return np.array([score({**case, **{c.field: c.after for c in t}}) for t in trials])

    return judge


def number(case: Case, field: str) -> float:
    value = case[field]
    assert isinstance(value, int | float)
    return float(value)


def age(**changed: object) -> Numbers:
    domain = Numbers("age", 0, 100, 10.0, tuple(range(0, 101, 10)), is_integer=True)
    return replace(domain, **changed)  # type: ignore[arg-type]


def income(points: tuple[float, ...] = (10_000, 20_000, 40_000)) -> Numbers:
    return Numbers("income", 0.0, 80_000.0, 15_000.0, points)


HOUSING = Categories("housing", ("rent", "own", "social"))
CASE: Case = {"age": 30, "income": 20_000.0, "housing": "rent", "sex": "f"}


def test_the_nearest_flipping_integer_is_found_and_stays_an_integer() -> None:
    judge = judge_of(CASE, lambda c: number(c, "age") - 36.5)
    answer = find_counterfactuals(CASE, [age()], judge)
    assert [a.changes for a in answer.found] == [(Change("age", 30, 37),)]
    assert isinstance(answer.found[0].changes[0].after, int)
    assert answer.found[0].distance == pytest.approx(0.7)


def test_a_threshold_just_out_of_range_is_not_reached() -> None:
    """The near miss: the range ends at 36, the model turns at 36.5."""
    judge = judge_of(CASE, lambda c: number(c, "age") - 36.5)
    answer = find_counterfactuals(CASE, [age(maximum=36)], judge)
    assert answer.found == ()
    assert answer.statement.startswith("none found within these limits: changing at most 2 of 1")
    assert find_counterfactuals(CASE, [age(maximum=37)], judge).found


def test_directions_are_kept() -> None:
    judge = judge_of(CASE, lambda c: abs(number(c, "age") - 30) - 4.5)
    up = find_counterfactuals(CASE, [age(direction=Direction.INCREASE)], judge)
    down = find_counterfactuals(CASE, [age(direction=Direction.DECREASE)], judge)
    assert (up.found[0].changes[0].after, down.found[0].changes[0].after) == (35, 25)
    only_down = judge_of(CASE, lambda c: 25.5 - number(c, "age"))
    assert not find_counterfactuals(CASE, [age(direction=Direction.INCREASE)], only_down).found


@pytest.mark.parametrize(
    ("direction", "current", "allowed"),
    [
        (Direction.ANY, "b", ("a", "c")),
        (Direction.INCREASE, "b", ("c",)),
        (Direction.DECREASE, "b", ("a",)),
        (Direction.INCREASE, "c", ()),
        (Direction.DECREASE, None, ("a", "b", "c")),
        (Direction.INCREASE, "unknown", ()),
        (Direction.ANY, "unknown", ("a", "b", "c")),
    ],
)
def test_categories_keep_the_direction_of_their_list(
    direction: Direction, current: Value, allowed: tuple[Value, ...]
) -> None:
    assert Categories("x", ("a", "b", "c"), direction).candidates(current) == allowed


def test_one_far_change_comes_before_two_near_ones() -> None:
    def score(c: Case) -> float:
        far = number(c, "age") - 89.5
        near = min(number(c, "income") - 20_500, 1.0 if c["housing"] == "own" else -1.0)
        return max(far, near)

    answer = find_counterfactuals(CASE, [age(), income(), HOUSING], judge_of(CASE, score))
    assert [len(a.changes) for a in answer.found] == [1, 2]
    assert answer.found[0].changes == (Change("age", 30, 90),)
    assert {c.field for c in answer.found[1].changes} == {"income", "housing"}
    assert answer.found[1].distance < answer.found[0].distance


def test_two_fields_that_must_change_together_are_found() -> None:
    def both(c: Case) -> float:
        return min(number(c, "age") - 44.5, 1.0 if c["housing"] == "own" else -1.0)

    judge = judge_of(CASE, both)
    answer = find_counterfactuals(CASE, [age(), income(), HOUSING], judge)
    assert [a.changes for a in answer.found] == [
        (Change("age", 30, 45), Change("housing", "rent", "own"))
    ]
    one = find_counterfactuals(CASE, [age(), income(), HOUSING], judge, limits=Limits(max_fields=1))
    assert one.found == ()
    assert one.max_fields == 1


def test_three_fields_that_must_change_together_are_not_claimed() -> None:
    def all_three(c: Case) -> float:
        return min(
            number(c, "age") - 44.5,
            1.0 if c["housing"] == "own" else -1.0,
            number(c, "income") - 30_000,
        )

    answer = find_counterfactuals(CASE, [age(), income(), HOUSING], judge_of(CASE, all_three))
    assert answer.found == ()
    assert answer.complete


def test_a_round_number_is_preferred_when_it_also_flips() -> None:
    judge = judge_of(CASE, lambda c: number(c, "income") - 31_873)
    answer = find_counterfactuals(CASE, [income()], judge)
    assert answer.found[0].changes[0].after == 32_000.0
    narrow = judge_of(
        CASE,
        lambda c: 60 - abs(number(c, "income") - 31_873),
    )
    exact = find_counterfactuals(CASE, [income((31_873.0,))], narrow)
    assert exact.found[0].changes[0].after == 31_900.0


def test_up_to_three_answers_of_different_fields_nearest_first() -> None:
    domains: list[Domain] = [
        Numbers(f"f{i}", 0, 100, 10.0, (50.0,), is_integer=True) for i in range(5)
    ]
    case: Case = {f"f{i}": 0 for i in range(5)}

    def score(c: Case) -> float:
        return max(number(c, f"f{i}") - (60 - 7 * i) for i in range(5))

    answer = find_counterfactuals(case, domains, judge_of(case, score))
    assert [a.changes[0].field for a in answer.found] == ["f4", "f3", "f2"]
    distances = [a.distance for a in answer.found]
    assert distances == sorted(distances)


def test_a_missing_value_may_be_given() -> None:
    case: Case = {"age": None}
    judge = judge_of(case, lambda c: -1.0 if c["age"] is None else number(c, "age") - 50)
    answer = find_counterfactuals(case, [age()], judge)
    change = answer.found[0].changes[0]
    assert change.before is None
    assert isinstance(change.after, int)
    assert change.after > 50


@given(
    weights=st.lists(st.floats(-2, 2), min_size=4, max_size=4),
    start=st.lists(st.integers(0, 20), min_size=4, max_size=4),
    bias=st.floats(-15, -0.5),
)
@settings(max_examples=60)
def test_every_answer_is_allowed_confirmed_and_smallest(
    weights: list[float], start: list[int], bias: float
) -> None:
    """Against brute force over the whole grid of a linear model with one immutable field."""
    fields = ["a", "b", "c", "fixed"]
    case: Case = dict(zip(fields, start, strict=True))

    def score(c: Case) -> float:
        moved = sum(w * (number(c, f) - s) for w, s, f in zip(weights, start, fields, strict=True))
        return moved + bias

    domains = [Numbers(f, 0, 20, 5.0, (0, 10, 20), is_integer=True) for f in fields[:3]]
    answer = find_counterfactuals(case, domains, judge_of(case, score))
    reachable = {}
    for w, s, f in zip(weights[:3], start, fields[:3], strict=False):
        flips = [abs(v - s) for v in range(21) if w * (v - s) + bias > 0]
        if flips:
            reachable[f] = min(flips)
    singles = {a.changes[0].field: a for a in answer.found if len(a.changes) == 1}
    assert set(singles) == set(reachable)
    for found in answer.found:
        after = {c.field: c.after for c in found.changes}
        assert score({**case, **after}) > 0
        assert "fixed" not in after
        assert all(isinstance(v, int) and 0 <= v <= 20 for v in after.values())
        assert 1 <= len(found.changes) <= 2
    for field, found in singles.items():
        change = found.changes[0]
        moved = abs(int(change.after) - int(change.before))  # type: ignore[arg-type]
        # A rounder number may be a tenth further.
        assert reachable[field] <= moved <= 1.1 * reachable[field]


def test_the_same_question_has_the_same_answer() -> None:
    judge = judge_of(CASE, lambda c: number(c, "age") + number(c, "income") / 1000 - 71.3)
    domains: list[Domain] = [age(), income(), HOUSING]
    assert find_counterfactuals(CASE, domains, judge) == find_counterfactuals(CASE, domains, judge)


def test_a_search_cut_short_says_so() -> None:
    judge = judge_of(CASE, lambda _c: -1.0)
    few = find_counterfactuals(CASE, [age(), income()], judge, limits=Limits(max_evaluations=10))
    assert (few.evaluations, few.complete) == (10, False)
    assert "cut short" in few.statement


def test_past_the_time_budget_there_is_no_answer() -> None:
    ticks = count()
    judge = judge_of(CASE, lambda c: number(c, "age") - 36.5)
    with pytest.raises(TimeBudgetError):
        find_counterfactuals(CASE, [age()], judge, clock=lambda: 0.6 * next(ticks))


def test_a_judge_turned_round_and_a_foreign_domain_are_refused() -> None:
    with pytest.raises(ValueError, match="positive score for the case itself"):
        find_counterfactuals(CASE, [age()], judge_of(CASE, lambda c: 36.5 - number(c, "age")))
    with pytest.raises(ValueError, match=r"got fields \['height'\]"):
        find_counterfactuals(CASE, [age(field="height")], judge_of(CASE, lambda _c: -1.0))


def test_not_a_number_never_flips() -> None:
    assert find_counterfactuals(CASE, [age()], judge_of(CASE, lambda _c: float("nan"))).found == ()


def test_domain_of_a_number_comes_from_the_background(rng: np.random.Generator) -> None:
    seen = [*rng.normal(50, 10, size=500).tolist(), float("nan")]
    domain = numbers("x", seen, thresholds=(47.3, 1e9))
    assert domain.scale == pytest.approx(13.5, abs=1.5)
    assert (domain.minimum, domain.maximum) == (np.nanmin(seen), np.nanmax(seen))
    assert 47.3 in domain.points
    assert 1e9 not in domain.points
    values = domain.candidates(50.0)
    assert 47.3 in values
    assert all(domain.minimum <= float(v) <= domain.maximum for v in values)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no finite background value"):
        numbers("x", [float("nan")])


def test_vary_changes_only_what_a_trial_says() -> None:
    feeds = {
        "n": np.array([[1.5, 2.5]], dtype=np.float32),
        "s": np.array([["a"]], dtype=object),
        "flat": np.array([7], dtype=np.int64),
    }
    slots = {"x": Slot("n", 1), "y": Slot("s", 0), "z": Slot("flat", 0)}
    trials = [(), (Change("x", 2.5, 9.0),), (Change("y", "a", "b"), Change("z", 7, 8))]
    made = vary(feeds, slots, trials)
    np.testing.assert_array_equal(made["n"], [[1.5, 2.5], [1.5, 9.0], [1.5, 2.5]])
    assert made["s"].ravel().tolist() == ["a", "a", "b"]
    assert made["flat"].tolist() == [7, 7, 8]
    assert feeds["n"][0, 1] == 2.5


def test_a_served_graph_is_flipped_and_protected_fields_are_never_changed() -> None:
    oracle = oracle_set("compas-calibrated", ["probabilities"])
    run = serve(oracle.model, oracle.score_outputs)
    slots = dict(zip(oracle.fields, oracle.slots, strict=True))
    actionable = ("juv_misd_count", "juv_other_count", "priors_count")
    domains: list[Domain] = [
        numbers(f, oracle.background[f].ravel().astype(float).tolist(), is_integer=True)
        for f in actionable
    ]
    domains.append(Categories("c_charge_degree", ("F", "M")))
    flipped = 0
    for index in range(20):
        feeds = row(oracle.inputs, index)
        case = {f: feeds[f].ravel().tolist()[0] for f in oracle.fields}
        side = np.sign(run(feeds)[0][0, 1] - 0.5)

        def judge(
            trials: Sequence[Trial],
            feeds: Mapping[str, NDArray[np.int64]] = feeds,
            side: float = side,
        ) -> NDArray[np.float64]:
            scores = run(vary(feeds, slots, trials))[0][:, 1].astype(np.float64)
            return -side * (scores - 0.5)

        answer = find_counterfactuals(case, domains, judge)
        for found in answer.found:
            flipped += 1
            assert {c.field for c in found.changes} <= {*actionable, "c_charge_degree"}
            assert judge([found.changes])[0] > 0
            for change in found.changes:
                assert change.before == case[change.field]
                assert judge([()])[0] <= 0
    assert flipped > 10
