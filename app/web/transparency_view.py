"""What the public page of one model shows: its card, policy and deployment in plain words.

Shares of cases are said as numbers of people or cases in 100. Figures that need a statistician are in
the record for machines and not here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from math import ceil
from typing import ClassVar

from app.custody import Custody
from app.lineup import Lineup
from app.publish.subject import Deployment
from app.retention import Period
from app.served import ServedModel
from app.web.language import Texts
from models.card import Card
from models.card_sections import PerformanceMetric
from models.translations import CARD_LANGUAGE


class Status(Enum):
    """Whether a model advises at present."""

    IN_USE = "in use"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Summary:
    """One model in the list."""

    name: str
    title: str
    title_language: str
    purpose: str
    owner: str
    status: str
    is_stopped: bool


@dataclass(frozen=True, slots=True)
class FieldTold:
    """One thing that the model is told about a case."""

    label: str
    description: str


@dataclass(frozen=True, slots=True)
class GroupRow:
    """How the model did for one group of people."""

    attribute: str
    group: str
    cases: str
    advised: str
    found: str


@dataclass(frozen=True, slots=True)
class ModelView:
    """The public page of one model."""

    template: ClassVar[str] = "public/model.html"

    name: str
    title: str
    title_language: str
    status: str
    is_stopped: bool
    overview: str | None
    meaning: str
    purpose: str
    benefits: str | None
    alternatives: str | None
    legal_basis: str
    purposes: tuple[str, ...]
    owner: str
    organisation: str | None
    contact: str | None
    supplier: str | None
    fields: tuple[FieldTold, ...]
    not_told: tuple[str, ...]
    training_data: str | None
    evaluation_data: str | None
    how_well: tuple[str, ...]
    groups: tuple[GroupRow, ...]
    not_tested: tuple[str, ...]
    limitations: tuple[str, ...]
    cannot_know: tuple[str, ...]
    in_charge: tuple[str, ...]
    care: tuple[str, ...]
    no_advice: tuple[str, ...]
    """When the rules let the model give no advice."""
    answer_within_days: int
    contest: tuple[str, ...]
    kept: tuple[str, ...]
    """How long what is recorded of a case is kept."""
    kept_because: str | None
    version: str
    digest: str
    trial: str
    """Which other version advises on some of the cases; empty where none does."""


def summary_of(served: ServedModel, status: Status, texts: Texts) -> Summary:
    """Return one model's row in the list."""
    card = served.bundle.card
    return Summary(
        name=served.name,
        title=_title(card, texts),
        title_language=_title_language(card, texts),
        purpose=card.purpose,
        owner=card.owner,
        status=_status_words(status, texts),
        is_stopped=status is Status.STOPPED,
    )


def model_view(
    lineup: Lineup,
    deployment: Deployment | None,
    status: Status,
    texts: Texts,
    *,
    custody: Custody,
) -> ModelView:
    """Return everything the page of one model shows."""
    served = lineup.live
    card, policy = served.bundle.card, served.policy
    details, analysis = card.model_details, card.quantitative_analysis
    metrics = () if analysis is None else analysis.performance_metrics
    fairness = None if card.considerations is None else card.considerations.fairness
    appeals = None if deployment is None else deployment.appeals
    period = custody.period_of(served.name)
    return ModelView(
        name=served.name,
        title=_title(card, texts),
        title_language=_title_language(card, texts),
        status=_status_words(status, texts),
        is_stopped=status is Status.STOPPED,
        overview=None if details is None else details.overview,
        meaning=card.output.meaning,
        purpose=card.purpose,
        benefits=None if details is None else details.benefits,
        alternatives=None if details is None else details.alternatives_considered,
        legal_basis=card.legal_basis,
        purposes=tuple(purpose.description for purpose in policy.purposes),
        owner=card.owner,
        organisation=None if deployment is None else deployment.organisation,
        contact=(None if deployment is None else deployment.contact_email) or card.contact,
        supplier=None if card.supplier is None else f"{card.supplier.name}. {card.supplier.role}",
        fields=tuple(FieldTold(field.label, field.description or "") for field in card.fields),
        not_told=tuple(
            name for name in card.protected if name not in {field.name for field in card.fields}
        ),
        training_data=card.training_data,
        evaluation_data=None if analysis is None else analysis.evaluation_data,
        how_well=tuple(_how_well(metrics, texts)),
        groups=_groups(metrics, texts),
        not_tested=()
        if fairness is None
        else tuple(f"{each.group}: {each.reason}" for each in fairness.not_tested),
        limitations=card.limitations,
        cannot_know=card.what_it_cannot_know,
        in_charge=_in_charge(served, texts),
        care=tuple(rule.description for rule in policy.rules if rule.requires != "no_advice"),
        no_advice=tuple(rule.description for rule in policy.rules if rule.requires == "no_advice"),
        answer_within_days=policy.review.answer_within_days,
        contest=() if appeals is None else (appeals.tool_output, appeals.wider_process),
        kept=tuple(_kept(period, custody.backups_kept_days, texts)),
        kept_because=None if period is None else period.basis,
        version=card.version,
        digest=served.bundle.digest,
        trial=_trial(lineup, texts),
    )


