"""The service as a process of its own, for tests that kill it or load it.

Each is forked from a process that has loaded everything once, so that a test can start the service
fifty times: what runs is ``app.server.run``, as ``grounds serve`` does.
"""

import os
import signal
import socket
import sys
import time
from pathlib import Path
from types import TracebackType

import httpx

from app.settings import Settings
from tests.forked import forks

START_SECONDS = 300
STOP_SECONDS = 60


class ServiceProcess:
    """A service on a port of its own; use as a context manager."""

    def __init__(self, settings: Settings) -> None:
        self._reserved = reserved_port()
        self.port = port_of(self._reserved)
        self.address = f"http://127.0.0.1:{self.port}"
        self._log = settings.data_dir.parent / "service.log"
        self._process = forks.Process(
            target=_serve, args=(settings.model_copy(update={"port": self.port}), self._log)
        )

    def __enter__(self) -> "ServiceProcess":
        self._process.start()
        deadline = time.monotonic() + START_SECONDS
        while self._process.is_alive() and time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.address}/health/ready").status_code == httpx.codes.OK:
                    return self
            except httpx.TransportError:
                time.sleep(0.02)
        self.kill()
        raise AssertionError(f"the service did not start:\n{self.log_tail()}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.is_alive():
            self.stop()
        self._process.close()
        self._reserved.close()

    def kill(self) -> None:
        """End the process at once: ``kill -9``."""
        self._process.kill()
        self._process.join()
        self._reserved.close()

    def stop(self) -> int | None:
        """Ask the process to end and return its exit code."""
        if self._process.pid is not None:
            os.kill(self._process.pid, signal.SIGINT)
        self._process.join(STOP_SECONDS)
        return self._process.exitcode

    @property
    def pid(self) -> int:
        """The process' id."""
        assert self._process.pid is not None
        return self._process.pid

    def wait(self) -> int | None:
        """Wait until the process has ended by itself; return its exit code."""
        self._process.join(STOP_SECONDS)
        return self._process.exitcode

    def log_tail(self) -> str:
        """The last lines that the service logged."""
        return "\n".join(self._log.read_text().splitlines()[-5:])


def reserved_port() -> socket.socket:
    """Return a socket on a port that nobody else is given; what is told of it can listen there.

    A port that is only found and let go again may be given to another process before it is used.
    """
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    # Set after the port is chosen: from here on whoever sets it too may share the port.
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return held


def port_of(held: socket.socket) -> int:
    """Return the port that a socket is bound to."""
    return int(held.getsockname()[1])


def _serve(settings: Settings, log: Path) -> None:
    from app.server import run

    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where the tests run under `nohup`
    with log.open("ab", buffering=0) as sink:
        os.dup2(sink.fileno(), sys.stderr.fileno())
    sys.exit(run(settings))
