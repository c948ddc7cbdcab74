"""What surrounds every request: its id, a limit on its body, security headers, one log line.

An exception that nothing else knows ends here too: the framework's own last resort lies outside of
this and would send its answer without the headers, and the exception's text to the logs.

Plain ASGI, because it runs on every request. The log line names the route's template, never the
address itself, and nothing from body or headers, so that it holds no personal data.
"""

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TYPE_CHECKING

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain import NewId
from app.errors import BodyTooLargeError, InvalidRequestError
from app.metrics import Metrics
from app.telemetry import Trace, trace_of

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"content-security-policy", POLICY),
)

NAMES = frozenset(name for name, _ in HEADERS)

ONCE = frozenset((b"authorization", b"content-type", b"host", b"idempotency-key"))
"""Headers that say one thing: of two, somebody between the caller and here may take the other."""

if TYPE_CHECKING:
    from app.spans import Tracing

OnError = Callable[[Request, Exception], Awaitable[Response]]

BATCH = "/decisions/batch"
"""How the address of a batch ends: its body may be larger, and it is read as it comes."""

_log = structlog.get_logger("grounds.http")


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body_bytes: int,
        max_batch_bytes: int,
        new_id: NewId,
        on_error: OnError,
        tracing: "Tracing | None" = None,
    ) -> None:
        """``on_error`` makes the response to an exception that no handler knows."""
        self._tracing = tracing
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._max_batch_bytes = max_batch_bytes
        self._new_id = new_id
        self._on_error = on_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = perf_counter()
        request_id = self._new_id()
        scope.setdefault("state", {})["request_id"] = request_id
        is_batch = scope["path"].endswith(BATCH)
        limit = self._max_batch_bytes if is_batch else self._max_body_bytes
        received = 0
        status = 500
        started = False
        trace = scope["state"]["trace"] = trace_of(scope)
        metrics = _counted_in(scope)

        async def limited_receive() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > limit:
                    raise BodyTooLargeError(limit=limit)
            return message

        async def guarded_send(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                started = True
                status = message["status"]
                headers = message.setdefault("headers", [])
                _secure(headers)
                headers.append((b"x-request-id", request_id.encode()))
                if trace is not None:
                    headers.append((b"traceresponse", trace.answer))
            await send(message)

        try:
            _check_once(scope)
            await self._app(scope, limited_receive, guarded_send)
        except Exception as error:
            if started:
                raise  # half an answer cannot be taken back: end the connection
            response = await self._on_error(Request(scope), error)
            await response(scope, receive, guarded_send)
        finally:
            self._ended(scope, status, perf_counter() - start, metrics, trace)

    def _ended(
        self,
        scope: Scope,
        status: int,
        seconds: float,
        metrics: Metrics | None,
        trace: Trace | None,
    ) -> None:
        """Count a request out, and say in one line what became of it."""
        route = getattr(scope.get("route"), "path", "none")
        if metrics is not None:
            metrics.in_flight -= 1
            metrics.observe_request(route, status, seconds, None if trace is None else trace.id)
        if self._tracing is not None:
            self._tracing.record(scope["method"], route, status, seconds, trace)
        _log.info(
            "request",
            request_id=scope["state"]["request_id"],
            method=scope["method"],
            route=route,
            status=status,
            milliseconds=round(seconds * 1000, 2),
            **({} if trace is None else {"trace_id": trace.id}),
        )


def _check_once(scope: Scope) -> None:
    """Raise InvalidRequestError where a header that says one thing is given more than once."""
    given = [name for name, _ in scope["headers"] if name in ONCE]
    if len(given) == len(set(given)):
        return
    twice = [name.decode().title() for name in sorted(ONCE) if given.count(name) > 1]
    raise InvalidRequestError(
        f"given more than once: {', '.join(twice)}",
        [
            {
                "field": f"header.{name}",
                "code": "repeated",
                "message": "Is given more than once",
                "allowed": "the header once",
            }
            for name in twice
        ],
    )


def _secure(headers: list[tuple[bytes, bytes]]) -> None:
    """Add the security headers, but those that a route gave, as for what may be kept for good."""
    present = {name.lower() for name, _ in headers}
    if present.isdisjoint(NAMES):
        headers.extend(HEADERS)
    else:
        headers.extend(header for header in HEADERS if header[0] not in present)


def _counted_in(scope: Scope) -> Metrics | None:
    """Count a request in, and return where; None before the service has started."""
    parts = getattr(scope["app"].state, "parts", None)
    if parts is None:
        return None
    metrics: Metrics = parts.metrics
    metrics.in_flight += 1
    return metrics
