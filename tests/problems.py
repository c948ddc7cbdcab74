"""What every answer and every problem of the service must look like, in one place."""

from typing import Any

import httpx

from app import errors
from app.api import schemas

KINDS = {kind.slug: kind for kind in errors.ALL_PROBLEM_TYPES}

SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
CSP = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
"""Every directive: a looser policy, or one more source, fails."""


def assert_guarded(response: httpx.Response, **other: str) -> None:
    """Check the headers that every answer carries; ``other`` are those a route knows better."""
    for name, value in {**SECURITY_HEADERS, **other}.items():
        assert response.headers.get_list(name) == [value], name
    policy = dict(
        directive.strip().split(" ", 1)
        for directive in response.headers["content-security-policy"].split(";")
    )
    assert policy == CSP
    assert response.headers["x-request-id"]


def assert_problem(response: httpx.Response, *, slug: str, status: int) -> dict[str, Any]:
    """Check that this is that problem, whole and of the documented form; return its body."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert_guarded(response)
    schemas.Problem.model_validate_json(response.content)
    body: dict[str, Any] = response.json()
    kind = KINDS[slug]
    assert kind.status == status
    assert body["type"] == f"/problems/{slug}"
    assert body["status"] == status
    assert (body["title"], body["advice"]) == (kind.title, kind.advice)
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["detail"].strip()
    wait = kind.retry_after_seconds
    assert response.headers.get("retry-after") == (None if wait is None else str(wait))
    challenges = [value.split()[0] for value in response.headers.get_list("www-authenticate")]
    assert challenges == (["Bearer"] if status == 401 else [])
    return body


def faults(problem: dict[str, Any]) -> dict[str, str]:
    """Return the code of each fault by the name of its field."""
    return {fault["field"]: fault["code"] for fault in problem["errors"]}
