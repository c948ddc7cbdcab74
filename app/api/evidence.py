"""``/v1/decisions/{id}/evidence``: a decision's evidence in one file, to be verified elsewhere."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from app.api.access import CurrentCaller, admits
from app.api.decisions import READING_ROLES, DecisionId
from app.api.documents import problems
from app.api.parts import Parts, parts_of
from app.api.recorded_reads import record_read
from app.domain import Caller, Role
from app.keeping_errors import NotCoveredError
from app.reveal import check_disclosable
from audit.evidence import MEDIA_TYPE

router = APIRouter(tags=["log"])

Held = Annotated[
    str | None,
    Query(
        alias="from",
        max_length=4096,
        description="A signed checkpoint of this log that you kept. The pack then proves that the "
        "log continues it.",
    ),
]


@router.get(
    "/v1/decisions/{decision_id}/evidence",
    operation_id="read_evidence",
    summary="Evidence of a decision, verifiable offline",
    description="A zip file: leaf, encrypted payload, proof, checkpoint with cosignatures, "
    "timestamp, policy, card, and `verify.py`, which needs Python and the package `cryptography` "
    "alone. With `disclose` the plaintext and the key of this one record are in it, except for a "
    "key with the role caller. The same bytes again under the same checkpoint. Taking it is "
    "recorded in the log.",
    response_class=Response,
    responses={
        200: {
            "description": "The evidence pack.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"},
                                     "example": "a zip file"}},
        },
        **problems(401, 403, 404, 409, 422, 503),
    },
    **admits(*READING_ROLES),
)  # fmt: skip
async def read_evidence(
    request: Request,
    decision_id: DecisionId,
    caller: CurrentCaller,
    *,
    disclose: Annotated[bool, Query(description="Whether the content is wanted too.")] = True,
    held: Held = None,
) -> Response:
    """Return one decision's evidence pack."""
    return await evidence_response(
        parts_of(request),
        decision_id,
        caller,
        disclose=disclose,
        held=None if held is None else held.encode(),
    )


async def evidence_response(
    parts: Parts, decision_id: str, caller: Caller, *, disclose: bool, held: bytes | None
) -> Response:
    """Return one decision's evidence pack as a file, once it is recorded who takes it."""
    pack = await run_in_threadpool(_pack, parts, decision_id, caller, disclose, held)
    await record_read(parts, decision_id, what="evidence", reader=caller)
    return Response(
        pack,
        media_type=MEDIA_TYPE,
        headers={"Content-Disposition": f'attachment; filename="{decision_id}.zip"'},
    )


def _pack(
    parts: Parts,
    decision_id: str,
    caller: Caller,
    disclose: bool,  # noqa: FBT001  # run in a thread, where arguments have no names
    held: bytes | None,
) -> bytes:
    if disclose and caller.role is not Role.CALLER:
        check_disclosable(parts.log, decision_id, reader=caller)

    def make(note: bytes) -> bytes:
        return parts.evidence.pack(
            decision_id, note=note, reader=caller, disclose=disclose, held=held
        )

    note = parts.checkpointer.best
    if parts.checkpointer.witnesses is not None:
        if note is None:
            raise NotCoveredError
        return make(note)
    try:
        return make(note or parts.log.checkpoint())
    except NotCoveredError:
        return make(parts.log.checkpoint())
