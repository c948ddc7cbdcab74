"""What somebody filled in, read from a form, and what is wrong with it in words."""

from collections.abc import Mapping

from fastapi import Request

from app.web.case_view import Form
from app.web.language import Texts

LONGEST = 10_000


async def filled_in(request: Request) -> dict[str, str]:
    """Return a form's fields as text: the last of each name, its line ends as one character."""
    return {
        name: value.replace("\r\n", "\n").strip()
        for name, value in (await request.form()).items()
        if isinstance(value, str) and name != "csrf"
    }


def missing(values: Mapping[str, str], wanted: Mapping[str, str], texts: Texts) -> dict[str, str]:
    """Return a message for each field that is empty or too long. ``wanted``: its message."""
    _ = texts.gettext
    faults = {name: message for name, message in wanted.items() if not values.get(name)}
    for name, value in values.items():
        if len(value) > LONGEST:
            faults[name] = _("Write at most 10,000 characters")
    return faults


def form_of(values: Mapping[str, str], errors: Mapping[str, str]) -> Form:
    """Return the form to show again."""
    return Form(values=values, errors=errors)
