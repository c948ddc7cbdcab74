"""What an auditor takes from the log: the signed checkpoint, and a decision's proof against it."""

from fastapi import APIRouter, Request, Response

from app.api import examples
from app.api.access import EVERY_ROLE, CurrentCaller, admits
from app.api.decisions import READING_ROLES, DecisionId
from app.api.documents import problems
from app.api.parts import parts_of
from app.reading import check_visible

TEXT = "text/plain; charset=utf-8"

router = APIRouter(tags=["log"])


@router.get(
    "/v1/audit/checkpoint",
    operation_id="read_checkpoint",
    summary="The log's latest signed checkpoint",
    description="A C2SP signed note (tlog-checkpoint): the log's origin, its size, its root hash "
    "and an Ed25519 signature. The verifier key is in the header `Log-Verifier-Key`; keep your own "
    "copy of both.",
    response_class=Response,
    responses={
        200: {
            "description": "The signed note.",
            "content": {"text/plain": {"schema": {"type": "string"},
                                       "example": examples.CHECKPOINT}},
            "headers": {
                "Log-Verifier-Key": {
                    "description": "The key that verifies the note (C2SP vkey).",
                    "required": True,
                    "schema": {"type": "string"},
                }
            },
        },
        **problems(401, 403, 503),
    },
    **admits(*EVERY_ROLE),
)  # fmt: skip
def read_checkpoint(request: Request) -> Response:
    """Return a checkpoint over everything recorded so far."""
    log = parts_of(request).log
    return Response(
        log.checkpoint(), media_type=TEXT, headers={"Log-Verifier-Key": log.verifier_key}
    )


@router.get(
    "/v1/decisions/{decision_id}/proof",
    operation_id="prove_decision",
    summary="Proof that a decision is in the log",
    description="A C2SP tlog-proof: the decision's index, the inclusion proof and the checkpoint "
    "it leads to, all of one moment. It holds for an erased decision too: the log still proves that "
    "the decision was made.",
    response_class=Response,
    responses={
        200: {
            "description": "The proof.",
            "content": {"text/plain": {"schema": {"type": "string"}, "example": examples.PROOF}},
        },
        **problems(401, 403, 404, 422, 503),
    },
    **admits(*READING_ROLES),
)
def prove_decision(request: Request, decision_id: DecisionId, caller: CurrentCaller) -> Response:
    """Return the proof for one decision."""
    log = parts_of(request).log
    check_visible(log, decision_id, reader=caller)
    return Response(log.proof(decision_id).format(), media_type=TEXT)
