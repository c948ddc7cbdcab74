"""Fairness and calibration of a supplied model on an evaluation set, by the card's own criterion."""

import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from app.supplied.report import Check
from app.sureness import learn_sureness, uncertainty_of
from explainers.uncertainty import PredictionSet
from models.bundle import Bundle
from models.card_sections import Criterion
from models.evaluation import Evaluated
from models.measures import (
    Flags,
    Rate,
    Vector,
    expected_calibration_error,
    false_positive_rate,
    precision,
    rate,
    reliability,
    true_positive_rate,
)

FEWEST = 10
"""Groups with fewer cases are not shown: a rate of nine is nobody's business and says nothing."""
TOLERANCE = 0.1
"""How far groups may differ where the card does not say."""
MOST_CALIBRATION_ERROR = 0.1

COMPARED: dict[Criterion, tuple[str, ...]] = {
    "equal_selection": ("selection_rate",),
    "equal_opportunity": ("true_positive_rate",),
    "equalised_odds": ("true_positive_rate", "false_positive_rate"),
    "predictive_parity": ("precision",),
    "calibration_within_groups": ("calibration_error",),
}


def scores_of(bundle: Bundle, rows: Sequence[Evaluated]) -> Vector:
    """Return the score of the positive class of each row, each scored alone, shape (N,)."""
    feeds = [bundle.schema.encode(row.case).feeds for row in rows]
    place = bundle.positive_score
    return np.array([float(bundle.session.run_row(feed).scores[place]) for feed in feeds])


def check_fairness(
    bundle: Bundle, rows: Sequence[Evaluated], scores: Vector, *, threshold: float
) -> Check:
    """Compare groups in the criterion that the card declares; report all other rates too.

    A gap counts when it is wider than the card's tolerance and the two groups' intervals are apart:
    what chance alone could do is no finding.
    """
    considerations = bundle.card.considerations
    fairness = None if considerations is None else considerations.fairness
    if fairness is None:
        return Check(
            name="fairness", status="not_done", summary="the card declares no fairness criterion"
        )
    truth = _truth(bundle, rows)
    chosen = scores >= threshold
    tolerance = fairness.tolerance or TOLERANCE
    attributes: dict[str, object] = {}
    faults = []
    for attribute in sorted({name for row in rows for name in row.groups}):
        told = np.array([row.groups.get(attribute) or "" for row in rows])
        figures, small = {}, []
        for group in sorted(set(told.tolist()) - {""}):
            inside: Flags = told == group
            if int(inside.sum()) < FEWEST:
                small.append(group)
                continue
            figures[group] = _figures(chosen[inside], truth[inside], scores[inside])
        attributes[attribute] = {
            "groups": {group: _told(each) for group, each in figures.items()},
            "too_small": small,
            "not_known": int((told == "").sum()),
        }
        for name in COMPARED[fairness.criterion]:
            faults += _gap(attribute, name, figures, tolerance)
    untested = [f"{each.group} ({each.reason})" for each in fairness.not_tested]
    return Check(
        name="fairness",
        status="failed" if faults else "passed",
        summary="; ".join(faults)
        if faults
        else f"groups differ by at most {tolerance:g}, or within chance, in {fairness.criterion}",
        details={
            "criterion": fairness.criterion,
            "rationale": fairness.criterion_rationale,
            "tolerance": tolerance,
            "threshold": threshold,
            "attributes": attributes,
            "not_tested": untested,
        },
    )


def check_calibration(bundle: Bundle, rows: Sequence[Evaluated], scores: Vector) -> Check:
    """Look whether scores are the frequencies they claim to be, and sets cover what they claim."""
    truth = _truth(bundle, rows)
    error = expected_calibration_error(scores, truth)
    curve = [
        {"score": score, "share": each.value, "interval": [each.lower, each.upper],
         "cases": each.cases, "within": each.lower <= score <= each.upper}
        for score, each in reliability(scores, truth)
    ]  # fmt: skip
    covered, claimed = _coverage(bundle, rows)
    faults = []
    if not error <= MOST_CALIBRATION_ERROR:
        faults.append(f"expected calibration error {error:.3f}, want {MOST_CALIBRATION_ERROR:g}")
    if covered is None:
        faults.append("no calibration sample, so no answer says how sure the model is")
    elif claimed is not None and covered.upper < claimed:
        faults.append(f"prediction sets hold the truth in {covered.value:.0%}, want {claimed:.0%}")
    said = "" if covered is None else f"; prediction sets hold the truth in {covered.value:.0%}"
    return Check(
        name="calibration",
        status="failed" if faults else "passed",
        summary="; ".join(faults) or f"expected calibration error {error:.3f}{said}",
        details={
            "expected_calibration_error": error,
            "reliability": curve,
            "coverage": None if covered is None else asdict(covered),
            "coverage_claimed": claimed,
        },
    )


def _coverage(bundle: Bundle, rows: Sequence[Evaluated]) -> tuple[Rate | None, float | None]:
    sureness = learn_sureness(bundle)
    held, claimed = [], None
    for row in rows:
        scored = bundle.session.run_row(bundle.schema.encode(row.case).feeds)
        found = uncertainty_of(sureness, bundle, scored.scores).predicted
        if not isinstance(found, PredictionSet):
            return None, None
        held.append(str(row.label) in [sureness.classes[place] for place in found.classes])
        claimed = found.coverage
    return rate(np.array(held)), claimed


def _truth(bundle: Bundle, rows: Sequence[Evaluated]) -> NDArray[np.bool_]:
    return np.array([row.label == bundle.card.output.positive_class for row in rows])


def _figures(chosen: Flags, truth: Flags, scores: Vector) -> dict[str, Rate | float]:
    return {
        "selection_rate": rate(chosen),
        "true_positive_rate": true_positive_rate(chosen, truth),
        "false_positive_rate": false_positive_rate(chosen, truth),
        "precision": precision(chosen, truth),
        "calibration_error": expected_calibration_error(scores, truth),
    }


def _told(figures: dict[str, Rate | float]) -> dict[str, object]:
    """Return the figures as JSON has them: a rate over no cases is null."""
    return {
        name: each
        if isinstance(each, float)
        else None
        if each.cases == 0
        else {"value": each.value, "interval": [each.lower, each.upper], "cases": each.cases}
        for name, each in figures.items()
    }


def _gap(
    attribute: str, name: str, figures: dict[str, dict[str, Rate | float]], tolerance: float
) -> list[str]:
    told = {group: each[name] for group, each in figures.items()}
    values = {
        group: each if isinstance(each, float) else each.value
        for group, each in told.items()
        if isinstance(each, float) or each.cases >= FEWEST
    }
    if len(values) < 2:
        return []
    low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    lowest, highest = told[low], told[high]
    apart = values[high] - values[low]
    if math.isnan(apart) or apart <= tolerance:
        return []
    if isinstance(lowest, Rate) and isinstance(highest, Rate) and lowest.upper >= highest.lower:
        return []
    return [f"{attribute}: {name} is {values[low]:.2f} for {low} and {values[high]:.2f} for {high}"]
