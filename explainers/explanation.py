"""An explanation as a value: base values, contributions, and the proof that they add up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from explainers.errors import AdditivityError

Vector: TypeAlias = NDArray[np.float64]
"""One-dimensional array of float64."""
Matrix: TypeAlias = NDArray[np.float64]
"""Two-dimensional array of float64."""


MARGIN, OUTPUT, LINKED, RESIDUAL, ALLOWED = range(-5, 0)
"""Where ``Explanation.values`` keeps what follows the contributions."""
AFTER_FIELDS = 5


@dataclass(frozen=True, slots=True)
class Terms:
    """In what terms an explainer states its explanations: the same for every row."""

    method: str
    """The method that makes them, as in ``Explainer.method``."""
    unit: str
    """The unit of base values, contributions and margins."""
    link: str
    """The function from margins to the model's outputs."""
    targets: tuple[int, ...]
    """The indexes into the scores that are explained, T of them."""
    base_values: Vector
    """Shape (T,): the mean margin over the background."""


class Explanation(NamedTuple):
    """Shapley values of one row, by field, for T targets and F fields.

    One array and not a field for each part: compiled code fills it, and naming the parts when they
    are asked for makes a request's explanation 2 microseconds faster, a quarter of it.
    """

    terms: Terms
    values: Matrix
    """Shape (F + 5, T): the contributions, then MARGIN, OUTPUT, LINKED, RESIDUAL and ALLOWED."""
    standard_errors: Matrix | None = None
    """Shape (T, F) when the contributions were sampled, None when they are exact."""
    evaluations: int | None = None
    """How often the model was run, None when it was not."""

    @property
    def contributions(self) -> Matrix:
        """Shape (T, F): each field's Shapley value."""
        return self.values[:MARGIN].T

    @property
    def margins(self) -> Vector:
        """Shape (T,): base value + contributions, summed in field order."""
        margins: Vector = self.values[MARGIN]
        return margins

    @property
    def outputs(self) -> Vector:
        """Shape (T,): the model's own scores of the targets."""
        outputs: Vector = self.values[OUTPUT]
        return outputs

    @property
    def residual(self) -> float:
        """The largest |link(margins) - outputs|."""
        return float(self.values[RESIDUAL, 0])

    @property
    def tolerance(self) -> float:
        """What the residual was allowed to be, in the output's unit."""
        return float(self.values[ALLOWED, 0])


def stated(terms: Terms, values: Matrix) -> Explanation:
    """Return the explanation; raise AdditivityError unless it adds up.

    ``values`` are those of ``Explanation``: what they were linked to must be the model's own output
    within what is allowed. Where compiled code has said so already, nobody asks again.
    """
    # Written so that a residual that is not a number raises.
    if not values.item(RESIDUAL, 0) <= values.item(ALLOWED, 0):
        check_residual(
            values[LINKED],
            values[OUTPUT],
            targets=terms.targets,
            tolerance=values.item(ALLOWED, 0),
        )
    return Explanation(terms, values)


def gathered(
    *,
    contributions: Matrix,
    margins: Vector,
    linked: Vector,
    outputs: Vector,
    relative: float,
    scale: float,
) -> Matrix:
    """Return the values of an ``Explanation`` from its parts: shapes (T, F), (T,), (T,), (T,).

    ``relative`` and ``scale`` as in ``allowed_residual``.
    """
    values = np.empty((contributions.shape[1] + AFTER_FIELDS, len(margins)))
    values[:MARGIN] = contributions.T
    values[MARGIN], values[OUTPUT], values[LINKED] = margins, outputs, linked
    # numpy's max, unlike Python's, never loses a NaN.
    values[RESIDUAL] = np.abs(linked - outputs).max()
    values[ALLOWED] = allowed_residual(outputs, relative, scale)
    return values


def add_up(base_values: Vector, contributions: Matrix) -> Vector:
    """Return base + contributions of each target, shape (T,), summed in field order.

    One fixed order, so that the same row always has the same bits.
    """
    margins = base_values.copy()
    for field in range(contributions.shape[1]):
        margins += contributions[:, field]
    return margins


def scale_of(scores: Matrix, *, is_probability: bool) -> float:
    """Return the scale of a graph's outputs from its scores of the background, shape (rows, T).

    1 for probabilities, else the mean magnitude: an output near 0 is a sum of numbers far from it, rounded
    as those are; and all outputs may be far below 1.
    """
    return 1.0 if is_probability else float(np.abs(scores).mean()) or 1.0


def allowed_residual(outputs: Vector, relative: float, scale: float) -> float:
    """Return ``relative`` times ``scale``, that of the background, or times these outputs' if larger."""
    return relative * max(scale, float(np.max(np.abs(outputs), initial=0.0)))


def tolerance_of_sum(relative: float, terms: int) -> float:
    """Return ``relative``, or what the graph's own float32 sum of so many terms may be off if more.

    Each partial sum is rounded by at most 2**-24 of itself, and partial sums of terms of one sign,
    as the votes of a forest are, are half of the whole on average.
    """
    return max(relative, terms * 2.0**-25)


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
