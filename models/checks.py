"""One field's check, compiled once from its card entry and run on every case.

A check returns the value to feed the graph, or raises ``FaultFoundError``. What is allowed is decided
by three things: the card's range or categories, JSON's types without coercion (a whole number is
a number, however it is written, and that is all), and what the graph's input type can hold exactly.
"""

import difflib
import math
import re
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from models.card import Field
from models.errors import CardRefusedError, FieldFault

MAX_TEXT = 1_000
"""The longest text accepted where the card allows unknown categories, in characters."""
_REORDERING = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What is no text, or turns the words and figures that follow in a sentence around (UAX #9)."""
MAX_SHOWN = 50
"""How many categories a message lists before it stops."""

Fed = float | int | str | bool
"""A value as the graph is fed it; NaN stands for missing."""

_EXACT_WHOLE = {
    "float32": 2**24,
    "float64": 2**53,
    "int32": 2**31 - 1,
    "int64": 2**63 - 1,
    "bool": 1,
}
_LARGEST = {"float32": 3.4028234663852886e38, "float64": sys.float_info.max}


@dataclass(frozen=True, slots=True)
class Flag:
    """A field whose value was accepted though it is missing, or outside the known categories."""

    field: str
    kind: Literal["missing", "unknown"]


class FaultFoundError(Exception):
    """Carries the one fault of one field to the schema, which collects them."""

    def __init__(self, fault: FieldFault) -> None:
        super().__init__(fault.message)
        self.fault = fault


Check = Callable[[object, list[Flag]], Fed]


def compile_check(field: Field, dtype: str) -> Check:
    """Return the check of ``field`` for a graph input of ``dtype``.

    Raises CardRefusedError when a missing value could not be fed to such an input.
    """
    _check_missing_value(field, dtype)
    if field.type == "number":
        return _number(field, dtype)
    if field.type == "integer":
        return _whole(field, dtype)
    return _text(field) if field.type == "string" else _boolean(field)


def describe_allowed(field: Field) -> str:
    """Return what the field may hold, for a person."""
    null = ", or null" if field.may_be_missing else ""
    if field.type == "boolean":
        return f"true or false{null}"
    if field.categories and field.may_be_unknown:
        return f"text of at most {MAX_TEXT} characters{null}"
    if field.categories:
        shown = ", ".join(map(str, field.categories[:MAX_SHOWN]))
        more = len(field.categories) - MAX_SHOWN
        return f"one of: {shown}{f' and {more} more' if more > 0 else ''}{null}"
    kind = "a whole number" if field.type == "integer" else "a number"
    low, high = (None if x is None else f"{x:,.15g}" for x in (field.minimum, field.maximum))
    span = (
        f" from {low} to {high}"
        if low is not None and high is not None
        else f" of at least {low}"
        if low is not None
        else f" of at most {high}"
        if high is not None
        else ""
    )
    return f"{kind}{span}{f' ({field.unit})' if field.unit else ''}{null}"


def kind_of(value: object) -> str:
    """Return JSON's name for the type of a value."""
    if value is None:
        return "null"
    for types, name in (
        (bool, "boolean"),
        (int, "integer"),
        (float, "number"),
        (str, "string"),
        (list, "array"),
        (dict, "object"),
    ):
        if isinstance(value, types):
            return name
    return "something that is not JSON"


def exact_range(field: Field, dtype: str) -> tuple[float | None, float | None]:
    """Return the least and greatest value certain to be accepted, None where there is no limit.

    The card's limits, and for whole numbers the range in which the graph's input type holds every
    one of them exactly.
    """
    if field.type != "integer":
        return field.minimum, field.maximum
    exact = _EXACT_WHOLE[dtype]
    least = -exact if field.minimum is None else max(int(field.minimum), -exact)
    greatest = exact if field.maximum is None else min(int(field.maximum), exact)
    return least, greatest


def _check_missing_value(field: Field, dtype: str) -> None:
    if not field.may_be_missing:
        return
    stand_in = field.missing_value
    if stand_in is None:
        if not dtype.startswith("float"):
            raise CardRefusedError(
                f"field {field.name!r}",
                got=f"may_be_missing for an input of {dtype}",
                want="missing_value: what the trainer put in place of a missing value",
            )
    elif not isinstance(stand_in, str) and not _survives(stand_in, dtype):
        raise CardRefusedError(
            f"field {field.name!r}", got="missing_value", want=f"a value that {dtype} can hold"
        )


def _number(field: Field, dtype: str) -> Check:
    refuse = _slow_number(field, dtype)
    exact = float(_EXACT_WHOLE[dtype])
    least = -exact if field.minimum is None else max(field.minimum, -exact)
    greatest = exact if field.maximum is None else min(field.maximum, exact)

    def check(value: object, flags: list[Flag]) -> Fed:
        if type(value) is float and least <= value <= greatest:
            return value
        return refuse(value, flags)

    return check


def _whole(field: Field, dtype: str) -> Check:
    refuse = _slow_number(field, dtype)
    if field.categories:
        allowed = frozenset(field.categories)

        def check_category(value: object, flags: list[Flag]) -> Fed:
            if type(value) is int and value in allowed:
                return value
            fed = refuse(value, flags)
            if value is None or fed in allowed:
                return fed
            if not field.may_be_unknown:
                raise FaultFoundError(_unknown_category(field, value))
            flags.append(Flag(field.name, "unknown"))
            return fed

        for category in field.categories:
            if not isinstance(category, str) and not _survives(category, dtype):
                raise CardRefusedError(
                    f"field {field.name!r}", got=f"category {category}", want=_holds(dtype)
                )
        return check_category

    least, greatest = exact_range(field, dtype)

    def check(value: object, flags: list[Flag]) -> Fed:
        if type(value) is int and least <= value <= greatest:  # type: ignore[operator]
            return value
        return refuse(value, flags)

    return check


def _slow_number(field: Field, dtype: str) -> Check:
    """Return the full check of a number, which the quick ones leave their doubts to."""
    null = _null(field)
    whole = field.type == "integer"

    def check(value: object, flags: list[Flag]) -> Fed:
        if value is None:
            return null(flags)
        # As in JSON Schema, 3.0 and 3e0 are the integer 3; beyond, a float is not one number only.
        if whole and type(value) is float and value.is_integer() and abs(value) <= 2**53:
            value = int(value)
        if type(value) is not int and (whole or type(value) is not float):
            raise FaultFoundError(_wrong_type(field, value))
        if isinstance(value, float) and not math.isfinite(value):
            raise FaultFoundError(_fault(field, "not_finite", "is not a finite number", got=value))
        if field.minimum is not None and value < field.minimum:
            message = f"is below the minimum, {field.minimum:,.15g}"
            raise FaultFoundError(_fault(field, "below_minimum", message, got=value))
        if field.maximum is not None and value > field.maximum:
            message = f"is above the maximum, {field.maximum:,.15g}"
            raise FaultFoundError(_fault(field, "above_maximum", message, got=value))
        if not _survives(value, dtype):
            message = f"cannot be held exactly by the model; want {_holds(dtype)}"
            raise FaultFoundError(_fault(field, "not_representable", message, got=value))
        return value if whole else float(value)

    return check


def _text(field: Field) -> Check:
    null = _null(field)
    allowed = frozenset(field.categories)
    unknown = Flag(field.name, "unknown")

    def check(value: object, flags: list[Flag]) -> Fed:
        if type(value) is str and value in allowed:
            return value
        if value is None:
            return null(flags)
        if type(value) is not str:
            raise FaultFoundError(_wrong_type(field, value))
        if not field.may_be_unknown:
            raise FaultFoundError(_unknown_category(field, value))
        if len(value) > MAX_TEXT or not _is_unicode(value):
            message = f"want valid Unicode text of at most {MAX_TEXT} characters"
            raise FaultFoundError(_fault(field, "not_representable", message, got=value))
        if _REORDERING.search(value):
            message = "want text without control characters or marks that turn its direction"
            raise FaultFoundError(_fault(field, "not_representable", message, got=value))
        flags.append(unknown)
        return value

    return check


def _boolean(field: Field) -> Check:
    null = _null(field)

    def check(value: object, flags: list[Flag]) -> Fed:
        if value is True or value is False:
            return value
        if value is None:
            return null(flags)
        raise FaultFoundError(_wrong_type(field, value))

    return check


def _null(field: Field) -> Callable[[list[Flag]], Fed]:
    stand_in: Fed = math.nan if field.missing_value is None else field.missing_value
    missing = Flag(field.name, "missing")

    def fill(flags: list[Flag]) -> Fed:
        if not field.may_be_missing:
            raise FaultFoundError(_fault(field, "null_not_allowed", "may not be missing", got=None))
        flags.append(missing)
        return stand_in

    return fill


def _survives(value: float, dtype: str) -> bool:
    """Say whether the graph's type holds the value.

    Whole numbers must be held exactly, and so must all that lie beyond the range where every
    whole number is; other fractions are rounded to the nearest, as the trainer's own were.
    """
    if dtype not in _LARGEST:
        return isinstance(value, int) and -_EXACT_WHOLE[dtype] - 1 <= value <= _EXACT_WHOLE[dtype]
    if not -_LARGEST[dtype] <= value <= _LARGEST[dtype]:
        return False
    as_double = float(value)
    if as_double != value:
        return False
    if abs(value) > _EXACT_WHOLE[dtype]:
        kind = "f" if dtype == "float32" else "d"
        return bool(struct.unpack(kind, struct.pack(kind, as_double))[0] == value)
    return True


def _holds(dtype: str) -> str:
    exact = _EXACT_WHOLE[dtype]
    return (
        f"a value that {dtype} holds exactly: "
        f"every whole number from {-exact:,} to {exact:,} is allowed"
    )


def _is_unicode(text: str) -> bool:
    """Say whether the text has no lone surrogates, which no UTF-8 can carry."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _wrong_type(field: Field, value: object) -> FieldFault:
    message = f"is of the wrong type: got {kind_of(value)}; want {describe_allowed(field)}"
    return _fault(field, "wrong_type", message, got=value)


def _unknown_category(field: Field, value: object) -> FieldFault:
    close: list[str] = []
    # The search for a near miss compares with every category: keep what a stranger can make it do.
    if isinstance(value, str) and len(value) <= 100 and len(field.categories) <= 200:
        close = difflib.get_close_matches(value, map(str, field.categories), n=1)
    hint = f"; did you mean {close[0]!r}?" if close else f"; want {describe_allowed(field)}"
    message = f"is not one of the {len(field.categories)} categories{hint}"
    return _fault(field, "unknown_category", message, got=value)


def _fault(field: Field, code: str, message: str, *, got: object) -> FieldFault:
    return FieldFault(
        field=field.name,
        code=code,
        message=f"{field.name} {message}",
        got_kind=kind_of(got),
        allowed=describe_allowed(field),
    )
