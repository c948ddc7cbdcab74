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
    auditing = (
        Link(
            "/audit/decisions",
            _("Find decisions"),
            _("What was advised and decided, what happened since, and the evidence for it."),
        ),
        Link(
            "/audit/log", _("State of the log"), _("Whether it is sound, and who vouches for it.")
        ),
        Link(
            "/audit/replays",
            _("Recomputed decisions"),
            _("What came out when decisions were computed again, and what would change."),
        ),
    )
    models = Link(
        "/models",
        _("Models"),
        _("Each model with its gaps, how well it works and for whom, and the stop button."),
    )
    cases = Link("/cases", _("Cases"), _("What there is to decide, and what you have decided."))
    reviews = Link("/reviews", _("Reviews"), _("Decisions that people have contested."))
    practice = Link(
        "/practice", _("Practice"), _("Cases with a known answer, to get to know the advice.")
    )
    reliance = Link("/reliance", _("Reliance"), _("How people rely on the advice, all together."))
    of_role: dict[Role, tuple[Link, ...]] = {
        Role.CASEWORKER: (cases, practice),
        Role.REVIEWER: (reviews, cases, reliance, practice),
        Role.AUDITOR: (*auditing, models, reliance),
        Role.MODEL_OWNER: (models, auditing[-1], reliance),
        Role.EQUALITY: (models,),
        Role.ADMIN: (*auditing, models, cases, reviews, reliance, practice),
    }
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
