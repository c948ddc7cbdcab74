"""Taking in connections: a burst of clients, and an address that is not to be had."""

import asyncio
import resource
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvloop

from app import server
from app.server import (
    ACCEPTED_A_TURN,
    KEEP_ALIVE_SECONDS,
    MOST_FILES,
    allow_many_files,
    bound,
)
from app.settings import Settings
from tests.service import ServiceProcess

CLIENTS = 64


class _Counting(asyncio.Protocol):
    def __init__(self, made: list[int], turns: list[int]) -> None:
        self._made, self._turns = made, turns

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._made.append(len(self._turns))
        transport.close()


async def _turns_until_all_are_in(sockets: list[socket.socket]) -> int:
    """Return how many turns of a busy event loop a burst of clients waits for."""
    loop = asyncio.get_running_loop()
    turns: list[int] = []
    made: list[int] = []
    servers = [
        await loop.create_server(lambda: _Counting(made, turns), sock=sock, backlog=CLIENTS)
        for sock in sockets
    ]
    address = sockets[0].getsockname()
    clients = [socket.create_connection(address) for _ in range(CLIENTS)]
    while len(made) < CLIENTS:
        turns.append(1)
        time.sleep(0.001)  # noqa: ASYNC251  # the work of a turn
        await asyncio.sleep(0)
    for client in clients:
        client.close()
    for each in servers:
        each.close()
    await asyncio.gather(*(each.wait_closed() for each in servers))
    return made[-1] - made[0]


def _run(sockets: list[socket.socket]) -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_turns_until_all_are_in(sockets))


def test_a_burst_of_clients_does_not_wait_for_a_turn_each() -> None:
    sockets = bound("127.0.0.1", 0)
    assert _run(sockets) <= 2 * CLIENTS // ACCEPTED_A_TURN
    (alone, *others) = bound("127.0.0.1", 0)
    for each in others:
        each.close()
    assert _run([alone]) > 2 * CLIENTS // ACCEPTED_A_TURN, (
        "one socket is enough by now: delete this"
    )


def test_nothing_listens_before_the_service_is_ready() -> None:
    (first, *_) = sockets = bound("127.0.0.1", 0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(first.getsockname())
    for each in sockets:
        each.close()


def test_an_idle_connection_outlasts_a_callers_pause(tiny_models: Path, tmp_path: Path) -> None:
    """Uvicorn's own five seconds end a connection while its next request is under way."""
    settings = Settings(models_dir=tiny_models, data_dir=tmp_path / "data")
    with ServiceProcess(settings) as service:
        address = urlsplit(service.address)
        assert address.hostname is not None
        with socket.create_connection((address.hostname, address.port or 0), timeout=10) as caller:
            for pause in (0.0, 6.0):
                time.sleep(pause)
                caller.sendall(b"GET /health/live HTTP/1.1\r\nHost: h\r\n\r\n")
                assert caller.recv(65_536).startswith(b"HTTP/1.1 200 ")
    assert KEEP_ALIVE_SECONDS > 60, "load balancers keep theirs that long"


def test_an_address_in_use_is_said_before_anything_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server, "configure_logs", lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(
            port=taken.getsockname()[1], data_dir=tmp_path / "data", models_dir=tmp_path / "models"
        )
        assert server.run(settings) == server.STARTUP_FAILED
    assert "cannot listen" in capsys.readouterr().out
    assert not (tmp_path / "data").exists()


def test_a_crowd_of_idle_connections_leaves_files_for_the_log() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        allow_many_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
