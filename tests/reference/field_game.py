"""The field game by brute force: every coalition, every background row, through the graph."""

from collections.abc import Callable
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray


def brute_force(
    score: Callable[[NDArray[Any]], NDArray[np.float64]],
    row: NDArray[Any],
    background: NDArray[Any],
) -> NDArray[np.float64]:
    """Return Shapley values, shape (targets, fields), from 2**fields x rows runs of the graph.

    ``score``: rows of shape (N, fields) to scores of shape (N, targets).
    """
    fields = len(row)
    hybrids = np.repeat(background[None], 1 << fields, axis=0)
    for members in range(1 << fields):
        for field in range(fields):
            if members >> field & 1:
                hybrids[members, :, field] = row[field]
    scores = score(hybrids.reshape(-1, fields)).reshape(1 << fields, len(background), -1)
    worth = scores.mean(axis=1)
    values = np.zeros((worth.shape[1], fields))
    for members in range(1 << fields):
        size = members.bit_count()
        for field in range(fields):
            if not members >> field & 1:
                weight = factorial(size) * factorial(fields - size - 1) / factorial(fields)
                values[:, field] += weight * (worth[members | 1 << field] - worth[members])
    return values
