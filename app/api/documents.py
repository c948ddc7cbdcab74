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
    parameter a 422 of its own form, though all errors here are problems.
    """
    by_id = {route.operation_id: route for route in routes if isinstance(route, APIRoute)}
    for methods in document["paths"].values():
        for operation in methods.values():
            route = by_id[operation["operationId"]]
            declared = route.responses
            asked = (route.openapi_extra or {}).get("requestBody", {}).get("content", {})
            for media_type, media in asked.items():
                if "example" in media:
                    content = operation["requestBody"]["content"]
                    content[media_type]["example"] = deepcopy(media["example"])
            if not {422, "422"} & set(declared):
                operation["responses"].pop("422", None)
            for status, response in declared.items():
                content = operation["responses"][str(status)].get("content", {})
                for media_type, media in response.get("content", {}).items():
                    if "example" in media:
                        content[media_type]["example"] = deepcopy(media["example"])
    shapes = document.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        shapes.pop(unused, None)
    _add_shapes(shapes)
    return document


def _add_shapes(shapes: dict[str, Any]) -> None:
    """Describe what no route has for its type: any route's problem, and the lines of a text."""
    for shape in (schemas.Problem, batch_schemas.BatchLine, batch_schemas.BatchResult):
        described = shape.model_json_schema(ref_template="#/components/schemas/{model}")
        for name, part in described.pop("$defs", {}).items():
            shapes.setdefault(name, part)
        shapes[shape.__name__] = described
