"""English and Welsh: the texts are English in the code, and a catalogue has each of them in Welsh.

One catalogue for each area of the pages; Babel reads them as they are committed. A test fails while a
text has no translation, and prints what to add; it fails as well when one is no longer used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from fastapi import Request

CATALOGUES = Path(__file__).parent / "catalogues"
COOKIE = "grounds-language"


class Language(StrEnum):
    """A language that every page can be read in."""

    ENGLISH = "en"
    WELSH = "cy"

    @property
    def own_name(self) -> str:
        """What its speakers call it."""
        return {"en": "English", "cy": "Cymraeg"}[self.value]


@dataclass(frozen=True, slots=True)
class Texts:
    """The words of one language: ``texts.gettext("...")``, usually called ``_``."""

    language: Language
    translations: NullTranslations

    @property
    def gettext(self) -> Callable[[str], str]:
        """Return a text in this language."""
        return self.translations.gettext

    @property
    def ngettext(self) -> Callable[[str, str, int], str]:
        """Return a text in this language for a number of things."""
        return self.translations.ngettext


@cache
def texts_in(language: Language) -> Texts:
    """Return the texts of a language."""
    if language is Language.ENGLISH:
        return Texts(language, NullTranslations())
    compiled = BytesIO()
    write_mo(compiled, catalogue_of(language))
    compiled.seek(0)
    return Texts(language, GNUTranslations(compiled))


def catalogue_of(language: Language) -> Catalog:
    """Return every text of a language other than English, from the files of all areas."""
    whole = Catalog(locale=language.value)
    for path in sorted((CATALOGUES / language).glob("*.po")):
        with path.open("rb") as source:
            for message in read_po(source, locale=language.value):
                if message.id:
                    whole[message.id] = message
    return whole


def language_of(request: Request) -> Language:
    """Return the language that the reader chose, or English."""
    chosen = request.cookies.get(COOKIE, "")
    return Language(chosen) if chosen in set(Language) else Language.ENGLISH


def texts_of(request: Request) -> Texts:
    """Return the texts in the reader's language."""
    return texts_in(language_of(request))
