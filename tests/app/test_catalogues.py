"""Every text of the pages is there in Welsh, and nothing else is."""

import re
from pathlib import Path

import pytest
from babel.messages.catalog import Message
from babel.messages.extract import extract_from_dir

import app.web
from app.web.language import CATALOGUES, Language, catalogue_of, texts_in

WEB = Path(app.web.__file__).parent
METHODS = [("**.py", "python"), ("templates/**.html", "jinja2.ext.babel_extract")]
OPTIONS = {"templates/**.html": {"trim_blocks": "true", "silent": "false"}}
PLACES = re.compile(r"%\(\w+\)[sd]|\{\w*\}|%%")


def texts() -> set[str | tuple[str, ...]]:
    """Return every text that code and templates ask for in the reader's language."""
    found = extract_from_dir(
        WEB,
        method_map=METHODS,
        options_map=OPTIONS,
        keywords={"_": None, "gettext": None, "ngettext": (1, 2)},
    )
    return {message for _, _, message, _, _ in found}


def strings_of(message: Message) -> list[str]:
    """Return a message's translations: one, or one for each kind of number."""
    if isinstance(message.string, str):
        return [message.string]
    return list(message.string or [""])


def test_there_are_texts() -> None:
    assert len(texts()) > 80


def test_every_text_is_there_in_welsh() -> None:
    catalogue = catalogue_of(Language.WELSH)
    translated = {
        message.id if isinstance(message.id, str) else tuple(message.id)
        for message in catalogue
        if message.id and all(strings_of(message))
    }
    missing = sorted(map(str, texts() - translated))
    assert not missing, "add to app/web/catalogues/cy/AREA.po:\n" + "\n".join(
        f'msgid "{text}"\nmsgstr ""\n' for text in missing
    )
    assert sorted(map(str, translated - texts())) == [], "no longer used: delete them"


def test_no_text_is_in_two_catalogues() -> None:
    seen: list[str] = []
    for path in sorted((CATALOGUES / "cy").glob("*.po")):
        seen += re.findall(r'^msgid "(.+)"$', path.read_text(), re.MULTILINE)
    assert sorted(seen) == sorted(set(seen))


def test_a_translation_has_the_same_places_to_fill_in() -> None:
    for message in catalogue_of(Language.WELSH):
        if not message.id:
            continue
        ids = [message.id] if isinstance(message.id, str) else list(message.id)
        for string in strings_of(message):
            assert sorted(PLACES.findall(string)) == sorted(PLACES.findall(ids[-1])), ids


def test_every_text_of_a_template_can_be_filled_in() -> None:
    """Templates fill in each text, whether it has places or not: a lone per cent sign is an error."""
    found = extract_from_dir(
        WEB,
        method_map=METHODS[1:],
        options_map=OPTIONS,
        keywords={"_": None, "gettext": None, "ngettext": (1, 2)},
    )
    said = {message for _, _, message, _, _ in found}
    originals = {each for text in said for each in ([text] if isinstance(text, str) else text)}
    translated = {
        string
        for message in catalogue_of(Language.WELSH)
        if message.id in originals or (isinstance(message.id, tuple) and message.id[0] in originals)
        for string in strings_of(message)
    }
    assert len(originals) > 80
    for text in originals | translated:
        places = dict.fromkeys(re.findall(r"%\((\w+)\)", text), 1)
        assert text % places


@pytest.mark.parametrize("text", ["Sign in", "Page not found"])
def test_welsh_is_not_english(text: str) -> None:
    assert texts_in(Language.ENGLISH).gettext(text) == text
    assert texts_in(Language.WELSH).gettext(text) != text
