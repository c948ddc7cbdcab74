"""A field and its value as words in the middle of a sentence.

What depends on the field alone is settled once: an answer has a dozen of these phrases.
"""

from collections.abc import Callable
from decimal import Decimal

from models.card import Field, Value

Phraser = Callable[[Value], str]
LEAST_WRITTEN_OUT = 1e-9
"""Smaller numbers have their first digits and a power of ten."""


def phraser(field: Field) -> Phraser:
    """Return what makes the words for this field having a value; None is a missing value.

    ``value_wording`` wins; otherwise ``{value}`` in ``wording`` is replaced, and a wording without
    it is followed by the value.
    """
    whole = field.value_wording
    shown = formatter(field)
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


def formatter(field: Field) -> Phraser:
    """Return what writes a value with its unit as a person does: ``£90 a week``, ``3 children``."""
    unit = field.unit
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
        number = str(value) if is_code else _number(value)
        if before and number[0] == "-":
            return f"-{before}{number[1:]}{after}"
        return f"{before}{number}{after}"

    return shown


def phrase(field: Field, value: Value) -> str:
    """Return the words for this field having this value, as ``phraser`` makes them."""
    return phraser(field)(value)


def format_value(field: Field, value: Value) -> str:
    """Return a value with its unit, as ``formatter`` writes it."""
    return formatter(field)(value)


def _key(value: Value) -> str:
    if value is None:
        return "missing"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: float) -> str:
    """Write whole numbers whole, others to at most two decimals, and never a small number as 0."""
    size = abs(value)
    if size >= 1e15:
        return f"{value:.3g}"
    if value % 1 == 0:
        return f"{int(value):,}"
    if size >= 0.01:
        return f"{value:,.2f}"
    text = f"{value:.3g}"
    return f"{Decimal(text):f}" if size >= LEAST_WRITTEN_OUT else text
