"""``/v1/decisions/{id}/correction``: an input was wrong, so the case is advised on anew, and linked.

Three entries, in this order: the old case says which case takes its place and what was corrected
(only one correction can be recorded, so only one new case is made); the new recommendation; the new
case says what it corrects. A crash between leaves an old case that names a new one which is not
there yet: the same request again goes on from there.
"""

from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from app.api import examples
from app.api.access import CurrentCaller, admits
from app.api.asking import application_steps
from app.api.case_schemas import Text
from app.api.case_steps import Step, record_step
from app.api.decisions import DecisionId
from app.api.documents import JSON, problems
from app.api.keyed import KeyedRoute
from app.api.parts import Parts, parts_of
from app.api.recording import recorded
from app.api.schemas import SaidOrigin, SentValue
from app.case_events import CORRECTED, CORRECTS, read_events
from app.cases import CaseFile
from app.domain import Caller, Role
from app.errors import InvalidRequestError
from app.in_step import to_the_end
from app.refusals import CaseCorrectedError
from app.reveal import open_case
from app.service import Application
from audit.errors import DuplicateIdError

router = APIRouter(route_class=KeyedRoute, tags=["caseworker"])

ROLES = (Role.CALLER, Role.CASEWORKER, Role.REVIEWER, Role.ADMIN)
_ADMITTED = admits(*ROLES)


class CorrectionRequest(BaseModel):
    """Which inputs were wrong, and what they are."""

    model_config = ConfigDict(extra="forbid", strict=True)

    fields: Annotated[
        dict[str, SentValue],
        Field(min_length=1, description="The right value of each field that was wrong."),
    ]
    provenance: Annotated[
        dict[str, SaidOrigin],
        Field(
            description="Where the right values come from. The others keep what was said of them."
        ),
    ] = {}
    reason: Text


class Correction(BaseModel):
    """The case that takes the old one's place."""

    decision: Annotated[str, Field(description="The new case.")]
    corrects: Annotated[str, Field(description="The old one.")]
    fields: Annotated[list[str], Field(description="What was corrected.")]


@router.post(
    "/v1/decisions/{decision_id}/correction",
    operation_id="correct_case",
    summary="Correct inputs of a case",
    description="Asks for a recommendation on the corrected case, by the model and policy of today. "
    "The old case stays in the log, names the new one and cannot be decided any more. While the "
    "case has no final decision; after that, contest it. Repeat the very same request when it was "
    "cut off: it goes on where it stopped.",
    status_code=201,
    dependencies=_ADMITTED["dependencies"],
    openapi_extra={
        **_ADMITTED["openapi_extra"],
        "requestBody": {
            "content": {
                JSON: {
                    "example": {
                        "fields": {"rent_arrears": 900.0},
                        "provenance": {},
                        "reason": "The landlord's statement shows lower arrears.",
                    }
                }
            }
        },
    },
    responses={
        201: {
            "description": "The new case, which is read like any other.",
            "content": {
                JSON: {
                    "example": {
                        "decision": "0193c9a5-2f47-7c3f-8a35-6d1f2f9c0b12",
                        "corrects": examples.DECISION_ID,
                        "fields": ["rent_arrears"],
                    }
                }
            },
        },
        **problems(400, 401, 403, 404, 408, 409, 410, 413, 415, 422, 503),
    },
)
async def correct_case(
    request: Request,
    response: Response,
    decision_id: DecisionId,
    asked: CorrectionRequest,
    caller: CurrentCaller,
) -> Correction:
    """Correct a case."""
    new = await correct(parts_of(request), decision_id, asked, caller)
    response.headers["Location"] = f"/v1/decisions/{new}"
    return Correction(decision=new, corrects=decision_id, fields=sorted(asked.fields))


async def correct(parts: Parts, decision_id: str, asked: CorrectionRequest, caller: Caller) -> str:
    """Return the new case's identifier, once all three entries are durable.

    Raises CaseCorrectedError when another correction was recorded, and what advising raises.
    """
    case = await run_in_threadpool(open_case, parts.log, decision_id, reader=caller)
    said = asked.model_dump(mode="json")
    new_id = await run_in_threadpool(_unfinished, parts, case, said)
    # Everything that can be refused is refused before the old case says that it is corrected.
    application = _application(parts, case, asked, id_=new_id or parts.new_id())
    if new_id is None:

        def check(now_open: CaseFile, _: datetime) -> Step:
            now_open.check_correcting()
            return Step({**said, "decision": application.id})

        await record_step(parts, decision_id, CORRECTED, caller, check)
    # From the step on, the same correction sent again goes on from it too, and may have been faster.
    with suppress(DuplicateIdError):
        await recorded(parts, application)

    def check_new(new: CaseFile, _: datetime) -> Step:
        if new.corrects is not None:
            raise CaseCorrectedError(replaced_by=application.id)
        return Step({"decision": decision_id, "fields": sorted(asked.fields)})

    await record_step(parts, application.id, CORRECTS, caller, check_new)
    return application.id


def _unfinished(parts: Parts, case: CaseFile, said: dict[str, Any]) -> str | None:
    """Return the new case of this very correction if it was cut off, None where there is none.

    Raises what forbids a correction.
    """
    new = case.corrected_as
    if new is None or case.final is not None:
        case.check_correcting()
        return None
    earlier = {**case.of_type(CORRECTED)[-1].content}
    earlier.pop("decision")
    if earlier != said:
        raise CaseCorrectedError(replaced_by=new)
    linked = read_events(parts.log, new).known
    if any(event.type == CORRECTS for event in linked):
        raise CaseCorrectedError(replaced_by=new)
    return new


def _application(parts: Parts, old: CaseFile, asked: CorrectionRequest, *, id_: str) -> Application:
    """Return the corrected case as if it had been sent. Raises what refuses a case."""
    content = old.decision.content
    lineup = parts.lineup(str(old.answer["model"]["name"]))
    name = lineup.live.name
    parts.stops.check(name, manual_route=lineup.live.policy.manual_route)
    strange = (set(asked.fields) - set(content.case)) | (set(asked.provenance) - set(asked.fields))
    if strange:
        raise InvalidRequestError(
            "fields and provenance: want fields of this case, and provenance of those corrected"
        )
    kept = {
        field: {"source": origin.source, "date": _iso(origin.date)}
        for field, origin in content.circumstances.provenance.items()
        if field not in asked.fields
    }
    body = {
        "case": {**content.case, **asked.fields},
        "subject": content.subject,
        "purpose": content.circumstances.purpose,
        "legal_basis": content.circumstances.legal_basis,
        "provenance": {**kept, **asked.model_dump(mode="json")["provenance"]},
    }
    # The new case belongs to the system that sent the old one, and is under its agreement.
    owner = Caller(content.caller, Role.CALLER, agreement=content.circumstances.agreement)
    steps = application_steps(parts, lineup, owner, body, idempotency=None, trace=None)
    return replace(to_the_end(steps), id=id_)


def _iso(day: date | None) -> str | None:
    return None if day is None else day.isoformat()
