"""Every leaf as a conjunction: for each column on its path, the ranks that let a row through.

Compiled with numba; plain arrays in, plain arrays out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explainers.compiled import njit
from explainers.cuts import Cuts, Ints
from explainers.ensemble import Ensemble


@dataclass(frozen=True, slots=True)
class LeafPaths:
    """P leaves that some row can reach, tree by tree.

    Leaves are in depth-first order, so that neighbours share most of their path.
    """

    node: Ints
    """(P,) the leaf's node."""
    tree: Ints
    """(P,)"""
    entry_starts: Ints
    """(P + 1,) leaf p has the entries ``entry_starts[p]`` to the next."""
    column: Ints
    """(entries,) ascending within a leaf."""
    segment_starts: Ints
    """(entries + 1,) the entry's ranks are these segments."""
    low: Ints
    high: Ints


@dataclass(frozen=True, slots=True)
class LeafSizes:
    """The leaves that are worth something, in depth-first order, and how wide their paths are."""

    node: Ints
    tree: Ints
    columns: Ints
    """How many columns each leaf's path reads."""
    fields: Ints
    """How many fields those are."""


def leaf_sizes(ensemble: Ensemble, fields: Ints) -> LeafSizes:
    """Return how many columns and fields each leaf depends on; cheap for any forest."""
    found = _measure(
        ensemble.roots,
        ensemble.column,
        fields,
        ensemble.true_child,
        ensemble.false_child,
        _worth(ensemble),
    )
    return LeafSizes(*found)


def leaf_paths(ensemble: Ensemble, cuts: Cuts, nodes: Ints) -> LeafPaths:
    """Return the paths of the leaves at ``nodes``, without those that contradict themselves."""
    wanted = np.zeros(len(ensemble.mode), dtype=np.bool_)
    wanted[nodes] = True
    counts = np.diff(cuts.starts).astype(np.int32)
    found = _walk(
        ensemble.roots,
        ensemble.column,
        ensemble.true_child,
        ensemble.false_child,
        wanted,
        counts,
        cuts.segment_starts,
        cuts.segment_low,
        cuts.segment_high,
    )
    return LeafPaths(*found)


def _worth(ensemble: Ensemble) -> NDArray[np.bool_]:
    worth = np.zeros(len(ensemble.mode), dtype=np.bool_)
    at_leaf = ensemble.leaf >= 0
    worth[at_leaf] = (ensemble.leaf_values != 0).any(axis=1)[ensemble.leaf[at_leaf]]
    return worth


@njit(cache=True, nogil=True)
def _measure(
    roots: Any, node_column: Any, fields: Any, true_child: Any, false_child: Any, worth: Any
) -> Any:
    n = len(node_column)
    leaf_node, leaf_tree = np.empty(n, np.int32), np.empty(n, np.int32)
    n_columns, n_fields = np.empty(n, np.int32), np.empty(n, np.int32)
    of_column, of_field = np.zeros(len(fields), np.int32), np.zeros(len(fields), np.int32)
    stack, level = np.empty(n + 1, np.int32), np.empty(n + 1, np.int32)
    path = np.empty(n + 1, np.int32)
    leaves = columns = distinct = depth = 0
    for tree in range(len(roots)):
        top = 1
        stack[0], level[0] = roots[tree], 0
        while top > 0:
            top -= 1
            node = stack[top]
            while depth > level[top]:
                depth -= 1
                c = node_column[path[depth]]
                of_column[c] -= 1
                columns -= of_column[c] == 0
                of_field[fields[c]] -= 1
                distinct -= of_field[fields[c]] == 0
            if true_child[node] < 0:
                if worth[node]:
                    leaf_node[leaves], leaf_tree[leaves] = node, tree
                    n_columns[leaves], n_fields[leaves] = columns, distinct
                    leaves += 1
                continue
            c = node_column[node]
            columns += of_column[c] == 0
            of_column[c] += 1
            distinct += of_field[fields[c]] == 0
            of_field[fields[c]] += 1
            path[depth] = node
            depth += 1
            stack[top], level[top] = false_child[node], depth
            stack[top + 1], level[top + 1] = true_child[node], depth
            top += 2
        while depth > 0:
            depth -= 1
            c = node_column[path[depth]]
            of_column[c] -= 1
            of_field[fields[c]] -= 1
        columns = distinct = 0
    return (
        leaf_node[:leaves].copy(),
        leaf_tree[:leaves].copy(),
        n_columns[:leaves].copy(),
        n_fields[:leaves].copy(),
    )


@njit(cache=True, nogil=True)
def _grown(values: Any, size: int) -> Any:
    if size <= len(values):
        return values
    longer = np.empty(max(size, 2 * len(values)), dtype=values.dtype)
    longer[: len(values)] = values
    return longer


@njit(cache=True, nogil=True)
def _walk(  # noqa: C901 - one compiled loop
    roots: Any,
    node_column: Any,
    true_child: Any,
    false_child: Any,
    wanted: Any,
    counts: Any,
    node_segments: Any,
    node_low: Any,
    node_high: Any,
) -> Any:
    n = len(node_column)
    leaf_node = np.empty(n, np.int32)
    leaf_tree = np.empty(n, np.int32)
    entry_starts = np.zeros(n + 1, np.int32)
    column = np.empty(1024, np.int32)
    segment_starts = np.zeros(1024, np.int32)
    low = np.empty(1024, np.int32)
    high = np.empty(1024, np.int32)
    leaves = entries = segments = 0
    stack = np.empty(n + 1, np.int32)
    level = np.empty(n + 1, np.int32)
    path = np.empty(n + 1, np.int32)
    side = np.empty(n + 2, np.int8)
    step_side = np.empty(n + 1, np.int8)
    for tree in range(len(roots)):
        top = 1
        stack[0], level[0], side[0] = roots[tree], 0, 0
        while top > 0:
            top -= 1
            node, depth = stack[top], level[top]
            if depth > 0:
                step_side[depth - 1] = side[top]
            if true_child[node] >= 0:
                path[depth] = node
                stack[top], level[top], side[top] = false_child[node], depth + 1, 0
                top += 1
                stack[top], level[top], side[top] = true_child[node], depth + 1, 1
                top += 1
                continue
            if not wanted[node]:
                continue
            first_entry, first_segment = entries, segments
            columns = np.unique(node_column[path[:depth]])
            possible = True
            for c in columns:
                current_low = np.zeros(1, np.int32)
                current_high = np.full(1, counts[c] + 1, np.int32)
                for d in range(depth):
                    if node_column[path[d]] == c:
                        current_low, current_high = _narrowed(
                            current_low,
                            current_high,
                            node_low[node_segments[path[d]] : node_segments[path[d] + 1]],
                            node_high[node_segments[path[d]] : node_segments[path[d] + 1]],
                            step_side[d] == 1,
                            counts[c] + 1,
                        )
                if len(current_low) == 0:
                    possible = False
                    break
                if len(current_low) == 1 and current_low[0] == 0 and current_high[0] > counts[c]:
                    continue
                column = _grown(column, entries + 1)
                segment_starts = _grown(segment_starts, entries + 2)
                low = _grown(low, segments + len(current_low))
                high = _grown(high, segments + len(current_low))
                column[entries] = c
                for s in range(len(current_low)):
                    low[segments], high[segments] = current_low[s], current_high[s]
                    segments += 1
                entries += 1
                segment_starts[entries] = segments
            if not possible:
                entries, segments = first_entry, first_segment
                continue
            leaf_node[leaves], leaf_tree[leaves] = node, tree
            leaves += 1
            entry_starts[leaves] = entries
    return (
        leaf_node[:leaves].copy(),
        leaf_tree[:leaves].copy(),
        entry_starts[: leaves + 1].copy(),
        column[:entries].copy(),
        segment_starts[: entries + 1].copy(),
        low[:segments].copy(),
        high[:segments].copy(),
    )


@njit(cache=True, nogil=True)
def _narrowed(low: Any, high: Any, node_low: Any, node_high: Any, holds: Any, last: int) -> Any:
    """Return segments of ``low``/``high`` inside the node's ranks, or outside unless ``holds``."""
    m = len(node_low)
    other_low = np.empty(m + 1, np.int32)
    other_high = np.empty(m + 1, np.int32)
    others = 0
    if holds:
        for s in range(m):
            other_low[s], other_high[s] = node_low[s], node_high[s]
        others = m
    else:
        start = 0
        for s in range(m):
            if node_low[s] > start:
                other_low[others], other_high[others] = start, node_low[s] - 1
                others += 1
            start = node_high[s] + 1
        if start <= last:
            other_low[others], other_high[others] = start, last
            others += 1
    new_low = np.empty(len(low) + others, np.int32)
    new_high = np.empty(len(low) + others, np.int32)
    size = i = j = 0
    while i < len(low) and j < others:
        begin, end = max(low[i], other_low[j]), min(high[i], other_high[j])
        if begin <= end:
            new_low[size], new_high[size] = begin, end
            size += 1
        if high[i] < other_high[j]:
            i += 1
        else:
            j += 1
    return new_low[:size].copy(), new_high[:size].copy()
