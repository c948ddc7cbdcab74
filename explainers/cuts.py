"""Every comparison of an ensemble as a set of ranks of one column.

A column's *cuts* are the values where some node changes its mind; a value's *rank* is the number
of cuts below it, and missing values have the rank after the last. Every branch mode is then a set
of ranks, written as a few closed *segments*, and no later step knows about modes, ties or NaN.

``x < t`` is ``x <= p`` with p the next value below t in the type that onnxruntime compares in, so
cuts at t and just below it tell ``<``, ``==`` and ``<=`` apart exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explainers.ensemble import Ensemble, Mode, truncates
from explainers.explanation import Vector

Ints = NDArray[np.int32]
"""One-dimensional array of int32."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """The cuts of every column and the nodes as segments of ranks."""

    kind: np.dtype[Any]
    """The type that onnxruntime compares in."""
    starts: Ints
    """(columns + 1,): column c's cuts are ``values[starts[c]:starts[c + 1]]``."""
    values: Vector
    """Ascending within a column; float32 values held exactly."""
    segment_starts: Ints
    """(n + 1,): node i holds at the ranks in segments ``segment_starts[i]`` to the next."""
    segment_low: Ints
    segment_high: Ints
    """Closed segments of ranks, ascending within a node."""

    def missing_rank(self, column: int) -> int:
        """Return the rank of NaN: one more than the number of cuts."""
        return int(self.starts[column + 1] - self.starts[column]) + 1

    def ranks(self, encoded: NDArray[Any]) -> NDArray[np.int32]:
        """Return the rank of every value, shape (N, columns) like ``encoded``."""
        rows = encoded.astype(self.kind).astype(np.float64)
        ranks = np.empty((len(rows), len(self.starts) - 1), dtype=np.int32)
        for column in range(ranks.shape[1]):
            cuts = self.values[self.starts[column] : self.starts[column + 1]]
            ranks[:, column] = np.searchsorted(cuts, rows[:, column], side="left")
            ranks[np.isnan(rows[:, column]), column] = self.missing_rank(column)
        return ranks


def find_cuts(ensemble: Ensemble, *, n_columns: int, double: bool) -> Cuts:
    """Return the cuts of ``ensemble`` for inputs of ``n_columns`` columns."""
    kind: type[np.float32 | np.float64] = np.float64 if double else np.float32
    values = ensemble.value.astype(kind)
    with np.errstate(over="ignore"):  # below the least number there is -inf
        below = np.nextafter(values, kind(-np.inf))
    members = dict(
        zip(np.flatnonzero(ensemble.mode == Mode.MEMBER).tolist(), ensemble.members, strict=True)
    )
    owners, cuts = _wanted_cuts(ensemble, values, below, members, kind)
    order = np.lexsort((cuts, owners))
    owners, cuts = owners[order], cuts[order]
    fresh = np.r_[True, (owners[1:] != owners[:-1]) | (cuts[1:] != cuts[:-1])][: len(cuts)]
    owners, cuts = owners[fresh], cuts[fresh]
    starts = np.searchsorted(owners, np.arange(n_columns + 1)).astype(np.int32)
    made = Cuts(
        np.dtype(kind),
        starts,
        cuts,
        np.zeros(1, np.int32),
        np.zeros(0, np.int32),
        np.zeros(0, np.int32),
    )
    return _with_segments(made, ensemble, values, below, members)


def _wanted_cuts(
    ensemble: Ensemble,
    values: NDArray[Any],
    below: NDArray[Any],
    members: dict[int, Vector],
    kind: type[np.float32 | np.float64],
) -> tuple[Ints, Vector]:
    """Return (column, cut) pairs, with repeats."""
    mode = ensemble.mode
    at = np.isin(mode, (Mode.LEQ, Mode.GT, Mode.EQ, Mode.NEQ)) & ~np.isnan(values)
    under = np.isin(mode, (Mode.LT, Mode.GTE, Mode.EQ, Mode.NEQ)) & ~np.isnan(values)
    owners = [ensemble.column[at], ensemble.column[under]]
    cuts = [values[at].astype(np.float64), below[under].astype(np.float64)]
    for node, members_of in members.items():
        both = np.concatenate(_member_ranges(ensemble, members_of.astype(kind))).astype(np.float64)
        owners.append(np.full(len(both), ensemble.column[node], np.int32))
        cuts.append(both)
    return np.concatenate(owners), np.concatenate(cuts) + 0.0


