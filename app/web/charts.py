"""A signed bar chart of contributions as SVG, drawn on the server.

Bars, never force plots: people read bars better. Direction is told by side, sign and pattern and
not by colour alone, and the same data stands beside it as a table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from unicodedata import east_asian_width
from xml.sax.saxutils import escape, quoteattr

ROW_HEIGHT = 52
LABEL_HEIGHT = 20
LINE_HEIGHT = 18
WIDTH = 390
"""Labels stand above their bars, so that the whole chart fits a phone and can still be read."""
IN_A_LINE = 48
"""Characters of a label that fit, most of them small letters."""
MOST_LINES = 4
LEAST_BAR, MOST_BAR = 30, 95
"""How long the longest bar is: as long as every figure beside a bar still fits."""
FIGURE_ROOM = WIDTH // 2 - 8
"""What a bar and its figure share, on either side of the middle line."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its label, its signed size and that size in words."""

    label: str
    size: float
    text: str


def signed_bars(bars: Sequence[Bar], *, title: str, description: str) -> str:
    """Return an SVG of horizontal bars to both sides of a middle line, in the order given.

    Every text is escaped; colours and patterns come from the style sheet.
    """
    largest = max((abs(bar.size) for bar in bars), default=0.0)
    shares = [abs(bar.size) / largest if largest else 0.0 for bar in bars]
    fitting = [
        (FIGURE_ROOM - _breadth(bar.text)) / share
        for bar, share in zip(bars, shares, strict=True)
        if share
    ]
    width = max(min([MOST_BAR, *fitting]), LEAST_BAR)
    middle = WIDTH // 2
    top, drawn = 4, []
    for bar, share in zip(bars, shares, strict=True):
        lines = _lines(bar.label)
        drawn.append(_row(bar, lines, top=top, middle=middle, length=share * width))
        top += ROW_HEIGHT + LINE_HEIGHT * (len(lines) - 1)
    rows, height = "".join(drawn), top + 4
    return (
        f'<svg class="app-bars" role="img" viewBox="0 0 {WIDTH} {height}" '
        f"aria-label={quoteattr(f'{title}. {description}')}>"
        f"{_STRIPES}"
        f'<line class="middle" x1="{middle}" x2="{middle}" y1="0" y2="{height}"/>{rows}</svg>'
    )


def _row(bar: Bar, lines: Sequence[str], *, top: int, middle: int, length: float) -> str:
    raises = bar.size > 0
    left = middle if raises else middle - length
    text_x = middle + length + 6 if raises else middle - length - 6
    anchor = "start" if raises else "end"
    bar_top = top + LABEL_HEIGHT + LINE_HEIGHT * (len(lines) - 1)
    bar_height = ROW_HEIGHT - LABEL_HEIGHT - 10
    centre = bar_top + bar_height // 2 + 1
    return (
        f"{_label(lines, top=top)}"
        f'<rect class="{"raises" if raises else "lowers"}" x="{left:.1f}" y="{bar_top}" '
        f'width="{max(length, 1):.1f}" height="{bar_height}"/>'
        f'<text class="size" x="{text_x:.1f}" y="{centre}" text-anchor="{anchor}">'
        f"{escape(_short(bar.text))}</text>"
    )


@dataclass(frozen=True, slots=True)
class Pair:
    """Two figures of one thing, side by side, none below 0, and what is written at each bar."""

    label: str
    first: float
    second: float
    first_text: str
    second_text: str


def counts(label: str, first: int, second: int) -> Pair:
    """Return a pair of counts."""
    return Pair(label, first, second, f"{first:,}", f"{second:,}")


PAIR_HEIGHT = 64
PAIR_WIDTH = 290


def paired_bars(pairs: Sequence[Pair], *, legend: tuple[str, str], title: str) -> str:
    """Return an SVG of two bars for each pair, plain above striped.

    The legend stands at the top. Every text is escaped; colours come from the style sheet.
    """
    largest = max((max(pair.first, pair.second) for pair in pairs), default=0.0)
    top = 34
    second = 16 + 14 * (len(legend[0]) // 2 + 3)
    head = (
        f'<rect class="raises" x="0" y="8" width="12" height="12"/>'
        f'<text class="size" x="18" y="15">{escape(legend[0])}</text>'
        f'<rect class="lowers" x="{second}" y="8" width="12" height="12"/>'
        f'<text class="size" x="{second + 18}" y="15">{escape(legend[1])}</text>'
    )
    drawn = []
    for pair in pairs:
        lines = _lines(pair.label)
        drawn.append(_pair(pair, lines, top=top, largest=largest))
        top += PAIR_HEIGHT + LINE_HEIGHT * (len(lines) - 1)
    rows, height = "".join(drawn), top
    return (
        f'<svg class="app-bars" role="img" viewBox="0 0 {WIDTH} {height}" '
        f"aria-label={quoteattr(title)}>{_STRIPES}{head}{rows}</svg>"
    )


def _pair(pair: Pair, lines: Sequence[str], *, top: int, largest: float) -> str:
    parts = [_label(lines, top=top)]
    bars_top = top + LABEL_HEIGHT + LINE_HEIGHT * (len(lines) - 1)
    for kind, size, text, y in (
        ("raises", pair.first, pair.first_text, bars_top),
        ("lowers", pair.second, pair.second_text, bars_top + 18),
    ):
        length = 0.0 if largest == 0 else size / largest * PAIR_WIDTH
        parts.append(
            f'<rect class="{kind}" x="0" y="{y}" width="{max(length, 1):.1f}" '
            f'height="15"/><text class="size" x="{length + 6:.1f}" y="{y + 8}">'
            f"{escape(text)}</text>"
        )
    return "".join(parts)


def _lines(label: str) -> list[str]:
    """Return a label line by line: two that begin alike are told apart by how they end."""
    wide = sum(1.0 if east_asian_width(each) in "WF" else 0.4 * each.isupper() for each in label)
    fit = int(IN_A_LINE * len(label) / (len(label) + wide)) if label else IN_A_LINE
    return wrap(label, fit, max_lines=MOST_LINES, placeholder="…") or [""]


def _label(lines: Sequence[str], *, top: int) -> str:
    first, *others = map(escape, lines)
    more = "".join(f'<tspan x="0" dy="{LINE_HEIGHT}">{line}</tspan>' for line in others)
    return f'<text class="label" x="0" y="{top + 10}">{first}{more}</text>'


def _breadth(text: str) -> float:
    return sum(7.5 if each.islower() or each.isspace() else 9 for each in text)


def _short(text: str) -> str:
    if _breadth(text) <= FIGURE_ROOM - LEAST_BAR:
        return text
    while _breadth(text) > FIGURE_ROOM - LEAST_BAR - 9:
        text = text[:-1]
    return f"{text}…"


_STRIPES = (
    '<defs><pattern id="stripes" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect class="stripe-ground" width="6" height="6"/>'
    '<rect class="stripe" width="2" height="6"/></pattern></defs>'
)
