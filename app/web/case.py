"""The page of one case, and what a caseworker does on it.

What is checked is checked by the API's own routes; a page turns what they refuse into a message
beside the field that it is about.
"""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse

from app.api import case_schemas as shapes
from app.api.access import CurrentCaller
from app.api.caseworker import assess_case, decide_case, request_advice
from app.api.decisions import DecisionId
from app.api.parts import parts_of
from app.api.recorded_reads import record_read
from app.api.taking import release_case, take_case
from app.case_events import CASEWORKER_DECISION, OWN_ASSESSMENT
from app.cases import CaseFile
from app.domain import Caller, Role
from app.errors import InvalidRequestError
from app.problem_type import AppError
from app.refusals import (
    AlreadyDecidedError,
    AnotherPersonError,
    CaseCorrectedError,
    CaseTakenError,
    EvidenceNeededError,
    NoticeNeededError,
    StepMissingError,
)
from app.reveal import open_case
from app.visible import is_visible
from app.web import case_words
from app.web.case_view import Form, case_view
from app.web.forms import filled_in, form_of, missing
from app.web.language import Texts, texts_of
from app.web.render import page
from app.web.session import signed_in

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

READERS = (Role.CASEWORKER, Role.REVIEWER, Role.AUDITOR, Role.ADMIN)
DECIDERS = (Role.CASEWORKER, Role.ADMIN)
NOTHING = shapes.Nothing()
LONGEST = 64
"""Name of an outcome, as the API has it."""
_SHOWN = (
    InvalidRequestError,
    EvidenceNeededError,
    NoticeNeededError,
    AnotherPersonError,
    CaseTakenError,
    StepMissingError,
    AlreadyDecidedError,
    CaseCorrectedError,
)
"""What the API refuses that has a place on the page; anything else has a page of its own."""


@router.get("/decisions/{decision_id}", **signed_in(*READERS))
async def show_case(request: Request, decision_id: DecisionId, caller: CurrentCaller) -> Response:
    """Show one case, once it is recorded who reads it."""
    parts = parts_of(request)
    case = await run_in_threadpool(open_case, parts.log, decision_id, reader=caller)
    await record_read(parts, decision_id, what="page", reader=caller)
    return page(request, case_view(parts, case, caller, texts_of(request)))


@router.post("/decisions/{decision_id}/take", **signed_in(*DECIDERS))
async def take(request: Request, decision_id: DecisionId, caller: CurrentCaller) -> Response:
    """Take the case on."""
    return await _beside(
        request,
        decision_id,
        caller,
        take_case(request, decision_id, NOTHING, caller),
        is_so=lambda case: case.holder == caller.name,
    )


@router.post(
    "/decisions/{decision_id}/release", **signed_in(Role.CASEWORKER, Role.REVIEWER, Role.ADMIN)
)
async def release(request: Request, decision_id: DecisionId, caller: CurrentCaller) -> Response:
    """Hand the case back."""
    return await _beside(
        request,
        decision_id,
        caller,
        release_case(request, decision_id, NOTHING, caller),
        is_so=lambda case: case.holder is None,
    )


@router.post("/decisions/{decision_id}/advice-request", **signed_in(*DECIDERS))
async def ask_for_advice(
    request: Request, decision_id: DecisionId, caller: CurrentCaller
) -> Response:
    """Ask to see the advice."""
    return await _beside(
        request, decision_id, caller, request_advice(request, decision_id, NOTHING, caller)
    )


@router.post("/decisions/{decision_id}/own-assessment", **signed_in(*DECIDERS))
async def assess(request: Request, decision_id: DecisionId, caller: CurrentCaller) -> Response:
    """Record the caseworker's own view."""
    values, texts = await filled_in(request), texts_of(request)
    _ = texts.gettext
    faults = missing(
        values,
        {
            "outcome": _("Choose what you think"),
            "confidence": _("Choose how sure you are"),
            "reason_code": _("Choose a reason"),
            "reason_text": _("Say why in your own words"),
        },
        texts,
    ) or _unknown(values, {"confidence": case_words.confidences(texts)}, texts)
    if faults:
        return await _again(request, decision_id, caller, values, faults)
    said = shapes.OwnAssessment(
        outcome=values["outcome"],
        confidence=values["confidence"],  # type: ignore[arg-type]  # checked above
        reason=_reason(values),
    )
    return await _stepped(
        request,
        decision_id,
        caller,
        assess_case(request, decision_id, said, caller),
        values=values,
        is_so=lambda case: case.last_said(OWN_ASSESSMENT, caller, said.model_dump()) is not None,
    )


