"""The OpenAPI document's recurring parts: problem responses, and the document itself."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from app import errors
from app.api import batch_schemas, schemas
from app.api.problems import MEDIA_TYPE

JSON = "application/json"
TAGS = [
    {
        "name": "decisions",
        "description": "Ask for advice on cases, and read what was advised and why.",
    },
    {
        "name": "caseworker",
        "description": "What a person does with the advice, from taking a case to the letter.",
    },
    {
        "name": "contests",
        "description": "What the person affected says against a decision, and its review.",
    },
    {"name": "models", "description": "The models that advise, and what is published about them."},
    {
        "name": "versions",
        "description": "Which version of a model advises: registered, staged, live or taken back.",
    },
    {"name": "stops", "description": "Stop advice at once, and let it go on."},
    {
        "name": "monitoring",
        "description": "Whether a model is fair, fits today's cases and is relied on as it should be.",
    },
    {
        "name": "log",
        "description": "Proofs, evidence, verification and replay: what an auditor asks for.",
    },
    {"name": "erasure", "description": "Erase personal data, or keep it from being erased."},
    {"name": "operation", "description": "Is it up, and how is it doing. No key is asked for."},
]
"""In the order of a case's life, which is the order that the reference has them in."""
_UNSAID = "Successful Response"
"""How FastAPI describes an answer of which the route says nothing."""


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route that may answer with these problems."""
    return {status: _problem_response(status) for status in statuses}


def _problem_response(status: int) -> dict[str, Any]:
    kinds = [kind for kind in errors.ALL_PROBLEM_TYPES if kind.status == status]
    return {
        "description": "; ".join(kind.title for kind in kinds),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {kind.slug: {"value": _example(kind)} for kind in kinds},
            }
        },
    }


def _example(kind: errors.ProblemType) -> Mapping[str, object]:
    return errors.problem(
        kind, detail=kind.title, request_id="019a9f3e-5c1d-7000-8000-000000000000"
    )


def completed(document: dict[str, Any], routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """Return FastAPI's document of these routes, mended to say what the service does.

    FastAPI drops every null, though one in an example is part of it, and gives each path with a
    parameter a 422 of its own form, though all errors here are problems. What a route says nothing of is
    described by its shape, and no key is asked for where none is wanted.
    """
    shapes = document.setdefault("components", {}).setdefault("schemas", {})
    by_id = {route.operation_id: route for route in routes if isinstance(route, APIRoute)}
    for methods in document["paths"].values():
        for operation in methods.values():
            _complete(operation, by_id[operation["operationId"]], shapes)
    for unused in ("HTTPValidationError", "ValidationError"):
        shapes.pop(unused, None)
    _add_shapes(shapes)
    return document


def _complete(operation: dict[str, Any], route: APIRoute, shapes: Mapping[str, Any]) -> None:
    operation.setdefault("security", [])
    responses = operation["responses"]
    if not {422, "422"} & set(route.responses):
        responses.pop("422", None)
    for response in responses.values():
        if response["description"] == _UNSAID:
            shape = response["content"][JSON]["schema"]["$ref"].rpartition("/")[2]
            response["description"] = shapes[shape]["description"]
    _copy_examples(
        (route.openapi_extra or {}).get("requestBody", {}), operation.get("requestBody", {})
    )
    for status, response in route.responses.items():
        _copy_examples(response, responses[str(status)])


def _copy_examples(told: Mapping[str, Any], shown: Mapping[str, Any]) -> None:
    for media_type, media in told.get("content", {}).items():
        if "example" in media:
            shown["content"][media_type]["example"] = deepcopy(media["example"])


def _add_shapes(shapes: dict[str, Any]) -> None:
    """Describe what no route has for its type: any route's problem, and the lines of a text."""
    for shape in (schemas.Problem, batch_schemas.BatchLine, batch_schemas.BatchResult):
        described = shape.model_json_schema(ref_template="#/components/schemas/{model}")
        for name, part in described.pop("$defs", {}).items():
            shapes.setdefault(name, part)
        shapes[shape.__name__] = described
