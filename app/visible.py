"""Whether a text says anything: a reason of spaces and characters that nobody sees is none."""

import unicodedata

from pydantic import AfterValidator

VISIBLE = "At least one character that can be seen."
"""What the API's document says of such a text."""
BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and a symbol by their category, and yet a font draws nothing: Hangul fillers, and braille
without a dot."""


def is_visible(text: str) -> bool:
    """Return whether a reader sees anything: a letter, a digit, a sign, and not only what goes with one.

    By Unicode category: no separator, no control or format character, no mark that stands alone.
    """
    return any(unicodedata.category(each)[0] not in "CMZ" and each not in BLANK for each in text)


def _check_visible(text: str) -> str:
    if not is_visible(text):
        raise ValueError("want text that can be seen, not only spaces and invisible characters")
    return text


VISIBLY = AfterValidator(_check_visible)
"""Of what somebody wrote to be read by others: after its bounds, so that they speak of characters."""
