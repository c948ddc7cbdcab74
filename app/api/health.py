"""``/health`` and ``/metrics``: for the platform that runs the service."""

from fastapi import APIRouter, Request, Response

from app.api import examples, schemas
from app.api.access import open_to_all
from app.api.documents import JSON
from app.api.parts import Parts, parts_of

router = APIRouter(tags=["operation"])


@router.get(
    "/health/live",
    operation_id="read_liveness",
    summary="Is the process alive",
    responses={200: {"content": {JSON: {"example": {"status": "alive"}}}}},
    **open_to_all(),
)
async def live() -> schemas.Alive:
    """Return at once: the event loop turns."""
    return schemas.Alive(status="alive")


@router.get(
    "/health/ready",
    operation_id="read_readiness",
    summary="Can decisions be recorded",
    description="503 when nothing can be recorded at present; `reason` says why. `alarms` says what "
    "is wrong with what others hold of the log, or with the clock; decisions are recorded all the same.",
    responses={
        200: {"content": {JSON: {"example": examples.READY}}},
        503: {"model": schemas.Ready, "description": "Not ready."},
    },
    **open_to_all(),
)
async def ready(request: Request, response: Response) -> schemas.Ready:
    """Return whether a decision sent now would be recorded."""
    parts = parts_of(request)
    fault = _fault(parts)
    response.status_code = 200 if fault is None else 503
    return schemas.Ready(
        status="ready" if fault is None else "not_ready",
        reason=fault,
        models=sorted(parts.served),
        log_entries=parts.log.size,
        alarms=parts.checkpointer.alarms,
        queue_depth=parts.engine.waiting,
    )


@router.get(
    "/metrics",
    operation_id="read_metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus text format; nothing in it is about any person.",
            "content": {"text/plain": {"schema": {"type": "string"},
                                       "example": "grounds_ready 1.0\n"}},
        }
    },
    **open_to_all(),
)  # fmt: skip
async def metrics(request: Request) -> Response:
    """Return all metrics."""
    parts = parts_of(request)
    _measure(parts)
    content, media_type = parts.metrics.exposition(request.headers.get("accept", ""))
    return Response(content, media_type=media_type)


def _measure(parts: Parts) -> None:
    parts.metrics.drain()
    parts.metrics.log_entries.set(parts.log.size)
    parts.metrics.queue_depth.set(parts.engine.waiting)
    parts.metrics.queue_limit.set(parts.settings.queue_limit)
    parts.metrics.log_alarms.set(len(parts.checkpointer.alarms))
    parts.metrics.ready.set(0 if _fault(parts) else 1)


def _fault(parts: Parts) -> str | None:
    # A database that is away first: it is why a record could not be written too.
    return parts.checkpointer.fault or parts.engine.fault or parts.registry.fault
