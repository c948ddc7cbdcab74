"""The nearest background row by Gower's distance, in compiled code: it is asked for every case.

Gower (1971): the mean over fields of |x - b| / range for numbers and 0 or 1 for categories. The
background lies field by field and is gone through in blocks of rows, so that the processor adds
several rows' terms at once; each row's terms are added in field order, categories first. Leaving
far rows early was slower: the jumps cost more than the additions that they save.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from explainers.compiled import njit
from explainers.explanation import Matrix, Vector

BLOCK = 128
"""Rows whose sums are held at once: 1 kB."""
NONE_SKIPPED = -1


def nearest_distance(
    columns: Matrix,
    code_columns: NDArray[np.int64],
    *,
    ranges: Matrix,
    numbers: Vector,
    codes: NDArray[np.int64],
) -> tuple[float, bool]:
    """Return the Gower distance of a case to the nearest of B rows, at least one.

    And whether each number is within its range; NaN is in none. ``columns``, shape (numeric, B),
    are in units of the spans, NaN for missing; missing against missing is 0, against a value 1.
    ``ranges``, shape (3, numeric): lowest, highest and span; ``numbers``, shape (numeric,), are in
    the fields' own units. ``code_columns``, shape (categorical, B), and ``codes`` are categories as
    numbers. Matrices are in C order.
    """
    distance, is_inside = _compare(columns, code_columns, ranges, numbers, codes)
    return float(distance), bool(is_inside)


def nearest_others(columns: Matrix, code_columns: NDArray[np.int64]) -> Vector:
    """Return each row's distance to the nearest other row, shape (B,), B at least 2."""
    return np.array(
        [
            _nearest(
                columns, code_columns, columns[:, row].copy(), code_columns[:, row].copy(), row
            )
            for row in range(columns.shape[1])
        ],
        dtype=np.float64,
    )


# Keeps the interpreter's lock: giving it up and waiting for it costs more than these few microseconds.
@njit(cache=True)
def _compare(columns: Any, code_columns: Any, ranges: Any, numbers: Any, codes: Any) -> Any:
    scaled = np.empty(len(numbers))
    is_inside = True
    for place in range(len(numbers)):
        scaled[place] = numbers[place] / ranges[2, place]
        is_inside &= ranges[0, place] <= numbers[place] <= ranges[1, place]
    return _nearest(columns, code_columns, scaled, codes, NONE_SKIPPED), is_inside


@njit(cache=True, nogil=True)
def _nearest(columns: Any, code_columns: Any, numbers: Any, codes: Any, skipped: Any) -> Any:
    rows = columns.shape[1]
    sums = np.empty(BLOCK)
    best = np.inf
    for start in range(0, rows, BLOCK):
        length = min(BLOCK, rows - start)
        sums[:] = 0.0
        for place in range(len(codes)):
            _add_category(code_columns[place, start : start + length], codes[place], sums)
        for place in range(len(numbers)):
            _add_number(columns[place, start : start + length], numbers[place], sums)
        for row in range(length):
            if sums[row] < best and start + row != skipped:
                best = sums[row]
    return best / max(len(numbers) + len(codes), 1)


@njit(cache=True, nogil=True)
def _add_category(column: Any, code: Any, sums: Any) -> None:
    for row in range(len(column)):
        sums[row] += 1.0 if column[row] != code else 0.0


@njit(cache=True, nogil=True)
def _add_number(column: Any, number: Any, sums: Any) -> None:
    if np.isnan(number):
        for row in range(len(column)):
            sums[row] += 0.0 if np.isnan(column[row]) else 1.0
    else:
        for row in range(len(column)):
            apart = abs(column[row] - number)
            sums[row] += 1.0 if np.isnan(apart) else apart
