"""The examples in the OpenAPI document. A contract test checks each against its schema.

The request is one that the demonstration answers, so that it can be tried as it stands.
"""

import json
from typing import Any

from app.demo.asking import PURPOSE
from models.demo.cases import DEMO_CASES

MODEL_NAME = "housing-support"
DECISION_ID = "019a9f3e-5c1d-7a52-9c0a-6f2e1b7d4c11"
_MODEL_DIGEST = "sha256:6f1c0b0e5d3e8d0a5a7f3f1f7c1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c"
_POLICY_DIGEST = "sha256:0d9c8b7a6f5e4d3c2b1a0f9e8d7c6b5a4f3e2d1c0b9a8f7e6d5c4b3a2f1e0d9c"
_BACKGROUND_DIGEST = "sha256:11aa22bb33cc44dd55ee66ff7700889911aa22bb33cc44dd55ee66ff77008899"
_LEAF_HASH = "Zm9yIGV4YW1wbGUsIHRoZSBoYXNoIG9mIHRoaXMgZW4="

_MODEL = {
    "name": MODEL_NAME,
    "version": "1.0.0",
    "digest": _MODEL_DIGEST,
    "signature": {"status": "verified", "supplier": "northmoor", "warning": None},
    "arm": "live",
}
_POLICY = {"name": "housing-support-policy", "version": "2026-11", "digest": _POLICY_DIGEST}
_RECEIPT = {"log": "localhost/grounds", "index": 41, "leaf_hash": _LEAF_HASH}
_BACKGROUND = {"rows": 1000, "digest": _BACKGROUND_DIGEST}

DECISION_REQUEST: dict[str, Any] = {
    "case": DEMO_CASES["eviction-date-set"],
    "subject": "person-8841",
    **PURPOSE,
    "provenance": {"rent_arrears": {"source": "verified", "date": "2026-11-02"}},
}
DECISION: dict[str, Any] = {
    "id": DECISION_ID,
    "created": "2026-11-23T10:15:30.123Z",
    "model": _MODEL,
    "policy": _POLICY,
    "purpose": dict(PURPOSE),
    "provenance": [
        {"field": "rent_arrears", "source": "verified", "date": "2026-11-02", "stale": False}
    ],
    "flags": [],
    "advice": {"status": "given", "reason": None},
    "requirements": [],
    "recommendation": {
        "outcome": "priority",
        "label": "Give priority",
        "score": 0.7264,
        "score_meaning": "Chance that the household would lose its home without support",
        "rule": {"id": "likely", "description": "the score is 0.5 or more"},
        "near_threshold": False,
    },
    "explanation": {
        "summary": "The model suggests: Give priority.",
        "strongest_reasons": ["Rent arrears of £2,140.75 raised the estimate by 35.1 points."],
        "reasons_for": ["Rent arrears of £2,140.75 raised the estimate by 35.1 points."],
        "reasons_against": [],
        "method": "tree tables",
        "method_reason": "one tree ensemble behind encoders whose columns belong to one field each",
        "unit": "log-odds",
        "link": "logistic",
        "contrast": None,
        "base_value": -0.51,
        "margin": 0.977,
        "output": 0.7264,
        "base_probability": 0.3752,
        "contributions": [
            {
                "field": "rent_arrears",
                "label": "Rent arrears",
                "value": 2140.75,
                "contribution": 1.487,
                "probability_change": 0.3512,
            }
        ],
        "residual": 2.1e-8,
        "tolerance": 1e-5,
        "largest_standard_error": None,
        "evaluations": None,
        "background": _BACKGROUND,
    },
    "uncertainty": {
        "status": "available",
        "reason": None,
        "similar_cases": {
            "wording": "about 7 in 10 similar cases",
            "cases": 100,
            "positives": 71,
            "lowest_score": 0.66,
            "highest_score": 0.79,
            "interval": [0.614, 0.789],
        },
        "prediction_set": {"classes": ["1"], "coverage": 0.9, "calibration_rows": 1000},
        "prediction_interval": None,
    },
    "familiarity": {
        "unfamiliar": False,
        "fields": [],
        "distance": 0.041,
        "rarity": 0.52,
        "background_rows": 1000,
    },
    "what_would_change": {"status": "not_sought", "statement": None, "found": []},
    "receipt": _RECEIPT,
}
REPLAY: dict[str, Any] = {
    "decision": DECISION_ID,
    "verdict": "identical",
    "max_ulps": None,
    "differences": [],
    "reason": None,
    "environment_changed": [],
    "receipt": _RECEIPT,
}
_SUMMARY: dict[str, Any] = {
    "name": MODEL_NAME,
    "version": "1.0.0",
    "digest": _MODEL_DIGEST,
    "title": "Discretionary housing support",
    "purpose": "Helps caseworkers decide which applications to look at first.",
    "owner": "Housing Services, Exampleshire Council",
}
MODEL_LIST: dict[str, Any] = {"models": [_SUMMARY]}
MODEL: dict[str, Any] = {
    **_SUMMARY,
    "legal_basis": "Housing Act 1996, Part 7",
    "what_it_cannot_know": ["Whether a relative could offer a room."],
    "limitations": ["Trained on made-up data."],
    "positive_class": "1",
    "score_meaning": "Chance that the household would lose its home without support",
    "case_schema": {"type": "object", "properties": {"rent_arrears": {"type": "number"}}},
    "explanation": {
        "method": "tree tables",
        "reason": "one tree ensemble behind encoders whose columns belong to one field each",
        "unit": "log-odds",
        "link": "logistic",
        "base_value": -0.51,
        "background": _BACKGROUND,
    },
    "policy": _POLICY,
    "purposes": [
        {
            "purpose": "housing-support",
            "description": "Deciding on applications for discretionary housing support.",
            "legal_bases": ["housing-act-1996-part-7"],
        }
    ],
    "manual_route": "Decide from the application and its evidence, with a colleague.",
}
READY: dict[str, Any] = {
    "status": "ready",
    "reason": None,
    "models": [MODEL_NAME],
    "log_entries": 42,
    "alarms": [],
    "queue_depth": 0,
}
CHECKPOINT = (
    "localhost/grounds\n42\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n\n"
    "— localhost/grounds AiobnO/tMs2ofoTJPKlTcRz1kL6bVZZx0HzIdv6AIypazHysLbpBiTyDU5X3wEfp"
    "+3kpwjFjLL2ZCosy185PJkMAZws=\n"
)
PROOF = (
    "c2sp.org/tlog-proof@v1\nindex 41\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n\n"
    + CHECKPOINT
)

BATCH_LINES = "".join(
    json.dumps({"case": case, **PURPOSE}) + "\n" for case in list(DEMO_CASES.values())[:2]
)
BATCH_RESULTS = "".join(
    json.dumps(result) + "\n"
    for result in (
        {"line": 1, "status": 201, "replayed": False, "decision": DECISION},
        {
            "line": 2,
            "status": 400,
            "problem": {
                "type": "/problems/invalid-json",
                "title": "The body is not valid JSON",
                "status": 400,
                "detail": "not valid JSON at line 1, column 14",
                "advice": "Send one JSON object, UTF-8.",
                "request_id": "019a9f3e-5c1d-7000-8000-000000000000",
            },
        },
    )
)
