"""What would have changed the recommendation: the smallest changes, in the card's terms.

The search asks the model itself, with changes the card allows: only fields the person could change,
within ranges and categories and in the allowed direction. Every change that is shown has been scored
once more alone and put through the policy, as a case would be.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import thread_time
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.domain import Advice
from app.policy import Policy
from explainers.changed_scores import ChangedScores, changed_scores
from explainers.counterfactual import (
    Change,
    Counterfactual,
    Counterfactuals,
    Limits,
    Trial,
    find_counterfactuals,
    vary,
)
from explainers.domains import Categories, Direction, Domain, numbers
from explainers.explainer import Explainer, Slot
from models.bundle import Bundle
from models.card import Field
from models.errors import CaseRejectedError
from models.schema import EncodedCase
from models.session import Scored
from models.wording import format_value, needs_all_digits, phrase

LIMITS = Limits(max_fields=2, max_answers=3, max_evaluations=1_500, time_budget_seconds=2.0)
QUICK_SECONDS = 0.005
"""Of processor time: scoring as many variations as a search may ask for takes no longer, or it would
hold up others. Most searches ask for a tenth of that."""
NO_OTHER_OUTCOME = (
    "No change was looked for: the policy has no outcome in the person's favour to change it to."
)
NOTHING_TO_CHANGE = "No change was looked for: the model uses no fact that the person could change."

Advise: TypeAlias = Callable[[EncodedCase, Scored], Advice]
"""Returns what is advised on a case, whatever the policy's rules ask for in it."""


@dataclass(frozen=True, slots=True)
class ChangeableFields:
    """The fields of a model that may be changed, and to what; made once, when it is loaded."""

    domains: tuple[Domain, ...]
    slots: dict[str, Slot]
    scores: ChangedScores | None
    """Scores of changed cases without running the graph, where the model is trees alone."""
    is_quick: bool
    """Whether a search is so short that it need not leave the engine's thread."""


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


def changeable_fields(bundle: Bundle, explainer: Explainer) -> ChangeableFields:
    """Return what the card allows to be changed."""
    found = [
        _domain(field, bundle.background.values[field.name])
        for field in bundle.card.fields
        if field.actionable
    ]
    domains = tuple(domain for domain in found if domain is not None)
    slots = {
        field.name: Slot(slot.input, slot.column)
        for field, slot in zip(bundle.card.fields, bundle.slots, strict=True)
    }
    scores = changed_scores(
        explainer,
        lambda feeds: bundle.session.run_row(feeds).taps,
        slots,
        target=bundle.positive_score,
    )
    is_quick = False
    if scores is not None and domains:
        row = {name: rows[:1] for name, rows in bundle.background.feeds.items()}
        scores.learn(row, domains)
        case = scores.case(row, bundle.session.run_row(row).taps)
        trials = _every_field_changed(domains, LIMITS.max_evaluations)
        elapsed = 0.0
        for _ in range(2):  # the first may compile
            start = thread_time()
            scores.of(case, trials)
            elapsed = thread_time() - start
        is_quick = elapsed < QUICK_SECONDS
    return ChangeableFields(domains, slots, scores, is_quick)


