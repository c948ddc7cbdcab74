"""Pages that are open to all: home, the API's reference, and what each kind of problem means."""

from dataclasses import dataclass
from typing import ClassVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from app import errors
from app.api.access import open_to_all
from app.errors import UnknownProblemError
from app.problem_type import ProblemType
from app.web.language import texts_of
from app.web.navigation import Link, links_for
from app.web.reference import Part, parts
from app.web.render import page
from app.web.session import caller_of

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class HomeView:
    """The page at the root."""

    template: ClassVar[str] = "public/home.html"

    links: tuple[Link, ...]
    is_signed_in: bool


@dataclass(frozen=True, slots=True)
class ReferenceView:
    """Every operation of the API."""

    template: ClassVar[str] = "public/reference.html"

    parts: list[Part]


@dataclass(frozen=True, slots=True)
class ProblemView:
    """One kind of problem."""

    template: ClassVar[str] = "public/problem.html"

    kind: ProblemType


@router.get("/", **open_to_all())
async def show_home(request: Request) -> Response:
    """Say what this is and where to go."""
    caller = caller_of(request)
    links = links_for(None if caller is None else caller.role, texts_of(request))
    return page(request, HomeView(links=links, is_signed_in=caller is not None))


@router.get("/docs", **open_to_all())
async def show_reference(request: Request) -> Response:
    """Show every operation of the OpenAPI document."""
    return page(request, ReferenceView(parts(request.app.openapi())))


@router.get("/problems/{slug}", **open_to_all())
async def show_problem(request: Request, slug: str) -> Response:
    """Show what one ``type`` of problem means and what to do about it."""
    for kind in errors.ALL_PROBLEM_TYPES:
        if kind.slug == slug:
            return page(request, ProblemView(kind))
    raise UnknownProblemError(known=[kind.slug for kind in errors.ALL_PROBLEM_TYPES])
