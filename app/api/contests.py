"""Contesting a final decision: representations, and a review by somebody who took no part."""

from datetime import date, datetime, timedelta

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from app.api import case_schemas as shapes
from app.api import examples
from app.api.access import CurrentCaller, admits
from app.api.case_steps import REASON, Step, record_step, route
from app.api.decisions import DecisionId
from app.api.documents import JSON, problems
from app.api.keyed import KeyedRoute
from app.api.parts import parts_of
from app.case_events import CONTEST, REPRESENTATION, REVIEW
from app.cases import CaseFile
from app.contests import open_contests
from app.domain import Role

router = APIRouter(route_class=KeyedRoute, tags=["contests"])

WAITING = {
    "decision": examples.DECISION_ID,
    "since": "2026-11-23T10:20:30.123Z",
    "due": "2026-12-21",
    "overdue": False,
}


@router.post(
    "/v1/decisions/{decision_id}/contest",
    operation_id="contest_decision",
    summary="Contest a final decision",
    description="What the person affected says, or somebody for them. From now the clock runs: the "
    "policy says how many days a review may take.",
    **route(
        {"text": "The arrears were paid in October.", "on_behalf_of": "person"},
        Role.CALLER,
        Role.CASEWORKER,
        Role.REVIEWER,
        Role.ADMIN,
    ),
)
async def contest_decision(
    request: Request, decision_id: DecisionId, asked: shapes.Contest, caller: CurrentCaller
) -> shapes.CaseStep:
    """Record a contest."""

    def check(case: CaseFile, now: datetime) -> Step:
        case.check_contesting()
        due = (now + timedelta(days=case.terms.answer_within_days)).date().isoformat()
        return Step({**asked.model_dump(), "due": due}, {"due": due})

    return await record_step(parts_of(request), decision_id, CONTEST, caller, check)


@router.post(
    "/v1/decisions/{decision_id}/representation",
    operation_id="add_representation",
    summary="Add to a contest",
    description="Something more that the person affected says. The clock does not start again. "
    "The same words again by the same person, with no other step between, are answered with the "
    "step that is recorded.",
    **route(
        {"text": "Here is the receipt."}, Role.CALLER, Role.CASEWORKER, Role.REVIEWER, Role.ADMIN
    ),
)
async def add_representation(
    request: Request,
    decision_id: DecisionId,
    asked: shapes.Representation,
    caller: CurrentCaller,
) -> shapes.CaseStep:
    """Record a representation."""

    def check(case: CaseFile, _: datetime) -> Step:
        case.check_representing()
        said = asked.model_dump()
        is_last = case.events[-1].type == REPRESENTATION
        return Step(said, repeats=case.last_said(REPRESENTATION, caller, said) if is_last else None)

    return await record_step(parts_of(request), decision_id, REPRESENTATION, caller, check)


@router.post(
    "/v1/decisions/{decision_id}/review",
    operation_id="review_decision",
    summary="Review a contested decision",
    description="By a person who took no part in the decision, or in an earlier review: 409 "
    "otherwise. The outcome replaces the one before, or upholds it.",
    **route({"outcome": "priority", "reason": REASON}, Role.REVIEWER, Role.ADMIN),
)
async def review_decision(
    request: Request, decision_id: DecisionId, asked: shapes.Review, caller: CurrentCaller
) -> shapes.CaseStep:
    """Record a review."""
    parts = parts_of(request)

    def check(case: CaseFile, now: datetime) -> Step:
        case.check_reviewing(caller, asked.outcome)
        parts.training.check(caller.name, level=case.terms.impact_level, on=now.date())
        changed = asked.outcome != case.outcome
        return Step({**asked.model_dump(), "changed": changed})

    return await record_step(parts, decision_id, REVIEW, caller, check)


@router.get(
    "/v1/contests",
    operation_id="list_contests",
    summary="Contests that wait for a review",
    description="The longest waiting first. `overdue` where the policy's time has passed.",
    responses={
        200: {"content": {JSON: {"example": {"contests": [WAITING]}}}},
        **problems(401, 403, 422, 503),
    },
    **admits(Role.CASEWORKER, Role.REVIEWER, Role.AUDITOR, Role.ADMIN),
)
async def list_contests(request: Request) -> shapes.OpenContests:
    """Return the open contests."""
    parts = parts_of(request)
    today = parts.clock().date()
    waiting = await run_in_threadpool(open_contests, parts.contests)
    return shapes.OpenContests(
        contests=[
            shapes.OpenContest(
                decision=each.decision,
                since=each.since,
                due=each.due,
                overdue=date.fromisoformat(each.due) < today,
            )
            for each in waiting
        ]
    )
