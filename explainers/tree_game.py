"""The field game of one tree ensemble: base values and Shapley values of any encoded row.

Nothing here knows feeds, links or onnxruntime, so that sums of ensembles can use it as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from explainers.cuts import Cuts, Ints, find_cuts
from explainers.ensemble import Ensemble
from explainers.explanation import Matrix, Vector
from explainers.tree_groups import group_leaves
from explainers.tree_kernel import HEADER_SIZE, look_up
from explainers.tree_paths import LeafSizes, leaf_paths, leaf_sizes
from explainers.tree_tables import TreeTables, build_tables
from explainers.tree_walk import shapley_weights, sum_leaves, walk_row

LEAF_TABLE_BYTES = 1 << 20
"""The largest table that one leaf may need alone (13 fields); leaves beyond it are walked."""
TARGET_BYTES = 24 << 20
"""What tables may take before they outgrow the last cache and larger ones stop paying."""
TABLES_SHARE = 0.9
"""Of the memory budget; the rest is for the codes that lead to the tables' rows."""
CROWDING = 1.6
"""What leaves' tables may take alone, relative to the budget: sharing tables saves up to 40 %.

Where it saves less, the limit is halved until the tables fit."""
NO_BASES = np.empty((2, 0))
WALKED_SHARE = 0.25
"""A tree with more of its leaves to walk than this is walked whole: tables would not pay."""


class Lookup(NamedTuple):
    """What the compiled request path reads, packed by type: its last arguments, in their order."""

    ints: NDArray[np.uint32]
    """Header and parts as ``tree_kernel`` names them."""
    shorts: NDArray[np.uint16]
    """Changes of code, then checkpoints."""
    offsets: NDArray[np.uint64]
    cuts: Vector
    table: Vector
    bases: Matrix
    """(2, O): each linked margin is sign x sum + offset; its sign and its base value."""
    relative: float
    """Largest residual, relative to the output's scale."""
    scale: float
    """The outputs' scale; see ``scale_of``."""


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
    tables: TreeTables
    lookup: Lookup
    weights: Matrix
    """Shapley weights for the deepest path."""
    walked_roots: Ints
    """Roots of the trees that have leaves to walk."""
    walked: Ints
    """(n,) the leaf's row of ``values``, -1 at inner nodes, -2 where no leaf is to be walked."""

    @property
    def table_bytes(self) -> int:
        """Return the memory that the tables take."""
        return self.tables.bytes

    @property
    def walked_leaves(self) -> int:
        """Return how many leaves are walked at each request because they have too many fields."""
        return int((self.walked >= 0).sum())

    def contributions(self, encoded: NDArray[Any]) -> Matrix:
        """Return the Shapley values, shape (S, F), of one encoded row, shape (1, columns)."""
        found = self.found(self.comparable(encoded))
        return np.ascontiguousarray(found.reshape(self.n_fields, -1).T)

    def found(self, encoded: NDArray[Any]) -> Vector:
        """Return the Shapley values, field by field and sum by sum, of one comparable row."""
        found = np.zeros(self.n_fields * self.values.shape[1])
        ranks = np.zeros(encoded.shape[1], np.int32)
        look_up(encoded, ranks, found, *self.lookup[:5])
        if len(self.walked_roots):
            walk_row(
                ranks,
                self.background,
                self.walked_roots,
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
                found.reshape(self.n_fields, -1),
            )
        return found

    def comparable(self, encoded: NDArray[Any]) -> NDArray[Any]:
        """Return ``encoded`` in the type of the comparisons, as compiled code takes it."""
        if encoded.dtype == self.cuts.kind and encoded.flags.carray:
            return encoded
        return np.array(encoded, dtype=self.cuts.kind, order="C")

    def sums(self, encoded: NDArray[Any]) -> Matrix:
        """Return the sums, shape (N, S), of encoded rows, by walking every tree."""
        return _sums(self.ensemble, self.cuts, self.cuts.ranks(encoded), self.values)


def pack(
    tables: TreeTables,
    cuts: Cuts,
    *,
    columns: Ints,
    n_fields: int,
    n_sums: int,
    outputs: tuple[Sequence[int], Sequence[int], Sequence[int]] = ((), (), ()),
    link: int = 0,
    n_scores: int = 0,
    bases: Matrix = NO_BASES,
    relative: float = 0.0,
    scale: float = 1.0,
) -> Lookup:
    """Return the packed arrays of ``tables``.

    ``outputs``: the sum behind each linked output, which outputs are explained, and which scores
    those are. ``link`` is an index into LINKS.
    """
    parts: list[NDArray[np.uint32]] = [
        np.asarray(part).astype(np.uint32)
        for part in (
            columns,
            cuts.starts,
            tables.rank_starts,
            tables.change_starts,
            tables.checkpoint_starts,
            tables.change_of_rank,
            tables.change_group,
            tables.field_starts,
            tables.group_fields,
            *outputs,
        )
    ]
    begins = np.cumsum([HEADER_SIZE, *(len(part) for part in parts)])
    header = np.array([*begins, n_fields, n_sums, link, n_scores], dtype=np.uint32)
    return Lookup(
        ints=np.concatenate([header, *parts]),
        shorts=np.concatenate([tables.change_code, tables.checkpoints.ravel()]),
        offsets=tables.offsets,
        cuts=cuts.values,
        table=tables.table,
        bases=bases,
        relative=relative,
        scale=scale,
    )


