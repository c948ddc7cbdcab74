"""Open-loop load: requests leave when chance says, whether or not earlier ones were answered.

wrk sends the next request when an answer has come, so a server that stalls is asked less while it
stalls and its stall hardly counts (coordinated omission). Here the moments are drawn beforehand
(Poisson), and a latency is counted from the moment a request was *meant* to leave: waiting for a
free connection counts. Timers of an event loop are a millisecond coarse, so a timerfd wakes ours.
"""

import asyncio
import ctypes
import gc
import os
import random
import struct
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic_ns
from urllib.parse import urlsplit

import numpy as np
import uvloop

CONNECTIONS = 256
GRACE_SECONDS = 20
_ABSOLUTE = 1
_MONOTONIC = 1
_NONBLOCKING = os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Latency:
    """What one open-loop run gave; times in milliseconds from the intended moment."""

    rate: float
    sent: int
    failed: int
    p50: float
    p99: float
    p999: float
    late_p99: float
    """How late the generator itself sent, where a connection was free: its own fault."""


def measure(
    url: str,
    *,
    headers: Mapping[str, str],
    bodies: Sequence[str],
    rate: float,
    seconds: float,
    seed: int = 0,
) -> Latency:
    """Send ``rate`` requests a second on average for so long, and return their latencies."""
    address = urlsplit(url)
    if address.hostname != "127.0.0.1":
        raise ValueError(f"{url}: only this machine is loaded")
    head = {"Host": address.netloc, "Content-Type": "application/json", **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    requests = [
        f"POST {address.path} HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n{body}".encode()
        for body in bodies
    ]
    rng = random.Random(seed)  # noqa: S311  # moments of sending are no secret
    moments: list[float] = []
    moment = rng.expovariate(rate)
    while moment < seconds:
        moments.append(moment)
        moment += rng.expovariate(rate)
    gc.collect()
    gc.disable()
    try:
        run = _Run(requests, moments)
        uvloop.run(run.run(address.hostname, address.port or 80))
    finally:
        gc.enable()
    latencies = np.array(run.latencies or [np.nan]) / 1e6
    p50, p99, p999 = np.percentile(latencies, [50, 99, 99.9])
    return Latency(
        rate=rate,
        sent=len(moments),
        failed=len(moments) - run.succeeded,
        p50=float(p50),
        p99=float(p99),
        p999=float(p999),
        late_p99=float(np.percentile(np.array(run.lateness or [0]) / 1e6, 99)),
    )


class _Run:
    """One run: the schedule, the idle connections, and the answers' latencies in nanoseconds."""

    def __init__(self, requests: Sequence[bytes], moments: Sequence[float]) -> None:
        self._requests = requests
        self._moments = moments
        self.latencies: list[int] = []
        self.lateness: list[int] = []
        self.succeeded = 0
        self._next = 0
        self._answered = 0
        self._idle: list[_Connection] = []
        self._overdue: deque[int] = deque()
        self._start = 0
        self._ended = False
        self._opening: set[asyncio.Task[None]] = set()

    async def run(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        self._done = asyncio.Event()
        self._address = host, port
        self._open: set[_Connection] = set()
        for _ in range(min(CONNECTIONS, len(self._moments))):
            await self._connect()
        self._timer = _Timer()
        loop.add_reader(self._timer.descriptor, self._fire)
        self._start = monotonic_ns() + 50_000_000
        self._timer.set(self._meant(0))
        try:
            async with asyncio.timeout(self._moments[-1] + GRACE_SECONDS):
                await self._done.wait()
        except TimeoutError:
            pass  # what was not answered is counted as failed
        finally:
            loop.remove_reader(self._timer.descriptor)
            self._timer.close()
            self._ended = True
            for connection in list(self._open):
                connection.close()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: _Connection(self), *self._address)
        self._open.add(connection)
        self._free(connection)

    def _meant(self, number: int) -> int:
        return self._start + int(self._moments[number] * 1e9)

    def _fire(self) -> None:
        self._timer.clear()
        now = monotonic_ns()
        while self._next < len(self._moments) and self._meant(self._next) <= now:
            if self._idle:
                self.lateness.append(now - self._meant(self._next))
                self._send(self._idle.pop(), self._next)
            else:
                self._overdue.append(self._next)
            self._next += 1
        if self._next < len(self._moments):
            self._timer.set(self._meant(self._next))

    def _send(self, connection: "_Connection", number: int) -> None:
        connection.send(self._requests[number % len(self._requests)], self._meant(number))

    def answered(self, connection: "_Connection", meant: int, *, succeeded: bool) -> None:
        self.latencies.append(monotonic_ns() - meant)
        self.succeeded += succeeded
        self._free(connection)
        self._count()

    def lost(self, connection: "_Connection", *, under_way: bool) -> None:
        """Open another: servers close connections that are idle for a few seconds.

        A request that was under way has failed.
        """
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if under_way:
            self._count()
        if not self._ended:
            self._opening.add(asyncio.get_running_loop().create_task(self._connect()))

    def _free(self, connection: "_Connection") -> None:
        if self._overdue:
            self._send(connection, self._overdue.popleft())
        else:
            self._idle.append(connection)

    def _count(self) -> None:
        self._answered += 1
        if self._answered == len(self._moments):
            self._done.set()


class _Connection(asyncio.Protocol):
    """One HTTP/1.1 connection with at most one request under way."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._received = b""
        self._meant: int | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # TCP
        self._transport = transport

    def send(self, request: bytes, meant: int) -> None:
        self._meant = meant
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._meant is not None and _is_whole(self._received):
            meant, self._meant = self._meant, None
            succeeded = self._received[9:10] == b"2"
            self._received = b""
            self._run.answered(self, meant, succeeded=succeeded)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        under_way, self._meant = self._meant is not None, None
        self._run.lost(self, under_way=under_way)

    def close(self) -> None:
        self._meant = None
        self._transport.close()


def _is_whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(body) >= int(value)
    return body.endswith(b"0\r\n\r\n")


class _Timer:
    """A timerfd: wakes the event loop to the microsecond."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self._libc.timerfd_create(_MONOTONIC, _NONBLOCKING)
        if self.descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def set(self, nanoseconds: int) -> None:
        value = struct.pack("4q", 0, 0, nanoseconds // 1_000_000_000, nanoseconds % 1_000_000_000)
        self._libc.timerfd_settime(self.descriptor, _ABSOLUTE, value, None)

    def clear(self) -> None:
        try:
            os.read(self.descriptor, 8)
        except BlockingIOError:
            return

    def close(self) -> None:
        os.close(self.descriptor)
