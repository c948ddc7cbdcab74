"""What a country asks to be known of a model, and what of it a bundle has: coverage and gaps.

An obligation is covered when every fact it needs is there. Facts are looked up and never judged: a
poor assessment is an assessment. Obligations that do not apply yet on the day, or not at this impact
level, are not counted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

from models.aia import requirements
from models.bundle import SIGNATURE, BundleFiles
from models.card import Card
from models.card_sections import AssessmentKind
from models.profile import Obligation, Profile


@dataclass(frozen=True, slots=True)
class Covered:
    """One obligation that applies, and what is missing for it."""

    obligation: Obligation
    gaps: tuple[str, ...]
    """Each says what is missing, for the bundle's owner."""

    @property
    def is_covered(self) -> bool:
        """Whether nothing is missing."""
        return not self.gaps


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of what applies on a day a bundle covers."""

    profile: str
    day: date
    threshold: float
    items: tuple[Covered, ...]
    not_yet: tuple[Obligation, ...]
    """Obligations that begin to apply later."""

    @property
    def share(self) -> float:
        """The share of obligations that are covered; 1 where none applies."""
        if not self.items:
            return 1.0
        return sum(item.is_covered for item in self.items) / len(self.items)

    @property
    def essential_gaps(self) -> tuple[Covered, ...]:
        """Obligations without which a model is not activated."""
        return tuple(i for i in self.items if i.obligation.essential and not i.is_covered)

    @property
    def suffices(self) -> bool:
        """Whether a model with this coverage may be activated."""
        return self.share >= self.threshold and not self.essential_gaps

    @property
    def refusal(self) -> str:
        """Why it may not be activated, in one line; empty when it may."""
        if self.suffices:
            return ""
        missing = "; ".join(
            f"{item.obligation.id} ({item.obligation.source}): {', '.join(item.gaps)}"
            for item in self.essential_gaps or [i for i in self.items if not i.is_covered]
        )
        return (
            f"got {self.share:.0%} of what {self.profile} asks on {self.day}, want "
            f"{self.threshold:.0%} and all that is essential; missing: {missing}"
        )


def coverage(files: BundleFiles, profile: Profile, *, on: date) -> Coverage:
    """Return what ``files`` covers of what the profile asks on a day."""
    level = None if files.impact is None else files.impact.level
    due = [each for each in profile.obligations if _is_for(each, level)]
    return Coverage(
        profile=profile.profile,
        day=on,
        threshold=profile.activation_threshold,
        items=tuple(
            Covered(each, tuple(gap for need in each.needs if (gap := _gap(need, files, on))))
            for each in due
            if each.applies_from is None or each.applies_from <= on
        ),
        not_yet=tuple(each for each in due if each.applies_from and each.applies_from > on),
    )


def _is_for(obligation: Obligation, level: int | None) -> bool:
    # Without an assessment the level is not known: then everything is asked for.
    return obligation.level_from is None or level is None or level >= obligation.level_from


def _gap(need: str, files: BundleFiles, on: date) -> str | None:
    if need in _ON_A_DAY:
        return _ON_A_DAY[need](files, on)
    has, gap = FACTS[need]
    return None if has(files) else gap


def _section(name: str, member: str) -> Callable[[BundleFiles], bool]:
    def has(files: BundleFiles) -> bool:
        section = getattr(files.card, name)
        return section is not None and bool(getattr(section, member))

    return has


def _has_metrics(*, sliced: bool = False, intervals: bool = False) -> Callable[[BundleFiles], bool]:
    def has(files: BundleFiles) -> bool:
        analysis = files.card.quantitative_analysis
        metrics = () if analysis is None else analysis.performance_metrics
        if sliced:
            metrics = tuple(metric for metric in metrics if metric.slice is not None)
        if intervals:
            return bool(metrics) and any(metric.confidence_interval for metric in metrics)
        return bool(metrics)

    return has


def _criterion(files: BundleFiles) -> bool:
    considerations = files.card.considerations
    return considerations is not None and considerations.fairness is not None


def unaccounted_groups(card: Card) -> tuple[str, ...]:
    """Return the card's protected attributes that are neither measured nor said to be untested."""
    analysis, considerations = card.quantitative_analysis, card.considerations
    told = {
        metric.slice.attribute
        for metric in (() if analysis is None else analysis.performance_metrics)
        if metric.slice is not None
    }
    if considerations is not None and considerations.fairness is not None:
        told |= {each.group for each in considerations.fairness.not_tested}
    return tuple(name for name in card.protected if name not in told)


def _accounted(files: BundleFiles) -> bool:
    return bool(files.card.protected) and not unaccounted_groups(files.card)


def _assessed(*kinds: AssessmentKind) -> Callable[[BundleFiles], bool]:
    return lambda files: any(each.kind in kinds for each in files.card.assessments)


