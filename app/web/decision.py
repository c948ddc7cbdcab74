"""The page of one decision."""

from dataclasses import dataclass
from typing import ClassVar

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse

from app.api.access import CurrentCaller
from app.api.decisions import DecisionId
from app.api.parts import parts_of
from app.api.recorded_reads import record_read
from app.domain import Role
from app.reveal import read_advice
from app.web.decision_view import decision_view
from app.web.render import page
from app.web.session import signed_in

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class NoAdviceView:
    """A decision in which nothing was advised."""

    template: ClassVar[str] = "decision/no_advice.html"

    id: str
    created: str
    model: str
    reason: str
    rules: list[str]
    index: int
    manual_route: str | None


@router.get(
    "/decisions/{decision_id}",
    **signed_in(Role.CASEWORKER, Role.REVIEWER, Role.AUDITOR, Role.ADMIN),
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
        view = NoAdviceView(
            id=stored.id,
            created=said["created"],
            model=said["model"]["name"],
            reason=said["advice"]["reason"],
            rules=[each["rule"]["description"] for each in said["requirements"]],
            index=stored.receipt.index,
            manual_route=None if served is None else served.policy.manual_route,
        )
        return page(request, view)
    return page(request, decision_view(stored, served))
