"""Who may see and do what on the pages: sessions in a cookie, and a token in every form.

A page's route takes ``**signed_in(Role.CASEWORKER, ...)`` and its handler ``caller: CurrentCaller``,
as the API's do. Somebody who is not signed in is sent to the sign-in page. A POST is refused unless
it carries the session's own token: another site can make a browser send a form, and cannot know it.
"""

import hmac
import re
from datetime import timedelta
from urllib.parse import quote, urlsplit

from fastapi import Depends, Request, Response
from fastapi.security import APIKeyCookie
from starlette.routing import Match, Route

from app.addresses import is_loopback
from app.api.access import Access
from app.api.parts import parts_of
from app.domain import Caller, Clock, Role
from app.errors import ForbiddenError, ForgedFormError, SignInNeededError
from app.sessions import FILE, Session, SessionStore, SignInError
from app.settings import Settings
from app.visible import is_visible

SAFE_METHODS = frozenset({"GET", "HEAD"})
LOCAL_PATH = re.compile(r"/(?![/\\])[A-Za-z0-9._~/?&=%-]*").fullmatch
WRITTEN = ("text", "reason_text", "evidence", "reason")
"""The fields of forms that people write sentences in."""
SECURE_COOKIE = "__Host-grounds-session"
PLAIN_COOKIE = "grounds-session"
"""Without TLS a browser takes no cookie that is for TLS alone; that is for this machine only."""

_cookie_scheme = APIKeyCookie(
    name=SECURE_COOKIE, scheme_name="session", description="Pages only.", auto_error=False
)


def opened_sessions(settings: Settings, *, clock: Clock) -> SessionStore:
    """Return the store of sessions. Raises SessionStoreError and SignInError."""
    if settings.demo_sign_in and not is_loopback(settings.host):
        raise SignInError(
            "GROUNDS_DEMO_SIGN_IN lets anybody sign in as anyone, so the service must listen on"
            f" this machine alone: GROUNDS_HOST is {settings.host}"
        )
    return SessionStore(
        settings.data_dir / FILE,
        clock=clock,
        idle=timedelta(minutes=settings.session_idle_minutes),
        longest=timedelta(hours=settings.session_hours),
    )


def signed_in(*roles: Role) -> Access:
    """Return the route arguments of a page for these roles only."""

    async def check(request: Request) -> None:
        session = session_of(request)
        await _keep_written(request)
        if session is None or session.actor is None:
            raise SignInNeededError(sign_in_address(request), wrote=bool(written_in(request)))
        if request.method not in SAFE_METHODS:
            await check_form(request, session)
        caller = session.caller
        if caller is None:
            raise SignInNeededError("/sign-in/role")
        if caller.role not in roles:
            raise ForbiddenError(got=caller.role.value, want=[role.value for role in roles])
        request.state.caller = caller

    return {
        "dependencies": [Depends(_cookie_scheme), Depends(check)],
        "openapi_extra": {"x-roles": [role.value for role in roles]},
    }


def session_of(request: Request) -> Session | None:
    """Return the session that came with a request, looked up once."""
    if not hasattr(request.state, "session"):
        request.state.session = None  # should the store fail, the page that says so is a visitor's
        token = token_of(request)
        if token is not None:
            request.state.session = parts_of(request).sessions.find(token)
    session: Session | None = request.state.session
    return session


def caller_of(request: Request) -> Caller | None:
    """Return who is signed in, on a page that is open to all."""
    session = session_of(request)
    return None if session is None else session.caller


def token_of(request: Request) -> str | None:
    """Return the session's token."""
    return request.cookies.get(cookie_name(parts_of(request).settings))


def give(request: Request, response: Response, token: str) -> None:
    """Let the browser keep a session's token, out of reach of scripts, until it is closed."""
    settings = parts_of(request).settings
    response.set_cookie(
        cookie_name(settings),
        token,
        path="/",
        secure=is_secure(settings),
        httponly=True,
        samesite="lax",
    )


