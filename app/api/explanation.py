"""``/v1/decisions/{id}/explanation``: one decision explained in six kinds."""

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from app.api import examples
from app.api.access import CurrentCaller, admits
from app.api.decisions import READING_ROLES, DecisionId
from app.api.documents import JSON, problems
from app.api.of_case import arm_of, model_of
from app.api.parts import Parts, parts_of
from app.api.recorded_reads import record_read
from app.domain import Caller
from app.reveal import open_case
from app.six_kinds.explain import six_kinds
from app.six_kinds.shapes import SixKinds

router = APIRouter(tags=["decisions"])

_GAP = {"status": "not_provided", "reason": "the card has no considerations.fairness"}
_EXPLAINED = examples.DECISION["explanation"]
EXAMPLE = {
    "decision": examples.DECISION_ID,
    "summary": [_EXPLAINED["summary"], *_EXPLAINED["strongest_reasons"], "Nobody has decided yet."],
    "rationale": {
        "process": {
            "status": "provided",
            "method": _EXPLAINED["method"],
            "why_this_method": _EXPLAINED["method_reason"],
            "score_meaning": "Chance that the household would lose its home without support",
            "architecture": "100 decision trees",
            "limits": ["It cannot know: Whether a relative could offer a room."],
        },
        "outcome": {
            "status": "provided",
            "summary": _EXPLAINED["summary"],
            "unit": "log-odds",
            "reasons_for": _EXPLAINED["reasons_for"],
            "reasons_against": [],
            "factors": [
                {
                    "field": "rent_arrears",
                    "label": "Rent arrears",
                    "value": 2140.75,
                    "effect": 1.487,
                    "probability_change": 0.3512,
                    "material": True,
                    "sentence": _EXPLAINED["strongest_reasons"][0],
                }
            ],
            "sum_check": {
                "base_value": -0.51,
                "effects": 1.487,
                "output": 0.977,
                "residual": 2.1e-8,
                "tolerance": 1e-5,
            },
            "what_would_change": {"status": "not_sought", "statement": None, "sentences": []},
            "for_this_person": "Among cases with a score like this one's it was so in about 7 in 10.",
        },
    },
    "responsibility": {
        "process": {
            "status": "provided",
            "owner": "Housing Services, Exampleshire Council",
            "contact": "housing@example.org",
            "organisation": None,
            "team": None,
            "senior_responsible_owner": None,
            "supplier": {"name": "Example Analytics Ltd", "role": "Made and trained the model."},
            "legal_basis": "Housing Act 1996, Part 7",
            "signed_by": "northmoor",
        },
        "outcome": {
            "status": "provided",
            "case_status": "open",
            "outcome": None,
            "took_part": [],
            "review": {
                "how": "Phone us and say that you want a review.",
                "contact": "Phone 01632 960 100.",
                "answered_within_days": 28,
                "what_is_considered": "The case itself, and what the person says and sends.",
                "how_it_is_answered": "By somebody who took no part before.",
                "appeal": "You can complain to the ombudsman.",
            },
        },
    },
    "data": {
        "process": {
            "status": "provided",
            "training_data": "5,000 applications",
            "training_period": "2025-01-01 to 2025-12-31",
            "training_cases": 5000,
            "datasheet": {"composition": {"completeness": "All applications of the year."}},
        },
        "outcome": {
            "status": "provided",
            "inputs": [
                {
                    "field": "rent_arrears",
                    "label": "Rent arrears",
                    "value": 2140.75,
                    "in_words": "£2,140.75",
                    "source": "verified",
                    "date": "2026-11-02",
                    "stale": False,
                    "flags": [],
                }
            ],
            "purpose": "housing-support",
            "legal_basis": "housing-act-1996-part-7",
            "category": "Give priority",
            "category_meaning": "the score is 0.5 or more",
        },
    },
    "fairness": {"process": _GAP, "outcome": _GAP},
    "safety_and_performance": {
        "process": {
            "status": "provided",
            "evaluation_data": "1,000 applications that training never saw.",
            "figures": [
                {
                    "name": "accuracy",
                    "value": 0.81,
                    "lower": 0.78,
                    "upper": 0.83,
                    "slice": None,
                    "cases": 1000,
                }
            ],
            "monitoring": ["calibration gap, at most 0.1"],
            "security": ["Only a bundle that a trusted supplier signed, unchanged, is served."],
        },
        "outcome": {
            "status": "provided",
            "uncertainty": examples.DECISION["uncertainty"],
            "familiarity": examples.DECISION["familiarity"],
            "near_threshold": False,
            "requirements": [],
            "model_digest": examples.DECISION["model"]["digest"],
            "policy_digest": examples.DECISION["policy"]["digest"],
            "runtime": {"onnxruntime": "1.23.2"},
        },
    },
    "impact": {
        "process": {
            "status": "provided",
            "impact_level": 2,
            "assessments": [
                {
                    "kind": "data_protection",
                    "title": "Data protection impact assessment",
                    "date": "2026-09-14",
                    "link": None,
                    "review_by": None,
                }
            ],
            "risks": [{"risk": "People rely on it", "mitigation": "A caseworker decides."}],
        },
        "outcome": {
            "status": "provided",
            "outcome": None,
            "outcomes": [
                {"outcome": "priority", "adverse": False, "meaning": "We will deal with it first."}
            ],
            "what_could_change_it": [
                "Nothing is decided: whoever decides may depart from any advice."
            ],
        },
    },
    "not_provided": ["fairness.process", "fairness.outcome"],
}


@router.get(
    "/v1/decisions/{decision_id}/explanation",
    operation_id="read_explanation",
    summary="Read the six-part explanation",
    description="Rationale, responsibility, data, fairness, safety and performance, and impact; each "
    "with what is true of every case of the model (`process`) and of this one (`outcome`). A half "
    "that nobody has said is `not_provided`, with the reason. Where the policy shows the advice "
    "later: 409 until then. Reading it is recorded.",
    responses={
        200: {"content": {JSON: {"example": EXAMPLE}}},
        **problems(401, 403, 404, 409, 410, 422, 503),
    },
    **admits(*READING_ROLES),
)
async def read_explanation(
    request: Request, decision_id: DecisionId, caller: CurrentCaller
) -> SixKinds:
    """Return one decision's explanation."""
    parts = parts_of(request)
    explained = await run_in_threadpool(_explain, parts, decision_id, caller)
    await record_read(parts, decision_id, what="explanation", reader=caller)
    return explained


def _explain(parts: Parts, decision_id: str, reader: Caller) -> SixKinds:
    case = open_case(parts.log, decision_id, reader=reader)
    case.check_visible(reader)
    name = case.answer["model"]["name"]
    active = parts.served.get(name)
    # What monitoring says of one version is not said of another one's cases.
    arm, watched = arm_of(parts, name, case.decision), None
    if arm is not None:
        watched = (
            parts.monitor.watched(name) if arm == "live" else parts.monitor.watched_canary(name)
        )
    limits = {} if watched is None else watched.monitoring.limits
    return six_kinds(
        case,
        model_of(parts, case.decision),
        today=None if active is None else active.policy,
        watched=[
            f"{limit.replace('_', ' ')}, {'at least' if limit.endswith('_ratio') else 'at most'} "
            f"{set_to.limit:g}"
            for limit, set_to in limits.items()
        ],
        limits_broken=[
            f"{each.limit.replace('_', ' ')}: {each.subject}"
            for each in (parts.monitor.tripped(name) if arm == "live" else ())
        ],
    )
