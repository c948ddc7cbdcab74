"""What the one hot route reads and writes, without the framework's general ways of doing so.

One pass over the headers, the body as it comes, and an answer whose headers are bytes already.
"""

import asyncio
import json
from dataclasses import dataclass

import orjson
from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from app.api.rules import faults_of_validation
from app.errors import BodyTooSlowError, InvalidJsonError, InvalidRequestError

JSON_TYPE = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class HotHeaders:
    """The headers that asking for a recommendation looks at; the guard lets in one of each at most."""

    authorization: str | None
    media_type: str
    idempotency_key: str | None
    is_coded: bool

    @classmethod
    def of(cls, request: Request) -> "HotHeaders":
        """Return those of a request."""
        authorization = key = None
        media_type = ""
        is_coded = False
        for name, value in request.scope["headers"]:
            if name == b"authorization":
                authorization = value.decode("latin-1")
            elif name == b"content-type":
                media_type = value.decode("latin-1").partition(";")[0].strip().lower()
            elif name == b"idempotency-key":
                key = value.decode("latin-1")
            elif name == b"content-encoding":
                is_coded = is_coded or not is_plain(value)
        return cls(authorization, media_type, key, is_coded)


def is_plain(coding: bytes) -> bool:
    """Return whether a ``Content-Encoding`` says that there is none."""
    return coding.strip().lower() in (b"", b"identity")


async def body_within(request: Request, seconds: float) -> bytes:
    """Return the whole body. Raises BodyTooSlowError, or ClientDisconnect when the client left."""
    receive = request.receive
    try:
        async with asyncio.timeout(seconds):
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                content: bytes = message.get("body", b"")
                return content
            chunks = []
            while message["type"] == "http.request":
                chunks.append(message.get("body", b""))
                if not message.get("more_body", False):
                    return b"".join(chunks)
                message = await receive()
            raise ClientDisconnect
    except TimeoutError as err:
        raise BodyTooSlowError(seconds=seconds) from err


def parse_body(content: bytes) -> object:
    """Return what a JSON body says. Raises InvalidJsonError or InvalidRequestError.

    orjson lets the last of two members with one name win, and another reader the first: such a body
    is refused. Every member has a colon of its own, so where there are no more colons than members
    were read, no member was lost; only a body with colons in its texts is looked at again.
    """
    try:
        body = orjson.loads(content)
        if content.count(b":") != _members(body):
            json.loads(content, object_pairs_hook=_unique)
    except orjson.JSONDecodeError as err:
        if "infinity" in err.msg:  # JSON has such numbers, and no machine number holds them
            detail = f"the number at line {err.lineno}, column {err.colno} is too large"
            fault = {"type": "number_too_large", "loc": ("body",)}
            raise InvalidRequestError(detail, faults_of_validation([fault])) from err
        # The parser's message has a place in the text and none of the text itself.
        raise InvalidJsonError(f"not valid JSON at line {err.lineno}, column {err.colno}") from err
    except RecursionError as err:
        raise InvalidRequestError("the body is nested deeper than any case is") from err
    return body


class Answer(Response):
    """A created decision."""

    def __init__(self, body: bytes, location: str) -> None:
        """``body`` is finished JSON."""
        self.body = body
        self.status_code = 201
        self.background = None
        self.raw_headers = [
            (b"location", location.encode("latin-1")),
            (b"content-length", b"%d" % len(body)),
            JSON_TYPE,
        ]


def _members(value: object) -> int:
    """Return how many members the objects at the places that a request has hold together."""
    if not isinstance(value, dict):
        return 0
    count = len(value)
    for inner in value.values():
        if isinstance(inner, dict):
            count += len(inner)
            for innermost in inner.values():
                if isinstance(innermost, dict):
                    count += len(innermost)
    return count


def _unique(pairs: list[tuple[str, object]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise InvalidRequestError("the body has two members of one name in one object")
