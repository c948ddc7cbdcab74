"""Gower's distance as numpy says it, for comparison with the compiled search."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def gower(
    rows: NDArray[np.float64],
    row_codes: NDArray[np.int64],
    *,
    numbers: NDArray[np.float64],
    codes: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the distance of one case to every row, shape (B,).

    Numbers are in units of their range. Missing against missing is 0, against a value 1.
    """
    apart = np.abs(rows - numbers)
    one_missing = np.isnan(rows) != np.isnan(numbers)
    apart = np.where(one_missing, 1.0, np.nan_to_num(apart, nan=0.0, posinf=np.inf))
    total = apart.sum(axis=1) + (row_codes != codes).sum(axis=1)
    return np.asarray(total / max(rows.shape[1] + row_codes.shape[1], 1))
