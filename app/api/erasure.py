"""``.../erasure``, ``.../hold`` and ``/v1/holds``: what is erased, and what must not be.

Subjects come in bodies, never in addresses: an address ends up in the logs of everything between.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from app.api import examples
from app.api.access import CurrentCaller, admits
from app.api.decisions import DecisionId
from app.api.documents import JSON, problems
from app.api.keyed import KeyedRoute
from app.api.parts import Parts, parts_of
from app.api.recording import recorded_once
from app.api.schemas import Moment, Shape
from app.custody import BASIS, Hold
from app.domain import Role
from app.log_entries import EntryWork
from app.reading import check_visible
from app.visible import VISIBLY
from audit.records import Erasure, NewRecord

router = APIRouter(route_class=KeyedRoute, tags=["erasure"])

Basis = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        pattern=BASIS,
        description="The ground in law. It is in the log for good and for all its readers: write "
        "nothing about a person.",
    ),
    VISIBLY,
]
Subject = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        description="Your opaque reference, as sent with the decisions.",
    ),
]


class SubjectErasureRequest(Shape):
    """Whose content to erase, and why."""

    subject: Subject
    basis: Basis


class ErasureRequest(Shape):
    """Why to erase one decision's content."""

    basis: Basis


class Erased(Shape):
    """What an erasure did, and where the bytes still are."""

    erased: list[int]
    """Indexes of the entries whose content is gone."""
    recorded_as: list[int]
    """Indexes of the entries that say so."""
    files_purged: Annotated[
        bool,
        Field(description="Whether the bytes have left every file of the live store. When another "
              "process is reading it they leave within seconds of its end."),
    ]  # fmt: skip
    backups_kept_days: Annotated[
        int | None,
        Field(description="How long backups keep the encrypted content and, where they hold the "
              "keys, open it. Null when the operator has not said."),
    ]  # fmt: skip


class SubjectHoldRequest(Shape):
    """Whose content to keep, and why."""

    subject: Subject
    basis: Basis


class HoldRequest(Shape):
    """Why to keep one decision's content, or why no longer."""

    basis: Basis


class HoldName(Shape):
    """A hold that was set."""

    id: str


class HoldShown(Shape):
    """A hold in force."""

    id: str
    since: Moment
    basis: str
    actor: str
    on: Annotated[str, Field(description="`subject`, or `decision`.")]


class HoldList(Shape):
    """The holds in force, oldest first."""

    holds: list[HoldShown]


HoldId = Annotated[
    str, Path(pattern=r"^[0-9a-f-]{1,64}$", description="The hold's identifier.", examples=[
        examples.DECISION_ID])
]  # fmt: skip
ADMIN = admits(Role.ADMIN)
ERASED = {"erased": [3, 7], "recorded_as": [42], "files_purged": True, "backups_kept_days": 30}
HOLD = {
    "id": examples.DECISION_ID,
    "since": "2026-11-23T10:00:00.000Z",
    "basis": "Appeal 12/2026",
    "actor": "legal-1",
    "on": "subject",
}


@router.post(
    "/v1/subjects/erasure",
    operation_id="erase_subject",
    summary="Erase everything recorded about a subject",
    description="Keys, salts and payloads of every record of the subject are overwritten, and an "
    "entry says so. The leaves stay: every proof still holds. Refused while a legal hold is on any "
    "of it, or while a record must be kept by law.",
    responses={
        200: {"content": {JSON: {"example": ERASED}}},
        **problems(400, 401, 403, 408, 409, 413, 415, 422, 503),
    },
    openapi_extra={
        **ADMIN["openapi_extra"],
        "requestBody": {
            "content": {
                JSON: {"example": {"subject": "person-4711", "basis": "GDPR Art. 17(1)(a)"}}
            }
        },
    },
    dependencies=ADMIN["dependencies"],
)
async def erase_subject(
    request: Request, asked: SubjectErasureRequest, caller: CurrentCaller
) -> Erased:
    """Erase one subject."""
    parts = parts_of(request)
    done = await run_in_threadpool(
        parts.custody.erase,
        parts.log,
        basis=asked.basis,
        actor=caller.name,
        new_id=parts.new_id,
        subject=asked.subject,
    )
    return _told(parts, done)


@router.post(
    "/v1/decisions/{decision_id}/erasure",
    operation_id="erase_decision",
    summary="Erase one decision's content",
    description="As the erasure of a subject, for one decision and all that followed it: every step of "
    "its case, its letters, how it turned out.",
    responses={
        200: {"content": {JSON: {"example": ERASED}}},
        **problems(400, 401, 403, 404, 408, 409, 413, 415, 422, 503),
    },
    openapi_extra={
        **ADMIN["openapi_extra"],
        "requestBody": {"content": {JSON: {"example": {"basis": "GDPR Art. 17(1)(d)"}}}},
    },
    dependencies=ADMIN["dependencies"],
)
async def erase_decision(
    request: Request, decision_id: DecisionId, asked: ErasureRequest, caller: CurrentCaller
) -> Erased:
    """Erase one decision."""
    parts = parts_of(request)
    await run_in_threadpool(check_visible, parts.log, decision_id, reader=caller)
    done = await run_in_threadpool(
        parts.custody.erase,
        parts.log,
        basis=asked.basis,
        actor=caller.name,
        new_id=parts.new_id,
        record_ids=[decision_id],
    )
    return _told(parts, done)


