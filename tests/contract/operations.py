"""The OpenAPI document taken apart, so that a test can ask about each piece of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema_rs
from jsonschema_rs import Draft202012Validator

METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    content: Mapping[str, Any]

    @property
    def id(self) -> str:
        name: str = self.content["operationId"]
        return name

    def url(self, **values: str) -> str:
        return self.path.format(**values)

    def examples(self) -> Iterator[tuple[str, str, Any, dict[str, Any]]]:
        """Return (place, media type, example, schema) for each example of body and responses."""
        parts = {
            f"response {status}": response for status, response in self.content["responses"].items()
        }
        if "requestBody" in self.content:
            parts["request"] = self.content["requestBody"]
        for place, part in parts.items():
            for media_type, media in part.get("content", {}).items():
                if "example" in media:
                    yield place, media_type, media["example"], media["schema"]
                for named in media.get("examples", {}).values():
                    yield place, media_type, named["value"], media["schema"]


def operations(document: Mapping[str, Any]) -> list[Operation]:
    """Return every operation of a document."""
    return [
        Operation(method, path, content)
        for path, methods in document["paths"].items()
        for method, content in methods.items()
        if method in METHODS
    ]


def validator(document: Mapping[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    """Return a validator of one schema of the document, which may refer to the others."""
    jsonschema_rs.meta.validate(schema)
    return Draft202012Validator({**schema, "components": document["components"]})
