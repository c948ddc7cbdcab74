"""Pages from templates: a view says all that a template may use, and everything shown is escaped."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import (
    ChainableUndefined,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PackageLoader,
    PrefixLoader,
)
from markupsafe import Markup, escape

from app.web.case_words import short_reference
from app.web.chrome import chrome_of
from app.web.language import Language, Texts, language_of, texts_in
from app.web.navigation import Link
from app.words import unbroken

TEMPLATES = Path(__file__).parent / "templates"


class View(Protocol):
    """What one page shows: a frozen dataclass whose fields are all that its template may use.

    Beside them every template has ``page``, which is what surrounds the content, and ``_``.
    """

    template: ClassVar[str]
    """The file under ``templates``."""
    __dataclass_fields__: ClassVar[dict[str, Any]]


def page(request: Request, view: View, *, status: int = 200) -> HTMLResponse:
    """Return a view as a page in the reader's language."""
    language = language_of(request)
    template = environment(language).get_template(view.template)
    text = template.render(page=chrome_of(request, language), **context_of(view))
    return HTMLResponse(text, status_code=status, headers={"Content-Language": language.value})


def context_of(view: View) -> Mapping[str, object]:
    """Return a view's fields by name."""
    return {field.name: getattr(view, field.name) for field in fields(view)}


@cache
def environment(language: Language) -> Environment:
    """Return the templates of a language."""
    # GOV.UK's macros look into parameters that were not given. That our own templates name nothing
    # that is not there is what tests/app/test_templates.py checks.
    made = Environment(
        loader=ChoiceLoader(
            [
                FileSystemLoader(TEMPLATES),
                PrefixLoader({"govuk_frontend_jinja": PackageLoader("govuk_frontend_jinja")}),
            ]
        ),
        autoescape=True,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    texts = texts_in(language)
    made.install_gettext_callables(  # type: ignore[attr-defined]  # the extension adds it
        texts.gettext, texts.ngettext, newstyle=True
    )
    made.filters["with_code"] = with_code
    made.filters["unbroken"] = unbroken
    made.filters["short_reference"] = short_reference
    made.globals["navigation_items"] = navigation_items
    made.globals["error_list"] = error_list
    made.globals["error_message"] = partial(error_message, texts)
    return made


def navigation_items(links: Sequence[Link]) -> list[dict[str, object]]:
    """Return links as GOV.UK's navigation takes them."""
    return [{"text": link.text, "href": link.address, "current": link.is_current} for link in links]


def error_list(errors: Mapping[str, str]) -> list[dict[str, str]]:
    """Return a form's errors as GOV.UK's summary takes them, each leading to its field."""
    return [{"text": message, "href": f"#{field}"} for field, message in errors.items()]


def error_message(texts: Texts, message: str | None, **attributes: str) -> dict[str, object] | None:
    """Return what is wrong with a field as GOV.UK's components take it; None where nothing is.

    Their own word before it, for those who do not see its colour, would be English on every page.
    """
    if not message:  # None, or what a template meets in place of a message that is not there
        return None
    _ = texts.gettext
    word = _("Error")
    return {"text": message, "visuallyHiddenText": word, "attributes": attributes}


def with_code(text: str) -> Markup:
    """Return the text escaped, with what stands between backticks marked as code."""
    parts = text.split("`")
    return Markup("").join(
        Markup('<code class="app-code">{}</code>').format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )
