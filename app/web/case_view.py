"""What the page of one case shows, and what its reader can do there now."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from app.api.parts import Parts
from app.case_events import (
    CASEWORKER_DECISION,
    CORRECTED,
    NOTICE,
    OWN_ASSESSMENT,
    REVIEW,
    CaseEvent,
)
from app.cases import CaseFile
from app.domain import Caller, Role
from app.served import ServedModel
from app.web import case_words
from app.web.advice import Advice, advice_of, shown_value
from app.web.language import Texts

DECIDERS = (Role.CASEWORKER, Role.ADMIN)
Items: TypeAlias = list[dict[str, str]]
"""What a form lets somebody choose from, as GOV.UK's radios take it."""
OPEN = ("open", "waiting_for_second_person")


@dataclass(frozen=True, slots=True)
class FactRow:
    """One fact of the case."""

    field: str
    label: str
    value: str
    origin: str
    """Where it comes from and of which day, in words; empty where nobody has said."""
    flag: str
    """What is doubtful about it; empty where nothing is."""


@dataclass(frozen=True, slots=True)
class Happened:
    """One step of the case, as the timeline shows it."""

    title: str
    when: str
    datetime: str
    who: str
    text: str


@dataclass(frozen=True, slots=True)
class RecordedLetter:
    """A letter to the person, as it was recorded."""

    outcome: str
    language: str
    text: str
    who: str
    when: str


@dataclass(frozen=True, slots=True)
class Decided:
    """The decision in force."""

    label: str
    who: str
    when: str
    reason: str
    text: str
    advice_followed: bool | None
    is_review: bool


@dataclass(frozen=True, slots=True)
class Can:
    """What the reader may do with the case now."""

    take: bool
    release: bool
    correct: bool
    assess: bool
    ask_for_advice: bool
    decide: bool
    write_letter: bool
    contest: bool


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where the recommendation is in the log, for whoever checks it."""

    created: str
    model: str
    policy: str
    rule: str
    method: str
    log: str
    index: int
    leaf_hash: str


@dataclass(frozen=True, slots=True)
class Form:
    """What somebody has filled in so far, and what is wrong with it."""

    values: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CaseView:
    """The page of one case."""

    template: ClassVar[str] = "cases/case.html"

    id: str
    reference: str
    title: str
    status: str
    status_name: str
    holder: str | None
    is_mine: bool
    is_stopped: bool
    corrects: str | None
    corrected_as: str | None
    facts: list[FactRow]
    warnings: list[str]
    requirements: list[str]
    needs_evidence: bool
    needs_second_person: bool
    is_withheld: bool
    advice: Advice | None
    no_advice_reason: str | None
    manual_route: str | None
    what_it_cannot_know: list[str]
    own_view: str | None
    """What the reader said of the case without naming the advice."""
    own_view_came_first: bool
    """Whether the advice was not shown before it: else nobody knows what they had seen."""
    can: Can
    letter_first: list[str]
    """The outcomes that can only be decided once the letter that tells them is recorded."""
    outcomes: Items
    reasons: Items
    confidences: Items
    decided: Decided | None
    proposed: list[str]
    """The outcomes that others propose, where two have to agree."""
    own_proposal: str | None
    """The outcome that the reader proposes."""
    letters: list[RecordedLetter]
    events: list[Happened]
    receipt: Receipt
    form: Form


def case_view(
    parts: Parts, case: CaseFile, reader: Caller, texts: Texts, form: Form | None = None
) -> CaseView:
    """Return the page of a case as far as the reader may see it by now."""
    _ = texts.gettext
    answer = case.answer
    served = served_by(parts, case)
    visible = case.is_visible(reader)
    labels = case_words.outcome_labels(case, served)
    advised = case.advised_outcome is not None
    title = str(answer["model"]["name"]) if served is None else served.bundle.card.title
    is_stopped = parts.stops.covers(str(answer["model"]["name"]))
    own = [e for e in case.of_type(OWN_ASSESSMENT) if e.actor == reader.name]
    proposals = _proposals(case, labels)
    form = form or Form()
    return CaseView(
        id=case.decision.id,
        reference=case_words.short_reference(case.decision.id),
        title=title,
        status=case.status,
        status_name=case_words.statuses(texts)[case.status],
        holder=case.holder,
        is_mine=case.holder == reader.name,
        is_stopped=is_stopped,
        corrects=case.corrects,
        corrected_as=case.corrected_as,
        facts=_facts(case, served, texts),
        warnings=_warnings(case, texts),
        requirements=[each["rule"]["description"] for each in answer["requirements"]]
        if visible
        else [],
        needs_evidence="evidence" in case.requires
        # Whoever decides without the advice has been told that it is needed.
        and (visible or "evidence" in {*form.errors, *form.values}),
        needs_second_person=visible and "second_person" in case.requires,
        is_withheld=not visible,
        advice=advice_of(answer, served, texts) if advised and visible else None,
        no_advice_reason=None if advised else str(answer["advice"]["reason"]),
        manual_route=None if served is None else served.policy.manual_route,
        what_it_cannot_know=[] if served is None else list(served.bundle.card.what_it_cannot_know),
        own_view=labels.get(str(own[-1].content["outcome"])) if own else None,
        own_view_came_first=case.terms.reveal == "after_own_assessment",
        can=_can(case, reader, visible=visible, assessed=bool(own), is_stopped=is_stopped),
        letter_first=letter_first(case, labels),
        outcomes=items_of(labels),
        reasons=items_of(case_words.reason_codes(texts)),
        confidences=items_of(case_words.confidences(texts)),
        decided=_decided(case, labels, texts),
        proposed=[label for name, label in proposals.items() if name != reader.name]
        if visible
        else [],
        own_proposal=proposals.get(reader.name),
        letters=_letters(case, labels, texts) if visible else [],
        events=[
            _happened(event, labels, texts, visible=visible)
            for event in case.events
            if visible or event.actor == reader.name or event.type == CORRECTED
        ],
        receipt=_receipt(case, texts),
        form=form,
    )


def letter_first(case: CaseFile, labels: Mapping[str, str]) -> list[str]:
    """Return what the outcomes are called that need a letter on record before they are decided."""
    return [label for outcome, label in labels.items() if case.needs_letter_first(outcome)]


def items_of(choices: Mapping[str, str]) -> Items:
    """Return choices as GOV.UK's radios take them."""
    return [{"value": value, "text": text} for value, text in choices.items()]


