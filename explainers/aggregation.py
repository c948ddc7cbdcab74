"""From the raw sums of a tree ensemble to its margins, and from margins to its outputs.

The rules are onnxruntime's, which is the reference, including those that surprise: a binary
classifier with weights of one class only writes [1 - m, m] when no weight is negative, whatever
its post_transform says, and one target or class ignores every post_transform but PROBIT.
Source: onnxruntime ``tree_ensemble_aggregator.h`` and ``write_scores`` in ``ml_common.h``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from explainers.errors import GraphError, MethodRefusedError
from explainers.explanation import Matrix, Vector
from explainers.links import link_outputs as link_outputs

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


def regressor_aggregation(
    *, n_targets: int, base: Vector, transform: str, aggregate: str, n_trees: int
) -> Aggregation:
    """Return the rules of a regressor.

    Raises MethodRefusedError for MIN and MAX: they do not add up over trees.
    """
    link = _link(transform)
    if aggregate not in ("SUM", "AVERAGE"):
        raise MethodRefusedError(METHOD, f"aggregate_function {aggregate} does not add up")
    share = 1.0 / n_trees if aggregate == "AVERAGE" else 1.0
    offsets = base.copy() if len(base) == n_targets else np.zeros(n_targets)
    if n_targets == 1 and link != "probit":
        link = "identity"
    return Aggregation(weights=share * np.eye(n_targets), offsets=offsets, link=link)


def classifier_aggregation(
    *,
    n_classes: int,
    base: Vector,
    transform: str,
    present: np.ndarray[tuple[int], np.dtype[np.bool_]],
    second_always: bool,
    all_positive: bool,
) -> Aggregation:
    """Return the rules of a classifier.

    ``present[k]``: some weight is of class k. ``second_always``: every row reaches a weight of
    class 1. ``all_positive``: no weight is negative. Raises MethodRefusedError where
    onnxruntime's rule changes from row to row or writes nothing.
    """
    link = _link(transform)
    if n_classes == 1:
        if len(base) > 1:
            raise MethodRefusedError(METHOD, f"{len(base)} base values for one class")
        offsets = base.copy() if len(base) else np.zeros(1)
        return Aggregation(np.eye(1), offsets, "probit" if link == "probit" else "identity")
    if n_classes > 2:
        if len(base) not in (0, n_classes):
            raise MethodRefusedError(METHOD, f"{len(base)} base values for {n_classes} classes")
        offsets = base.copy() if len(base) else np.zeros(n_classes)
        return Aggregation(np.eye(n_classes), offsets, link)
    if len(base) > 2:
        raise MethodRefusedError(METHOD, f"{len(base)} base values for two classes")
    if not present[1]:
        return _one_weight_column(base, link, all_positive=all_positive)
    if not second_always:
        raise MethodRefusedError(METHOD, "class 1 has weights in some leaves only")
    if len(base) == 2:
        # onnxruntime builds both scores from the first class' sum and the second base value.
        return Aggregation(np.array([[-1.0, 0.0], [1.0, 0.0]]), base[1] * np.array([-1, 1]), link)
    first = float(base[0]) if len(base) else 0.0
    return Aggregation(np.eye(2), np.array([first, 0.0]), link)


def _one_weight_column(base: Vector, link: str, *, all_positive: bool) -> Aggregation:
    """Return the rules of two classes when only class 0 has weights."""
    if len(base) == 2:
        return Aggregation(np.eye(2), base.copy(), link)
    if link == "probit":
        raise MethodRefusedError(METHOD, "onnxruntime writes one of the two probit scores only")
    first = float(base[0]) if len(base) else 0.0
    signs = np.array([-1.0, 1.0])
    weights = np.stack([signs, np.zeros(2)], axis=1)
    if all_positive:
        return Aggregation(weights, np.array([1.0 - first, first]), "identity")
    link = "logistic" if link == "logistic" else "identity"
    return Aggregation(weights, signs * first, link)


def _link(transform: str) -> str:
    if transform not in _LINKS:
        raise GraphError("post_transform", got=transform, want=sorted(_LINKS))
    return _LINKS[transform]
