"""A card's fields in another language: every word that a person affected may read, or none of it.

Cards are written in English. ``translations`` says title and fields again in other languages, in the
words of whoever the body had translate them; nothing here translates. A translation that leaves
something out is refused, so that no letter mixes two languages.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, TypeAlias

import pydantic
from pydantic import StringConstraints

from models.card_sections import Part, Text

CARD_LANGUAGE = "en"
Language: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]
"""An ISO 639 code, such as ``cy`` for Welsh."""

_UNITS_OF_ALL_LANGUAGES = frozenset({"£", "€", "$", "%"})


class FieldWords(Part):
    """One field in another language."""

    label: Text
    wording: Text
    unit: Text | None = None
    unit_one: Text | None = None
    value_wording: dict[str, Text] = pydantic.Field(default_factory=dict)


class CardWords(Part):
    """A card in another language: what a letter to the person affected says of the model."""

    title: Text
    fields: dict[str, FieldWords]


def gaps(
    words: CardWords,
    fields: Mapping[str, tuple[str | None, frozenset[str]]],
) -> Iterator[str]:
    """Yield what a translation leaves out, or says of no field.

    ``fields`` has, by name, the unit and the values that a person reads as words.
    """
    yield from (f"field {name!r} is not the card's" for name in words.fields.keys() - fields.keys())
    for name, (unit, values) in fields.items():
        said = words.fields.get(name)
        if said is None:
            yield f"field {name!r}"
            continue
        if unit is not None and unit not in _UNITS_OF_ALL_LANGUAGES and said.unit is None:
            yield f"unit of field {name!r}"
        yield from (
            f"value {value!r} of field {name!r}"
            for value in sorted(values - said.value_wording.keys())
        )
