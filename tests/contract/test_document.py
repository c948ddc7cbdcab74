"""The OpenAPI document is whole, valid, the same as the file, and its examples are true."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema_rs import ValidationError
from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from openapi_spec_validator.validation.exceptions import OpenAPIValidationError

from app.api import examples, schemas
from app.api.batch_answer import NDJSON
from app.api.case_steps import REASON
from app.api.replays import RUN_REPORT
from app.bundle_store import store_of
from app.domain import Role
from app.main import create_app
from app.settings import Settings
from models.demo.cases import DEMO_CASES
from tests.conftest import POLICY
from tests.contract.operations import Operation, operations, validator
from tests.problems import KINDS
from tests.started import Started

PATHS = {
    "/v1/models",
    "/v1/models/{model}",
    "/v1/models/{model}/decisions",
    "/v1/models/{model}/decisions/batch",
    "/v1/decisions/{decision_id}",
    "/v1/decisions/{decision_id}/proof",
    "/v1/decisions/{decision_id}/replay",
    "/v1/audit/checkpoint",
    "/health/live",
    "/health/ready",
    "/metrics",
}
STEPS: dict[str, dict[str, Any]] = {
    "caseworker-decision": {"outcome": "priority", "reason": REASON},
    "contest": {"text": "This is not so."},
    "take": {},
}
BEFORE = {
    "contest_decision": ("caseworker-decision",),
    "add_representation": ("caseworker-decision", "contest"),
    "review_decision": ("caseworker-decision", "contest"),
    "release_case": ("take",),
}
"""What has to have happened to a case before an operation on it can succeed."""
FILE = Path(__file__).resolve().parents[2] / "openapi" / "openapi.yaml"


def test_the_file_is_what_the_service_serves(document: dict[str, Any]) -> None:
    written = yaml.safe_load(FILE.read_text())
    assert written == document, "run `make openapi`"


def test_the_document_is_the_same_however_often_it_is_made(document: dict[str, Any]) -> None:
    app = create_app(Settings())
    assert app.openapi() == document
    assert app.openapi() == document


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    validate(document, cls=OpenAPIV31SpecValidator)


def test_a_broken_document_is_noticed(document: dict[str, Any]) -> None:
    broken = copy.deepcopy(document)
    broken["paths"]["/v1/models"]["get"]["parameters"] = [{"name": "x", "in": "nowhere"}]
    with pytest.raises(OpenAPIValidationError):
        validate(broken, cls=OpenAPIV31SpecValidator)


def test_every_operation_says_what_it_is_and_whom_it_admits(document: dict[str, Any]) -> None:
    found = operations(document)
    assert {operation.path for operation in found} >= PATHS
    assert len({operation.id for operation in found}) == len(found)
    known = {"public", *Role}
    for operation in found:
        roles = operation.content["x-roles"]
        assert operation.content["summary"], operation.id
        assert roles, operation.id
        assert set(roles) <= known, operation.id
        key: list[dict[str, list[str]]] = [] if roles == ["public"] else [{"key": []}]
        assert operation.content["security"] == key, operation.id
        assert ("401" in operation.content["responses"]) == (roles != ["public"]), operation.id


def test_every_operation_is_of_a_tag_that_is_described_and_says_what_it_answers(
    document: dict[str, Any],
) -> None:
    used = set()
    for operation in operations(document):
        (tag,) = operation.content["tags"]
        used.add(tag)
        for response in operation.content["responses"].values():
            assert response["description"] != "Successful Response", operation.id
    tags = {tag["name"]: tag["description"] for tag in document["tags"]}
    assert tags.keys() == used
    assert all(description.endswith(".") for description in tags.values())


def test_every_success_and_every_request_body_has_an_example(document: dict[str, Any]) -> None:
    for operation in operations(document):
        placed = {(place, media) for place, media, _, _ in operation.examples()}
        success = [status for status in operation.content["responses"] if status < "300"]
        assert len(success) == 1, operation.id
        for media in operation.content["responses"][success[0]]["content"]:
            assert (f"response {success[0]}", media) in placed, operation.id
        for media in operation.content.get("requestBody", {}).get("content", {}):
            assert ("request", media) in placed, operation.id


def test_every_example_is_of_its_schema(document: dict[str, Any]) -> None:
    checked = 0
    for operation in operations(document):
        for place, _, example, schema in operation.examples():
            try:
                validator(document, schema).validate(example)
            except ValidationError as err:
                raise AssertionError(f"{operation.id}, {place}: {err.message}") from err
            checked += 1
    assert checked > 50


def test_an_example_that_lacks_a_null_is_noticed(document: dict[str, Any]) -> None:
    (decide,) = (each for each in operations(document) if each.id == "create_decision")
    ((_, _, example, schema),) = (each for each in decide.examples() if each[0] == "response 201")
    lacking = copy.deepcopy(example)
    del lacking["explanation"]["evaluations"]
    with pytest.raises(ValidationError, match='"evaluations" is a required property'):
        validator(document, document["components"]["schemas"]["Decision"]).validate(lacking)
    with pytest.raises(ValidationError):
        validator(document, schema).validate(lacking)


def test_every_error_is_a_problem_and_names_only_kinds_of_that_status(
    document: dict[str, Any],
) -> None:
    for operation in operations(document):
        for status, response in operation.content["responses"].items():
            if status < "400" or (operation.id, status) == ("read_readiness", "503"):
                continue
            media = response["content"]["application/problem+json"]
            assert set(response["content"]) == {"application/problem+json"}, operation.id
            assert media["schema"] == {"$ref": "#/components/schemas/Problem"}, operation.id
            assert media["examples"], operation.id
            for slug in media["examples"]:
                assert str(KINDS[slug].status) == status, operation.id


def test_the_request_example_is_answered(service: Started, document: dict[str, Any]) -> None:
    (decide,) = (each for each in operations(document) if each.id == "create_decision")
    ((_, _, example, _),) = (each for each in decide.examples() if each[0] == "request")
    model = decide.content["parameters"][0]["example"]
    answer = service.ask(model, example["case"], subject=example["subject"])
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("name", DEMO_CASES)
def test_the_hot_route_writes_exactly_the_documented_shape(service: Started, name: str) -> None:
    answer = service.ask("housing-support", DEMO_CASES[name])
    decision = schemas.Decision.model_validate_json(answer.content, strict=True)
    # Every member that the schema has, in its order, and no other: nothing was left to a default.
    assert decision.model_dump(by_alias=True) == answer.json()
    assert _members(decision.model_dump(by_alias=True)) == _members(answer.json())


def test_a_member_more_or_less_is_noticed(service: Started) -> None:
    answer = service.ask("housing-support", DEMO_CASES["close-call"]).json()
    with pytest.raises(ValueError, match="extra_forbidden"):
        schemas.Decision.model_validate({**answer, "hint": 1})
    del answer["explanation"]["background"]["rows"]
    with pytest.raises(ValueError, match=r"explanation\.background\.rows"):
        schemas.Decision.model_validate(answer)


def test_every_answer_is_of_the_schema_in_the_document(
    service: Started, document: dict[str, Any]
) -> None:
    admin = service.key(Role.ADMIN)
    for operation in operations(document):
        if operation.id == "report_attributes":
            continue  # needs a model with a monitoring.yaml: tests/monitoring has one
        # A decision and a hold of its own: some operations erase the one and lift the other.
        identifier = service.ask("housing-support", DEMO_CASES["close-call"]).json()["id"]
        held = service.client.post(
            f"/v1/decisions/{identifier}/hold", json={"basis": "b"}, headers=admin
        ).json()["id"]
        if operation.id == "erase_decision":
            service.client.post(f"/v1/holds/{held}/lift", json={"basis": "b"}, headers=admin)
        values = {
            "model": "housing-support", "decision_id": identifier, "slug": "invalid-case",
            "hold_id": held, "path": "0/000.p/1", "number": "0",
        }  # fmt: skip
        for step in BEFORE.get(operation.id, ()):
            service.client.post(
                f"/v1/decisions/{identifier}/{step}",
                json=STEPS[step],
                headers=service.key(Role.CASEWORKER),
            )
        values |= made_for(service, operation.id, admin)
        body = next((each[2] for each in operation.examples() if each[0] == "request"), None)
        if operation.id == "record_notice":
            # What weighs differs from case to case; a letter that names every field names that too.
            fields = service.parts.served["housing-support"].bundle.card.fields
            body = {**(body or {}), "text": ", ".join(field.label for field in fields)}
        if operation.id == "record_replays":
            body = run_of(service)
        body = version_asked(service, operation.id) or body
        (status,) = (each for each in operation.content["responses"] if each < "300")
        answer = service.client.request(
            operation.method.upper(),
            operation.url(**values),
            **sent(operation, body, service.key(Role.ADMIN)),
            params=asked_of(service, operation.id),
        )
        service.resume_all()
        assert str(answer.status_code) == status, operation.id
        documented = operation.content["responses"][status]
        media = answer.headers["content-type"].partition(";")[0]
        schema = documented["content"][media]["schema"]
        content = answer.json() if media == "application/json" else answer.text
        validator(document, schema).validate(content)
        for name, header in documented.get("headers", {}).items():
            assert name in answer.headers or not header.get("required"), (operation.id, name)


def made_for(service: Started, operation: str, key: dict[str, str]) -> dict[str, str]:
    """Make what an operation is about, and return where it is."""
    if operation == "resume_advice":
        body = {"model": None, "reason": "A test."}
        stops = service.client.post("/v1/stop", json=body, headers=key).json()["stops"]
        return {"number": str(stops[-1]["number"])}
    if operation == "read_replays":
        run = service.client.post("/v1/replays", json=run_of(service), headers=key)
        return {"run_id": run.json()["id"]}
    if operation == "read_verification":
        begun = service.client.post("/v1/log/verifications", headers=key)
        return {"verification_id": begun.json()["id"]}
    return {}


def run_of(service: Started) -> dict[str, Any]:
    """Return the example of a run's report, as if it were about this service's log."""
    log = service.parts.log
    size = log.size
    return {
        **RUN_REPORT,
        "log": {"origin": log.origin, "size": size, "root": log.root(size).hex()},
        "selection": {**RUN_REPORT["selection"], "stop": size},
    }


def sent(operation: Operation, body: Any, key: dict[str, str]) -> dict[str, Any]:
    """Return how a client sends a body."""
    if NDJSON in operation.content.get("requestBody", {}).get("content", {}):
        return {"content": body, "headers": {"Content-Type": NDJSON, **key}}
    return {"json": body, "headers": key}


def test_every_line_of_a_batch_and_of_its_answer_is_of_its_schema(
    service: Started, document: dict[str, Any]
) -> None:
    def shape(name: str) -> Any:
        return validator(document, {"$ref": f"#/components/schemas/{name}"})

    lines = examples.BATCH_LINES.splitlines()
    for line in lines:
        shape("BatchLine").validate(json.loads(line))
    for line in examples.BATCH_RESULTS.splitlines():
        shape("BatchResult").validate(json.loads(line))
    answer = service.client.post(
        "/v1/models/housing-support/decisions/batch",
        content="\n".join([*lines, "{"]),
        headers={"Content-Type": NDJSON, **service.key(Role.CALLER)},
    )
    results = [json.loads(line) for line in answer.text.splitlines()]
    assert [result["status"] for result in results] == [*(201 for _ in lines), 400]
    for result in results:
        shape("BatchResult").validate(result)
    with pytest.raises(ValidationError):
        shape("BatchResult").validate({**results[0], "status": 200})


def asked_of(service: Started, operation: str) -> dict[str, str] | None:
    """Return the query of a call that needs one."""
    live = service.parts.served["housing-support"]
    version = {"bundle": live.bundle.digest, "policy": live.policy_digest}
    return version if operation == "compare_shadow" else None


def version_asked(service: Started, operation: str) -> dict[str, str] | None:
    """Return the body of a call about a version: the demonstration under other policies."""
    store = store_of(service.settings)
    live = service.parts.served["housing-support"]
    policies = {}
    for version in ("registered", "changed"):
        path = service.settings.data_dir / f"{version}.yaml"
        path.write_text(POLICY.read_text().replace('version: "2026-11"', f"version: {version}"))
        policies[version] = store.submit_policy(path).digest
    registered = {"bundle": live.bundle.digest, "policy": policies["registered"]}
    reason = {"reason": "A test."}
    bodies: dict[str, dict[str, str]] = {
        "register_version": {**registered, **reason},
        "change_stage": {**registered, **reason, "stage": "retired"},
        "change_policy": {"policy": policies["changed"], **reason},
        "roll_back": reason,
    }
    return bodies.get(operation)


def _members(value: Any) -> Any:
    if isinstance(value, dict):
        return [(name, _members(member)) for name, member in value.items()]
    return [_members(each) for each in value] if isinstance(value, list) else None
