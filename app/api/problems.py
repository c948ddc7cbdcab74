"""Every error leaves as one problem document (RFC 9457), counted by its type.

Where something inside the service failed, the detail says nothing of what was computed: an output
in an error message would be advice without a receipt.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route

from app import errors
from app.api.parts import parts_of
from app.api.rules import faults_of_validation
from app.errors import ProblemType, SignInNeededError, UnauthenticatedError
from app.lifecycle_refusals import ObligationsUnmetError
from app.web.errors import error_page
from audit.errors import DamagedLogError
from models.errors import CaseRejectedError

MEDIA_TYPE = "application/problem+json"
_log = structlog.get_logger("grounds.problem")


def install(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Make every exception of the table leave as a problem; the guard sees to any other.

    ``routes`` are all there are: an address that does not take a method says which it takes.
    """
    app.state.routes = tuple(routes)
    for kind in errors.PROBLEMS:
        app.add_exception_handler(kind, from_exception)
    app.add_exception_handler(RequestValidationError, _from_validation)
    app.add_exception_handler(HTTPException, _from_framework)


def problem_response(
    request: Request,
    kind: ProblemType,
    *,
    detail: str,
    faults: Sequence[Mapping[str, object]] = (),
) -> Response:
    """Return a problem as a response, counted in the metrics."""
    parts_of(request).metrics.errors.labels(kind.slug).inc()
    request_id = getattr(request.state, "request_id", "none")
    body = errors.problem(kind, detail=detail, request_id=request_id, faults=faults)
    response = (
        error_page(request, kind, detail=detail, request_id=request_id)
        if _is_page(request)
        else Response(orjson.dumps(body), media_type=MEDIA_TYPE)
    )
    response.status_code = kind.status
    if kind.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(kind.retry_after_seconds)
    if kind.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="grounds"'
    return response


async def from_exception(request: Request, error: Exception) -> Response:
    """Return the problem that an exception is."""
    if isinstance(error, SignInNeededError) and _is_page(request) and not error.wrote:
        return RedirectResponse(error.address, status_code=303)
    kind, detail, faults = _told(request, error)
    response = problem_response(request, kind, detail=detail, faults=faults)
    if isinstance(error, errors.ContentCodingError):
        response.headers["Accept-Encoding"] = "identity"  # RFC 9110, 15.5.16
    return response


def problem_inside(request: Request, error: Exception) -> tuple[int, dict[str, object]]:
    """Return status and body of the problem that an exception is, for an answer that holds several.

    Counted, and logged where the service failed, as a response of its own would be.
    """
    kind, detail, faults = _told(request, error)
    parts_of(request).metrics.errors.labels(kind.slug).inc()
    request_id = getattr(request.state, "request_id", "none")
    return kind.status, errors.problem(kind, detail=detail, request_id=request_id, faults=faults)


Told = tuple[ProblemType, str, Sequence[Mapping[str, object]]]
"""A kind of problem, its detail, and the faults that it lists."""


def _told(request: Request, error: Exception) -> Told:
    kind = errors.problem_type(error)
    if isinstance(error, DamagedLogError):
        parts_of(request).metrics.verify_failures.inc()
    if kind.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        # The kind of error and where it arose, never its message: that may hold a case's numbers.
        where = _innermost_frame(error)
        suppressed = parts_of(request).sampler.admit(kind.slug, type(error).__name__, where)
        if suppressed is not None:
            _log.error(
                "problem",
                problem=kind.slug,
                error=type(error).__name__,
                request_id=getattr(request.state, "request_id", "none"),
                where=where,
                suppressed=suppressed,
            )
        inside = not isinstance(error, errors.AppError)
        return kind, kind.title if inside else _text(error, kind), ()
    if isinstance(error, CaseRejectedError):
        count = len(error.faults)
        faults: list[Mapping[str, object]] = [
            {
                "field": fault.field,
                "code": fault.code,
                "message": fault.message,
                "allowed": fault.allowed,
            }
            for fault in error.faults
        ]
        return kind, f"{count} field{'s' if count > 1 else ''} must be corrected", faults
    listing = (errors.InvalidRequestError, ObligationsUnmetError)
    listed = error.faults if isinstance(error, listing) else ()
    return kind, _text(error, kind), listed


async def _from_validation(request: Request, error: Exception) -> Response:
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    if _is_page(request) and any(fault["loc"][:1] == ("path",) for fault in faults):
        # To a person an address that names nothing there can be is one that leads nowhere.
        return problem_response(request, errors.NOT_FOUND, detail="the address leads nowhere")
    return problem_response(
        request,
        errors.PROBLEMS[errors.InvalidRequestError],
        detail="the request is not of the documented form",
        faults=faults_of_validation([{**fault, "loc": _in_body(fault["loc"])} for fault in faults]),
    )


def _in_body(place: Sequence[str | int]) -> Sequence[str | int]:
    """Return a place of the framework's as a path in the body, or whose parameter it is."""
    return place[1:] if place[0] == "body" else place


async def _from_framework(request: Request, error: Exception) -> Response:
    if isinstance(error.__cause__, errors.AppError):
        return await from_exception(request, error.__cause__)  # met while the body was read
    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.NOT_FOUND
    if status == HTTPStatus.UNAUTHORIZED:
        return problem_response(
            request, errors.PROBLEMS[UnauthenticatedError], detail=errors.NOT_A_VALID_KEY
        )
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        response = problem_response(
            request,
            errors.METHOD_NOT_ALLOWED,
            detail=f"{request.method} is not offered here",
        )
        response.headers["Allow"] = ", ".join(sorted(_offered(request)))
        return response
    if status == HTTPStatus.NOT_FOUND:
        return problem_response(request, errors.NOT_FOUND, detail="the address leads nowhere")
    if status == HTTPStatus.BAD_REQUEST:
        return problem_response(
            request, errors.PROBLEMS[errors.InvalidJsonError], detail="the body cannot be read"
        )
    kind = ProblemType(status, "invalid-request", HTTPStatus(status).phrase, "See `/docs`.")
    return problem_response(request, kind, detail=HTTPStatus(status).phrase)


def _offered(request: Request) -> set[str]:
    """Return every method of an address: the framework names only those of its first route."""
    offered = {
        method
        for route in request.app.state.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    }
    # Other addresses, the document's and those of files, are only read. HEAD: see app/api/heads.py.
    return offered | {"HEAD"} if "GET" in offered else offered or {"GET", "HEAD"}


def _is_page(request: Request) -> bool:
    """Return whether a person's browser is asking: for HTML, outside of the API."""
    wants_html = "text/html" in request.headers.get("accept", "")
    return wants_html and not request.url.path.startswith("/v1/")


def _text(error: Exception, kind: ProblemType) -> str:
    return str(error) or kind.title


def _innermost_frame(error: Exception) -> str:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    if frame is None:
        return "unknown"
    return f"{frame.tb_frame.f_code.co_qualname}:{frame.tb_lineno}"
