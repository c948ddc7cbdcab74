"""``/v1/decisions/{id}/prov``: where one decision came from, as W3C PROV-JSON."""

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from app.api import examples
from app.api.access import CurrentCaller, admits
from app.api.decisions import READING_ROLES, DecisionId
from app.api.documents import JSON, problems
from app.api.parts import Parts, parts_of
from app.api.recorded_reads import record_read
from app.domain import Caller
from app.index.query import mentions
from app.index.store import IndexNotReadyError
from app.publish.prov import NAMESPACE, ProvJson, prov_document
from app.reveal import read_advice

router = APIRouter(tags=["decisions"])

_AT = "2026-11-23T10:15:30.123Z"
_INFERENCE = f"grounds:inference/{examples.DECISION_ID}"
_RECOMMENDATION = f"grounds:recommendation/{examples.DECISION_ID}"
EXAMPLE: ProvJson = {
    "prefix": {"grounds": NAMESPACE},
    "entity": {
        _RECOMMENDATION: {
            "prov:type": "recommendation",
            "grounds:log": "localhost/grounds",
            "grounds:index": 41,
            "grounds:leaf-hash": "Zm9yIGV4YW1wbGUsIHRoZSBoYXNoIG9mIHRoaXMgZW4=",
        }
    },
    "activity": {
        _INFERENCE: {"prov:startTime": _AT, "prov:endTime": _AT, "prov:type": "inference"}
    },
    "wasGeneratedBy": {
        "_:wasGeneratedBy-0": {
            "prov:entity": _RECOMMENDATION,
            "prov:activity": _INFERENCE,
            "prov:time": _AT,
        }
    },
}


@router.get(
    "/v1/decisions/{decision_id}/prov",
    operation_id="read_provenance",
    summary="Read a decision's provenance as PROV-JSON",
    description="Which model and policy advised, and each later record of the case: who, when, and "
    "where in the log. Identifiers and digests, and nothing that the case, the advice or a person "
    "said. Where the policy shows the advice later: 409 until then. Reading it is recorded.",
    responses={
        200: {
            "description": "The decision's provenance.",
            "content": {JSON: {"example": EXAMPLE}},
        },
        **problems(401, 403, 404, 409, 410, 422, 503),
    },
    **admits(*READING_ROLES),
)
async def read_provenance(
    request: Request, decision_id: DecisionId, caller: CurrentCaller
) -> ProvJson:
    """Return one decision's provenance."""
    parts = parts_of(request)
    if not await parts.index.reach(parts.log.size - 1):
        raise IndexNotReadyError
    told = await run_in_threadpool(_told, parts, decision_id, caller)
    await record_read(parts, decision_id, what="provenance", reader=caller)
    return told


def _told(parts: Parts, decision_id: str, reader: Caller) -> ProvJson:
    log = parts.log
    decision = read_advice(log, decision_id, reader=reader)
    about = mentions(parts.index.store, decision.receipt.index)
    return prov_document(log, log.read(decision_id), (log.read_index(each) for each in about))
