"""How sure: what is known of the score from cases with known answers, and from the background.

Without a calibration sample in the bundle there is nothing honest to say, and the answer says so.
"""

from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from explainers.familiarity import Familiarity, FamiliarityCheck, familiarity_check
from explainers.uncertainty import (
    MIN_BIN_CASES,
    ConformalClassifier,
    ConformalRegressor,
    Frequencies,
    Frequency,
    PredictionInterval,
    PredictionSet,
    calibrate_classes,
    calibrate_numbers,
    observed_frequencies,
)
from models.bundle import Bundle

COVERAGE = 0.9
TOO_FEW = "the calibration sample has too few cases to say how far the score can be off"


@dataclass(frozen=True, slots=True)
class Sureness:
    """What was learnt when the model was loaded."""

    classes: tuple[str, ...]
    conformal: ConformalClassifier | ConformalRegressor | None
    frequencies: Frequencies | None
    familiarity: FamiliarityCheck


def learn_sureness(bundle: Bundle) -> Sureness:
    """Return what the bundle's calibration sample and background say.

    Raises CalibrationError when the sample cannot be used.
    """
    conformal: ConformalClassifier | ConformalRegressor | None = None
    frequencies: Frequencies | None = None
    card, calibration = bundle.card, bundle.calibration
    if calibration is not None and card.output.task == "regression":
        answers = np.array(calibration.labels, dtype=np.float64)
        conformal = calibrate_numbers(
            calibration.scores[:, bundle.positive_score].astype(np.float64),
            answers,
            coverage=COVERAGE,
        )
    elif calibration is not None:
        places = np.array([card.output.classes.index(label) for label in calibration.labels])
        per_class = [_per_class(bundle, row) for row in calibration.scores.tolist()]
        conformal = calibrate_classes(np.array(per_class), places, coverage=COVERAGE)
        if len(places) >= MIN_BIN_CASES:
            frequencies = observed_frequencies(
                calibration.scores[:, bundle.positive_score].astype(np.float64),
                places == card.output.positive_index,
            )
    return Sureness(
        classes=tuple(str(label) for label in card.output.classes),
        conformal=conformal,
        frequencies=frequencies,
        familiarity=familiarity_check(bundle.background.values),
    )


class Uncertainty(NamedTuple):
    """What is known of one score."""

    frequency: Frequency | None
    """How often cases with a similar score turned out so."""
    predicted: PredictionSet | PredictionInterval | None
    """None without a calibration sample."""


def uncertainty_of(sureness: Sureness, bundle: Bundle, scores: NDArray[np.generic]) -> Uncertainty:
    """Return what is known of the scores of a case."""
    if sureness.conformal is None:
        return Uncertainty(None, None)
    numbers: list[float] = scores.tolist()
    if isinstance(sureness.conformal, ConformalRegressor):
        return Uncertainty(None, sureness.conformal.predict(numbers[bundle.positive_score]))
    frequencies = sureness.frequencies
    return Uncertainty(
        None if frequencies is None else frequencies.of(numbers[bundle.positive_score]),
        sureness.conformal.predict(_per_class(bundle, numbers)),
    )


def uncertainty_body(sureness: Sureness, known: Uncertainty) -> dict[str, object]:
    """Return what is known of a score, as the API says it."""
    frequency, predicted = known
    if predicted is None or _has_no_end(predicted):
        return {
            "status": "not_available",
            "reason": "the bundle has no calibration sample" if predicted is None else TOO_FEW,
            "similar_cases": None,
            "prediction_set": None,
            "prediction_interval": None,
        }
    prediction_set = prediction_interval = None
    if isinstance(predicted, PredictionInterval):
        prediction_interval = {
            "low": predicted.low,
            "high": predicted.high,
            "coverage": predicted.coverage,
            "calibration_rows": predicted.calibration_rows,
        }
    else:
        prediction_set = {
            "classes": [sureness.classes[place] for place in predicted.classes],
            "coverage": predicted.coverage,
            "calibration_rows": predicted.calibration_rows,
        }
    similar = None
    if frequency is not None:
        similar = {
            "wording": frequency.wording,
            "cases": frequency.cases,
            "positives": frequency.positives,
            "lowest_score": frequency.lowest_score,
            "highest_score": frequency.highest_score,
            "interval": list(frequency.interval),
        }
    return {
        "status": "available",
        "reason": None,
        "similar_cases": similar,
        "prediction_set": prediction_set,
        "prediction_interval": prediction_interval,
    }


def _has_no_end(predicted: PredictionSet | PredictionInterval) -> bool:
    return isinstance(predicted, PredictionInterval) and not isfinite(predicted.low)


def familiarity_body(found: Familiarity) -> dict[str, object]:
    """Return how the case compares with the background, as the API says it."""
    return {
        "unfamiliar": found.is_unfamiliar,
        "fields": [
            {"field": novelty.field, "kind": novelty.kind, "far": novelty.is_far}
            for novelty in found.novelties
        ],
        "distance": found.distance,
        "rarity": found.rarity,
        "background_rows": found.background_rows,
    }


def _per_class(bundle: Bundle, scores: list[float]) -> list[float]:
    """Return a score for each class of the card.

    A graph with a single probability says it of the positive class; the other class has the rest.
    """
    if bundle.session.n_scores > 1:
        return scores
    positive = scores[0]
    pair = [1 - positive, positive]
    return pair if bundle.card.output.positive_index == 1 else pair[::-1]
