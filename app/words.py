"""Reasons in plain words: what a caseworker reads beside the numbers.

Sentences say which way a field moved the estimate and by how much of a percentage point. They
never show log-odds, and never claim that a field *caused* anything in the world.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from math import inf
from typing import NamedTuple

from app.domain import Advice, Contrast
from models.card import Field, Value
from models.wording import phraser, with_unit

MOST_REASONS = 7
"""People stop reading beyond about seven factors; the rest are named together."""

MOST_STRONGEST = 3
LEAST_SHOWN = 0.001
"""Changes below a tenth of a percentage point are not given a figure of their own."""
MOST_WRITTEN_OUT = 1e15
"""Larger numbers have their first digits and a power of ten."""
LEAST_WRITTEN_OUT = 1e-9
"""And so have smaller ones."""
NOTHING = 1e-12
"""What is less than this share of the largest contribution is a rounding of float64, and no factor."""
MOST_DIGITS = 17
"""As many as tell every number apart."""
EVERY_SCORE = (-inf, inf)


def percent(probability: float, *, within: tuple[float, float] = EVERY_SCORE) -> str:
    """Return a probability as a whole percentage, without claiming certainty at either end.

    With as many decimals as put it ``within``, from and below, where the whole one is outside: 5 %
    is not below 0.05.
    """
    whole = round(probability * 100)
    if whole == 0 and probability > 0:
        return "less than 1%"
    if whole == 100 and probability < 1:  # a percentage
        return "more than 99%"
    low, high = within
    text = str(whole)
    for decimals in range(1, MOST_DIGITS):
        if low <= float(f"{text}e-2") < high:
            break
        text = f"{probability * 100:.{decimals}f}"
    return f"{text}%"


def points(change: float) -> str:
    """Return a change of probability in percentage points, unsigned."""
    if abs(change) < LEAST_SHOWN:
        return "less than 0.1 points"
    number = points_number(change)
    return f"{number} point" if number == "1" else f"{number} points"


def points_number(change: float) -> str:
    """Return the number in ``points``, for a page that says the rest in its own language."""
    return f"{abs(change) * 100:.1f}".removesuffix(".0")


def unbroken(text: str) -> str:
    """Return the text with the sign of an amount on the amount's line: £90 is no debt of £90."""
    return text.replace("-£", "-\N{WORD JOINER}£")


def figure(number: float, *, digits: int = 3, within: tuple[float, float] = EVERY_SCORE) -> str:
    """Return a number in the model's own unit to so many digits, and no whole number's digit left out.

    With as many more as put it ``within``, from and below. Powers of ten are left to numbers that
    nobody reads digit by digit.
    """
    low, high = within
    text = _figure(number, digits)
    while digits < MOST_DIGITS and not low <= float(text.replace(",", "")) < high:
        digits += 1
        text = _figure(number, digits)
    return text


def _figure(number: float, digits: int) -> str:
    number += 0.0  # a model's -0.0 is 0: there is no debt of nothing
    size = abs(number)
    if 10**digits - 0.5 <= size < MOST_WRITTEN_OUT:
        return f"{number:,.0f}"
    text = f"{number:,.{digits}g}"
    return f"{Decimal(text):f}" if LEAST_WRITTEN_OUT <= size < 1 else text


class Told(NamedTuple):
    """An explanation's reasons in words, strongest first."""

    supporting: list[str]
    """For the outcome."""
    opposing: list[str]
    """Against it."""
    strongest: list[str]
    """The three strongest, whichever side they are on."""


class Moved(NamedTuple):
    """What each field did to the score, in card order."""

    values: Sequence[Value]
    contributions: Sequence[float]
    """In the explanation's unit."""
    changes: Sequence[float] | None
    """The same in probability; None where the unit has no such rescaling."""
    contrast: Contrast | None
    """The classes they decide between, where they can be told in no other way."""
    supported_by: int
    """+1 when a higher score supports the outcome, -1 when a lower one does."""


