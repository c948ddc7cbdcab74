"""A signed bar chart of contributions as SVG, drawn on the server.

Bars, never force plots: people read bars better. Direction is told by side, sign and pattern and
not by colour alone, and the same data stands beside it as a table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

ROW_HEIGHT = 52
LABEL_HEIGHT = 20
BAR_WIDTH = 95
VALUE_WIDTH = 100
WIDTH = 2 * BAR_WIDTH + 2 * VALUE_WIDTH
"""Labels stand above their bars, so that the whole chart fits a phone and can still be read."""
LONGEST_LABEL = 48


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
    height = ROW_HEIGHT * len(bars) + 8
    middle = VALUE_WIDTH + BAR_WIDTH
    rows = "".join(
        _row(bar, top=4 + position * ROW_HEIGHT, middle=middle, largest=largest)
        for position, bar in enumerate(bars)
    )
    return (
        f'<svg class="app-bars" role="img" viewBox="0 0 {WIDTH} {height}" '
        f"aria-label={quoteattr(f'{title}. {description}')}>"
        f"{_STRIPES}"
        f'<line class="middle" x1="{middle}" x2="{middle}" y1="0" y2="{height}"/>{rows}</svg>'
    )


def _row(bar: Bar, *, top: int, middle: int, largest: float) -> str:
    length = 0.0 if largest == 0 else abs(bar.size) / largest * BAR_WIDTH
    raises = bar.size > 0
    left = middle if raises else middle - length
    text_x = middle + length + 6 if raises else middle - length - 6
    anchor = "start" if raises else "end"
    bar_top = top + LABEL_HEIGHT
    bar_height = ROW_HEIGHT - LABEL_HEIGHT - 10
    centre = bar_top + bar_height // 2 + 1
    return (
        f'<text class="label" x="0" y="{top + 10}">{escape(_short(bar.label))}</text>'
        f'<rect class="{"raises" if raises else "lowers"}" x="{left:.1f}" y="{bar_top}" '
        f'width="{max(length, 1):.1f}" height="{bar_height}"/>'
        f'<text class="size" x="{text_x:.1f}" y="{centre}" text-anchor="{anchor}">'
        f"{escape(bar.text)}</text>"
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
    height = top + PAIR_HEIGHT * len(pairs)
    second = 16 + 14 * (len(legend[0]) // 2 + 3)
    head = (
        f'<rect class="raises" x="0" y="8" width="12" height="12"/>'
        f'<text class="size" x="18" y="15">{escape(legend[0])}</text>'
        f'<rect class="lowers" x="{second}" y="8" width="12" height="12"/>'
        f'<text class="size" x="{second + 18}" y="15">{escape(legend[1])}</text>'
    )
    rows = "".join(
        _pair(pair, top=top + place * PAIR_HEIGHT, largest=largest)
        for place, pair in enumerate(pairs)
    )
    return (
        f'<svg class="app-bars" role="img" viewBox="0 0 {WIDTH} {height}" '
        f"aria-label={quoteattr(title)}>{_STRIPES}{head}{rows}</svg>"
    )


def _pair(pair: Pair, *, top: int, largest: float) -> str:
    parts = [f'<text class="label" x="0" y="{top + 10}">{escape(_short(pair.label))}</text>']
    for kind, size, text, y in (
        ("raises", pair.first, pair.first_text, top + LABEL_HEIGHT),
        ("lowers", pair.second, pair.second_text, top + LABEL_HEIGHT + 18),
    ):
        length = 0.0 if largest == 0 else size / largest * PAIR_WIDTH
        parts.append(
            f'<rect class="{kind}" x="0" y="{y}" width="{max(length, 1):.1f}" '
            f'height="15"/><text class="size" x="{length + 6:.1f}" y="{y + 8}">'
            f"{escape(text)}</text>"
        )
    return "".join(parts)


def _short(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"


_STRIPES = (
    '<defs><pattern id="stripes" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect class="stripe-ground" width="6" height="6"/>'
    '<rect class="stripe" width="2" height="6"/></pattern></defs>'
)
