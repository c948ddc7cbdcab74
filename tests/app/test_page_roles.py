"""Who sees which page: each with every role, with none, and with what is not a session."""

import re
from urllib.parse import quote

import httpx
import pytest
from fastapi.routing import APIRoute

from app.domain import Role
from app.main import PAGES
from tests.app import tiny
from tests.problems import assert_problem
from tests.started import Started

ALL = frozenset(Role)
BROWSER = {"Accept": "text/html"}
AUDITORS = frozenset({Role.AUDITOR, Role.ADMIN})
WATCHERS = frozenset({Role.MODEL_OWNER, Role.AUDITOR, Role.EQUALITY, Role.ADMIN})
STOPPERS = frozenset({Role.CASEWORKER, Role.REVIEWER, Role.MODEL_OWNER, Role.ADMIN})
RESETTERS = frozenset({Role.MODEL_OWNER, Role.ADMIN})
READERS = frozenset({Role.CASEWORKER, Role.REVIEWER, Role.AUDITOR, Role.ADMIN})
DECIDERS = frozenset({Role.CASEWORKER, Role.ADMIN})
REVIEWERS = frozenset({Role.REVIEWER, Role.ADMIN})
HANDLERS = DECIDERS | REVIEWERS
MATRIX: dict[str, frozenset[Role]] = {
    "GET /decisions/{decision_id}": READERS,
    "POST /decisions/{decision_id}/take": DECIDERS,
    "POST /decisions/{decision_id}/release": HANDLERS,
    "POST /decisions/{decision_id}/advice-request": DECIDERS,
    "POST /decisions/{decision_id}/own-assessment": DECIDERS,
    "POST /decisions/{decision_id}/decision": DECIDERS,
    "GET /decisions/{decision_id}/correct": HANDLERS,
    "POST /decisions/{decision_id}/correct": HANDLERS,
    "GET /decisions/{decision_id}/letter": HANDLERS,
    "POST /decisions/{decision_id}/letter": HANDLERS,
    "GET /decisions/{decision_id}/contest": HANDLERS,
    "POST /decisions/{decision_id}/contest": HANDLERS,
    "POST /decisions/{decision_id}/review": REVIEWERS,
    "GET /cases": HANDLERS,
    "POST /cases/search": HANDLERS,
    "GET /reviews": REVIEWERS,
    "GET /practice": HANDLERS,
    "GET /practice/{model}/{number}": HANDLERS,
    "POST /practice/{model}/{number}": HANDLERS,
    "GET /reliance": REVIEWERS | {Role.AUDITOR, Role.MODEL_OWNER},
    "GET /audit/decisions": AUDITORS,
    "POST /audit/decisions": AUDITORS,
    "GET /audit/decisions/{decision_id}": AUDITORS,
    "POST /audit/decisions/{decision_id}/replay": AUDITORS,
    "GET /audit/decisions/{decision_id}/evidence": AUDITORS,
    "GET /audit/log": AUDITORS,
    "POST /audit/verifications": AUDITORS,
    "GET /audit/verifications/{verification_id}": AUDITORS,
    "GET /audit/replays": AUDITORS | {Role.MODEL_OWNER},
    "GET /audit/replays/{run_id}": AUDITORS | {Role.MODEL_OWNER},
    "GET /models": WATCHERS,
    "GET /models/{model}": WATCHERS,
    "GET /models/{model}/monitoring/reset": RESETTERS,
    "POST /models/{model}/monitoring/reset": RESETTERS,
    "GET /models/{model}/stop": STOPPERS,
    "POST /models/{model}/stop": STOPPERS,
    "GET /models/{model}/stops/{number}/resume": STOPPERS,
    "POST /models/{model}/stops/{number}/resume": STOPPERS,
}
"""Written down apart from the code: a role that is let in by mistake fails here."""
PUBLIC = {
    "GET /",
    "GET /docs",
    "GET /transparency",
    "GET /transparency/{model}",
    "GET /transparency/{model}/record.json",
    "GET /problems/{slug}",
    "GET /sign-in",
    "POST /sign-in/demonstration",
    "GET /sign-in/start",
    "GET /sign-in/return",
    "GET /sign-in/role",
    "POST /sign-in/role",
    "POST /sign-out",
    "GET /signed-out",
    "GET /language/{code}",
}
"""Open to all; what needs a session says so itself."""


