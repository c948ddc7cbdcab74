"""A field and its value as words in the middle of a sentence.

What depends on the field alone is settled once: an answer has a dozen of these phrases.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import TypeGuard

from models.card import Field, Value

Phraser = Callable[[Value], str]
LEAST_WRITTEN_OUT = 1e-9
"""Smaller numbers have their first digits and a power of ten."""
MOST_WRITTEN_OUT = 1e15
"""And so have larger ones."""


def phraser(field: Field, *, exact: bool = False) -> Phraser:
    """Return what makes the words for this field having a value; None is a missing value.

    ``value_wording`` wins; otherwise ``{value}`` in ``wording`` is replaced, and a wording without
    it is followed by the value.
    """
    whole = field.value_wording
    shown = formatter(field, exact=exact)
    before, found, after = field.wording.partition("{value}")
    repeated = "{value}" in after
    if not found:
        before += ": "
    if not whole and not repeated:
        return lambda value: f"{before}{shown(value)}{after}"

    def words(value: Value) -> str:
        if whole:
            key = _key(value)
            if key in whole:
                return whole[key]
        text = shown(value)
        rest = after.replace("{value}", text) if repeated else after
        return f"{before}{text}{rest}"

    return words


def formatter(field: Field, *, exact: bool = False) -> Phraser:
    """Return what writes a value with its unit as a person does: ``£90 a week``, ``1 month``.

    ``exact``: a number with all its digits, where rounding would make it another one.
    """
    number_of = _exact_number if exact else _number
    unit, one = field.unit, field.unit_one
    is_code = bool(field.categories)  # 2019 is then a name and not an amount
    before, after = "", ""
    if unit is not None and unit.startswith("£"):
        before, after = "£", unit[1:]
    elif unit is not None:
        after = f"{'' if unit == '%' else ' '}{unit}"

    def shown(value: Value) -> str:
        if isinstance(value, str):
            return value
        if value is None:
            return "not known"
        if value is True or value is False:
            return "yes" if value else "no"
        number = str(value) if is_code else number_of(value)
        if number == "1" and one is not None:
            return f"1 {one}"
        if before and number[0] == "-":
            return f"-{before}{number[1:]}{after}"
        return f"{before}{number}{after}"

    return shown


def phrase(field: Field, value: Value, *, exact: bool = False) -> str:
    """Return the words for this field having this value, as ``phraser`` makes them."""
    return phraser(field, exact=exact)(value)


def format_value(field: Field, value: Value, *, exact: bool = False) -> str:
    """Return a value with its unit, as ``formatter`` writes it."""
    return formatter(field, exact=exact)(value)


def needs_all_digits(before: Value, after: Value) -> bool:
    """Return whether a number, rounded, would not stand on its own side of the exact ``after``."""
    if not (_is_number(before) and _is_number(after)):
        return False
    rounded = float(_number(before).replace(",", ""))
    return (rounded < after) != (before < after) or (rounded > after) != (before > after)


def _is_number(value: Value) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _exact_number(value: float) -> str:
    text = _number(value)
    if float(text.replace(",", "")) == value:
        return text
    exact = repr(float(value))
    return f"{Decimal(exact):,f}" if LEAST_WRITTEN_OUT <= abs(value) < MOST_WRITTEN_OUT else exact


def _key(value: Value) -> str:
    if value is None:
        return "missing"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: float) -> str:
    """Write whole numbers whole, others to at most two decimals, and never a small number as 0."""
    size = abs(value)
    if size >= MOST_WRITTEN_OUT:
        return f"{value:.3g}"
    if value % 1 == 0:
        return f"{int(value):,}"
    if size >= 0.01:
        return f"{value:,.2f}"
    text = f"{value:.3g}"
    return f"{Decimal(text):f}" if size >= LEAST_WRITTEN_OUT else text
