"""What would have changed the recommendation: the smallest changes, found by asking the model.

Changes of one field come before changes of two, then the smaller scaled distance; only fields
with a domain are ever changed, so protected and immutable fields never are. Every answer was
scored by the model itself, once in the search and once alone. The number of evaluations decides
how far the search goes; time decides only whether there is an answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR
from itertools import combinations, product
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from explainers.domains import Domain, Numbers, Value, as_number, frontier, grid_index
from explainers.errors import TimeBudgetError
from explainers.explainer import Feeds, Slot

PAIR_CANDIDATES = 8
"""Values of each field that are combined with another field's."""
KEPT_FOR_REFINING = 300
"""Evaluations that the search over pairs leaves for drawing answers nearer and confirming them."""
MOST_AT_ONCE = 512
"""Trials in one question: bounds memory, and how late the end of the time is noticed."""
PARTS = 16
"""Parts of a stretch that are looked at together: a run of the model costs more than a row in it."""


@dataclass(frozen=True, slots=True)
class Change:
    """One field's value, as it is and as it would have to be."""

    field: str
    before: Value
    after: Value


Trial: TypeAlias = tuple[Change, ...]
"""A case with some fields changed."""
Judge: TypeAlias = Callable[[Sequence[Trial]], NDArray[np.float64]]
"""How far past the threshold each changed case is, shape (N,): positive when the recommendation
is another one, and growing towards it; NaN never counts."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far the search goes."""

    max_fields: int = 2
    max_answers: int = 3
    max_evaluations: int = 5_000
    time_budget_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """Changes that together change the recommendation, and no part of them alone does."""

    changes: Trial
    distance: float
    """Sum over the changes, in scales of their fields."""


@dataclass(frozen=True, slots=True)
class Counterfactuals:
    """The answers, smallest first; none is an answer too."""

    found: tuple[Counterfactual, ...]
    searched_fields: tuple[str, ...]
    max_fields: int
    evaluations: int
    complete: bool
    """False when the evaluations ended before the candidates did."""

    @property
    def statement(self) -> str:
        """What can be said of the search, in a sentence."""
        extent = (
            f"changing at most {self.max_fields} of {len(self.searched_fields)} fields, "
            f"{self.evaluations} cases scored"
            f"{'' if self.complete else '; the search was cut short there'}"
        )
        if not self.found:
            return f"none found within these limits: {extent}"
        return f"{len(self.found)} found, {extent}"


