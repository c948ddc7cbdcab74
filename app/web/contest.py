"""What happens when the person disagrees: what they say, the clock, and the review by somebody else."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse

from app.api import case_schemas as shapes
from app.api.access import CurrentCaller
from app.api.contests import add_representation, contest_decision, review_decision
from app.api.decision_list import listed
from app.api.decisions import DecisionId
from app.api.parts import Parts, parts_of
from app.api.recorded_reads import record_read
from app.case_events import CONTEST, REPRESENTATION, REVIEW, CaseEvent
from app.cases import CaseFile
from app.domain import Caller, Role
from app.index.query import Filters
from app.refusals import AnotherPersonError, NoticeNeededError, StepMissingError
from app.reveal import open_case
from app.visible import is_visible
from app.web import case_words
from app.web.case_view import Form, Items, items_of, letter_first, served_by
from app.web.cases import IN_PAGE, CaseRow, case_row
from app.web.forms import filled_in, form_of, missing
from app.web.language import Texts, texts_of
from app.web.render import page
from app.web.session import signed_in

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

VOICES = (Role.CASEWORKER, Role.REVIEWER, Role.ADMIN)
REVIEWERS = (Role.REVIEWER, Role.ADMIN)
SPEAKERS = ("person", "representative")
OF_A_REVIEW = ("outcome", "reason_code", "reason_text")


@dataclass(frozen=True, slots=True)
class Said:
    """Something that the person affected said, or that a review came to."""

    title: str
    when: str
    text: str
    outcome: str
    """Of a review; otherwise empty."""


@dataclass(frozen=True, slots=True)
class ContestView:
    """The page of a contest."""

    template: ClassVar[str] = "cases/contest.html"

    id: str
    reference: str
    outcome: str
    is_contested: bool
    due: str
    days_left: int
    said: list[Said]
    may_review: bool
    is_reviewer: bool
    letter_first: list[str]
    """The outcomes that a review can only come to once the letter that tells them is recorded."""
    outcomes: Items
    reasons: Items
    form: Form


@dataclass(frozen=True, slots=True)
class QueueView:
    """The contests that wait for a review, the next to be answered first."""

    template: ClassVar[str] = "cases/reviews.html"

    rows: list[CaseRow]
    next: str | None
    first: str | None


@router.get("/reviews", **signed_in(*REVIEWERS))
async def show_reviews(request: Request, cursor: str | None = None) -> Response:
    """Show what waits for a review."""
    parts, texts = parts_of(request), texts_of(request)
    found = await run_in_threadpool(
        listed, parts, Filters(), order="due", cursor=cursor, limit=IN_PAGE
    )
    today = parts.clock().date()
    view = QueueView(
        rows=[case_row(row, parts, texts, today) for row in found.rows],
        next=None if found.next is None else f"/reviews?cursor={found.next}",
        first=None if cursor is None else "/reviews",
    )
    return page(request, view)


@router.get("/decisions/{decision_id}/contest", **signed_in(*VOICES))
async def show_contest(
    request: Request, decision_id: DecisionId, caller: CurrentCaller
) -> Response:
    """Show a contest, once it is recorded who reads it."""
    parts = parts_of(request)
    case = await run_in_threadpool(open_case, parts.log, decision_id, reader=caller)
    if case.final is None:
        raise StepMissingError("there is no final decision to contest yet")
    await record_read(parts, decision_id, what="page", reader=caller)
    return page(request, _view(parts, case, caller, texts_of(request), Form()))


@router.post("/decisions/{decision_id}/contest", **signed_in(*VOICES))
async def contest(request: Request, decision_id: DecisionId, caller: CurrentCaller) -> Response:
    """Record what the person says against the decision; later, what more they say."""
    parts, texts = parts_of(request), texts_of(request)
    values = await filled_in(request)
    _ = texts.gettext
    case = await run_in_threadpool(open_case, parts.log, decision_id, reader=caller)
    is_more = case.contest is not None or bool(values.get("adds"))
    wanted = {"text": _("Write what the person says")}
    if not is_more:
        wanted["on_behalf_of"] = _("Choose who says it")
    faults = missing(values, wanted, texts)
    speaker = values.get("on_behalf_of")
    if not is_more and "on_behalf_of" not in faults and speaker not in SPEAKERS:
        faults["on_behalf_of"] = _("Choose one of those on the page")
    if faults:
        return _again(request, parts, case, caller, Form(values, faults))
    if _is_begun(case, caller, values["text"]):
        return _to_contest(decision_id)
    if is_more:
        more = shapes.Representation(text=values["text"])
        try:
            added = await _back(
                request, decision_id, add_representation(request, decision_id, more, caller)
            )
        except StepMissingError:  # what the person adds to a contest is not another one
            case = await run_in_threadpool(open_case, parts.log, decision_id, reader=caller)
            late = _(
                "The decision was reviewed in the meantime. What you sent was not recorded. Ask"
                " whether the person still disagrees"
            )
            return _again(request, parts, case, caller, Form(values, {"text": late}), status=409)
        begun = {name: values[name] for name in OF_A_REVIEW if values.get(name)}
        if not begun:
            return added
        case = await run_in_threadpool(open_case, parts.log, decision_id, reader=caller)
        return _again(request, parts, case, caller, Form(begun), status=200)
    said = shapes.Contest(
        text=values["text"],
        on_behalf_of=speaker,  # type: ignore[arg-type]  # checked above
    )
    try:
        return await _back(
            request, decision_id, contest_decision(request, decision_id, said, caller)
        )
    except StepMissingError:
        case = await run_in_threadpool(open_case, parts.log, decision_id, reader=caller)
        if not _is_begun(case, caller, said.text):
            raise
        return _to_contest(decision_id)


@router.post("/decisions/{decision_id}/review", **signed_in(*REVIEWERS))
async def review(request: Request, decision_id: DecisionId, caller: CurrentCaller) -> Response:
    """Record the review's outcome."""
    parts, texts = parts_of(request), texts_of(request)
    values = await filled_in(request)
    _ = texts.gettext
    case = await run_in_threadpool(open_case, parts.log, decision_id, reader=caller)
    faults = missing(
        values,
        {
            "outcome": _("Choose a decision"),
            "reason_code": _("Choose a reason"),
            "reason_text": _("Say why in your own words"),
        },
        texts,
    )
    for name, known in (
        ("outcome", case.terms.outcomes),
        ("reason_code", case_words.reason_codes(texts)),
    ):
        if name not in faults and values[name] not in known:
            faults[name] = _("Choose one of those on the page")
    if is_visible(values.get("text", "")):
        faults = {"text": _("Add this first, or take it out"), **faults}
    if not faults:
        said = shapes.Review(
            outcome=values["outcome"],
            reason=shapes.Reason(code=values["reason_code"], text=values["reason_text"]),  # type: ignore[arg-type]  # checked above
        )
        try:
            return await _back(
                request, decision_id, review_decision(request, decision_id, said, caller)
            )
        except NoticeNeededError:
            faults["outcome"] = _("Record the letter to the person first")
        except AnotherPersonError:
            faults["outcome"] = _("Somebody who took no part has to review it")
        except StepMissingError:
            case = await run_in_threadpool(open_case, parts.log, decision_id, reader=caller)
            if case.last_said(REVIEW, caller, said.model_dump()) is None:
                raise
            return _to_contest(decision_id)
    return _again(request, parts, case, caller, form_of(values, faults))


