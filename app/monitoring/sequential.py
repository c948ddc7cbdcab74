"""Tests that may be looked at after every decision and still raise few false alarms.

Each is an e-process: if what it tests is true, the chance that it *ever* exceeds 1/alpha is at most
alpha, whenever and however often one looks (Ville's inequality; Ramdas, Grunwald, Vovk and Shafer
2023). A monitor begins anew after every ``window`` decisions, so that a change late in a model's
life is not drowned by its past; ``level`` spends alpha over those periods so that all of them
together stay within it.

Everything works on arrays of any common shape, and returns the logarithm of the evidence.
"""

from functools import cache
from math import log, pi, sqrt

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Counts = NDArray[np.int64]

_STEPS = 60
"""Steps of the golden section: to 1e-12 of the range."""
_GOLDEN = (sqrt(5) - 1) / 2
_TIGHTEST_AT = 500
"""Cases at which the bound on a mean is as narrow as it can be."""


def level(alpha: float, *, period: int, tests: int) -> float:
    """Return the level of one of ``tests`` tests in one period, counted from 0.

    1/(k(k+1)) sums to 1 over all k from 1, so the chance of any false alarm of any of the tests in
    any period is at most ``alpha``.
    """
    return alpha / (max(1, tests) * (period + 1) * (period + 2))


def evidence_of_gap(
    count: Counts, total: Counts, other_count: Counts, other_total: Counts, *, slope: float,
    offset: float,
) -> Vector:  # fmt: skip
    """Return the log evidence against "the other's share is at least slope * share + offset".

    Shares are ``count`` of ``total``. Slope 1 and offset -d: the other is at most d lower. Slope r
    and offset 0: it is at least r times as high. All alternatives in a mixture (Jeffreys' prior;
    Krichevsky and Trofimov 1981), against the most likely pair of shares that keeps to the claim.
    """
    s, n, t, m = (np.asarray(a, np.int64) for a in (count, total, other_count, other_total))
    mixture = _log_mixture(np.stack((s, n - s), -1)) + _log_mixture(np.stack((t, m - t), -1))

    def likelihood(p: Vector) -> Vector:
        q = np.clip(slope * p + offset, 0.0, 1.0)
        return (
            _times_log(s, p)
            + _times_log(n - s, 1 - p)
            + _times_log(t, q)
            + _times_log(m - t, 1 - q)
        )

    # Where the claim is broken, the best pair that keeps to it lies on the line; there the
    # likelihood is concave, so a golden section finds its top.
    low = np.full(s.shape, max(0.0, -offset / slope))
    high = np.full(s.shape, min(1.0, (1 - offset) / slope))
    for _ in range(_STEPS):
        step = _GOLDEN * (high - low)
        left, right = high - step, low + step
        rises = likelihood(left) < likelihood(right)
        low, high = np.where(rises, left, low), np.where(rises, high, right)
    best = likelihood((low + high) / 2)
    broken = t * n < (slope * s + offset * n) * m
    evidence: Vector = np.where(broken, mixture - best, 0.0)
    return evidence


def evidence_of_change(counts: Counts, background: Counts) -> Vector:
    """Return the log evidence against "both samples come from one distribution".

    Shapes (..., B) and (B,): counts of B bins. The background is a sample too, and its own chance
    is accounted for. Each sample under a mixture of its own, against both together under the
    distribution that suits them best.
    """
    pooled = np.asarray(counts) + background
    total = pooled.sum(axis=-1, keepdims=True)
    together = _times_log(pooled, pooled / total).sum(axis=-1)
    evidence: Vector = _log_mixture(np.asarray(counts)) + _log_mixture(background) - together
    return evidence


def mean_bound(cases: Counts | int, alpha: float) -> Vector:
    """Return how far the mean of (answer - expected answer) can be from what it tends to.

    Answers are 0 or 1. Time-uniform at ``alpha``, both sides: Robbins' normal mixture for sums that
    are sub-Gaussian with variance 1/4 a case; Howard, Ramdas, McAuliffe and Sekhon (2021), eq. 14.
    """
    n = np.asarray(cases, dtype=np.float64)
    tuned = _TIGHTEST_AT / 4 / (2 * log(1 / alpha) + log(1 + 2 * log(1 / alpha)))
    variance = n / 4 + tuned
    width = np.sqrt(variance * np.log(variance / (tuned * alpha**2)))
    bound: Vector = np.divide(width, n, out=np.full(n.shape, np.inf), where=n > 0)
    return bound


def _times_log(count: NDArray[np.int64], share: Vector) -> Vector:
    """Return count * log(share), where nothing times log 0 is nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        product: Vector = np.where(count == 0, 0.0, count * np.log(share))
    return product


def _log_mixture(counts: Counts) -> Vector:
    """Return the log probability of one sequence with these counts under Dirichlet(1/2, ...)."""
    bins = counts.shape[-1]
    parts = _log_gamma_of_half(2 * counts + 1).sum(axis=-1) - bins * log(sqrt(pi))
    whole = _log_gamma_of_half(2 * counts.sum(axis=-1) + bins)
    result: Vector = parts - whole + _log_gamma_of_half(np.array(bins))
    return result


def _log_gamma_of_half(twice: NDArray[np.int64]) -> Vector:
    """Return log gamma(twice / 2) for whole numbers from 1, out of a table."""
    largest = int(np.max(twice, initial=1))
    result: Vector = _log_gammas(1 << max(4, largest.bit_length()))[twice]
    return result


@cache
def _log_gammas(size: int) -> Vector:
    """Return log gamma(i / 2) at each i below ``size``: gamma(x + 1) = x gamma(x)."""
    table = np.zeros(size)
    logs = np.log(np.arange(1, size) / 2)
    table[1::2] = log(sqrt(pi)) + np.concatenate(([0.0], np.cumsum(logs[0::2])[:-1]))
    table[2::2] = np.concatenate(([0.0], np.cumsum(logs[1::2])[: size // 2 - 2]))
    return table
