"""``/v1/models/{model}/monitoring`` and what feeds it: outcomes, and protected attributes."""

from datetime import datetime
from math import isfinite
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from fastapi.concurrency import run_in_threadpool

from app.api import monitoring_schemas as shapes
from app.api.access import CurrentCaller, admits
from app.api.decisions import DecisionId
from app.api.documents import JSON, problems
from app.api.keyed import KeyedRoute
from app.api.of_case import model_of
from app.api.parts import Parts, parts_of
from app.api.recording import recorded_once
from app.domain import Caller, Role
from app.errors import InvalidRequestError
from app.ids import timestamp
from app.monitoring import fairness
from app.monitoring.entries import PURGE, Event, outcome_event
from app.monitoring.intervals import Estimate
from app.monitoring.monitor import Canary
from app.monitoring.report import Comparison, Report
from app.reading import StoredDecision, read_decision
from app.served import ServedModel

router = APIRouter(route_class=KeyedRoute, tags=["monitoring"])

OWNERS = (Role.MODEL_OWNER, Role.ADMIN)
WATCHERS = (Role.EQUALITY, Role.MODEL_OWNER, Role.AUDITOR, Role.ADMIN)

_RECORDED = {"id": "019a9f3e-5c1d-7a52-9c0a-6f2e1b7d4c12", "index": 57}
_ESTIMATE = {"value": 0.42, "low": 0.39, "high": 0.45}
_FIGURES: dict[str, Any] = {
    "decisions": 10_000,
    "fields": [{"name": "savings", "index": 0.01, "by_chance": 0.01}],
    "output": {"name": "score", "index": 0.01, "by_chance": 0.01},
    "calibration": None,
    "attributes": [
        {
            "attribute": "sex",
            "groups": [
                {
                    "group": "female",
                    "people": 1204,
                    "selection_rate": _ESTIMATE,
                    "true_positive_rate": None,
                    "false_positive_rate": None,
                    "precision": None,
                }
            ],
            "gaps": [],
            "not_tested": ["male"],
        }
    ],
    "attributes_not_tested": ["disability"],
}
_EXAMPLE: dict[str, Any] = {
    "model": "housing-support",
    "limits_digest": "sha256:" + "0" * 64,
    "window": 10_000,
    "false_alarms": 0.05,
    "stance": None,
    "tripped": [],
    **_FIGURES,
    "purged": [],
    "canary": {
        "version": "1.1.0",
        "bundle": "sha256:" + "5e" * 32,
        "policy": "sha256:" + "a1" * 32,
        "percent": 10,
        "begun": 4211,
        **_FIGURES,
        "decisions": 812,
    },
    "ended_canary": None,
}


def _example(value: dict[str, Any]) -> Any:
    return Body(openapi_examples={"example": {"value": value}})


@router.post(
    "/v1/decisions/{decision_id}/outcome",
    operation_id="report_outcome",
    summary="Say how a decided case turned out",
    description="An entry of the log. Outcome-based figures (true and false positives, precision, "
    "calibration) need it. A later report corrects an earlier one.",
    status_code=201,
    responses={
        201: {"content": {JSON: {"example": _RECORDED}}},
        **problems(400, 401, 403, 404, 408, 410, 413, 415, 422, 503),
    },
    **admits(Role.CALLER, Role.CASEWORKER, Role.ADMIN),
)  # fmt: skip
async def report_outcome(
    request: Request,
    decision_id: DecisionId,
    caller: CurrentCaller,
    report: Annotated[shapes.OutcomeReport, _example({"outcome": "priority"})],
) -> shapes.Recorded:
    """Record one outcome."""
    parts = parts_of(request)
    stored, served = await run_in_threadpool(_decision, parts, decision_id, caller)
    output = served.bundle.card.output
    if output.task == "classification" and report.outcome not in output.classes:
        raise InvalidRequestError(
            f"outcome: want one of the model's classes: {', '.join(map(str, output.classes))}"
        )
    if output.task == "regression" and isinstance(report.outcome, str):
        raise InvalidRequestError("outcome: want a number")
    event_id = parts.new_id()
    event = outcome_event(
        event_id=event_id,
        of=stored.receipt.index,
        decision=decision_id,
        model=served.facts["model"],
        outcome=report.outcome,
        actor=caller.name,
        at=timestamp(parts.clock()),
        subject=stored.content.subject,
    )
    return await _record(parts, event)


