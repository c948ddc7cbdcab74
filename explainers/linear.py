"""The linear part of a sum: encoded columns times weights, exactly by field.

``phi_f = sum over the field's columns of w_j (x_j - mean b_j)``: the Shapley values of an additive
game, whatever the columns are (scaled numbers, one-hot indicators, any function of one field).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explainers.explanation import Matrix, Vector
from explainers.sum_kernel import add_linear


@dataclass(frozen=True, slots=True)
class LinearPart:
    """M sums over C columns of one encoded tensor."""

    columns: NDArray[np.int64]
    """Shape (C,): the columns of the tensor that have a weight."""
    weights: Matrix
    """Shape (M, C): float32 weights exactly as stored, in float64."""
    fields: NDArray[np.int64]
    """Shape (C,): the field of each column."""
    means: Vector
    """Shape (C,): the columns' means over the background."""
    n_fields: int

    @property
    def base_values(self) -> Vector:
        """Shape (M,): the mean sums over the background."""
        return np.asarray((self.weights * self.means).sum(axis=1))

    def sums(self, encoded: NDArray[Any]) -> Matrix:
        """Return the sums, shape (N, M), of encoded rows, shape (N, columns)."""
        return np.asarray(encoded[:, self.columns].astype(np.float64) @ self.weights.T)

    def contributions(self, encoded: NDArray[Any]) -> Matrix:
        """Return the contributions, shape (M, fields), of one encoded row, shape (1, columns)."""
        contributions = np.zeros((len(self.weights), self.n_fields))
        add_linear(encoded[0], self.columns, self.weights, self.fields, self.means, contributions)
        return contributions


def linear_part(
    weights: Matrix, *, fields: tuple[int, ...], n_fields: int, background: NDArray[Any]
) -> LinearPart:
    """Return the part of an encoded tensor; columns without weight are left out.

    ``weights``, shape (M, columns). ``fields[j]`` is the field of column j, -1 for a column that
    is the same for every case. ``background``, shape (B, columns), is encoded.
    """
    used = np.flatnonzero((weights != 0).any(axis=0))
    owners = np.array(fields, dtype=np.int64)[used]
    means = background[:, used].astype(np.float64).mean(axis=0)
    # A column of no field never differs from its mean; any field may own its zero.
    return LinearPart(
        columns=used,
        weights=np.ascontiguousarray(weights[:, used]),
        fields=np.maximum(owners, 0),
        means=means,
        n_fields=n_fields,
    )
