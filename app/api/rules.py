"""What a caller is told of a broken rule: pydantic's errors, in JSON's words instead of Python's."""

import re
from collections.abc import Mapping, Sequence

ELSEWHERE = "see the OpenAPI document"
MOST_FAULTS = 20
LONGEST_NAME = 64

_OBJECT, _TEXT = "a JSON object", "a text"
_WHOLE, _NUMBER, _DAY = "a whole number", "a number", "a day such as 2026-11-23"
_WANTED = {
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "dict_type": _OBJECT,
    "list_type": "a JSON array",
    "string_type": _TEXT,
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": "a whole number that is not so large",
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "a finite number",
    "date_type": _DAY,
    "date_parsing": _DAY,
    "date_from_datetime_parsing": _DAY,
    "date_from_datetime_inexact": _DAY,
    "string_too_short": "a text of at least {min_length} characters",
    "string_too_long": "a text of at most {max_length} characters",
    "string_pattern_mismatch": "a text that matches {pattern}",
    "too_short": "at least {min_length} items",
    "too_long": "at most {max_length} items",
    "literal_error": "one of: {expected}",
    "enum": "one of: {expected}",
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number less than {lt}",
    "less_than_equal": "a number of at most {le}",
    "value_error": "{error}",
}
_SAID = {
    "missing": ("Is missing", f"this member or parameter, which is needed: {ELSEWHERE}"),
    "extra_forbidden": (
        "There is no member or parameter of this name",
        f"documented names only: {ELSEWHERE}",
    ),
    "repeated": ("Is given more than once", "the parameter once"),
    "number_too_large": (
        "A number in the body is too large",
        "numbers from -1.7976931348623157e308 to 1.7976931348623157e308",
    ),
}


def faults_of_validation(faults: Sequence[Mapping[str, object]]) -> list[Mapping[str, object]]:
    """Return pydantic's errors as ours: the place and the rule, never the input.

    A place is a path in the body, or a parameter after ``query``, ``path`` or ``header``. Names that a
    stranger made up are part of it, so names and list are kept short.
    """
    listed: list[Mapping[str, object]] = []
    for fault in faults[:MOST_FAULTS]:
        place = fault.get("loc")
        names = [_shown(str(part)) for part in place] if isinstance(place, tuple | list) else []
        message, allowed = told(fault)
        listed.append(
            {
                "field": ".".join(names) or "body",
                "code": str(fault.get("type")),
                "message": message,
                "allowed": allowed,
            }
        )
    return listed


def told(fault: Mapping[str, object]) -> tuple[str, str]:
    """Return what to say of one of pydantic's errors, and what is allowed; never the input."""
    kind = str(fault.get("type"))
    if kind in _SAID:
        return _SAID[kind]
    facts = fault.get("ctx")
    facts = {name: str(fact) for name, fact in facts.items()} if isinstance(facts, Mapping) else {}
    if "expected" in facts:
        facts["expected"] = facts["expected"].replace("'", "")
    try:
        wanted = _WANTED[kind].format_map(facts).removeprefix("want ")
    except KeyError:
        return str(fault.get("msg")), ELSEWHERE
    wanted = re.sub(r"\b1 (character|item)s\b", r"1 \1", wanted)
    return f"Want {wanted}", wanted


def _shown(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name[:LONGEST_NAME])
