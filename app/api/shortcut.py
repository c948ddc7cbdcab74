"""The way past the router for the one hot route.

Matching, exit stacks and exception wrappers of the framework cost more than scoring and explaining
a case. The route stays where it is, for the document and for addresses that only the router knows
(a ``root_path``); here the same handler is reached with two comparisons. It lies inside of the
guard, which turns exceptions into problems.
"""

from collections.abc import Awaitable, Callable

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send


class Shortcut:
    """ASGI middleware that answers ``POST <before>{model}<after>`` itself."""

    def __init__(
        self, app: ASGIApp, *, route: APIRoute, handler: Callable[[Request], Awaitable[Response]]
    ) -> None:
        """``route`` has one parameter, ``model``, in the middle of its path."""
        self._app = app
        self._route = route
        self._handler = handler
        self._before, _, self._after = route.path.partition("{model}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["method"] == "POST" and not scope.get("root_path"):
            path: str = scope["path"]
            if path.startswith(self._before) and path.endswith(self._after):
                model = path[len(self._before) : -len(self._after)]
                # As the router has it: one segment, and not an empty one.
                if model and "/" not in model:
                    scope["route"] = self._route
                    scope["path_params"] = {"model": model}
                    response = await self._handler(Request(scope, receive))
                    await response(scope, receive, send)
                    return
        await self._app(scope, receive, send)
