"""The words of the domain as frozen types: what the straight line hands from step to step."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from models.card import Field, Value

Clock = Callable[[], datetime]
"""Returns the present moment with its time zone."""

NewId = Callable[[], str]
"""Returns a new, time-ordered identifier (UUID version 7) as text."""


class Role(StrEnum):
    """What a key's holder may do. Every route names the roles it admits."""

    CALLER = "caller"
    CASEWORKER = "caseworker"
    AUDITOR = "auditor"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever holds the key that came with a request."""

    key_id: str
    role: Role


@dataclass(frozen=True, slots=True)
class Rule:
    """The policy rule that turned a score into an outcome."""

    id: str
    description: str


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


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two classes told against each other."""

    favoured: str
    rival: str


@dataclass(frozen=True, slots=True)
class Reason:
    """One field's part in a recommendation."""

    field: Field
    value: Value
    contribution: float
    """Exact Shapley value, in the explanation's unit."""
    probability_change: float | None
    """The same in probability; None where the unit has no such rescaling."""
    contrast: Contrast | None
    """The classes it decides between, where it can be told in no other way."""
    supports: bool | None
    """True for the outcome, False against it, None when it made no difference."""
