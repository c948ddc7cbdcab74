"""Tests that are looked at all the time: the alarms they may raise, and those they must."""

from math import lgamma, log

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad

from app.monitoring.sequential import (
    evidence_of_change,
    evidence_of_gap,
    level,
    mean_bound,
)

STREAMS = 200
CASES = 4000
LOOKS = np.arange(25, CASES + 1, 25)
ALPHA = 0.05


def running(hits: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return each stream's count at every look."""
    found: NDArray[np.int64] = hits.cumsum(axis=-1)[..., LOOKS - 1]
    return found


def alarms(evidence: NDArray[np.float64], alpha: float) -> float:
    """Return the share of streams that ever alarm."""
    return float((evidence > log(1 / alpha)).any(axis=-1).mean())


def two_groups(p: float, q: float, *, limit: float) -> NDArray[np.float64]:
    rng = np.random.default_rng(11)
    a, b = (running(rng.random((STREAMS, CASES)) < rate) for rate in (p, q))
    n = np.broadcast_to(LOOKS, a.shape)
    return np.maximum(
        evidence_of_gap(a, n, b, n, slope=1.0, offset=-limit),
        evidence_of_gap(b, n, a, n, slope=1.0, offset=-limit),
    )


def test_streams_without_bias_raise_no_more_alarms_than_promised() -> None:
    # A limit of nothing is the hardest: then the two groups are exactly what is tested.
    assert alarms(two_groups(0.4, 0.4, limit=1e-9), ALPHA / 2) <= ALPHA
    assert alarms(two_groups(0.4, 0.3, limit=0.1), ALPHA / 2) <= ALPHA


def test_a_naive_test_looked_at_all_the_time_raises_far_more() -> None:
    """Shows that the simulation could fail: the usual z-test alarms in a third of fair streams."""
    rng = np.random.default_rng(11)
    a, b = (running(rng.random((STREAMS, CASES)) < 0.4) / LOOKS for _ in range(2))
    pooled = (a + b) / 2
    z = np.abs(a - b) / np.sqrt(np.maximum(2 * pooled * (1 - pooled) / LOOKS, 1e-12))
    assert (z > 1.96).any(axis=-1).mean() > 0.3


def test_a_biased_stream_is_caught() -> None:
    evidence = two_groups(0.5, 0.3, limit=0.1)
    assert alarms(evidence, ALPHA / 30) == 1.0
    # Not at once, and not only at the end.
    first = LOOKS[np.argmax(evidence > log(30 / ALPHA), axis=-1)]
    assert 100 < np.median(first) < CASES / 2


def test_a_ratio_is_tested_as_a_difference_is() -> None:
    rng = np.random.default_rng(3)
    high, low, same = (running(rng.random((STREAMS, CASES)) < p) for p in (0.5, 0.3, 0.4))
    n = np.broadcast_to(LOOKS, high.shape)
    assert alarms(evidence_of_gap(high, n, low, n, slope=0.8, offset=0.0), ALPHA / 30) == 1.0
    # 0.4 is exactly 0.8 of 0.5: on the limit is not beyond it.
    assert alarms(evidence_of_gap(high, n, same, n, slope=0.8, offset=0.0), ALPHA) <= ALPHA


def test_evidence_of_a_gap_is_its_definition() -> None:
    """Against numerical integration and a fine grid, for one small pair."""

    def mixture(s: int, n: int) -> float:
        inside, _ = quad(
            lambda p: p ** (s - 0.5) * (1 - p) ** (n - s - 0.5), 0, 1, epsabs=1e-14, epsrel=1e-10
        )
        return log(inside) - (2 * lgamma(0.5) - lgamma(1.0))

    def likelihood(s: int, n: int, p: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = s * np.log(p) + (n - s) * np.log(1 - p)
        return found

    p = np.linspace(0.1 + 1e-6, 1 - 1e-6, 400_001)
    best = (likelihood(18, 20, p) + likelihood(5, 20, p - 0.1)).max()
    want = mixture(18, 20) + mixture(5, 20) - best
    found = evidence_of_gap(
        np.array(18), np.array(20), np.array(5), np.array(20), slope=1.0, offset=-0.1
    )
    assert float(found) == pytest.approx(want, abs=1e-4)
    assert want > 0


def drifting(shift: float, *, background_rows: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(5)
    background = rng.normal(size=(STREAMS, background_rows))
    stream = rng.normal(size=(STREAMS, CASES)) + shift
    evidence = []
    for rows, cases in zip(background, stream, strict=True):
        edges = np.quantile(rows, np.arange(1, 10) / 10)
        counts = np.eye(10, dtype=np.int64)[np.searchsorted(edges, cases)].cumsum(axis=0)
        own = np.bincount(np.searchsorted(edges, rows), minlength=10)
        evidence.append(evidence_of_change(counts[LOOKS - 1], own))
    return np.array(evidence)


def test_drift_is_caught_and_none_is_seen_where_none_is() -> None:
    for rows in (50, 1000):
        assert alarms(drifting(0.0, background_rows=rows), ALPHA) <= ALPHA
    # Half a standard deviation is an index of 0.25, what is usually called a significant change.
    assert alarms(drifting(0.5, background_rows=1000), ALPHA / 30) > 0.95
    assert alarms(drifting(0.7, background_rows=1000), ALPHA / 30) == 1.0


def test_a_calibrated_model_raises_no_more_alarms_than_promised_and_another_does() -> None:
    rng = np.random.default_rng(9)
    p = rng.random((STREAMS, CASES))
    bound = mean_bound(LOOKS, ALPHA)
    for shift, least, most in ((0.0, 0.0, ALPHA), (0.15, 1.0, 1.0)):
        answers = rng.random((STREAMS, CASES)) < np.clip(p + shift, 0, 1)
        off = np.abs((answers - p).cumsum(axis=-1)[:, LOOKS - 1] / LOOKS)
        assert least <= (off > bound).any(axis=-1).mean() <= most


def test_all_periods_and_tests_together_stay_within_the_level() -> None:
    spent = sum(7 * level(ALPHA, period=k, tests=7) for k in range(100_000))
    assert ALPHA * 0.999 < spent < ALPHA
