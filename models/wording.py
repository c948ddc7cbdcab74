"""A field and its value as words in the middle of a sentence."""

from models.card import Field, Value


def phrase(field: Field, value: Value) -> str:
    """Return the words for this field having this value; None is a missing value.

    ``value_wording`` wins; otherwise ``{value}`` in ``wording`` is replaced, and a wording without
    it is followed by the value.
    """
    key = "missing" if value is None else str(value).lower() if _is_bool(value) else str(value)
    if key in field.value_wording:
        return field.value_wording[key]
    shown = format_value(field, value)
    if "{value}" in field.wording:
        return field.wording.replace("{value}", shown)
    return f"{field.wording}: {shown}"


def format_value(field: Field, value: Value) -> str:
    """Return a value with its unit as a person writes it: ``£90 a week``, ``3 children``, ``yes``."""
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    number = _number(value)
    if field.unit is None:
        return number
    if field.unit.startswith("£"):
        sign, size = ("-", number[1:]) if number.startswith("-") else ("", number)
        return f"{sign}£{size}{field.unit[1:]}"
    return f"{number}{'' if field.unit == '%' else ' '}{field.unit}"


def _number(value: float) -> str:
    """Write whole numbers whole, others to at most two decimals, and never a small number as 0."""
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) < 0.01 or abs(value) >= 1e15:
        return f"{value:.3g}"
    return f"{value:,.2f}"


def _is_bool(value: Value) -> bool:
    return isinstance(value, bool)
