"""The functions from margins to outputs, as onnxruntime computes them after its trees.

Source: onnxruntime ``ml_common.h``: ComputeLogistic, ComputeSoftmax, ComputeSoftmaxZero,
ComputeProbit.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from explainers.compiled import njit
from explainers.errors import GraphError
from explainers.explanation import Vector

LINKS = ("identity", "logistic", "softmax", "softmax_zero", "probit")
IDENTITY, LOGISTIC, SOFTMAX, SOFTMAX_ZERO, PROBIT = range(len(LINKS))
SEPARATE_LINKS = ("identity", "logistic", "probit")
"""Links that give each output from its own margin alone."""


def link_outputs(link: str, margins: Vector) -> Vector:
    """Return the outputs of one row from the margins of all its outputs, both of shape (O,)."""
    if link not in LINKS:
        raise GraphError("link", got=link, want=LINKS)
    outputs = np.empty(len(margins))
    link_row(LINKS.index(link), np.ascontiguousarray(margins), outputs)
    return outputs


@njit(cache=True, nogil=True)
def link_row(link: int, margins: Any, outputs: Any) -> None:
    """Write the outputs of one row's margins; ``link`` is the index into LINKS."""
    n = len(margins)
    if link == IDENTITY:
        for o in range(n):
            outputs[o] = margins[o]
    elif link == LOGISTIC:
        for o in range(n):
            outputs[o] = 1.0 / (1.0 + math.exp(-margins[o]))
    elif link == PROBIT:
        for o in range(n):
            outputs[o] = _probit(margins[o])
    else:
        _softmax(margins, outputs, link == SOFTMAX_ZERO)


@njit(cache=True, nogil=True)
def _softmax(margins: Any, outputs: Any, zero_is_no_vote: Any) -> None:
    top = margins[0]
    for margin in margins:
        top = max(top, margin)
    total = 0.0
    for o in range(len(margins)):
        # 1e-7 is onnxruntime's idea of zero.
        if zero_is_no_vote and abs(margins[o]) <= 1e-7:
            outputs[o] = margins[o] * math.exp(-top)
        else:
            outputs[o] = math.exp(margins[o] - top)
            total += outputs[o]
    for o in range(len(margins)):
        outputs[o] = outputs[o] / total if total > 0.0 else np.nan


@njit(cache=True, nogil=True)
def _probit(margin: float) -> float:
    """Return sqrt(2) erfinv(2 m - 1) by onnxruntime's approximation (Winitzki 2008)."""
    x = 2.0 * margin - 1.0
    if not -1.0 < x < 1.0:
        return np.nan
    logarithm = math.log((1.0 - x) * (1.0 + x))
    v = 2.0 / (3.14159 * 0.147) + 0.5 * logarithm
    root = math.sqrt(2.0) * math.sqrt(-v + math.sqrt(v * v - logarithm / 0.147))
    return -root if x < 0 else root
