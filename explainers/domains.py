"""What a field may be changed to: ranges, categories, directions, and the values worth trying.

Numbers are tried where the model can change its mind (its own thresholds, if given) and where
people are (quantiles of the background), on a grid of decimal steps so that a suggestion can be
said aloud. Without a stated range, a number stays within what the background has seen.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum
from functools import lru_cache
from math import floor, isfinite, log10
from typing import TypeAlias

import numpy as np

Value: TypeAlias = str | float | int | bool | None

QUANTILES = 33
MOST_CANDIDATES = 64
"""For one number; more are thinned evenly, nearest and farthest kept."""
GRID_STEPS = 100
"""Grid steps in the power of ten below the field's scale: three digits of a typical value."""


class Direction(StrEnum):
    """Which way a number may be changed."""

    ANY = "any"
    INCREASE = "increase"
    DECREASE = "decrease"


@dataclass(frozen=True, slots=True)
class Categories:
    """A field with a list of allowed values; one change is one unit of distance."""

    field: str
    values: tuple[Value, ...]
    direction: Direction = Direction.ANY
    """Increase allows what comes later in the list, decrease what comes earlier."""

    def candidates(self, current: Value) -> tuple[Value, ...]:
        """Return every other allowed value, in the order of the list.

        A missing value may be given in any direction; a value outside the list has no direction.
        """
        if self.direction is Direction.ANY or current is None:
            return tuple(value for value in self.values if value != current)
        if current not in self.values:
            return ()
        place = self.values.index(current)
        if self.direction is Direction.INCREASE:
            return self.values[place + 1 :]
        return self.values[:place]

    def distance(self, current: Value, other: Value) -> float:
        """Return 0 for the same value and 1 for another."""
        return 0.0 if current == other else 1.0


@dataclass(frozen=True, slots=True)
class Numbers:
    """A numeric field; one ``scale`` is one unit of distance."""

    field: str
    minimum: float
    maximum: float
    scale: float
    points: tuple[float, ...]
    """Where to try: thresholds of the model and quantiles of the background."""
    is_integer: bool = False
    direction: Direction = Direction.ANY
    step: Decimal = dataclasses.field(init=False, compare=False)
    """The width of the grid on which values are suggested: a power of ten."""
    tried: tuple[int | float, ...] = dataclasses.field(init=False, repr=False, compare=False)
    """Both sides of every point, on the grid and within the range, ascending."""

    def __post_init__(self) -> None:
        """Lay the grid once: it is asked for every case."""
        power = floor(log10(self.scale)) if self.scale > 0 and isfinite(self.scale) else 0
        step = Decimal(10) ** power / GRID_STEPS
        object.__setattr__(self, "step", max(step, Decimal(1)) if self.is_integer else step)
        grid: set[int] = set()
        for point in (*self.points, self.minimum, self.maximum):
            below = grid_index(point, self.step, ROUND_FLOOR)
            grid.update((below, below + 1))
        values = [self.at(index) for index in sorted(grid)]
        inside = tuple(value for value in values if self.minimum <= value <= self.maximum)
        object.__setattr__(self, "tried", inside)

    def candidates(self, current: Value) -> tuple[Value, ...]:
        """Return allowed values on the grid, nearest first: both sides of every point."""
        ordered: Sequence[int | float]
        if current is None:
            ordered = self.tried
        else:
            start = as_number(current)
            below = self.tried[: bisect_left(self.tried, start)][::-1]
            above = self.tried[bisect_right(self.tried, start) :]
            match self.direction:
                case Direction.INCREASE:
                    ordered = above
                case Direction.DECREASE:
                    ordered = below
                case Direction.ANY:
                    ordered = sorted(below + above, key=lambda value: (abs(value - start), value))
        return tuple([ordered[at] for at in _spread(len(ordered), MOST_CANDIDATES)])

    def at(self, index: int) -> int | float:
        """Return the value of a place on the grid."""
        value = self.step * index
        return int(value) if self.is_integer else float(value)

    def allows(self, current: Value, value: float) -> bool:
        """Return whether ``value`` is another value, within the range and in the direction."""
        if not self.minimum <= value <= self.maximum:
            return False
        if current is None:
            return True
        start = as_number(current)
        match self.direction:
            case Direction.INCREASE:
                return value > start
            case Direction.DECREASE:
                return value < start
            case Direction.ANY:
                return value != start

    def distance(self, current: Value, other: Value) -> float:
        """Return the change in units of ``scale``; giving a missing value counts as one."""
        if current is None or other is None:
            return 0.0 if current == other else 1.0
        return abs(as_number(other) - as_number(current)) / self.scale

    def rounder(self, current: Value, value: float) -> tuple[int | float, ...]:
        """Return rounder values at most a tenth further than ``value``, roundest first."""
        if current is None:
            return ()
        start = as_number(current)
        away = ROUND_CEILING if value > start else ROUND_FLOOR
        found: list[int | float] = []
        for power in range(12, -1, -1):
            for multiple in (5, 1):
                step = self.step * multiple * 10**power
                rounded = step * grid_index(value, step, away)
                plain = int(rounded) if self.is_integer else float(rounded)
                if plain == value:
                    return tuple(found)
                if abs(plain - start) <= 1.1 * abs(value - start) and self.allows(current, plain):
                    found.append(plain)
        return tuple(dict.fromkeys(found))


