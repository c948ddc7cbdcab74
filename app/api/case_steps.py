"""Recording one step of a case: checked against what is recorded, and again when that has changed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypedDict

from fastapi.concurrency import run_in_threadpool
from fastapi.params import Depends as DependsParam

from app.api import examples
from app.api.access import Access, admits
from app.api.case_schemas import CaseStep
from app.api.documents import JSON, problems
from app.api.parts import Parts
from app.api.recording import recorded, until_numbered
from app.api.schemas import Receipt
from app.case_events import CaseEvent, EventType, event_record
from app.cases import CaseFile
from app.domain import Caller, Role
from app.ids import timestamp
from app.log_entries import EntryWork
from app.reveal import open_case
from audit.leaf import Fact
from audit.note import encode_base64
from audit.records import Receipt as LogReceipt

REASON = {"code": "facts_support", "text": "The eviction date and the arrears are evidenced."}
STEP = {
    "decision": examples.DECISION_ID,
    "number": 2,
    "type": "caseworker_decision",
    "at": "2026-11-23T10:20:30.123Z",
    "actor": "cw-17",
    "role": "caseworker",
    "human": True,
    "content": {
        "outcome": "priority",
        "reason": REASON,
        "evidence": None,
        "agrees": True,
        "final": True,
    },
    "receipt": examples.DECISION["receipt"],
}


@dataclass(frozen=True, slots=True)
class Step:
    """What a step says, once it was checked."""

    content: Mapping[str, object]
    facts: Mapping[str, Fact] = field(default_factory=dict)
    repeats: CaseEvent | None = None
    """The recorded step that this one only says again, as a form does that is sent twice."""


class StepRoute(TypedDict):
    """The arguments of a route that records a step."""

    status_code: int
    response_model: type[CaseStep]
    dependencies: list[DependsParam]
    openapi_extra: dict[str, object]
    responses: dict[int | str, dict[str, Any]]


def route(example: Mapping[str, object], *roles: Role) -> StepRoute:
    """Return the arguments of a route that records a step and takes a body like ``example``."""
    access: Access = admits(*roles)
    return {
        "status_code": 201,
        "response_model": CaseStep,
        "dependencies": access["dependencies"],
        "openapi_extra": {
            **access["openapi_extra"],
            "requestBody": {"content": {JSON: {"example": dict(example)}}},
        },
        "responses": {
            201: {"description": "The recorded step.", "content": {JSON: {"example": STEP}}},
            **problems(400, 401, 403, 404, 408, 409, 410, 413, 415, 422, 503),
        },
    }


async def record_step(
    parts: Parts,
    decision_id: str,
    type_: EventType,
    caller: Caller,
    check: Callable[[CaseFile, datetime], Step],
) -> CaseStep:
    """Record what ``check`` returns for the case as it stands; it raises what forbids the step.

    A step that repeats a recorded one is that one: nothing more is recorded.

    Two steps at once are both checked against the same state, and only one is recorded: the other
    is checked again.
    """

    async def attempt() -> CaseStep:
        case = await run_in_threadpool(open_case, parts.log, decision_id, reader=caller)
        now = parts.clock()
        step = check(case, now)
        if step.repeats is not None:
            return shown_step(case, step.repeats, reader=caller)
        number = case.recorded.count + 1
        record = event_record(
            case.decision,
            number=number,
            type_=type_,
            actor=caller,
            at=timestamp(now),
            content=step.content,
            facts=step.facts,
        )
        await recorded(parts, EntryWork(record))
        after = await run_in_threadpool(open_case, parts.log, decision_id, reader=caller)
        event = next(each for each in after.events if each.number == number)
        return shown_step(after, event, reader=caller)

    return await until_numbered(attempt)


def shown_step(case: CaseFile, event: CaseEvent, *, reader: Caller) -> CaseStep:
    """Return a step as far as the reader may know of it: agreeing with the advice tells the advice."""
    content = dict(event.content)
    if "agrees" in content and not case.is_visible(reader):
        content["agrees"] = None
    return CaseStep(
        decision=case.decision.id,
        number=event.number,
        type=event.type,  # type: ignore[arg-type]  # only such types are read as events of a case
        at=event.at,
        actor=event.actor,
        role=event.role,
        human=event.is_human,
        content=content,
        receipt=receipt_shape(event.receipt),
    )


def receipt_shape(receipt: LogReceipt) -> Receipt:
    """Return a receipt as the API says it."""
    return Receipt(
        log=receipt.origin, index=receipt.index, leaf_hash=encode_base64(receipt.leaf_hash)
    )
