"""What the policy makes of one scored case: the outcome, and what its rules ask for beside it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np

from app.conditions import ConditionError, Conditions
from app.domain import Advice, Circumstances, Requirement, Rule
from app.policy import Policy, PolicyError
from models.bundle import Bundle
from models.card import Value
from models.schema import EncodedCase

BROKEN_LIMIT = Requirement(
    "no_advice",
    Rule("circuit-breaker", "a limit that this body set for the model's fairness or fit is broken"),
)
"""What is asked for in every case while the circuit breaker says that people decide unaided."""

MOST_KNOWN = 4_096
"""Combinations that are kept: names of fields, and nothing of any case's values."""
_SOURCES = frozenset[str]({"declared", "verified", "estimated", "imputed"})


@dataclass(frozen=True, slots=True)
class Judge:
    """A policy's rules, ready for one model's cases."""

    conditions: Conditions
    background_counts: Mapping[str, Mapping[Value, int]]
    """By field of ``small_group``: how many background cases have each value."""
    known: dict[tuple[object, ...], tuple[Requirement, ...]] = field(
        default_factory=dict, repr=False, compare=False
    )
    """What the rules made of combinations met before."""

    def judge(
        self,
        policy: Policy,
        score: float | np.float32 | np.float64,
        *,
        target: int,
        case: EncodedCase,
        circumstances: Circumstances,
        is_unfamiliar: bool,
        on: date,
    ) -> Advice:
        """Return the advice for a case, as of the day ``on``.

        Raises PolicyError when no band covers the score.
        """
        advice = policy.apply(score, target=target)
        stale = stale_fields(policy, circumstances, on=on)
        if not policy.rules:
            asked: tuple[Requirement, ...] = ()
        else:
            is_small = self.is_small_group(policy, case.values)
            asked = self._asked(advice, case, circumstances, (is_unfamiliar, is_small, stale))
        if circumstances.unaided:
            asked = (BROKEN_LIMIT, *asked)
        return replace(advice, requires=asked, stale=stale) if asked or stale else advice

    def _asked(
        self,
        advice: Advice,
        case: EncodedCase,
        circumstances: Circumstances,
        found: tuple[bool, bool, tuple[str, ...]],
    ) -> tuple[Requirement, ...]:
        """Return what the rules ask for; ``found``: unfamiliar, of a small group, stale fields.

        Where no rule reads the score or a value of the case, few combinations are left, and what
        the rules make of one is kept.
        """
        origins = circumstances.provenance
        key: tuple[object, ...] = ()
        if self.conditions.are_general:
            key = (
                advice.rule.id,
                advice.near_threshold,
                found,
                circumstances.purpose,
                case.flags,
                tuple((name, origin.source) for name, origin in origins.items()) if origins else (),
            )
            known = self.known.get(key)
            if known is not None:
                return known
        facts: dict[str, object] = {
            "score": advice.score,
            "outcome": advice.outcome,
            "adverse": advice.adverse,
            "near_threshold": advice.near_threshold,
            "unfamiliar": found[0],
            "small_group": found[1],
            "purpose": circumstances.purpose or "",
            "stale": list(found[2]),
        }
        for kind in ("missing", "unknown"):
            facts[kind] = [flag.field for flag in case.flags if flag.kind == kind]
        for source in _SOURCES & self.conditions.general:
            facts[source] = [name for name, origin in origins.items() if origin.source == source]
        asked = self.conditions.judge(case.values, facts)
        if key:
            if len(self.known) >= MOST_KNOWN:
                self.known.clear()
            self.known[key] = asked
        return asked

    def is_small_group(self, policy: Policy, case: Mapping[str, Value]) -> bool:
        """Return whether too few background cases share one of this case's values."""
        terms = policy.small_group
        return terms is not None and any(
            counts.get(case[name], 0) < terms.fewer_than
            for name, counts in self.background_counts.items()
        )


def stale_fields(policy: Policy, circumstances: Circumstances, *, on: date) -> tuple[str, ...]:
    """Return the fields whose value is older than the policy takes, in the policy's order."""
    limits = policy.provenance.stale_after_days
    if not limits or not circumstances.provenance:
        return ()
    found = []
    for name, days in limits.items():
        origin = circumstances.provenance.get(name)
        if origin is not None and origin.date is not None and (on - origin.date).days > days:
            found.append(name)
    return tuple(found)


def make_judge(policy: Policy, bundle: Bundle) -> Judge:
    """Return the policy's rules compiled for the bundle's fields.

    Raises PolicyError when a rule or a named field does not fit the card.
    """
    names = {field.name for field in bundle.card.fields}
    group_fields = () if policy.small_group is None else policy.small_group.fields
    unknown = sorted({*policy.provenance.stale_after_days, *group_fields} - names)
    if unknown:
        raise PolicyError(
            f"policy {policy.policy} names the field {unknown[0]!r}, which the card does not have"
        )
    try:
        conditions = Conditions(policy.rules, bundle.card.fields)
    except ConditionError as err:
        raise PolicyError(f"policy {policy.policy}: {err}") from err
    return Judge(
        conditions=conditions,
        background_counts={name: Counter(bundle.background.values[name]) for name in group_fields},
    )
