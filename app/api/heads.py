"""HEAD wherever GET is (RFC 9110, 9.3.2): the same answer, roles and record of who read, but the body.

One place for all routes, so that none can forget it. The server leaves the body out.
"""

from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send


class Heads:
    """ASGI middleware that has HEAD answered as GET; what only takes other methods still says so."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        # A copy: the server tells by its own scope that there is to be no body.
        read = {**scope, "method": "GET"}
        routes = scope["app"].state.routes
        if not any(route.matches(read)[0] is Match.FULL for route in routes):
            await self._app(scope, receive, send)
            return
        try:
            await self._app(read, receive, send)
        finally:
            if "route" in read:
                scope["route"] = read["route"]  # requests are counted and logged by it
