"""What somebody filled in, read from a form, and what is wrong with it in words."""

import re
from collections.abc import Mapping

from fastapi import Request

from app.visible import is_visible
from app.web.case_view import Form
from app.web.language import Texts

LONGEST = 10_000
_NUMBER = re.compile(
    r"(?P<sign>-?)£?\s*(?P<whole>\d+|[1-9]\d{0,2}(?:,\d{3})+)(?P<part>\.\d+)?", re.ASCII
).fullmatch


async def filled_in(request: Request) -> dict[str, str]:
    """Return a form's fields as text: the last of each name, its line ends as one character."""
    return {
        name: value.replace("\r\n", "\n").strip()
        for name, value in (await request.form()).items()
        if isinstance(value, str) and name != "csrf"
    }


def missing(values: Mapping[str, str], wanted: Mapping[str, str], texts: Texts) -> dict[str, str]:
    """Return a message for each field that says nothing or is too long. ``wanted``: its message."""
    _ = texts.gettext
    faults = {
        name: message for name, message in wanted.items() if not is_visible(values.get(name, ""))
    }
    for name, value in values.items():
        if len(value) > LONGEST:
            faults[name] = _("Write at most 10,000 characters")
    return faults


def plain_number(text: str) -> str:
    """Return a number as Python reads it. Raises ValueError.

    A comma stands between thousands and nowhere else: whoever writes 50,5 may mean 50.5, and
    nobody means 505.
    """
    found = _NUMBER(re.sub(r"^£\s*-", "-£", text.strip()))
    if found is None:
        raise ValueError("want a number, with commas between thousands only")
    return found["sign"] + found["whole"].replace(",", "") + (found["part"] or "")


def form_of(values: Mapping[str, str], errors: Mapping[str, str]) -> Form:
    """Return the form to show again."""
    return Form(values=values, errors=errors)