def served_by(parts: Parts, case: CaseFile) -> ServedModel | None:
    """Return the open version whose bundle advised on the case, None where none is open any more.

    Under the case's own policy, if one is open under it.
    """
    content = case.decision.content
    same = [each for each in parts.served.versions if each.bundle.digest == content.model_digest]
    own = (each for each in same if each.policy_digest == content.policy_digest)
    return next(own, same[0] if same else None)


def label_of(case: CaseFile, served: ServedModel | None, name: str) -> str:
    """Return a field's label."""
    if served is not None:
        return str(served.bundle.card.field(name).label)
    rows = case.answer.get("explanation", {}).get("contributions", [])
    return next((str(row["label"]) for row in rows if row["field"] == name), name)


def _facts(case: CaseFile, served: ServedModel | None, texts: Texts) -> list[FactRow]:
    _ = texts.gettext
    kinds = {flag["field"]: flag["kind"] for flag in case.answer["flags"]}
    origins = {each["field"]: each for each in case.answer["provenance"]}
    flags = {
        "missing": _("Missing: the model worked without it"),
        "unknown": _("The model has not seen this value before"),
    }
    return [
        FactRow(
            field=name,
            label=label_of(case, served, name),
            value=shown_value(name, value, served, texts),
            origin=_origin(origins.get(name), texts),
            flag=_("Old figure")
            if name in origins and origins[name]["stale"]
            else flags.get(kinds.get(name, ""), ""),
        )
        for name, value in case.decision.content.case.items()
    ]


def _origin(said: Mapping[str, Any] | None, texts: Texts) -> str:
    if said is None:
        return ""
    words = case_words.sources(texts)[said["source"]]
    return words if said["date"] is None else f"{words}, {case_words.day(said['date'], texts)}"


def _warnings(case: CaseFile, texts: Texts) -> list[str]:
    """Return what is doubtful about the facts, to be seen before anything else."""
    ngettext = texts.ngettext
    kinds = [flag["kind"] for flag in case.answer["flags"]]
    said = case.answer["provenance"]
    missing, unknown = kinds.count("missing"), kinds.count("unknown")
    stale = sum(each["stale"] for each in said)
    guessed = sum(each["source"] in ("estimated", "imputed") for each in said)
    lines = {
        ngettext("%(num)d fact is missing.", "%(num)d facts are missing.", missing): missing,
        ngettext(
            "%(num)d fact has a value that the model has not seen before.",
            "%(num)d facts have values that the model has not seen before.",
            unknown,
        ): unknown,
        ngettext(
            "%(num)d figure is older than the guidance takes.",
            "%(num)d figures are older than the guidance takes.",
            stale,
        ): stale,
        ngettext(
            "%(num)d figure is an estimate that nobody has checked.",
            "%(num)d figures are estimates that nobody has checked.",
            guessed,
        ): guessed,
    }
    return [line % {"num": count} for line, count in lines.items() if count]


