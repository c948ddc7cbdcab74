"""No protected attribute is a field: not by its name, not by its label, not by its values.

A name counts when nothing else is said in it: ``applicant_age`` is a person's age, ``age_of_roof`` is
not, and is only pointed out. Values count whatever the field is called: a field whose categories are
*male* and *female* is sex.
"""

import re
from collections.abc import Sequence

from models.card import Card, Field
from models.errors import CardRefusedError
from models.profile import Attribute, Profile, vocabulary

_FEWEST_VALUES = 2


def check_fields(card: Card, profile: Profile) -> None:
    """Raise CardRefusedError naming the first field that is a protected attribute."""
    for field in card.fields:
        for attribute in _protected(profile):
            why = _identity(field, attribute)
            if why is not None:
                raise CardRefusedError(
                    f"field {field.name!r}",
                    got=f"{attribute.title}, {why}",
                    want="no protected attribute among the fields of a model "
                    f"({profile.title}: {profile.protected.source})",
                )


def resembling(card: Card, profile: Profile) -> list[tuple[Field, Attribute]]:
    """Return the fields whose name or label holds a protected attribute's among other words."""
    return [
        (field, attribute)
        for field in card.fields
        for attribute in _protected(profile)
        if _identity(field, attribute) is None and _resembles(field, attribute)
    ]


def _protected(profile: Profile) -> list[Attribute]:
    return [each for each in vocabulary().attributes if each.id in profile.protected.attributes]


def _identity(field: Field, attribute: Attribute) -> str | None:
    """Return why the field is this attribute, None when it is not."""
    around = {word for phrase in vocabulary().about_the_person for word in phrase.split()}
    names = [name.split() for name in attribute.names]
    for told, text in (("name", field.name), ("label", field.label)):
        words = _words(text)
        for name in names:
            rest = _without(words, name)
            if rest is not None and not set(rest) - around:
                return f"by its {told}"
    values = {" ".join(_words(str(category))) for category in field.categories}
    telling = values - set(vocabulary().neutral_values)
    if len(telling) >= _FEWEST_VALUES and telling <= set(attribute.values):
        return "by its values"
    return None


def _resembles(field: Field, attribute: Attribute) -> bool:
    return any(
        _without(_words(text), name.split()) is not None
        for text in (field.name, field.label)
        for name in attribute.names
    )


def _without(words: Sequence[str], phrase: Sequence[str]) -> list[str] | None:
    """Return the words that are left when the phrase is taken out, None when it is not in them."""
    size = len(phrase)
    for start in range(len(words) - size + 1):
        if list(words[start : start + size]) == list(phrase):
            return [*words[:start], *words[start + size :]]
    return None


def _words(text: str) -> list[str]:
    """Return the words of a name as people or programs write it: ``DateOfBirth``, ``date_of_birth``."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return re.findall(r"[^\W\d_]+", spaced.lower())
