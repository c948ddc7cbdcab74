"""Contributions in the unit people read: a margin's contributions rescaled to probability.

Log-odds mean nothing to a caseworker, so each contribution to the margin is multiplied by one
common positive factor, the slope of the link between the base margin m0 and the margin m:
``phi_i * (p - p0) / (m - m0)``. That keeps every sign and the order, and the contributions then
add up to ``p - p0``. It is a way of showing the margin's Shapley values, not the Shapley values of
the probability; ``p0`` is the link of the base margin, not the background's mean probability.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, expm1
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from explainers.explanation import Vector


@dataclass(frozen=True, slots=True)
class Rescaled:
    """Contributions in the output's own unit; ``base + sum(contributions) == output``."""

    base: float
    output: float
    contributions: Vector


def logistic(margin: float) -> float:
    """Return the probability of a log-odds margin, without overflow at either end."""
    if margin >= 0:
        return 1.0 / (1.0 + exp(-margin))
    odds = exp(margin)
    return odds / (1.0 + odds)


def logistic_slope(start: float, stop: float) -> float:
    """Return ``(p(stop) - p(start)) / (stop - start)`` for the logistic link; p(1-p) when equal.

    With lo <= hi the difference is ``p(hi) * p(-lo) * (1 - exp(lo - hi))``, in which nothing
    cancels, so the quotient is accurate for margins that are close or equal and for large ones.
    """
    low, high = min(start, stop), max(start, stop)
    distance = high - low
    decay = -expm1(-distance) / distance if distance > 0 else 1.0
    return logistic(high) * logistic(-low) * decay


def rescale(contributions: Vector, *, base: float, link: str) -> Rescaled | None:
    """Return the contributions in the output's unit, or None when no common factor can do it.

    ``contributions``, shape (fields,), and ``base`` are in margin units. ``link`` is the function
    from margin to output: "identity" leaves everything as it is, "logistic" gives probability.
    Any other link gives None: the class probability of a softmax depends on every class' margin,
    so a field may raise a class' margin and lower its probability. With two classes it is the
    logistic of the difference of their margins, and the contributions to that are the differences.
    """
    if link == "identity":
        total = float(contributions.sum())
        return Rescaled(base=base, output=base + total, contributions=contributions.copy())
    if link == "logistic":
        margin = base + float(contributions.sum())
        slope = logistic_slope(base, margin)
        return Rescaled(
            base=logistic(base), output=logistic(margin), contributions=contributions * slope
        )
    return None