def routes() -> dict[str, APIRoute]:
    """Return every page by its method and path."""
    return {
        f"{method} {route.path}": route
        for router in PAGES
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }


@pytest.fixture(scope="module")
def decision(service: Started) -> str:
    identifier: str = service.ask(tiny.NAME, tiny.CASE).json()["id"]
    return identifier


def visit(
    service: Started, page: str, decision: str, headers: dict[str, str], data: dict[str, str]
) -> httpx.Response:
    method, path = page.split(" ")
    address = path.format(
        decision_id=decision,
        slug="erased",
        code="cy",
        model=tiny.NAME,
        verification_id="none",
        run_id="none",
        number="1",
    )
    response: httpx.Response = service.client.request(
        method, address, headers=headers, data=data or None, follow_redirects=False
    )
    return response


def test_every_page_is_in_the_matrix() -> None:
    assert set(routes()) == {*MATRIX, *PUBLIC}


def test_every_page_says_what_the_matrix_says_and_is_apart_from_the_contract() -> None:
    for page, route in routes().items():
        roles = set((route.openapi_extra or {})["x-roles"])
        assert roles == ({"public"} if page in PUBLIC else set(MATRIX[page])), page
        assert not route.include_in_schema, page


@pytest.mark.parametrize("page", MATRIX)
def test_every_role_sees_exactly_what_the_matrix_says(
    service: Started, decision: str, page: str
) -> None:
    for role in Role:
        cookie = service.session(role)
        response = visit(service, page, decision, cookie, service.form(cookie))
        if role in MATRIX[page]:
            assert response.status_code not in {401, 403}, (role, response.text)
            assert not response.is_server_error, (role, response.text)
        else:
            assert_problem(response, slug="forbidden", status=403)


@pytest.mark.parametrize("page", MATRIX)
def test_without_a_session_a_person_is_sent_to_sign_in(
    service: Started, decision: str, page: str
) -> None:
    response = visit(service, page, decision, BROWSER, {})
    assert response.status_code == 303
    assert response.headers["location"].startswith("/sign-in")


def test_a_form_without_its_sessions_token_is_refused(service: Started, decision: str) -> None:
    for page in (page for page in MATRIX if page.startswith("POST")):
        (role, *_) = MATRIX[page]
        mine, other = service.session(role), service.session(role, actor="other")
        for form in ({}, {"csrf": ""}, {"csrf": "x"}, service.form(other)):
            response = visit(service, page, decision, mine, form)
            assert_problem(response, slug="form-not-accepted", status=403)


HOSTILE = "\"'><script>window.taken=1</script><img src=x onerror=window.taken=1>"


def test_script_in_an_address_is_no_part_of_the_answer(service: Started, decision: str) -> None:
    """Every page, with script in each part of its path and in everything it asks for after a ``?``."""
    for page, route in routes().items():
        method, path = page.split(" ")
        if method != "GET":
            continue
        role = next(iter(MATRIX.get(page, ALL - {Role.CALLER})))
        asked = {each.alias: HOSTILE for each in route.dependant.query_params}
        for address in (path.replace("{decision_id}", decision), path):
            found = service.client.get(
                re.sub(r"\{[^}]+\}", quote(HOSTILE, safe=""), address),
                params=asked,
                headers={**BROWSER, **service.session(role)},
                follow_redirects=False,
            )
            assert not found.is_server_error, (page, found.text)
            if not found.headers.get("content-type", "").startswith("text/html"):
                continue  # a file to keep, or a problem in JSON: no browser obeys either
            assert "<script>window" not in found.text, page
            assert "<img src=x" not in found.text, page
    service.client.cookies.clear()
