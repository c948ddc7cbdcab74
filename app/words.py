"""Reasons in plain words: what a caseworker reads beside the numbers.

Sentences say which way a field moved the estimate and by how much of a percentage point. They
never show log-odds, and never claim that a field *caused* anything in the world.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain import Advice, Reason
from models.wording import phrase

MOST_REASONS = 7
"""People stop reading beyond about seven factors; the rest are named together."""

MOST_STRONGEST = 3
LEAST_SHOWN = 0.001
"""Changes below a tenth of a percentage point are not given a figure of their own."""


def percent(probability: float) -> str:
    """Return a probability as a whole percentage, without claiming certainty at either end."""
    whole = round(probability * 100)
    if whole == 0 and probability > 0:
        return "less than 1%"
    if whole == 100 and probability < 1:  # a percentage
        return "more than 99%"
    return f"{whole}%"


def points(change: float) -> str:
    """Return a change of probability in percentage points, unsigned."""
    size = abs(change) * 100
    if abs(change) < LEAST_SHOWN:
        return "less than 0.1 points"
    rounded = f"{size:.1f}".removesuffix(".0")
    return f"{rounded} point" if rounded == "1" else f"{rounded} points"


@dataclass(frozen=True, slots=True)
class Told:
    """An explanation's reasons in words, strongest first."""

    supporting: list[str]
    """For the outcome."""
    opposing: list[str]
    """Against it."""
    strongest: list[str]
    """The three strongest, whichever side they are on."""


def tell(reasons: Sequence[Reason]) -> Told:
    """Return the reasons in words.

    At most MOST_REASONS fields are named; the rest are summed in one line on each side.
    """
    ranked = rank(reasons)
    named, rest = ranked[:MOST_REASONS], ranked[MOST_REASONS:]
    sentences = [sentence(reason) for reason in named]
    sides: dict[bool, list[str]] = {True: [], False: []}
    for supports, lines in sides.items():
        lines += [
            text
            for text, reason in zip(sentences, named, strict=True)
            if reason.supports is supports
        ]
        others = [reason for reason in rest if reason.supports is supports]
        if others:
            lines.append(_together(others))
    return Told(sides[True], sides[False], sentences[:MOST_STRONGEST])


def sentence(reason: Reason) -> str:
    """Return one field's part as a sentence."""
    words = phrase(reason.field, reason.value) or reason.field.label  # a text may be empty
    subject = words[0].upper() + words[1:]
    if reason.contrast is not None:
        return f"{subject} {_side(reason)}."
    direction = "raised" if reason.contribution > 0 else "lowered"
    if reason.probability_change is None:
        return f"{subject} {direction} the estimate by {abs(reason.contribution):.3g}."
    return f"{subject} {direction} the estimate by {points(reason.probability_change)}."


def rank(reasons: Sequence[Reason]) -> list[Reason]:
    """Return the reasons that made a difference, largest first; ties keep the card's order."""
    return sorted(
        (reason for reason in reasons if reason.supports is not None),
        key=lambda reason: abs(reason.contribution),
        reverse=True,
    )


def summary(advice: Advice, *, is_probability: bool, base_probability: float | None) -> str:
    """Return the recommendation and its estimate in two or three sentences."""
    if is_probability and base_probability is None:
        estimate = f"Its estimate for this case is {percent(advice.score)}."
    elif base_probability is None:
        estimate = f"Its estimate for this case is {advice.score:,.4g}."
    else:
        estimate = (
            f"Its estimate for this case is {percent(advice.score)}, from a starting point of "
            f"{percent(base_probability)} for comparable cases."
        )
    close = (
        " This is close to the line between two outcomes: a small change could turn it."
        if advice.near_threshold
        else ""
    )
    return f"The model suggests: {advice.label}. {estimate}{close}"


def _together(others: Sequence[Reason]) -> str:
    count = f"{len(others)} other factors together" if len(others) > 1 else "1 other factor"
    if others[0].contrast is not None:
        return f"{count} {_side(others[0])}."
    changes = [reason.probability_change for reason in others]
    direction = "raised" if others[0].contribution > 0 else "lowered"
    if any(change is None for change in changes):
        size = f"{abs(sum(reason.contribution for reason in others)):.3g}"
    else:
        size = points(sum(change for change in changes if change is not None))
    return f"{count} {direction} the estimate by {size}."


def _side(reason: Reason) -> str:
    """Return which of two classes a factor spoke for: odds have no figure that people read."""
    contrast = reason.contrast
    if contrast is None:
        raise ValueError("got no contrast, want a reason that has one")
    sides = (contrast.favoured, contrast.rival)
    spoken_for, other = sides if reason.contribution > 0 else sides[::-1]
    return f"counted for {spoken_for} rather than {other}"
