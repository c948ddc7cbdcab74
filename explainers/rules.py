"""What each operator makes of the columns it reads, by onnxruntime's rules.

A rule gives the operator's output columns, or None when not even their number is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from explainers.columns import Columns
from explainers.forms import (
    PROBABILITIES,
    Column,
    Form,
    Linked,
    Opaque,
    added,
    constant_of,
    divided,
    exponential,
    linked,
    multiplied,
    opaque,
    product_with,
    scaled,
    signed_sum,
    times,
    total_of,
)
from explainers.graph import Node, reduced_axes

Constants: TypeAlias = Mapping[str, NDArray[Any]]
Rule: TypeAlias = Callable[[Node, list[Columns[Column]], Constants], Columns[Column] | None]


def _add(
    node: Node, operands: list[Columns[Column]], _constants: Constants
) -> Columns[Column] | None:
    rows = _broadcast(operands)
    if rows is None:
        return None
    signs = [1.0] * len(operands)
    if node.op == "Sub":
        signs[1] = -1.0
    sums = tuple(signed_sum(node.op, row, signs) for row in rows)
    if node.op != "Mean":
        return sums
    return tuple(times(node.op, column, 1.0 / len(operands)) for column in sums)


def _multiply(
    node: Node, operands: list[Columns[Column]], _constants: Constants
) -> Columns[Column] | None:
    rows = _broadcast(operands)
    if rows is None:
        return None
    return tuple(divided(*row) if node.op == "Div" else multiplied(*row) for row in rows)


def _invert(
    _node: Node, operands: list[Columns[Column]], _constants: Constants
) -> Columns[Column] | None:
    """Return 1 / x of 1 + exp(z) or a constant; of anything else only the fields are known."""
    inverted = tuple(divided(Form({}, 1.0), column) for column in operands[0])
    return None if any(isinstance(column, Opaque) for column in inverted) else inverted


def _negate(_node: Node, operands: list[Columns[Column]], _constants: Constants) -> Columns[Column]:
    return tuple(times("Neg", column, -1.0) for column in operands[0])


def _apply_link(link: str) -> Rule:
    def rule(
        node: Node, operands: list[Columns[Column]], _constants: Constants
    ) -> Columns[Column] | None:
        forms = tuple(column for column in operands[0] if isinstance(column, Form))
        if len(forms) < len(operands[0]):
            return tuple(opaque(node.op, [column]) for column in operands[0])
        if link.endswith("softmax") and node.integer("axis", -1) not in (1, -1):
            return None
        return linked(forms, link)

    return rule


def _exponential(
    _node: Node, operands: list[Columns[Column]], _constants: Constants
) -> Columns[Column]:
    return tuple(exponential(column) for column in operands[0])


def _matrix_product(
    node: Node, operands: list[Columns[Column]], constants: Constants
) -> Columns[Column] | None:
    weights = constants.get(node.inputs[1])
    if weights is None or weights.ndim not in (1, 2) or node.integer("transA", 0):
        return None
    matrix = weights.astype(np.float64).reshape(len(weights), -1)
    if node.integer("transB", 0):
        matrix = matrix.T
    bias = np.zeros(matrix.shape[1])
    if len(node.inputs) > 2 and node.inputs[2]:
        offset = constants.get(node.inputs[2])
        if offset is None or offset.size not in (1, len(bias)):
            return None
        bias = bias + _number(node, "beta") * offset.astype(np.float64).ravel()
    return product_with(node.op, operands[0], matrix.T * _number(node, "alpha"), bias)


def _batch_normalization(
    node: Node, operands: list[Columns[Column]], constants: Constants
) -> Columns[Column] | None:
    """Return the columns scaled and moved by what was kept of the training, column by column."""
    kept = [constants.get(name) for name in node.inputs[1:5]]
    if node.integer("training_mode", 0) or any(array is None for array in kept):
        return None
    scale, bias, mean, variance = (a.astype(np.float64).ravel() for a in kept if a is not None)
    epsilon = node.attributes.get("epsilon", 1e-5)
    factor = scale / np.sqrt(variance + (epsilon if isinstance(epsilon, float) else 1e-5))
    return product_with(node.op, operands[0], np.diag(factor), bias - factor * mean)


def _linear_model(
    node: Node, operands: list[Columns[Column]], _constants: Constants
) -> Columns[Column] | None:
    """Return the outputs of LinearRegressor or LinearClassifier, by onnxruntime's rules.

    A classifier with one row of coefficients writes [p(-z), p(z)] for LOGISTIC and [1 - z, z] for
    any other post_transform: tried on onnxruntime 1.32.
    """
    coefficients = np.asarray(node.sequence("coefficients"), dtype=np.float64)
    width = len(operands[0])
    if width == 0 or coefficients.size % width:
        return None
    weights = coefficients.reshape(-1, width)
    intercepts = np.asarray(node.sequence("intercepts"), dtype=np.float64)
    bias = intercepts if len(intercepts) == len(weights) else np.zeros(len(weights))
    columns = product_with(node.op, operands[0], weights, bias)
    margins = tuple(column for column in columns or () if isinstance(column, Form))
    if columns is None or len(margins) < len(columns):
        return columns
    link = _POST_TRANSFORMS.get(node.text("post_transform", "NONE"), "probit")
    if node.op == "LinearClassifier" and len(margins) == 1:
        z = margins[0]
        if link == "probit":
            return linked(margins, link) * 2
        if link == "logistic":
            return linked((scaled(z, -1.0), z), link)
        return (added([Form({}, 1.0), scaled(z, -1.0)]), z)
    if node.op == "LinearRegressor" and link != "identity":
        return tuple(Opaque(f"LinearRegressor with {link}") for _ in margins)
    return linked(margins, link)


def _reduce(
    node: Node, operands: list[Columns[Column]], constants: Constants
) -> Columns[Column] | None:
    if reduced_axes(node, constants) not in ([1], [-1]):
        return None
    columns = operands[0]
    if node.op in _OF_ALL:
        forms = tuple(column for column in columns if isinstance(column, Form))
        if len(forms) < len(columns):
            return (opaque(node.op, columns),)
        return (Linked(_OF_ALL[node.op], forms),)
    if node.op in ("ReduceSum", "ReduceL1"):
        known = total_of(columns)
        if known is not None:
            return (known,)
    if node.op == "ReduceL1":
        return (opaque(node.op, columns),)
    total = signed_sum(node.op, columns, [1.0] * len(columns))
    factor = 1.0 / len(columns) if node.op == "ReduceMean" else 1.0
    return (times(node.op, total, factor),)


def _absolute(
    node: Node, operands: list[Columns[Column]], _constants: Constants
) -> Columns[Column] | None:
    """Probabilities are what they are; of anything else only the fields are known."""
    if not any(isinstance(column, Linked) for column in operands[0]):
        return None
    return tuple(
        column
        if isinstance(column, Linked) and column.link in PROBABILITIES
        else opaque(node.op, [column])
        for column in operands[0]
    )


def _normalize(
    node: Node, operands: list[Columns[Column]], _constants: Constants
) -> Columns[Column] | None:
    """Outputs that already sum to one stay what they are: p(z) with p(-z), a whole softmax."""
    columns = operands[0]
    if node.text("norm", "L1") != "L1" or node.integer("p", 1) != 1:
        return None
    if constant_of(total_of(columns) or columns[0]) == 1.0:
        return columns
    return tuple(opaque(node.op, [column]) for column in columns)


def _broadcast(operands: Sequence[Columns[Column]]) -> list[tuple[Column, ...]] | None:
    width = max(len(columns) for columns in operands)
    if any(len(columns) not in (1, width) for columns in operands):
        return None
    wide = [columns * width if len(columns) == 1 else columns for columns in operands]
    return list(zip(*wide, strict=True))


def _number(node: Node, name: str) -> float:
    value = node.attributes.get(name, 1.0)
    return float(value) if isinstance(value, (int, float)) else 1.0


_POST_TRANSFORMS = {
    "NONE": "identity",
    "LOGISTIC": "logistic",
    "SOFTMAX": "softmax",
    "SOFTMAX_ZERO": "softmax_zero",
}
_OF_ALL = {"ReduceMax": "max", "ReduceLogSumExp": "logsumexp"}
RULES: Mapping[str, Rule] = {
    "Add": _add,
    "Sub": _add,
    "Sum": _add,
    "Mean": _add,
    "Mul": _multiply,
    "Div": _multiply,
    "Neg": _negate,
    "Reciprocal": _invert,
    "Exp": _exponential,
    "Sigmoid": _apply_link("logistic"),
    "Softmax": _apply_link("softmax"),
    "LogSoftmax": _apply_link("log_softmax"),
    "MatMul": _matrix_product,
    "Gemm": _matrix_product,
    "BatchNormalization": _batch_normalization,
    "LinearRegressor": _linear_model,
    "LinearClassifier": _linear_model,
    "ReduceSum": _reduce,
    "ReduceMean": _reduce,
    "ReduceL1": _reduce,
    "ReduceMax": _reduce,
    "ReduceLogSumExp": _reduce,
    "Abs": _absolute,
    "Normalizer": _normalize,
    "LpNormalization": _normalize,
}
