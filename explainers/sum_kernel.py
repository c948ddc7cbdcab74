"""The compiled request path of sums: a linear part's contributions, and adding up with a link.

Fixed order of summation, float64 throughout, no interpreter lock.
"""

from __future__ import annotations

from typing import Any

from explainers.compiled import njit
from explainers.links import link_row


@njit(cache=True, nogil=True)
def add_linear(
    row: Any, columns: Any, weights: Any, fields: Any, means: Any, contributions: Any
) -> None:
    """Add ``weights x (row - means)``, column by column, to (M, fields) contributions.

    ``row``, shape (width,), of any number type; columns, fields and means have shape (C,),
    ``weights`` (M, C).
    """
    for at in range(len(columns)):
        moved = row[columns[at]] - means[at]
        for margin in range(len(weights)):
            contributions[margin, fields[at]] += weights[margin, at] * moved


@njit(cache=True, nogil=True)
def add_up_and_link(contributions: Any, bases: Any, link: Any, margins: Any, linked: Any) -> None:
    """Write base + contributions in field order, shape (M,), and their link, shape (M,)."""
    for margin in range(len(bases)):
        total = bases[margin]
        for field in range(contributions.shape[1]):
            total += contributions[margin, field]
        margins[margin] = total
    link_row(link, margins, linked)
