"""A table of cases with what a policy should make of each: a policy's own tests, run on a bundle.

A case gives a score, or leaves it out and lets the model give one. What is expected may be a part:
only what is said is compared. Bands and rules that no case meets are counted, so that a table shows
what it does not try.
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from app.domain import Advice, Circumstances, Origin, RequirementKind, Source
from app.judging import make_judge
from app.policy import Policy, PolicyError
from app.policy_terms import Name, Strict, Words
from explainers.familiarity import familiarity_check
from models.bundle import Bundle
from models.errors import CaseRejectedError

MAX_BYTES = 4 * 1024 * 1024


class SaidOrigin(Strict):
    """Where one input comes from."""

    source: Source
    date: datetime.date | None = None


class Expected(Strict):
    """What a case should come to; a member that is left out is not compared."""

    outcome: Name | None = None
    rule: Name | None = None
    """The band's."""
    adverse: bool | None = None
    near_threshold: bool | None = None
    advice: Literal["given", "none"] | None = None
    requires: frozenset[RequirementKind] | None = None
    """Everything that is asked for, in any order."""
    asked_by: frozenset[Name] | None = None
    """Every rule that asks."""
    stale: frozenset[str] | None = None
    refused: bool = False
    """Whether the case does not fit the card."""


class PolicyCase(Strict):
    """One row of the table."""

    name: Words
    case: dict[str, float | int | str | bool | None] = Field(default_factory=dict)
    """Fields that differ from the table's ``base``."""
    score: float | None = None
    """In place of the model's."""
    provenance: dict[str, SaidOrigin] = Field(default_factory=dict)
    purpose: Name | None = None
    unfamiliar: bool | None = None
    """In place of what the background says."""
    expect: Expected


class PolicyCases(Strict):
    """The table."""

    day: datetime.date
    """The day on which all cases are judged."""
    base: dict[str, float | int | str | bool | None]
    cases: Annotated[tuple[PolicyCase, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of one case."""

    name: str
    differences: tuple[str, ...]
    """Each as *what: got, want*; empty when all is as expected."""
    met: frozenset[str]
    """The band and the rules that it met."""


@dataclass(frozen=True)
class Trial:
    """What came of a table."""

    policy: Policy
    tried: tuple[Tried, ...]

    @property
    def failed(self) -> tuple[Tried, ...]:
        """The cases that did not come out as expected."""
        return tuple(each for each in self.tried if each.differences)

    @cached_property
    def not_met(self) -> tuple[str, ...]:
        """The bands and rules that no case met, in the policy's order."""
        met = frozenset().union(*(each.met for each in self.tried))
        names = [each.rule for each in self.policy.bands]
        names += [each.rule for each in self.policy.rules]
        return tuple(name for name in names if name not in met)


def load_cases(path: Path) -> PolicyCases:
    """Return the table in ``path``. Raises PolicyError saying what is wrong in which place."""
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_BYTES:
            raise PolicyError(f"{path} has {len(raw)} bytes, want at most {MAX_BYTES}")
        return PolicyCases.model_validate(yaml.safe_load(raw))
    except OSError as err:
        raise PolicyError(f"cannot read the cases {path}: {err.strerror}") from err
    except ValidationError as err:
        fault = err.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, fault["loc"])) or "cases"
        raise PolicyError(f"{path}: {place}: {fault['msg']}") from err
    except (yaml.YAMLError, ValueError) as err:
        raise PolicyError(f"{path} is not YAML: {err}") from err


def try_cases(policy: Policy, bundle: Bundle, table: PolicyCases) -> Trial:
    """Return what the policy makes of each case of the table.

    Raises PolicyError for a policy that does not fit the bundle, or a score that no band covers.
    """
    judge = make_judge(policy, bundle)
    familiarity = familiarity_check(bundle.background.values)

    def one(row: PolicyCase) -> Tried:
        try:
            case = bundle.schema.encode({**table.base, **row.case})
        except CaseRejectedError as err:
            fields = ", ".join(sorted({fault.field or "(whole)" for fault in err.faults}))
            wrong = () if row.expect.refused else (f"refused: got {fields}, want a case that fits",)
            return Tried(row.name, wrong, frozenset())
        if row.expect.refused:
            return Tried(row.name, ("refused: got a case that fits",), frozenset())
        advice = judge.judge(
            policy,
            _score(bundle, row, case.feeds),
            target=bundle.positive_score,
            case=case,
            circumstances=Circumstances(
                purpose=row.purpose,
                provenance={
                    name: Origin(said.source, said.date) for name, said in row.provenance.items()
                },
            ),
            is_unfamiliar=(
                familiarity.check(case.values).is_unfamiliar
                if row.unfamiliar is None
                else row.unfamiliar
            ),
            on=table.day,
        )
        met = {advice.rule.id, *(each.rule.id for each in advice.requires)}
        return Tried(row.name, _differences(row.expect, advice), frozenset(met))

    return Trial(policy, tuple(one(row) for row in table.cases))


def _score(
    bundle: Bundle, row: PolicyCase, feeds: Mapping[str, NDArray[Any]]
) -> float | np.float32 | np.float64:
    if row.score is not None:
        return row.score
    score: np.float32 | np.float64 = bundle.session.run_row(feeds).scores[bundle.positive_score]
    return score


def _differences(expected: Expected, advice: Advice) -> tuple[str, ...]:
    got: dict[str, object] = {
        "outcome": advice.outcome,
        "rule": advice.rule.id,
        "adverse": advice.adverse,
        "near_threshold": advice.near_threshold,
        "advice": "none" if advice.is_withheld else "given",
        "requires": frozenset(each.kind for each in advice.requires),
        "asked_by": frozenset(each.rule.id for each in advice.requires),
        "stale": frozenset(advice.stale),
    }
    return tuple(
        f"{name}: got {_told(value)}, want {_told(want)}"
        for name, value in got.items()
        if (want := getattr(expected, name)) is not None and want != value
    )


def _told(value: object) -> str:
    if isinstance(value, frozenset):
        return ", ".join(sorted(map(str, value))) or "nothing"
    return str(value).lower() if isinstance(value, bool) else str(value)