def _trial(lineup: Lineup, texts: Texts) -> str:
    _ = texts.gettext
    if lineup.canary is None:
        return ""
    return _(
        "Another version is on trial. It advises on about %(percent)s of 100 cases, and this page"
        " is not about it: version %(version)s, under version %(policy)s of our rules."
    ) % {
        "percent": lineup.percent,
        "version": lineup.canary.bundle.card.version,
        "policy": lineup.canary.policy.version,
    }


def _title(card: Card, texts: Texts) -> str:
    words = card.translations.get(texts.language.value)
    return card.title if words is None else words.title


def _title_language(card: Card, texts: Texts) -> str:
    language = texts.language.value
    return language if language in card.translations else CARD_LANGUAGE


def _status_words(status: Status, texts: Texts) -> str:
    _ = texts.gettext
    return _("In use") if status is Status.IN_USE else _("Stopped")


def _how_well(metrics: Iterable[PerformanceMetric], texts: Texts) -> Iterable[str]:
    _ = texts.gettext
    for metric in metrics:
        if metric.slice is None and metric.type == "accuracy":
            yield _("It was right in %(share)s test cases.") % {"share": _in_100(metric, texts)}
        if metric.slice is None and metric.type == "expected_calibration_error":
            yield _(
                "When it says that something happens in 50 of 100 cases, the true number is on"
                " average no more than %(points)s away."
            ) % {"points": max(1, ceil(round(metric.value * 100, 6)))}


def _in_100(metric: PerformanceMetric, texts: Texts) -> str:
    """Return a share as a number of 100, with the range that it lies in as far as anybody knows."""
    _ = texts.gettext
    said = _("%(number)s of 100") % {"number": round(metric.value * 100)}
    interval = metric.confidence_interval
    if interval is None:
        return said
    between = _("between %(low)s and %(high)s") % {
        "low": round(interval.lower * 100),
        "high": round(interval.upper * 100),
    }
    return f"{said} ({between})"


def _groups(metrics: Iterable[PerformanceMetric], texts: Texts) -> tuple[GroupRow, ...]:
    """Return the groups in the card's order, each with its two shares."""
    by_group: dict[tuple[str, str], dict[str, PerformanceMetric]] = {}
    for metric in metrics:
        if metric.slice is not None:
            place = (metric.slice.attribute, metric.slice.value)
            by_group.setdefault(place, {})[metric.type] = metric
    _ = texts.gettext

    def shown(found: dict[str, PerformanceMetric], kind: str) -> str:
        return _in_100(found[kind], texts) if kind in found else _("not tested")

    return tuple(
        GroupRow(
            attribute=attribute.replace("_", " "),
            group=group,
            cases="" if (cases := _cases(found)) is None else f"{cases:,}",
            advised=shown(found, "selection_rate"),
            found=shown(found, "true_positive_rate"),
        )
        for (attribute, group), found in by_group.items()
    )


def _cases(found: dict[str, PerformanceMetric]) -> int | None:
    counted = found.get("selection_rate")
    return None if counted is None else counted.cases


def _kept(period: Period | None, backups_days: int | None, texts: Texts) -> Iterable[str]:
    """Say how long a case is kept, and how long it is until an erased one is really gone."""
    _, ngettext = texts.gettext, texts.ngettext
    if period is None:
        yield _("Nobody has said how long it is kept.")
    elif period.erase_after_days is None:
        yield _("It is kept without a set end.")
    else:
        yield ngettext(
            "It is erased once %(num)s day has passed, unless the law needs it for longer.",
            "It is erased once %(num)s days have passed, unless the law needs it for longer.",
            period.erase_after_days,
        ) % {"num": f"{period.erase_after_days:,}"}
    if period is not None and period.keep_days:
        yield ngettext(
            "It is not erased before %(num)s day has passed.",
            "It is not erased before %(num)s days have passed.",
            period.keep_days,
        ) % {"num": f"{period.keep_days:,}"}
    if backups_days is None:
        yield _("Nobody has said how long backups keep what was erased.")
    elif backups_days:
        yield ngettext(
            "What was erased stays in backups for up to %(num)s day more.",
            "What was erased stays in backups for up to %(num)s days more.",
            backups_days,
        ) % {"num": f"{backups_days:,}"}
    yield _("A mark stays that there was advice and a decision. It says nothing about you.")


def _in_charge(served: ServedModel, texts: Texts) -> tuple[str, ...]:
    _ = texts.gettext
    policy = served.policy
    return (
        _("A person decides every case. The model only advises.")
        if policy.final_decision == "human"
        else _(
            "A person decides every case that could go against somebody. Another system may only"
            " confirm what is in a person's favour."
        ),
        {
            "concurrent": _("The person sees the facts of the case together with the advice."),
            "after_own_assessment": _(
                "The person says first what they think. Only then do they see the advice."
            ),
            "on_request": _("The person sees the advice only when they ask for it."),
        }[policy.reveal],
        _("Every piece of advice comes with its reasons, and the person can depart from it."),
        _("Advice can be stopped at any time. Cases are then decided without it."),
        _("Every piece of advice and every decision is recorded, and others can check the record."),
    )