def take_back(request: Request, response: Response) -> None:
    """Let the browser forget the session's token."""
    settings = parts_of(request).settings
    response.delete_cookie(
        cookie_name(settings), path="/", secure=is_secure(settings), httponly=True, samesite="lax"
    )


async def check_form(request: Request, session: Session) -> None:
    """Raise ForgedFormError unless a form of this session's own pages was sent."""
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise ForgedFormError("the form came from another site")
    form = await request.form()
    sent = form.get("csrf")
    if not isinstance(sent, str) or not hmac.compare_digest(sent.encode(), session.csrf.encode()):
        raise ForgedFormError("the form does not belong to this session")


async def _keep_written(request: Request) -> None:
    """Keep what somebody wrote in a form of this site, so that no refusal takes it from them.

    Not of another site's form: it would put its own words on our page.
    """
    form_type = request.headers.get("content-type", "")
    if (
        request.method in SAFE_METHODS
        or request.headers.get("sec-fetch-site") != "same-origin"
        or not form_type.startswith("application/x-www-form-urlencoded")
    ):
        return
    form = await request.form()
    said = (form.get(name) for name in WRITTEN)
    request.state.written = tuple(
        text.strip() for text in said if isinstance(text, str) and is_visible(text)
    )


def written_in(request: Request) -> tuple[str, ...]:
    """Return the texts that somebody wrote in the form that a request sends."""
    written: tuple[str, ...] = getattr(request.state, "written", ())
    return written


def sign_in_address(request: Request) -> str:
    """Return the address to sign in at, and to come back from: to the page that a form was on."""
    is_form = request.method not in SAFE_METHODS
    back = address_of(request)
    said = ([] if back == "/" else [f"back={quote(back)}"]) + (["unsent=yes"] if is_form else [])
    return f"/sign-in?{'&'.join(said)}" if said else "/sign-in"


def address_of(request: Request) -> str:
    """Return the address of the page that a request is for, or that the form it sends was on."""
    if request.method not in SAFE_METHODS:
        return _page_of_form(request)
    path, query = request.url.path, request.url.query
    # What a provider sends along when it sends somebody back is for once.
    whole = f"{path}?{query}" if query and not path.startswith("/sign-in/") else path
    return whole if LOCAL_PATH(whole) else local_path(path)


def _page_of_form(request: Request) -> str:
    """Return the address of the page that a form was sent from: its own, or the next one above it."""
    path, query = request.url.path, request.url.query
    if _is_shown(request, path):
        whole = f"{path}?{query}" if query else path
        return whole if LOCAL_PATH(whole) else local_path(path)
    while path not in ("", "/"):
        path = path.rpartition("/")[0]
        if path and _is_shown(request, path):
            return local_path(path)
    return "/"


def _is_shown(request: Request, path: str) -> bool:
    """Return whether an address can be gone to, as a link is."""
    asked = {"type": "http", "method": "GET", "path": path, "root_path": "", "headers": []}
    return any(
        route.matches(asked)[0] is Match.FULL
        for route in request.app.state.routes
        if isinstance(route, Route)
    )


def local_path(path: str) -> str:
    """Return a path of this service as it is, and anything else as ``/``."""
    return path if LOCAL_PATH(path) else "/"


def is_secure(settings: Settings) -> bool:
    """Return whether people reach the pages through TLS."""
    return settings.public_url is not None


def cookie_name(settings: Settings) -> str:
    """Return what the session's cookie is called."""
    return SECURE_COOKIE if is_secure(settings) else PLAIN_COOKIE


def home_of(request: Request) -> str | None:
    """Return the address people reach the service at, without a path; None where none is safe."""
    public = parts_of(request).settings.public_url
    if public is None and is_this_machine(request):
        return f"http://{request.headers['host']}"
    return public


def is_this_machine(request: Request) -> bool:
    """Return whether a browser on this machine asks for this machine, by name or number.

    The name is checked too: another site's name can be made to lead here.
    """
    client = request.client
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    return client is not None and is_loopback(client.host) and is_loopback(host)
