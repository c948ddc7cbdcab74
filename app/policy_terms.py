"""What a policy says beside its bands: purposes, rules, how advice is shown, how long things last.

Every part may be left out. What is left out asks for nothing, except that the final decision is a
person's: that is the default.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.domain import RequirementKind

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


class Retention(Strict):
    """How long records are kept: not erased before, gone after."""

    at_least_days: Days
    at_most_days: Days

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.at_least_days > self.at_most_days:
            raise ValueError("at_least_days is more than at_most_days")
        return self


class ReviewTerms(Strict):
    """How a decision is contested."""

    answer_within_days: Days = 28
    how_to_ask: Words | None = None
    """For the person affected: whom to tell, and how."""


class NoticeTerms(Strict):
    """What a notice to the person affected needs from the policy."""

    material_share: Annotated[float, Field(gt=0, le=1)] = 0.05
    """A factor with at least this share of all contributions must be in the notice."""
    most_reading_age: Annotated[int, Field(ge=9, le=18)] = 14
    contact: Words | None = None
    """Whom to ask for a person who can look at the case."""
    welsh: dict[str, Words] = {}
    """Welsh words by what they stand for: an outcome's name or a field's name."""
