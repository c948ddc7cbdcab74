"""``/v1/stop`` and ``/v1/stops``: stop the advice of one model or of all, and let it go on when two people say so."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from app.api.access import CurrentCaller, admits
from app.api.documents import JSON, problems
from app.api.keyed import KeyedRoute
from app.api.parts import Parts, parts_of
from app.api.recording import recorded, until_numbered
from app.api.schemas import Moment, Shape
from app.domain import Caller, Kind, Role
from app.errors import UnknownModelError
from app.ids import timestamp
from app.log_entries import EntryWork
from app.refusals import HumanNeededError
from app.stops import Stop, StopState, resume_record, stop_record
from app.visible import VISIBLE, VISIBLY
from audit.records import NewRecord

router = APIRouter(route_class=KeyedRoute, tags=["stops"])

Reason = Annotated[str, Field(min_length=1, max_length=2000, description=VISIBLE), VISIBLY]
STOPPERS = admits(Role.MODEL_OWNER, Role.ADMIN)
SHOWN = {
    "number": 1,
    "model": "housing-support",
    "since": "2026-11-23T10:20:30.123Z",
    "by": "owner-3",
    "reason": "Arrears come in pence since this morning.",
    "resume_asked_by": None,
}
STOPS = {"stops": [SHOWN]}


class StopRequest(Shape):
    """What to stop, and why."""

    model: Annotated[str | None, Field(max_length=63, description="Null stops all models.")]
    reason: Reason


class ResumeRequest(Shape):
    """Why advice may go on."""

    reason: Reason


class StopShown(Shape):
    """A stop in force."""

    number: int
    model: str | None
    since: Moment
    by: str
    reason: str
    resume_asked_by: Annotated[
        str | None, Field(description="Who has asked to resume; a second person confirms.")
    ]


class StopList(Shape):
    """The stops in force."""

    stops: list[StopShown]


@router.get(
    "/v1/stops",
    operation_id="list_stops",
    summary="The stops in force",
    responses={200: {"content": {JSON: {"example": STOPS}}}, **problems(401, 403, 422)},
    **admits(*Role),
)
async def list_stops(request: Request) -> StopList:
    """Return the stops in force."""
    return _shown(parts_of(request).stops.state)


@router.post(
    "/v1/stop",
    operation_id="stop_advice",
    summary="Stop advice",
    description="From the moment this answers nothing more is advised, by this service or another one on "
    "its log: calls are refused with the manual route in the problem's text. It stays so across restarts. "
    "Recorded cases can still be decided. The same stop again, by the same person for the same "
    "reason, is the one in force and no second one.",
    status_code=201,
    responses={
        201: {"content": {JSON: {"example": STOPS}}},
        **problems(400, 401, 403, 404, 408, 413, 415, 422, 503),
    },
    openapi_extra={
        **STOPPERS["openapi_extra"],
        "requestBody": {
            "content": {JSON: {"example": {"model": SHOWN["model"], "reason": SHOWN["reason"]}}}
        },
    },
    dependencies=STOPPERS["dependencies"],
)
async def stop_advice(request: Request, asked: StopRequest, caller: CurrentCaller) -> StopList:
    """Stop a model, or all."""
    parts = parts_of(request)
    return _shown(await stop(parts, model=asked.model, reason=asked.reason, caller=caller))


async def stop(parts: Parts, *, model: str | None, reason: str, caller: Caller) -> StopState:
    """Stop a model, or all where ``model`` is None. Raises UnknownModelError."""
    known = sorted(parts.registry.state.models)
    if model is not None and model not in known:
        raise UnknownModelError(served=known)

    def make(state: StopState) -> NewRecord | None:
        # A stop that was sent twice would have to be lifted twice, each time by two people.
        if state.has(model=model, reason=reason, actor=caller):
            return None
        at = timestamp(parts.clock())
        return stop_record(state, model=model, reason=reason, actor=caller, at=at)

    return await _record(parts, make)


@router.post(
    "/v1/stops/{number}/resume",
    operation_id="resume_advice",
    summary="Let advice go on",
    description="The first person asks, and a second one confirms: only then is anything advised "
    "again. The same person twice: 409.",
    responses={
        200: {"content": {JSON: {"example": STOPS}}},
        **problems(400, 401, 403, 408, 409, 413, 415, 422, 503),
    },
    openapi_extra={
        **STOPPERS["openapi_extra"],
        "requestBody": {"content": {JSON: {"example": {"reason": "The feed is mended."}}}},
    },
    dependencies=STOPPERS["dependencies"],
)
async def resume_advice(
    request: Request,
    number: Annotated[
        int, Path(ge=1, le=2**53 - 1, description="The stop's number.", examples=[1])
    ],
    asked: ResumeRequest,
    caller: CurrentCaller,
) -> StopList:
    """Ask to resume, or confirm it."""
    parts = parts_of(request)
    return _shown(await resume(parts, number, reason=asked.reason, caller=caller))


async def resume(parts: Parts, number: int, *, reason: str, caller: Caller) -> StopState:
    """Ask that advice go on, or confirm what another person asked.

    Raises HumanNeededError, NotStoppedError or AnotherPersonError.
    """
    if caller.kind is not Kind.HUMAN:
        raise HumanNeededError("only people let advice go on, and this key is a machine's")

    def make(state: StopState) -> NewRecord:
        at = timestamp(parts.clock())
        return resume_record(state, number, reason=reason, actor=caller, at=at)

    return await _record(parts, make)


async def _record(parts: Parts, make: Callable[[StopState], NewRecord | None]) -> StopState:
    """Record the next control entry, if any is to be made, and return the state after it."""

    async def attempt() -> StopState:
        state = await run_in_threadpool(parts.stops.refresh)
        entry = make(state)
        if entry is None:
            return state
        await recorded(parts, EntryWork(entry))
        return await run_in_threadpool(parts.stops.refresh)

    return await until_numbered(attempt)


def _shown(state: StopState) -> StopList:
    return StopList(stops=[_shape(stop) for stop in state.stops.values()])


def _shape(stop: Stop) -> StopShown:
    return StopShown(
        number=stop.number,
        model=stop.model,
        since=stop.since,
        by=stop.actor,
        reason=stop.reason,
        resume_asked_by=stop.resume_asked_by,
    )
