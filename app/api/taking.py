"""Taking a case on and handing it back: who sees to it is an entry of the log, like every step.

All open cases are one queue for all caseworkers. Taking one keeps two people from working on it
unawares; it gives no right that others lack.
"""

from datetime import datetime

from fastapi import APIRouter, Request

from app.api import case_schemas as shapes
from app.api.access import CurrentCaller
from app.api.case_steps import Step, record_step, route
from app.api.decisions import DecisionId
from app.api.keyed import KeyedRoute
from app.api.parts import parts_of
from app.case_events import RELEASED, TAKEN
from app.cases import CaseFile
from app.domain import Role

router = APIRouter(route_class=KeyedRoute, tags=["caseworker"])


@router.post(
    "/v1/decisions/{decision_id}/take",
    operation_id="take_case",
    summary="Take a case on",
    description="The case is yours in lists from now on, and nobody else takes it until you hand it "
    "back. Deciding a case does not need this.",
    **route({}, Role.CASEWORKER, Role.ADMIN),
)
async def take_case(
    request: Request, decision_id: DecisionId, asked: shapes.Nothing, caller: CurrentCaller
) -> shapes.CaseStep:
    """Record who takes a case on."""

    def check(case: CaseFile, _: datetime) -> Step:
        case.check_taking(caller)
        return Step(asked.model_dump())

    return await record_step(parts_of(request), decision_id, TAKEN, caller, check)


@router.post(
    "/v1/decisions/{decision_id}/release",
    operation_id="release_case",
    summary="Hand a case back",
    description="For the one who took it. A reviewer may do it for somebody who is away.",
    **route({}, Role.CASEWORKER, Role.REVIEWER, Role.ADMIN),
)
async def release_case(
    request: Request, decision_id: DecisionId, asked: shapes.Nothing, caller: CurrentCaller
) -> shapes.CaseStep:
    """Record that a case is handed back."""

    def check(case: CaseFile, _: datetime) -> Step:
        case.check_releasing(caller)
        return Step(asked.model_dump())

    return await record_step(parts_of(request), decision_id, RELEASED, caller, check)
