"""The shapes of the HTTP interface.

They document and validate; the hot path writes the same JSON without going through them, and a
contract test compares the two. Input is strict (nothing is coerced, nothing unknown is let through); output has no defaults, so
that the OpenAPI document marks every member as required.
"""

import datetime
import re
from contextlib import suppress
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, RootModel, WithJsonSchema

from app.domain import Origin

Value = float | int | str | bool | None
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Base64Hash = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{43}=$")]
Moment = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")]
# Not checked here: the model's own schema knows what each field takes and says so.
SentValue = Annotated[
    object,
    WithJsonSchema(
        {"anyOf": [{"type": kind} for kind in ("number", "integer", "string", "boolean", "null")]}
    ),
]


def _as_day(said: object) -> object:
    """Return a day for its text: JSON has no days, and strict input takes nothing else for one."""
    if said is None:
        return None
    if isinstance(said, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", said):
        with suppress(ValueError):  # 30 February has the form of a day
            return datetime.date.fromisoformat(said)
    raise ValueError("want a day as 2026-11-30")


class Shape(BaseModel):
    """What a body may hold, and nothing besides, each in its own type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class SaidOrigin(Shape):
    """Where one input comes from."""

    source: Annotated[
        Literal["declared", "verified", "estimated", "imputed"],
        Field(description="Said by the person; checked; worked out roughly; or filled in."),
    ]
    date: Annotated[
        datetime.date | None,
        BeforeValidator(_as_day),
        Field(description="The day that the value is of."),
    ] = None


class DecisionRequest(Shape):
    """One case to advise on."""

    case: Annotated[
        dict[str, SentValue],
        Field(description="Every field of the model by name; `GET /v1/models/{model}` has the "
              "JSON Schema of it."),
    ]  # fmt: skip
    subject: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=200,
            description="Your opaque reference for the person concerned, so that everything "
            "recorded about them can be erased together. Kept only as a keyed hash.",
        ),
    ] = None
    purpose: Annotated[
        str | None,
        Field(
            max_length=64,
            description="What the advice is for: one of the model's purposes. Needed where the "
            "model's policy declares any.",
        ),
    ] = None
    legal_basis: Annotated[
        str | None,
        Field(max_length=64, description="The ground in law: one of that purpose's."),
    ] = None
    provenance: Annotated[
        dict[str, SaidOrigin],
        Field(description="By field: where the value comes from, and of which day it is."),
        # Written out: the body's schema stands alone in the document, where no reference leads.
        WithJsonSchema(
            {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "properties": {
                        "source": {
                            "type": "string",
                            "enum": ["declared", "verified", "estimated", "imputed"],
                            "description": "Said by the person; checked; worked out roughly; or "
                            "filled in.",
                        },
                        "date": {
                            "anyOf": [{"type": "string", "format": "date"}, {"type": "null"}],
                            "description": "The day that the value is of.",
                        },
                    },
                    "required": ["source"],
                    "additionalProperties": False,
                },
            }
        ),
    ] = {}

    @property
    def origins(self) -> dict[str, Origin]:
        """The provenance in the domain's words."""
        return {name: Origin(said.source, said.date) for name, said in self.provenance.items()}


class Signature(Shape):
    """Who vouches for the model's bundle."""

    status: Literal["verified", "unsigned"]
    supplier: Annotated[
        str | None, Field(description="The trusted supplier that signed it; null where nobody did.")
    ]
    warning: Annotated[
        str | None, Field(description="Set where an unsigned bundle is served for development.")
    ]


class ModelName(Shape):
    """Which exact model."""

    name: str
    version: str
    digest: Digest
    signature: Signature
    arm: Annotated[
        Literal["live", "canary"],
        Field(
            description="Whether the active version advised, or one that gets a share of the cases."
        ),
    ]


class PolicyName(Shape):
    """Which exact policy."""

    name: str
    version: str
    digest: Digest


class RuleFired(Shape):
    """The policy rule that led to the outcome."""

    id: str
    description: str


class Recommendation(Shape):
    """What the system suggests. A person decides."""

    outcome: str
    label: str
    score: float
    score_meaning: str
    rule: RuleFired
    near_threshold: bool


class Contribution(Shape):
    """One field's exact Shapley value."""

    field: str
    label: str
    value: Value
    contribution: Annotated[float, Field(description="In the explanation's `unit`.")]
    probability_change: Annotated[
        float | None,
        Field(description="Rescaled to probability: keeps sign and order, and adds up from "
              "`base_probability` to the score. Null where no honest rescaling exists."),
    ]  # fmt: skip


class Background(Shape):
    """The cases that the explanation compares with."""

    rows: int
    digest: Digest


class Contrast(Shape):
    """Two classes told against each other: the policy's, and its closest rival."""

    favoured: str
    rival: str


class Explanation(Shape):
    """Why: base value and contributions that add up to the model's own output."""

    summary: str
    strongest_reasons: Annotated[
        list[str], Field(description="The three strongest, whichever side they are on.")
    ]
    reasons_for: list[str]
    reasons_against: list[str]
    method: str
    method_reason: str
    unit: str
    link: str
    contrast: Annotated[
        Contrast | None,
        Field(description="Set where the model compares classes (softmax): base value, margin and "
              "contributions are then of the difference between these two."),
    ]  # fmt: skip
    base_value: float
    margin: float
    output: float
    base_probability: float | None
    contributions: list[Contribution]
    residual: Annotated[
        float, Field(description="|link(base value + contributions) - output|, never above "
                     "`tolerance`.")
    ]  # fmt: skip
    tolerance: float
    largest_standard_error: Annotated[
        float | None, Field(description="Null when the contributions are exact.")
    ]
    evaluations: int | None
    background: Background


class SimilarCases(Shape):
    """How often the positive class was true among calibration cases with a similar score."""

    wording: str
    cases: int
    positives: int
    lowest_score: float
    highest_score: float
    interval: Annotated[
        list[float], Field(min_length=2, max_length=2, description="95 % Wilson interval.")
    ]


class PredictionSet(Shape):
    """The classes that cannot be ruled out at this coverage (split conformal), likeliest first."""

    classes: list[str]
    coverage: float
    calibration_rows: int


class PredictionInterval(Shape):
    """The numbers that cannot be ruled out at this coverage (split conformal)."""

    low: float
    high: float
    coverage: float
    calibration_rows: int


class Uncertainty(Shape):
    """How sure, from cases with known answers that the model was not trained on."""

    status: Literal["available", "not_available"]
    reason: str | None
    similar_cases: SimilarCases | None
    prediction_set: PredictionSet | None
    prediction_interval: PredictionInterval | None


class Novelty(Shape):
    """One field whose value no comparable case has."""

    field: str
    kind: Literal["above", "below", "unseen", "missing"]
    far: bool


class Familiarity(Shape):
    """Whether the case is like the comparable cases at all."""

    unfamiliar: bool
    fields: list[Novelty]
    distance: Annotated[float, Field(description="Gower distance to the nearest of them.")]
    rarity: Annotated[
        float, Field(description="Share of comparable cases at least this far from the rest.")
    ]
    background_rows: int


class Change(Shape):
    """One field's value, as it is and as it would have to be."""

    field: str
    label: str
    from_: Annotated[Value, Field(alias="from")]
    to: Value


class Alternative(Shape):
    """Changes that together would have led to another outcome; no part of them alone does."""

    changes: list[Change]
    outcome: str
    label: str
    sentence: str


class WhatWouldChange(Shape):
    """The smallest changes that would have changed the recommendation, confirmed by the model."""

    status: Literal["found", "none_found", "not_sought", "not_finished"]
    statement: Annotated[str | None, Field(description="How far the search went.")]
    found: list[Alternative]


class Flag(Shape):
    """Something about one field that whoever decides should know."""

    field: str
    kind: Literal["missing", "unknown"]


class Receipt(Shape):
    """Where the record stands in the append-only log."""

    log: Annotated[str, Field(description="The log's origin, as in its checkpoints.")]
    index: Annotated[int, Field(ge=0)]
    leaf_hash: Base64Hash


class PurposeNamed(Shape):
    """What the call was for, and on what ground in law."""

    purpose: str
    legal_basis: str


class InputOrigin(Shape):
    """Where one input comes from, as the call said."""

    field: str
    source: Literal["declared", "verified", "estimated", "imputed"]
    date: Day | None
    stale: Annotated[bool, Field(description="Whether it is older than the policy takes.")]


class Requirement(Shape):
    """Something that a rule of the policy asks for in this case."""

    requires: Literal["person", "evidence", "second_person", "no_advice"]
    rule: RuleFired


class Given(Shape):
    """The advice is in the answer."""

    status: Literal["given"]
    reason: None


class NotGiven(Shape):
    """There is no advice (`none`), or it is kept back for now (`withheld`)."""

    status: Literal["none", "withheld"]
    reason: str


class DecisionWithoutAdvice(Shape):
    """A recorded case without advice, or with advice that is kept back for now."""

    id: str
    created: Moment
    model: ModelName
    policy: PolicyName
    purpose: PurposeNamed | None
    provenance: list[InputOrigin]
    flags: list[Flag]
    advice: NotGiven
    requirements: Annotated[
        list[Requirement], Field(description="Empty while the advice is kept back.")
    ]
    receipt: Receipt


class Decision(Shape):
    """One decision's file: recommendation, explanation and receipt."""

    id: str
    created: Moment
    model: ModelName
    policy: PolicyName
    purpose: PurposeNamed | None
    provenance: list[InputOrigin]
    flags: list[Flag]
    advice: Given
    requirements: list[Requirement]
    recommendation: Recommendation
    explanation: Explanation
    uncertainty: Uncertainty
    familiarity: Familiarity
    what_would_change: WhatWouldChange
    receipt: Receipt


class AnyDecision(RootModel[Decision | DecisionWithoutAdvice]):
    """A decision's file, with its advice or without."""


ReplayVerdict = Literal[
    "identical", "within_ulps", "different", "erased", "model_missing", "failed", "damaged"
]


class ReplayDifference(Shape):
    """One recorded array that did not come out the same."""

    name: str
    detail: str
    max_ulps: Annotated[
        int | None,
        Field(description="The largest distance in units in the last place; null where there is "
              "none to give."),
    ]  # fmt: skip
    places: Annotated[
        list[str],
        Field(description="Where in a JSON text, such as `explanation.reasons_for.0`; never what "
              "stands there."),
    ]  # fmt: skip


class EnvironmentChange(Shape):
    """Something about the machine that was otherwise when the decision was made."""

    name: str
    recorded: str | None
    current: str | None


class Replay(Shape):
    """What recomputing a decision gave."""

    decision: str
    verdict: ReplayVerdict
    max_ulps: Annotated[
        int | None,
        Field(description="How far numbers are apart in units in the last place; null where "
              "nothing differs, or something that has no distance."),
    ]  # fmt: skip
    differences: list[ReplayDifference]
    reason: Annotated[str | None, Field(description="Why nothing was compared; null otherwise.")]
    environment_changed: Annotated[
        list[EnvironmentChange],
        Field(description="Said beside differences only: what to suspect."),
    ]
    receipt: Receipt


class ModelSummary(Shape):
    """One served model in a list."""

    name: str
    version: str
    title: str
    digest: Digest
    purpose: str
    owner: str


class ModelList(Shape):
    """The served models."""

    models: list[ModelSummary]


class ExplanationMethod(Shape):
    """How this model is explained, decided when it was loaded."""

    method: str
    reason: str
    unit: str
    link: str
    base_value: float
    background: Background


class PurposeOffered(Shape):
    """One purpose that a call may name, with the grounds in law for it."""

    purpose: str
    description: str
    legal_bases: list[str]


class Model(Shape):
    """One served model: what it is for, what it takes, how it is explained."""

    name: str
    version: str
    title: str
    digest: Digest
    purpose: str
    owner: str
    legal_basis: str
    what_it_cannot_know: list[str]
    limitations: list[str]
    positive_class: str | None
    score_meaning: str
    case_schema: Annotated[
        dict[str, object], Field(description="JSON Schema (2020-12) of the `case` to send.")
    ]
    explanation: ExplanationMethod
    policy: PolicyName
    purposes: list[PurposeOffered]
    manual_route: str | None


class Alive(Shape):
    """The process answers."""

    status: Literal["alive"]


class Ready(Shape):
    """Whether decisions can be recorded at present."""

    status: Literal["ready", "not_ready"]
    reason: str | None
    models: list[str]
    log_entries: int
    alarms: list[str]
    queue_depth: int


class FieldProblem(Shape):
    """One thing to mend in a request. The value itself is never repeated."""

    field: Annotated[
        str,
        Field(
            description="A field of the case, or a place in the body, as `reason.code`; or `query.`, "
            "`path.` or `header.` and the name of a parameter."
        ),
    ]
    code: str
    message: str
    allowed: str


class Problem(Shape):
    """A problem (RFC 9457)."""

    type: Annotated[str, Field(description="A page that explains this kind of problem.")]
    title: str
    status: int
    detail: str
    advice: str
    request_id: str
    errors: list[FieldProblem] | None = None
