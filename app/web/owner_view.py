"""What the model owner's pages show."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

from app.lifecycle import ModelState
from app.lint_report import LintReport
from app.monitoring.fairness import RATES, Group
from app.monitoring.intervals import Estimate
from app.monitoring.monitor import Canary, Monitor
from app.monitoring.report import Comparison, Report
from app.registry_entries import Change
from app.served import ServedModel
from app.stops import Stops
from app.web.case_words import moment
from app.web.charts import Pair, paired_bars
from app.web.language import Texts
from app.web.standstill import StopLine, stop_line, stops_of, tripped_lines
from models.card import Card
from models.card_sections import PerformanceMetric

NOTHING = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class ModelLine:
    """One model in the list."""

    name: str
    title: str
    version: str
    state: str
    tag: str


@dataclass(frozen=True, slots=True)
class OwnedModelsView:
    """The models in use."""

    template: ClassVar[str] = "owner/models.html"

    models: list[ModelLine]


@dataclass(frozen=True, slots=True)
class GroupTable:
    """One protected attribute's groups."""

    attribute: str
    rows: list[list[str]]
    not_tested: list[str]


@dataclass(frozen=True, slots=True)
class CanaryFigures:
    """A canary under way, beside the version in use."""

    label: str
    """What its tables are called by."""
    version: str
    share: str
    decisions: int
    calibration: list[list[str]]
    groups: list[GroupTable]
    drift: list[list[str]]


@dataclass(frozen=True, slots=True)
class EndedCanaryLine:
    """A canary that the circuit breaker ended."""

    version: str
    when: str
    limits: list[str]


@dataclass(frozen=True, slots=True)
class OwnedModelView:
    """One model."""

    template: ClassVar[str] = "owner/model.html"

    name: str
    title: str
    state: str
    tag: str
    facts: list[tuple[str, str]]
    digest: str
    policy_digest: str
    stops: list[StopLine]
    can_stop: bool
    can_reset: bool
    tripped: list[str]
    canary: CanaryFigures | None
    ended: EndedCanaryLine | None
    has_profile: bool
    coverage: str
    suffices: bool
    gaps: list[tuple[str, str, list[str]]]
    warnings: list[str]
    performance: list[list[str]]
    evaluation_data: str
    calibration_chart: str
    calibration: list[list[str]]
    groups: list[GroupTable]
    put_forward: list[str]
    """The outcomes that the groups' figures count."""
    groups_not_tested: list[str]
    drift_chart: str
    drift: list[list[str]]
    decisions: int
    versions: list[list[str]]
    happened: list[tuple[str, str, str, str, str]]


def model_line(served: ServedModel, stops: Stops, monitor: Monitor, texts: Texts) -> ModelLine:
    """Return one line of the list."""
    state, tag = _state(served.name, stops, monitor, texts)
    card = served.bundle.card
    return ModelLine(served.name, card.title, card.version, state, tag)


def model_view(
    served: ServedModel,
    *,
    lint: LintReport | None,
    report: Report,
    canary: Canary | None,
    versions: ModelState,
    happened: Sequence[Change],
    stops: Stops,
    monitor: Monitor,
    can_stop: bool,
    can_reset: bool,
    texts: Texts,
) -> OwnedModelView:
    """Return the page of one model."""
    _ = texts.gettext
    card = served.bundle.card
    state, tag = _state(served.name, stops, monitor, texts)
    analysis = card.quantitative_analysis
    reliability = _reliability(report)
    drift = _drift(report, card, texts)
    return OwnedModelView(
        name=served.name,
        title=card.title,
        state=state,
        tag=tag,
        facts=_facts(served, card, texts),
        digest=served.bundle.digest,
        policy_digest=served.policy_digest,
        stops=[stop_line(stop, texts) for stop in stops_of(served.name, stops)],
        can_stop=can_stop,
        can_reset=can_reset,
        tripped=tripped_lines(served.name, monitor),
        canary=None if canary is None else _canary_figures(canary, texts),
        ended=_ended_line(versions, texts),
        has_profile=lint is not None,
        coverage="" if lint is None else f"{lint.coverage.share:.0%}",
        suffices=lint is not None and lint.coverage.suffices,
        gaps=(
            []
            if lint is None
            else [
                (each.obligation.title, each.obligation.source, list(each.gaps))
                for each in lint.coverage.items
                if not each.is_covered
            ]
        ),
        warnings=[] if lint is None else list(lint.warnings),
        performance=(
            []
            if analysis is None
            else [_metric(each, texts) for each in analysis.performance_metrics]
        ),
        evaluation_data="" if analysis is None else analysis.evaluation_data,
        calibration_chart=(
            paired_bars(
                reliability,
                legend=(_("Estimated"), _("Turned out so")),
                title=_("How often it turned out as estimated"),
            )
            if reliability
            else ""
        ),
        calibration=_reliability_rows(report),
        groups=[_group_table(each, texts) for each in report.comparisons],
        put_forward=[
            band.label
            for band in served.policy.bands
            if band.outcome in monitor.watched(served.name).selected
        ],
        groups_not_tested=list(report.not_tested),
        drift_chart=(
            paired_bars(
                drift,
                legend=(_("Now"), _("By chance alone")),
                title=_("How far the cases have moved"),
            )
            if drift
            else ""
        ),
        drift=_drift_rows(drift),
        decisions=report.decisions,
        versions=[
            [
                each.name,
                each.policy_name,
                _stage(each.stage, texts),
                _share(each.percent),
                moment(each.since, texts),
            ]
            for each in versions.versions.values()
        ],
        happened=[
            (
                _stage(each.stage, texts),
                moment(each.at, texts),
                each.actor,
                each.reason,
                _version(each.version, each.policy_version, texts),
            )
            for each in happened
        ],
    )


