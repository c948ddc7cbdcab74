"""The model owner's pages: each model with its gaps, how well it works and for whom, its stages, the stop button."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Form, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse

from app.api.access import CurrentCaller
from app.api.parts import Parts, parts_of
from app.api.stops import resume, stop
from app.domain import Caller, Role
from app.errors import NotFoundError
from app.lint_report import LintReport, lint_report
from app.monitoring.monitor import Canary
from app.monitoring.report import Report
from app.refusals import AnotherPersonError, NotStoppedError
from app.registry_entries import Change, changes
from app.stops import Stop
from app.visible import is_visible
from app.web.language import texts_of
from app.web.owner_view import ModelLine, OwnedModelsView, model_line, model_view
from app.web.render import page
from app.web.session import signed_in
from app.web.standstill import ResetView, StopView, stop_line, stops_of, tripped_lines
from models.profile import load_profile

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

READERS = (Role.MODEL_OWNER, Role.AUDITOR, Role.EQUALITY, Role.ADMIN)
RESETTERS = (Role.MODEL_OWNER, Role.ADMIN)
STOPPERS = (Role.CASEWORKER, Role.REVIEWER, Role.MODEL_OWNER, Role.ADMIN)
LONGEST_REASON = 500

Reason = Annotated[str, Form()]


@router.get("/models", **signed_in(*READERS))
async def show_models(request: Request) -> Response:
    """Show the models in use and how each stands."""
    parts, texts = parts_of(request), texts_of(request)
    lines: list[ModelLine] = [
        model_line(parts.model(name), parts.stops, parts.monitor, texts)
        for name in sorted(parts.served)
    ]
    return page(request, OwnedModelsView(lines))


@router.get("/models/{model}", **signed_in(*READERS))
async def show_model(request: Request, model: str, caller: CurrentCaller) -> Response:
    """Show one model."""
    parts = parts_of(request)
    served = parts.model(model)
    lint, report, canary, happened = await run_in_threadpool(_looked_up, parts, model)
    view = model_view(
        served,
        lint=lint,
        report=report,
        canary=canary,
        versions=parts.registry.state.model(model),
        happened=happened,
        stops=parts.stops,
        monitor=parts.monitor,
        can_stop=caller.role in STOPPERS,
        can_reset=caller.role in RESETTERS,
        texts=texts_of(request),
    )
    return page(request, view)


@router.get("/models/{model}/stop", **signed_in(*STOPPERS))
async def ask_to_stop(request: Request, model: str, caller: CurrentCaller) -> Response:
    """Ask whether the advice of a model shall really stop, and why."""
    await run_in_threadpool(parts_of(request).stops.refresh)
    return page(request, _stop_view(request, model, caller))


@router.post("/models/{model}/stop", **signed_in(*STOPPERS))
async def stop_model(
    request: Request, model: str, caller: CurrentCaller, reason: Reason = ""
) -> Response:
    """Stop the advice of a model."""
    parts = parts_of(request)
    view = _stop_view(request, model, caller)
    if faults := _faults(request, reason):
        return page(request, replace(view, reason=reason, errors=faults), status=422)
    await stop(parts, model=model, reason=_said(reason), caller=caller)
    return RedirectResponse(view.back, status_code=303)


@router.get("/models/{model}/stops/{number}/resume", **signed_in(*STOPPERS))
async def ask_to_resume(
    request: Request,
    model: str,
    number: Annotated[int, Path(ge=1, le=2**53 - 1)],
    caller: CurrentCaller,
) -> Response:
    """Ask whether the advice of a model shall go on, and why."""
    view = _stop_view(request, model, caller)
    stopped = stop_line(await _in_force(parts_of(request), model, number), texts_of(request))
    return page(request, replace(view, resuming=stopped, in_force=[]))


@router.post("/models/{model}/stops/{number}/resume", **signed_in(*STOPPERS))
async def resume_model(
    request: Request,
    model: str,
    number: Annotated[int, Path(ge=1, le=2**53 - 1)],
    caller: CurrentCaller,
    reason: Reason = "",
) -> Response:
    """Ask that the advice go on, or confirm what another person asked."""
    parts = parts_of(request)
    view = _stop_view(request, model, caller)
    stopped = stop_line(await _in_force(parts, model, number), texts_of(request))
    view = replace(view, resuming=stopped, in_force=[])
    if faults := _faults(request, reason):
        return page(request, replace(view, reason=reason, errors=faults), status=422)
    try:
        await resume(parts, number, reason=_said(reason), caller=caller)
    except AnotherPersonError:
        _ = texts_of(request).gettext
        fault = _("You have asked for this already. A second person has to confirm.")
        return page(request, replace(view, reason=reason, errors={"reason": fault}), status=409)
    return RedirectResponse(view.back, status_code=303)


def _stop_view(request: Request, model: str, caller: Caller) -> StopView:
    """Return the page that asks whether a model's advice shall stop."""
    parts, texts = parts_of(request), texts_of(request)
    return StopView(
        name=model,
        title=parts.model(model).bundle.card.title,
        back=f"/{'models' if caller.role in READERS else 'transparency'}/{model}",
        resuming=None,
        in_force=[stop_line(each, texts) for each in stops_of(model, parts.stops)],
        reason="",
        errors={},
    )


