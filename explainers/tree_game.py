"""The field game of one tree ensemble: base values and Shapley values of any encoded row.

Nothing here knows feeds, links or onnxruntime, so that sums of ensembles can use it as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explainers.cuts import Cuts, Ints, find_cuts
from explainers.ensemble import Ensemble
from explainers.explanation import Matrix, Vector
from explainers.tree_walk import shapley_weights, sum_leaves, walk_row


@dataclass(frozen=True, slots=True)
class TreeGame:
    """Players are F fields; the worth is S linear sums of the leaves' values."""

    cuts: Cuts
    ensemble: Ensemble
    node_field: Ints
    """(n,) the field of each node's column."""
    values: Matrix
    """(L, S) the leaves' values."""
    background: Ints
    """(B, columns) ranks of the background."""
    base_values: Vector
    """(S,) mean sums over the background."""
    n_fields: int
    weights: Matrix
    walked: Ints
    """(n,) the leaf's row of ``values``, -1 at inner nodes."""

    def contributions(self, encoded: NDArray[Any]) -> Matrix:
        """Return the Shapley values, shape (S, F), of one encoded row, shape (1, columns)."""
        found = np.zeros((self.n_fields, self.values.shape[1]))
        walk_row(
            self.cuts.ranks(encoded)[0],
            self.background,
            self.ensemble.roots,
            self.ensemble.column,
            self.node_field,
            self.ensemble.true_child,
            self.ensemble.false_child,
            self.cuts.segment_starts,
            self.cuts.segment_low,
            self.cuts.segment_high,
            self.walked,
            self.values,
            self.weights,
            found,
        )
        return np.ascontiguousarray(found.T)

    def sums(self, encoded: NDArray[Any]) -> Matrix:
        """Return the sums, shape (N, S), of encoded rows, by walking every tree."""
        return _sums(self.ensemble, self.cuts, self.cuts.ranks(encoded), self.values)


def build_game(
    ensemble: Ensemble,
    *,
    forms: Matrix,
    fields: tuple[int, ...],
    n_fields: int,
    background: NDArray[Any],
    memory_budget_bytes: int,  # noqa: ARG001
) -> TreeGame:
    """Return the game of the linear forms ``forms``, shape (S, R), of the raw sums.

    ``fields[c]`` is the field of encoded column c. ``background``, shape (B, columns), is encoded
    and in the type that the operator is fed.
    """
    double = background.dtype == np.float64
    cuts = find_cuts(ensemble, n_columns=background.shape[1], double=double)
    ranks = cuts.ranks(background)
    values = np.ascontiguousarray(ensemble.leaf_values @ forms.T)
    return TreeGame(
        cuts=cuts,
        ensemble=ensemble,
        node_field=np.array(fields, dtype=np.int32)[ensemble.column],
        values=values,
        background=ranks,
        base_values=_sums(ensemble, cuts, ranks, values).mean(axis=0),
        n_fields=n_fields,
        weights=shapley_weights(min(_depth(ensemble), n_fields)),
        walked=ensemble.leaf,
    )


def _sums(ensemble: Ensemble, cuts: Cuts, ranks: Ints, values: Matrix) -> Matrix:
    sums: Matrix = sum_leaves(
        ranks,
        ensemble.roots,
        ensemble.column,
        ensemble.true_child,
        ensemble.false_child,
        cuts.segment_starts,
        cuts.segment_low,
        cuts.segment_high,
        ensemble.leaf,
        values,
    )
    return sums


def _depth(ensemble: Ensemble) -> int:
    depth, frontier = 0, ensemble.roots
    while True:
        inner = frontier[ensemble.leaf[frontier] < 0]
        if not len(inner):
            return depth
        frontier = np.concatenate([ensemble.true_child[inner], ensemble.false_child[inner]])
        depth += 1
