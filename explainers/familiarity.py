"""Whether a case is like the background at all: out-of-distribution, and how it was computed.

A case is unfamiliar when one of these holds: a category, or a missing value, that no background
row has; a number further outside the background's range than a tenth of it; or, over all fields
together, a Gower distance to the nearest background row that at most one in a hundred of the
background rows has to its own nearest. Gower (1971): the mean over fields of |x - b| / range for
numbers, 0 or 1 for categories.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from explainers.domains import Value
from explainers.errors import BackgroundError
from explainers.explanation import Matrix, Vector

OUTSIDE = 0.1
"""How far outside the range, as a part of it, a number counts as unfamiliar."""
RARE = 0.01
MAX_ROWS = 1000
"""A larger background is thinned to evenly spaced rows for the distances, not for the ranges."""


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
class FamiliarityCheck:
    """The background's ranges, categories and distances."""

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    lowest: Vector
    """Shape (numeric,): least value of each number."""
    highest: Vector
    ranges: Vector
    """Shape (numeric,): highest - lowest, 1 where all are equal."""
    seen: tuple[frozenset[Value], ...]
    """The values of each categorical field; None where a value was missing."""
    missing_seen: NDArray[np.bool_]
    """Shape (numeric,): whether some row misses the number."""
    rows: Matrix
    """Shape (B, numeric): numbers in units of their range, NaN for missing."""
    labels: tuple[tuple[Value, ...], ...]
    """Of each categorical field, the value of each code."""
    codes: NDArray[np.int64]
    """Shape (B, categorical)."""
    nearest: Vector
    """Shape (B,): each row's distance to its nearest other row, sorted."""
    background_rows: int

    def check(self, case: Mapping[str, Value]) -> Familiarity:
        """Return how a case compares; a missing value is None."""
        numbers = _numbers_of([case[field] for field in self.numeric])
        novelties = [*self._outside(numbers), *self._unseen(case)]
        order = {field: place for place, field in enumerate(case)}
        novelties.sort(key=lambda novelty: order[novelty.field])
        codes = np.array(
            [
                labels.index(case[field]) if case[field] in labels else -1
                for field, labels in zip(self.categorical, self.labels, strict=True)
            ],
            dtype=np.int64,
        )
        scaled = numbers / self.ranges
        distance = float(gower(self.rows, self.codes, numbers=scaled, codes=codes).min())
        at_least = len(self.nearest) - int(np.searchsorted(self.nearest, distance, side="left"))
        rarity = (1 + at_least) / (1 + len(self.nearest))
        return Familiarity(
            is_unfamiliar=rarity <= RARE or any(novelty.is_far for novelty in novelties),
            novelties=tuple(novelties),
            distance=distance,
            rarity=rarity,
            background_rows=self.background_rows,
        )

    def _outside(self, numbers: Vector) -> list[Novelty]:
        found = []
        for place, field in enumerate(self.numeric):
            value, room = numbers[place], OUTSIDE * self.ranges[place]
            if np.isnan(value):
                if not self.missing_seen[place]:
                    found.append(Novelty(field, "missing", is_far=True))
            elif value > self.highest[place]:
                found.append(
                    Novelty(field, "above", is_far=bool(value > self.highest[place] + room))
                )
            elif value < self.lowest[place]:
                found.append(
                    Novelty(field, "below", is_far=bool(value < self.lowest[place] - room))
                )
        return found

    def _unseen(self, case: Mapping[str, Value]) -> list[Novelty]:
        return [
            Novelty(field, "missing" if case[field] is None else "unseen", is_far=True)
            for field, seen in zip(self.categorical, self.seen, strict=True)
            if case[field] not in seen
        ]


def familiarity_check(background: Mapping[str, Sequence[Value]]) -> FamiliarityCheck:
    """Return the check against a background: field -> its value in each row, None for missing.

    A field is numeric when every value present is a number and no boolean. Raises BackgroundError
    with fewer than two rows or columns of different lengths.
    """
    lengths = {len(column) for column in background.values()}
    if len(lengths) != 1 or min(lengths) < 2:
        raise BackgroundError("rows", got=sorted(lengths), want="one number of at least 2")
    count = lengths.pop()
    numeric = tuple(field for field, column in background.items() if _is_numeric(column))
    categorical = tuple(field for field in background if field not in numeric)
    values = np.array([_numbers_of(background[field]) for field in numeric])
    values = values.reshape(len(numeric), count).T
    lowest, highest = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    ranges = np.where(highest > lowest, highest - lowest, 1.0)
    labels = tuple(tuple(dict.fromkeys(background[field])) for field in categorical)
    kept = np.arange(count) if count <= MAX_ROWS else np.arange(MAX_ROWS) * count // MAX_ROWS
    codes = np.array(
        [
            [known.index(background[field][row]) for row in kept.tolist()]
            for field, known in zip(categorical, labels, strict=True)
        ],
        dtype=np.int64,
    )
    codes = codes.reshape(len(categorical), len(kept)).T
    rows = values[kept] / ranges
    return FamiliarityCheck(
        numeric=numeric,
        categorical=categorical,
        lowest=lowest,
        highest=highest,
        ranges=ranges,
        seen=tuple(frozenset(known) for known in labels),
        missing_seen=np.isnan(values).any(axis=0),
        rows=rows,
        labels=labels,
        codes=codes,
        nearest=np.sort(_nearest_others(rows, codes)),
        background_rows=count,
    )


def gower(
    rows: Matrix, row_codes: NDArray[np.int64], *, numbers: Vector, codes: NDArray[np.int64]
) -> Vector:
    """Return the Gower distance of one case to every row, shape (B,).

    Numbers are in units of their range. Missing against missing is 0, against a value 1.
    """
    apart = np.abs(rows - numbers)
    one_missing = np.isnan(rows) != np.isnan(numbers)
    apart = np.where(one_missing, 1.0, np.nan_to_num(apart, nan=0.0, posinf=np.inf))
    total = apart.sum(axis=1) + (row_codes != codes).sum(axis=1)
    return np.asarray(total / max(rows.shape[1] + row_codes.shape[1], 1))


def _nearest_others(rows: Matrix, codes: NDArray[np.int64]) -> Vector:
    nearest = np.empty(len(rows))
    for row in range(len(rows)):
        distances = gower(rows, codes, numbers=rows[row], codes=codes[row])
        distances[row] = np.inf
        nearest[row] = distances.min()
    return nearest


def _is_numeric(column: Sequence[Value]) -> bool:
    present = [value for value in column if value is not None]
    return bool(present) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in present
    )


def _numbers_of(values: Sequence[Value]) -> Vector:
    return np.array(
        [value if isinstance(value, int | float) else np.nan for value in values], dtype=np.float64
    )