def _reviewed(files: BundleFiles) -> bool:
    wanted = 1 if files.impact is None else requirements(files.impact.level).peer_reviews
    found = [each for each in files.card.assessments if each.kind == "peer_review" and each.link]
    return len(found) >= wanted


def _datasheet(files: BundleFiles) -> bool:
    return files.datasheet is not None and not files.datasheet.empty_sections


def _sensitive(files: BundleFiles) -> bool:
    composition = None if files.datasheet is None else files.datasheet.composition
    return composition is not None and composition.sensitive_attributes is not None


def _ranged(files: BundleFiles) -> bool:
    return all(
        field.categories or (field.minimum is not None and field.maximum is not None)
        for field in files.card.fields
        if field.type in {"number", "integer"}
    )


FACTS: Mapping[str, tuple[Callable[[BundleFiles], bool], str]] = {
    "owner": (lambda files: bool(files.card.owner), "owner"),
    "contact": (lambda files: files.card.contact is not None, "contact"),
    "purpose": (lambda files: bool(files.card.purpose), "purpose"),
    "legal_basis": (lambda files: bool(files.card.legal_basis), "legal_basis"),
    "supplier": (lambda files: files.card.supplier is not None, "supplier"),
    "training_data": (lambda files: files.card.training_data is not None, "training_data"),
    "overview": (_section("model_details", "overview"), "model_details.overview"),
    "benefits": (_section("model_details", "benefits"), "model_details.benefits"),
    "alternatives": (
        _section("model_details", "alternatives_considered"),
        "model_details.alternatives_considered",
    ),
    "architecture": (
        _section("model_parameters", "architecture"),
        "model_parameters.architecture",
    ),
    "training_period": (
        _section("model_parameters", "training_period"),
        "model_parameters.training_period",
    ),
    "maintenance": (_section("model_parameters", "maintenance"), "model_parameters.maintenance"),
    "evaluation_data": (
        _section("quantitative_analysis", "evaluation_data"),
        "quantitative_analysis.evaluation_data",
    ),
    "metrics": (_has_metrics(), "quantitative_analysis.performance_metrics"),
    "metrics_by_slice": (
        _has_metrics(sliced=True),
        "quantitative_analysis.performance_metrics with a slice",
    ),
    "metric_intervals": (
        _has_metrics(intervals=True),
        "quantitative_analysis.performance_metrics with a confidence_interval",
    ),
    "users": (_section("considerations", "users"), "considerations.users"),
    "use_cases": (_section("considerations", "use_cases"), "considerations.use_cases"),
    "out_of_scope": (_section("considerations", "out_of_scope"), "considerations.out_of_scope"),
    "risks": (
        _section("considerations", "ethical_considerations"),
        "considerations.ethical_considerations",
    ),
    "fairness_criterion": (_criterion, "considerations.fairness with criterion_rationale"),
    "groups_accounted_for": (
        _accounted,
        "every attribute in `protected` as a slice, or in considerations.fairness.not_tested",
    ),
    "limitations": (lambda files: bool(files.card.limitations), "limitations"),
    "cannot_know": (lambda files: bool(files.card.what_it_cannot_know), "what_it_cannot_know"),
    "data_protection_assessment": (
        _assessed("data_protection"),
        "an assessment of the kind data_protection",
    ),
    "equality_assessment": (_assessed("equality"), "an assessment of the kind equality"),
    "fundamental_rights_assessment": (
        _assessed("fundamental_rights"),
        "an assessment of the kind fundamental_rights",
    ),
    "algorithmic_impact_assessment": (lambda files: files.impact is not None, "aia.json"),
    "peer_reviews": (_reviewed, "published assessments of the kind peer_review, with a link"),
    "datasheet": (_datasheet, "datasheet.yaml with something in every section"),
    "sensitive_attributes": (_sensitive, "composition.sensitive_attributes in datasheet.yaml"),
    "evaluation": (lambda files: bool(files.evaluation), "evaluation.parquet"),
    "proxies": (lambda files: files.proxies is not None, "proxies.json"),
    "calibration": (lambda files: bool(files.calibration), "calibration.parquet"),
    "acceptance": (lambda files: files.acceptance is not None, "acceptance.json"),
    "input_ranges": (_ranged, "minimum and maximum of every number"),
    "signature": (lambda files: SIGNATURE in files.contents, SIGNATURE),
}
"""Whether a bundle has each fact, and what to name when it has not."""


def _undated(files: BundleFiles, on: date) -> str | None:
    late = [each.title for each in files.card.assessments if each.date > on]
    due = [e.title for e in files.card.assessments if e.review_by is not None and e.review_by < on]
    if late:
        return f"an assessment completed before use: {', '.join(late)}"
    return f"an assessment looked at again in time: {', '.join(due)}" if due else None


_ON_A_DAY: Mapping[str, Callable[[BundleFiles, date], str | None]] = {
    "assessments_dated": _undated,
}