class Teller:
    """Tells the reasons of one card's fields; what depends on the card alone is made once."""

    def __init__(self, fields: Sequence[Field], unit: str | None = None) -> None:
        """``unit``: what the model's own numbers are in, where they are no probabilities."""
        self._unit = unit
        self._subjects = tuple(_subject(field) for field in fields)

    def tell(self, moved: Moved) -> Told:
        """Return the reasons in words.

        At most MOST_REASONS fields are named; the rest are summed in one line on each side.
        """
        ranked = rank(moved.contributions)
        contributions = moved.contributions
        sentences: list[str] = []
        up: list[str] = []
        down: list[str] = []
        for place in ranked[:MOST_REASONS]:
            text = self.sentence(moved, place)
            sentences.append(text)
            (up if contributions[place] > 0 else down).append(text)
        if len(ranked) > MOST_REASONS:
            rest = ranked[MOST_REASONS:]
            raising = [place for place in rest if contributions[place] > 0]
            lowering = [place for place in rest if contributions[place] < 0]
            if raising:
                up.append(self._together(moved, raising))
            if lowering:
                down.append(self._together(moved, lowering))
        strongest = sentences[:MOST_STRONGEST]
        return Told(up, down, strongest) if moved.supported_by > 0 else Told(down, up, strongest)

    def sentence(self, moved: Moved, place: int) -> str:
        """Return one field's part as a sentence."""
        subject = self._subjects[place](moved.values[place])
        contribution = moved.contributions[place]
        if moved.contrast is not None:
            return f"{subject} {_side(moved.contrast, contribution)}."
        direction = "raised" if contribution > 0 else "lowered"
        if moved.changes is None:
            return f"{subject} {direction} the estimate by {self._size(contribution)}."
        return f"{subject} {direction} the estimate by {points(moved.changes[place])}."

    def _together(self, moved: Moved, others: Sequence[int]) -> str:
        count = f"{len(others)} other factors together" if len(others) > 1 else "1 other factor"
        first = moved.contributions[others[0]]
        if moved.contrast is not None:
            return f"{count} {_side(moved.contrast, first)}."
        direction = "raised" if first > 0 else "lowered"
        if moved.changes is None:
            size = self._size(sum([moved.contributions[place] for place in others]))
        else:
            size = points(sum([moved.changes[place] for place in others]))
        return f"{count} {direction} the estimate by {size}."

    def _size(self, change: float) -> str:
        """Return a change in the model's own unit, unsigned."""
        number = figure(abs(change))
        # Of a percentage, "by 3%" would be another change.
        return f"{number} points" if self._unit == "%" else with_unit(number, self._unit)


def rank(contributions: Sequence[float]) -> list[int]:
    """Return the places of those that made a difference, largest first; ties keep their order.

    What made one of at most NOTHING made none.
    """
    sizes = [*map(abs, contributions)]
    ordered = sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True)
    while ordered and sizes[ordered[-1]] <= NOTHING * sizes[ordered[0]]:
        ordered.pop()
    return ordered


def summary(
    advice: Advice,
    *,
    is_probability: bool,
    base_probability: float | None,
    unit: str | None = None,
) -> str:
    """Return the recommendation and its estimate in two or three sentences."""
    if is_probability and base_probability is None:
        estimate = f"Its estimate for this case is {percent(advice.score, within=advice.within)}."
    elif base_probability is None:
        number = figure(advice.score, digits=4, within=advice.within)
        estimate = f"Its estimate for this case is {with_unit(number, unit)}."
    else:
        share = percent(advice.score, within=advice.within)
        estimate = (
            f"Its estimate for this case is {share}, from a starting point of "
            f"{percent(base_probability)} for comparable cases."
        )
    close = (
        " This is close to the line between two outcomes: a small change could turn it."
        if advice.near_threshold
        else ""
    )
    return f"The model suggests: {advice.label}. {estimate}{close}"


def _subject(field: Field) -> Callable[[Value], str]:
    """Return what makes the words that a sentence about the field begins with."""
    if field.type in ("number", "integer") and not (field.value_wording or field.may_be_missing):
        first = field.wording[:1]
        if first.strip("{"):  # every phrase begins with it, and is not empty
            return phraser(field.model_copy(update={"wording": first.upper() + field.wording[1:]}))
    words = phraser(field)

    def subject(value: Value) -> str:
        text = words(value) or field.label  # a text may be empty
        return text[0].upper() + text[1:]

    if field.type == "string" or field.type == "boolean":
        # Few values have words of their own, and these are looked up; any other text is a stranger's.
        values: tuple[Value, ...] = (
            (*field.categories, None) if field.categories else (True, False, None)
        )
        known = {value: subject(value) for value in values}
        return lambda value: known[value] if value in known else subject(value)
    return subject


def _side(contrast: Contrast, contribution: float) -> str:
    """Return which of two classes a factor spoke for: odds have no figure that people read."""
    sides = (contrast.favoured, contrast.rival)
    spoken_for, other = sides if contribution > 0 else sides[::-1]
    return f"counted for {spoken_for} rather than {other}"
