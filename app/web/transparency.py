"""``/transparency``: what is in use, for whom to look at who will: no role, no key, plain words."""

from dataclasses import dataclass
from typing import ClassVar

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse

from app.api.access import open_to_all
from app.api.documents import JSON
from app.api.parts import Parts, parts_of
from app.api.transparency import records
from app.publish.subject import FILE, read_deployment
from app.web.language import texts_of
from app.web.render import page
from app.web.transparency_view import Status, Summary, model_view, summary_of

KEPT = {"Cache-Control": "public, max-age=300"}

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class ListView:
    """Every model in use."""

    template: ClassVar[str] = "public/models.html"

    models: tuple[Summary, ...]


@router.get("/transparency", **open_to_all())
async def show_models(request: Request) -> Response:
    """List the models in use."""
    parts = parts_of(request)
    texts = texts_of(request)
    models = tuple(
        summary_of(served, _status(parts, name), texts) for name, served in parts.served.items()
    )
    return page(request, ListView(models))


@router.get("/transparency/{model}", **open_to_all())
async def show_model(request: Request, model: str) -> Response:
    """Say of one model what it is for, on what ground, how well it works and how to contest."""
    parts = parts_of(request)
    served, lineup = parts.model(model), parts.served.lineup(model)
    deployment = await run_in_threadpool(read_deployment, served.directory / FILE)
    view = model_view(
        lineup, deployment, _status(parts, model), texts_of(request), custody=parts.custody
    )
    return page(request, view)


@router.get("/transparency/{model}/record.json", **open_to_all())
async def show_record(request: Request, model: str) -> Response:
    """Return the same for machines."""
    parts = parts_of(request)
    found = await run_in_threadpool(records, parts.model(model), parts.custody)
    return Response(found.model_dump_json(indent=2), media_type=JSON, headers=KEPT)


def _status(parts: Parts, name: str) -> Status:
    if parts.stops.covers(name) or parts.monitor.stance(name) in ("stop", "unaided"):
        return Status.STOPPED
    return Status.IN_USE
