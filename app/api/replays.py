"""``/v1/replays``: runs of replays on record.

A run goes through the log away from the service, so that no decision waits for it; what it found
comes here as one report, which the log keeps whole and commits to.
"""

import hashlib
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from app.api import replay_schemas as shapes
from app.api.access import CurrentCaller, admits
from app.api.decision_list import PageQuery
from app.api.documents import JSON, problems
from app.api.examples import DECISION, DECISION_ID
from app.api.keyed import KeyedRoute
from app.api.parts import Parts, parts_of
from app.api.recording import recorded_once
from app.domain import Role
from app.errors import ErasedDecisionError, UnknownRunError
from app.ids import timestamp
from app.log_entries import EntryWork
from app.records import with_receipt
from app.replay import VERDICTS
from app.replay_report import REPLAY_RUN, check_report, run_record
from app.run_list import recorded_runs
from audit.errors import UnknownRecordError
from audit.records import Receipt

router = APIRouter(route_class=KeyedRoute, tags=["log"])

RunId = Annotated[
    str, Path(description="As `grounds replay` and the list have it.", max_length=64,
              examples=[DECISION_ID])
]  # fmt: skip

RECEIPT = DECISION["receipt"]
_VERDICTS = {name: 40 if name == "identical" else 0 for name in VERDICTS}
RUN_REPORT: dict[str, Any] = {
    "version": 1,
    "kind": "replay",
    "log": {"origin": RECEIPT["log"], "size": 42, "root": "0f" * 32},
    "selection": {
        "start": 0,
        "stop": 42,
        "since": None,
        "until": None,
        "model": "housing-support",
        "version": None,
        "digest": None,
    },
    "started": "2026-11-23T10:25:00.000Z",
    "ended": "2026-11-23T10:25:10.250Z",
    "environment": {"onnxruntime": "1.22.0"},
    "allowed_ulps": 4,
    "decisions": 40,
    "verdicts": _VERDICTS,
    "max_ulps": None,
    "by_model": [
        {
            "name": "housing-support",
            "version": "1.0.0",
            "digest": DECISION["model"]["digest"],
            "verdicts": _VERDICTS,
        }
    ],
    "environment_changed": [],
    "results_sha256": "2c" * 32,
    "exceptions": [],
    "exceptions_omitted": 0,
    "instead": None,
    "impact": None,
}
REPORTERS = admits(Role.AUDITOR, Role.ADMIN)
_HASH = "5f" * 32
RECORDED = {"id": DECISION_ID, "report_sha256": _HASH, "receipt": RECEIPT}
SUMMARY = {
    "id": DECISION_ID,
    "index": RECEIPT["index"],
    "recorded": "2026-11-23T10:25:30.123Z",
    "kind": "replay",
    "decisions": 40,
    "verdicts": {"identical": 40},
    "results_sha256": RUN_REPORT["results_sha256"],
    "report_sha256": _HASH,
}
SHOWN = {
    "id": DECISION_ID,
    "actor": "auditor-1",
    "recorded": SUMMARY["recorded"],
    "report": RUN_REPORT,
    "receipt": RECEIPT,
}


@router.post(
    "/v1/replays",
    operation_id="record_replays",
    summary="Put a run of replays on record",
    description="The report that `grounds replay` makes. It is compared with this log: the same "
    "origin, and the root that the log had at that size. Whether the replays came out so is what "
    "the one who sends it says; `results_sha256` lets anybody repeat it.",
    status_code=201,
    response_class=Response,
    responses={
        201: {
            "model": shapes.RunRecorded,
            "description": "The entry.",
            "content": {JSON: {"example": RECORDED}},
        },
        **problems(400, 401, 403, 408, 413, 415, 422, 503),
    },
    openapi_extra={
        **REPORTERS["openapi_extra"],
        "requestBody": {"content": {JSON: {"example": RUN_REPORT}}},
    },
    dependencies=REPORTERS["dependencies"],
)
async def record_replays(
    request: Request, asked: shapes.ReplayReport, caller: CurrentCaller
) -> Response:
    """Record a run."""
    parts = parts_of(request)
    content = asked.model_dump(mode="json")
    await run_in_threadpool(check_report, parts.log, content)
    report = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    record = run_record(
        report, content, actor=caller.name, at=timestamp(parts.clock()), new_id=parts.new_id
    )
    outcome = await recorded_once(parts, EntryWork(record))
    for name in VERDICTS:
        parts.metrics.replays.labels(name).inc(getattr(asked.verdicts, name))
    told = {"id": record.id, "report_sha256": hashlib.sha256(report).hexdigest()}
    return Response(
        with_receipt(orjson.dumps(told), outcome.receipt),
        status_code=201,
        media_type=JSON,
        headers={"Location": f"/v1/replays/{record.id}"},
    )


@router.get(
    "/v1/replays",
    operation_id="list_replays",
    summary="Runs of replays on record",
    responses={
        200: {"content": {JSON: {"example": {"runs": [SUMMARY]}}}},
        **problems(401, 403, 422, 503),
    },
    **admits(Role.AUDITOR, Role.MODEL_OWNER, Role.ADMIN),
)
async def list_replays(request: Request, asked: Annotated[PageQuery, Query()]) -> shapes.RunList:
    """Return the latest runs."""
    runs = await run_in_threadpool(recorded_runs, parts_of(request).replay_runs, asked.limit)
    return shapes.RunList.model_validate({"runs": [run.body() for run in runs]})


@router.get(
    "/v1/replays/{run_id}",
    operation_id="read_replays",
    summary="One run's report",
    response_class=Response,
    responses={
        200: {
            "model": shapes.RunShown,
            "description": "The report.",
            "content": {JSON: {"example": SHOWN}},
        },
        **problems(401, 403, 404, 410, 422, 503),
    },
    **admits(Role.AUDITOR, Role.MODEL_OWNER, Role.ADMIN),
)
async def read_replays(request: Request, run_id: RunId) -> Response:
    """Return one run's report as it was recorded."""
    return Response(await run_in_threadpool(shown_run, parts_of(request), run_id), media_type=JSON)


def shown_run(parts: Parts, run_id: str) -> bytes:
    """Return one run's report as it was recorded. Raises UnknownRunError, ErasedDecisionError."""
    try:
        stored = parts.log.read(run_id)
    except UnknownRecordError as err:
        raise UnknownRunError from err
    if stored.type != REPLAY_RUN:
        raise UnknownRunError
    if stored.payload is None:
        raise ErasedDecisionError
    content = orjson.loads(stored.payload)
    told = {
        "id": stored.id,
        "actor": content["actor"],
        "recorded": content["at"],
        "report": content["report"],
    }
    receipt = Receipt(parts.log.origin, stored.index, stored.leaf_hash)
    return with_receipt(orjson.dumps(told), receipt)
