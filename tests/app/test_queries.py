"""A parameter that is given twice, or that the route does not take, is refused by name.

Of two filters only the last would count, and a misspelt ``disclose`` would disclose.
"""

import re

import pytest

from app.domain import Role
from tests.app import tiny
from tests.problems import assert_problem
from tests.started import Started


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/decisions?model=nope&model=tiny", "model"),
        ("/v1/decisions?limit=1&mine=true&limit=1", "limit"),
        ("/v1/decisions/{id}/evidence?disclose=false&disclose=true", "disclose"),
        ("/v1/decisions/{id}/notice?language=cy&%6canguage=en", "language"),
    ],
)
def test_a_parameter_given_twice_is_refused_by_name(service: Started, path: str, name: str) -> None:
    identifier = service.ask(tiny.NAME, tiny.CASE).json()["id"]
    before = service.parts.log.size
    refused = service.client.get(path.format(id=identifier), headers=service.key(Role.ADMIN))
    (fault,) = assert_problem(refused, slug="invalid-request", status=422)["errors"]
    assert (fault["field"], fault["code"]) == (f"query.{name}", "repeated")
    assert fault["allowed"] == "the parameter once"
    assert service.parts.log.size == before


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/decisions?modell=tiny", "modell"),
        ("/v1/decisions/{id}/evidence?disclosed=false", "disclosed"),
        ("/v1/decisions/{id}/notice?lang=cy", "lang"),
        ("/v1/decisions/{id}/proof?from=1", "from"),
        ("/v1/models/tiny/versions?stage=live", "stage"),
        ("/v1/models/tiny/stages?version=1", "version"),
        ("/v1/models/tiny/comparison?bundle={digest}&policy={digest}&version=1", "version"),
    ],
)
def test_a_parameter_that_the_route_does_not_take_is_refused_by_name(
    service: Started, path: str, name: str
) -> None:
    identifier = service.ask(tiny.NAME, tiny.CASE).json()["id"]
    before = service.parts.log.size
    address = path.format(id=identifier, digest="sha256:" + 64 * "0")
    refused = service.client.get(address, headers=service.key(Role.ADMIN))
    (fault,) = assert_problem(refused, slug="invalid-request", status=422)["errors"]
    assert (fault["field"], fault["code"]) == (f"query.{name}", "extra_forbidden")
    assert service.parts.log.size == before


def test_no_route_that_asks_for_a_key_ignores_a_parameter(service: Started) -> None:
    asked = 0
    for path, methods in service.app.openapi()["paths"].items():
        operation = methods.get("get", {"x-roles": ["public"]})
        if operation["x-roles"] == ["public"] or path.startswith("/log/"):
            continue  # the log's addresses are C2SP's
        role = Role(operation["x-roles"][0])
        address = re.sub(r"\{\w+\}", "1", path) + "?nobody-reads-it=1"
        refused = service.client.get(address, headers=service.key(role))
        (fault,) = assert_problem(refused, slug="invalid-request", status=422)["errors"]
        assert (path, fault["field"]) == (path, "query.nobody-reads-it")
        asked += 1
    assert asked > 20


def test_who_may_not_ask_learns_nothing_of_parameters(service: Started) -> None:
    path = "/v1/decisions?limit=1&limit=2"
    assert service.client.get(path).status_code == 401
    assert service.client.get(path, headers=service.key(Role.EQUALITY)).status_code == 403


def test_no_parameter_of_an_address_is_a_list(service: Started) -> None:
    taken = [
        parameter
        for methods in service.app.openapi()["paths"].values()
        for operation in methods.values()
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "query"
    ]
    assert len(taken) > 10
    for parameter in taken:
        assert '"array"' not in str(parameter["schema"]).replace("'", '"'), parameter["name"]
