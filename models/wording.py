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
YEARS = (1000, 2999)


def phraser(field: Field, *, exact: bool = False) -> Phraser:
    """Return what makes the words for this field having a value; None is a missing value.

    ``value_wording`` wins; otherwise ``{value}`` in ``wording`` is replaced, and a wording without
    it is followed by the value. A missing value has no place in it, and is told by the field's label.
    """
    whole = field.value_wording
    shown = formatter(field, exact=exact)
    before, found, after = field.wording.partition("{value}")
    repeated = "{value}" in after
    if not found:
        before += ": "
    missing = whole.get("missing", f"no value for {field.label}")
    if not whole and not repeated and not field.may_be_missing:
        return lambda value: f"{before}{shown(value)}{after}"

    def words(value: Value) -> str:
        if value is None:
            return missing
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
    one = field.unit_one
    is_code = bool(field.categories) or _is_year(field)  # 2019 is then a name and not an amount
    before, after = _around(field.unit)

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
        return _between(before, number, after)

    return shown


def with_unit(number: str, unit: str | None) -> str:
    """Return a number as it is written with its unit: ``£90 a week``, ``3 months``."""
    before, after = _around(unit)
    return _between(before, number, after)


def _around(unit: str | None) -> tuple[str, str]:
    if unit is None:
        return "", ""
    if unit.startswith("£"):
        return "£", unit[1:]
    return "", f"{'' if unit == '%' else ' '}{unit}"


def _between(before: str, number: str, after: str) -> str:
    if before and number[0] == "-":
        return f"-{before}{number[1:]}{after}"
    return f"{before}{number}{after}"


def _is_year(field: Field) -> bool:
    """Return whether a whole number can only be a year: of no unit, and within YEARS."""
    first, last = YEARS
    return (
        field.type == "integer"
        and field.unit is None
        and field.minimum is not None
        and field.maximum is not None
        and first <= field.minimum
        and field.maximum <= last
    )


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
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: float) -> str:
    """Write whole numbers whole, others to two decimals, and those below 1 to three digits at least."""
    size = abs(value)
    if size >= MOST_WRITTEN_OUT:
        return f"{value:.3g}"
    if value % 1 == 0:
        return f"{int(value):,}"
    text, digits = f"{value:,.2f}", f"{value:.3g}"
    if size >= 0.9995 or float(text) == float(digits):  # of three digits that is 1
        return text
    text = digits
    return f"{Decimal(text):f}" if size >= LEAST_WRITTEN_OUT else text
