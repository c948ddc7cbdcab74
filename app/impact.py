"""What another bundle or policy would change: two judgements of the same cases, compared and summed.

Pure. A tally takes one case at a time and can be merged with another, so that processes share the
work; its report holds numbers, names of outcomes and identifiers of decisions, and nothing else of
a case.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import inf

NO_ADVICE = "(no advice)"
"""The outcome where a rule of the policy says that nothing is advised."""

EXAMPLES = 10
"""Decisions named for each kind of change."""

SCORE_BINS = 20
"""Of the scores from 0 to 1. A regression's scores have none: their range is not known."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one bundle under one policy says of one case."""

    outcome: str
    """``NO_ADVICE`` where nothing is advised."""
    adverse: bool | None
    """None where nothing is advised, or where the record is too old to say."""
    score: float | None
    """None where nothing is advised, and so no score was told."""
    rule: str
    requires: tuple[str, ...]
    """The kinds of what the policy's rules ask for."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One recorded decision, and what would be said of its case instead."""

    decision: str
    model: str
    version: str
    recorded: Judgement
    instead: Judgement | None
    """None when the other bundle does not take the case."""
    refused: tuple[str, ...] = ()
    """The fields for which it does not."""


@dataclass(frozen=True, slots=True)
class Transition:
    """How many cases went from one outcome to another (or stayed)."""

    recorded: str
    instead: str
    count: int
    examples: tuple[str, ...]
    """Identifiers of the first such decisions; none where the outcome stays."""


@dataclass(frozen=True, slots=True)
class Share:
    """How many cases of one group would come out otherwise."""

    name: str
    compared: int
    changed: int
    share: float


@dataclass(frozen=True, slots=True)
class Bin:
    """How many scores lie from ``at_least`` up to the next bin."""

    at_least: float
    recorded: int
    instead: int


@dataclass(frozen=True, slots=True)
class Scores:
    """How the scores move."""

    compared: int
    mean_recorded: float
    mean_instead: float
    mean_difference: float
    mean_absolute_difference: float
    lowest_difference: float
    highest_difference: float
    bins: tuple[Bin, ...]
    """Empty unless all scores are from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Asked:
    """How often the policy's rules ask for something."""

    kind: str
    recorded: int
    instead: int


@dataclass(frozen=True, slots=True)
class Refused:
    """How many cases the other bundle does not take because of one field."""

    field: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImpactReport:
    """What would change. ``changed`` counts other outcomes, ``rule_changed`` other rules as well."""

    cases: int
    """Compared and refused together."""
    compared: int
    refused: int
    changed: int
    share_changed: float
    """Of those compared; 0 when there are none."""
    rule_changed: int
    became_adverse: int
    """Adverse now, and not before; cases without advice on either side are in neither count."""
    no_longer_adverse: int
    transitions: tuple[Transition, ...]
    by_version: tuple[Share, ...]
    """By the model's name and version that was asked at the time."""
    by_outcome: tuple[Share, ...]
    """By recorded outcome."""
    scores: Scores | None
    """None when no case has both scores."""
    requirements: tuple[Asked, ...]
    refused_fields: tuple[Refused, ...]

    def body(self) -> dict[str, object]:
        """Return the report as JSON has it."""
        return asdict(self)


