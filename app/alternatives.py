"""What would have changed the recommendation: the smallest changes, in the card's terms.

The search asks the model itself, with changes the card allows: only fields the person could change,
within ranges and categories and in the allowed direction. Every change that is shown has been scored
once more alone and put through the policy, as a case would be.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.domain import Advice
from app.policy import Policy
from explainers.counterfactual import (
    Counterfactual,
    Counterfactuals,
    Limits,
    Trial,
    find_counterfactuals,
    vary,
)
from explainers.domains import Categories, Direction, Domain, numbers
from explainers.explainer import Slot
from models.bundle import Bundle
from models.card import Field, Value
from models.errors import CaseRejectedError
from models.schema import EncodedCase
from models.wording import format_value, phrase

LIMITS = Limits(max_fields=2, max_answers=3, max_evaluations=1_500, time_budget_seconds=2.0)


@dataclass(frozen=True, slots=True)
class ChangeableFields:
    """The fields of a model that may be changed, and to what; made once, when it is loaded."""

    domains: tuple[Domain, ...]
    slots: dict[str, Slot]


@dataclass(frozen=True, slots=True)
class Alternative:
    """Changes that would have led to another outcome."""

    changes: tuple[dict[str, object], ...]
    outcome: str
    label: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Alternatives:
    """The smallest changes found, and how far the search went."""

    found: tuple[Alternative, ...]
    statement: str


def changeable_fields(bundle: Bundle) -> ChangeableFields:
    """Return what the card allows to be changed."""
    domains = [
        _domain(field, bundle.background.values[field.name])
        for field in bundle.card.fields
        if field.actionable
    ]
    return ChangeableFields(
        domains=tuple(domain for domain in domains if domain is not None),
        slots={
            field.name: Slot(slot.input, slot.column)
            for field, slot in zip(bundle.card.fields, bundle.slots, strict=True)
        },
    )


def find_alternatives(
    bundle: Bundle,
    policy: Policy,
    fields: ChangeableFields,
    *,
    case: EncodedCase,
    advice: Advice,
) -> Alternatives:
    """Return the smallest changes that lead to another outcome; from an adverse one, to a better.

    Raises ScoringError, or TimeBudgetError past the time budget.
    """
    # A score on a band's lower end is in it: only what is below by a bit more is not.
    wanted = [(np.nextafter(low, -np.inf), high) for low, high in policy.other_bands(advice)]

    def judge(trials: Sequence[Trial]) -> NDArray[np.float64]:
        rows = vary(case.feeds, fields.slots, trials)
        scores = bundle.session.run_batch(rows)[:, advice.target].astype(np.float64)
        reach = [np.minimum(scores - low, high - scores) for low, high in wanted]
        return np.asarray(np.max(reach, axis=0)) if reach else np.full(len(trials), -np.inf)

    if not wanted or not fields.domains:
        return Alternatives((), "nothing in this case that a person could change was searched")
    result = find_counterfactuals(case.values, fields.domains, judge, limits=LIMITS)
    shown = [_shown(bundle, policy, case, advice, answer) for answer in result.found]
    return Alternatives(tuple(each for each in shown if each is not None), _statement(result))


def _domain(field: Field, background: Sequence[object]) -> Domain | None:
    direction = Direction(field.direction)
    if field.type == "boolean":
        return Categories(field.name, (False, True), direction)
    if field.categories:
        # Numbers by size; words have the order that the card gives them.
        by_size = field.type in {"number", "integer"}
        values = sorted(field.categories) if by_size else field.categories
        return Categories(field.name, tuple(values), direction)
    seen = [float(value) for value in background if isinstance(value, int | float)]
    if not seen:
        return None
    return numbers(
        field.name,
        seen,
        minimum=field.minimum,
        maximum=field.maximum,
        is_integer=field.type == "integer",
        direction=direction,
    )


def _shown(
    bundle: Bundle, policy: Policy, case: EncodedCase, advice: Advice, answer: Counterfactual
) -> Alternative | None:
    """Return the answer in words, or None when the changed case, sent as a case, does not flip."""
    changed = {**case.values, **{change.field: change.after for change in answer.changes}}
    try:
        encoded = bundle.schema.encode(changed)
    except CaseRejectedError:
        return None
    scored = bundle.session.run_row(encoded.feeds)
    other = policy.apply(scored.scores[advice.target], target=advice.target)
    if other.outcome == advice.outcome:
        return None
    fields = [(bundle.card.field(change.field), change) for change in answer.changes]
    wording = " and ".join(
        f"{phrase(field, change.after)} instead of {_before(field, change.before)}"
        for field, change in fields
    )
    return Alternative(
        changes=tuple(
            {
                "field": field.name,
                "label": field.label,
                "from": change.before,
                "to": change.after,
            }
            for field, change in fields
        ),
        outcome=other.outcome,
        label=other.label,
        sentence=f"With {wording}, the model would have suggested: {other.label}.",
    )


def _before(field: Field, value: Value) -> str:
    """Return the value that was; a number needs its field's name only once in the sentence."""
    is_number = field.type in {"number", "integer"} and value is not None
    return format_value(field, value) if is_number else phrase(field, value)


def _statement(result: Counterfactuals) -> str:
    extent = (
        f"Looked at changing one or two of {len(result.searched_fields)} things that the person "
        f"could change, {result.evaluations:,} variations in all"
    )
    rest = "" if result.complete else "; not every variation was tried"
    if not result.found:
        return (
            f"No small change was found that would have changed the recommendation. {extent}{rest}."
        )
    return f"{extent}{rest}."
