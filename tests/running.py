"""Small HTTP applications run on ports of their own, for what a service asks outside."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


@contextmanager
def running(
    app: ASGIApp, *, port: int = 0, http: type[asyncio.Protocol] = HttpToolsProtocol
) -> Iterator[str]:
    """Serve an application on a thread; yield its address."""
    server = uvicorn.Server(
        uvicorn.Config(app, port=port, http=http, log_level="critical", lifespan="off")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    taken = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{taken}"
    finally:
        server.should_exit = True
        thread.join()