@dataclass(slots=True)
class Tally:
    """Comparisons summed up."""

    cases: int = 0
    compared: int = 0
    rule_changed: int = 0
    became_adverse: int = 0
    no_longer_adverse: int = 0
    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)
    versions: Counter[tuple[str, bool]] = field(default_factory=Counter)
    asked_before: Counter[str] = field(default_factory=Counter)
    asked_instead: Counter[str] = field(default_factory=Counter)
    refused_fields: Counter[str] = field(default_factory=Counter)
    examples: dict[tuple[str, ...], list[str]] = field(default_factory=dict)
    scored: int = 0
    sum_recorded: float = 0.0
    sum_instead: float = 0.0
    sum_absolute: float = 0.0
    lowest: float = inf
    highest: float = -inf
    bins_recorded: Counter[int] = field(default_factory=Counter)
    bins_instead: Counter[int] = field(default_factory=Counter)
    in_unit: bool = True
    """Whether every score so far lies from 0 to 1."""

    def add(self, case: Comparison) -> None:
        """Take one case in."""
        self.cases += 1
        before, instead = case.recorded, case.instead
        if instead is None:
            for name in case.refused:
                self.refused_fields[name] += 1
                self._note(("refused", name), case.decision)
            return
        self.compared += 1
        changed = before.outcome != instead.outcome
        self.transitions[before.outcome, instead.outcome] += 1
        self.versions[f"{case.model} {case.version}", changed] += 1
        if changed:
            self._note((before.outcome, instead.outcome), case.decision)
        self.rule_changed += before.rule != instead.rule
        self.became_adverse += instead.adverse is True and before.adverse is False
        self.no_longer_adverse += before.adverse is True and instead.adverse is False
        self.asked_before.update(set(before.requires))
        self.asked_instead.update(set(instead.requires))
        if before.score is not None and instead.score is not None:
            self._add_scores(before.score, instead.score)

    def merge(self, other: "Tally") -> None:
        """Take in what another tally has, of cases that come after this one's."""
        self.cases += other.cases
        self.compared += other.compared
        self.rule_changed += other.rule_changed
        self.became_adverse += other.became_adverse
        self.no_longer_adverse += other.no_longer_adverse
        self.transitions.update(other.transitions)
        self.versions.update(other.versions)
        self.asked_before.update(other.asked_before)
        self.asked_instead.update(other.asked_instead)
        self.refused_fields.update(other.refused_fields)
        for key, decisions in other.examples.items():
            for decision in decisions:
                self._note(key, decision)
        self.scored += other.scored
        self.sum_recorded += other.sum_recorded
        self.sum_instead += other.sum_instead
        self.sum_absolute += other.sum_absolute
        self.lowest = min(self.lowest, other.lowest)
        self.highest = max(self.highest, other.highest)
        self.bins_recorded.update(other.bins_recorded)
        self.bins_instead.update(other.bins_instead)
        self.in_unit = self.in_unit and other.in_unit

    def report(self) -> ImpactReport:
        """Return the sums as a report, its lists in an order that does not depend on chance."""
        changed = sum(count for (old, new), count in self.transitions.items() if old != new)
        return ImpactReport(
            cases=self.cases,
            compared=self.compared,
            refused=self.cases - self.compared,
            changed=changed,
            share_changed=changed / self.compared if self.compared else 0.0,
            rule_changed=self.rule_changed,
            became_adverse=self.became_adverse,
            no_longer_adverse=self.no_longer_adverse,
            transitions=tuple(
                Transition(old, new, count, tuple(self.examples.get((old, new), ())))
                for (old, new), count in sorted(self.transitions.items())
            ),
            by_version=_shares(self.versions),
            by_outcome=_shares(
                {
                    (old, moved): sum(
                        count
                        for (first, new), count in self.transitions.items()
                        if first == old and (new != old) == moved
                    )
                    for old in {old for old, _ in self.transitions}
                    for moved in (False, True)
                }
            ),
            scores=self._scores(),
            requirements=tuple(
                Asked(kind, self.asked_before[kind], self.asked_instead[kind])
                for kind in sorted(self.asked_before.keys() | self.asked_instead.keys())
            ),
            refused_fields=tuple(
                Refused(name, count, tuple(self.examples[("refused", name)]))
                for name, count in sorted(self.refused_fields.items())
            ),
        )

    def _note(self, key: tuple[str, ...], decision: str) -> None:
        named = self.examples.setdefault(key, [])
        if len(named) < EXAMPLES:
            named.append(decision)

    def _add_scores(self, recorded: float, instead: float) -> None:
        self.scored += 1
        self.sum_recorded += recorded
        self.sum_instead += instead
        self.sum_absolute += abs(instead - recorded)
        self.lowest = min(self.lowest, instead - recorded)
        self.highest = max(self.highest, instead - recorded)
        for bins, score in ((self.bins_recorded, recorded), (self.bins_instead, instead)):
            if 0 <= score <= 1:
                bins[min(int(score * SCORE_BINS), SCORE_BINS - 1)] += 1
            else:
                self.in_unit = False

    def _scores(self) -> Scores | None:
        if not self.scored:
            return None
        recorded, instead = self.sum_recorded / self.scored, self.sum_instead / self.scored
        bins: Sequence[int] = range(SCORE_BINS) if self.in_unit else ()
        return Scores(
            compared=self.scored,
            mean_recorded=recorded,
            mean_instead=instead,
            mean_difference=instead - recorded,
            mean_absolute_difference=self.sum_absolute / self.scored,
            lowest_difference=self.lowest,
            highest_difference=self.highest,
            bins=tuple(
                Bin(place / SCORE_BINS, self.bins_recorded[place], self.bins_instead[place])
                for place in bins
            ),
        )


def _shares(counts: "dict[tuple[str, bool], int] | Counter[tuple[str, bool]]") -> tuple[Share, ...]:
    shares = []
    for name in sorted({name for name, _ in counts}):
        moved = counts.get((name, True), 0)
        total = moved + counts.get((name, False), 0)
        shares.append(Share(name, total, moved, moved / total))
    return tuple(shares)
