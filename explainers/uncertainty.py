"""How sure: split-conformal sets and intervals, and observed frequencies of similar scores.

Everything comes from a calibration sample of cases with known answers that the model was not
trained on. If future cases are exchangeable with it, a set or interval contains the true answer
with at least the stated coverage, on average over cases (not for each group or each score).
Vovk, Gammerman and Shafer (2005); Angelopoulos and Bates (2023).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, inf, sqrt
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from explainers.errors import ExplanationError
from explainers.explanation import Matrix, Vector

MAX_BINS = 10
MIN_BIN_CASES = 30
"""Fewer than this and "7 in 10" would be a guess: its 95 % interval is wider than 3 in 10."""


class CalibrationError(ExplanationError):
    """The calibration sample cannot be used."""

    def __init__(self, what: str, *, got: object, want: object) -> None:
        super().__init__(f"calibration sample: {what}: got {got}, want {want}")
        self.got = got
        self.want = want


@dataclass(frozen=True, slots=True)
class PredictionSet:
    """The classes that cannot be ruled out at the stated coverage."""

    classes: tuple[int, ...]
    """Indexes, most likely first; never empty."""
    coverage: float
    calibration_rows: int


@dataclass(frozen=True, slots=True)
class PredictionInterval:
    """The numbers that cannot be ruled out at the stated coverage, in the output's unit."""

    low: float
    high: float
    coverage: float
    calibration_rows: int


@dataclass(frozen=True, slots=True)
class ConformalClassifier:
    """Split conformal for classes: a class stays while its score is at least ``least_score``."""

    least_score: float
    coverage: float
    calibration_rows: int

    def predict(self, scores: Sequence[float]) -> PredictionSet:
        """Return the set for one case; ``scores``, one for each class, as the calibration's.

        The most likely class is always in it: that can only raise the coverage.
        """
        order = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)
        kept = [index for index in order if scores[index] >= self.least_score]
        return PredictionSet(
            classes=tuple(kept or order[:1]),
            coverage=self.coverage,
            calibration_rows=self.calibration_rows,
        )


@dataclass(frozen=True, slots=True)
class ConformalRegressor:
    """Split conformal for numbers: the score plus or minus one half width."""

    half_width: float
    coverage: float
    calibration_rows: int

    def predict(self, score: float) -> PredictionInterval:
        """Return the interval for one case."""
        return PredictionInterval(
            low=score - self.half_width,
            high=score + self.half_width,
            coverage=self.coverage,
            calibration_rows=self.calibration_rows,
        )


def calibrate_classes(
    scores: Matrix, labels: NDArray[np.int64], *, coverage: float
) -> ConformalClassifier:
    """Return the conformal classifier of a calibration sample.

    ``scores``, shape (N, classes); ``labels``, shape (N,), the true class' index. With fewer than
    coverage / (1 - coverage) rows nothing can be ruled out, and every set holds every class.
    Raises CalibrationError when the sample does not fit.
    """
    _check(scores, labels, coverage)
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise CalibrationError("labels", got="an unknown class", want=f"0 to {scores.shape[1] - 1}")
    misfits = -scores[np.arange(len(labels)), labels]
    return ConformalClassifier(
        least_score=-conformal_quantile(misfits, coverage=coverage),
        coverage=coverage,
        calibration_rows=len(labels),
    )


def calibrate_numbers(scores: Vector, answers: Vector, *, coverage: float) -> ConformalRegressor:
    """Return the conformal regressor of a calibration sample, both of shape (N,).

    Raises CalibrationError when the sample does not fit.
    """
    _check(scores, answers, coverage)
    return ConformalRegressor(
        half_width=conformal_quantile(np.abs(answers - scores), coverage=coverage),
        coverage=coverage,
        calibration_rows=len(scores),
    )


