"""The figures of one model at one moment, and which limits they break."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from app.monitoring import fairness
from app.monitoring.attributes import Reported
from app.monitoring.calibration import Calibration, calibration
from app.monitoring.drift import Bins, expected_by_chance
from app.monitoring.fairness import RATES, UNKNOWN, Gap, Group
from app.monitoring.limits import LimitName
from app.monitoring.sequential import evidence_of_change, level, mean_bound
from app.monitoring.streams import Brief, Stream

RATE_OF: Mapping[LimitName, str] = {
    "selection_rate_difference": "selection_rate",
    "selection_rate_ratio": "selection_rate",
    "true_positive_rate_difference": "true_positive_rate",
    "false_positive_rate_difference": "false_positive_rate",
}


@dataclass(frozen=True, slots=True)
class Stability:
    """How far one field, or the output, has moved from the background."""

    name: str
    index: float
    by_chance: float
    """About what the index would be had nothing changed."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One protected attribute's groups."""

    attribute: str
    groups: tuple[Group, ...]
    gaps: Mapping[str, Gap]
    """By rate; a rate is missing unless two groups are large enough."""
    not_tested: tuple[str, ...]
    """Groups too small for anything to be said of them."""
    smallest: int
    """The fewest people of whom anything is said."""


@dataclass(frozen=True, slots=True)
class Breach:
    """A limit that is broken, and not by chance."""

    limit: LimitName
    subject: str
    """The attribute or field it is about, or the output."""
    value: float


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that monitoring says of one model's active version, or of its canary."""

    model: str
    decisions: int
    window: int
    fields: tuple[Stability, ...]
    output: Stability | None
    comparisons: tuple[Comparison, ...]
    not_tested: tuple[str, ...]
    """Protected attributes that nobody compares."""
    calibration: Calibration | None
    baseline_gap: float
    """The calibration gap in the bundle's own calibration sample."""
    breaches: tuple[Breach, ...]


def report(
    stream: Stream,
    reports: Sequence[Reported],
    reports_ever: int,
    find: Callable[[str], Brief | None],
) -> Report:
    """Return the figures as they stand. ``find`` returns what is known of an older decision."""
    monitoring = stream.watched.monitoring
    codes = stream.codes()
    scores, answers = stream.turned_out()
    is_probability = stream.served.is_probability
    table = _Table(stream, reports, find)
    stabilities = [
        Stability(
            bins.name,
            bins.stability_index(codes[:, place]),
            expected_by_chance(len(codes), bins.background),
        )
        for place, bins in enumerate((*stream.bins, stream.score_bins))
        if len(codes)
    ]
    return Report(
        model=stream.served.name,
        decisions=len(codes),
        window=monitoring.window,
        fields=tuple(stabilities[:-1]),
        output=stabilities[-1] if stabilities else None,
        comparisons=tuple(
            _comparison(attribute, table.tally(attribute), smallest=monitoring.smallest_group)
            for attribute in monitoring.protected_attributes
        ),
        not_tested=stream.watched.not_tested,
        calibration=calibration(scores, answers) if is_probability and len(scores) else None,
        baseline_gap=baseline_gap(stream),
        breaches=tuple(_breaches(stream, table, reports_ever)),
    )


def baseline_gap(stream: Stream) -> float:
    """Return the calibration gap of the bundle's calibration sample, 0 where it has none."""
    bundle = stream.served.bundle
    if bundle.calibration is None or not stream.served.is_probability:
        return 0.0
    positive = bundle.card.output.positive_class
    share = np.mean([label == positive for label in bundle.calibration.labels])
    return float(share - bundle.calibration.scores[:, bundle.positive_score].mean())


