"""What trees give when a few columns of one row are changed: only the trees that read them are walked."""

from __future__ import annotations

from typing import Any

import numpy as np

from explainers.compiled import njit
from explainers.cuts import Ints
from explainers.ensemble import Ensemble
from explainers.tree_game import TreeGame
from explainers.tree_walk import holds


def trees_of(game: TreeGame, place: int) -> tuple[Any, ...]:
    """Return the trees as ``reached`` and ``changed_sums`` take them, with sum ``place``'s leaves."""
    ensemble, cuts = game.ensemble, game.cuts
    return (
        ensemble.roots,
        ensemble.column,
        ensemble.true_child,
        ensemble.false_child,
        cuts.segment_starts,
        cuts.segment_low,
        cuts.segment_high,
        ensemble.leaf,
        np.ascontiguousarray(game.values[:, place]),
    )


def readers_of(ensemble: Ensemble, *, n_columns: int) -> tuple[Ints, Ints]:
    """Return (starts, trees): the trees that read column c are ``trees[starts[c]:starts[c + 1]]``."""
    pairs: set[tuple[int, int]] = set()
    for tree, root in enumerate(ensemble.roots.tolist()):
        waiting = [root]
        while waiting:
            node = waiting.pop()
            if ensemble.leaf[node] < 0:
                pairs.add((int(ensemble.column[node]), tree))
                waiting += [int(ensemble.true_child[node]), int(ensemble.false_child[node])]
    ordered = np.array(sorted(pairs), dtype=np.int32).reshape(-1, 2)
    starts = np.searchsorted(ordered[:, 0], np.arange(n_columns + 1)).astype(np.int32)
    return starts, np.ascontiguousarray(ordered[:, 1])


@njit(cache=True)
def reached(
    ranks: Any,
    roots: Any,
    columns: Any,
    true_child: Any,
    false_child: Any,
    segment_starts: Any,
    low: Any,
    high: Any,
    leaf: Any,
    values: Any,
) -> Any:
    """Return what each tree gives for one row, shape (trees,), and the sum.

    ``ranks``, shape (columns,); ``values``, shape (L,), are the leaves'.
    """
    found = np.empty(len(roots))
    total = 0.0
    for tree in range(len(roots)):
        node = roots[tree]
        while true_child[node] >= 0:
            first, last = segment_starts[node], segment_starts[node + 1]
            inside = holds(ranks[columns[node]], first, last, low, high)
            node = true_child[node] if inside else false_child[node]
        found[tree] = values[leaf[node]]
        total += found[tree]
    return found, total


@njit(cache=True)
def changed_sums(
    starts: Any,
    changed_columns: Any,
    changed_ranks: Any,
    ranks: Any,
    before: Any,
    total: Any,
    reader_starts: Any,
    readers: Any,
    roots: Any,
    columns: Any,
    true_child: Any,
    false_child: Any,
    segment_starts: Any,
    low: Any,
    high: Any,
    leaf: Any,
    values: Any,
) -> Any:
    """Return the sum over trees for each of N changes of one row, shape (N,).

    Change t writes ``changed_ranks[starts[t]:starts[t + 1]]`` into ``changed_columns``. ``ranks`` is
    the row, as it was when this returns; ``before`` and ``total`` are what ``reached`` says of it.
    """
    sums = np.empty(len(starts) - 1)
    old = ranks.copy()
    walked = np.full(len(roots), -1, dtype=np.int32)
    for trial in range(len(sums)):
        begin, end = starts[trial], starts[trial + 1]
        for at in range(begin, end):
            ranks[changed_columns[at]] = changed_ranks[at]
        gain = 0.0
        for at in range(begin, end):
            column = changed_columns[at]
            if ranks[column] == old[column]:
                continue
            for place in range(reader_starts[column], reader_starts[column + 1]):
                tree = readers[place]
                if walked[tree] == trial:
                    continue
                walked[tree] = trial
                node = roots[tree]
                while true_child[node] >= 0:
                    first, last = segment_starts[node], segment_starts[node + 1]
                    inside = holds(ranks[columns[node]], first, last, low, high)
                    node = true_child[node] if inside else false_child[node]
                gain += values[leaf[node]] - before[tree]
        sums[trial] = total + gain
        for at in range(begin, end):
            ranks[changed_columns[at]] = old[changed_columns[at]]
    return sums
