"""The witness' own application: two routes, open to all, because the protocol is public by design.

Whoever may ask for a cosignature learns nothing and changes nothing: only a checkpoint that its own
log has signed is looked at. C2SP tlog-witness.
"""

import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from audit.errors import WitnessStateError
from audit.witness import MAX_BODY_BYTES, Answer, Witness

_log = structlog.get_logger("grounds.witness")


def create_witness_app(witness: Witness) -> Starlette:
    """Return the application of an open witness."""

    async def add_checkpoint(request: Request) -> Response:
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_BODY_BYTES:
                break  # the witness says so; the rest is not read
        try:
            answer = await run_in_threadpool(witness.add_checkpoint, body)
        except (WitnessStateError, OSError) as err:
            _log.error("state", reason=str(err))
            answer = Answer(500, b"the witness cannot read or store its state\n")
        _log.info("add-checkpoint", status=answer.status)
        # As a header: Starlette would add a charset to a media type that begins with text.
        return Response(answer.body, answer.status, headers={"Content-Type": answer.media_type})

    async def read_checkpoint(request: Request) -> Response:
        note = await run_in_threadpool(witness.checkpoint, request.path_params["origin"])
        if note is None:
            return Response(b"no checkpoint of this log\n", 404, media_type="text/plain")
        return Response(note, media_type="text/plain; charset=utf-8")

    return Starlette(
        routes=[
            Route("/add-checkpoint", add_checkpoint, methods=["POST"]),
            Route("/{origin}/checkpoint", read_checkpoint, methods=["GET"]),
        ]
    )
