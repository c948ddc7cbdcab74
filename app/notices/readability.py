"""How hard a text is to read, by two published formulas that count letters, words and sentences.

English: the automated readability index (Smith and Senter 1967), a school grade; five years more is
the age. Other languages: LIX (Björnsson 1968), average length of a sentence and share of words over
six letters, made for no language in particular and not calibrated for Welsh, whose written *ll*,
*dd* and *ch* are one letter each and count as two here. Neither knows whether a text is clear.
"""

import re
from dataclasses import dataclass
from typing import Literal

from models.translations import CARD_LANGUAGE

LEAST_WORDS = 100
"""Below, both formulas say little: a text is not measured."""
LONG_WORD = 6
SCHOOL_BEGINS_AT = 5

_WORD = re.compile(r"[^\W_]+(?:['\u2019.,-][^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)|\n\s*\n|\n\s*-")

Measure = Literal["reading_age", "lix"]


@dataclass(frozen=True, slots=True)
class Reading:
    """How hard a text is."""

    measure: Measure
    value: float | None
    """Years of age, or the LIX; None for a text too short to measure."""
    limit: int

    @property
    def is_within(self) -> bool:
        """Whether the text is as plain as it has to be, or too short to say."""
        return self.value is None or self.value <= self.limit


def reading_of(text: str, *, language: str, greatest_age: int, greatest_lix: int) -> Reading:
    """Return how hard ``text`` is, and the limit for its language."""
    words = _WORD.findall(text)
    enough = len(words) >= LEAST_WORDS
    # Each heading and each line of a list is read by itself.
    sentences = max(1, sum(bool(_WORD.search(part)) for part in _SENTENCE_END.split(text)))
    if language == CARD_LANGUAGE:
        return Reading(
            "reading_age", reading_age(words, sentences) if enough else None, greatest_age
        )
    return Reading("lix", lix(words, sentences) if enough else None, greatest_lix)


def reading_age(words: list[str], sentences: int) -> float:
    """Return the age, in years, at which most can read so many words in so many sentences."""
    letters = sum(character.isalnum() for word in words for character in word)
    grade = 4.71 * letters / len(words) + 0.5 * len(words) / sentences - 21.43
    return round(max(grade, 0.0) + SCHOOL_BEGINS_AT, 1)


def lix(words: list[str], sentences: int) -> float:
    """Return the LIX: below 30 very easy, 40 a newspaper's easy prose, above 50 hard."""
    long_words = sum(len(word) > LONG_WORD for word in words)
    return round(len(words) / sentences + 100 * long_words / len(words), 1)
