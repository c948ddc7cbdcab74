"""A signed bar chart of contributions as SVG, drawn on the server.

Bars, never force plots: people read bars better. Direction is told by side, sign and pattern and
not by colour alone, and the same data stands beside it as a table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

ROW_HEIGHT = 34
LABEL_WIDTH = 250
BAR_WIDTH = 150
VALUE_WIDTH = 90
WIDTH = LABEL_WIDTH + 2 * BAR_WIDTH + 2 * VALUE_WIDTH
LONGEST_LABEL = 32


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
    middle = LABEL_WIDTH + VALUE_WIDTH + BAR_WIDTH
    rows = "".join(
        _row(bar, top=4 + position * ROW_HEIGHT, middle=middle, largest=largest)
        for position, bar in enumerate(bars)
    )
    return (
        f'<svg class="app-bars" role="img" viewBox="0 0 {WIDTH} {height}" '
        f"aria-label={quoteattr(f'{title}. {description}')}>"
        '<defs><pattern id="stripes" width="6" height="6" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><rect class="stripe-ground" width="6" height="6"/>'
        '<rect class="stripe" width="2" height="6"/></pattern></defs>'
        f"{rows}"
        f'<line class="middle" x1="{middle}" x2="{middle}" y1="0" y2="{height}"/></svg>'
    )


def _row(bar: Bar, *, top: int, middle: int, largest: float) -> str:
    length = 0.0 if largest == 0 else abs(bar.size) / largest * BAR_WIDTH
    raises = bar.size > 0
    left = middle if raises else middle - length
    text_x = middle + length + 6 if raises else middle - length - 6
    anchor = "start" if raises else "end"
    centre = top + ROW_HEIGHT // 2
    label = bar.label if len(bar.label) <= LONGEST_LABEL else bar.label[: LONGEST_LABEL - 1] + "…"
    return (
        f'<text class="label" x="0" y="{centre}">{escape(label)}</text>'
        f'<rect class="{"raises" if raises else "lowers"}" x="{left:.1f}" y="{top + 5}" '
        f'width="{max(length, 1):.1f}" height="{ROW_HEIGHT - 10}"/>'
        f'<text class="size" x="{text_x:.1f}" y="{centre}" text-anchor="{anchor}">'
        f"{escape(bar.text)}</text>"
    )
