"""Columns of a graph as affine forms over atoms, with at most one link: the rules by operator.

A **form** is a weighted sum of atoms and a constant; an **atom** is one column of a tensor that is
taken as it is. Each rule gives an operator's output columns from its operands' columns, or an
Opaque column whose reason names the operator after which no common margin is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from explainers.columns import Columns
from explainers.graph import Node

Constants: TypeAlias = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, order=True)
class Atom:
    """One column of a tensor that is not read further."""

    tensor: str
    column: int
    is_margin: bool = False
    """True: the ensemble that makes the tensor is meant, before its link."""


@dataclass(frozen=True, slots=True)
class Form:
    """``sum of weight x atom + constant``."""

    weights: Mapping[Atom, float]
    constant: float = 0.0


@dataclass(frozen=True, slots=True)
class Linked:
    """A function of forms: one output of a link, or a stage of a logistic written out."""

    link: str
    """logistic, softmax, softmax_zero; exp and 1+exp on the way to 1 / (1 + exp(z))."""
    forms: tuple[Form, ...]
    index: int = 0


@dataclass(frozen=True, slots=True)
class Opaque:
    """A column that is neither; the reason names the operator."""

    reason: str


Column: TypeAlias = Form | Linked | Opaque


def linked(margins: tuple[Form, ...], link: str) -> Columns[Column]:
    """Return the columns that a link gives from the margins of one tensor."""
    match link:
        case "identity":
            return margins
        case "logistic":
            return tuple(Linked("logistic", (margin,)) for margin in margins)
        case "softmax" | "softmax_zero":
            return tuple(Linked(link, margins, index) for index in range(len(margins)))
        case _:
            return tuple(Opaque(f"{link} is not explained before it") for _ in margins)


def scaled(form: Form, factor: float) -> Form:
    """Return ``factor`` times the form."""
    return Form({a: factor * w for a, w in form.weights.items()}, factor * form.constant)


def added(forms: Sequence[Form]) -> Form:
    """Return the sum of the forms, terms in the order they are met."""
    weights: dict[Atom, float] = {}
    for form in forms:
        for atom, weight in form.weights.items():
            weights[atom] = weights.get(atom, 0.0) + weight
    return Form(weights, sum(form.constant for form in forms))


def _broadcast(operands: Sequence[Columns[Column]]) -> list[tuple[Column, ...]] | None:
    width = max(len(columns) for columns in operands)
    if any(len(columns) not in (1, width) for columns in operands):
        return None
    wide = [columns * width if len(columns) == 1 else columns for columns in operands]
    return list(zip(*wide, strict=True))


def _opaque(op: str, columns: Sequence[Column]) -> Opaque:
    for column in columns:
        if isinstance(column, Opaque):
            return column
    links = {column.link for column in columns if isinstance(column, Linked)}
    met = f"{' and '.join(sorted(links))} terms" if links else "terms that are not constant"
    return Opaque(f"{op} of {met} leaves no common margin")


def _constant(column: Column) -> float | None:
    return column.constant if isinstance(column, Form) and not column.weights else None


def _sum_of(op: str, columns: Sequence[Column], signs: Sequence[float]) -> Column:
    if len(columns) == 1 and signs[0] == 1.0:
        return columns[0]
    forms = [column for column in columns if isinstance(column, Form)]
    if len(forms) == len(columns):
        return added([scaled(form, sign) for form, sign in zip(forms, signs, strict=True)])
    constants = [constant for column in columns if (constant := _constant(column)) is not None]
    terms = [
        (column, sign)
        for column, sign in zip(columns, signs, strict=True)
        if isinstance(column, Linked)
    ]
    if len(terms) == 1 and len(constants) == len(columns) - 1 and sum(constants) == 1.0:
        column, sign = terms[0]
        if sign > 0 and column.link == "exp":
            return Linked("1+exp", column.forms)
        if sign < 0 and op == "Sub" and column.link == "logistic":
            # 1 - p(z) = p(-z): the other class of a binary model.
            return Linked("logistic", (scaled(column.forms[0], -1.0),))
    return _opaque(op, columns)


def _add(
    node: Node, operands: list[Columns[Column]], _constants: Constants
) -> Columns[Column] | None:
    rows = _broadcast(operands)
    if rows is None:
        return None
    signs = [1.0] * len(operands)
    if node.op == "Sub":
        signs[1] = -1.0
    sums = tuple(_sum_of(node.op, row, signs) for row in rows)
    if node.op != "Mean":
        return sums
    return tuple(_times(node.op, column, 1.0 / len(operands)) for column in sums)


def _times(op: str, column: Column, factor: float) -> Column:
    if isinstance(column, Form):
        return scaled(column, factor)
    return column if factor == 1.0 else _opaque(op, [column])


def _multiply(
    node: Node, operands: list[Columns[Column]], _constants: Constants
) -> Columns[Column] | None:
    rows = _broadcast(operands)
    if rows is None:
        return None
    return tuple(_divided(*row) if node.op == "Div" else _multiplied(*row) for row in rows)


def _multiplied(left: Column, right: Column) -> Column:
    for factor, other in ((_constant(left), right), (_constant(right), left)):
        if factor is not None:
            return _times("Mul", other, factor)
    return _opaque("Mul", [left, right])


def _divided(left: Column, right: Column) -> Column:
    divisor = _constant(right)
    if divisor:
        return _times("Div", left, 1.0 / divisor)
    if _constant(left) == 1.0 and isinstance(right, Linked) and right.link == "1+exp":
        return Linked("logistic", (scaled(right.forms[0], -1.0),))
    return _opaque("Div", [left, right])


def _negate(_node: Node, operands: list[Columns[Column]], _constants: Constants) -> Columns[Column]:
    return tuple(_times("Neg", column, -1.0) for column in operands[0])


def _apply_link(link: str) -> Rule:
    def rule(
        node: Node, operands: list[Columns[Column]], _constants: Constants
    ) -> Columns[Column] | None:
        forms = tuple(column for column in operands[0] if isinstance(column, Form))
        if len(forms) < len(operands[0]):
            return tuple(_opaque(node.op, [column]) for column in operands[0])
        if link == "exp":
            return tuple(Linked("exp", (form,)) for form in forms)
        if link == "softmax" and node.integer("axis", -1) not in (1, -1):
            return None
        return linked(forms, link)

    return rule


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
    return _product(node.op, operands[0], matrix.T * _number(node, "alpha"), bias)


def _number(node: Node, name: str) -> float:
    value = node.attributes.get(name, 1.0)
    return float(value) if isinstance(value, (int, float)) else 1.0


def _product(
    op: str, columns: Columns[Column], weights: NDArray[np.float64], bias: NDArray[np.float64]
) -> Columns[Column] | None:
    """Return ``weights @ columns + bias``, weights of shape (outputs, columns)."""
    if weights.shape[1] != len(columns):
        return None
    made: list[Column] = []
    for row, constant in zip(weights, bias, strict=True):
        used = [(columns[at], float(row[at])) for at in np.flatnonzero(row)]
        forms = [scaled(column, w) for column, w in used if isinstance(column, Form)]
        if len(forms) == len(used):
            made.append(added([*forms, Form({}, float(constant))]))
        elif len(used) == 1 and used[0][1] == 1.0 and constant == 0.0:
            made.append(used[0][0])
        else:
            made.append(_opaque(op, [column for column, _ in used]))
    return tuple(made)


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
    columns = _product(node.op, operands[0], weights, bias)
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


def reduced_axes(node: Node, constants: Constants) -> list[int]:
    """Return the axes of a Reduce operator: an attribute once, an input since opset 13 or 18."""
    if len(node.inputs) > 1:
        return [int(axis) for axis in constants.get(node.inputs[1], np.zeros(0)).ravel()]
    return [int(axis) for axis in node.sequence("axes")]


def _reduce(
    node: Node, operands: list[Columns[Column]], constants: Constants
) -> Columns[Column] | None:
    if reduced_axes(node, constants) not in ([1], [-1]):
        return None
    columns = operands[0]
    total = _sum_of(node.op, columns, [1.0] * len(columns))
    factor = 1.0 / len(columns) if node.op == "ReduceMean" else 1.0
    return (_times(node.op, total, factor),)


def _normalize(
    node: Node, operands: list[Columns[Column]], _constants: Constants
) -> Columns[Column] | None:
    """Outputs that already sum to one stay what they are: p(z) with p(-z), a whole softmax."""
    columns = operands[0]
    if node.text("norm", "L1") != "L1" or node.integer("p", 1) != 1:
        return None
    match columns:
        case (Linked("logistic", (first,)), Linked("logistic", (second,))) if (
            scaled(first, -1.0) == second
        ):
            return columns
        case (Linked("softmax" | "softmax_zero" as link, forms), *_) if columns == linked(
            forms, link
        ):
            return columns
        case _:
            return tuple(_opaque(node.op, [column]) for column in columns)


Rule: TypeAlias = Callable[[Node, list[Columns[Column]], Constants], Columns[Column] | None]
_POST_TRANSFORMS = {
    "NONE": "identity",
    "LOGISTIC": "logistic",
    "SOFTMAX": "softmax",
    "SOFTMAX_ZERO": "softmax_zero",
}
RULES: Mapping[str, Rule] = {
    "Add": _add,
    "Sub": _add,
    "Sum": _add,
    "Mean": _add,
    "Mul": _multiply,
    "Div": _multiply,
    "Neg": _negate,
    "Exp": _apply_link("exp"),
    "Sigmoid": _apply_link("logistic"),
    "Softmax": _apply_link("softmax"),
    "MatMul": _matrix_product,
    "Gemm": _matrix_product,
    "LinearRegressor": _linear_model,
    "LinearClassifier": _linear_model,
    "ReduceSum": _reduce,
    "ReduceMean": _reduce,
    "Normalizer": _normalize,
    "LpNormalization": _normalize,
}
