"""The process halves: what is true of every case of one bundle, from its files and its deployment."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.publish.subject import Deployment
from app.six_kinds import shapes
from models.bundle import BundleFiles
from models.card_sections import PerformanceMetric


@dataclass(frozen=True, slots=True)
class Made:
    """A bundle as it is served: what its halves are told from."""

    files: BundleFiles
    deployment: Deployment | None
    method: str
    why_this_method: str
    background_rows: int
    signed_by: str | None
    watched: tuple[str, ...]
    """The limits that are watched while it is used, in words."""


@dataclass(frozen=True, slots=True)
class ProcessHalves:
    """All six."""

    rationale: shapes.RationaleProcess | shapes.NotProvided
    responsibility: shapes.ResponsibilityProcess | shapes.NotProvided
    data: shapes.DataProcess | shapes.NotProvided
    fairness: shapes.FairnessProcess | shapes.NotProvided
    safety: shapes.SafetyProcess | shapes.NotProvided
    impact: shapes.ImpactProcess | shapes.NotProvided


def not_provided(reason: str) -> shapes.NotProvided:
    """Return a half that is missing."""
    return shapes.NotProvided(status="not_provided", reason=reason)


def no_process(reason: str) -> ProcessHalves:
    """Return six missing halves."""
    gap = not_provided(reason)
    return ProcessHalves(gap, gap, gap, gap, gap, gap)


def process_halves(made: Made) -> ProcessHalves:
    """Return what a bundle's files say of the process."""
    return ProcessHalves(
        rationale=_rationale(made),
        responsibility=_responsibility(made),
        data=_data(made),
        fairness=_fairness(made),
        safety=_safety(made),
        impact=_impact(made),
    )


def _rationale(made: Made) -> shapes.RationaleProcess:
    card = made.files.card
    parameters = card.model_parameters
    return shapes.RationaleProcess(
        status="provided",
        method=made.method,
        why_this_method=made.why_this_method,
        score_meaning=card.output.meaning,
        architecture=None if parameters is None else parameters.architecture,
        limits=[
            f"Effects are against {made.background_rows:,} comparable cases, and only them.",
            "They say what moved this model's estimate, and not what causes anything in the world.",
            "Base value and effects add up to the model's own output, or nothing is advised.",
            *(f"It cannot know: {each}" for each in card.what_it_cannot_know),
            *card.limitations,
        ],
    )


def _responsibility(made: Made) -> shapes.ResponsibilityProcess:
    card, deployment = made.files.card, made.deployment
    return shapes.ResponsibilityProcess(
        status="provided",
        owner=card.owner,
        contact=(None if deployment is None else deployment.contact_email) or card.contact,
        organisation=None if deployment is None else deployment.organisation,
        team=None if deployment is None else deployment.team,
        senior_responsible_owner=(
            None if deployment is None else deployment.senior_responsible_owner
        ),
        supplier=(
            None
            if card.supplier is None
            else shapes.SupplierNamed(name=card.supplier.name, role=card.supplier.role)
        ),
        legal_basis=card.legal_basis,
        signed_by=made.signed_by,
    )


def _data(made: Made) -> shapes.DataProcess | shapes.NotProvided:
    card, sheet = made.files.card, made.files.datasheet
    parameters = card.model_parameters
    if card.training_data is None and sheet is None:
        return not_provided("neither training_data in the card nor datasheet.yaml says anything")
    period = None if parameters is None else parameters.training_period
    sections = {} if sheet is None else sheet.model_dump(exclude_none=True)
    return shapes.DataProcess(
        status="provided",
        training_data=card.training_data,
        training_period=None if period is None else f"{period.start} to {period.end}",
        training_cases=None if parameters is None else parameters.training_cases,
        datasheet={name: section for name, section in sections.items() if section},
    )


def _fairness(made: Made) -> shapes.FairnessProcess | shapes.NotProvided:
    card = made.files.card
    fairness = None if card.considerations is None else card.considerations.fairness
    if fairness is None:
        return not_provided("the card has no considerations.fairness")
    analysis = card.quantitative_analysis
    metrics = () if analysis is None else analysis.performance_metrics
    return shapes.FairnessProcess(
        status="provided",
        criterion=fairness.criterion,
        criterion_rationale=fairness.criterion_rationale,
        tolerance=fairness.tolerance,
        figures=_figures([each for each in metrics if each.slice is not None]),
        not_tested=[
            shapes.Untested(group=each.group, reason=each.reason) for each in fairness.not_tested
        ],
    )


def _safety(made: Made) -> shapes.SafetyProcess | shapes.NotProvided:
    analysis = made.files.card.quantitative_analysis
    if analysis is None:
        return not_provided("the card has no quantitative_analysis")
    return shapes.SafetyProcess(
        status="provided",
        evaluation_data=analysis.evaluation_data,
        figures=_figures([each for each in analysis.performance_metrics if each.slice is None]),
        monitoring=list(made.watched),
        security=[
            "Only a bundle that a trusted supplier signed, unchanged, is served."
            if made.signed_by is not None
            else "Nobody has signed this bundle: it is served for development.",
            "Every answer is in an append-only log before it is given, and can be recomputed.",
        ],
    )


def _impact(made: Made) -> shapes.ImpactProcess | shapes.NotProvided:
    card, impact = made.files.card, made.files.impact
    considerations = card.considerations
    risks = () if considerations is None else considerations.ethical_considerations
    if not card.assessments and not risks and impact is None:
        return not_provided("the bundle has no assessments, no risks and no aia.json")
    return shapes.ImpactProcess(
        status="provided",
        impact_level=None if impact is None else impact.level,
        assessments=[
            shapes.AssessmentNamed(
                kind=each.kind,
                title=each.title,
                date=each.date.isoformat(),
                link=each.link,
                review_by=None if each.review_by is None else each.review_by.isoformat(),
            )
            for each in card.assessments
        ],
        risks=[shapes.RiskNamed(risk=r.name, mitigation=r.mitigation_strategy) for r in risks],
    )


def _figures(metrics: Sequence[PerformanceMetric]) -> list[shapes.Figure]:
    return [
        shapes.Figure(
            name=each.type,
            value=each.value,
            lower=None if each.confidence_interval is None else each.confidence_interval.lower,
            upper=None if each.confidence_interval is None else each.confidence_interval.upper,
            slice=None if each.slice is None else f"{each.slice.attribute}: {each.slice.value}",
            cases=each.cases,
        )
        for each in metrics
    ]
