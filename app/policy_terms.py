"""What a policy says beside its bands: purposes, rules, and how advice is shown.

Every part may be left out. What is left out asks for nothing, except that the final decision is a
person's: that is the default.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.domain import RequirementKind
from models.translations import Language

Name = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]
Words = Annotated[str, Field(min_length=1, max_length=1000)]
Days = Annotated[int, Field(ge=1, le=36_525)]

Reveal = Literal["concurrent", "after_own_assessment", "on_request"]
"""When whoever decides sees the advice: at once, after recording a view of their own, or when they
ask for it."""


class Strict(BaseModel):
    """A part of the policy: nothing unknown is let through."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Purpose(Strict):
    """One purpose that the model may be used for."""

    purpose: Name
    description: Words
    legal_bases: Annotated[tuple[Name, ...], Field(min_length=1)]
    """The grounds in law that a call may name for it."""


class CareRule(Strict):
    """One CEL expression and what it asks for where it is true."""

    rule: Name
    when: Annotated[str, Field(min_length=1, max_length=2000)]
    requires: RequirementKind
    description: Words
    """In words, for whoever decides."""


class SmallGroup(Strict):
    """When a case counts as one of too few: the background has hardly any with such a value."""

    fields: Annotated[tuple[str, ...], Field(min_length=1)]
    fewer_than: Annotated[int, Field(ge=1)]


class ProvenanceTerms(Strict):
    """What a call must say about where its inputs come from."""

    required: bool = False
    """Whether every field that has a value needs a stated origin."""
    stale_after_days: dict[str, Days] = {}
    """By field: an older value is stale. A value without a date is taken as it comes."""


class ReviewTerms(Strict):
    """How a decision is contested."""

    answer_within_days: Days = 28


class LetterTerms(Strict):
    """What the body itself says in its letters, in one language."""

    body: Words
    """Who writes."""
    matter: Words
    """What the letter is about, after "about": *your application for ...*."""
    contact: Words
    ask_for_a_person: Words
    """How to have a person look at it again."""
    appeal: Words
    """How to appeal beyond that, and to whom."""
    outcomes: dict[Name, Words]
    """Each outcome as a sentence to the person affected."""


class NoticeTerms(Strict):
    """What a notice to the person affected needs from the policy."""

    material_share: Annotated[float, Field(gt=0, le=1)] = 0.05
    """A factor with at least this share of all contributions must be in the notice."""
    appeal_within_days: Days = 28
    """How long the person has to appeal."""
    greatest_reading_age: Annotated[int, Field(ge=8, le=25)] = 14
    """The age at which most can read the letter, by the automated readability index: English."""
    greatest_lix: Annotated[int, Field(ge=20, le=80)] = 45
    """How hard a letter in another language may be, by the LIX of its sentences and long words."""
    letters: dict[Language, LetterTerms] = {}
    """By language; without any, no letter is written, only recorded."""