@router.get("/models/{model}/monitoring/reset", **signed_in(*RESETTERS))
async def ask_to_reset(request: Request, model: str) -> Response:
    """Ask whether all tests of a model shall begin anew, and why."""
    return page(request, _reset_view(parts_of(request), model))


@router.post("/models/{model}/monitoring/reset", **signed_in(*RESETTERS))
async def reset_tests(
    request: Request, model: str, caller: CurrentCaller, reason: Reason = ""
) -> Response:
    """Begin all tests anew; nothing, where no limit is broken: the form was sent twice."""
    parts = parts_of(request)
    view = _reset_view(parts, model)
    if view.tripped:
        if faults := _faults(request, reason):
            return page(request, replace(view, reason=reason, errors=faults), status=422)
        await parts.breaker.reset(parts.model(model), reason=_said(reason), actor=caller.name)
    return RedirectResponse(f"/models/{model}", status_code=303)


def _reset_view(parts: Parts, model: str) -> ResetView:
    served = parts.model(model)
    return ResetView(model, served.bundle.card.title, tripped_lines(model, parts.monitor), "", {})


async def _in_force(parts: Parts, model: str, number: int) -> Stop:
    """Return a stop. Raises NotFoundError for none of this model, NotStoppedError once it is over."""
    state = await run_in_threadpool(parts.stops.refresh)
    stop = state.stops.get(number) or state.lifted.get(number)
    if stop is None or stop.model not in (None, model):
        raise NotFoundError
    if number not in state.stops:
        raise NotStoppedError(f"stop {number} has been lifted")
    return stop


def _said(reason: str) -> str:
    """Return a reason as it was written: a browser sends the end of a line as two characters."""
    return reason.replace("\r\n", "\n").strip()


def _faults(request: Request, reason: str) -> dict[str, str]:
    """Return what is wrong with a reason, at its field; nothing where it can be recorded."""
    _ = texts_of(request).gettext
    if not is_visible(reason):
        return {"reason": _("Enter a reason. It goes on record.")}
    if len(_said(reason)) > LONGEST_REASON:
        return {"reason": _("Write at most 500 characters")}
    return {}


def _looked_up(
    parts: Parts, model: str
) -> tuple[LintReport | None, Report, Canary | None, list[Change]]:
    profile = parts.settings.profile
    served = parts.model(model)
    lint = None
    if profile is not None:
        files = parts.registry.store.bundle_by_digest(served.bundle.digest)
        lint = lint_report(files, load_profile(profile), on=parts.clock().date())
    report, canary = parts.monitor.report(model), parts.monitor.canary(model)
    return lint, report, canary, changes(parts.log, parts.registry.state, model)
