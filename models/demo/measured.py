"""How well the demonstration model does on the cases held back, for the card: measured, not typed in."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.card_sections import Interval, PerformanceMetric, Slice
from models.evaluation import Evaluated
from models.measures import Rate, auc, expected_calibration_error, rate, true_positive_rate

FEWEST = 10


def measure(
    rows: Sequence[Evaluated], scores: NDArray[np.float64], *, positive: str
) -> tuple[PerformanceMetric, ...]:
    """Return the figures over all cases, and selection and true positives for each group.

    ``scores``, shape (N,), is the trainer's own probability of the positive class.
    """
    truth = np.array([row.label == positive for row in rows])
    chosen = scores >= 0.5
    found = [
        _of_rate("accuracy", rate(chosen == truth)),
        PerformanceMetric(type="auc", value=round(auc(scores, truth), 4), cases=len(rows)),
        PerformanceMetric(
            type="expected_calibration_error",
            value=round(expected_calibration_error(scores, truth), 4),
            cases=len(rows),
        ),
    ]
    for attribute in rows[0].groups:
        groups = np.array([row.groups[attribute] for row in rows])
        for group in sorted(set(groups)):
            inside = groups == group
            if inside.sum() < FEWEST:
                continue
            for name, figure in (
                ("selection_rate", rate(chosen[inside])),
                ("true_positive_rate", true_positive_rate(chosen[inside], truth[inside])),
            ):
                if figure.cases:
                    found.append(
                        _of_rate(name, figure, Slice(attribute=attribute, value=str(group)))
                    )
    return tuple(found)


def _of_rate(name: str, figure: Rate, part: Slice | None = None) -> PerformanceMetric:
    return PerformanceMetric(
        type=name,
        value=round(figure.value, 4),
        confidence_interval=Interval(lower=round(figure.lower, 4), upper=round(figure.upper, 4)),
        cases=figure.cases,
        threshold=0.5,
        slice=part,
    )
