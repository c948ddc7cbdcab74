"""Schemathesis over the whole document, with the key of each role and with none.

Whatever is sent, within the document or beside it, is answered as the document says: status,
content type, headers and body. No 5xx: nothing that a stranger sends is the service's own failure.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.python.asgi import shutdown_lifespans

from app.domain import Role
from app.main import create_app
from app.settings import Settings
from tests.started import Started, make_keys

EXAMPLES = 12
CONFIG = {
    "generation": {"max-examples": EXAMPLES, "deterministic": True, "no-shrink": True},
    # Which fields a case has is the model's to say, so a body of the documented form may be refused.
    "checks": {
        "positive_data_acceptance": {
            "expected-statuses": ["2xx", "401", "403", "404", "409", "422"],
        },
    },
}


@pytest.fixture(scope="session")
def settings_of_api(demo_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(models_dir=demo_models, data_dir=tmp_path_factory.mktemp("fuzz") / "data")


@pytest.fixture(scope="session")
def keys_of_api(settings_of_api: Settings) -> dict[Role, str]:
    return make_keys(settings_of_api)


@pytest.fixture(scope="session")
def api(settings_of_api: Settings) -> Iterator[Any]:
    """The application as Schemathesis knows it: started by it, with a log of its own."""
    yield schemathesis.openapi.from_asgi(
        "/openapi.json",
        create_app(settings_of_api),
        config=schemathesis.Config.from_dict(CONFIG),
    )
    shutdown_lifespans()


fuzzed = schemathesis.pytest.from_fixture("api")


@fuzzed.parametrize()
def test_every_answer_keeps_to_the_contract(case: Any, keys_of_api: Mapping[Role, str]) -> None:
    for role in (*Role, None):
        headers = {} if role is None else {"Authorization": f"Bearer {keys_of_api[role]}"}
        response = case.call(headers=headers)
        assert response.status_code < 500, response.text
        case.validate_response(response)


@given(data=st.data())
@settings(
    max_examples=50,
    derandomize=True,
    deadline=None,
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
    limits = {"min_value": schema.get("minimum"), "max_value": schema.get("maximum")}
    strategies = {
        "null": st.none(),
        "boolean": st.booleans(),
        "integer": st.integers(**limits),
        "number": st.floats(**limits, allow_nan=False, allow_infinity=False)
        | st.integers(**limits),
    }
    return st.one_of([strategies[kind] for kind in kinds])
