"""The service as a process of its own, for tests that kill it or load it."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import httpx

from app.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 60


class ServiceProcess:
    """``grounds serve`` on a port of its own; use as a context manager."""

    def __init__(self, settings: Settings, *, environment: dict[str, str] | None = None) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._log = settings.data_dir.parent / "service.log"
        self._environment = {
            **os.environ,
            "GROUNDS_DATA_DIR": str(settings.data_dir),
            "GROUNDS_MODELS_DIR": str(settings.models_dir),
            "GROUNDS_PORT": str(self.port),
            **(environment or {}),
        }

    def __enter__(self) -> "ServiceProcess":
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app", "serve"],
                cwd=ROOT,
                env=self._environment,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
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
        if self._process.poll() is None:
            self.stop()

    def kill(self) -> None:
        """End the process at once, as a power cut of the process would."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        """Ask the process to end and return its exit code."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(timeout=START_SECONDS)

    def log_tail(self) -> str:
        """The last lines that the service logged."""
        return "\n".join(self._log.read_text().splitlines()[-5:])


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