def _facts(served: ServedModel, card: Card, texts: Texts) -> list[tuple[str, str]]:
    _ = texts.gettext
    return [
        (_("Version"), card.version),
        (_("What it is for"), card.purpose),
        (_("On what authority"), card.legal_basis),
        (_("Who answers for it"), card.owner),
        (_("What the estimate says"), card.output.meaning),
        (
            _("How its reasons are worked out"),
            f"{served.explainer.method}: {served.explainer.reason}",
        ),
        (_("Comparable cases behind the reasons"), f"{served.explainer.background_rows:,}"),
    ]


def _state(name: str, stops: Stops, monitor: Monitor, texts: Texts) -> tuple[str, str]:
    _ = texts.gettext
    if stops.covers(name):
        return _("Stopped by a person"), "red"
    stance = monitor.stance(name)
    if stance == "stop":
        return _("Stopped by a limit"), "red"
    if stance == "unaided":
        return _("Gives no advice: a limit was broken"), "yellow"
    return _("Gives advice"), "green"


def _metric(metric: PerformanceMetric, texts: Texts) -> list[str]:
    _ = texts.gettext
    of = (
        _("all cases")
        if metric.slice is None
        else f"{metric.slice.attribute}: {metric.slice.value}"
    )
    interval = metric.confidence_interval
    return [
        metric.type.replace("_", " "),
        of,
        "" if metric.cases is None else f"{metric.cases:,}",
        f"{metric.value:.3g}"
        + ("" if interval is None else f" ({interval.lower:.3g} to {interval.upper:.3g})"),
    ]


def _reliability(report: Report) -> list[Pair]:
    found = report.calibration
    return [
        Pair(
            f"{each.low:.0%} to {each.high:.0%}",
            each.mean_score,
            each.observed.value,
            f"{each.mean_score:.0%}",
            f"{each.observed.value:.0%}",
        )
        for each in (() if found is None else found.bins)
    ]


def _reliability_rows(report: Report) -> list[list[str]]:
    found = report.calibration
    return [
        [
            f"{each.low:.0%} to {each.high:.0%}",
            f"{each.cases:,}",
            f"{each.mean_score:.1%}",
            _told(each.observed),
        ]
        for each in (() if found is None else found.bins)
    ]


def _drift(report: Report, card: Card, texts: Texts) -> list[Pair]:
    _ = texts.gettext
    every = [*report.fields, *(() if report.output is None else (report.output,))]
    labels = {field.name: field.label for field in card.fields}
    return [
        Pair(
            labels.get(each.name, _("The estimate")),
            each.index,
            each.by_chance,
            f"{each.index:.3f}",
            f"{each.by_chance:.3f}",
        )
        for each in sorted(every, key=lambda each: -each.index)
    ]


def _drift_rows(drift: Sequence[Pair]) -> list[list[str]]:
    return [[pair.label, pair.first_text, pair.second_text] for pair in drift]


def _canary_figures(canary: Canary, texts: Texts) -> CanaryFigures:
    _ = texts.gettext
    card = canary.served.bundle.card
    version = _version(card.version, canary.served.policy.version, texts)
    return CanaryFigures(
        label=_("canary, version %(version)s") % {"version": version},
        version=version,
        share=_share(canary.percent),
        decisions=canary.report.decisions,
        calibration=_reliability_rows(canary.report),
        groups=[_group_table(each, texts) for each in canary.report.comparisons],
        drift=_drift_rows(_drift(canary.report, card, texts)),
    )


def _ended_line(versions: ModelState, texts: Texts) -> EndedCanaryLine | None:
    ended = versions.ended
    if ended is None:
        return None
    version = versions.versions[ended.id]
    name = _version(version.name, version.policy_name, texts)
    return EndedCanaryLine(name, moment(ended.at, texts), list(ended.limits))


def _group_table(comparison: Comparison, texts: Texts) -> GroupTable:
    return GroupTable(
        comparison.attribute,
        [_group(group, comparison.smallest, texts) for group in comparison.groups],
        list(comparison.not_tested),
    )


def _group(group: Group, smallest: int, texts: Texts) -> list[str]:
    _ = texts.gettext
    if group.people < smallest:
        return [
            group.name,
            _("fewer than %(smallest)s") % {"smallest": smallest},
            *[NOTHING] * len(RATES),
        ]
    rates = [group.rate(rate, smallest=smallest) for rate in RATES]
    return [
        group.name,
        f"{group.people:,}",
        *(NOTHING if rate is None else _told(rate) for rate in rates),
    ]


def _told(estimate: Estimate) -> str:
    if not isfinite(estimate.value):
        return NOTHING
    return f"{estimate.value:.0%} ({estimate.low:.0%} to {estimate.high:.0%})"


def _stage(stage: str, texts: Texts) -> str:
    _ = texts.gettext
    return {
        "submitted": _("Submitted"),
        "accepted": _("Accepted"),
        "shadow": _("In shadow"),
        "live": _("In use"),
        "retired": _("Retired"),
    }.get(stage, stage)


def _version(name: str, policy: str, texts: Texts) -> str:
    """Return what a version is called: two of them may have the same model under other policies."""
    _ = texts.gettext
    return _("%(version)s with policy %(policy)s") % {"version": name, "policy": policy}


def _share(percent: int | None) -> str:
    return "" if percent is None else f"{percent}%"
