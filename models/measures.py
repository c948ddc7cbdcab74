"""Figures of how well a model does, each with what it was counted over.

Rates carry Wilson's interval (1927): unlike the normal approximation it holds for small groups and for
rates near 0 and 1.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Vector = NDArray[np.float64]

Z = 1.959963984540054
"""For intervals of 95 %."""
BINS = 10


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of cases, with its 95 % interval; NaN everywhere when there were no cases."""

    value: float
    lower: float
    upper: float
    cases: int


def rate(flags: Flags) -> Rate:
    """Return the share of True."""
    n = len(flags)
    if n == 0:
        return Rate(math.nan, math.nan, math.nan, 0)
    share = float(np.mean(flags))
    middle = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    # Rounding may put an end a hair past the share itself where that is 0 or 1.
    return Rate(share, min(share, middle - half), max(share, middle + half), n)


def true_positive_rate(chosen: Flags, truth: Flags) -> Rate:
    """Return the share of true cases that were chosen."""
    return rate(chosen[truth])


def false_positive_rate(chosen: Flags, truth: Flags) -> Rate:
    """Return the share of untrue cases that were chosen."""
    return rate(chosen[~truth])


def precision(chosen: Flags, truth: Flags) -> Rate:
    """Return the share of chosen cases that were true."""
    return rate(truth[chosen])


def auc(scores: Vector, truth: Flags) -> float:
    """Return the chance that a true case scores above an untrue one, ties counting half.

    NaN without cases of both kinds. Mann and Whitney (1947).
    """
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if positives == 0 or negatives == 0:
        return math.nan
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def reliability(scores: Vector, truth: Flags) -> list[tuple[float, Rate]]:
    """Return, for each tenth of the scale with cases in it, the mean score and the share of true."""
    bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    return [
        (float(scores[bins == each].mean()), rate(truth[bins == each]))
        for each in range(BINS)
        if (bins == each).any()
    ]


def expected_calibration_error(scores: Vector, truth: Flags) -> float:
    """Return the mean distance of score and share of true over the bins, weighted by cases."""
    return sum(
        abs(score - found.value) * found.cases / len(scores)
        for score, found in reliability(scores, truth)
    )