def conformal_quantile(misfits: Vector, *, coverage: float) -> float:
    """Return the ceil((N + 1) coverage)-th smallest misfit, infinity when there are too few."""
    # In fractions: 0.9 * 10 rounded the wrong way would pick another rank.
    rank = ceil((len(misfits) + 1) * Fraction(str(coverage)))
    return float(np.sort(misfits)[rank - 1]) if rank <= len(misfits) else inf


@dataclass(frozen=True, slots=True)
class Frequency:
    """How often the class was true among calibration cases with a similar score."""

    lowest_score: float
    highest_score: float
    cases: int
    positives: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson score interval of the frequency."""
        z = 1.959963984540054
        p, n = self.positives / self.cases, self.cases
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        low = 0.0 if self.positives == 0 else max(0.0, centre - half)
        return low, 1.0 if self.positives == n else min(1.0, centre + half)

    @property
    def wording(self) -> str:
        """The frequency as people say it."""
        p = self.positives / self.cases
        if p < 0.05:
            return "fewer than 1 in 20 similar cases"
        if p > 0.95:
            return "more than 19 in 20 similar cases"
        return f"about {tenths(p)} in 10 similar cases"


def tenths(share: float) -> int:
    """Return a share from one to nineteen in twenty in tenths, halves up: never none, never all."""
    return min(max(int(10 * share + 0.5), 1), 9)


@dataclass(frozen=True, slots=True)
class Frequencies:
    """Observed frequencies of one class in bins of its score."""

    bins: tuple[Frequency, ...]
    """By growing score; every calibration case is in one."""

    def of(self, score: float) -> Frequency:
        """Return the bin of a score; a score between bins or beyond them takes the nearest."""
        place = max(bisect_right(self.bins, score, key=_lowest_score) - 1, 0)
        below, above = self.bins[place], self.bins[min(place + 1, len(self.bins) - 1)]
        return below if score - below.highest_score <= above.lowest_score - score else above


_lowest_score = attrgetter("lowest_score")


def observed_frequencies(scores: Vector, is_class: NDArray[np.bool_]) -> Frequencies:
    """Return the frequencies in bins of about equal count, equal scores always together.

    Both of shape (N,). Raises CalibrationError with fewer than MIN_BIN_CASES cases.
    """
    if scores.shape != is_class.shape or scores.ndim != 1:
        raise CalibrationError("shapes", got=(scores.shape, is_class.shape), want="(N,) twice")
    if len(scores) < MIN_BIN_CASES:
        raise CalibrationError("rows", got=len(scores), want=f"at least {MIN_BIN_CASES}")
    order = np.argsort(scores, kind="stable")
    ranked, hits = scores[order], is_class[order]
    per_bin = max(MIN_BIN_CASES, ceil(len(scores) / MAX_BINS))
    bins: list[Frequency] = []
    start = 0
    while start < len(ranked):
        stop = _end_of_ties(ranked, start + per_bin)
        if len(ranked) - stop < MIN_BIN_CASES:
            stop = len(ranked)
        bins.append(
            Frequency(
                lowest_score=float(ranked[start]),
                highest_score=float(ranked[stop - 1]),
                cases=stop - start,
                positives=int(hits[start:stop].sum()),
            )
        )
        start = stop
    return Frequencies(bins=tuple(bins))


def _end_of_ties(ranked: Vector, stop: int) -> int:
    """Return the first place at or after ``stop`` where a new score begins."""
    if stop >= len(ranked):
        return len(ranked)
    return int(np.searchsorted(ranked, ranked[stop - 1], side="right"))


def _check(scores: NDArray[np.float64], answers: NDArray[np.generic], coverage: float) -> None:
    if not 0 < coverage < 1:
        raise CalibrationError("coverage", got=coverage, want="between 0 and 1")
    if len(scores) != len(answers) or answers.ndim != 1 or len(answers) == 0:
        raise CalibrationError(
            "rows", got=f"{len(scores)} scores and {len(answers)} answers", want="as many, not 0"
        )
    if not np.isfinite(scores).all() or not np.isfinite(answers.astype(np.float64)).all():
        raise CalibrationError("values", got="some that are not finite", want="finite numbers")
