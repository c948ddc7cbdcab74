"""A letter as a PDF, in a typeface that has the Welsh letters and is embedded in the file."""

from io import BytesIO
from xml.sax.saxutils import escape

from font_roboto import Roboto
from reportlab.lib.enums import TA_LEFT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Paragraph, SimpleDocTemplate

_FONT = "Roboto"
_STYLE = ParagraphStyle(
    "letter", fontName=_FONT, fontSize=12, leading=17, spaceAfter=10, alignment=TA_LEFT
)
_TITLES = {"en": "Letter", "cy": "Llythyr"}


def letter_pdf(text: str, *, language: str) -> bytes:
    """Return the letter's text as a PDF of A4 pages; a blank line begins a paragraph.

    The same text gives the same bytes: no time or identifier of the making is in them.
    """
    if _FONT not in pdfmetrics.getRegisteredFontNames():
        pdfmetrics.registerFont(TTFont(_FONT, Roboto))
    made = BytesIO()
    document = SimpleDocTemplate(
        made,
        pagesize=A4,
        leftMargin=25 * mm,
        rightMargin=25 * mm,
        topMargin=25 * mm,
        bottomMargin=25 * mm,
        title=_TITLES[language],
        displayDocTitle=True,
        lang=language,
        invariant=1,
    )
    document.build(
        [
            Paragraph(escape(part).replace("\n", "<br/>"), _STYLE)
            for part in text.split("\n\n")
            if part.strip()
        ]
    )
    return made.getvalue()
