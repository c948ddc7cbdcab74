"""The pages: one decision, the API's own reference, and what each kind of problem means."""

from pathlib import Path

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from app import errors
from app.api.access import CurrentCaller, admits, basic_scheme, open_to_all
from app.api.decisions import DecisionId
from app.api.documents import problems
from app.api.parts import parts_of
from app.api.recorded_reads import record_read
from app.domain import Role
from app.errors import UnknownProblemError
from app.reveal import read_advice
from app.web.reference import operations
from app.web.render import render
from app.web.views import decision_view

HERE = Path(__file__).parent
HTML = {"content": {"text/html": {"schema": {"type": "string"}, "example": "<!doctype html>"}}}

router = APIRouter(tags=["pages"], default_response_class=HTMLResponse)


def static_files() -> StaticFiles:
    """Return the style sheet's folder as an application of its own."""
    return StaticFiles(directory=HERE / "static")


@router.get(
    "/decisions/{decision_id}",
    operation_id="show_decision",
    summary="The page of one decision",
    description="The recommendation, its reasons as sentences, chart and table, and the receipt.",
    responses={
        200: {"description": "The page.", **HTML},
        **problems(401, 403, 404, 409, 410, 422, 503),
    },
    **admits(Role.CASEWORKER, Role.REVIEWER, Role.AUDITOR, Role.ADMIN, scheme=basic_scheme),
)
async def show_decision(
    request: Request, decision_id: DecisionId, caller: CurrentCaller
) -> Response:
    """Show one decision, once it is recorded who reads it."""
    parts = parts_of(request)
    stored = await run_in_threadpool(read_advice, parts.log, decision_id, reader=caller)
    await record_read(parts, decision_id, what="page", reader=caller)
    served = next(
        (
            model
            for model in parts.served.values()
            if model.bundle.digest == stored.content.model_digest
        ),
        None,
    )
    said = orjson.loads(stored.content.answer)
    if said["advice"]["status"] == "none":
        return _page(
            "no_advice.html",
            id=stored.id,
            created=said["created"],
            model=said["model"]["name"],
            reason=said["advice"]["reason"],
            rules=[each["rule"]["description"] for each in said["requirements"]],
            index=stored.receipt.index,
            manual_route=None if served is None else served.policy.manual_route,
            role=caller.role.value,
        )
    return _page("decision.html", view=decision_view(stored, served), role=caller.role.value)


@router.get(
    "/docs",
    operation_id="show_reference",
    summary="The API's reference, as a page",
    responses={200: {"description": "The page.", **HTML}},
    **open_to_all(),
)
async def show_reference(request: Request) -> Response:
    """Show every operation of the OpenAPI document."""
    return _page("reference.html", operations=operations(request.app.openapi()))


@router.get(
    "/problems/{slug}",
    operation_id="show_problem",
    summary="What a kind of problem means",
    responses={200: {"description": "The page.", **HTML}, **problems(404)},
    **open_to_all(),
)
async def show_problem(slug: str) -> Response:
    """Show what one ``type`` of problem means and what to do about it."""
    for kind in errors.ALL_PROBLEM_TYPES:
        if kind.slug == slug:
            return _page("problem.html", kind=kind)
    raise UnknownProblemError(known=[kind.slug for kind in errors.ALL_PROBLEM_TYPES])


def _page(name: str, **context: object) -> Response:
    return HTMLResponse(render(name, **context))
