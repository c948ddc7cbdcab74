"""The OpenAPI document's recurring parts: problem responses, and the document itself."""

from collections.abc import Mapping
from typing import Any

from app import errors
from app.api import schemas
from app.api.problems import MEDIA_TYPE


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


def with_problem_schema(document: dict[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI document with the shapes that only problems use."""
    shapes = document.setdefault("components", {}).setdefault("schemas", {})
    problem = schemas.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    shapes.update(problem.pop("$defs", {}))
    shapes["Problem"] = problem
    return document