Domain: TypeAlias = Categories | Numbers


def numbers(
    field: str,
    background: Sequence[float],
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    is_integer: bool = False,
    direction: Direction = Direction.ANY,
    thresholds: Sequence[float] = (),
) -> Numbers:
    """Return the domain of a number from its background values; NaN among them is left out.

    The scale is the interquartile range, or the whole range where that is 0, or 1.
    Raises ValueError when the background has no finite value.
    """
    seen = np.array([value for value in background if isfinite(value)], dtype=np.float64)
    if not len(seen):
        raise ValueError(f"field {field!r}: got no finite background value, want at least 1")
    low, high = np.quantile(seen, [0.25, 0.75])
    scale = float(high - low) or float(seen.max() - seen.min()) or 1.0
    least = float(seen.min()) if minimum is None else minimum
    most = float(seen.max()) if maximum is None else maximum
    points = {float(point) for point in np.quantile(seen, np.linspace(0, 1, QUANTILES))}
    inside = [float(t) for t in thresholds if isfinite(t) and least <= t <= most]
    return Numbers(
        field=field,
        minimum=least,
        maximum=most,
        scale=scale,
        points=tuple(sorted(points | set(inside))),
        is_integer=is_integer,
        direction=direction,
    )


def grid_index(value: float, step: Decimal, rounding: str) -> int:
    """Return the place of ``value`` on the grid of ``step``, rounded."""
    return int((Decimal(repr(float(value))) / step).to_integral_value(rounding=rounding))


def as_number(value: Value) -> float:
    """Return the value as a number. Raises TypeError for text and None."""
    if type(value) is float:
        return value
    if value is None or isinstance(value, str):
        raise TypeError(f"got {type(value).__name__}, want a number")
    return float(value)


def frontier(gains: Sequence[tuple[float, float, Value]], *, most: int) -> list[Value]:
    """Return the values worth combining: each farther one must bring the score closer.

    ``gains`` holds (distance, score, value); more than ``most`` are thinned evenly.
    """
    best: list[tuple[float, float, Value]] = []
    for entry in sorted(gains, key=lambda entry: (entry[0], -entry[1])):
        if not best or entry[1] > best[-1][1]:
            best.append(entry)
    return [best[at][2] for at in _spread(len(best), most)]


@lru_cache(maxsize=1024)
def _spread(count: int, most: int) -> tuple[int, ...]:
    """Return at most ``most`` evenly spaced places of ``count``, the first and last among them."""
    places = np.linspace(0, count - 1, min(most, count)).round().astype(int)
    return tuple(dict.fromkeys(places.tolist()))