def _is_begun(case: CaseFile, caller: Caller, text: str) -> bool:
    """Return whether this very contest was begun, and nothing was said since: a form sent twice."""
    return case.contest is not None and (
        case.last_said(CONTEST, caller, {"text": text}) == case.events[-1]
    )


def _to_contest(decision_id: str) -> Response:
    return RedirectResponse(f"/decisions/{decision_id}/contest", status_code=303)


async def _back(request: Request, decision_id: str, step: Awaitable[shapes.CaseStep]) -> Response:
    recorded = await step
    await parts_of(request).index.reach(recorded.receipt.index)
    return _to_contest(decision_id)


def _again(
    request: Request,
    parts: Parts,
    case: CaseFile,
    caller: Caller,
    form: Form,
    *,
    status: int = 422,
) -> Response:
    return page(request, _view(parts, case, caller, texts_of(request), form), status=status)


def _view(parts: Parts, case: CaseFile, reader: Caller, texts: Texts, form: Form) -> ContestView:
    labels = case_words.outcome_labels(case, served_by(parts, case))
    outcome = str(case.outcome)
    due = None if case.contest is None else date.fromisoformat(str(case.contest.content["due"]))
    names = case_words.steps(texts)
    took_part = reader.name in case.took_part
    return ContestView(
        id=case.decision.id,
        reference=case_words.short_reference(case.decision.id),
        outcome=labels.get(outcome, outcome),
        is_contested=due is not None,
        due="" if due is None else case_words.day(due.isoformat(), texts),
        days_left=0 if due is None else (due - parts.clock().date()).days,
        said=[
            _said(event, names[event.type], labels, texts)
            for event in case.events
            if event.type in (CONTEST, REPRESENTATION, REVIEW)
        ],
        may_review=due is not None and reader.role in REVIEWERS and not took_part,
        is_reviewer=reader.role in REVIEWERS,
        letter_first=letter_first(case, labels),
        outcomes=items_of(labels),
        reasons=items_of(case_words.reason_codes(texts)),
        form=form,
    )


def _said(event: CaseEvent, title: str, labels: Mapping[str, str], texts: Texts) -> Said:
    when, content = case_words.moment(event.at, texts), event.content
    if event.type != REVIEW:
        return Said(title, when, str(content["text"]), "")
    outcome, reason = str(content["outcome"]), content["reason"]
    return Said(title, when, str(reason["text"]), labels.get(outcome, outcome))
