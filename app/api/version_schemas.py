"""HTTP shapes of the registry: versions, their stages, and what a shadow would have said."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from app.api.schemas import Moment, Shape
from app.lifecycle import EntryType, Stage
from app.visible import VISIBLE, VISIBLY

DIGEST = r"^sha256:[0-9a-f]{64}$"
BundleDigest = Annotated[str, Field(pattern=DIGEST, description="The bundle's digest.")]
PolicyDigest = Annotated[str, Field(pattern=DIGEST, description="The policy's digest.")]
Reason = Annotated[
    str,
    Field(min_length=1, max_length=2000, description=f"Why: it is recorded. {VISIBLE}"),
    VISIBLY,
]


class RegisterRequest(Shape):
    """Which bundle and policy of the store make the version."""

    bundle: BundleDigest
    policy: PolicyDigest
    reason: Reason


class StageRequest(Shape):
    """Which version goes where, and why."""

    bundle: BundleDigest
    policy: PolicyDigest
    stage: Stage
    reason: Reason
    percent: Annotated[
        int | None,
        Field(
            ge=1,
            le=99,
            description="For the stage live: the version becomes a canary with this share of cases. "
            "Null makes it the active version.",
        ),
    ] = None
    report: Annotated[
        dict[str, Any] | None,
        Field(description="For the stage accepted: the file that `grounds bundle accept` wrote."),
    ] = None


class PolicyRequest(Shape):
    """Which policy of the store is to be around the active bundle."""

    policy: PolicyDigest
    reason: Reason


class RollbackRequest(Shape):
    """Why, and from which version."""

    reason: Reason
    bundle: Annotated[
        str | None,
        Field(
            pattern=DIGEST,
            description="With `policy`: the version to leave; refused when it would be another. Needed "
            "where what advises was last changed by a rollback, or by the circuit breaker.",
        ),
    ] = None
    policy: Annotated[str | None, Field(pattern=DIGEST, description="See `bundle`.")] = None

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.bundle is None) != (self.policy is None):
            raise ValueError("bundle and policy are given together")
        return self


class VersionShown(Shape):
    """One version and where it stands."""

    version: Annotated[str, Field(description="What its card calls it.")]
    bundle: BundleDigest
    policy_version: Annotated[str, Field(description="What its policy calls itself.")]
    policy: PolicyDigest
    stage: Stage
    since: Moment
    active: Annotated[bool, Field(description="Whether it advises on all cases but a canary's.")]
    percent: Annotated[int | None, Field(description="A canary's share of the cases.")]
    may_go_to: list[Stage]
    open_here: Annotated[bool, Field(description="Whether this service has it open and warm.")]


class Versions(Shape):
    """A model's versions."""

    model: str
    versions: list[VersionShown]


class ChangeShown(Shape):
    """One change of the registry."""

    number: int
    index: Annotated[int, Field(description="The entry of the log.")]
    type: EntryType
    version: str
    bundle: BundleDigest
    policy_version: str
    policy: PolicyDigest
    stage: Stage
    percent: int | None
    rollback: bool
    at: Moment
    by: str
    role: str
    human: bool
    reason: str
    accepted_by: Annotated[
        str | None, Field(description="Whose signed acceptance report came with it.")
    ]


class Changes(Shape):
    """What happened to a model's versions, oldest first."""

    model: str
    changes: list[ChangeShown]


class Share(Shape):
    """A share with its 95 % interval."""

    value: float
    low: float
    high: float


class OutcomePair(Shape):
    """How many cases had one outcome and would have had the other."""

    given: str
    shadow: str
    cases: int


class ShadowComparison(Shape):
    """A shadow's outcomes beside the given ones."""

    model: str
    bundle: BundleDigest
    policy: PolicyDigest
    stage: Stage
    cases: Annotated[int, Field(description="Recorded while the version was in shadow.")]
    compared: int
    failed: Annotated[int, Field(description="Cases that the shadow could not judge.")]
    left_out: Annotated[int, Field(description="Cases of which nothing is known yet, or ever.")]
    latest_only: Annotated[
        bool, Field(description="Whether only the latest 5,000 are in the sums.")
    ]
    agreement: Annotated[
        Share | None, Field(description="The share with the same outcome; null under ten cases.")
    ]
    outcomes: list[OutcomePair]
    more_adverse: Annotated[
        int | None, Field(description="Cases that the shadow alone would have advised against.")
    ]
    mean_score_difference: float | None
    largest_score_difference: float | None


_BUNDLE, _POLICY = "sha256:" + "5e" * 32, "sha256:" + "a1" * 32
REGISTER = {
    "bundle": _BUNDLE,
    "policy": _POLICY,
    "reason": "The supplier's model of this year.",
}
STAGE = {
    "bundle": _BUNDLE,
    "policy": _POLICY,
    "stage": "live",
    "percent": 10,
    "report": None,
    "reason": "500 cases in shadow agreed in 97 of 100.",
}
POLICY = {"policy": _POLICY, "reason": "The guidance of November."}
ROLLBACK = {"reason": "Arrears come in pence since this morning."}
VERSION = {
    "version": "1.0.0",
    "bundle": _BUNDLE,
    "policy_version": "2026-11",
    "policy": _POLICY,
    "stage": "live",
    "since": "2026-11-23T10:20:30.123Z",
    "active": True,
    "percent": None,
    "may_go_to": ["retired"],
    "open_here": True,
}
VERSIONS = {"model": "housing-support", "versions": [VERSION]}
CHANGES = {
    "model": "housing-support",
    "changes": [
        {
            "number": 1,
            "index": 1,
            "type": "model_registered",
            "version": "1.0.0",
            "bundle": _BUNDLE,
            "policy_version": "2026-11",
            "policy": _POLICY,
            "stage": "live",
            "percent": None,
            "rollback": False,
            "at": "2026-11-23T10:20:30.123Z",
            "by": "operator",
            "role": "admin",
            "human": False,
            "reason": "Found in the directory of models at the model's first start.",
            "accepted_by": None,
        }
    ],
}
COMPARISON = {
    "model": "housing-support",
    "bundle": _BUNDLE,
    "policy": _POLICY,
    "stage": "shadow",
    "cases": 500,
    "compared": 500,
    "failed": 0,
    "left_out": 0,
    "latest_only": False,
    "agreement": {"value": 0.97, "low": 0.951, "high": 0.982},
    "outcomes": [
        {"given": "no-priority", "shadow": "no-priority", "cases": 301},
        {"given": "no-priority", "shadow": "priority", "cases": 9},
        {"given": "priority", "shadow": "no-priority", "cases": 6},
        {"given": "priority", "shadow": "priority", "cases": 184},
    ],
    "more_adverse": 6,
    "mean_score_difference": 0.004,
    "largest_score_difference": 0.21,
}
