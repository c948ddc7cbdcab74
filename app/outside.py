"""Asking a service of somebody else's, whose answer is hostile until it was looked at."""

from typing import Any

import httpx

PLAIN = {"Accept-Encoding": "identity"}
"""Nothing compressed is asked for: it could unpack to more than anybody wants to hold."""


class AnswerTooLongError(httpx.HTTPError):
    """The answer has more bytes than it may."""


async def ask(
    client: httpx.AsyncClient, method: str, url: str, *, most: int, **request: Any
) -> httpx.Response:
    """Return the answer to a request, read whole as it was sent.

    Raises AnswerTooLongError once it has more than ``most`` bytes, and what ``client`` raises.
    """
    async with client.stream(method, url, **request) as answer:
        content = b""
        async for piece in answer.aiter_raw():
            content += piece
            if len(content) > most:
                raise AnswerTooLongError("the answer is too long")
    return httpx.Response(answer.status_code, content=content, request=answer.request)
