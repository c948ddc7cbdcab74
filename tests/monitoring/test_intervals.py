"""Intervals against published worked examples, and against what they promise."""

from itertools import product
from math import inf

import numpy as np
import pytest

from app.monitoring.intervals import Estimate, difference, ratio, share


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    # Newcombe (1998), Interval estimation for the single proportion, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)  # fmt: skip
def test_a_share_has_the_published_interval(
    count: int, total: int, low: float, high: float
) -> None:
    found = share(count, total)

    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    # Newcombe (1998), Interval estimation for the difference, table II, method 10.
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_a_difference_has_the_published_interval(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    found = difference(share(*first), share(*second))

    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_a_ratio_turned_round_has_the_interval_turned_round() -> None:
    for a, b in product((1, 5, 9, 20), repeat=2):
        there, back = (ratio(share(x, 20), share(y, 20)) for x, y in ((a, b), (b, a)))
        assert there.low <= a / b <= there.high
        assert there.value == pytest.approx(a / b)
        assert back.high == pytest.approx(1 / there.low)


def test_a_ratio_to_nothing_is_open_upwards() -> None:
    assert ratio(share(5, 20), share(0, 20)).high == inf
    assert ratio(share(0, 20), share(5, 20)) == Estimate(
        0.0, 0.0, ratio(share(0, 20), share(5, 20)).high
    )


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Nearly 95 in 100; a 90 % interval would fail here, and so would one without its end."""
    rng = np.random.default_rng(7)
    for p, q in ((0.5, 0.4), (0.2, 0.1)):
        pairs = [
            (share(int(a), 200), share(int(b), 150))
            for a, b in zip(rng.binomial(200, p, 4000), rng.binomial(150, q, 4000), strict=True)
        ]
        gaps = [difference(a, b) for a, b in pairs]
        ratios = [ratio(a, b) for a, b in pairs]
        for truth, found in ((p - q, gaps), (p / q, ratios)):
            held = np.mean([each.low <= truth <= each.high for each in found])
            assert 0.935 < held < 0.97
