"""The words of the domain as frozen types: what the straight line hands from step to step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from math import inf
from typing import Literal, TypeAlias

Clock = Callable[[], datetime]
"""Returns the present moment with its time zone."""

NewId = Callable[[], str]
"""Returns a new, time-ordered identifier (UUID version 7) as text."""


class Role(StrEnum):
    """What a key's holder may do. Every route names the roles it admits."""

    CALLER = "caller"
    CASEWORKER = "caseworker"
    REVIEWER = "reviewer"
    MODEL_OWNER = "model_owner"
    AUDITOR = "auditor"
    EQUALITY = "equality"
    ADMIN = "admin"


class Kind(StrEnum):
    """Whether a key's holder is a person. Only a person can decide a case."""

    HUMAN = "human"
    MACHINE = "machine"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever holds the key that came with a request."""

    key_id: str
    role: Role
    kind: Kind = Kind.MACHINE
    actor: str = ""
    """Who it is, in the body's own opaque name: one person with two keys has one. A machine is known
    by its key."""
    agreement: str | None = None
    """The data-sharing agreement that the key was made under."""

    @property
    def name(self) -> str:
        """What the log calls them."""
        return self.actor or self.key_id


OPERATOR = Caller(key_id="operator", role=Role.ADMIN)
"""Whoever can run commands on the service's machine, and put files there."""

Arm: TypeAlias = Literal["live", "canary"]
"""Whether the active version of a model advised, or one that gets a share of the cases beside it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The policy rule that turned a score into an outcome."""

    id: str
    description: str


RequirementKind: TypeAlias = Literal["person", "evidence", "second_person", "no_advice"]
"""What a policy's rule may ask for: that a person looks at the case itself, that a doubtful input
is evidenced before anybody decides, that two people agree, or that nothing is advised."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """Something that the policy asks for in one case, and the rule that asks."""

    kind: RequirementKind
    rule: Rule


Source: TypeAlias = Literal["declared", "verified", "estimated", "imputed"]
"""Where an input comes from: said by the person, checked, worked out roughly, or filled in."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one input comes from, and of which day it is."""

    source: Source
    date: date | None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a call says around the case: for what, on what ground, and where the inputs come from."""

    purpose: str | None = None
    legal_basis: str | None = None
    agreement: str | None = None
    """The data-sharing agreement that the caller's key names."""
    provenance: Mapping[str, Origin] = field(default_factory=dict)
    """By field; a field that is not here has no stated origin."""
    unaided: bool = False
    """Whether the circuit breaker lets nothing be advised at present."""


@dataclass(frozen=True, slots=True)
class CaseTerms:
    """The rules for what follows the advice, as they were when it was given."""

    reveal: Literal["concurrent", "after_own_assessment", "on_request"]
    final_decision: Literal["human", "machine_where_favourable"]
    outcomes: Mapping[str, bool]
    """Each outcome that a decision may have, and whether it is adverse."""
    answer_within_days: int
    """How long a contest may wait for its review."""
    impact_level: int | None
    """1 to 4 from the bundle's own assessment; None where there is none."""
    material_share: float = 0.05
    """A factor with at least this share of all contributions must be in a notice."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What the policy makes of a score."""

    outcome: str
    label: str
    rule: Rule
    score: float
    """The number the rule looked at: a probability, or the predicted value of a regression."""
    target: int
    """Which of the bundle's scores it is."""
    supported_by: int
    """+1 when a higher score supports this outcome, -1 when a lower one does."""
    near_threshold: bool
    adverse: bool
    """Whether the outcome is to the disadvantage of the person concerned."""
    requires: tuple[Requirement, ...] = ()
    """What the policy's rules ask for in this case."""
    stale: tuple[str, ...] = ()
    """The fields whose value is older than the policy takes."""
    within: tuple[float, float] = (-inf, inf)
    """The scores of the rule, from and below: a rounded one that is outside would contradict it."""

    @property
    def is_withheld(self) -> bool:
        """Whether a rule says that nothing may be advised."""
        return any(requirement.kind == "no_advice" for requirement in self.requires)


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two classes told against each other."""

    favoured: str
    rival: str
