"""A letter as a PDF that a screen reader can read: tagged as PDF/UA-1 asks, its typeface embedded."""

import json
from functools import cache
from pathlib import Path

import typst
from font_roboto import Roboto

from app.words import unbroken

_TITLES = {"en": "Letter", "cy": "Llythyr"}
_TEMPLATE = rb"""
#set document(title: sys.inputs.title, date: none)
#set page(paper: "a4", margin: 25mm)
#set text(font: "Roboto", size: 12pt, lang: sys.inputs.language)
#set par(leading: 0.75em, spacing: 1.4em)
#show regex("\\S{40,}"): it => context {
  if measure(it).width > 160mm { it.text.clusters().join(sym.zws) } else { it }
}
#for paragraph in json(bytes(sys.inputs.paragraphs)) {
  par(paragraph.split("\n").join(linebreak()))
}
"""
"""In Typst. What it prints is handed over as data: nothing in a letter is read as markup.

A word longer than a line breaks where the line ends: it ran off the paper.
"""
_BYTE_ORDER_MARK = "\ufeff"
"""Files bring it along, nobody sees it, and PDF/UA-1 forbids it."""


class UnprintableError(ValueError):
    """No typeface at hand has this character."""

    def __init__(self, character: str) -> None:
        super().__init__(f"got {character!r}, want a character that can be printed")
        self.character = character


def letter_pdf(text: str, *, language: str) -> bytes:
    """Return the letter's text as a PDF of A4 pages; a blank line begins a paragraph.

    The same text gives the same bytes: no time or identifier of the making is in them. Raises
    UnprintableError for a character that no typeface at hand has.
    """
    try:
        return _made(text, language)
    except typst.TypstError as err:
        for character in dict.fromkeys(text):
            if not _is_printable(character):
                raise UnprintableError(character) from err
        raise


def _made(text: str, language: str) -> bytes:
    seen = unbroken(text.replace(_BYTE_ORDER_MARK, ""))
    paragraphs = [part.strip("\n") for part in seen.split("\n\n") if part.strip()]
    told = {
        "title": _TITLES[language],
        "language": language,
        "paragraphs": json.dumps(paragraphs),
    }
    compiler = typst.Compiler(_TEMPLATE, font_paths=_fonts(), sys_inputs=told)
    # PDF/UA-1 has what is needed refused where it is missing; a letter is one file.
    made = compiler.compile(format="pdf", pdf_standards="ua-1", timestamp=0)
    if not isinstance(made, bytes):
        raise TypeError(f"got {type(made).__name__} of the typesetter, want bytes")
    return made


def _is_printable(character: str) -> bool:
    try:
        _made(character, "en")
    except typst.TypstError:
        return False
    return True


@cache
def _fonts() -> typst.Fonts:
    """Roboto, which has the Welsh letters, and what the typesetter carries for other scripts.

    None of the machine's own, with which a letter would look, and be, another on each.
    """
    return typst.Fonts(include_system_fonts=False, font_paths=[Path(Roboto).parent])
