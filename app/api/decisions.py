"""``/v1/models/{model}/decisions`` and ``/v1/decisions/{id}``: one decision's whole file."""

from collections.abc import Callable, Coroutine
from functools import partial
from time import perf_counter
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from pydantic import AfterValidator

from app import records
from app.api import examples, schemas
from app.api.access import CurrentCaller, admits, admitted
from app.api.asking import MAX_KEY_LENGTH, application_steps, idempotency_of, parameters
from app.api.documents import JSON, problems
from app.api.lean import Answer, HotHeaders, body_within, parse_body
from app.api.parts import Parts, parts_of
from app.api.queries import named_once
from app.api.recorded_reads import record_read
from app.api.recording import recorded
from app.domain import Caller, Role
from app.errors import ContentCodingError, InvalidRequestError, UnsupportedMediaTypeError
from app.in_step import to_the_end
from app.reading import read_decision
from app.replay import ReplayWork, replay
from app.reveal import read_advice, shown_body, without_advice
from app.work import Earlier, Recorded
from models.errors import CaseRejectedError

REPEATED = {"Idempotency-Replayed": "true"}
ADVISED_ROLES = (Role.CALLER, Role.CASEWORKER, Role.ADMIN)
READING_ROLES = (Role.CALLER, Role.CASEWORKER, Role.REVIEWER, Role.AUDITOR, Role.ADMIN)

DecisionId = Annotated[
    str,
    Path(
        description="The decision's identifier (UUID), in letters of either case.",
        pattern=r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
        examples=[examples.DECISION_ID],
    ),
    # Some databases give a UUID back in capitals (RFC 9562, 4: both are read); records have it in small ones.
    AfterValidator(str.lower),
]


class LeanRoute(APIRoute):
    """A route whose handler takes the request itself.

    FastAPI's own parsing of typed parameters costs more than scoring and explaining the case, so
    the one hot route does without it. It is still in the OpenAPI document. Requests reach the
    handler past the router, see ``Shortcut``.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the endpoint as it is."""
        return self.endpoint


hot = APIRouter(route_class=LeanRoute, tags=["decisions"])
router = APIRouter(tags=["decisions"])


@hot.post(
    "/v1/models/{model}/decisions",  # noqa: FAST003  # see LeanRoute
    operation_id="create_decision",
    summary="Ask for a recommendation",
    description="Scores the case, explains the score, applies the policy and records the whole "
    "answer. The answer comes only when the record is durable. Send an `Idempotency-Key` to be "
    "able to repeat a request safely: the same key and body give the first answer again.",
    status_code=201,
    response_class=Response,
    responses={
        201: {
            "model": schemas.AnyDecision,
            "description": "The explained recommendation and its receipt; or the case's, without "
            "advice, where the policy gives none or shows it later.",
            "content": {JSON: {"example": examples.DECISION}},
            "headers": {
                "Location": {
                    "description": "Where the decision can be read.",
                    "required": True,
                    "schema": {"type": "string"},
                },
                "Idempotency-Replayed": {
                    "description": "`true` when this is the first answer again.",
                    "schema": {"type": "string"},
                },
            },
        },
        **problems(400, 401, 403, 404, 408, 409, 410, 413, 415, 422, 503),
    },
    openapi_extra={
        "x-roles": [role.value for role in ADVISED_ROLES],
        "security": [{"key": []}],
        "parameters": parameters(new="case", longest_key=MAX_KEY_LENGTH),
        "requestBody": {
            "required": True,
            "content": {
                JSON: {
                    "schema": schemas.DecisionRequest.model_json_schema(),
                    "example": examples.DECISION_REQUEST,
                }
            },
        },
    },
)
async def create_decision(request: Request) -> Response:
    """Parse, hand over, shape the answer."""
    start = perf_counter()
    parts = parts_of(request)
    sent = HotHeaders.of(request)
    caller = admitted(parts.callers, sent.authorization, ADVISED_ROLES)
    await named_once(request)
    lineup = parts.lineup(request.path_params["model"])
    served = lineup.live
    parts.stops.check(served.name, manual_route=served.policy.manual_route)
    if sent.media_type != JSON:
        raise UnsupportedMediaTypeError(f"want Content-Type {JSON}")
    if sent.is_coded:
        raise ContentCodingError
    body = parse_body(await body_within(request, parts.settings.request_timeout_seconds))
    key = idempotency_of(sent.idempotency_key, caller, served.name, body)
    trace = request.scope["state"]["trace"]
    try:
        application = to_the_end(
            application_steps(
                parts,
                lineup,
                caller,
                body,
                idempotency=key,
                trace=None if trace is None else trace.id,
            )
        )
    except (InvalidRequestError, CaseRejectedError):
        if key is not None:
            # What was accepted once keeps its answer, even if today's model would refuse it.
            earlier = await run_in_threadpool(parts.log.find_idempotent, key)
            if earlier is not None and earlier.same_request is not False:
                return _repeated(parts, caller, earlier.id)
        raise
    parts.metrics.stages["parse"].observe(perf_counter() - start)
    outcome = await recorded(parts, application)
    if isinstance(outcome, Earlier):
        return _repeated(parts, caller, outcome.id)
    parts.shadows.offer(application, outcome)
    parts.metrics.stages["total"].observe(perf_counter() - start)
    reveal = application.served.policy.reveal
    make = records.with_receipt if reveal == "concurrent" else without_advice
    return Answer(make(outcome.answer, outcome.receipt), f"/v1/decisions/{application.id}")


