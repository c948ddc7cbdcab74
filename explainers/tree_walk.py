"""Exact contributions of trees by walking them with the row and each background row together.

For the leaves that do not fit into tables: paths with many fields, forests of unlimited depth.
Where row and background row part, both ways are followed, and the field is remembered as *from
the row* or *from the background*; a leaf reached with a fields from the row and c from the
background gives each its Shapley weight. The cost grows with the background's size.
Source: Lundberg et al. (2020), Explainable AI for trees, interventional algorithm; Laberge and
Pequignot (2022), Understanding interventional TreeSHAP.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from explainers.compiled import njit
from explainers.explanation import Matrix


def shapley_weights(players: int) -> Matrix:
    """Return W, shape (players + 1, players + 1), W[a, c] = (a - 1)! c! / (a + c)!, 0 for a = 0.

    W[a, c] is what each of a fields that must come from the row gets when c must not;
    W[c, a] is what each of those c loses.
    """
    weights = np.zeros((players + 1, players + 1))
    for a in range(1, players + 1):
        for c in range(players + 1 - a):
            weights[a, c] = 1.0 / (a * math.comb(a + c, a))
    return weights


@njit(cache=True, nogil=True)
def holds(rank: int, begin: int, end: int, low: Any, high: Any) -> bool:
    """Return whether ``rank`` lies in one of the segments ``begin`` to ``end``."""
    for s in range(begin, end):
        if rank <= high[s]:
            return bool(rank >= low[s])
    return False


@njit(cache=True, nogil=True)
def walk_row(  # noqa: C901 - one compiled loop
    ranks: Any,
    background: Any,
    roots: Any,
    node_column: Any,
    node_field: Any,
    true_child: Any,
    false_child: Any,
    segment_starts: Any,
    low: Any,
    high: Any,
    leaf: Any,
    values: Any,
    weights: Any,
    contributions: Any,
) -> None:
    """Add the contributions of the given trees to ``contributions``, shape (fields, targets).

    ``ranks``, shape (columns,), are the row's; ``background``, shape (B, columns), the others';
    ``leaf[i]`` is the row of ``values``, shape (leaves, targets), or -1 at inner nodes and -2 at
    nodes below which nothing is to be added.
    """
    fields, targets = contributions.shape
    found = np.zeros((fields, targets))
    deepest = len(weights) + 1
    state = np.zeros(fields, np.int8)
    ours = np.empty(deepest, np.int32)
    theirs = np.empty(deepest, np.int32)
    stack = np.empty((deepest + 1, 4), np.int32)
    for root in roots:
        for b in range(len(background)):
            n_ours = n_theirs = 0
            stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = root, 0, 0, -1
            top = 1
            while top > 0:
                top -= 1
                node = stack[top, 0]
                while n_ours > stack[top, 1]:
                    n_ours -= 1
                    state[ours[n_ours]] = 0
                while n_theirs > stack[top, 2]:
                    n_theirs -= 1
                    state[theirs[n_theirs]] = 0
                if stack[top, 3] >= 0:
                    theirs[n_theirs] = stack[top, 3]
                    state[stack[top, 3]] = 2
                    n_theirs += 1
                while leaf[node] == -1:
                    c, f = node_column[node], node_field[node]
                    begin, end = segment_starts[node], segment_starts[node + 1]
                    mine = holds(ranks[c], begin, end, low, high)
                    yours = holds(background[b, c], begin, end, low, high)
                    if mine != yours and state[f] == 0:
                        other = true_child[node] if yours else false_child[node]
                        if leaf[other] != -2:
                            stack[top, 0], stack[top, 1] = other, n_ours
                            stack[top, 2], stack[top, 3] = n_theirs, f
                            top += 1
                        ours[n_ours] = f
                        state[f] = 1
                        n_ours += 1
                    taken = yours if state[f] == 2 else mine
                    node = true_child[node] if taken else false_child[node]
                if leaf[node] == -2:
                    continue
                if n_ours > 0:
                    gain = weights[n_ours, n_theirs]
                    for i in range(n_ours):
                        for t in range(targets):
                            found[ours[i], t] += gain * values[leaf[node], t]
                if n_theirs > 0:
                    loss = weights[n_theirs, n_ours]
                    for i in range(n_theirs):
                        for t in range(targets):
                            found[theirs[i], t] -= loss * values[leaf[node], t]
            for i in range(n_ours):
                state[ours[i]] = 0
            for i in range(n_theirs):
                state[theirs[i]] = 0
    for f in range(fields):
        for t in range(targets):
            contributions[f, t] += found[f, t] / len(background)


@njit(cache=True, nogil=True)
def sum_leaves(
    ranks: Any,
    roots: Any,
    node_column: Any,
    true_child: Any,
    false_child: Any,
    segment_starts: Any,
    low: Any,
    high: Any,
    leaf: Any,
    values: Any,
) -> Any:
    """Return the sum over trees of the leaves that each row reaches, shape (N, targets)."""
    sums = np.zeros((len(ranks), values.shape[1]))
    for row in range(len(ranks)):
        for root in roots:
            node = root
            while true_child[node] >= 0:
                inside = holds(
                    ranks[row, node_column[node]],
                    segment_starts[node],
                    segment_starts[node + 1],
                    low,
                    high,
                )
                node = true_child[node] if inside else false_child[node]
            for t in range(values.shape[1]):
                sums[row, t] += values[leaf[node], t]
    return sums
