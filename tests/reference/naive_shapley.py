"""Shapley values straight from the definition: the mean over all orders of joining."""

from collections.abc import Callable, Sequence
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

Worth = Callable[[frozenset[int]], float]


def naive_shapley(worth: Worth, players: int) -> NDArray[np.float64]:
    total = np.zeros(players)
    orders = list(permutations(range(players)))
    for order in orders:
        joined: frozenset[int] = frozenset()
        for player in order:
            total[player] += worth(joined | {player}) - worth(joined)
            joined |= {player}
    return total / len(orders)


def naive_field_worth(
    score: Callable[[list[float]], float],
    case: Sequence[float],
    background: Sequence[Sequence[float]],
) -> Worth:
    """The mean score over the background of the case's fields in S and the row's others."""
    known: dict[frozenset[int], float] = {}

    def worth(members: frozenset[int]) -> float:
        if members not in known:
            scores = [
                score([(case if i in members else row)[i] for i in range(len(case))])
                for row in background
            ]
            known[members] = float(np.mean(scores))
        return known[members]

    return worth
