"""Affine forms over atoms, functions of them, and their arithmetic.

A **form** is a weighted sum of atoms and a constant; an **atom** is one column of a tensor that is
taken as it is. Arithmetic that leaves no common margin gives an Opaque column, whose reason names
the operator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from explainers.columns import Columns


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
    """logistic, softmax, softmax_zero; exp and 1+exp on the way to 1 / (1 + exp(z)); max, logsumexp,
    above_max, exp_above_max, log_softmax and the sums on the way to a softmax."""
    forms: tuple[Form, ...]
    index: int = 0


@dataclass(frozen=True, slots=True)
class Opaque:
    """A column that is neither; the reason names the operator."""

    reason: str


Column: TypeAlias = Form | Linked | Opaque


PROBABILITIES = ("logistic", "softmax", "softmax_zero")
"""Links whose outputs are never negative and, of all classes, sum to one."""


def linked(margins: tuple[Form, ...], link: str) -> Columns[Column]:
    """Return the columns that a link gives from the margins of one tensor."""
    match link:
        case "identity":
            return margins
        case "logistic":
            return tuple(Linked("logistic", (margin,)) for margin in margins)
        case "softmax" | "softmax_zero" | "log_softmax":
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


def opaque(op: str, columns: Sequence[Column]) -> Opaque:
    """Return the column that ``op`` makes of columns it cannot combine; the first reason stays."""
    for column in columns:
        if isinstance(column, Opaque):
            return column
    links = {column.link for column in columns if isinstance(column, Linked)}
    met = f"{' and '.join(sorted(links))} terms" if links else "terms that are not constant"
    return Opaque(f"{op} of {met} leaves no common margin")


def constant_of(column: Column) -> float | None:
    """Return the value of a column without atoms, None for any other."""
    return column.constant if isinstance(column, Form) and not column.weights else None


def signed_sum(op: str, columns: Sequence[Column], signs: Sequence[float]) -> Column:
    """Return the sum of ``sign x column``; 1 + exp(z) and 1 - p(z) are understood."""
    if len(columns) == 1 and signs[0] == 1.0:
        return columns[0]
    forms = [column for column in columns if isinstance(column, Form)]
    if len(forms) == len(columns):
        return added([scaled(form, sign) for form, sign in zip(forms, signs, strict=True)])
    constants = [
        sign * constant
        for column, sign in zip(columns, signs, strict=True)
        if (constant := constant_of(column)) is not None
    ]
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
    if op == "Sub" and isinstance(columns[1], Linked) and columns[0] in columns[1].forms:
        # z_i less the logarithm of the sum of all exp(z), or less the greatest z.
        less = _LESS.get(columns[1].link)
        if less is not None:
            return Linked(less, columns[1].forms, columns[1].forms.index(forms[0]))
    return opaque(op, columns)


def exponential(column: Column) -> Column:
    """Return exp of the column."""
    match column:
        case Form():
            return Linked("exp", (column,))
        case Linked("log_softmax", forms, index):
            return Linked("softmax", forms, index)
        case Linked("above_max", forms, index):
            return Linked("exp_above_max", forms, index)
        case _:
            return opaque("Exp", [column])


def total_of(columns: Sequence[Column]) -> Column | None:
    """Return the sum of columns that belong together: probabilities of all classes, or all exp(z)."""
    match columns:
        case (Linked("logistic", (first,)), Linked("logistic", (second,))) if (
            scaled(first, -1.0) == second
        ):
            return Form({}, 1.0)
        case (Linked("softmax" | "softmax_zero" as link, forms), *_) if tuple(columns) == linked(
            forms, link
        ):
            return Form({}, 1.0)
        case (Linked("exp"), *_) if all(
            isinstance(column, Linked) and column.link == "exp" for column in columns
        ):
            every = [column.forms[0] for column in columns if isinstance(column, Linked)]
            return Linked("sum_of_exp", tuple(every))
        case (Linked("exp_above_max", forms), *_) if list(columns) == [
            Linked("exp_above_max", forms, index) for index in range(len(forms))
        ]:
            return Linked("sum_of_exp_above_max", forms)
        case _:
            return None


def times(op: str, column: Column, factor: float) -> Column:
    """Return ``factor`` times the column."""
    if isinstance(column, Form):
        return scaled(column, factor)
    if isinstance(column, Linked) and column.link == "exp" and factor > 0.0:
        return Linked("exp", (added([column.forms[0], Form({}, log(factor))]),))
    return column if factor == 1.0 else opaque(op, [column])


def multiplied(left: Column, right: Column) -> Column:
    """Return the product of two columns, of which one must be constant."""
    for factor, other in ((constant_of(left), right), (constant_of(right), left)):
        if factor is not None:
            return times("Mul", other, factor)
    return opaque("Mul", [left, right])


def divided(left: Column, right: Column) -> Column:
    """Return the quotient of two columns; 1 / (1 + exp(z)) is p(-z), exp(z) / (1 + exp(z)) is p(z)."""
    divisor = constant_of(right)
    if divisor:
        return times("Div", left, 1.0 / divisor)
    if constant_of(left) == 1.0 and isinstance(right, Linked) and right.link == "1+exp":
        return Linked("logistic", (scaled(right.forms[0], -1.0),))
    match left, right:
        case Linked("exp", forms), Linked("1+exp", of) if of == forms:
            return Linked("logistic", forms)
        case Linked("exp", (form,)), Linked("sum_of_exp", forms) if form in forms:
            return Linked("softmax", forms, forms.index(form))
        case Linked("exp_above_max", of, index), Linked("sum_of_exp_above_max", forms) if (
            of == forms
        ):
            return Linked("softmax", forms, index)
        case _:
            return opaque("Div", [left, right])


_LESS = {"logsumexp": "log_softmax", "max": "above_max"}


def product_with(
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
            made.append(opaque(op, [column for column, _ in used]))
    return tuple(made)
