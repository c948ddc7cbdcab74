"""Rates by protected group: selection, true and false positives, precision, and the gaps between.

The words are those of the literature and of fairlearn's ``MetricFrame``, against which a test
compares the figures: a difference is the largest rate less the smallest, a ratio the smallest over
the largest. Nothing is said of a rate over fewer than ``smallest`` people.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from app.monitoring.intervals import Estimate, difference, ratio, share
from app.monitoring.sequential import evidence_of_gap

UNKNOWN = -1
"""Of a group: not reported. Of an answer: not known yet."""

RATES = ("selection_rate", "true_positive_rate", "false_positive_rate", "precision")

Codes = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Tally:
    """A rate as whole numbers: ``count`` of ``total``."""

    count: int
    total: int


@dataclass(frozen=True, slots=True)
class Group:
    """One group of one attribute."""

    name: str
    people: int
    tallies: dict[str, Tally]
    """By the names in RATES."""

    def rate(self, name: str, *, smallest: int) -> Estimate | None:
        """Return a rate with its interval, None over fewer than ``smallest``."""
        tally = self.tallies[name]
        return share(tally.count, tally.total) if tally.total >= max(1, smallest) else None


@dataclass(frozen=True, slots=True)
class Gap:
    """How far apart the groups are in one rate."""

    highest: str
    lowest: str
    difference: Estimate
    ratio: Estimate


def tally(names: Sequence[str], groups: Codes, *, selected: Flags, answers: Codes) -> list[Group]:
    """Return the whole numbers of every group.

    Arrays of one length, one entry for a case: ``groups`` place in ``names`` or UNKNOWN;
    ``answers`` 1 for positive, 0 for negative, UNKNOWN.
    """
    found = []
    for code, name in enumerate(names):
        inside = groups == code
        positive, negative = inside & (answers == 1), inside & (answers == 0)
        hits = int((positive & selected).sum())
        false_alarms = int((negative & selected).sum())
        found.append(
            Group(
                name=name,
                people=int(inside.sum()),
                tallies={
                    "selection_rate": Tally(int((inside & selected).sum()), int(inside.sum())),
                    "true_positive_rate": Tally(hits, int(positive.sum())),
                    "false_positive_rate": Tally(false_alarms, int(negative.sum())),
                    "precision": Tally(hits, hits + false_alarms),
                },
            )
        )
    return found


def gap(groups: Iterable[Group], rate: str, *, smallest: int) -> Gap | None:
    """Return how far apart groups are, None unless two of them are large enough."""
    known = [(group.name, group.rate(rate, smallest=smallest)) for group in groups]
    rates = [(name, estimate) for name, estimate in known if estimate is not None]
    if len(rates) < 2:
        return None
    highest = max(rates, key=lambda pair: pair[1].value)
    lowest = min(rates, key=lambda pair: pair[1].value)
    return Gap(
        highest=highest[0],
        lowest=lowest[0],
        difference=difference(highest[1], lowest[1]),
        ratio=ratio(lowest[1], highest[1]),
    )


def evidence_of_difference(groups: Sequence[Group], rate: str, *, limit: float) -> float:
    """Return the log evidence against "no group's rate is more than ``limit`` below another's"."""
    return max(_evidence(groups, rate, slope=1.0, offset=-limit), default=0.0)


def evidence_of_ratio(groups: Sequence[Group], rate: str, *, limit: float) -> float:
    """Return the log evidence against "no group's rate is below ``limit`` times another's"."""
    return max(_evidence(groups, rate, slope=limit, offset=0.0), default=0.0)


def comparisons(groups: int) -> int:
    """Return how many tests it is to compare each group with each other, both ways."""
    return groups * (groups - 1)


def _evidence(
    groups: Sequence[Group], rate: str, *, slope: float, offset: float
) -> Iterator[float]:
    pairs = [(a.tallies[rate], b.tallies[rate]) for a, b in permutations(groups, 2)]
    if pairs:
        a, b = zip(*pairs, strict=True)
        yield from evidence_of_gap(
            np.array([each.count for each in a]),
            np.array([each.total for each in a]),
            np.array([each.count for each in b]),
            np.array([each.total for each in b]),
            slope=slope,
            offset=offset,
        ).tolist()
