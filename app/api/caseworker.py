"""``/v1/decisions/{id}/...``: what the person who decides does, each step an entry of the log."""

from datetime import datetime

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from app.api import case_schemas as shapes
from app.api import examples
from app.api.access import CurrentCaller, admits
from app.api.case_steps import REASON, STEP, Step, record_step, route, shown_step
from app.api.decisions import READING_ROLES, DecisionId
from app.api.documents import JSON, problems
from app.api.keyed import KeyedRoute
from app.api.parts import parts_of
from app.api.recorded_reads import record_read
from app.case_events import ADVICE_REQUESTED, CASEWORKER_DECISION, OWN_ASSESSMENT
from app.cases import CaseFile
from app.domain import Kind, Role
from app.metrics import FOLLOWED, OVERRODE
from app.reveal import open_case

router = APIRouter(route_class=KeyedRoute, tags=["caseworker"])


@router.post(
    "/v1/decisions/{decision_id}/own-assessment",
    operation_id="assess_case",
    summary="Record your own view before seeing the advice",
    description="Under a policy that shows the advice after an own assessment, this shows it to "
    "whoever assessed. Once for each person.",
    **route(
        {"outcome": "priority", "confidence": "medium", "reason": REASON},
        Role.CASEWORKER,
        Role.ADMIN,
    ),
)
async def assess_case(
    request: Request,
    decision_id: DecisionId,
    asked: shapes.OwnAssessment,
    caller: CurrentCaller,
) -> shapes.CaseStep:
    """Record an own assessment."""

    def check(case: CaseFile, _: datetime) -> Step:
        case.check_assessing(caller, asked.outcome)
        return Step(asked.model_dump())

    return await record_step(parts_of(request), decision_id, OWN_ASSESSMENT, caller, check)


@router.post(
    "/v1/decisions/{decision_id}/advice-request",
    operation_id="request_advice",
    summary="Ask to see the advice",
    description="Under a policy that shows the advice on request. That somebody asked is recorded.",
    **route({}, Role.CASEWORKER, Role.ADMIN),
)
async def request_advice(
    request: Request, decision_id: DecisionId, asked: shapes.Nothing, caller: CurrentCaller
) -> shapes.CaseStep:
    """Record that somebody asked for the advice."""

    def check(case: CaseFile, _: datetime) -> Step:
        case.check_requesting(caller)
        return Step(asked.model_dump())

    return await record_step(parts_of(request), decision_id, ADVICE_REQUESTED, caller, check)


@router.post(
    "/v1/decisions/{decision_id}/caseworker-decision",
    operation_id="decide_case",
    summary="Record the decision",
    description="The decision of a person, with its reason. The same is asked whether it follows "
    "the advice or departs from it. Where the policy asks for a second person, it is final once two "
    "people have come to the same outcome. A final decision changes only by review; the very same again "
    "by the same person, with nothing since, is answered with the step that is recorded. A machine's key "
    "may end a case only where the policy lets it.",
    **route(
        {"outcome": "priority", "reason": REASON, "evidence": None},
        Role.CALLER,
        Role.CASEWORKER,
        Role.ADMIN,
    ),
)
async def decide_case(
    request: Request,
    decision_id: DecisionId,
    asked: shapes.CaseworkerDecision,
    caller: CurrentCaller,
) -> shapes.CaseStep:
    """Record a caseworker's decision."""
    parts = parts_of(request)
    agreement: tuple[str, str, str] | None = None

    def check(case: CaseFile, now: datetime) -> Step:
        nonlocal agreement
        agreement = None  # of a first try that another step came before
        said = asked.model_dump()
        earlier = case.last_said(CASEWORKER_DECISION, caller, said)
        if earlier is not None and earlier.content["final"] and earlier == case.events[-1]:
            return Step(said, repeats=earlier)
        final = case.decide(caller, outcome=asked.outcome, evidence=asked.evidence)
        if caller.kind is Kind.HUMAN:
            parts.training.check(caller.name, level=case.terms.impact_level, on=now.date())
        advised = case.advised_outcome
        agrees = None if advised is None else advised == asked.outcome
        if agrees is not None and caller.kind is Kind.HUMAN:
            model = case.answer["model"]
            # Records from before there were arms name none.
            arm = "canary" if model.get("arm") == "canary" else "live"
            agreement = (str(model["name"]), arm, FOLLOWED if agrees else OVERRODE)
        return Step({**said, "agrees": agrees, "final": final}, {"final": final})

    step = await record_step(parts, decision_id, CASEWORKER_DECISION, caller, check)
    if agreement is not None:
        parts.metrics.caseworker_decisions.labels(*agreement).inc()
    return step


@router.get(
    "/v1/decisions/{decision_id}/history",
    operation_id="read_history",
    summary="What has happened to a case since the advice",
    description="Every step in order, read from the log. Where the policy shows the advice later, "
    "you see your own steps until you may see the advice.",
    responses={
        200: {
            "content": {
                JSON: {
                    "example": {
                        "decision": examples.DECISION_ID,
                        "status": "final",
                        "outcome": "priority",
                        "steps": [STEP],
                    }
                }
            }
        },
        **problems(401, 403, 404, 410, 422, 503),
    },
    **admits(*READING_ROLES),
)
async def read_history(
    request: Request, decision_id: DecisionId, caller: CurrentCaller
) -> shapes.History:
    """Return a case's history."""
    parts = parts_of(request)
    case = await run_in_threadpool(open_case, parts.log, decision_id, reader=caller)
    await record_read(parts, decision_id, what="history", reader=caller)
    visible = case.is_visible(caller)
    return shapes.History(
        decision=decision_id,
        status=case.status,
        outcome=case.outcome,
        steps=[
            shown_step(case, event, reader=caller)
            for event in case.events
            if visible or event.actor == caller.name
        ],
    )
