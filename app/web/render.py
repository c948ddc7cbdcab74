"""Templates made into pages: everything in them is escaped, and an unknown name is an error."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def with_code(text: str) -> Markup:
    """Return the text escaped, with what stands between backticks marked as code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )


_environment.filters["with_code"] = with_code


def render(template: str, **context: object) -> str:
    """Return the page that ``template`` makes of ``context``."""
    return _environment.get_template(template).render(**context)
