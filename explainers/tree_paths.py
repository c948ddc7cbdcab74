"""Every leaf as a conjunction: for each column on its path, the ranks that let a row through.

Compiled with numba; plain arrays in, plain arrays out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from explainers.cuts import Cuts, Ints
from explainers.ensemble import Ensemble


@dataclass(frozen=True, slots=True)
class LeafPaths:
    """The P leaves that some row can reach and that are worth something, tree by tree.

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


def leaf_paths(ensemble: Ensemble, cuts: Cuts) -> LeafPaths:
    """Return the paths of all leaves but the contradictory ones and those worth zero."""
    worth = np.zeros(len(ensemble.mode), dtype=np.bool_)
    inner = ensemble.leaf < 0
    worth[~inner] = (ensemble.leaf_values != 0).any(axis=1)[ensemble.leaf[~inner]]
    counts = np.diff(cuts.starts).astype(np.int32)
    found = _walk(
        ensemble.roots,
        ensemble.column,
        ensemble.true_child,
        ensemble.false_child,
        worth,
        counts,
        cuts.segment_starts,
        cuts.segment_low,
        cuts.segment_high,
    )
    return LeafPaths(*found)


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
    worth: Any,
    counts: Any,
    node_segments: Any,
    node_low: Any,
    node_high: Any,
) -> Any:
    n = len(node_column)
    leaf_node = np.empty(n, np.int32)
    leaf_tree = np.empty(n, np.int32)
    entry_starts = np.zeros(n + 1, np.int32)
    column = np.empty(8 * n + 64, np.int32)
    segment_starts = np.zeros(8 * n + 65, np.int32)
    low = np.empty(8 * n + 64, np.int32)
    high = np.empty(8 * n + 64, np.int32)
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
            if not worth[node]:
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
