"""Tables that answer for whole groups of leaves with one lookup.

A leaf l with d fields sees a background row only through the set of its fields whose conditions
the row meets. With w(A) the share of the background that fails exactly the fields A, and P the
fields that the explained row meets, every i in P gets

    + v sum over A in P, i in A, of w(A) (|A| - 1)! c! / (|A| + c)!

and every other field ``- v sum over A in P of w(A) |A|! (c - 1)! / (|A| + c)!``, with c = d - |P|:
the background must supply all that the row fails. Sums over subsets of equal size come from one
ranked zeta transform, so a leaf's table costs d^2 2^d and nothing per background row after the
histogram. A group's table adds up those of its leaves, once per cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from explainers.compiled import njit
from explainers.cuts import Cuts, Ints
from explainers.explanation import Matrix, Vector
from explainers.tree_groups import MAX_CELLS
from explainers.tree_kernel import CHECKPOINT
from explainers.tree_paths import LeafPaths
from explainers.tree_walk import shapley_weights

PARTS = 4
"""Groups are filled in this many parts, side by side: building is most of a large model's start."""


@dataclass(frozen=True, slots=True)
class TreeTables:
    """G tables and the way from ranks to their rows."""

    change_of_rank: Ints
    """(ranks of all columns,) how many of the column's changes are due at a rank."""
    rank_starts: Ints
    """(columns + 1,) where a column's ranks begin in ``change_of_rank``."""
    change_starts: Ints
    """(columns + 1,) where a column's changes begin."""
    change_group: Ints
    change_code: Any
    """Per change, in order of rank: the group and what its code gains, modulo 2**16."""
    checkpoint_starts: Ints
    """(columns + 1,)"""
    checkpoints: Any
    """(all checkpoints, G) uint16: the codes' gain after every CHECKPOINT changes."""
    field_starts: Ints
    """(G + 1,) group g's rows are over the fields ``group_fields[field_starts[g]:...]``."""
    group_fields: Ints
    offsets: Any
    """(G + 1,) uint64: where group g's table begins."""
    table: Vector
    """Cell by cell, field by field, sum by sum."""

    @property
    def bytes(self) -> int:
        """Return the memory that tables and codes take."""
        return sum(int(getattr(self, name).nbytes) for name in TreeTables.__dataclass_fields__)


def build_tables(
    paths: LeafPaths,
    cuts: Cuts,
    *,
    fields: Ints,
    leaves: Ints,
    group: Ints,
    values: Matrix,
    background: Ints,
) -> TreeTables:
    """Return the tables of ``leaves``, of which leaf i belongs to ``group[i]``.

    ``values``, shape (P, S), are by leaf of ``paths``; ``background``, shape (B, columns), ranks.
    """
    n_groups = int(group.max(initial=-1)) + 1
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(n_groups + 1)).astype(np.int32)
    widest = int(np.diff(paths.entry_starts).max(initial=1))
    found = _fill_in_parts(
        starts,
        leaves[order],
        paths.entry_starts,
        paths.column,
        paths.segment_starts,
        paths.low,
        paths.high,
        fields,
        values,
        np.ascontiguousarray(background.T),
        np.diff(cuts.starts).astype(np.int32),
        shapley_weights(widest),
        MAX_CELLS,
    )
    return _coded(cuts, n_groups, *found)


