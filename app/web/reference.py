"""The OpenAPI document as something to read: a part for each tag, an entry for each operation."""

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


@dataclass(frozen=True, slots=True)
class Part:
    """The operations of one tag."""

    name: str
    description: str
    operations: list[Operation]


def parts(document: Mapping[str, Any]) -> list[Part]:
    """Return every operation of an OpenAPI document, by its tags and in its order."""
    return [
        Part(
            tag["name"],
            tag["description"],
            [
                _shown(path, method, operation)
                for path, methods in document["paths"].items()
                for method, operation in methods.items()
                if operation["tags"] == [tag["name"]]
            ],
        )
        for tag in document["tags"]
    ]


def _shown(path: str, method: str, operation: Mapping[str, Any]) -> Operation:
    responses = operation["responses"]
    return Operation(
        anchor=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        description=operation.get("description", ""),
        roles=", ".join(operation["x-roles"]),
        request_example=_example(operation.get("requestBody", {})),
        responses=[(status, response["description"]) for status, response in responses.items()],
        response_example=next(
            (_example(responses[status]) for status in responses if status.startswith("2")), None
        ),
    )


def _example(part: Mapping[str, Any]) -> str | None:
    for content in part.get("content", {}).values():
        if "example" in content:
            example = content["example"]
            if isinstance(example, str):
                return example
            return orjson.dumps(example, option=orjson.OPT_INDENT_2).decode()
    return None
