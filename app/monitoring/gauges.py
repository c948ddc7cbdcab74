"""The monitor's figures as gauges: made when somebody reads the metrics.

Labels are names of the card and of ``monitoring.yaml``, and the arm: the active version (``live``) or the
canary, of which a model has at most one. A figure over too few people is left out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.monitoring.fairness import RATES
from app.monitoring.intervals import Estimate
from app.monitoring.monitor import Monitor
from app.monitoring.report import Comparison, Report
from app.registry import Registry

BOUNDS = ("estimate", "low", "high")


@dataclass(frozen=True, slots=True)
class Gauge:
    """One gauge's name, meaning and labels."""

    name: str
    documentation: str
    labels: tuple[str, ...]


_RATE_GAUGES = {
    rate: Gauge(
        f"grounds_group_{rate}",
        f"{rate.replace('_', ' ').capitalize()} of one group, with its 95 % interval.",
        ("model", "arm", "attribute", "group", "bound"),
    )
    for rate in RATES
}
_DIFFERENCE = Gauge(
    "grounds_group_difference",
    "The largest group's rate less the smallest's, with its 95 % interval.",
    ("model", "arm", "attribute", "rate", "bound"),
)
_RATIO = Gauge(
    "grounds_group_ratio",
    "The smallest group's rate over the largest's, with its 95 % interval.",
    ("model", "arm", "attribute", "rate", "bound"),
)
_NOT_TESTED = Gauge(
    "grounds_groups_not_tested",
    "Groups too small for anything to be said of them.",
    ("model", "arm", "attribute"),
)
_FIELD = Gauge(
    "grounds_field_stability_index",
    "Population stability index of one field against the background.",
    ("model", "arm", "field"),
)
_OUTPUT = Gauge(
    "grounds_output_stability_index",
    "Population stability index of the score against the background's.",
    ("model", "arm"),
)
_CHANCE = Gauge(
    "grounds_output_stability_by_chance",
    "About what the score's stability index would be had nothing changed.",
    ("model", "arm"),
)
_CALIBRATION = Gauge(
    "grounds_calibration_gap",
    "Share of positive outcomes less the mean score, with its 95 % interval.",
    ("model", "arm", "bound"),
)
_WATCHED = Gauge(
    "grounds_monitored_decisions", "Decisions that the figures are taken over.", ("model", "arm")
)
_BREAKER = Gauge(
    "grounds_breaker_tripped",
    "1 for a limit that the active version has broken and that no person has reset, else 0.",
    ("model", "limit"),
)
_CANARY = Gauge(
    "grounds_canary_ended",
    "1 for a limit for which the circuit breaker ended the canary, until a person moves it, else 0.",
    ("model", "limit"),
)
_BEHIND = Gauge(
    "grounds_monitoring_lag_entries", "Entries of the log that no figure knows yet.", ()
)

GAUGES: tuple[Gauge, ...] = (
    *_RATE_GAUGES.values(), _DIFFERENCE, _RATIO, _NOT_TESTED, _FIELD, _OUTPUT, _CHANCE,
    _CALIBRATION, _WATCHED, _BREAKER, _CANARY, _BEHIND,
)  # fmt: skip


class MonitorGauges(Collector):
    """Reads the monitor's latest figures, and which canary was ended."""

    def __init__(self, monitor: Monitor, registry: Registry) -> None:
        self._monitor, self._registry = monitor, registry

    def describe(self) -> Iterable[Metric]:
        """Return the gauges without their values."""
        return _families().values()

    def collect(self) -> Iterable[Metric]:
        """Return the gauges as they stand."""
        families = _families()
        families[_BEHIND.name].add_metric([], self._monitor.behind)
        for (model, arm), report in sorted(self._monitor.reports().items()):
            for gauge, labels, value in _values(report):
                families[gauge.name].add_metric([model, arm, *labels], value)
        for model in self._monitor.models:
            tripped = {each.limit for each in self._monitor.tripped(model)}
            ended = self._registry.state.model(model).ended
            broken = () if ended is None else ended.limits
            limits = self._monitor.watched(model).monitoring.limits
            for limit in limits:
                families[_BREAKER.name].add_metric([model, limit], float(limit in tripped))
            for name in sorted({*limits, *broken}):
                families[_CANARY.name].add_metric([model, name], float(name in broken))
        return families.values()


def _families() -> dict[str, GaugeMetricFamily]:
    return {
        gauge.name: GaugeMetricFamily(gauge.name, gauge.documentation, labels=gauge.labels)
        for gauge in GAUGES
    }


Labelled = tuple[Gauge, tuple[str, ...], float]


def _values(report: Report) -> Iterator[Labelled]:
    yield _WATCHED, (), report.decisions
    for field in report.fields:
        yield _FIELD, (field.name,), field.index
    if report.output is not None:
        yield _OUTPUT, (), report.output.index
        yield _CHANCE, (), report.output.by_chance
    if report.calibration is not None:
        yield from _bounds(_CALIBRATION, (), report.calibration.gap)
    for comparison in report.comparisons:
        yield from _comparison(comparison)


def _comparison(comparison: Comparison) -> Iterator[Labelled]:
    attribute = comparison.attribute
    yield _NOT_TESTED, (attribute,), len(comparison.not_tested)
    for group in comparison.groups:
        for rate, gauge in _RATE_GAUGES.items():
            estimate = group.rate(rate, smallest=comparison.smallest)
            if estimate is not None:
                yield from _bounds(gauge, (attribute, group.name), estimate)
    for rate, gap in comparison.gaps.items():
        yield from _bounds(_DIFFERENCE, (attribute, rate), gap.difference)
        yield from _bounds(_RATIO, (attribute, rate), gap.ratio)


def _bounds(gauge: Gauge, labels: tuple[str, ...], estimate: Estimate) -> Iterator[Labelled]:
    for bound, value in zip(BOUNDS, (estimate.value, estimate.low, estimate.high), strict=True):
        yield gauge, (*labels, bound), value
