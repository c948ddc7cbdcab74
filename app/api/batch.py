"""``/v1/models/{model}/decisions/batch``: many cases in one request, each a decision of its own."""

from fastapi import APIRouter, Request, Response

from app.api import examples
from app.api.access import authorise
from app.api.asking import MAX_KEY_LENGTH, check_key, parameters
from app.api.batch_answer import MOST_LINES, NDJSON, BatchAnswer
from app.api.decisions import ADVISED_ROLES, LeanRoute
from app.api.documents import problems
from app.api.parts import parts_of
from app.api.queries import named_once
from app.errors import UnsupportedMediaTypeError

LONGEST_KEY = MAX_KEY_LENGTH - len(f":{MOST_LINES}")
"""Each line's key is the batch's with a colon and the line's number."""

router = APIRouter(route_class=LeanRoute, tags=["decisions"])


@router.post(
    "/v1/models/{model}/decisions/batch",  # noqa: FAST003  # see LeanRoute
    operation_id="create_decisions",
    summary="Ask for many recommendations",
    description=f"Takes 1 to {MOST_LINES:,} cases as NDJSON, one a line, and answers each in turn "
    "with one line, as they come: a decision with a record and receipt of its own, or a problem. A "
    "faulty line costs no other line anything; a blank line is passed over. With an "
    "`Idempotency-Key`, each line has that key, a colon and the line's number for a key of its "
    "own, so the same batch sent again gives the first answers again; a line's own "
    "`idempotency_key` goes before. When the connection is cut, what is recorded stays recorded.",
    response_class=Response,
    responses={
        200: {
            "description": "One `BatchResult` for each case, in order, each a line of its own.",
            "content": {
                NDJSON: {
                    "schema": {"type": "string", "description": "Lines of `BatchResult`."},
                    "example": examples.BATCH_RESULTS,
                }
            },
        },
        **problems(401, 403, 404, 408, 413, 415, 422, 503),
    },
    openapi_extra={
        "x-roles": [role.value for role in ADVISED_ROLES],
        "security": [{"key": []}],
        "parameters": parameters(new="batch", longest_key=LONGEST_KEY),
        "requestBody": {
            "required": True,
            "content": {
                NDJSON: {
                    "schema": {"type": "string", "description": "Lines of `BatchLine`."},
                    "example": examples.BATCH_LINES,
                }
            },
        },
    },
)
async def create_decisions(request: Request) -> Response:
    """Check what concerns the whole batch; the answer does the rest."""
    parts = parts_of(request)
    caller = authorise(request, ADVISED_ROLES)
    await named_once(request)
    served = parts.model(request.path_params["model"])
    parts.stops.check(served.name, manual_route=served.policy.manual_route)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != NDJSON:
        raise UnsupportedMediaTypeError(f"want Content-Type {NDJSON}")
    key = request.headers.get("idempotency-key")
    if key is not None:
        check_key(key, longest=LONGEST_KEY)
    return BatchAnswer(request, parts, served.name, caller, key)
