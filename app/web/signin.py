"""Signing in and out.

People are vouched for by the body's own provider; in the demonstration anybody on this machine picks
who to be. The session is a visitor's until then, and a new one begins with every step up.
"""

from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.api.access import open_to_all
from app.api.parts import parts_of
from app.demo.people import PEOPLE
from app.domain import Role
from app.errors import InvalidRequestError, NotFoundError, SignInNeededError
from app.oidc import Provider
from app.sessions import Pending
from app.web.chrome import role_name
from app.web.language import COOKIE, Language, texts_of
from app.web.render import page
from app.web.session import (
    check_form,
    give,
    home_of,
    is_secure,
    is_this_machine,
    local_path,
    session_of,
    take_back,
    token_of,
)

RETURN = "/sign-in/return"
YEAR_SECONDS = 365 * 24 * 3600

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody to sign in as, in the demonstration."""

    name: str
    role: str


@dataclass(frozen=True, slots=True)
class SignInView:
    """The page to sign in at."""

    template: ClassVar[str] = "sign_in/sign_in.html"

    people: tuple[Person, ...]
    """Who there is in the demonstration; empty anywhere else."""
    provider: str | None
    """What the body's provider is called; None where there is none to be used from here."""
    unsent: bool
    """Whether somebody sent a form after their session had ended."""
    back: str
    """Where to go afterwards: each tab has its own, and it outlasts the visitor's session."""


@dataclass(frozen=True, slots=True)
class RoleView:
    """The page to choose a role on."""

    template: ClassVar[str] = "sign_in/role.html"

    roles: tuple[tuple[str, str], ...]
    current: str | None


@dataclass(frozen=True, slots=True)
class SignedOutView:
    """The page after signing out."""

    template: ClassVar[str] = "sign_in/signed_out.html"

    provider: str | None
    provider_address: str | None
    """Where the provider ends its own session, if it says so."""


@router.get("/sign-in", **open_to_all())
async def show_sign_in(request: Request, back: str = "/", unsent: str = "") -> Response:
    """Show who may sign in here and how, and begin a visitor's session."""
    parts = parts_of(request)
    texts = texts_of(request)
    settings = parts.settings
    session = session_of(request)
    if session is not None and session.actor is not None:
        return RedirectResponse(local_path(back), status_code=303)
    token = None
    if session is None or session.pending.back != local_path(back):
        token = _begin(request, back=local_path(back))
    people = (
        tuple(Person(name, role_name(role, texts)) for name, role in PEOPLE.items())
        if settings.demo_sign_in and is_this_machine(request)
        else ()
    )
    provider = None if home_of(request) is None else parts.provider
    view = SignInView(
        people=people,
        provider=None if provider is None else provider.terms.name,
        unsent=bool(unsent),
        back=local_path(back),
    )
    response = page(request, view)
    if token is not None:
        give(request, response, token)
    return response


def _begin(request: Request, *, back: str) -> str:
    """Begin a visitor's session in place of any other, for the page that is being made as well."""
    sessions = parts_of(request).sessions
    old = token_of(request)
    if old is not None:
        sessions.end(old)
    token = sessions.begin(back=back)
    request.state.session = sessions.find(token)
    return token


@router.post("/sign-in/demonstration", **open_to_all())
async def sign_in_as(request: Request) -> Response:
    """Sign in as one of the demonstration's people, on this machine only."""
    parts = parts_of(request)
    if not parts.settings.demo_sign_in or not is_this_machine(request):
        raise NotFoundError
    session, token = session_of(request), token_of(request)
    if session is None or token is None:
        raise SignInNeededError("/sign-in")
    await check_form(request, session)
    name = (await request.form()).get("person")
    if not isinstance(name, str) or name not in PEOPLE:
        raise InvalidRequestError("person: want one of those on the page")
    new = parts.sessions.sign_in(token, actor=name, roles=[PEOPLE[name]], source="demonstration")
    return _arrived(request, new)


