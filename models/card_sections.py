"""The sections of a card that say how a model was made, how well it works and who answers for it.

Their names are the Model Card Toolkit's (details, parameters, quantitative analysis, considerations),
with what a public body needs besides: the supplier, the fairness criterion and why, the groups that
were not tested, and the assessments with their dates. All of it is optional for serving; what a
country's rules miss in it is counted by ``coverage``.
"""

import datetime
import re
from typing import Annotated, Literal, Self

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, model_validator

_STEERING = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]").search


def _reads_as_written(text: str) -> str:
    if found := _STEERING(text):
        raise ValueError(f"want text without {found.group()!a}, which shows it as another")
    return text


Text = Annotated[
    str,
    StringConstraints(min_length=1, max_length=4_000),
    AfterValidator(_reads_as_written),
]
"""No control characters, with which a terminal's lines are overwritten, nor those that turn the
direction of what follows: it is shown on pages and in letters."""
Day = datetime.date


def _is_web(text: str) -> str:
    if not text.startswith(("https://", "http://")):
        raise ValueError("want an address that begins with https://")
    return text


Link = Annotated[str, StringConstraints(max_length=2_000), AfterValidator(_is_web)]


class Part(BaseModel):
    """What every part of a card is: whole, unchanging, and nothing unknown in it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Supplier(Part):
    """Whoever made or sells the model, if it is not the body that uses it."""

    name: Text
    role: Text
    """What they did: made, trained, host, maintain."""
    company_number: Text | None = None
    procurement: Text | None = None
    """By which procedure it was bought."""
    data_access: Text | None = None
    """Which data of the body they see, on which terms."""


class ModelDetails(Part):
    """What the model is, in a few words, and where more is said."""

    overview: Text | None = None
    benefits: Text | None = None
    alternatives_considered: Text | None = None
    documentation: Link | None = None
    licence: Text | None = None
    references: tuple[Text, ...] = ()


class Period(Part):
    """From the first to the last day that the data are about."""

    start: Day
    end: Day

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if self.start > self.end:
            raise ValueError("start is after end")
        return self


class ModelParameters(Part):
    """How the model was made."""

    architecture: Text | None = None
    training_period: Period | None = None
    training_cases: Annotated[int, pydantic.Field(ge=1)] | None = None
    input_format: Text | None = None
    output_format: Text | None = None
    maintenance: Text | None = None
    """When it is looked at again, and what would lead to a new version."""


class Interval(Part):
    """A confidence interval."""

    lower: float
    upper: float
    level: Annotated[float, pydantic.Field(gt=0, lt=1)] = 0.95


class Slice(Part):
    """A part of the cases: those with this value of this attribute or field."""

    attribute: Text
    value: Text


class PerformanceMetric(Part):
    """One figure of how well the model does, over all cases or a slice of them."""

    type: Text
    value: float
    slice: Slice | None = None
    confidence_interval: Interval | None = None
    cases: Annotated[int, pydantic.Field(ge=1)] | None = None
    """Over how many cases."""
    threshold: float | None = None
    """At which line between two outcomes."""


class QuantitativeAnalysis(Part):
    """How well the model does, and for whom."""

    evaluation_data: Text
    performance_metrics: tuple[PerformanceMetric, ...]


class Risk(Part):
    """What could go wrong, and what is done about it."""

    name: Text
    mitigation_strategy: Text
    owner: Text | None = None


Criterion = Literal[
    "equal_selection",
    "equal_opportunity",
    "equalised_odds",
    "predictive_parity",
    "calibration_within_groups",
]
"""Which figure should be alike in all groups; no model can have all of them alike."""


class NotTested(Part):
    """A group that the figures say nothing about."""

    group: Text
    reason: Text


class Fairness(Part):
    """What is held to be fair here, and for whom it was tested."""

    criterion: Criterion
    criterion_rationale: Text
    tolerance: Annotated[float, pydantic.Field(gt=0, lt=1)] | None = None
    """How far groups may differ in the criterion's figure before it is a finding."""
    not_tested: tuple[NotTested, ...] = ()


class Considerations(Part):
    """For whom and for what the model is, and what to be wary of."""

    users: tuple[Text, ...] = ()
    use_cases: tuple[Text, ...] = ()
    out_of_scope: tuple[Text, ...] = ()
    tradeoffs: tuple[Text, ...] = ()
    ethical_considerations: tuple[Risk, ...] = ()
    fairness: Fairness | None = None


AssessmentKind = Literal[
    "data_protection",
    "algorithmic_impact",
    "equality",
    "fundamental_rights",
    "security",
    "peer_review",
    "oversight_test",
    "other",
]


class Assessment(Part):
    """An assessment that was made of the model or its use."""

    kind: AssessmentKind
    title: Text
    date: Day
    """When it was completed."""
    description: Text | None = None
    link: Link | None = None
    review_by: Day | None = None
    """When it has to be looked at again."""
