"""Intervals for a share, and for the difference and the ratio of two: 95 % each, for reading.

They are right at one moment. Whoever looks again and again until something shows needs
``app.monitoring.sequential`` instead; the circuit breaker uses only that.
"""

from dataclasses import dataclass
from math import inf, sqrt

Z = 1.959963984540054
"""97.5 % point of the normal distribution."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval."""

    value: float
    low: float
    high: float


def share(count: int, total: int) -> Estimate:
    """Return ``count`` of ``total`` with Wilson's (1927) score interval. ``total`` is at least 1."""
    p = count / total
    square = Z * Z
    centre = (p + square / (2 * total)) / (1 + square / total)
    half = Z / (1 + square / total) * sqrt(p * (1 - p) / total + square / (4 * total * total))
    # At the ends the limit is the end itself, which rounding would miss.
    low = 0.0 if count == 0 else max(0.0, centre - half)
    high = 1.0 if count == total else min(1.0, centre + half)
    return Estimate(p, low, high)


def difference(first: Estimate, second: Estimate) -> Estimate:
    """Return ``first - second`` with Newcombe's (1998) hybrid score interval, his method 10."""
    gap = first.value - second.value
    return Estimate(
        gap,
        gap - sqrt((first.value - first.low) ** 2 + (second.high - second.value) ** 2),
        gap + sqrt((first.high - first.value) ** 2 + (second.value - second.low) ** 2),
    )


def ratio(first: Estimate, second: Estimate) -> Estimate:
    """Return ``first / second`` with the interval of Donner and Zou (2012), MOVER-R, eq. 9.

    It is infinite where the second may be nothing.
    """
    p, q = first.value, second.value
    if q == 0:
        return Estimate(inf if p > 0 else 1.0, 0.0, inf)
    product = p * q
    # Of the two roots of a quadratic the smaller is written so that it holds where it is linear.
    over, under = first.low * (2 * p - first.low), second.high * (2 * q - second.high)
    below = product + sqrt(max(0.0, product**2 - over * under))
    low = over / below if below > 0 else 0.0
    over, under = first.high * (2 * p - first.high), second.low * (2 * q - second.low)
    above = product + sqrt(max(0.0, product**2 - over * under))
    high = above / under if under > 0 else inf
    return Estimate(p / q, max(0.0, min(p / q, low)), max(p / q, high))
