"""Whether a case is like the background at all: out-of-distribution, and how it was computed.

A case is unfamiliar when one of these holds: a category, or a missing value, that no background
row has; a number further outside the background's range than a tenth of it; or, over all fields
together, a Gower distance to the nearest background row that at most one in a hundred of the
background rows has to its own nearest. Gower (1971): the mean over fields of |x - b| / range for
numbers, 0 or 1 for categories.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan

import numpy as np
from numpy.typing import NDArray

from explainers.domains import Value
from explainers.errors import BackgroundError
from explainers.explanation import Matrix, Vector
from explainers.nearest import nearest_distance, nearest_others

OUTSIDE = 0.1
"""How far outside the range, as a part of it, a number counts as unfamiliar."""
RARE = 0.01
MAX_ROWS = 1000
"""A larger background is thinned to evenly spaced rows for the distances, not for the ranges."""

_UNSEEN = -1


@dataclass(frozen=True, slots=True)
class Novelty:
    """One field whose value the background does not have."""

    field: str
    kind: str
    """above, below (numbers), unseen (categories) or missing."""
    is_far: bool
    """False for a number just outside the range: reported, but no reason on its own."""


@dataclass(frozen=True, slots=True)
class Familiarity:
    """How one case compares with the background."""

    is_unfamiliar: bool
    novelties: tuple[Novelty, ...]
    """In field order."""
    distance: float
    """Gower distance to the nearest background row, 0 for a twin."""
    rarity: float
    """Share of background rows at least this far from their own nearest; conformal p-value."""
    background_rows: int


@dataclass(frozen=True, slots=True)
class NumericField:
    """What the background says of one number."""

    name: str
    lowest: float
    highest: float
    span: float
    """highest - lowest, 1 where all are equal."""
    missing_seen: bool
    """Whether some row misses it."""

    def novelty(self, number: float) -> Novelty | None:
        """Return what is new about a number, NaN when it is missing, or None."""
        if isnan(number):
            return None if self.missing_seen else Novelty(self.name, "missing", is_far=True)
        room = OUTSIDE * self.span
        if number > self.highest:
            return Novelty(self.name, "above", is_far=number > self.highest + room)
        if number < self.lowest:
            return Novelty(self.name, "below", is_far=number < self.lowest - room)
        return None


@dataclass(frozen=True, slots=True)
class CategoricalField:
    """What the background says of one category."""

    name: str
    codes: Mapping[Value, int]
    """Of each value seen; None among them where a row misses it."""


@dataclass(frozen=True, slots=True)
class FamiliarityCheck:
    """The background's ranges, categories and distances."""

    numeric: tuple[NumericField, ...]
    numeric_names: tuple[str, ...]
    ranges: Matrix
    """Shape (3, numeric): lowest, highest and span of each."""
    categorical: tuple[CategoricalField, ...]
    columns: Matrix
    """Shape (numeric, B): numbers in units of their span, NaN for missing."""
    code_columns: NDArray[np.int64]
    """Shape (categorical, B)."""
    nearest: tuple[float, ...]
    """Of each of the B rows the distance to its nearest other row, sorted."""
    background_rows: int

    def check(self, case: Mapping[str, Value]) -> Familiarity:
        """Return how a case compares; a missing value is None."""
        # None becomes NaN.
        numbers = np.array([case[name] for name in self.numeric_names], dtype=np.float64)
        novelties: list[Novelty] = []
        codes: list[int] = []
        for each in self.categorical:
            value = case[each.name]
            code = each.codes.get(value, _UNSEEN)
            codes.append(code)
            if code == _UNSEEN:
                kind = "missing" if value is None else "unseen"
                novelties.append(Novelty(each.name, kind, is_far=True))
        distance, is_inside = nearest_distance(
            self.columns,
            self.code_columns,
            ranges=self.ranges,
            numbers=numbers,
            codes=np.array(codes, dtype=np.int64),
        )
        if not is_inside:
            novelties += self._outside(numbers)
        if len(novelties) > 1:
            order = {field: place for place, field in enumerate(case)}
            novelties.sort(key=lambda novelty: order[novelty.field])
        at_least = len(self.nearest) - bisect_left(self.nearest, distance)
        rarity = (1 + at_least) / (1 + len(self.nearest))
        return Familiarity(
            is_unfamiliar=rarity <= RARE or any(novelty.is_far for novelty in novelties),
            novelties=tuple(novelties),
            distance=distance,
            rarity=rarity,
            background_rows=self.background_rows,
        )

    def _outside(self, numbers: Vector) -> list[Novelty]:
        found = [
            field.novelty(number)
            for field, number in zip(self.numeric, numbers.tolist(), strict=True)
        ]
        return [novelty for novelty in found if novelty is not None]


def familiarity_check(background: Mapping[str, Sequence[Value]]) -> FamiliarityCheck:
    """Return the check against a background: field -> its value in each row, None for missing.

    A field is numeric when every value present is a number and no boolean. Raises BackgroundError
    with fewer than two rows or columns of different lengths. Compiles what ``check`` needs.
    """
    lengths = {len(column) for column in background.values()}
    if len(lengths) != 1 or min(lengths) < 2:
        raise BackgroundError("rows", got=sorted(lengths), want="one number of at least 2")
    count = lengths.pop()
    kept = np.arange(count) if count <= MAX_ROWS else np.arange(MAX_ROWS) * count // MAX_ROWS
    numeric: list[NumericField] = []
    categorical: list[CategoricalField] = []
    columns = np.empty((0, len(kept)))
    code_columns = np.empty((0, len(kept)), dtype=np.int64)
    for name, column in background.items():
        if _is_numeric(column):
            numbers = np.array([_number(value) for value in column])
            numeric.append(_numeric_field(name, numbers))
            columns = np.vstack([columns, numbers[kept] / numeric[-1].span])
        else:
            codes = {value: code for code, value in enumerate(dict.fromkeys(column))}
            categorical.append(CategoricalField(name, codes))
            coded = np.array([codes[value] for value in column], dtype=np.int64)
            code_columns = np.vstack([code_columns, coded[kept]])
    return FamiliarityCheck(
        numeric=tuple(numeric),
        numeric_names=tuple(field.name for field in numeric),
        ranges=np.array(
            [[field.lowest, field.highest, field.span] for field in numeric], dtype=np.float64
        )
        .reshape(-1, 3)
        .T.copy(),
        categorical=tuple(categorical),
        columns=columns,
        code_columns=code_columns,
        nearest=tuple(sorted(nearest_others(columns, code_columns).tolist())),
        background_rows=count,
    )


def _numeric_field(name: str, numbers: Vector) -> NumericField:
    lowest, highest = float(np.nanmin(numbers)), float(np.nanmax(numbers))
    return NumericField(
        name=name,
        lowest=lowest,
        highest=highest,
        span=highest - lowest if highest > lowest else 1.0,
        missing_seen=bool(np.isnan(numbers).any()),
    )


def _is_numeric(column: Sequence[Value]) -> bool:
    present = [value for value in column if value is not None]
    return bool(present) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in present
    )


def _number(value: Value) -> float:
    if type(value) is float:  # the usual one, and a third of what isinstance costs
        return value
    return float(value) if isinstance(value, int | float) else nan
