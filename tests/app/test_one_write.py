"""Answers' heads and bodies, joined: the same bytes as uvicorn's own, in fewer writes."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.one_write import JoiningTransport
from app.short_heads import ShortHeadsProtocol
from tests.running import running

ONCE = b"Host: h\r\nConnection: close\r\n\r\n"
REQUESTS = {
    "a body": b"GET /text HTTP/1.1\r\n" + ONCE,
    "the head alone": b"HEAD /text HTTP/1.1\r\n" + ONCE,
    "no content": b"GET /nothing HTTP/1.1\r\n" + ONCE,
    "not modified": b"GET /unchanged HTTP/1.1\r\n" + ONCE,
    "an empty body": b"GET /empty HTTP/1.1\r\n" + ONCE,
    "a stream": b"GET /stream HTTP/1.1\r\n" + ONCE,
    "a body that looks like a head": b"GET /like HTTP/1.1\r\n" + ONCE,
    "a fault": b"GET /fault HTTP/1.1\r\n" + ONCE,
    "a fault in the middle": b"GET /broken HTTP/1.1\r\n" + ONCE,
    "no such page": b"GET /none HTTP/1.1\r\n" + ONCE,
    "no request": b"nonsense\r\n\r\n",
    "asked to go on": b"POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n" + ONCE + b"ab",
    "one after the other": b"GET /text HTTP/1.1\r\nHost: h\r\n\r\n"
    b"HEAD /text HTTP/1.1\r\nHost: h\r\n\r\n"
    b"GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n"
    b"GET /stream HTTP/1.1\r\n" + ONCE,
}  # fmt: skip


async def _text(_request: Request) -> Response:
    return PlainTextResponse("an answer")


async def _nothing(_request: Request) -> Response:
    return Response(status_code=204)


async def _unchanged(_request: Request) -> Response:
    return Response(status_code=304)


async def _empty(_request: Request) -> Response:
    return Response(b"")


async def _like(_request: Request) -> Response:
    return _stream_of([b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 ", b""])


async def _stream(_request: Request) -> Response:
    return _stream_of([b"one", b"two", b"HTTP/1.1 three"])


async def _fault(_request: Request) -> Response:
    raise RuntimeError


async def _broken(_request: Request) -> Response:
    return StreamingResponse(_failing())


async def _echo(request: Request) -> Response:
    return Response(await request.body())


async def _failing() -> AsyncIterator[bytes]:
    yield b"begun"
    raise RuntimeError


def _stream_of(chunks: Iterable[bytes]) -> Response:
    async def made() -> AsyncIterator[bytes]:
        for chunk in chunks:
            await asyncio.sleep(0)
            yield chunk

    return StreamingResponse(made())


APP = Starlette(
    routes=[
        Route(f"/{each.__name__[1:]}", each, methods=["GET", "POST"])
        for each in (
            _text, _nothing, _unchanged, _empty, _like, _stream, _fault, _broken, _echo,
        )
    ]
)  # fmt: skip


@pytest.fixture(scope="module")
def addresses() -> Iterator[tuple[str, str]]:
    """Uvicorn's own protocol, and that of the service."""
    with (
        running(APP, http=HttpToolsProtocol) as own,
        running(APP, http=ShortHeadsProtocol) as joined,
    ):
        yield own, joined


@pytest.mark.parametrize("asked", REQUESTS.values(), ids=REQUESTS)
def test_every_answer_has_the_bytes_that_it_had(asked: bytes, addresses: tuple[str, str]) -> None:
    own, joined = (_answered(address, asked) for address in addresses)
    assert own.startswith(b"HTTP/1.1 ")
    assert own == joined


def _answered(address: str, asked: bytes) -> bytes:
    parts = urlsplit(address)
    assert parts.hostname is not None
    with socket.create_connection((parts.hostname, parts.port or 0), timeout=10) as connection:
        connection.sendall(asked)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    return re.sub(rb"date: [^\r]*", b"date: then", answer)


class _Written:
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, content: bytes) -> None:
        self.writes.append(content)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def _joining() -> tuple[JoiningTransport, Any]:
    written: Any = _Written()
    return JoiningTransport(written), written


def test_a_head_goes_with_its_body() -> None:
    transport, written = _joining()
    transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
    assert written.writes == []
    transport.write(b"body")
    transport.write(b"more")
    assert written.writes == [b"HTTP/1.1 200 OK\r\n\r\nbody", b"more"]


def test_an_interim_answer_does_not_wait() -> None:
    transport, written = _joining()
    transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert written.writes == [b"HTTP/1.1 100 Continue\r\n\r\n"]


def test_a_head_alone_goes_when_the_answer_or_the_connection_ends() -> None:
    transport, written = _joining()
    transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    transport.flush()
    transport.flush()
    transport.write(b"HTTP/1.1 304 Not Modified\r\n\r\n")
    transport.close()
    assert written.writes == [
        b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\n\r\n",
    ]  # fmt: skip
    assert transport.is_closing()
