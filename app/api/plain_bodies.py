"""Compressed bodies are refused as such: to the parsers they are bytes that are no JSON.

For all routes but the hot one, which looks at its headers itself.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.lean import is_plain
from app.errors import ContentCodingError


class PlainBodies:
    """ASGI middleware that lets no body with a content coding through."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises ContentCodingError, which the guard answers."""
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            for name, value in scope["headers"]:
                if name == b"content-encoding" and not is_plain(value):
                    raise ContentCodingError
        await self._app(scope, receive, send)