def build_game(
    ensemble: Ensemble,
    *,
    forms: Matrix,
    fields: tuple[int, ...],
    n_fields: int,
    background: NDArray[Any],
    memory_budget_bytes: int,
) -> TreeGame:
    """Return the game of the linear forms ``forms``, shape (S, R), of the raw sums.

    ``fields[c]`` is the field of encoded column c, -1 for one of none. ``background``, shape (B, columns), is encoded
    and in the type that the operator is fed.
    """
    double = background.dtype == np.float64
    cuts = find_cuts(ensemble, n_columns=background.shape[1], double=double)
    ranks = cuts.ranks(background)
    values = np.ascontiguousarray(ensemble.leaf_values @ forms.T)
    # A column of no field is the same in every row; any field may own what never changes.
    field_of_column = np.maximum(np.array(fields, dtype=np.int32), 0)
    sizes = leaf_sizes(ensemble, field_of_column)
    tabled, tables = _fitting_tables(
        ensemble, cuts, sizes, field_of_column, values, ranks, memory_budget_bytes
    )
    walked = _walked(ensemble, sizes.node[~tabled])
    return TreeGame(
        cuts=cuts,
        ensemble=ensemble,
        node_field=field_of_column[ensemble.column],
        values=values,
        background=ranks,
        base_values=_sums(ensemble, cuts, ranks, values).mean(axis=0),
        n_fields=n_fields,
        tables=tables,
        lookup=pack(
            tables,
            cuts,
            columns=ensemble.used_columns().astype(np.int32),
            n_fields=n_fields,
            n_sums=len(forms),
        ),
        weights=shapley_weights(min(_depth(ensemble), n_fields)),
        walked_roots=ensemble.roots[walked[ensemble.roots] != -2],
        walked=walked,
    )


def _bytes_alone(sizes: LeafSizes, sums: int) -> NDArray[np.int64]:
    """Return the size in bytes of the table that each leaf would need alone."""
    cells = np.left_shift(1, np.minimum(sizes.columns, 40).astype(np.int64))
    return np.asarray(cells * np.maximum(sizes.fields, 1) * sums * 8)


def _fitting_tables(
    ensemble: Ensemble,
    cuts: Cuts,
    sizes: LeafSizes,
    fields: Ints,
    values: Matrix,
    ranks: Ints,
    budget: int,
) -> tuple[NDArray[np.bool_], TreeTables]:
    """Return which leaves have tables, as many as the budget allows, and the tables."""
    alone = _bytes_alone(sizes, values.shape[1])
    tables_budget = int(TABLES_SHARE * budget)
    crowding = CROWDING
    while True:
        tabled = _tabled(sizes, alone, int(crowding * tables_budget))
        paths = leaf_paths(ensemble, cuts, sizes.node[tabled])
        leaves = np.arange(len(paths.node), dtype=np.int32)
        group = group_leaves(
            paths,
            cuts,
            fields,
            leaves,
            sums=values.shape[1],
            target_bytes=min(max(TARGET_BYTES, int(alone[tabled].sum())), tables_budget),
        )
        tables = build_tables(
            paths,
            cuts,
            fields=fields,
            leaves=leaves,
            group=group,
            values=values[ensemble.leaf[paths.node]],
            background=ranks,
        )
        if tables.bytes <= budget or not len(leaves):
            return tabled, tables
        crowding = crowding / 2 if crowding > 0.1 else 0.0


def _tabled(sizes: LeafSizes, alone: NDArray[np.int64], limit: int) -> NDArray[np.bool_]:
    """Return which leaves get tables: the small ones first, up to the limit."""
    tabled = alone <= LEAF_TABLE_BYTES
    order = np.argsort(alone, kind="stable")
    spent = np.cumsum(np.where(tabled[order], alone[order], 0))
    tabled[order[spent > limit]] = False
    trees = int(sizes.tree.max(initial=-1)) + 1
    left_out = np.bincount(sizes.tree, weights=~tabled, minlength=trees)
    whole = left_out > WALKED_SHARE * np.bincount(sizes.tree, minlength=trees)
    return np.asarray(tabled & ~whole[sizes.tree])


def _walked(ensemble: Ensemble, leaves: Ints) -> Ints:
    """Return for each node its leaf if it is in ``leaves``, -1 on the way to one, -2 elsewhere."""
    walked = np.full(len(ensemble.leaf), -2, dtype=np.int32)
    parent = np.full(len(ensemble.leaf), -1, dtype=np.int32)
    inner = np.flatnonzero(ensemble.leaf < 0)
    parent[ensemble.true_child[inner]] = inner
    parent[ensemble.false_child[inner]] = inner
    walked[leaves] = ensemble.leaf[leaves]
    above = parent[leaves]
    while len(above):
        above = np.unique(above[above >= 0])
        walked[above] = -1
        above = parent[above]
    return walked


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
