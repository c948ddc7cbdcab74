"""The parts of a margin before there is a background: encoded tensors with their weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explainers.affine import Reading
from explainers.ensemble import read_ensemble
from explainers.errors import MethodRefusedError
from explainers.explainer import Feeds, Question, Run
from explainers.explanation import Matrix, Vector, allowed_residual
from explainers.fields import single_fields, trace_fields, verify_fields
from explainers.forms import Form
from explainers.linear import LinearPart, linear_part


@dataclass(frozen=True, slots=True)
class PartPlan:
    """One part before there is a background."""

    tensor: str
    """The encoded tensor that the part reads."""
    weights: Matrix
    """Shape (M, columns) of a linear part, (M, outputs) of an ensemble's margins."""
    ensemble_output: str | None
    """The score tensor of the ensemble, None for a linear part."""
    used: tuple[int, ...]
    walked: tuple[int, ...]


def plan_parts(question: Question, reading: Reading, *, method: str) -> list[PartPlan]:
    """Return one part for each tensor among the atoms, in a fixed order."""
    atoms = sorted({atom for form in reading.margins for atom in form.weights})
    if not atoms:
        raise MethodRefusedError(method, "the scores are constants")
    traced = trace_fields(question.graph, question.slots)
    parts = []
    for tensor, is_margin in dict.fromkeys((atom.tensor, atom.is_margin) for atom in atoms):
        width = 1 + max(a.column for a in atoms if (a.tensor, a.is_margin) == (tensor, is_margin))
        weights = np.zeros((len(reading.margins), width))
        for row, form in enumerate(reading.margins):
            _fill(weights[row], form, tensor, is_margin=is_margin)
        source, used = tensor, tuple(np.flatnonzero((weights != 0).any(axis=0)).tolist())
        if is_margin:
            node = question.graph.producers[tensor]
            source = node.inputs[0]
            used = tuple(int(column) for column in read_ensemble(node).used_columns())
        walked = single_fields(traced.get(source), used=used, method=method)
        parts.append(PartPlan(source, weights, tensor if is_margin else None, used, walked))
    return parts


def _fill(row: Vector, form: Form, tensor: str, *, is_margin: bool) -> None:
    for atom, weight in form.weights.items():
        if (atom.tensor, atom.is_margin) == (tensor, is_margin):
            row[atom.column] = weight


def places_of(
    parts: list[PartPlan], question: Question
) -> tuple[tuple[str, ...], tuple[str | int, ...]]:
    """Return the taps, and what each part reads: the name of a graph input, or which tap."""
    inputs = question.graph.inputs
    taps = tuple(dict.fromkeys(part.tensor for part in parts if part.tensor not in inputs))
    return taps, tuple(p.tensor if p.tensor in inputs else taps.index(p.tensor) for p in parts)


def fields_of(
    plan: PartPlan, where: str | int, question: Question, background: Feeds, run: Run, method: str
) -> tuple[int, ...]:
    """Return the field of each encoded column of a part, unless the background disproves it."""
    return verify_fields(
        partial(run_encoded, run, where),
        background,
        slots=question.slots,
        walked=plan.walked,
        method=method,
    )


def linear_part_of(
    plan: PartPlan, *, fields: tuple[int, ...], n_fields: int, background: NDArray[Any]
) -> LinearPart:
    """Return a linear part, the columns behind its last weight weighing nothing."""
    weights = np.zeros((len(plan.weights), background.shape[1]))
    weights[:, : plan.weights.shape[1]] = plan.weights
    return linear_part(weights, fields=fields, n_fields=n_fields, background=background)


def check_reading(
    method: str, terms: str, read: Matrix, scores: Matrix, *, relative: float, scale: float
) -> None:
    """Raise unless what was read of the graph gives the session's own scores on the background.

    Both of shape (rows, targets).
    """
    for row, (own, outputs) in enumerate(zip(read, scores, strict=True)):
        worst = float(np.max(np.abs(own - outputs)))
        if not worst <= allowed_residual(outputs, relative, scale):
            raise MethodRefusedError(
                method,
                f"the {terms} as read differ from the graph's own output by {worst:g} on "
                f"background row {row}",
            )


def run_encoded(run: Run, where: str | int, feeds: Feeds) -> NDArray[Any]:
    """Return the encoded tensor of ``feeds`` as the graph makes it."""
    return encoded(where, feeds, () if isinstance(where, str) else run(feeds)[1])


def encoded(where: str | int, feeds: Feeds, taps: tuple[NDArray[Any], ...]) -> NDArray[Any]:
    """Return the encoded tensor that ``where`` names, shape (N, columns)."""
    tensor = np.asarray(feeds[where] if isinstance(where, str) else taps[where])
    if tensor.dtype == np.float16:
        tensor = tensor.astype(np.float32)  # the same numbers, of a type that compiled code knows
    return tensor.reshape(len(tensor), -1)
