"""Starting what is measured, waiting until it is ready, and what it used of the machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.environments import UnavailableError

START_SECONDS = 300
STOP_SECONDS = 20
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Running:
    """A server that is ready, with all that it started: a session of its own."""

    pid: int
    ready_seconds: float

    def cpu_seconds(self) -> float:
        """Return the processor time that it and its children have used, in user and system."""
        ticks = 0
        for pid in self._pids():
            fields = _stat(pid)
            ticks += int(fields[11]) + int(fields[12]) if fields else 0
        return ticks / _TICKS

    def memory_mib(self) -> float:
        """Return its memory, shared pages in proportion (PSS)."""
        return self._rollup("Pss:")

    def own_memory_mib(self) -> float:
        """Return the memory that is its alone: no file's pages, whose proportion depends on others."""
        return self._rollup("Pss_Anon:")

    def _rollup(self, name: str) -> float:
        kib = 0
        for pid in self._pids():
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            kib += sum(int(line.split()[1]) for line in lines if line.startswith(name))
        return kib / 1024

    def processes(self) -> int:
        """Return how many processes it is."""
        return len(self._pids())

    def _pids(self) -> list[int]:
        found = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in found if (fields := _stat(pid)) and int(fields[3]) == self.pid]


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


@contextmanager
def server(
    command: Sequence[str | Path],
    *,
    ready: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Iterator[Running]:
    """Run a server until the block ends. Raises UnavailableError when it does not get ready."""
    start = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, **(environment or {})},
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait(process, ready, log)
        yield Running(process.pid, time.perf_counter() - start)
    finally:
        _stop(process)


def end_in_order() -> None:
    """Let SIGTERM and SIGINT end this process as an exception does: servers are stopped with it.

    A job in the background has SIGINT ignored by the shell, and SIGTERM ends Python at once.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _frame: sys.exit(128 + got))


def free_ports(count: int) -> list[int]:
    """Return so many ports that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def free_port() -> int:
    """Return a port that nothing listens on."""
    return free_ports(1)[0]


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            if httpx.get(url, timeout=5).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.01)
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    said = lines[-1] if lines else "it said nothing"
    how = "ended" if process.poll() is not None else f"was not ready after {START_SECONDS} s"
    raise UnavailableError(f"{how}: {said}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the server; whatever it left behind in its session is ended too."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
