"""The lines of a body that still arrives: split, counted, bounded.

A client may send its whole body before it reads any answer. So what comes is always taken in, up to
the limit on a body, however slowly the answers go out: waiting here would make both wait for ever.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from types import TracebackType

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from app.errors import BodyTooSlowError


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is not blank."""

    number: int
    """Its place in the body, counting every line from 1."""
    content: bytes | None
    """None for a line longer than allowed, which is dropped as it comes."""


class Lines:
    """The lines of one body; use as an asynchronous context manager."""

    def __init__(self, receive: Receive, *, longest: int, seconds: float) -> None:
        """``longest`` is a line's most bytes; ``seconds`` how long each piece may take to come."""
        self._receive = receive
        self._longest = longest
        self._seconds = seconds
        self._ready: deque[Line] = deque()
        self._rest = b""
        self._dropping = False
        self._number = 0
        self._ended = False
        self._error: Exception | None = None
        self._changed = asyncio.Event()
        self.is_gone = False
        """Whether the client went away: nobody will read what is answered."""

    async def __aenter__(self) -> "Lines":
        """Begin to read."""
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop reading."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def next(self, most: int) -> list[Line]:
        """Return the lines that have come, at least one and at most so many; none at the end.

        Raises what ended the body early: BodyTooSlowError, BodyTooLargeError, ClientDisconnect.
        """
        while not self._ready and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        if not self._ready and self._error is not None:
            raise self._error
        return [self._ready.popleft() for _ in range(min(most, len(self._ready)))]

    async def _read(self) -> None:
        try:
            await self._read_body()
        except Exception as error:  # noqa: BLE001  # whatever it is, the one who asks next gets it
            self._error = error
        finally:
            self._ended = True
            self._changed.set()
        while not self.is_gone:
            self.is_gone = (await self._receive())["type"] == "http.disconnect"

    async def _read_body(self) -> None:
        more = True
        while more:
            try:
                async with asyncio.timeout(self._seconds):
                    message = await self._receive()
            except TimeoutError as err:
                raise BodyTooSlowError(seconds=self._seconds) from err
            if message["type"] == "http.disconnect":
                self.is_gone = True
                raise ClientDisconnect
            self._take(message.get("body", b""))
            more = message.get("more_body", False)
        if self._rest or self._dropping:
            self._add(self._rest)

    def _take(self, content: bytes) -> None:
        *whole, rest = content.split(b"\n")
        for line in whole:
            self._add(self._rest + line)
            self._rest = b""
        self._rest += rest
        if len(self._rest) > self._longest:
            self._rest, self._dropping = b"", True
        self._changed.set()

    def _add(self, line: bytes) -> None:
        self._number += 1
        if self._dropping or len(line) > self._longest:
            self._dropping = False
            self._ready.append(Line(self._number, None))
        elif line.strip():
            self._ready.append(Line(self._number, line))
