"""An answer's head and body in one system call.

uvicorn writes them one after the other, and each wakes whoever reads the connection. Here the head is
kept until the body comes, which for all but a streamed answer is at once.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_HEAD, _INTERIM = b"HTTP/1.1 ", b"HTTP/1.1 1"


class JoiningTransport:
    """A connection's transport, but for what is written first of an answer: that goes with the rest."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, content: bytes) -> None:
        """Write, or keep what is an answer's head."""
        if self._head:
            content, self._head = self._head + content, b""
        elif content.startswith(_HEAD) and not content.startswith(_INTERIM):
            self._head = content
            return
        self._transport.write(content)

    def flush(self) -> None:
        """Write what was kept: an answer can have no body."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def close(self) -> None:
        """Write what was kept, and close."""
        self.flush()
        self._transport.close()


class OneWriteProtocol(HttpToolsProtocol):
    """uvicorn's protocol, on such a transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin with a connection."""
        self._joining = JoiningTransport(transport)
        super().connection_made(self._joining)  # type: ignore[arg-type]

    def on_response_complete(self) -> None:
        """End an answer."""
        self._joining.flush()
        super().on_response_complete()