@router.get("/sign-in/start", **open_to_all())
async def start_sign_in(request: Request, back: str = "/") -> Response:
    """Send the browser to the provider."""
    provider, home = _usable(request)
    session, token = session_of(request), token_of(request)
    back = local_path(back)
    if session is None or token is None or session.actor is not None:
        raise SignInNeededError(f"/sign-in?back={quote(back)}")
    address, waiting = await provider.begin(Pending(back=back), redirect_uri=f"{home}{RETURN}")
    parts_of(request).sessions.wait_for(token, waiting)
    return RedirectResponse(address, status_code=303)


@router.get(RETURN, **open_to_all())
async def finish_sign_in(request: Request) -> Response:
    """Let somebody in whom the provider vouches for."""
    provider, home = _usable(request)
    sessions = parts_of(request).sessions
    session, token = session_of(request), token_of(request)
    if session is None or token is None or session.actor is not None:
        raise SignInNeededError("/sign-in")
    # Once only, whatever comes of it: a second answer to the same question is not looked at.
    sessions.wait_for(token, Pending(back=session.pending.back))
    person = await provider.finish(
        dict(request.query_params), session.pending, redirect_uri=f"{home}{RETURN}"
    )
    new = sessions.sign_in(
        token, actor=person.actor, roles=person.roles, source=provider.terms.issuer
    )
    return _arrived(request, new)


def _usable(request: Request) -> tuple[Provider, str]:
    """Return the provider and this service's own address. Raises NotFoundError without them."""
    provider, home = parts_of(request).provider, home_of(request)
    if provider is None or home is None:
        raise NotFoundError
    return provider, home


@router.get("/sign-in/role", **open_to_all())
async def show_roles(request: Request) -> Response:
    """Show the roles to choose from."""
    session = session_of(request)
    if session is None or session.actor is None:
        raise SignInNeededError("/sign-in")
    texts = texts_of(request)
    view = RoleView(
        roles=tuple((role.value, role_name(role, texts)) for role in session.roles),
        current=session.role,
    )
    return page(request, view)


@router.post("/sign-in/role", **open_to_all())
async def choose_role(request: Request) -> Response:
    """Let somebody act in one of their roles."""
    session, token = session_of(request), token_of(request)
    if session is None or token is None or session.actor is None:
        raise SignInNeededError("/sign-in")
    await check_form(request, session)
    role = (await request.form()).get("role")
    if role not in {each.value for each in session.roles}:
        raise InvalidRequestError("role: want one of those on the page")
    return _arrived(request, parts_of(request).sessions.choose(token, Role(str(role))))


@router.post("/sign-out", **open_to_all())
async def sign_out(request: Request) -> Response:
    """End the session."""
    session, token = session_of(request), token_of(request)
    if session is not None and token is not None:
        await check_form(request, session)
        parts_of(request).sessions.end(token)
    response = RedirectResponse("/signed-out", status_code=303)
    take_back(request, response)
    return response


@router.get("/signed-out", **open_to_all())
async def show_signed_out(request: Request) -> Response:
    """Say that the session has ended."""
    provider, home = parts_of(request).provider, home_of(request)
    address = (
        None
        if provider is None or home is None
        else provider.sign_out_address(back=f"{home}/signed-out")
    )
    return page(request, SignedOutView(None if provider is None else provider.terms.name, address))


@router.get("/language/{code}", **open_to_all())
async def choose_language(request: Request, code: Language, back: str = "/") -> Response:
    """Let the browser keep the reader's language."""
    response = RedirectResponse(local_path(back), status_code=303)
    response.set_cookie(
        COOKIE,
        code.value,
        max_age=YEAR_SECONDS,
        path="/",
        secure=is_secure(parts_of(request).settings),
        httponly=True,
        samesite="lax",
    )
    return response


def _arrived(request: Request, token: str) -> Response:
    """Send somebody who has signed in to where they wanted to go."""
    session = parts_of(request).sessions.find(token)
    back = "/" if session is None else session.pending.back
    needs_role = session is not None and session.role is None
    response = RedirectResponse("/sign-in/role" if needs_role else back, status_code=303)
    give(request, response, token)
    return response