def find_alternatives(
    bundle: Bundle,
    policy: Policy,
    fields: ChangeableFields,
    *,
    case: EncodedCase,
    scored: Scored,
    advice: Advice,
    advise: Advise,
) -> Alternatives:
    """Return the smallest changes that lead to another outcome; from an adverse one, to a better.

    ``advise`` is asked about every change that is shown. Raises ScoringError, or TimeBudgetError past
    the time budget.
    """
    # A score on a band's lower end is in it: only what is below by a bit more is not.
    wanted = [(np.nextafter(low, -np.inf), high) for low, high in policy.other_bands(advice)]
    if not wanted:
        return Alternatives((), NO_OTHER_OUTCOME)
    if not fields.domains:
        return Alternatives((), NOTHING_TO_CHANGE)
    ask = _by_trees(fields, case, scored) or _by_graph(bundle, fields, case, advice)
    doubt = 0.0 if fields.scores is None else fields.scores.doubt(advice.score)

    def judge(trials: Sequence[Trial]) -> NDArray[np.float64]:
        scores = ask(trials)
        past = [np.minimum(scores - low, high - scores) for low, high in wanted]
        reach: NDArray[np.float64] = past[0] if len(past) == 1 else np.max(past, axis=0)
        # So near to a line the trees as read and the graph may not agree: that does not count.
        return reach - doubt

    result = find_counterfactuals(case.values, fields.domains, judge, limits=LIMITS)
    asked = _Asked(bundle, case, advice, advise)
    shown = [_shown(asked, answer) for answer in result.found]
    found = tuple(each for each in shown if each is not None)
    only_better = advice.adverse and any(
        band.adverse and band.outcome != advice.outcome for band in policy.bands
    )
    return Alternatives(found, _statement(result, found=bool(found), only_better=only_better))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A case, what was advised on it, and whom to ask about a changed one."""

    bundle: Bundle
    case: EncodedCase
    advice: Advice
    advise: Advise


Ask: TypeAlias = Callable[[Sequence[Trial]], NDArray[np.float64]]
"""Returns the score of each changed case, shape (N,)."""


def _by_trees(fields: ChangeableFields, case: EncodedCase, scored: Scored) -> Ask | None:
    scores = fields.scores
    if scores is None:
        return None
    read = scores.case(case.feeds, scored.taps)
    return lambda trials: scores.of(read, trials)


def _every_field_changed(domains: Sequence[Domain], count: int) -> list[Trial]:
    """Return ``count`` variations of two fields, as a long search may ask for."""
    changes = [Change(domain.field, None, domain.candidates(None)[0]) for domain in domains]
    pair = tuple(changes[:2])
    return [pair] * count


def _by_graph(bundle: Bundle, fields: ChangeableFields, case: EncodedCase, advice: Advice) -> Ask:
    def ask(trials: Sequence[Trial]) -> NDArray[np.float64]:
        rows = vary(case.feeds, fields.slots, trials)
        return bundle.session.run_batch(rows)[:, advice.target].astype(np.float64)

    return ask


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


def _shown(asked: _Asked, answer: Counterfactual) -> Alternative | None:
    """Return the answer in words, or None when the changed case, sent as a case, does not flip.

    Nor when a part of it does: then it is not the smallest change.
    """
    other = _advised(asked, answer.changes)
    if other is None:
        return None
    if len(answer.changes) > 1 and any(_advised(asked, (change,)) for change in answer.changes):
        return None
    fields = [(asked.bundle.card.field(change.field), change) for change in answer.changes]
    wording = " and ".join(
        f"{phrase(field, change.after, exact=True)} instead of {_before(field, change)}"
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


def _advised(asked: _Asked, changes: Trial) -> Advice | None:
    """Return what is advised on a changed case, None unless that is another outcome.

    Instead of an adverse outcome, only one that is not counts; and where the policy's rules let
    nothing be advised on the changed case, the model would have suggested nothing.
    """
    changed = {**asked.case.values, **{change.field: change.after for change in changes}}
    try:
        encoded = asked.bundle.schema.encode(changed)
    except CaseRejectedError:
        return None
    advice = asked.advice
    other = asked.advise(encoded, asked.bundle.session.run_row(encoded.feeds))
    is_other = other.outcome != advice.outcome and not (advice.adverse and other.adverse)
    return other if is_other and not other.is_withheld else None


def _before(field: Field, change: Change) -> str:
    """Return the value that was; a number needs its field's name only once in the sentence."""
    value = change.before
    if field.type in {"number", "integer"} and value is not None:
        return format_value(field, value, exact=needs_all_digits(value, change.after))
    return phrase(field, value)


def _statement(result: Counterfactuals, *, found: bool, only_better: bool) -> str:
    count = len(result.searched_fields)
    things = (
        "the one thing that the person could change"
        if count == 1
        else f"one or two of {count} things that the person could change"
    )
    variations = "1 variation" if result.evaluations == 1 else f"{result.evaluations:,} variations"
    rest = "" if result.complete else "; not every variation was tried"
    extent = f"Looked at changing {things}, {variations} in all{rest}."
    if found:
        return extent
    instead = (
        "led to an outcome in the person's favour" if only_better else "changed the recommendation"
    )
    return f"No small change was found that would have {instead}. {extent}"
