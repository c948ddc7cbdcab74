"""What surrounds the content of every page: who is signed in, where they can go, in what language."""

from dataclasses import dataclass
from urllib.parse import quote

from fastapi import Request

from app.api.parts import parts_of
from app.domain import Role
from app.web.assets import Assets
from app.web.language import Language, Texts, texts_in
from app.web.navigation import Link, links_for
from app.web.session import address_of, session_of


@dataclass(frozen=True, slots=True)
class LanguageLink:
    """A language that the page could be read in."""

    code: str
    name: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class Chrome:
    """What the layout uses; templates have it as ``page``."""

    language: str
    languages: tuple[LanguageLink, ...]
    path: str
    """The page's own address; of one that answers a form, that of the page that the form was on."""
    sign_in: str
    """Where to sign in, to come back to this page."""
    assets: Assets
    csrf: str
    """What every form sends along as ``csrf``; empty where nobody has a session."""
    role: str | None
    """The role of whoever is signed in, in words."""
    can_change_role: bool
    links: tuple[Link, ...]
    is_demonstration: bool


def chrome_of(request: Request, language: Language) -> Chrome:
    """Return what surrounds the page that answers a request."""
    session = session_of(request)
    caller = None if session is None else session.caller
    texts, path = texts_in(language), address_of(request)
    return Chrome(
        language=language.value,
        languages=tuple(
            LanguageLink(each.value, each.own_name, each is language) for each in Language
        ),
        path=path,
        sign_in=_sign_in(path),
        assets=parts_of(request).assets,
        csrf="" if session is None else session.csrf,
        role=None if caller is None else role_name(caller.role, texts),
        can_change_role=session is not None and caller is not None and len(session.roles) > 1,
        links=tuple(
            link
            for link in links_for(None if caller is None else caller.role, texts, request.url.path)
            if link.address != "/docs"  # the footer of every page has it
        ),
        is_demonstration=parts_of(request).settings.demo_sign_in,
    )


def _sign_in(path: str) -> str:
    """Return where to sign in from a page; the page to sign in at knows already where one came from."""
    if path.startswith("/sign-in?"):
        return path
    return "/sign-in" if path == "/" or path.startswith("/sign") else f"/sign-in?back={quote(path)}"


def role_name(role: Role, texts: Texts) -> str:
    """Return what people call a role."""
    _ = texts.gettext
    return {
        Role.CALLER: _("case system"),
        Role.CASEWORKER: _("caseworker"),
        Role.REVIEWER: _("reviewer"),
        Role.MODEL_OWNER: _("model owner"),
        Role.AUDITOR: _("auditor"),
        Role.EQUALITY: _("equality officer"),
        Role.ADMIN: _("administrator"),
    }[role]
