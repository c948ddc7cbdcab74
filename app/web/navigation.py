"""Where each role can go from any page: add a page's link here when people should find it."""

from dataclasses import dataclass

from app.domain import Role
from app.web.language import Texts


@dataclass(frozen=True, slots=True)
class Link:
    """One place to go."""

    address: str
    text: str
    about: str
    """What somebody finds there; the home page says it."""
    is_current: bool = False


def links_for(role: Role | None, texts: Texts, path: str = "") -> tuple[Link, ...]:
    """Return the links of a role, the public ones last; ``path`` is the page they stand on."""
    _ = texts.gettext
    of_role: dict[Role, tuple[Link, ...]] = {}
    everybody = (
        Link(
            "/transparency",
            _("Models in use"),
            _("Which models advise here, on what, and how well each one works."),
        ),
        Link(
            "/docs", _("For developers"), _("How another system asks for advice, and what it gets.")
        ),
    )
    links = (*(() if role is None else of_role.get(role, ())), *everybody)
    return tuple(
        Link(link.address, link.text, link.about, is_current=_is_under(path, link.address))
        for link in links
    )


def _is_under(path: str, address: str) -> bool:
    return path == address or path.startswith(f"{address}/")