def _can(case: CaseFile, reader: Caller, *, visible: bool, assessed: bool, is_stopped: bool) -> Can:
    open_now = case.status in OPEN
    decider = reader.role in DECIDERS and open_now
    reveal = case.terms.reveal
    assess = decider and reveal == "after_own_assessment" and not assessed
    return Can(
        take=decider and case.holder is None,
        release=open_now
        and case.holder is not None
        and (
            reader.role in (Role.REVIEWER, Role.ADMIN) or (decider and case.holder == reader.name)
        ),
        # A corrected case is advised on anew.
        correct=open_now and not is_stopped and reader.role in (*DECIDERS, Role.REVIEWER),
        assess=assess,
        ask_for_advice=decider and not visible and reveal == "on_request",
        decide=decider and not assess,
        write_letter=visible
        and reader.role in (*DECIDERS, Role.REVIEWER)
        and case.status != "corrected",
        contest=case.final is not None and reader.role in (*DECIDERS, Role.REVIEWER),
    )


def _decided(case: CaseFile, labels: Mapping[str, str], texts: Texts) -> Decided | None:
    reviews = case.of_type(REVIEW)
    last = reviews[-1] if reviews else case.final
    if last is None:
        return None
    said = last.content
    outcome = str(said["outcome"])
    return Decided(
        label=labels.get(outcome, outcome),
        who=last.actor,
        when=case_words.moment(last.at, texts),
        reason=case_words.reason_codes(texts)[said["reason"]["code"]],
        text=said["reason"]["text"],
        advice_followed=None if case.advised_outcome is None else case.advised_outcome == outcome,
        is_review=bool(reviews),
    )


def _proposals(case: CaseFile, labels: Mapping[str, str]) -> dict[str, str]:
    """Return what each person proposes by now, where two have to agree and do not yet."""
    if case.final is not None:
        return {}
    return {
        event.actor: labels.get(str(event.content["outcome"]), "")
        for event in case.of_type(CASEWORKER_DECISION)
    }


def _letters(case: CaseFile, labels: Mapping[str, str], texts: Texts) -> list[RecordedLetter]:
    return [
        RecordedLetter(
            outcome=labels.get(event.content["outcome"], event.content["outcome"]),
            language=event.content["language"],
            text=event.content["text"],
            who=event.actor,
            when=case_words.moment(event.at, texts),
        )
        for event in case.of_type(NOTICE)
    ]


def _happened(
    event: CaseEvent, labels: Mapping[str, str], texts: Texts, *, visible: bool
) -> Happened:
    content = event.content
    parts = []
    outcome = content.get("outcome")
    if outcome is not None:
        parts.append(labels.get(str(outcome), str(outcome)))
    if isinstance(content.get("reason"), Mapping):
        parts.append(str(content["reason"]["text"]))
    elif isinstance(content.get("reason"), str):
        parts.append(str(content["reason"]))
    elif event.type in ("contest", "representation") and visible:
        parts.append(str(content["text"]))
    return Happened(
        title=case_words.steps(texts)[event.type],
        when=case_words.moment(event.at, texts),
        datetime=event.at,
        who=event.actor,
        text=" ".join(
            part if part.endswith((".", "?", "!", "…")) else f"{part}." for part in parts
        ),
    )


def _receipt(case: CaseFile, texts: Texts) -> Receipt:
    answer, where = case.answer, case.decision.receipt
    recommendation = answer.get("recommendation")
    return Receipt(
        created=case_words.moment(answer["created"], texts),
        model=f"{answer['model']['name']} {answer['model']['version']}",
        policy=f"{answer['policy']['name']} {answer['policy']['version']}",
        rule="" if recommendation is None else recommendation["rule"]["description"],
        method="" if recommendation is None else answer["explanation"]["method"],
        log=where.origin,
        index=where.index,
        leaf_hash=b64encode(where.leaf_hash).decode(),
    )
