"""An explanation as a value: base values, contributions, and the proof that they add up.

``explained`` is the only way in: it sums base and contributions in field order, applies the
link, and raises unless the result is the model's own output within the tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from explainers.errors import AdditivityError

Vector: TypeAlias = NDArray[np.float64]
"""One-dimensional array of float64."""
Matrix: TypeAlias = NDArray[np.float64]
"""Two-dimensional array of float64."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Shapley values of one row, by field, for T targets and F fields."""

    method: str
    """The method that made it, as in ``Explainer.method``."""
    unit: str
    """The unit of base values, contributions and margins."""
    link: str
    """The function from margins to the model's outputs."""
    targets: tuple[int, ...]
    """The indexes into the scores that are explained, T of them."""
    base_values: Vector
    """Shape (T,): the mean margin over the background."""
    contributions: Matrix
    """Shape (T, F): each field's Shapley value."""
    margins: Vector
    """Shape (T,): base value + contributions, summed in field order."""
    outputs: Vector
    """Shape (T,): the model's own scores of the targets."""
    residual: float
    """max |link(margins) - outputs|."""
    tolerance: float
    """What the residual was allowed to be, in the output's unit."""
    standard_errors: Matrix | None = None
    """Shape (T, F) when the contributions were sampled, None when they are exact."""
    evaluations: int | None = None
    """How often the model was run, None when it was not."""


def add_up(base_values: Vector, contributions: Matrix) -> Vector:
    """Return base + contributions of each target, shape (T,), summed in field order.

    One fixed order, so that the same row always has the same bits.
    """
    margins = base_values.copy()
    for field in range(contributions.shape[1]):
        margins += contributions[:, field]
    return margins


def allowed_residual(outputs: Vector, relative: float) -> float:
    """Return ``relative`` times the outputs' scale: the largest magnitude, and at least 1."""
    return relative * max(1.0, float(np.max(np.abs(outputs), initial=0.0)))


def check_residual(
    linked: Vector, outputs: Vector, *, targets: tuple[int, ...], tolerance: float
) -> float:
    """Return max |linked - outputs|, both of shape (T,).

    Raises AdditivityError when it exceeds ``tolerance`` or is not a number.
    """
    differences = np.abs(linked - outputs)
    worst = int(np.argmax(np.where(np.isnan(differences), np.inf, differences)))
    residual = float(differences[worst])
    if not residual <= tolerance:
        raise AdditivityError(
            target=targets[worst],
            explained=float(linked[worst]),
            output=float(outputs[worst]),
            tolerance=tolerance,
        )
    return residual
