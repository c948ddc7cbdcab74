"""Schemathesis over the whole document, with the key of each role and with none.

Whatever is sent, within the document or beside it, is answered as the document says: status,
content type, headers and body. No 5xx: nothing that a stranger sends is the service's own failure.
"""

from collections.abc import Mapping
from typing import Any

import httpx
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api.batch_answer import NDJSON
from app.domain import Role
from app.main import create_app
from app.settings import Settings
from tests.started import Started

CONFIG = {
    "generation": {"max-examples": 12, "deterministic": True, "no-shrink": True},
    # Which fields a case has is the model's to say, so a body of the documented form may be refused.
    "checks": {
        "positive_data_acceptance": {
            "expected-statuses": ["2xx", "401", "403", "404", "409", "422"],
        },
        # It takes a key that was not made up by itself for one that is not valid.
        "ignored_auth": {"enabled": False},
    },
    # A body of lines is a text, and no text is against its schema: each line is judged alone.
    "operations": [
        {
            "include-operation-id": "create_decisions",
            "checks": {"negative_data_rejection": {"enabled": False}},
        }
    ],
}

# The document is the same whatever the settings: nothing is opened to make it.
document = schemathesis.openapi.from_dict(
    create_app(Settings()).openapi(), config=schemathesis.Config.from_dict(CONFIG)
)


@schemathesis.serializer(NDJSON)
def ndjson(_: object, value: object) -> bytes:
    """Send a made-up text as it is."""
    return str(value).encode(errors="replace")


@document.parametrize()
def test_every_answer_keeps_to_the_contract(case: Any, service: Started) -> None:
    for role in (*Role, None):
        response = sent(case, service, {} if role is None else service.key(role))
        assert response.status_code < 500, response.text
        roles = case.operation.definition.raw["x-roles"]
        assert not response.is_success or roles == ["public"] or role in roles
        case.validate_response(response)


def sent(case: Any, service: Started, key: Mapping[str, str]) -> httpx.Response:
    """Return the answer to what Schemathesis made up, sent byte for byte as it would send it."""
    asked = case.as_transport_kwargs(base_url="http://testserver", headers=dict(key))
    request = requests.Request(
        **{name: value for name, value in asked.items() if name != "timeout"}
    ).prepare()
    headers = {
        name: value if isinstance(value, bytes) else value.encode("latin-1")
        for name, value in request.headers.items()
    }
    response: httpx.Response = service.client.request(
        str(request.method), str(request.url), headers=headers, content=request.body
    )
    return response


@given(data=st.data())
@settings(
    max_examples=50,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whatever_fits_the_published_case_schema_is_answered(
    service: Started, data: st.DataObject
) -> None:
    described = service.client.get(
        "/v1/models/housing-support", headers=service.key(Role.CALLER)
    ).json()["case_schema"]
    case = data.draw(st.fixed_dictionaries(
        {name: values_of(schema) for name, schema in described["properties"].items()}
    ))  # fmt: skip
    answer = service.ask("housing-support", case)
    assert answer.status_code == 201, answer.text


def values_of(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Return the values that one property of a case schema allows."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    limits: dict[str, Any] = {
        "min_value": schema.get("minimum"),
        "max_value": schema.get("maximum"),
    }
    strategies = {
        "null": st.none(),
        "boolean": st.booleans(),
        "integer": st.integers(**limits),
        "number": st.floats(**limits, allow_nan=False, allow_infinity=False)
        | st.integers(**limits),
    }
    return st.one_of([strategies[kind] for kind in kinds])
