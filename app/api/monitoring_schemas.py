"""The shapes of what monitoring takes in and says; as ``app.api.schemas``."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.api.schemas import Moment
from app.api.version_schemas import BundleDigest, PolicyDigest
from app.visible import VISIBLE, VISIBLY

Why = Annotated[str, Field(min_length=1, max_length=2000, description=VISIBLE), VISIBLY]
Word = Annotated[str, StringConstraints(min_length=1, max_length=48)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class OutcomeReport(_Shape):
    """How a decided case turned out."""

    outcome: Annotated[
        int | float | str,
        Field(description="The class of the model's card that turned out to be true, or the "
              "number of a regression."),
    ]  # fmt: skip


class Recorded(_Shape):
    """The entry that was made."""

    id: str
    index: int


class AttributeReport(_Shape):
    """Protected attributes of the person of one decision."""

    attributes: Annotated[
        dict[Word, Word],
        Field(min_length=1, description="A group for each attribute, of those that the model's "
              "`monitoring.yaml` lists."),
    ]  # fmt: skip


class Kept(_Shape):
    """The attributes that were kept; the answer repeats no group."""

    attributes: list[str]


class Reason(_Shape):
    """Why a person does this."""

    reason: Why


class PurgeRequest(_Shape):
    """What to delete."""

    before: Annotated[Moment, Field(description="Reports from before this moment.")]
    reason: Why


class Purged(_Shape):
    """What was deleted."""

    reports: int


class EstimateShape(_Shape):
    """A figure with its 95 % interval; an end is null where it has none."""

    value: float | None
    low: float | None
    high: float | None


class GroupShape(_Shape):
    """One group. Null: too few people for anything to be said."""

    group: str
    people: int | None
    selection_rate: EstimateShape | None
    true_positive_rate: EstimateShape | None
    false_positive_rate: EstimateShape | None
    precision: EstimateShape | None


class GapShape(_Shape):
    """How far apart groups are in one rate."""

    rate: str
    highest: str
    lowest: str
    difference: EstimateShape
    ratio: EstimateShape


class AttributeShape(_Shape):
    """One protected attribute."""

    attribute: str
    groups: list[GroupShape]
    gaps: list[GapShape]
    not_tested: list[str]


class StabilityShape(_Shape):
    """How far a field, or the score, has moved from the background."""

    name: str
    index: float
    by_chance: float


class BinShape(_Shape):
    """Cases with scores in one tenth."""

    low: float
    high: float
    cases: int
    mean_score: float
    observed: EstimateShape


class CalibrationShape(_Shape):
    """Scores against outcomes."""

    cases: int
    gap: EstimateShape
    baseline_gap: float
    expected_error: float
    bins: list[BinShape]


class TrippedShape(_Shape):
    """A limit that was broken and not reset."""

    limit: str
    subject: str
    action: Literal["report", "unaided", "stop"]


class AggregateShape(_Shape):
    """What was kept when attributes were purged."""

    at: Moment
    attributes: list[AttributeShape]
    canary: Annotated[
        list[AttributeShape] | None,
        Field(description="Those of the canary that was under way; null where there was none."),
    ]


class _Figures(_Shape):
    decisions: Annotated[int, Field(description="Those that the figures are taken over.")]
    fields: list[StabilityShape]
    output: StabilityShape | None
    calibration: CalibrationShape | None
    attributes: list[AttributeShape]
    attributes_not_tested: list[str]


class CanaryShape(_Figures):
    """A canary under way, and its figures since it is one."""

    version: Annotated[str, Field(description="What its card calls it.")]
    bundle: BundleDigest
    policy: PolicyDigest
    percent: Annotated[int, Field(description="Its share of the cases.")]
    begun: Annotated[int, Field(description="The entry of the log that made it a canary.")]


class EndedCanaryShape(_Shape):
    """A canary that the circuit breaker ended."""

    bundle: BundleDigest
    policy: PolicyDigest
    at: Moment
    limits: Annotated[list[str], Field(description="The limits that it broke.")]


class MonitoringShape(_Figures):
    """Everything that monitoring says of one model."""

    model: str
    limits_digest: str
    window: int
    false_alarms: float
    stance: Literal["unaided", "stop"] | None
    tripped: list[TrippedShape]
    purged: list[AggregateShape]
    canary: CanaryShape | None
    ended_canary: EndedCanaryShape | None
