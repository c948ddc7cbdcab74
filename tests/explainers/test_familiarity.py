"""Cases unlike the background are flagged, cases like it are not, and each reason is named."""

from __future__ import annotations

import numpy as np
import pytest

from explainers.domains import Value
from explainers.errors import BackgroundError
from explainers.familiarity import FamiliarityCheck, Novelty, familiarity_check
from explainers.nearest import nearest_distance, nearest_others
from tests.reference.gower import gower

Rows = dict[str, list[Value]]


def people(count: int, rng: np.random.Generator) -> Rows:
    age = rng.normal(45, 12, size=count)
    income = 500 * age + rng.normal(0, 2_000, size=count)
    return {
        "age": [int(a) for a in age],
        "income": [None if rng.uniform() < 0.05 else float(i) for i in income],
        "housing": [str(h) for h in rng.choice(["rent", "own"], size=count)],
        "couple": [bool(c) for c in rng.uniform(size=count) < 0.5],
    }


def case_of(rows: Rows, index: int) -> dict[str, Value]:
    return {field: column[index] for field, column in rows.items()}


@pytest.fixture
def check(rng: np.random.Generator) -> FamiliarityCheck:
    return familiarity_check(people(800, rng))


TYPICAL: dict[str, Value] = {"age": 45, "income": 22_500.0, "housing": "own", "couple": True}


def test_a_typical_case_is_familiar(check: FamiliarityCheck) -> None:
    found = check.check(TYPICAL)
    assert not found.is_unfamiliar
    assert found.novelties == ()
    assert found.rarity > 0.05
    assert found.background_rows == 800


def test_few_new_cases_of_the_same_kind_are_flagged(
    check: FamiliarityCheck, rng: np.random.Generator
) -> None:
    fresh = people(1000, rng)
    flagged = np.mean([check.check(case_of(fresh, i)).is_unfamiliar for i in range(1000)])
    assert flagged < 0.03


def test_odd_combinations_are_flagged_though_each_value_is_usual(check: FamiliarityCheck) -> None:
    """Age 25 and income 30,000 both occur; together they do not."""
    found = check.check({**TYPICAL, "age": 22, "income": 31_000.0})
    assert found.is_unfamiliar
    assert found.novelties == ()
    assert found.rarity <= 0.01


def test_unseen_categories_and_unknown_missing_values_are_named(check: FamiliarityCheck) -> None:
    found = check.check({"age": None, "income": None, "housing": "boat", "couple": True})
    assert found.is_unfamiliar
    assert found.novelties == (
        Novelty("age", "missing", is_far=True),
        Novelty("housing", "unseen", is_far=True),
    )
    missing_income = check.check({**TYPICAL, "income": None})
    assert missing_income.novelties == ()


def test_a_number_just_outside_the_range_is_reported_but_no_reason_alone() -> None:
    """The near miss: a tenth of the range is the line."""
    rows: Rows = {
        "x": [float(i % 100) for i in range(900)],
        "y": [float(i % 7) for i in range(900)],
    }
    check = familiarity_check(rows)
    just = check.check({"x": 108.8, "y": 3.0})
    assert just.novelties == (Novelty("x", "above", is_far=False),)
    far = check.check({"x": 109.0, "y": 3.0})
    assert far.novelties == (Novelty("x", "above", is_far=True),)
    assert far.is_unfamiliar
    below = check.check({"x": -9.8, "y": 3.0})
    assert below.novelties == (Novelty("x", "below", is_far=False),)


def test_distance_is_gowers() -> None:
    rows: Rows = {"x": [0.0, 10.0, None], "c": ["a", "b", "a"]}
    check = familiarity_check(rows)
    assert check.check({"x": 4.0, "c": "a"}).distance == pytest.approx(0.2)
    assert check.check({"x": 10.0, "c": "b"}).distance == 0.0
    assert check.check({"x": None, "c": "a"}).distance == 0.0
    by_hand = gower(
        check.columns.T,
        check.code_columns.T,
        numbers=np.array([0.4]),
        codes=np.array([0], dtype=np.int64),
    )
    np.testing.assert_allclose(by_hand, [(0.4 + 0) / 2, (0.6 + 1) / 2, (1 + 0) / 2])


@pytest.mark.parametrize("numeric", [0, 1, 9, 20])
@pytest.mark.parametrize("rows", [2, 127, 128, 129, 1000])
def test_the_compiled_search_finds_the_same_nearest_row_as_numpy(
    numeric: int, rows: int, rng: np.random.Generator
) -> None:
    """On whole blocks and rests, with missing values, with neither or either kind of field."""
    categorical = 3 if numeric < 20 else 0
    columns = rng.uniform(size=(numeric, rows))
    columns[rng.uniform(size=columns.shape) < 0.1] = np.nan
    codes = rng.integers(0, 3, size=(categorical, rows))
    for _ in range(20):
        numbers = rng.uniform(-0.2, 1.2, size=numeric)
        numbers[rng.uniform(size=numeric) < 0.1] = np.nan
        own = rng.integers(-1, 3, size=categorical)
        want = gower(columns.T, codes.T, numbers=numbers, codes=own).min()
        ranges = np.array([[-np.inf], [np.inf], [1.0]]) * np.ones(len(numbers))
        got, _ = nearest_distance(columns, codes, ranges=ranges, numbers=numbers, codes=own)
        np.testing.assert_allclose(got, want, rtol=1e-14, atol=0)
        # A near miss: a row only just farther is another answer.
        with pytest.raises(AssertionError):
            np.testing.assert_allclose(got, want + 1e-9, rtol=1e-14, atol=0)
    others = []
    for row in range(rows):
        distances = gower(columns.T, codes.T, numbers=columns[:, row], codes=codes[:, row])
        others.append(np.delete(distances, row).min())
    np.testing.assert_allclose(nearest_others(columns, codes), others, rtol=1e-14, atol=0)


def test_a_case_takes_the_bits_of_its_twins_row(rng: np.random.Generator) -> None:
    """Ranks among the background's own distances only mean something if ties are ties."""
    rows = people(300, rng)
    check = familiarity_check(rows)
    for row in range(300):
        found = check.check(case_of(rows, row))
        assert found.distance == 0.0
        assert found.rarity == 1.0


def test_a_large_background_keeps_its_ranges_and_thins_its_distances(
    rng: np.random.Generator,
) -> None:
    rows = people(3000, rng)
    check = familiarity_check(rows)
    assert check.columns.shape == (2, 1000)
    assert check.code_columns.shape == (2, 1000)
    assert check.background_rows == 3000
    ages = [age for age in rows["age"] if isinstance(age, int)]
    assert check.numeric[0].highest == max(ages)


def test_a_background_of_one_row_is_refused() -> None:
    with pytest.raises(BackgroundError):
        familiarity_check({"x": [1.0]})
    with pytest.raises(BackgroundError):
        familiarity_check({"x": [1.0, 2.0], "y": [1.0]})
