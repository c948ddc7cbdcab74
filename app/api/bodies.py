"""What a request's body has to be, for all routes but those that see to it themselves: plain, and here in time.

To the parsers a compressed body is bytes that are no JSON, so it is refused as such. A body that does not
come would hold its connection, and what came of it, for as long as its sender likes: with no key at all.
"""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.guard import BATCH
from app.api.lean import is_plain
from app.errors import BodyTooSlowError, ContentCodingError


class Bodies:
    """ASGI middleware that lets through no body with a content coding, and none that is late."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises ContentCodingError and BodyTooSlowError, which the guard answers."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        for name, value in scope["headers"]:
            if name == b"content-encoding" and not is_plain(value):
                raise ContentCodingError
        if not scope["path"].endswith(BATCH):  # which is read as it comes, each piece in time
            seconds = scope["app"].state.parts.settings.request_timeout_seconds
            receive = _in_time(receive, seconds)
        await self._app(scope, receive, send)


def _in_time(receive: Receive, seconds: float) -> Receive:
    """Return ``receive`` for a body that is to be whole so soon."""
    end = asyncio.get_running_loop().time() + seconds
    is_whole = False

    async def receive_in_time() -> Message:
        nonlocal is_whole
        if is_whole:  # what comes now is that the client leaves
            return await receive()
        try:
            async with asyncio.timeout_at(end):
                message = await receive()
        except TimeoutError as err:
            raise BodyTooSlowError(seconds=seconds) from err
        is_whole = not message.get("more_body", False)
        return message

    return receive_in_time
