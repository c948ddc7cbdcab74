"""A country's rules as data: what has to be known of a model, from when, and what no field may be.

The files are in ``profiles/``. They say for each obligation where it comes from, since when it
applies and how sure we are of it; none of it is legal advice. Code knows only how to look whether a
fact is there (``coverage``) and whether a field is a protected attribute (``forbidden``).
"""

from functools import cache
from importlib.resources import files
from typing import Annotated, Literal, get_args

import pydantic

from models.card_sections import Day, Part, Text
from models.plain_yaml import parse_plain

ProfileName = Literal["uk", "eu", "ca"]
PROFILES: tuple[ProfileName, ...] = get_args(ProfileName)
Share = Annotated[float, pydantic.Field(ge=0, le=1)]


class Attribute(Part):
    """A protected attribute, and how a field gives it away."""

    id: str
    title: Text
    names: tuple[str, ...]
    values: tuple[str, ...]


class Vocabulary(Part):
    """How protected attributes are called, in any country."""

    attributes: tuple[Attribute, ...]
    about_the_person: tuple[str, ...]
    """Words around a name that change nothing."""
    neutral_values: tuple[str, ...]


class Protected(Part):
    """Which attributes this country protects."""

    source: Text
    attributes: tuple[str, ...]


class ProxyLimits(Part):
    """From which strength on a field or all fields together are shown as standing in."""

    auc: Share
    association: Share


class Obligation(Part):
    """One thing that is asked for, and the facts that show it."""

    id: str
    title: Text
    source: Text
    confidence: Literal["verified", "secondary", "recalled"]
    """How sure we are of it: read at the source, from others' account, or to be checked."""
    needs: tuple[str, ...]
    applies_from: Day | None = None
    level_from: int | None = None
    """The impact level from which it applies; without one, always."""
    essential: bool = False
    """Whether a model without it is not activated, however much else is there."""


class Profile(Part):
    """What one country asks."""

    profile: ProfileName
    title: Text
    as_of: Day
    activation_threshold: Share
    """The share of obligations in force that have to be covered."""
    protected: Protected
    proxies: ProxyLimits
    obligations: tuple[Obligation, ...]


@cache
def load_profile(name: ProfileName) -> Profile:
    """Return the rules of a country."""
    return parse_plain(_data(f"{name}.yaml"), Profile, what=f"{name}.yaml", whole="profile")


@cache
def vocabulary() -> Vocabulary:
    """Return how protected attributes are called."""
    return parse_plain(
        _data("attributes.yaml"), Vocabulary, what="attributes.yaml", whole="vocabulary"
    )


def _data(name: str) -> bytes:
    return (files("models") / "profiles" / name).read_bytes()
