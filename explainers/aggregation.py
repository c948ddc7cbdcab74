"""From the raw sums of a tree ensemble to its margins, and from margins to its outputs.

The rules are onnxruntime's (1.32), which is the reference, including those that surprise: a binary
classifier with weights of class 0 only and without LOGISTIC writes [1 - m, m] when no weight is
negative and [-m, m] otherwise; a sum that no leaf adds to loses its base value; one target or class
ignores every post_transform but PROBIT. The tests compare each rule with the runtime.
Source: onnxruntime ``tree_ensemble_aggregator.h`` and ``write_scores`` in ``ml_common.h``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from explainers.errors import GraphError, MethodRefusedError
from explainers.explanation import Matrix, Vector

_LINKS = {
    "NONE": "identity",
    "LOGISTIC": "logistic",
    "SOFTMAX": "softmax",
    "SOFTMAX_ZERO": "softmax_zero",
    "PROBIT": "probit",
}
METHOD = "tree tables"


@dataclass(frozen=True, slots=True)
class Aggregation:
    """outputs = link(weights @ raw + offsets), O outputs from R raw sums."""

    weights: Matrix
    """Shape (O, R)."""
    offsets: Vector
    """Shape (O,)."""
    link: str
    """identity, logistic, softmax, softmax_zero or probit."""

    def margins(self, raw: Matrix) -> Matrix:
        """Return the margins, shape (N, O), of raw sums of shape (N, R)."""
        margins: Matrix = raw @ self.weights.T + self.offsets
        return margins


@dataclass(frozen=True, slots=True)
class Reached:
    """Which of the R raw sums leaves add to, each of shape (R,).

    onnxruntime tells a sum that no leaf added to from a sum of zero.
    """

    ever: NDArray[np.bool_]
    """Some leaf adds to it."""
    always: NDArray[np.bool_]
    """Every row reaches a leaf that adds to it."""


def regressor_aggregation(
    *, base: Vector, transform: str, aggregate: str, n_trees: int, reached: Reached
) -> Aggregation:
    """Return the rules of a regressor.

    Raises MethodRefusedError for MIN and MAX, which do not add up over trees, and where the rule
    changes from row to row.
    """
    n_targets = len(reached.always)
    link = _link(transform)
    if aggregate not in ("SUM", "AVERAGE"):
        raise MethodRefusedError(METHOD, f"aggregate_function {aggregate} does not add up")
    share = 1.0 / n_trees if aggregate == "AVERAGE" else 1.0
    if n_targets == 1:
        offsets = base.copy() if len(base) == 1 else np.zeros(1)
        link = "probit" if link == "probit" else "identity"
    else:
        offsets = _where_reached(base if len(base) == n_targets else np.zeros(n_targets), reached)
    return Aggregation(weights=share * np.eye(n_targets), offsets=offsets, link=link)


def classifier_aggregation(
    *, base: Vector, transform: str, reached: Reached, all_positive: bool
) -> Aggregation:
    """Return the rules of a classifier; ``all_positive``: no weight is negative.

    Raises MethodRefusedError where onnxruntime's rule changes from row to row or writes nothing.
    """
    n_classes = len(reached.always)
    link = _link(transform)
    if len(base) not in (0, n_classes) and not (n_classes == 2 and len(base) == 1):
        raise MethodRefusedError(METHOD, f"{len(base)} base values for {n_classes} classes")
    if n_classes != 2:
        offsets = base.copy() if len(base) else np.zeros(n_classes)
        if n_classes == 1 and link != "probit":
            link = "identity"
        return Aggregation(np.eye(n_classes), offsets, link)
    if not reached.ever[1]:
        return _one_weight_column(base, link, reached, all_positive=all_positive)
    if not reached.always[1]:
        raise MethodRefusedError(METHOD, "class 1 has weights in some leaves only")
    if len(base) == 2:
        # onnxruntime builds both scores from the first class' sum and the second base value.
        if not reached.ever[0]:
            return Aggregation(np.zeros((2, 2)), np.array([0.0, base[1]]), link)
        if not reached.always[0]:
            raise MethodRefusedError(METHOD, "class 0 has weights in some leaves only")
        mirrored = np.array([[-1.0, 0.0], [1.0, 0.0]])
        return Aggregation(mirrored, base[1] * np.array([-1.0, 1.0]), link)
    first = base[0] if len(base) else 0.0
    return Aggregation(np.eye(2), _where_reached(np.array([first, 0.0]), reached), link)


def _one_weight_column(
    base: Vector, link: str, reached: Reached, *, all_positive: bool
) -> Aggregation:
    """Return the rules of two classes when only class 0 has weights."""
    if len(base) == 2:
        return Aggregation(np.eye(2), _where_reached(base, reached), link)
    if link == "probit":
        raise MethodRefusedError(METHOD, "onnxruntime writes one of the two probit scores only")
    first = float(base[0]) if len(base) else 0.0
    signs = np.array([-1.0, 1.0])
    weights = np.stack([signs, np.zeros(2)], axis=1)
    if link == "logistic":
        return Aggregation(weights, signs * first, link)
    if all_positive:
        return Aggregation(weights, np.array([1.0 - first, first]), "identity")
    return Aggregation(weights, signs * first, "identity")


def _where_reached(base: Vector, reached: Reached) -> Vector:
    """Return the base values, zero for sums that no leaf adds to: onnxruntime drops those."""
    unsure = reached.ever & ~reached.always & (base != 0)
    if unsure.any():
        raise MethodRefusedError(
            METHOD, f"only some leaves add to sum {int(np.argmax(unsure))}, which has a base value"
        )
    return np.where(reached.ever, base, 0.0)


def _link(transform: str) -> str:
    if transform not in _LINKS:
        raise GraphError("post_transform", got=transform, want=sorted(_LINKS))
    return _LINKS[transform]
