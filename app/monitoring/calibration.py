"""Whether a probability still means what it says, once it is known how cases turned out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.monitoring.intervals import Estimate, share

BINS = 10
Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bin:
    """Cases with scores from ``low`` up to ``high``."""

    low: float
    high: float
    cases: int
    mean_score: float
    observed: Estimate
    """The share that turned out positive."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Scores against how the cases turned out."""

    cases: int
    gap: Estimate
    """Share of positives less the mean score; 0 when right on the whole."""
    expected_error: float
    """Mean distance of share and score over the bins, weighted by cases (Naeini et al. 2015)."""
    bins: tuple[Bin, ...]
    """Those that have any case."""


def calibration(scores: Vector, answers: Vector) -> Calibration:
    """Return how well ``scores`` foretold ``answers`` (1 or 0); at least one case."""
    observed, mean = share(int(answers.sum()), len(answers)), float(scores.mean())
    places = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    bins = []
    for place in np.unique(places).tolist():
        inside = places == place
        bins.append(
            Bin(
                low=place / BINS,
                high=(place + 1) / BINS,
                cases=int(inside.sum()),
                mean_score=float(scores[inside].mean()),
                observed=share(int(answers[inside].sum()), int(inside.sum())),
            )
        )
    error = sum(each.cases * abs(each.observed.value - each.mean_score) for each in bins)
    return Calibration(
        cases=len(answers),
        gap=Estimate(observed.value - mean, observed.low - mean, observed.high - mean),
        expected_error=error / len(answers),
        bins=tuple(bins),
    )