@router.get(
    "/v1/decisions/{decision_id}",
    operation_id="read_decision",
    summary="Read a decision",
    description="The answer exactly as it was given. A key with the role caller sees only its "
    "own decisions. Where the policy shows the advice later: 409 until then.",
    response_class=Response,
    responses={
        200: {
            "model": schemas.AnyDecision,
            "description": "The decision.",
            "content": {JSON: {"example": examples.DECISION}},
        },
        **problems(401, 403, 404, 409, 410, 422, 503),
    },
    **admits(*READING_ROLES),
)
async def get_decision(
    request: Request, decision_id: DecisionId, caller: CurrentCaller
) -> Response:
    """Return one decision, once it is recorded who reads it."""
    parts = parts_of(request)
    stored = await run_in_threadpool(read_advice, parts.log, decision_id, reader=caller)
    await record_read(parts, decision_id, what="decision", reader=caller)
    return Response(stored.body, media_type=JSON)


@router.post(
    "/v1/decisions/{decision_id}/replay",
    operation_id="replay_decision",
    summary="Recompute a decision and compare the bits",
    description="Runs the recorded case through the same model, explanation and policy again. "
    "The replay is itself recorded in the log.",
    response_class=Response,
    responses={
        200: {
            "model": schemas.Replay,
            "description": "The verdict.",
            "content": {JSON: {"example": examples.REPLAY}},
        },
        **problems(401, 403, 404, 410, 422, 503),
    },
    **admits(Role.AUDITOR, Role.ADMIN),
)
async def replay_decision(
    request: Request, decision_id: DecisionId, caller: CurrentCaller
) -> Response:
    """Replay one decision."""
    outcome = await replayed(parts_of(request), decision_id, caller)
    return Response(records.with_receipt(outcome.answer, outcome.receipt), media_type=JSON)


async def replayed(parts: Parts, decision_id: str, caller: Caller) -> Recorded:
    """Return a replay of one decision, on record."""
    stored = await run_in_threadpool(read_decision, parts.log, decision_id, reader=caller)
    work = ReplayWork(
        stored=stored,
        verdict=await parts.slow_lane.run(partial(replay, stored, parts.library, parts.runtime)),
        caller=caller,
        clock=parts.clock,
        new_id=parts.new_id,
        metrics=parts.metrics,
    )
    outcome = await recorded(parts, work)
    if isinstance(outcome, Earlier):
        raise TypeError("a replay carries no Idempotency-Key, so it cannot have been done before")
    return outcome


def _repeated(parts: Parts, caller: Caller, decision_id: str) -> Response:
    stored = read_decision(parts.log, decision_id, reader=caller)
    return Response(
        shown_body(parts.log, stored, reader=caller),
        status_code=201,
        media_type=JSON,
        headers={"Location": f"/v1/decisions/{decision_id}", **REPEATED},
    )
