"""``/v1/log/verifications``: the whole log verified on request, and what earlier runs found."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from app.api.access import CurrentCaller, admits
from app.api.decision_list import PageQuery
from app.api.documents import JSON, problems
from app.api.parts import parts_of
from app.api.schemas import Moment
from app.domain import Role
from app.verifications import Verification

router = APIRouter(tags=["log"])

RUN_ID = "019a9f3e-5c1d-7a52-9c0a-6f2e1b7d4c12"
VERIFIERS = (Role.AUDITOR, Role.ADMIN)

VerificationId = Annotated[
    str, Path(description="As the list has it.", max_length=64, examples=[RUN_ID])
]  # fmt: skip


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", from_attributes=True)


class VerificationFault(_Shape):
    """One thing that is wrong with the log."""

    index: Annotated[
        int | None,
        Field(description="The first entry concerned; null when it is not about entries."),
    ]
    count: Annotated[int, Field(description="How many entries from there on.")]
    kind: str
    message: str


class VerificationRun(_Shape):
    """One run over the whole log."""

    id: str
    status: Annotated[
        Literal["running", "sound", "faulty", "failed"],
        Field(description="`failed`: the log could not be verified, which says nothing of it."),
    ]
    started: Moment
    ended: Moment | None
    actor: Annotated[str, Field(description="Who asked for it; an opaque name.")]
    done: Annotated[int, Field(description="Entries read so far.")]
    total: int
    size: Annotated[int, Field(description="Of the log that was verified; 0 until it is.")]
    root: Annotated[
        str, Field(description="Hexadecimal, computed from the stored leaves; empty until it is.")
    ]
    checkpoints: Annotated[int, Field(description="Signed checkpoints that were checked.")]
    erased: Annotated[int, Field(description="Entries whose content was erased lawfully.")]
    fault_count: int
    faults: Annotated[list[VerificationFault], Field(description="The first 200.")]
    index: Annotated[int | None, Field(description="Of the run's own entry, once there is one.")]
    reason: str | None


class VerificationList(_Shape):
    """The latest runs."""

    verifications: list[VerificationRun]


EXAMPLE = {
    "id": RUN_ID,
    "status": "sound",
    "started": "2026-11-23T10:25:00.000Z",
    "ended": "2026-11-23T10:25:01.250Z",
    "actor": "auditor-1",
    "done": 42,
    "total": 42,
    "size": 42,
    "root": "0f" * 32,
    "checkpoints": 3,
    "erased": 0,
    "fault_count": 0,
    "faults": [],
    "index": 42,
    "reason": None,
}


@router.post(
    "/v1/log/verifications",
    operation_id="verify_log",
    summary="Verify the whole log",
    description="Every stored byte is read and hashed, beside the running service. Only one run at a "
    "time: while one is under way, that one is returned. What it finds becomes an entry of the log. It "
    "is the service's own word: a monitor, a witness or `python -m audit verify` is not.",
    status_code=202,
    responses={
        202: {
            "content": {JSON: {"example": EXAMPLE}},
            "headers": {
                "Location": {
                    "description": "Where the run can be followed.",
                    "required": True,
                    "schema": {"type": "string"},
                }
            },
        },
        **problems(401, 403, 422, 503),
    },
    **admits(*VERIFIERS),
)
async def verify_log(
    request: Request, response: Response, caller: CurrentCaller
) -> VerificationRun:
    """Begin a run."""
    run = parts_of(request).verifications.begin(caller)
    response.headers["Location"] = f"/v1/log/verifications/{run.id}"
    return _shape(run)


@router.get(
    "/v1/log/verifications",
    operation_id="list_verifications",
    summary="When the log was verified, and what came of it",
    responses={
        200: {"content": {JSON: {"example": {"verifications": [EXAMPLE]}}}},
        **problems(401, 403, 422, 503),
    },
    **admits(*VERIFIERS),
)
async def list_verifications(
    request: Request, asked: Annotated[PageQuery, Query()]
) -> VerificationList:
    """Return the latest runs, the latest first."""
    runs = await run_in_threadpool(parts_of(request).verifications.latest, asked.limit)
    return VerificationList(verifications=[_shape(run) for run in runs])


@router.get(
    "/v1/log/verifications/{verification_id}",
    operation_id="read_verification",
    summary="One run",
    responses={
        200: {"content": {JSON: {"example": EXAMPLE}}},
        **problems(401, 403, 404, 422, 503),
    },
    **admits(*VERIFIERS),
)
async def read_verification(request: Request, verification_id: VerificationId) -> VerificationRun:
    """Return one run, under way or on record."""
    return _shape(await run_in_threadpool(parts_of(request).verifications.find, verification_id))


def _shape(run: Verification) -> VerificationRun:
    return VerificationRun.model_validate(run)
