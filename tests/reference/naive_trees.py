"""A tree ensemble scored by walking every tree for every row, which no kernel does."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from explainers.ensemble import Ensemble, Mode, truncates
from explainers.explanation import Matrix


def raw_sums(ensemble: Ensemble, encoded: NDArray[Any]) -> Matrix:
    """Return the sum over trees of the leaves' values, shape (N, R), by walking every tree.

    ``encoded``, shape (N, columns), in the type that the operator is fed; the comparisons are made
    in float64 for double inputs and in float32 for all others, as in onnxruntime.
    """
    kind = np.float64 if encoded.dtype == np.float64 else np.float32
    rows = encoded.astype(kind)
    thresholds = ensemble.value.astype(kind)
    member_sets = dict(
        zip(np.flatnonzero(ensemble.mode == Mode.MEMBER).tolist(), ensemble.members, strict=True)
    )
    sums = np.zeros((len(rows), ensemble.leaf_values.shape[1]))
    for row, x in enumerate(rows):
        for root in ensemble.roots:
            node = int(root)
            while ensemble.leaf[node] < 0:
                value = x[ensemble.column[node]]
                if np.isnan(value) and ensemble.missing_true[node]:
                    holds = True
                elif node in member_sets:
                    members = member_sets[node].astype(kind)
                    compared = np.trunc(value) if truncates(ensemble, members) else value
                    holds = bool((members == compared).any())
                else:
                    holds = _compare(int(ensemble.mode[node]), value, thresholds[node])
                node = int((ensemble.true_child if holds else ensemble.false_child)[node])
            sums[row] += ensemble.leaf_values[ensemble.leaf[node]]
    return sums


def _compare(mode: int, value: Any, threshold: Any) -> bool:
    match mode:
        case Mode.LEQ:
            return bool(value <= threshold)
        case Mode.LT:
            return bool(value < threshold)
        case Mode.GTE:
            return bool(value >= threshold)
        case Mode.GT:
            return bool(value > threshold)
        case Mode.EQ:
            return bool(value == threshold)
        case _:
            return bool(value != threshold)
