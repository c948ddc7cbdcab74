"""Who may do what: every operation with the key of every role, and with none."""

from base64 import b64encode
from contextlib import closing
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Mount, Route

from app.domain import Role
from app.ids import utc_now
from app.keys import KeyStore
from app.main import ROUTERS, create_app
from app.settings import Settings
from tests.app import tiny
from tests.contract.operations import Operation, operations
from tests.problems import assert_problem
from tests.started import Started

READERS = {Role.CALLER, Role.CASEWORKER, Role.REVIEWER, Role.AUDITOR, Role.ADMIN}
DECIDERS = {Role.CASEWORKER, Role.ADMIN}
VOICES = {Role.CALLER, Role.CASEWORKER, Role.REVIEWER, Role.ADMIN}
OWNERS = {Role.MODEL_OWNER, Role.ADMIN}
LOOKERS = {Role.MODEL_OWNER, Role.AUDITOR, Role.ADMIN}
MATRIX: dict[str, set[Role]] = {
    "create_decision": {Role.CALLER, Role.CASEWORKER, Role.ADMIN},
    "create_decisions": {Role.CALLER, Role.CASEWORKER, Role.ADMIN},
    "read_decision": READERS,
    "replay_decision": {Role.AUDITOR, Role.ADMIN},
    "verify_log": {Role.AUDITOR, Role.ADMIN},
    "list_verifications": {Role.AUDITOR, Role.ADMIN},
    "read_verification": {Role.AUDITOR, Role.ADMIN},
    "record_replays": {Role.AUDITOR, Role.ADMIN},
    "list_replays": {Role.MODEL_OWNER, Role.AUDITOR, Role.ADMIN},
    "read_replays": {Role.MODEL_OWNER, Role.AUDITOR, Role.ADMIN},
    "list_models": {*Role},
    "read_model": {*Role},
    "read_checkpoint": {*Role},
    "read_transparency": {*Role},
    "prove_decision": READERS,
    "read_published_checkpoint": {Role.AUDITOR, Role.ADMIN},
    "read_tile": {Role.AUDITOR, Role.ADMIN},
    "read_evidence": READERS,
    "erase_subject": {Role.ADMIN},
    "erase_decision": {Role.ADMIN},
    "list_holds": {Role.AUDITOR, Role.ADMIN},
    "hold_subject": {Role.ADMIN},
    "hold_decision": {Role.ADMIN},
    "lift_hold": {Role.ADMIN},
    "report_outcome": {Role.CALLER, Role.CASEWORKER, Role.ADMIN},
    "report_attributes": {Role.EQUALITY},
    "read_monitoring": {Role.EQUALITY, Role.MODEL_OWNER, Role.AUDITOR, Role.ADMIN},
    "reset_monitoring": {Role.MODEL_OWNER, Role.ADMIN},
    "purge_attributes": {Role.EQUALITY, Role.ADMIN},
    "assess_case": DECIDERS,
    "request_advice": DECIDERS,
    "decide_case": DECIDERS | {Role.CALLER},
    "read_history": READERS,
    "record_notice": DECIDERS | {Role.REVIEWER},
    "read_explanation": READERS,
    "read_provenance": READERS,
    "write_notice": VOICES,
    "contest_decision": VOICES,
    "add_representation": VOICES,
    "review_decision": {Role.REVIEWER, Role.ADMIN},
    "take_case": DECIDERS,
    "release_case": DECIDERS | {Role.REVIEWER},
    "correct_case": VOICES,
    "list_decisions": READERS,
    "find_subject_decisions": READERS - {Role.CALLER},
    "read_reliance": {Role.REVIEWER, Role.MODEL_OWNER, Role.AUDITOR, Role.ADMIN},
    "list_stops": {*Role},
    "stop_advice": {Role.MODEL_OWNER, Role.ADMIN},
    "resume_advice": {Role.MODEL_OWNER, Role.ADMIN},
    "list_versions": LOOKERS,
    "list_stage_changes": LOOKERS,
    "compare_shadow": LOOKERS,
    "register_version": OWNERS,
    "change_stage": OWNERS,
    "change_policy": OWNERS,
    "roll_back": OWNERS,
    "list_contests": READERS - {Role.CALLER},
}
"""Written down apart from the code: a role that is let in by mistake fails here."""
PUBLIC = {"read_liveness", "read_readiness", "read_metrics"}
UNDOCUMENTED = {"/openapi.json", "/static"}
"""The contract itself and the style sheet: public, and not operations of the contract."""


@pytest.fixture(scope="module")
def decision(service: Started) -> str:
    """A decision that the caller's key asked for."""
    identifier: str = service.ask(tiny.NAME, tiny.CASE).json()["id"]
    return identifier


def call(service: Started, operation: Operation, decision: str, **more: Any) -> httpx.Response:
    response: httpx.Response = service.client.request(
        operation.method.upper(),
        operation.url(
            model=tiny.NAME,
            decision_id=decision,
            path="0/000.p/1",
            hold_id="00000000-0000-7000-8000-000000000000",
            number="1",
            run_id="none",
            verification_id="none",
        ),
        **{"json": {"case": tiny.CASE} if "requestBody" in operation.content else None, **more},
    )
    return response


def test_every_operation_is_in_the_matrix(service: Started) -> None:
    found = {operation.id for operation in operations(service.app.openapi())}
    assert found == {*MATRIX, *PUBLIC}


