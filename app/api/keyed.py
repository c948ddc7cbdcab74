"""The routes of the API that take a body: nothing of it is read before the key is good.

FastAPI reads and parses a body first and asks its dependencies then, so that anybody could have it
parse a megabyte. And the body is read as the hot route reads it: a JSON object with two members of one
name is refused, because the last would count here and the first elsewhere.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from app.api.access import authorise
from app.api.lean import parse_body
from app.domain import Role


class KeyedRoute(APIRoute):
    """A route that asks for the key first, where it takes a body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the framework's handler, behind the key."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle
        roles = [Role(each) for each in (self.openapi_extra or {})["x-roles"]]

        async def handle_keyed(request: Request) -> Response:
            authorise(request, roles)
            return await handle(_StrictRequest(request.scope, request.receive))

        return handle_keyed


class _StrictRequest(Request):
    """A request whose JSON means one thing only."""

    async def json(self) -> object:
        """Return what the body says. Raises InvalidJsonError, InvalidRequestError."""
        return parse_body(await self.body())