def find_counterfactuals(
    case: Mapping[str, Value],
    domains: Sequence[Domain],
    judge: Judge,
    *,
    limits: Limits | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Counterfactuals:
    """Return up to ``max_answers`` smallest changes that flip ``case``, each of other fields.

    ``domains``: the fields that may be changed, and to what; in their order ties are broken. Same
    arguments, same answers. Raises TimeBudgetError past the time budget, with no answer;
    ValueError when a domain is of no field of the case, or the judge calls the case itself flipped.
    """
    unknown = sorted({domain.field for domain in domains} - set(case))
    if unknown:
        raise ValueError(f"domains: got fields {unknown}, want fields of the case")
    search = _Search(case, domains, judge, limits or Limits(), clock)
    search.change_one()
    if len(search.found) < search.limits.max_answers and search.limits.max_fields > 1:
        search.change_two()
    return Counterfactuals(
        found=tuple(search.found[: search.limits.max_answers]),
        searched_fields=tuple(domain.field for domain in domains),
        max_fields=search.limits.max_fields,
        evaluations=search.evaluations,
        complete=search.complete,
    )


def vary(case: Feeds, slots: Mapping[str, Slot], trials: Sequence[Trial]) -> Feeds:
    """Return one row for each trial: ``case``, one row, with the trial's changes made.

    ``slots``: field -> where it sits. Unchanged fields keep the case's own encoded value.
    """
    made = {name: np.repeat(column, len(trials), axis=0) for name, column in case.items()}
    changed: dict[str, tuple[list[int], list[Value]]] = {}
    for row, trial in enumerate(trials):
        for change in trial:
            rows, values = changed.setdefault(change.field, ([], []))
            rows.append(row)
            values.append(change.after)
    for field, (rows, values) in changed.items():
        slot = slots[field]
        column = made[slot.input]
        if column.ndim == 1:
            column[rows] = values
        else:
            column[rows, slot.column] = values
    return made


class _Search:
    """One search: counts what it asks, and stops asking at its limits."""

    def __init__(
        self,
        case: Mapping[str, Value],
        domains: Sequence[Domain],
        judge: Judge,
        limits: Limits,
        clock: Callable[[], float],
    ) -> None:
        self._case = case
        self._domains = tuple(domains)
        self._by_field = {domain.field: domain for domain in domains}
        self._judge = judge
        self._clock = clock
        self._started = clock()
        self.limits = limits
        self.found: list[Counterfactual] = []
        self.evaluations = 0
        self.complete = True
        self._gains: dict[str, list[tuple[float, float, Value]]] = {}
        self._closest: dict[str, float] = {}
        """Of each field the best score that it reaches alone."""

    def change_one(self) -> None:
        """Find for each field alone the nearest value that flips.

        Raises ValueError when the case as it is counts as flipped: the judge is turned round.
        """
        trials: list[Trial] = [()]
        for domain in self._domains:
            current = self._case[domain.field]
            trials += [(Change(domain.field, current, v),) for v in domain.candidates(current)]
        scores = self._ask(trials).tolist()
        if scores and scores[0] > 0:
            raise ValueError("judge: got a positive score for the case itself, want none")
        self._gains = {domain.field: [] for domain in self._domains}
        for (change,), score in zip(trials[1:], scores[1:], strict=False):
            distance = self._by_field[change.field].distance(change.before, change.after)
            self._gains[change.field].append((distance, score, change.after))
        self._closest = {
            field: max((score for _, score, _ in gains), default=-np.inf)
            for field, gains in self._gains.items()
        }
        for domain in self._domains:
            flipping = [entry for entry in self._gains[domain.field] if entry[1] > 0]
            if flipping:
                nearest = min(flipping, key=lambda entry: entry[0])[2]
                self._keep((self._change(domain, nearest),))
        self.found.sort(key=lambda answer: answer.distance)

    def change_two(self) -> None:
        """Find for each pair of other fields the nearest two values that flip together."""
        alone = {change.field for answer in self.found for change in answer.changes}
        left = [domain for domain in self._domains if domain.field not in alone]
        worth_trying = {
            domain.field: [
                self._change(domain, value)
                for value in frontier(self._gains[domain.field], most=PAIR_CANDIDATES)
            ]
            for domain in left
        }
        trials: list[Trial] = []
        for first, second in sorted(combinations(left, 2), key=self._promise):
            trials += product(worth_trying[first.field], worth_trying[second.field])
        scores = self._ask(trials, keep=KEPT_FOR_REFINING).tolist()
        nearest: dict[tuple[str, str], tuple[float, Trial]] = {}
        for trial, score in zip(trials, scores, strict=False):
            if score > 0:
                pair = (trial[0].field, trial[1].field)
                distance = self._distance(trial)
                if pair not in nearest or distance < nearest[pair][0]:
                    nearest[pair] = (distance, trial)
        ordered = [trial for _, trial in sorted(nearest.values(), key=lambda entry: entry[0])]
        for trial in _diverse(ordered):
            if len(self.found) < self.limits.max_answers:
                self._keep(trial)
        self.found.sort(key=lambda answer: (len(answer.changes), answer.distance))

    def _promise(self, pair: tuple[Domain, Domain]) -> float:
        """Return a key that puts the pairs first whose fields alone came closest."""
        return -float(self._closest[pair[0].field] + self._closest[pair[1].field])

    def _keep(self, trial: Trial) -> None:
        """Draw every number of a flipping trial nearer, round it, and confirm it alone."""
        for place, change in enumerate(trial):
            domain = self._by_field[change.field]
            if isinstance(domain, Numbers) and change.before is not None:
                trial = self._nearer(trial, place, domain)
                trial = self._rounder(trial, place, domain)
        parts: list[Trial] = [(change,) for change in trial] if len(trial) > 1 else []
        scores = self._ask(parts).tolist()
        trial = next((p for p, score in zip(parts, scores, strict=False) if score > 0), trial)
        if self._flips(trial):
            self.found.append(Counterfactual(changes=trial, distance=self._distance(trial)))

    def _nearer(self, trial: Trial, place: int, domain: Numbers) -> Trial:
        """Return the trial with one number drawn towards what it was, while it still flips.

        The stretch between a value that flips and a nearer one that does not is cut in PARTS again
        and again, and each time the part before the nearest flipping cut is kept.
        """
        change = trial[place]
        start, end = as_number(change.before), as_number(change.after)
        rounding = ROUND_CEILING if end < start else ROUND_FLOOR
        near = grid_index(start, domain.step, rounding)
        far = grid_index(end, domain.step, rounding)
        if domain.at(far) != end:
            return trial
        while abs(far - near) > 1:
            parts = min(abs(far - near), PARTS)
            cuts = [near + (far - near) * part // parts for part in range(1, parts)]
            allowed = [cut for cut in cuts if domain.allows(change.before, domain.at(cut))]
            asked = [_replaced(trial, place, domain.at(cut)) for cut in allowed]
            scores = self._ask(asked).tolist()
            flips = [at for at, score in enumerate(scores) if score > 0]
            if flips:
                far, trial = allowed[flips[0]], asked[flips[0]]
            before = cuts[: cuts.index(far)] if flips else cuts
            near = before[-1] if before else near
        return trial

    def _rounder(self, trial: Trial, place: int, domain: Numbers) -> Trial:
        """Return the trial with one number as round as possible, if it still flips."""
        change = trial[place]
        values = domain.rounder(change.before, as_number(change.after))
        rounded = [_replaced(trial, place, value) for value in values]
        scores = self._ask(rounded)
        return next((t for t, score in zip(rounded, scores, strict=False) if score > 0), trial)

    def _flips(self, trial: Trial) -> bool:
        scores = self._ask([trial])
        return bool(len(scores) and scores[0] > 0)

    def _ask(self, trials: Sequence[Trial], *, keep: int = 0) -> NDArray[np.float64]:
        """Return the scores of as many of the trials, in order, as the limits leave room for."""
        room = max(self.limits.max_evaluations - keep - self.evaluations, 0)
        if len(trials) > room:
            self.complete = False
            trials = trials[:room]
        scores = [np.zeros(0)]
        for start in range(0, len(trials), MOST_AT_ONCE):
            batch = trials[start : start + MOST_AT_ONCE]
            scores.append(self._judge(batch))
            self.evaluations += len(batch)
            elapsed = self._clock() - self._started
            if elapsed > self.limits.time_budget_seconds:
                raise TimeBudgetError(
                    elapsed_seconds=elapsed, budget_seconds=self.limits.time_budget_seconds
                )
        return scores[-1] if len(scores) <= 2 else np.concatenate(scores)

    def _change(self, domain: Domain, value: Value) -> Change:
        return Change(field=domain.field, before=self._case[domain.field], after=value)

    def _distance(self, trial: Trial) -> float:
        return sum(self._by_field[c.field].distance(c.before, c.after) for c in trial)


def _replaced(trial: Trial, place: int, value: Value) -> Trial:
    change = Change(trial[place].field, trial[place].before, value)
    return (*trial[:place], change, *trial[place + 1 :])


def _diverse(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials with those first that share no field with a nearer one."""
    apart: list[Trial] = []
    overlapping: list[Trial] = []
    used: set[str] = set()
    for trial in trials:
        fields = {change.field for change in trial}
        (overlapping if fields & used else apart).append(trial)
        used |= fields
    return apart + overlapping
