"""The PDF of a letter, as another library reads it: its words, and what a screen reader needs."""

import re
from io import BytesIO

import pytest
from pypdf import PdfReader
from pypdf.generic import ArrayObject, BooleanObject, DictionaryObject

from app.letter_pdf import UnprintableError, letter_pdf

ACCENTED = "âêîôûŵŷáéíóúẃýàèìòùẁỳäëïöüẅÿ"
WELSH = f"abcdefghijklmnopqrstuvwxyz {ACCENTED}"


def read(content: bytes) -> PdfReader:
    """Return the file as the reading library has it."""
    return PdfReader(BytesIO(content), strict=True)


def words_of(content: bytes) -> list[str]:
    """Return the lines of all pages."""
    return [line for page in read(content).pages for line in page.extract_text().splitlines()]


def inside(node: DictionaryObject, *names: str) -> DictionaryObject:
    """Return the dictionary at the end of this path."""
    for name in names:
        found = node[name].get_object()
        assert isinstance(found, DictionaryObject)
        node = found
    return node


def tags_of(node: object) -> list[str]:
    """Return the kinds of a tagged file's elements, in reading order."""
    if isinstance(node, ArrayObject):
        return [tag for each in node for tag in tags_of(each.get_object())]
    if not isinstance(node, DictionaryObject):
        return []
    own = [str(node["/S"])] if "/S" in node else []
    return own + (tags_of(node["/K"].get_object()) if "/K" in node else [])


def test_a_screen_reader_is_told_language_title_and_paragraphs() -> None:
    file = read(letter_pdf("Annwyl berson\n\nUn\nDau\n\n\n\nTri", language="cy"))
    root = file.root_object
    assert str(root["/Lang"]) == "cy"
    assert inside(root, "/MarkInfo")["/Marked"] == BooleanObject(True)
    assert inside(root, "/ViewerPreferences")["/DisplayDocTitle"] == BooleanObject(True)
    assert file.metadata is not None
    assert file.metadata.title == "Llythyr"
    assert file.xmp_metadata is not None
    assert b"<pdfuaid:part>1</pdfuaid:part>" in file.xmp_metadata.stream.get_data()
    assert tags_of(root["/StructTreeRoot"]).count("/P") == 3


@pytest.mark.parametrize("language", ["en", "cy"])
def test_every_welsh_letter_is_printed_and_in_the_embedded_typeface(language: str) -> None:
    made = letter_pdf(f"{WELSH}\n{WELSH.upper()}\n£\N{EN DASH}", language=language)
    assert words_of(made) == [WELSH, WELSH.upper(), "£\N{EN DASH}"]
    fonts = inside(read(made).pages[0], "/Resources", "/Font")
    for name in fonts:
        descendants = inside(fonts, name)["/DescendantFonts"]
        assert isinstance(descendants, ArrayObject)
        (descendant,) = (each.get_object() for each in descendants)
        assert isinstance(descendant, DictionaryObject)
        descriptor = inside(descendant, "/FontDescriptor")
        assert str(descriptor["/FontName"]).endswith("+Roboto-Regular")
        assert "/FontFile2" in descriptor


def test_an_amount_that_is_owed_keeps_its_sign_on_its_line() -> None:
    said = "At the end of the last month, after all that goes out, on the account: -£1,234.50."
    made = letter_pdf("\n\n".join("x" * length + said for length in range(30)), language="en")
    lines = words_of(made)
    assert len(lines) > 40, "some are longer than a line"
    assert not [line for line in lines if line.startswith("£")]


@pytest.mark.parametrize(
    ("word", "fit"),
    [("W" * 50, 46), (f"https://example.org/{'housing-support-' * 9}", 90), ("ŵ" * 500, 60)],
)
def test_a_word_longer_than_a_line_is_printed_to_its_end(word: str, fit: int) -> None:
    lines = words_of(letter_pdf(f"See {word} for more.", language="en"))
    assert word in re.sub(r"[\s\u200b]", "", "".join(lines))
    assert max(map(len, (line.replace("\u200b", "") for line in lines))) <= fit


def test_what_nobody_sees_and_no_pdf_may_have_is_left_out() -> None:
    assert words_of(letter_pdf("\ufeffDear\ufeff person", language="en")) == ["Dear person"]


def test_a_name_in_another_script_is_printed() -> None:
    assert words_of(letter_pdf("Пётр Γιώργος Łódź", language="en")) == ["Пётр Γιώργος Łódź"]


def test_nothing_in_a_letter_is_markup() -> None:
    lines = [
        "= Heading", "- item -- *bold* _light_ `code` $1$ @name <label> [block]",
        '#sys.version #read("/etc/passwd") \\u{41} // a comment /* another */ "quoted" \\',
    ]  # fmt: skip
    assert words_of(letter_pdf("\n".join(lines), language="en")) == lines


def test_the_same_letter_is_the_same_file() -> None:
    once = letter_pdf("Annwyl ŵyr\n\nâ", language="cy")
    assert once == letter_pdf("Annwyl ŵyr\n\nâ", language="cy")
    assert once != letter_pdf("Annwyl ŵyr\n\nâ", language="en")


@pytest.mark.parametrize("character", ["漢", "\0", "\N{GRINNING FACE}"])
def test_what_no_typeface_has_is_refused_by_name(character: str) -> None:
    with pytest.raises(UnprintableError) as refused:
        letter_pdf(f"Dear person\n\nof {character} street", language="en")
    assert refused.value.character == character
