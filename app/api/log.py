"""What an auditor takes from the log: checkpoints, a decision's proof, and the log itself as tiles.

``/log/...`` is C2SP tlog-tiles, the same resources that are published as files. It is for auditors
unless the setting ``log_public`` opens it: leaves hold no personal data, but they show how many
decisions there were, and when.
"""

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from starlette.exceptions import HTTPException

from app.api import examples
from app.api.access import (
    EVERY_ROLE,
    Access,
    CurrentCaller,
    admits,
    authorise,
    bearer_scheme,
)
from app.api.decisions import READING_ROLES, DecisionId
from app.api.documents import problems
from app.api.parts import parts_of
from app.domain import Role
from app.reading import check_visible
from audit.errors import ProofError
from audit.tiles import TILE_WIDTH

TEXT = "text/plain; charset=utf-8"
BINARY = "application/octet-stream"
TILE_ROLES = (Role.AUDITOR, Role.ADMIN)
YEAR_SECONDS = 31_536_000

_tile = re.compile(
    r"(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
).fullmatch


def admits_unless_public() -> Access:
    """Return the route arguments of ``/log/...``: open to all only if the setting says so."""

    async def check(request: Request) -> None:
        if not parts_of(request).settings.log_public:
            authorise(request, TILE_ROLES)

    return {
        "dependencies": [Depends(bearer_scheme), Depends(check)],
        "openapi_extra": {"x-roles": [role.value for role in TILE_ROLES]},
    }


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
        **problems(401, 403, 422, 503),
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


@router.get(
    "/log/checkpoint",
    operation_id="read_published_checkpoint",
    summary="The checkpoint to follow the log by",
    description="C2SP tlog-tiles: the newest signed checkpoint, with the cosignatures of witnesses. "
    "A second behind at most.",
    response_class=Response,
    responses={
        200: {
            "description": "The signed note.",
            "content": {"text/plain": {"schema": {"type": "string"},
                                       "example": examples.CHECKPOINT}},
        },
        **problems(401, 403, 503),
    },
    **admits_unless_public(),
)  # fmt: skip
def read_published_checkpoint(request: Request) -> Response:
    """Return the newest checkpoint with what witnesses gave for it."""
    parts = parts_of(request)
    note = parts.checkpointer.newest or parts.log.checkpoint()
    return Response(note, media_type=TEXT, headers={"Cache-Control": "no-cache"})


@router.get(
    "/log/tile/{path:path}",
    operation_id="read_tile",
    summary="A tile of hashes, or a bundle of entries",
    description="C2SP tlog-tiles: `<level>/<n>[.p/<width>]` for hashes and `entries/<n>[.p/<width>]` "
    "for leaves. What is once there never changes.",
    response_class=Response,
    responses={
        200: {
            "description": "The tile or bundle.",
            "content": {BINARY: {"schema": {"type": "string", "format": "binary"},
                                 "example": "32 bytes for each hash"}},
        },
        **problems(401, 403, 404, 422, 503),
    },
    **admits_unless_public(),
)  # fmt: skip
def read_tile(
    request: Request,
    path: Annotated[str, Path(description="As in the specification.", examples=["0/000.p/42"])],
) -> Response:
    """Return one tile or bundle."""
    parts = parts_of(request)
    found = _tile(path)
    if found is None:
        raise HTTPException(404)
    kind, digits, partial = found.groups()
    position = int(digits.replace("x", "").replace("/", ""))
    width = TILE_WIDTH if partial is None else int(partial)
    if len(digits) > 3 and digits.startswith("x000/"):
        raise HTTPException(404)  # a second spelling of the same tile
    if partial is not None and width >= TILE_WIDTH:
        raise HTTPException(404)
    try:
        if kind == "entries":
            content = parts.log.bundle(position, width=width)
        else:
            content = parts.log.tile(int(kind), position, width=width)
    except ProofError as err:
        raise HTTPException(404) from err
    shared = "public" if parts.settings.log_public else "private"
    return Response(
        content,
        media_type=BINARY,
        headers={"Cache-Control": f"{shared}, max-age={YEAR_SECONDS}, immutable"},
    )
