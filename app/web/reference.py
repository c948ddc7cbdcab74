"""The OpenAPI document as something to read: one entry for each operation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation as the reference page shows it."""

    anchor: str
    method: str
    path: str
    summary: str
    description: str
    roles: str
    request_example: str | None
    responses: list[tuple[str, str]]
    response_example: str | None


def operations(document: Mapping[str, Any]) -> list[Operation]:
    """Return every operation of an OpenAPI document in its order."""
    return [
        Operation(
            anchor=operation["operationId"],
            method=method.upper(),
            path=path,
            summary=operation["summary"],
            description=operation.get("description", ""),
            roles=", ".join(operation["x-roles"]),
            request_example=_example(operation.get("requestBody", {})),
            responses=[
                (status, response["description"])
                for status, response in operation["responses"].items()
            ],
            response_example=next(
                (
                    _example(response)
                    for status, response in operation["responses"].items()
                    if status.startswith("2")
                ),
                None,
            ),
        )
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def _example(part: Mapping[str, Any]) -> str | None:
    for content in part.get("content", {}).values():
        if "example" in content:
            example = content["example"]
            if isinstance(example, str):
                return example
            return orjson.dumps(example, option=orjson.OPT_INDENT_2).decode()
    return None