def test_every_role_may_do_exactly_what_the_matrix_says(service: Started, decision: str) -> None:
    for operation in operations(service.app.openapi()):
        allowed = MATRIX.get(operation.id, set(Role))
        for role in Role:
            response = call(service, operation, decision, headers=service.key(role))
            if role in allowed:
                # What it is asked may be nonsense to it; that it is asked at all is the claim.
                assert response.status_code not in (401, 403), (operation.id, role, response.text)
                assert not response.is_server_error, (operation.id, role, response.text)
            else:
                assert_problem(response, slug="forbidden", status=403)


def test_without_a_key_only_the_public_operations_answer(service: Started, decision: str) -> None:
    for operation in operations(service.app.openapi()):
        response = call(service, operation, decision)
        if operation.id in PUBLIC:
            assert response.is_success, operation.id
        else:
            assert_problem(response, slug="unauthenticated", status=401)


def test_nothing_of_a_body_is_read_before_the_key_is_good(service: Started, decision: str) -> None:
    body = {"json": None, "content": b'{"not": '}
    kind = {"Content-Type": "application/json"}
    for operation in operations(service.app.openapi()):
        if "requestBody" not in operation.content:
            continue
        response = call(service, operation, decision, headers=kind, **body)
        assert_problem(response, slug="unauthenticated", status=401)
        for role in set(Role) - MATRIX[operation.id]:
            headers = {**kind, **service.key(role)}
            response = call(service, operation, decision, headers=headers, **body)
            assert_problem(response, slug="forbidden", status=403)


def test_the_document_says_what_the_matrix_says(service: Started) -> None:
    for operation in operations(service.app.openapi()):
        roles = set(operation.content["x-roles"])
        assert roles == ({"public"} if operation.id in PUBLIC else MATRIX[operation.id])


def undeclared(app: FastAPI) -> list[str]:
    """Return the paths that say nothing of whom they admit."""
    routes = [*app.routes, *(route for router in ROUTERS for route in router.routes)]
    return sorted(
        route.path
        for route in routes
        if isinstance(route, Route | Mount)
        and route.path not in UNDOCUMENTED
        and not (isinstance(route, APIRoute) and (route.openapi_extra or {}).get("x-roles"))
    )


def test_every_path_says_whom_it_admits(service: Started) -> None:
    assert undeclared(service.app) == []
    # And every path there is was looked at: the application has no router but those listed.
    assert sum(type(route).__name__ == "_IncludedRouter" for route in service.app.routes) == len(
        ROUTERS
    )


def test_a_new_path_that_does_not_is_noticed() -> None:
    app = create_app(Settings())

    @app.get("/forgotten")
    def forgotten() -> None: ...

    assert undeclared(app) == ["/forgotten"]


def test_every_path_with_roles_asks_for_a_key_as_well() -> None:
    """``x-roles`` is written beside the check, and must not stand there without it."""
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            roles = (route.openapi_extra or {})["x-roles"]
            lean = type(route).__name__ == "LeanRoute"
            assert lean or bool(route.dependencies) == (roles != ["public"]), route.path


def test_a_session_opens_pages_only_and_a_key_the_api_only(service: Started, decision: str) -> None:
    session = service.session(Role.ADMIN)
    for operation in operations(service.app.openapi()):
        if operation.id not in PUBLIC:
            # A browser sends it along by itself, also with a form on another site.
            response = call(service, operation, decision, headers=session)
            assert_problem(response, slug="unauthenticated", status=401)
    page = f"/decisions/{decision}"
    assert service.client.get(page, headers=session).status_code == 200
    for header in (service.key(Role.ADMIN), basic(service.keys[Role.ADMIN]), {}):
        assert_problem(service.client.get(page, headers=header), slug="sign-in-needed", status=401)


def basic(key: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'anyone:{key}'.encode()).decode()}"}


def test_a_decision_of_another_caller_is_like_one_that_never_was(
    service: Started, decision: str
) -> None:
    store = KeyStore(service.settings.data_dir / "access.sqlite3")
    with closing(store):
        other = store.create(name="other", role=Role.CALLER, clock=utc_now)
    for path in (f"/v1/decisions/{decision}", f"/v1/decisions/{decision}/proof"):
        stranger = {"Authorization": f"Bearer {other}"}
        there = service.client.get(path, headers=stranger)
        nowhere = service.client.get(
            path.replace(decision, decision[:-4] + "0000"), headers=stranger
        )
        bodies = [
            assert_problem(response, slug="unknown-decision", status=404)
            for response in (there, nowhere)
        ]
        assert {**bodies[0], "request_id": ""} == {**bodies[1], "request_id": ""}
        assert service.client.get(path, headers=service.key(Role.CALLER)).status_code == 200


def test_a_revoked_key_ends_at_the_next_request(service: Started) -> None:
    with closing(KeyStore(service.settings.data_dir / "access.sqlite3")) as store:
        text = store.create(name="leaver", role=Role.CALLER, clock=utc_now)
        headers = {"Authorization": f"Bearer {text}"}
        assert service.client.get("/v1/models", headers=headers).status_code == 200
        store.revoke(text.split("_")[1], clock=utc_now)
        response = service.client.get("/v1/models", headers=headers)
    assert_problem(response, slug="unauthenticated", status=401)
    assert service.client.get("/v1/models", headers=service.key(Role.CALLER)).status_code == 200