@router.get(
    "/v1/holds",
    operation_id="list_holds",
    summary="List the legal holds in force",
    responses={
        200: {"content": {JSON: {"example": {"holds": [HOLD]}}}},
        **problems(401, 403, 422, 503),
    },
    **admits(Role.AUDITOR, Role.ADMIN),
)
def list_holds(request: Request) -> HoldList:
    """Return the holds in force."""
    parts = parts_of(request)
    parts.log.catch_up()
    return HoldList(holds=[_shown(hold) for hold in parts.custody.holds()])


@router.post(
    "/v1/subjects/hold",
    operation_id="hold_subject",
    summary="Keep everything about a subject from being erased",
    description="Until the hold is lifted, no request and no retention run erases any of it, what is "
    "recorded later included. The hold is an entry of the log, which names nobody.",
    status_code=201,
    responses={
        201: {"content": {JSON: {"example": {"id": examples.DECISION_ID}}}},
        **problems(400, 401, 403, 408, 413, 415, 422, 503),
    },
    openapi_extra={
        **ADMIN["openapi_extra"],
        "requestBody": {
            "content": {JSON: {"example": {"subject": "person-4711", "basis": "Appeal 12/2026"}}}
        },
    },
    dependencies=ADMIN["dependencies"],
)
async def hold_subject(
    request: Request, asked: SubjectHoldRequest, caller: CurrentCaller
) -> HoldName:
    """Set a hold on a subject."""
    parts = parts_of(request)
    return await _held(
        parts,
        partial(
            parts.custody.hold_record,
            basis=asked.basis,
            actor=caller.name,
            subject=asked.subject,
        ),
    )


@router.post(
    "/v1/decisions/{decision_id}/hold",
    operation_id="hold_decision",
    summary="Keep one decision's content from being erased",
    description="As the hold on a subject, for one decision.",
    status_code=201,
    responses={
        201: {"content": {JSON: {"example": {"id": examples.DECISION_ID}}}},
        **problems(400, 401, 403, 404, 408, 413, 415, 422, 503),
    },
    openapi_extra={
        **ADMIN["openapi_extra"],
        "requestBody": {"content": {JSON: {"example": {"basis": "Appeal 12/2026"}}}},
    },
    dependencies=ADMIN["dependencies"],
)
async def hold_decision(
    request: Request, decision_id: DecisionId, asked: HoldRequest, caller: CurrentCaller
) -> HoldName:
    """Set a hold on a decision."""
    parts = parts_of(request)
    await run_in_threadpool(check_visible, parts.log, decision_id, reader=caller)
    return await _held(
        parts,
        partial(
            parts.custody.hold_record,
            basis=asked.basis,
            actor=caller.name,
            record_id=decision_id,
        ),
    )


@router.post(
    "/v1/holds/{hold_id}/lift",
    operation_id="lift_hold",
    summary="Lift a legal hold",
    description="Lifting it is an entry of the log too. Nothing is erased by it.",
    responses={
        200: {"content": {JSON: {"example": {"id": examples.DECISION_ID}}}},
        **problems(400, 401, 403, 404, 408, 413, 415, 422, 503),
    },
    openapi_extra={
        **ADMIN["openapi_extra"],
        "requestBody": {"content": {JSON: {"example": {"basis": "Appeal 12/2026 is decided"}}}},
    },
    dependencies=ADMIN["dependencies"],
)
async def lift_hold(
    request: Request, hold_id: HoldId, asked: HoldRequest, caller: CurrentCaller
) -> HoldName:
    """Lift a hold."""
    parts = parts_of(request)
    record = await run_in_threadpool(
        parts.custody.lifting_record,
        new_id=parts.new_id,
        hold_id=hold_id,
        basis=asked.basis,
        actor=caller.name,
    )
    await recorded_once(parts, EntryWork(record))
    return HoldName(id=hold_id)


async def _held(parts: Parts, record_of: Callable[..., NewRecord]) -> HoldName:
    hold_id = parts.new_id()
    await recorded_once(parts, EntryWork(record_of(hold_id=hold_id)))
    return HoldName(id=hold_id)


def _told(parts: Parts, done: Erasure) -> Erased:
    return Erased(
        erased=list(done.indexes),
        recorded_as=[receipt.index for receipt in done.receipts],
        files_purged=done.purged,
        backups_kept_days=parts.custody.backups_kept_days,
    )


def _shown(hold: Hold) -> HoldShown:
    return HoldShown(
        id=hold.id,
        since=hold.since,
        basis=hold.basis,
        actor=hold.actor,
        on="subject" if hold.record is None else "decision",
    )