class _Table:
    """The latest reported people with what was decided and how it turned out."""

    def __init__(
        self, stream: Stream, reports: Sequence[Reported], find: Callable[[str], Brief | None]
    ) -> None:
        self._attributes = stream.watched.monitoring.protected_attributes
        rows = [(each, brief) for each in reports if (brief := find(each.decision)) is not None]
        self._places = np.array([each.place for each, _ in rows], dtype=np.int64)
        self._selected = np.array([brief.selected for _, brief in rows], dtype=bool)
        turned_out = [stream.answer(each.decision) for each, _ in rows]
        self._answers = np.array(
            [UNKNOWN if answer is None else answer for answer in turned_out], dtype=np.int64
        )
        self._groups = {
            attribute: np.array(
                [
                    groups.index(each.groups[attribute])
                    if each.groups.get(attribute) in groups
                    else UNKNOWN
                    for each, _ in rows
                ],
                dtype=np.int64,
            )
            for attribute, groups in self._attributes.items()
        }

    def tally(self, attribute: str, *, since: int = 0) -> list[Group]:
        kept = self._places >= since
        return fairness.tally(
            self._attributes[attribute],
            self._groups[attribute][kept],
            selected=self._selected[kept],
            answers=self._answers[kept],
        )


def _comparison(attribute: str, groups: Sequence[Group], *, smallest: int) -> Comparison:
    gaps = {rate: fairness.gap(groups, rate, smallest=smallest) for rate in RATES}
    return Comparison(
        attribute=attribute,
        groups=tuple(groups),
        gaps={rate: gap for rate, gap in gaps.items() if gap is not None},
        not_tested=tuple(group.name for group in groups if group.people < smallest),
        smallest=smallest,
    )


def _breaches(stream: Stream, table: _Table, reports_ever: int) -> Iterator[Breach]:
    monitoring = stream.watched.monitoring
    window, alpha, tests = monitoring.window, monitoring.false_alarms, _tests(stream)
    for name, entry in monitoring.limits.items():
        limit = entry.limit
        if name in RATE_OF:
            period = stream.attributes_period
            at = level(alpha, period=period.number(reports_ever, window), tests=tests)
            for attribute in monitoring.protected_attributes:
                groups = table.tally(attribute, since=period.start(reports_ever, window))
                yield from _gap_breach(
                    name, attribute, groups, limit, at, smallest=monitoring.smallest_group
                )
        elif name == "calibration_gap":
            yield from _calibration_breach(stream, limit, alpha, tests)
        else:
            period = stream.decisions_period
            at = level(alpha, period=period.number(stream.decided, window), tests=tests)
            codes = stream.codes(since=period.start(stream.decided, window))
            all_bins: Sequence[Bins] = (*stream.bins, stream.score_bins)
            last = len(all_bins) - 1
            for place, bins in enumerate(all_bins):
                if (place == last) != (name == "output_stability") or not len(codes):
                    continue
                index = bins.stability_index(codes[:, place])
                evidence = float(evidence_of_change(bins.counts(codes[:, place]), bins.background))
                if index > limit and evidence > log(1 / at):
                    yield Breach(name, bins.name, index)


def _gap_breach(
    name: LimitName, attribute: str, groups: Sequence[Group], limit: float, alpha: float, *,
    smallest: int,
) -> Iterator[Breach]:  # fmt: skip
    rate = RATE_OF[name]
    large = [group for group in groups if group.tallies[rate].total >= smallest]
    gap = fairness.gap(large, rate, smallest=smallest)
    if gap is None:
        return
    if name == "selection_rate_ratio":
        evidence = fairness.evidence_of_ratio(large, rate, limit=limit)
        value = gap.ratio.value
    else:
        evidence = fairness.evidence_of_difference(large, rate, limit=limit)
        value = gap.difference.value
    if evidence > log(1 / alpha):
        yield Breach(name, attribute, value)


def _calibration_breach(stream: Stream, limit: float, alpha: float, tests: int) -> Iterator[Breach]:
    window, period = stream.watched.monitoring.window, stream.outcomes_period
    scores, answers = stream.turned_out(since=period.start(stream.reported, window))
    if not stream.served.is_probability or not len(scores):
        return
    at = level(alpha, period=period.number(stream.reported, window), tests=tests)
    gap = float((answers - scores).mean()) - baseline_gap(stream)
    if abs(gap) - float(mean_bound(len(scores), at)) > limit:
        yield Breach("calibration_gap", stream.score_bins.name, gap)


def _tests(stream: Stream) -> int:
    """Return how many tests the limits amount to."""
    monitoring = stream.watched.monitoring
    pairs = sum(
        fairness.comparisons(len(groups)) for groups in monitoring.protected_attributes.values()
    )
    sizes = {"field_stability": len(stream.bins), "output_stability": 1, "calibration_gap": 1}
    return sum(sizes.get(name, pairs) for name in monitoring.limits)
