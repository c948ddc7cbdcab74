"""Requests whose heads are short and come soon, at the one place that sees them before they are whole.

uvicorn's parser collects a head, or a chunked body's trailer, for as long as it comes: one client without
a key could fill the memory, and have ever longer bytes copied over and over on the event loop.
"""

import asyncio

from app.one_write import OneWriteProtocol

MOST_BYTES = 64 * 1024
"""Of what came and made nothing whole: no head, no piece of a body. Proxies take 8 to 32 KB."""
SECONDS = 10.0
"""How long that may go on."""


class ShortHeadsProtocol(OneWriteProtocol):
    """uvicorn's protocol, but a connection ends that sends and sends and asks for nothing."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin with a connection, which idles no longer before its first request than after."""
        super().connection_made(transport)
        self._is_told = False
        self._untold = 0
        self._ending: asyncio.TimerHandle | None = None
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def data_received(self, data: bytes) -> None:
        """Take in what came, unless it is too much of nothing."""
        self._is_told = False
        super().data_received(data)
        if self._is_told:
            self._untold = 0
            self._rest()
            return
        self._untold += len(data)
        if self._untold > MOST_BYTES:
            self.transport.close()
        elif self._ending is None:
            self._ending = self.loop.call_later(SECONDS, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._rest()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """Note that a head is whole."""
        self._is_told = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Note that a piece of a body came."""
        self._is_told = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that a request is whole."""
        self._is_told = True
        super().on_message_complete()

    def _rest(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