def _fill_in_parts(starts: Ints, *arguments: Any) -> tuple[Any, ...]:
    """Return what ``_fill`` gives for all groups, from parts of them filled side by side."""
    n_groups = len(starts) - 1
    ends = [n_groups * part // PARTS for part in range(PARTS + 1)]
    with ThreadPoolExecutor(PARTS) as pool:
        parts = list(
            pool.map(lambda begin, end: _fill(starts[begin : end + 1], *arguments), ends, ends[1:])
        )
    fields, owned, offsets, filled, column, rank, owner, change = zip(*parts, strict=True)
    # numpy's allocator asks for huge pages; without them most lookups miss the TLB as well.
    table = np.empty(sum(map(len, filled)))
    np.concatenate(filled, out=table)
    return (
        _joined_starts(fields, np.int32),
        np.concatenate(owned),
        _joined_starts(offsets, np.uint64),
        table,
        np.concatenate(column),
        np.concatenate(rank),
        np.concatenate([each + begin for each, begin in zip(owner, ends, strict=False)]),
        np.concatenate(change),
    )


def _joined_starts(parts: Sequence[Any], kind: type[np.integer[Any]]) -> Any:
    """Return where each group begins when the parts stand one after the other."""
    widths = [np.diff(part) for part in parts]
    return np.concatenate([np.zeros(1, kind), *widths]).cumsum(dtype=kind)


def _coded(
    cuts: Cuts,
    n_groups: int,
    field_starts: Any,
    group_fields: Any,
    offsets: Any,
    table: Any,
    column: Any,
    rank: Any,
    owner: Any,
    change: Any,
) -> TreeTables:
    """Sort the changes of code by column and rank, and sum them up at every checkpoint."""
    n_columns = len(cuts.starts) - 1
    order = np.lexsort((owner, rank, column))
    column, rank, owner, change = column[order], rank[order], owner[order], change[order]
    change_starts = np.searchsorted(column, np.arange(n_columns + 1)).astype(np.int32)
    rank_starts = np.r_[0, np.cumsum(np.diff(cuts.starts) + 2)].astype(np.int32)
    change_of_rank = np.zeros(rank_starts[-1], dtype=np.int32)
    checkpoint_starts = np.zeros(n_columns + 1, dtype=np.int32)
    checkpoints = []
    for c in range(n_columns):
        own = slice(change_starts[c], change_starts[c + 1])
        ranks = np.arange(rank_starts[c + 1] - rank_starts[c])
        change_of_rank[rank_starts[c] : rank_starts[c + 1]] = np.searchsorted(
            rank[own], ranks, side="right"
        )
        codes = np.zeros(n_groups, dtype=np.uint16)
        groups, gains = owner[own], change[own]
        for begin in range(0, len(groups) - CHECKPOINT + 1, CHECKPOINT):
            np.add.at(codes, groups[begin : begin + CHECKPOINT], gains[begin : begin + CHECKPOINT])
            checkpoints.append(codes.copy())
        checkpoint_starts[c + 1] = len(checkpoints)
    return TreeTables(
        change_of_rank=change_of_rank,
        rank_starts=rank_starts,
        change_starts=change_starts,
        change_group=owner,
        change_code=change,
        checkpoint_starts=checkpoint_starts,
        checkpoints=np.array(checkpoints, dtype=np.uint16).reshape(len(checkpoints), n_groups),
        field_starts=field_starts,
        group_fields=group_fields,
        offsets=offsets,
        table=table,
    )


@njit(cache=True, nogil=True)
def _inside(rank: int, begin: int, end: int, low: Any, high: Any) -> bool:
    for s in range(begin, end):
        if rank <= high[s]:
            return bool(rank >= low[s])
    return False


@njit(cache=True, nogil=True)
def unit_table(shares: Any, d: int, weights: Any) -> Any:  # noqa: C901 - one compiled loop
    """Return a leaf's table for value 1, shape (2**d, d), by the set of fields that the row meets.

    ``shares[A]``, shape (2**d,): the share of the background that fails exactly the fields A.
    """
    size = 1 << d
    by_count = np.zeros((size, d + 1))
    for A in range(size):
        ones = 0
        for i in range(d):
            ones += (A >> i) & 1
        by_count[A, ones] = shares[A]
    for i in range(d):
        for P in range(size):
            if (P >> i) & 1:
                for k in range(d + 1):
                    by_count[P, k] += by_count[P ^ (1 << i), k]
    table = np.empty((size, d))
    for P in range(size):
        met = 0
        for i in range(d):
            met += (P >> i) & 1
        c = d - met
        loss = 0.0
        if c > 0:
            for k in range(met + 1):
                loss += by_count[P, k] * weights[c, k]
        for i in range(d):
            if (P >> i) & 1:
                gain = 0.0
                for k in range(1, met + 1):
                    gain += (by_count[P, k] - by_count[P ^ (1 << i), k]) * weights[k, c]
                table[P, i] = gain
            else:
                table[P, i] = -loss
    return table


@njit(cache=True, nogil=True)
def _fill(  # noqa: C901 - one compiled loop over groups
    starts: Any,
    leaves: Any,
    entry_starts: Any,
    entry_column: Any,
    segment_starts: Any,
    low: Any,
    high: Any,
    fields: Any,
    values: Any,
    background: Any,
    counts: Any,
    weights: Any,
    max_cells: int,
) -> Any:
    n_groups, sums, rows = len(starts) - 1, values.shape[1], background.shape[1]
    field_starts = np.zeros(n_groups + 1, np.int32)
    group_fields = np.empty(64, np.int32)
    offsets = np.zeros(n_groups + 1, np.uint64)
    table = np.zeros(1 << 16)
    column = np.empty(64, np.int32)
    rank = np.empty(64, np.int32)
    owner = np.empty(64, np.int32)
    change = np.empty(64, np.uint16)
    used = changes = 0
    fails = np.empty(rows, np.int32)
    met = np.empty(max_cells, np.int32)
    for g in range(n_groups):
        own = leaves[starts[g] : starts[g + 1]]
        n_entries = 0
        for leaf in own:
            n_entries += entry_starts[leaf + 1] - entry_starts[leaf]
        columns = np.empty(n_entries, np.int32)
        at = 0
        for leaf in own:
            for e in range(entry_starts[leaf], entry_starts[leaf + 1]):
                columns[at] = entry_column[e]
                at += 1
        columns = np.unique(columns)
        of_fields = np.unique(fields[columns])
        m, n_fields = len(columns), len(of_fields)
        # Label the ranks of each column by which of the group's leaves they let through.
        strides = np.empty(m, np.int64)
        n_labels = np.empty(m, np.int64)
        passing = np.zeros((m, len(own), 256), np.bool_)
        cells = 1
        for k in range(m):
            c = columns[k]
            bounds = np.zeros(1, np.int32)
            for leaf in own:
                for e in range(entry_starts[leaf], entry_starts[leaf + 1]):
                    if entry_column[e] == c:
                        begin, end = segment_starts[e], segment_starts[e + 1]
                        bounds = np.concatenate(
                            (bounds, low[begin:end], (high[begin:end] + 1).astype(np.int32))
                        )
            bounds = np.unique(bounds)
            bounds = bounds[bounds <= counts[c] + 1]
            strides[k] = cells
            labels = 0
            previous = 0
            for b in range(len(bounds)):
                fresh = np.ones(len(own), np.bool_)
                for i in range(len(own)):
                    leaf = own[i]
                    for e in range(entry_starts[leaf], entry_starts[leaf + 1]):
                        if entry_column[e] == c:
                            fresh[i] = _inside(
                                bounds[b], segment_starts[e], segment_starts[e + 1], low, high
                            )
                label = -1
                for other in range(labels):
                    same = True
                    for i in range(len(own)):
                        if passing[k, i, other] != fresh[i]:
                            same = False
                            break
                    if same:
                        label = other
                        break
                if label < 0:
                    label = labels
                    if labels >= passing.shape[2]:
                        wider = np.zeros((m, len(own), 2 * passing.shape[2]), np.bool_)
                        wider[:, :, : passing.shape[2]] = passing
                        passing = wider
                    for i in range(len(own)):
                        passing[k, i, label] = fresh[i]
                    labels += 1
                if label != previous:
                    if changes >= len(column):
                        column = np.concatenate((column, np.empty_like(column)))
                        rank = np.concatenate((rank, np.empty_like(rank)))
                        owner = np.concatenate((owner, np.empty_like(owner)))
                        change = np.concatenate((change, np.empty_like(change)))
                    column[changes], rank[changes], owner[changes] = c, bounds[b], g
                    change[changes] = np.uint16(((label - previous) * cells) & 0xFFFF)
                    changes += 1
                    previous = label
            n_labels[k] = labels
            cells *= labels
        size = cells * n_fields * sums
        if used + size > len(table):
            longer = np.zeros(max(used + size, min(2 * len(table), len(table) + (1 << 24))))
            longer[:used] = table[:used]
            table = longer
        if cells > len(met):
            met = np.empty(cells, np.int32)
        offsets[g] = used
        for i in range(len(own)):
            leaf = own[i]
            begin, end = entry_starts[leaf], entry_starts[leaf + 1]
            leaf_fields = np.unique(fields[entry_column[begin:end]])
            d = len(leaf_fields)
            fails[:] = 0
            for e in range(begin, end):
                bit = np.int32(1) << np.int32(np.searchsorted(leaf_fields, fields[entry_column[e]]))
                ranks = background[entry_column[e]]
                if segment_starts[e + 1] - segment_starts[e] == 1:
                    bottom, top = low[segment_starts[e]], high[segment_starts[e]]
                    for r in range(rows):
                        if ranks[r] < bottom or ranks[r] > top:
                            fails[r] |= bit
                else:
                    for r in range(rows):
                        if not _inside(
                            ranks[r], segment_starts[e], segment_starts[e + 1], low, high
                        ):
                            fails[r] |= bit
            shares = np.zeros(1 << d)
            for r in range(rows):
                shares[fails[r]] += 1.0
            shares /= rows
            unit = unit_table(shares, d, weights)
            met[:cells] = (1 << d) - 1
            for e in range(begin, end):
                k = np.searchsorted(columns, entry_column[e])
                keep = ~(
                    np.int32(1) << np.int32(np.searchsorted(leaf_fields, fields[entry_column[e]]))
                )
                period = strides[k] * n_labels[k]
                for label in range(n_labels[k]):
                    if not passing[k, i, label]:
                        for block in range(label * strides[k], cells, period):
                            for cell in range(block, block + strides[k]):
                                met[cell] &= keep
            where = np.searchsorted(of_fields, leaf_fields)
            for cell in range(cells):
                row = used + cell * n_fields * sums
                for j in range(d):
                    amount = unit[met[cell], j]
                    for s in range(sums):
                        table[row + where[j] * sums + s] += amount * values[leaf, s]
        used += size
        offsets[g + 1] = used
        group_fields = np.concatenate((group_fields[: field_starts[g]], of_fields.astype(np.int32)))
        field_starts[g + 1] = len(group_fields)
    return (
        field_starts,
        group_fields[: field_starts[n_groups]].copy(),
        offsets,
        table[:used],
        column[:changes].copy(),
        rank[:changes].copy(),
        owner[:changes].copy(),
        change[:changes].copy(),
    )
