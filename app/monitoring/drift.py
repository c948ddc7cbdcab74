"""Whether cases and outputs still look like the bundle's background: population stability.

PSI = sum over bins of (p - q) ln(p / q), bins being tenths of the background (Siddiqi 2006). By
chance alone it comes to about (B - 1)(1/n + 1/m) (Yurdakul 2018), so it is told beside that figure,
and the circuit breaker also asks whether the change can be chance at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.card import Card, Value

TENTHS = np.arange(1, 10) / 10
MOST_CATEGORIES = 50
"""More, and only the most frequent have a bin of their own."""
_SMOOTHING = 0.5
"""Added to each count, or an empty bin would make the index infinite."""

Counts = NDArray[np.int64]
Codes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Bins:
    """The bins of one field, or of the output, and how many of the background are in each.

    The last bin is for missing values; with categories the one before it is for all others.
    """

    name: str
    edges: NDArray[np.float64] | None
    """Inner edges of numbers; a bin is from one edge and below the next."""
    categories: Mapping[Value, int] | None
    background: Counts

    def codes(self, values: Sequence[Value]) -> Codes:
        """Return each value's bin."""
        missing = len(self.background) - 1
        if self.categories is not None:
            others, known = missing - 1, self.categories
            return np.array(
                [missing if v is None else known.get(v, others) for v in values], dtype=np.uint8
            )
        numbers = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
        return _places(self.edges, numbers, missing=missing)

    def counts(self, codes: Codes) -> Counts:
        """Return how many are in each bin."""
        return np.bincount(codes, minlength=len(self.background))

    def stability_index(self, codes: Codes) -> float:
        """Return the index of some cases against the background."""
        return stability_index(self.counts(codes), self.background)


def field_bins(card: Card, background: Mapping[str, Sequence[Value]]) -> tuple[Bins, ...]:
    """Return the bins of each field, in card order."""
    made = []
    for field in card.fields:
        values = background[field.name]
        numeric = field.type in {"number", "integer"} and not field.categories
        made.append(
            number_bins(field.name, np.array([np.nan if v is None else v for v in values], float))
            if numeric
            else _category_bins(field.name, values)
        )
    return tuple(made)


def number_bins(name: str, background: NDArray[np.float64]) -> Bins:
    """Return bins that hold a tenth of the background each, as far as its values allow."""
    known = background[~np.isnan(background)]
    edges = np.unique(np.quantile(known, TENTHS)) if known.size else np.zeros(0)
    missing = len(edges) + 1
    places = _places(edges, background, missing=missing)
    return Bins(name, edges, None, np.bincount(places, minlength=missing + 1))


def stability_index(counts: Counts, background: Counts) -> float:
    """Return the population stability index of counts in bins."""
    used = (counts + background) > 0
    p, q = counts[used] + _SMOOTHING, background[used] + _SMOOTHING
    p, q = p / p.sum(), q / q.sum()
    return float(((p - q) * np.log(p / q)).sum())


def expected_by_chance(cases: int, background: Counts) -> float:
    """Return about what the index is when nothing has changed."""
    return float((np.count_nonzero(background) - 1) * (1 / cases + 1 / background.sum()))


def _category_bins(name: str, background: Sequence[Value]) -> Bins:
    known = [value for value in background if value is not None]
    frequent = sorted(set(known), key=lambda value: (-known.count(value), str(value)))
    categories: dict[Value, int] = {
        value: place for place, value in enumerate(frequent[:MOST_CATEGORIES])
    }
    bins = Bins(name, None, categories, np.zeros(len(categories) + 2, dtype=np.int64))
    return Bins(name, None, categories, bins.counts(bins.codes(background)))


def _places(
    edges: NDArray[np.float64] | None, numbers: NDArray[np.float64], *, missing: int
) -> Codes:
    if edges is None:
        raise TypeError("got bins of categories, want bins of numbers")
    places = np.searchsorted(edges, numbers, side="right")
    return np.where(np.isnan(numbers), missing, places).astype(np.uint8)