def _member_ranges(ensemble: Ensemble, members: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return (above, up to) for each member: the values that onnxruntime takes for it."""
    low = members.dtype.type(-np.inf)
    if not truncates(ensemble, members):
        return np.nextafter(members, low), members
    above = np.where(members > 0, np.nextafter(members, low), members - 1)
    up_to = np.where(members < 0, members, np.nextafter(members + 1, low))
    return above, up_to


def _with_segments(
    cuts: Cuts,
    ensemble: Ensemble,
    values: NDArray[Any],
    below: NDArray[Any],
    members: dict[int, Vector],
) -> Cuts:
    """Return ``cuts`` with the ranks at which each node holds, as joined ascending segments."""
    mode = ensemble.mode
    at = _rank_of(cuts, ensemble.column, values)
    # -inf is its own predecessor: nothing lies below it.
    under = np.where(values == -np.inf, -1, _rank_of(cuts, ensemble.column, below))
    top = np.diff(cuts.starts)[ensemble.column]
    unordered = np.isnan(values)
    not_equal = mode == Mode.NEQ
    holds = [mode == kind for kind in (Mode.LEQ, Mode.LT, Mode.GTE, Mode.GT, Mode.EQ, Mode.NEQ)]
    first_low = np.select(holds, [0, 0, under + 1, at + 1, at, 0], 1)
    first_high = np.select(holds, [at, under, top, top, at, at - 1], 0)
    # A threshold of NaN is never met, except by being different.
    first_low = np.where(unordered, np.where(not_equal, 0, 1), first_low)
    first_high = np.where(unordered, np.where(not_equal, top, 0), first_high)
    second_low = np.where(not_equal & ~unordered, at + 1, 1)
    second_high = np.where(not_equal & ~unordered, top, 0)
    # Without a missing-value track, NaN makes only != true (IEEE 754).
    with_missing = np.flatnonzero((ensemble.missing_true | not_equal) & (mode != Mode.LEAF))
    nodes = np.arange(len(mode))
    owner = [nodes, nodes, with_missing]
    low = [first_low, second_low, top[with_missing] + 1]
    high = [first_high, second_high, top[with_missing] + 1]
    for node, own in members.items():
        above, up_to = _member_ranges(ensemble, own.astype(cuts.kind))
        columns = np.full(len(above), ensemble.column[node], np.int32)
        owner.append(np.full(len(above), node))
        low.append(_rank_of(cuts, columns, above) + 1)
        high.append(_rank_of(cuts, columns, up_to))
    return _joined(
        cuts, np.concatenate(owner), np.concatenate(low), np.concatenate(high), len(mode)
    )


def _joined(
    cuts: Cuts, owner: NDArray[Any], low: NDArray[Any], high: NDArray[Any], n_nodes: int
) -> Cuts:
    """Return ``cuts`` with the segments that are not empty, neighbours of a node made one."""
    valid = low <= high
    owner, low, high = owner[valid], low[valid], high[valid]
    order = np.lexsort((low, owner))
    owner, low, high = owner[order], low[order], high[order]
    fresh = np.r_[True, (owner[1:] != owner[:-1]) | (low[1:] > high[:-1] + 1)][: len(owner)]
    begins = np.flatnonzero(fresh)
    ends = np.r_[begins[1:], len(owner)][: len(begins)]
    return Cuts(
        cuts.kind,
        cuts.starts,
        cuts.values,
        np.searchsorted(owner[begins], np.arange(n_nodes + 1)).astype(np.int32),
        low[begins].astype(np.int32),
        high[ends - 1].astype(np.int32),
    )


def _rank_of(cuts: Cuts, columns: Ints, values: NDArray[Any]) -> Ints:
    """Return the rank of each value within its column's cuts."""
    ranks = np.zeros(len(values), dtype=np.int32)
    order = np.argsort(columns, kind="stable")
    bounds = np.searchsorted(columns[order], np.arange(len(cuts.starts)))
    for column in range(len(cuts.starts) - 1):
        own = order[bounds[column] : bounds[column + 1]]
        within = cuts.values[cuts.starts[column] : cuts.starts[column + 1]]
        ranks[own] = np.searchsorted(within, values[own].astype(np.float64), side="left")
    return ranks
