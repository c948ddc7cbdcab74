"""``/v1/decisions/{id}/notice``: the letter to the person affected, written and recorded."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool

from app.api import case_schemas as shapes
from app.api import examples
from app.api.access import CurrentCaller, admits
from app.api.case_steps import Step, record_step, route
from app.api.decisions import DecisionId
from app.api.documents import JSON, problems
from app.api.keyed import KeyedRoute
from app.api.of_case import model_of
from app.api.parts import Parts, parts_of
from app.api.recorded_reads import record_read
from app.case_events import NOTICE
from app.cases import CaseFile
from app.domain import Caller, Role
from app.notices.readability import Reading
from app.notices.writer import Letter, check_text
from app.policy import Policy
from app.policy_terms import NoticeTerms
from app.refusals import NoticeUnavailableError, StepMissingError
from app.reveal import open_case
from app.served import ServedModel
from models.translations import CARD_LANGUAGE

router = APIRouter(route_class=KeyedRoute, tags=["caseworker"])

WRITERS = (Role.CALLER, Role.CASEWORKER, Role.REVIEWER, Role.ADMIN)
TEXT = "We looked at your rent arrears and your notice to leave. ... You can ask us to look again."
WRITTEN = {
    "decision": examples.DECISION_ID,
    "outcome": "no-priority",
    "language": "en",
    "text": TEXT,
    "must_name": ["Rent arrears", "Notice to leave"],
    "to_complete": [],
    "reading": {"measure": "reading_age", "value": 10.4, "limit": 14, "within_limit": True},
    "template": {
        "digest": "sha256:5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9",
        "packaged": True,
    },
}


@router.get(
    "/v1/decisions/{decision_id}/notice",
    operation_id="write_notice",
    summary="Write the letter to the person affected",
    description="In one of the languages of the policy's `notice.letters`, from the body's template "
    "or the packaged one. Without `outcome`, the outcome in force, else the one advised. A draft: "
    "nothing is recorded but that you read it. Where the policy shows the advice later: 409 until "
    "then.",
    responses={
        200: {"content": {JSON: {"example": WRITTEN}}},
        **problems(401, 403, 404, 409, 410, 422, 503),
    },
    **admits(*WRITERS),
)
async def write_notice(
    request: Request,
    decision_id: DecisionId,
    caller: CurrentCaller,
    language: Annotated[
        str, Query(pattern=r"^[a-z]{2,3}$", description="An ISO 639 code.", examples=["cy"])
    ] = "en",
    outcome: Annotated[
        str | None, Query(max_length=64, description="One of the policy's outcomes.")
    ] = None,
) -> shapes.WrittenNotice:
    """Write a letter."""
    parts = parts_of(request)
    case = await run_in_threadpool(open_case, parts.log, decision_id, reader=caller)
    case.check_visible(caller)
    about = outcome or case.outcome or case.advised_outcome
    if about is None:
        raise StepMissingError("nothing is decided or advised yet: say in `outcome` what to tell")
    case.check_writing(caller, outcome=about)
    letter = await run_in_threadpool(drafted, parts, case, about, language, caller)
    await record_read(parts, decision_id, what="notice", reader=caller)
    return _shown(decision_id, letter)


@router.post(
    "/v1/decisions/{decision_id}/notice",
    operation_id="record_notice",
    summary="Record the notice to the person affected",
    description="The letter about an outcome, as it was sent. At impact level II and above an "
    "adverse outcome cannot be decided before. Refused when it leaves out a factor that weighed, "
    "has a place left open, or is harder to read than the policy allows. The same letter again by "
    "the same person is answered with the step that is recorded.",
    **route(
        {"outcome": "no-priority", "text": TEXT, "language": "en"},
        Role.CASEWORKER,
        Role.REVIEWER,
        Role.ADMIN,
    ),
)
async def record_notice(
    request: Request, decision_id: DecisionId, asked: shapes.Notice, caller: CurrentCaller
) -> shapes.CaseStep:
    """Record a notice."""
    parts = parts_of(request)

    made: ServedModel | None = None
    if asked.language != CARD_LANGUAGE:
        found = await run_in_threadpool(open_case, parts.log, decision_id, reader=caller)
        made = await run_in_threadpool(model_of, parts, found.decision)

    def check(case: CaseFile, _: datetime) -> Step:
        case.check_notifying(caller, outcome=asked.outcome)
        reading = check_text(
            case,
            None if made is None else made.bundle.card,
            NoticeTerms() if (today := _policy(parts, case)) is None else today.notice,
            text=asked.text,
            language=asked.language,
        )
        said = asked.model_dump()
        return Step(
            {**said, "reading": _level(reading).model_dump()},
            repeats=case.last_said(NOTICE, caller, said),
        )

    return await record_step(parts, decision_id, NOTICE, caller, check)


def drafted(parts: Parts, case: CaseFile, outcome: str, language: str, reader: Caller) -> Letter:
    """Return a letter about an outcome of a case. Not for the event loop: see ``model_of``.

    Raises NoticeUnavailableError.
    """
    made = model_of(parts, case.decision)
    if made is None:
        raise NoticeUnavailableError("the version that advised on this case is not available here")
    return parts.notices.write(
        case,
        made.bundle.card,
        made.policy,
        today=_policy(parts, case),
        outcome=outcome,
        language=language,
        reader=reader,
        on=parts.clock().date(),
    )


def _policy(parts: Parts, case: CaseFile) -> Policy | None:
    """Return today's policy of the case's model; None where no version of it is active."""
    active = parts.served.get(case.answer["model"]["name"])
    return None if active is None else active.policy


def _shown(decision_id: str, letter: Letter) -> shapes.WrittenNotice:
    return shapes.WrittenNotice(
        decision=decision_id,
        outcome=letter.outcome,
        language=letter.language,
        text=letter.text,
        must_name=list(letter.must_name),
        to_complete=list(letter.to_complete),
        reading=_level(letter.reading),
        template=shapes.NoticeTemplate(
            digest=letter.template.digest, packaged=letter.template.packaged
        ),
    )


def _level(reading: Reading) -> shapes.ReadingLevel:
    return shapes.ReadingLevel(
        measure=reading.measure,
        value=reading.value,
        limit=reading.limit,
        within_limit=reading.is_within,
    )
