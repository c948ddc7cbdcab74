"""Whoever sends and sends and asks for nothing is let go, before it costs memory or time."""

import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app import short_heads
from app.short_heads import MOST_BYTES, ShortHeadsProtocol
from tests.running import running

PIECE = b"a" * 65_536
CHUNKED = b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


class Brief(ShortHeadsProtocol):
    """The same, but a connection idles for a moment only."""

    def __init__(self, *parts: Any, **named: Any) -> None:
        super().__init__(*parts, **named)
        self.timeout_keep_alive = 0.05  # type: ignore[assignment]  # a number of seconds


async def _echo(request: Request) -> Response:
    return Response(await request.body())


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running(
        Starlette(routes=[Route("/echo", _echo, methods=["GET", "POST"])]), http=ShortHeadsProtocol
    ) as found:
        yield found


def connected(address: str) -> socket.socket:
    parts = urlsplit(address)
    assert parts.hostname is not None
    return socket.create_connection((parts.hostname, parts.port or 0), timeout=10)


def is_let_go(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize(
    ("begun", "piece"),
    [
        (b"GET /", PIECE),
        (b"GET /echo HTTP/1.1\r\nHost: h\r\nA: ", PIECE),
        (b"GET /echo HTTP/1.1\r\nHost: h\r\n", b"a: b\r\n" * 10_000),
        (CHUNKED + b"0\r\nA: ", PIECE),
    ],
    ids=["address", "value", "headers", "trailer"],
)
def test_a_head_that_never_ends_is_not_collected(address: str, begun: bytes, piece: bytes) -> None:
    with connected(address) as connection:
        connection.sendall(begun)
        with pytest.raises(ConnectionError):
            connection.sendall(piece * 512)


@pytest.mark.parametrize(
    "asked",
    [
        b"GET /echo HTTP/1.1\r\nA: " + b"a" * (MOST_BYTES - 100) + b"\r\nConnection: close\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nConnection: close\r\nContent-Length: 8388608\r\n\r\n"
        + PIECE * 128,
        CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        + b"10000\r\n%b\r\n" % PIECE * 128
        + b"0\r\n\r\n",
    ],
    ids=["a long head", "a long body", "a long body in pieces"],
)
def test_what_is_long_and_whole_is_answered(address: str, asked: bytes) -> None:
    with connected(address) as connection:
        connection.sendall(asked)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert len(answer.partition(b"\r\n\r\n")[2]) == (0 if asked[:3] == b"GET" else 128 * 65_536)


def test_a_head_that_comes_too_slowly_is_not_waited_for(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(short_heads, "SECONDS", 0.05)
    with connected(address) as connection:
        connection.sendall(b"GET /echo HTTP/1.1\r\nA: ")
        assert is_let_go(connection)


def test_a_connection_that_asks_for_nothing_ends_as_an_idle_one() -> None:
    with running(Starlette(), http=Brief) as address, connected(address) as connection:
        assert is_let_go(connection)