@router.post(
    "/v1/decisions/{decision_id}/protected-attributes",
    operation_id="report_attributes",
    summary="Say which groups the person of a decision belongs to",
    description="Kept apart from the log, the model and every record, to compare groups and for "
    "nothing else; it can be purged. Only attributes and groups that the model's `monitoring.yaml` "
    "lists are taken. The answer tells nothing of the decision.",
    status_code=201,
    responses={
        201: {"content": {JSON: {"example": {"attributes": ["sex"]}}}},
        **problems(400, 401, 403, 404, 408, 410, 413, 415, 422, 503),
    },
    **admits(Role.EQUALITY),
)
async def report_attributes(
    request: Request,
    decision_id: DecisionId,
    caller: CurrentCaller,
    report: Annotated[shapes.AttributeReport, _example({"attributes": {"sex": "female"}})],
) -> shapes.Kept:
    """Keep what was reported."""
    parts = parts_of(request)
    stored, served = await run_in_threadpool(_decision, parts, decision_id, caller)
    if served.name not in parts.monitor.models:
        raise InvalidRequestError("attributes: no version of this model is watched")
    known = parts.monitor.watched(served.name).monitoring.protected_attributes
    for attribute, group in report.attributes.items():
        if attribute not in known:
            raise InvalidRequestError(
                f"attributes: want those that are compared: {', '.join(known) or 'none'}"
            )
        if group not in known[attribute]:
            raise InvalidRequestError(
                f"attributes.{attribute}: want one of {', '.join(known[attribute])}"
            )
    at = timestamp(parts.clock())
    content, index = stored.content, stored.receipt.index
    await run_in_threadpool(
        parts.attributes.put,
        served.name,
        decision_id,
        report.attributes,
        at=at,
        canary=parts.served.canary_run(
            served.name, content.model_digest, content.policy_digest, index
        ),
    )
    parts.monitor.attributes_changed()
    return shapes.Kept(attributes=sorted(report.attributes))


@router.get(
    "/v1/models/{model}/monitoring",
    operation_id="read_monitoring",
    summary="Fairness, drift and calibration of a model",
    description="Figures over the latest decisions. Groups of fewer than the smallest number of "
    "people that the body set are named and nothing is said of them; intervals are 95 % and for "
    "one look. The circuit breaker uses tests that may be looked at all the time. The figures are the "
    "active version's; `canary` has those of a canary, since it is one. `ended_canary` names the canary "
    "that the circuit breaker ended, until somebody moves it or begins with another.",
    responses={
        200: {"content": {JSON: {"example": _EXAMPLE}}},
        **problems(401, 403, 404, 422, 503),
    },
    **admits(*WATCHERS),
)
def read_monitoring(request: Request, model: str) -> shapes.MonitoringShape:
    """Return the figures of this moment."""
    parts = parts_of(request)
    served = parts.model(model)
    report, canary = parts.monitor.report(served.name), parts.monitor.canary(served.name)
    return monitoring_shape(parts, served, report, canary)


@router.post(
    "/v1/models/{model}/monitoring/reset",
    operation_id="reset_monitoring",
    summary="Reset a model's circuit breaker",
    description="Recorded with its reason. All tests of the active version begin anew. A canary that was "
    "ended is begun again as any canary is, by `POST /v1/models/{model}/stages`.",
    responses={
        200: {"content": {JSON: {"example": _RECORDED}}},
        **problems(400, 401, 403, 404, 408, 413, 415, 422, 503),
    },
    **admits(*OWNERS),
)
async def reset_monitoring(
    request: Request,
    model: str,
    caller: CurrentCaller,
    reason: Annotated[shapes.Reason, _example({"reason": "The intake form was mended."})],
) -> shapes.Recorded:
    """Reset the breaker."""
    parts = parts_of(request)
    event_id, index = await parts.breaker.reset(
        parts.model(model), reason=reason.reason, actor=caller.name
    )
    return shapes.Recorded(id=event_id, index=index)


@router.post(
    "/v1/models/{model}/protected-attributes/purge",
    operation_id="purge_attributes",
    summary="Delete protected attributes",
    description="Deletes reports from before a moment and keeps only figures by group, as they "
    "stand. Recorded in the log without anything about a person.",
    responses={
        200: {"content": {JSON: {"example": {"reports": 1204}}}},
        **problems(400, 401, 403, 404, 408, 413, 415, 422, 503),
    },
    **admits(Role.EQUALITY, Role.ADMIN),
)
async def purge_attributes(
    request: Request,
    model: str,
    caller: CurrentCaller,
    asked: Annotated[
        shapes.PurgeRequest,
        _example({"before": "2026-01-01T00:00:00.000Z", "reason": "The review is over."}),
    ],
) -> shapes.Purged:
    """Purge, and record that it was done."""
    parts = parts_of(request)
    served = parts.model(model)
    report = await run_in_threadpool(parts.monitor.report, served.name)
    canary = await run_in_threadpool(parts.monitor.canary, served.name)
    kept = {
        "attributes": _compared(report),
        "canary": None if canary is None else _compared(canary.report),
    }
    now = timestamp(parts.clock())
    before = timestamp(datetime.fromisoformat(asked.before))
    gone = await run_in_threadpool(
        parts.attributes.purge, served.name, before=before, at=now, aggregate=kept
    )
    parts.monitor.attributes_changed()
    payload = {"before": before, "reason": asked.reason, "actor": caller.name, "at": now}
    facts = {"model": served.facts["model"], "reports": gone}
    await _record(parts, Event(PURGE, parts.new_id(), facts, payload))
    return shapes.Purged(reports=gone)


