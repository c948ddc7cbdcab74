"""The shapes of a six-part explanation. A member without a value is null: nobody has said it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue


class Shape(BaseModel):
    """What every shape here is: whole, with nothing left to a default."""

    model_config = ConfigDict(extra="forbid")


class NotProvided(Shape):
    """A half that is missing, and why."""

    status: Literal["not_provided"]
    reason: str


class Provided(Shape):
    """A half that is there."""

    status: Literal["provided"]


class Figure(Shape):
    """A figure of how well the model does."""

    name: str
    value: float
    lower: float | None
    upper: float | None
    slice: str | None
    cases: int | None


class RationaleProcess(Provided):
    """Why this model can be explained, and how far its explanations go."""

    method: str
    why_this_method: str
    score_meaning: str
    architecture: str | None
    limits: list[str]


class Factor(Shape):
    """What one field added."""

    field: str
    label: str
    value: JsonValue
    effect: float
    probability_change: float | None
    material: bool
    sentence: str | None
    """In words, for the strongest ones."""


class SumCheck(Shape):
    """Base value and effects against the model's own output, in the unit of the effects."""

    base_value: float
    effects: float
    output: float
    residual: float
    tolerance: float


class WouldChange(Shape):
    """What would have led to another suggestion."""

    status: str
    statement: str | None
    sentences: list[str]


class RationaleOutcome(Provided):
    """Why this suggestion was made on this case."""

    summary: str
    unit: str
    reasons_for: list[str]
    reasons_against: list[str]
    factors: list[Factor]
    sum_check: SumCheck
    what_would_change: WouldChange
    for_this_person: str
    """How a statistical result applies to one person."""


class SupplierNamed(Shape):
    """Who made the model."""

    name: str
    role: str


class ResponsibilityProcess(Provided):
    """Who answers for the model and its use."""

    owner: str
    contact: str | None
    organisation: str | None
    team: str | None
    senior_responsible_owner: str | None
    supplier: SupplierNamed | None
    legal_basis: str
    signed_by: str | None


class TookPart(Shape):
    """One step that somebody took."""

    step: str
    at: str
    actor: str
    role: str
    human: bool


class AskForReview(Shape):
    """How to have a person look at it again."""

    how: str | None
    contact: str | None
    answered_within_days: int
    what_is_considered: str
    how_it_is_answered: str
    appeal: str | None


class ResponsibilityOutcome(Provided):
    """Who decided this case, and whom to ask."""

    case_status: str
    outcome: str | None
    took_part: list[TookPart]
    review: AskForReview


class DataProcess(Provided):
    """The data that the model was made from."""

    training_data: str | None
    training_period: str | None
    training_cases: int | None
    datasheet: dict[str, dict[str, str]]


class InputUsed(Shape):
    """One input of this case."""

    field: str
    label: str
    value: JsonValue
    in_words: str
    source: str | None
    date: str | None
    stale: bool
    flags: list[str]


class DataOutcome(Provided):
    """The data that were used on this case."""

    inputs: list[InputUsed]
    purpose: str | None
    legal_basis: str | None
    category: str | None
    category_meaning: str | None


class Untested(Shape):
    """A group that no figure is about."""

    group: str
    reason: str


class FairnessProcess(Provided):
    """What is held to be fair, and for whom it was tested."""

    criterion: str
    criterion_rationale: str
    tolerance: float | None
    figures: list[Figure]
    not_tested: list[Untested]


class StandsFor(Shape):
    """How well one field tells a protected attribute: 0 not at all, 1 wholly."""

    field: str
    attribute: str
    association: float


class FairnessOutcome(Provided):
    """What is known of fair treatment in this case."""

    protected_attribute: str
    """Whether changing one would have changed the result."""
    stand_ins: list[StandsFor] | None
    """The factors that weighed here and tell something of a protected attribute."""
    similar_people: str | None
    limits_broken_now: list[str]


class SafetyProcess(Provided):
    """How well the model does, and what watches over it."""

    evaluation_data: str | None
    figures: list[Figure]
    monitoring: list[str]
    security: list[str]


class SafetyOutcome(Provided):
    """How sure the model is of this case, and what state it was in."""

    uncertainty: dict[str, JsonValue]
    familiarity: dict[str, JsonValue]
    near_threshold: bool
    requirements: list[str]
    model_digest: str
    policy_digest: str
    runtime: dict[str, str]


class AssessmentNamed(Shape):
    """An assessment of the model or its use."""

    kind: str
    title: str
    date: str
    link: str | None
    review_by: str | None


class RiskNamed(Shape):
    """What could go wrong, and what is done about it."""

    risk: str
    mitigation: str


class ImpactProcess(Provided):
    """What was assessed before the model was used."""

    impact_level: int | None
    assessments: list[AssessmentNamed]
    risks: list[RiskNamed]


class Consequence(Shape):
    """One outcome that the case could have, and what it means."""

    outcome: str
    adverse: bool
    meaning: str | None


class ImpactOutcome(Provided):
    """What the result means for the person, and what could still change it."""

    outcome: str | None
    outcomes: list[Consequence]
    what_could_change_it: list[str]


class Rationale(Shape):
    """Why."""

    process: RationaleProcess | NotProvided
    outcome: RationaleOutcome | NotProvided


class Responsibility(Shape):
    """Who."""

    process: ResponsibilityProcess | NotProvided
    outcome: ResponsibilityOutcome | NotProvided


class Data(Shape):
    """From what."""

    process: DataProcess | NotProvided
    outcome: DataOutcome | NotProvided


class Fairness(Shape):
    """Fair to whom."""

    process: FairnessProcess | NotProvided
    outcome: FairnessOutcome | NotProvided


class SafetyAndPerformance(Shape):
    """How well, how surely."""

    process: SafetyProcess | NotProvided
    outcome: SafetyOutcome | NotProvided


class Impact(Shape):
    """With what effect."""

    process: ImpactProcess | NotProvided
    outcome: ImpactOutcome | NotProvided


class SixKinds(Shape):
    """One decision explained in six kinds."""

    decision: str
    summary: list[str]
    """For a first reading: why, and who."""
    rationale: Rationale
    responsibility: Responsibility
    data: Data
    fairness: Fairness
    safety_and_performance: SafetyAndPerformance
    impact: Impact
    not_provided: list[str]
    """The halves that are missing, as ``fairness.process``."""