@router.post("/decisions/{decision_id}/decision", **signed_in(*DECIDERS))
async def decide(request: Request, decision_id: DecisionId, caller: CurrentCaller) -> Response:
    """Record the decision: the same is asked whether it follows the advice or departs from it."""
    values, texts = await filled_in(request), texts_of(request)
    _ = texts.gettext
    faults = missing(
        values,
        {
            "outcome": _("Choose a decision"),
            "reason_code": _("Choose a reason"),
            "reason_text": _("Say why in your own words"),
        },
        texts,
    ) or _unknown(values, {}, texts)
    if faults:
        return await _again(request, decision_id, caller, values, faults)
    evidence = values.get("evidence", "")
    said = shapes.CaseworkerDecision(
        outcome=values["outcome"],
        reason=_reason(values),
        evidence=evidence if is_visible(evidence) else None,
    )
    return await _stepped(
        request,
        decision_id,
        caller,
        decide_case(request, decision_id, said, caller),
        values=values,
        is_so=lambda case: (
            [case.last_said(CASEWORKER_DECISION, caller, said.model_dump())] == [*case.events[-1:]]
        ),
    )


def _reason(values: Mapping[str, str]) -> shapes.Reason:
    return shapes.Reason(
        code=values["reason_code"],  # type: ignore[arg-type]  # checked before
        text=values["reason_text"],
    )


def _unknown(
    values: Mapping[str, str], more: Mapping[str, Mapping[str, str]], texts: Texts
) -> dict[str, str]:
    """Return a message for each choice that is none of those on the page."""
    _ = texts.gettext
    choices = {"reason_code": case_words.reason_codes(texts), **more}
    return {
        name: _("Choose one of those on the page")
        for name, known in choices.items()
        if values[name] not in known
    } | (
        # Which outcomes there are is for the step to say; a name as long as this is none.
        {"outcome": _("Choose one of those on the page")}
        if len(values["outcome"]) > LONGEST
        else {}
    )


async def _stepped(
    request: Request,
    decision_id: str,
    caller: Caller,
    step: Awaitable[shapes.CaseStep],
    *,
    values: Mapping[str, str],
    is_so: Callable[[CaseFile], bool] = lambda _: False,
) -> Response:
    """Take a step and go back to the case, or show it with what was refused.

    ``is_so`` says whether the case is as the step makes it: then a button pressed twice is no mistake.
    """
    parts = parts_of(request)
    try:
        recorded = await step
    except _SHOWN as refused:
        case = await run_in_threadpool(open_case, parts.log, decision_id, reader=caller)
        if not isinstance(refused, StepMissingError | AnotherPersonError) or not is_so(case):
            field, message = _message(refused, texts_of(request))
            return await _again(request, decision_id, caller, values, {field: message})
    else:
        await parts.index.reach(recorded.receipt.index)
    return RedirectResponse(f"/decisions/{decision_id}", status_code=303)


async def _beside(
    request: Request,
    decision_id: str,
    caller: Caller,
    step: Awaitable[shapes.CaseStep],
    *,
    is_so: Callable[[CaseFile], bool] = lambda _: False,
) -> Response:
    """Take a step whose button stands beside the form, and leave what is in the form by then there."""
    values = await filled_in(request)
    response = await _stepped(request, decision_id, caller, step, values=values, is_so=is_so)
    if response.status_code != HTTPStatus.SEE_OTHER or not any(map(is_visible, values.values())):
        return response
    await record_read(parts_of(request), decision_id, what="page", reader=caller)
    return await _again(request, decision_id, caller, values, {}, status=200)


async def _again(
    request: Request,
    decision_id: str,
    caller: Caller,
    values: Mapping[str, str],
    errors: Mapping[str, str],
    *,
    status: int = 422,
) -> Response:
    """Show the case with the form as it was filled in, or that it is too late for any."""
    parts, texts = parts_of(request), texts_of(request)
    case: CaseFile = await run_in_threadpool(open_case, parts.log, decision_id, reader=caller)
    too_late = _too_late(case, texts)
    form: Form = form_of(values, {"case": too_late} if too_late else errors)
    return page(
        request, case_view(parts, case, caller, texts, form), status=409 if too_late else status
    )


def _too_late(case: CaseFile, texts: Texts) -> str:
    """Return why nothing of a form can be recorded any more, whatever is mended in it; else nothing."""
    _ = texts.gettext
    if case.final is not None:
        return _("This case has been decided in the meantime. What you sent was not recorded.")
    if case.corrected_as is not None:
        return _("This case was corrected in the meantime. What you sent was not recorded.")
    return ""


def _message(refused: AppError, texts: Texts) -> tuple[str, str]:
    """Return what the API refuses as the page says it: the field that it is about, and a message."""
    _ = texts.gettext
    changed = ("case", _("The case has changed in the meantime. This is how it stands now"))
    return {
        InvalidRequestError: ("outcome", _("Choose one of those on the page")),
        EvidenceNeededError: ("evidence", _("Say what you checked, and how")),
        NoticeNeededError: (
            "outcome",
            _("Record the letter to the person first: see below, once the advice is shown"),
        ),
        AnotherPersonError: ("outcome", _("Somebody else has to come to the same decision")),
        CaseTakenError: ("case", _("Somebody else has taken this case in the meantime")),
        StepMissingError: changed,
        AlreadyDecidedError: changed,
        CaseCorrectedError: changed,
    }[type(refused)]