def monitoring_shape(
    parts: Parts, served: ServedModel, report: Report, canary: Canary | None
) -> shapes.MonitoringShape:
    """Return the figures as the API says them."""
    monitoring = parts.monitor.watched(served.name).monitoring
    stance = parts.monitor.stance(served.name)
    ended = parts.registry.state.model(served.name).ended
    return shapes.MonitoringShape(
        model=served.name,
        limits_digest=monitoring.digest,
        window=report.window,
        false_alarms=monitoring.false_alarms,
        stance=None if stance == "report" else stance,
        tripped=[
            shapes.TrippedShape(limit=each.limit, subject=each.subject, action=each.action)
            for each in parts.monitor.tripped(served.name)
        ],
        **_figures(report),
        purged=[
            shapes.AggregateShape.model_validate({"at": at, "canary": None, **body})
            for at, body in parts.attributes.aggregates(served.name)
        ],
        canary=None
        if canary is None
        else shapes.CanaryShape(
            version=canary.served.bundle.card.version,
            bundle=canary.served.bundle.digest,
            policy=canary.served.policy_digest,
            percent=canary.percent,
            begun=canary.begun,
            **_figures(canary.report),
        ),
        ended_canary=None
        if ended is None
        else shapes.EndedCanaryShape(
            bundle=ended.id.bundle, policy=ended.id.policy, at=ended.at, limits=list(ended.limits)
        ),
    )


def _figures(report: Report) -> dict[str, Any]:
    """Return the members that are the same for the active version and for its canary."""
    found = report.calibration
    return {
        "decisions": report.decisions,
        "fields": [
            shapes.StabilityShape(name=each.name, index=each.index, by_chance=each.by_chance)
            for each in report.fields
        ],
        "output": None
        if report.output is None
        else shapes.StabilityShape(
            name=report.output.name, index=report.output.index, by_chance=report.output.by_chance
        ),
        "calibration": None
        if found is None
        else shapes.CalibrationShape(
            cases=found.cases,
            gap=_estimate(found.gap),
            baseline_gap=report.baseline_gap,
            expected_error=found.expected_error,
            bins=[
                shapes.BinShape(
                    low=each.low,
                    high=each.high,
                    cases=each.cases,
                    mean_score=each.mean_score,
                    observed=_estimate(each.observed),
                )
                for each in found.bins
            ],
        ),
        "attributes": [_attribute(each) for each in report.comparisons],
        "attributes_not_tested": list(report.not_tested),
    }


def _compared(report: Report) -> list[dict[str, Any]]:
    return [_attribute(each).model_dump() for each in report.comparisons]


def _attribute(comparison: Comparison) -> shapes.AttributeShape:
    smallest = comparison.smallest
    return shapes.AttributeShape(
        attribute=comparison.attribute,
        groups=[
            shapes.GroupShape(
                group=group.name,
                people=group.people if group.people >= smallest else None,
                **{
                    rate: None if (found := group.rate(rate, smallest=smallest)) is None
                    else _estimate(found)
                    for rate in fairness.RATES
                },
            )
            for group in comparison.groups
        ],
        gaps=[
            shapes.GapShape(
                rate=rate,
                highest=gap.highest,
                lowest=gap.lowest,
                difference=_estimate(gap.difference),
                ratio=_estimate(gap.ratio),
            )
            for rate, gap in comparison.gaps.items()
        ],
        not_tested=list(comparison.not_tested),
    )  # fmt: skip


def _estimate(estimate: Estimate) -> shapes.EstimateShape:
    value, low, high = (
        each if isfinite(each) else None for each in (estimate.value, estimate.low, estimate.high)
    )
    return shapes.EstimateShape(value=value, low=low, high=high)


def _decision(parts: Parts, decision_id: str, caller: Caller) -> tuple[StoredDecision, ServedModel]:
    """Return a decision and the version that made it, active or not; both must be there still."""
    stored = read_decision(parts.log, decision_id, reader=caller)
    made = model_of(parts, stored)
    if made is None:
        raise InvalidRequestError("the version that made this decision is not available here")
    return stored, made


async def _record(parts: Parts, event: Event) -> shapes.Recorded:
    outcome = await recorded_once(parts, event)
    return shapes.Recorded(id=event.id, index=outcome.receipt.index)
