"""Conformal answers cover as often as they say, and frequencies are those of the sample."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from explainers.uncertainty import (
    MIN_BIN_CASES,
    CalibrationError,
    Frequency,
    calibrate_classes,
    calibrate_numbers,
    conformal_quantile,
    observed_frequencies,
)


def test_rank_of_the_quantile_is_exact_in_decimal_fractions() -> None:
    misfits = np.arange(1.0, 11.0)
    assert conformal_quantile(misfits[:9], coverage=0.9) == 9.0
    assert conformal_quantile(misfits[:8], coverage=0.9) == inf
    assert conformal_quantile(misfits, coverage=0.9) == 10.0
    # (99 + 1) * 0.29 is 28.999999999999996 in floating point.
    assert conformal_quantile(np.arange(1.0, 100.0), coverage=0.29) == 29.0


def test_intervals_cover_as_often_as_exchangeability_promises(rng: np.random.Generator) -> None:
    """The mean coverage over samples is rank / (N + 1) exactly; half the width covers far less."""
    covered, covered_by_half = [], []
    for _ in range(300):
        scores = rng.normal(size=60)
        answers = scores + rng.standard_t(3, size=60)
        fitted = calibrate_numbers(scores[:40], answers[:40], coverage=0.8)
        errors = np.abs(answers[40:] - scores[40:])
        covered.append((errors <= fitted.half_width).mean())
        covered_by_half.append((errors <= fitted.half_width / 2).mean())
    assert np.mean(covered) == pytest.approx(33 / 41, abs=0.02)
    assert np.mean(covered_by_half) < 0.7
    interval = calibrate_numbers(np.zeros(40), np.ones(40), coverage=0.8).predict(2.0)
    assert (interval.low, interval.high) == (1.0, 3.0)
    assert (interval.coverage, interval.calibration_rows) == (0.8, 40)


@pytest.mark.parametrize("coverage", [0.7, 0.9, 0.95])
def test_sets_cover_at_least_as_often_as_stated(coverage: float, rng: np.random.Generator) -> None:
    """Also for a model whose probabilities are wrong: here they are squared."""
    hits, sizes = [], []
    for _ in range(100):
        true = rng.dirichlet([1.0, 0.7, 0.4], size=400)
        labels = np.array([rng.choice(3, p=p) for p in true])
        scores = true**2 / (true**2).sum(axis=1, keepdims=True)
        fitted = calibrate_classes(scores[:200], labels[:200], coverage=coverage)
        sets = [fitted.predict(row.tolist()).classes for row in scores[200:]]
        hits.append(np.mean([y in s for y, s in zip(labels[200:], sets, strict=True)]))
        sizes.append(np.mean([len(s) for s in sets]))
    assert np.mean(hits) >= coverage - 0.01
    assert np.mean(hits) <= coverage + 0.06
    assert np.mean(sizes) < 2.9


def test_a_set_is_never_empty_and_starts_with_the_likeliest() -> None:
    scores = np.array([[0.9, 0.1]] * 20)
    fitted = calibrate_classes(scores, np.zeros(20, dtype=np.int64), coverage=0.9)
    assert fitted.least_score == 0.9
    assert fitted.predict([0.45, 0.55]).classes == (1,)
    assert fitted.predict([0.95, 0.93]).classes == (0, 1)


def test_with_too_few_rows_nothing_is_ruled_out() -> None:
    few = np.tile([0.99, 0.01], (8, 1))
    fitted = calibrate_classes(few, np.zeros(8, dtype=np.int64), coverage=0.9)
    assert fitted.predict([1.0, 0.0]).classes == (0, 1)
    assert calibrate_numbers(np.zeros(8), np.zeros(8), coverage=0.9).half_width == inf


def test_frequencies_are_those_of_a_calibrated_model(rng: np.random.Generator) -> None:
    scores = rng.uniform(size=4000)
    is_class = rng.uniform(size=4000) < scores
    found = observed_frequencies(scores, is_class)
    assert sum(b.cases for b in found.bins) == 4000
    assert sum(b.positives for b in found.bins) == is_class.sum()
    assert len(found.bins) == 10
    for score in (0.05, 0.35, 0.72, 0.95):
        low, high = found.of(score).interval
        assert low - 0.06 <= score <= high + 0.06
    assert found.of(0.72).wording == "about 7 in 10 similar cases"
    assert found.of(-5.0) is found.bins[0]
    assert found.of(5.0) is found.bins[-1]


@given(scores=st.lists(st.integers(0, 12), min_size=MIN_BIN_CASES, max_size=400))
def test_bins_part_the_sample_and_never_split_a_score(scores: list[int]) -> None:
    array = np.array(scores) / 12
    found = observed_frequencies(array, array > 0.5)
    assert sum(b.cases for b in found.bins) == len(scores)
    assert all(b.cases >= MIN_BIN_CASES for b in found.bins)
    for before, after in zip(found.bins, found.bins[1:], strict=False):
        assert before.highest_score < after.lowest_score
    for b in found.bins:
        inside = (array >= b.lowest_score) & (array <= b.highest_score)
        assert (inside.sum(), (array[inside] > 0.5).sum()) == (b.cases, b.positives)


@pytest.mark.parametrize(
    ("positives", "cases", "wording"),
    [
        (0, 100, "fewer than 1 in 20"),
        (4, 100, "fewer than 1 in 20"),
        (5, 100, "about 1 in 10"),
        (64, 100, "about 6 in 10"),
        (65, 100, "about 7 in 10"),
        (95, 100, "about 9 in 10"),
        (96, 100, "more than 19 in 20"),
    ],
)
def test_wording_says_tenths_and_does_not_promise_certainty(
    positives: int, cases: int, wording: str
) -> None:
    assert Frequency(0.0, 1.0, cases, positives).wording == f"{wording} similar cases"


def test_wilson_interval_is_the_published_one() -> None:
    """Newcombe (1998), table I: 81 of 263 gives 0.2553 to 0.3662."""
    low, high = Frequency(0.0, 1.0, 263, 81).interval
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


def test_samples_that_do_not_fit_are_refused() -> None:
    scores, labels = np.full((3, 2), 0.5), np.zeros(3, dtype=np.int64)
    for bad_scores, bad_labels, coverage in (
        (scores, labels, 1.0),
        (scores, labels[:2], 0.9),
        (scores, labels + 2, 0.9),
        (scores * np.nan, labels, 0.9),
        (scores[:0], labels[:0], 0.9),
    ):
        with pytest.raises(CalibrationError):
            calibrate_classes(bad_scores, bad_labels, coverage=coverage)
    with pytest.raises(CalibrationError):
        observed_frequencies(np.zeros(MIN_BIN_CASES - 1), np.zeros(MIN_BIN_CASES - 1, dtype=bool))
    with pytest.raises(CalibrationError):
        observed_frequencies(np.zeros(40), np.zeros(41, dtype=bool))
