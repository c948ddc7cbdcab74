"""What a person sees when something goes wrong: what happened, and what they can do now."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fastapi import Request
from fastapi.responses import HTMLResponse

from app.problem_type import ProblemType
from app.web.language import Texts, texts_of
from app.web.navigation import Link
from app.web.render import page
from app.web.session import SAFE_METHODS, sign_in_address, written_in

_STEP_OF_A_CASE = re.compile(r"(/decisions/[0-9a-f-]{36})/.+").fullmatch
_WITHOUT_THE_CASE = frozenset({403, 404, 410})
"""What is wrong is so of the case's page as well."""


@dataclass(frozen=True, slots=True)
class ErrorView:
    """The page of an error."""

    template: ClassVar[str] = "error.html"

    heading: str
    paragraphs: tuple[str, ...]
    written: tuple[str, ...]
    """What its reader wrote in the form that was refused: the page is the only place that has it."""
    link: Link | None
    request_id: str
    technical: str
    """The problem as the API says it, for whoever helps."""


def error_page(
    request: Request, kind: ProblemType, *, detail: str, request_id: str
) -> HTMLResponse:
    """Return the page of a problem. ``detail`` holds no value from a case."""
    texts = texts_of(request)
    heading, *paragraphs = _words(kind, texts)
    if request.method not in SAFE_METHODS:
        paragraphs += _of_a_form(kind, paragraphs, texts)
    view = ErrorView(
        heading=heading,
        paragraphs=tuple(paragraphs),
        written=written_in(request),
        link=_link(request, kind, texts),
        request_id=request_id,
        technical=f"{kind.status} {kind.slug}: {detail}",
    )
    return page(request, view, status=kind.status)


def _words(kind: ProblemType, texts: Texts) -> tuple[str, ...]:
    """Return the heading and the paragraphs of a problem: its own, or those of its status."""
    by_slug = _by_slug(texts).get(kind.slug)
    return by_slug or _by_status(texts).get(kind.status) or _by_status(texts)[500]


def _of_a_form(kind: ProblemType, said: Sequence[str], texts: Texts) -> list[str]:
    """Return what else to say where a form was sent: whether it was recorded, if nothing says so yet."""
    _ = texts.gettext
    nothing_recorded = _("Nothing was recorded.")
    if kind.status < 500:
        return [] if any(nothing_recorded in each for each in said) else [nothing_recorded]
    return _in_doubt(texts) if kind.status == 500 else []


def _in_doubt(texts: Texts) -> list[str]:
    _ = texts.gettext
    return [
        _("It may have been recorded all the same."),
        _("Go back and load the page again: it shows what is recorded. Only then try again."),
    ]


def _link(request: Request, kind: ProblemType, texts: Texts) -> Link | None:
    _ = texts.gettext
    path = request.url.path
    if kind.slug == "sign-in-needed":
        return Link(sign_in_address(request), _("Sign in"), "")
    if kind.status == 401 or kind.slug in {"sign-in-refused", "provider-unavailable"}:
        return Link("/sign-in", _("Sign in"), "")
    case = _STEP_OF_A_CASE(path)
    if case is not None and kind.status not in _WITHOUT_THE_CASE:
        return Link(case[1], _("Go to the case"), "")
    return Link("/", _("Go to the home page"), "")


def _by_slug(texts: Texts) -> dict[str, tuple[str, ...]]:
    _ = texts.gettext
    nothing_recorded = _("Nothing was recorded.")
    return {
        "advice-withheld": (
            _("The advice is not shown yet"),
            _("Some rules show it after your own view, others when you ask to see it."),
            _("Go back to the case: it says what to do first."),
        ),
        "advice-stopped": (
            _("No advice is given at present"),
            _("Somebody responsible has stopped this model."),
            _("Decide the case without advice, as your team's guidance says."),
            nothing_recorded,
        ),
        "already-decided": (
            _("This case has been decided"),
            _("A final decision changes only when it is reviewed."),
        ),
        "another-person-needed": (
            _("Somebody else has to do this"),
            _("This step is for a person who has not taken part in the case before."),
        ),
        "erased": (
            _("What this page showed was erased"),
            _(
                "The personal content of this decision was erased, as the law or the retention"
                " rules ask. It cannot be brought back."
            ),
            _("The record still shows that the decision was made, and when."),
        ),
        "form-not-accepted": (
            _("Your form was not accepted"),
            _("It did not come from your own session. You may have signed out in another window."),
            _("Go back, load the page again and send the form once more."),
            nothing_recorded,
        ),
        "index-not-ready": (
            _("The lists are being made again"),
            _("They come back by themselves. Wait a moment and try again."),
            _("Cases can be read and decided meanwhile."),
        ),
        "not-stopped": (
            _("This stop has been lifted already"),
            _("Two people have said that advice goes on. Nothing more is needed for this stop."),
            nothing_recorded,
        ),
        "record-damaged": (
            _("This cannot be relied on"),
            _("What is stored contradicts the record. Trying again does not help."),
            _("Do not use it, and ask for help. Nothing was recorded."),
        ),
        "sign-in-refused": (
            _("You could not be signed in"),
            _(
                "Begin again. If it goes on, ask whoever manages access whether you have a role here."
            ),
        ),
        "sign-in-needed": (
            _("You were signed out"),
            _("You are signed out when you do nothing for a while."),
            nothing_recorded,
            _("Sign in, and you come back to the page to fill it in again."),
        ),
        "provider-unavailable": (
            _("You cannot sign in at present"),
            _("The service that you sign in with does not answer as it should."),
            _("Wait a moment and try again. If it goes on, ask for help."),
        ),
        "timed-out": (
            _("This took too long"),
            *_in_doubt(texts),
        ),
        "training-needed": (
            _("You need training before you can decide this"),
            _("Decisions of this kind are for people whose training is up to date."),
            _("Ask your manager about it. Nothing was recorded."),
        ),
        "unknown-decision": (
            _("There is no such case"),
            _("Check the address. You may have followed an old link."),
        ),
        "unknown-model": (
            _("There is no such model"),
            _("Check the address. The model may no longer be in use."),
        ),
    }


def _by_status(texts: Texts) -> dict[int, tuple[str, ...]]:
    _ = texts.gettext
    nothing_recorded = _("Nothing was recorded.")
    try_again = _("Wait a moment and try again. If it goes on, ask for help.")
    return {
        400: (
            _("We could not read what was sent"),
            _("Go back and try again."),
            nothing_recorded,
        ),
        401: (
            _("Sign in to see this page"),
            _("You are signed out when you do nothing for a while."),
        ),
        403: (
            _("You cannot do this in your role"),
            _("The top of the page says which role you have."),
            _("If your work needs it, ask whoever manages access for another role."),
        ),
        404: (
            _("Page not found"),
            _("If you typed the address, check that it is correct."),
            _("If you followed a link, the page may have moved."),
        ),
        405: (_("This page cannot be used in that way"), _("Go back and try again.")),
        408: (
            _("What you sent did not arrive in time"),
            _("Check your connection, then go back and send it again."),
            nothing_recorded,
        ),
        409: (
            _("This cannot be done now"),
            _("The case has changed, or another step has to come first."),
            _("Go back to the case and load it again."),
        ),
        410: (_("This is no longer here"), _("It was removed and cannot be brought back.")),
        413: (
            _("That was too much to send"),
            _("Shorten the text or choose a smaller file, and send it again."),
            nothing_recorded,
        ),
        422: (
            _("Something in what you sent has to be corrected"),
            _("Go back, check what you filled in, and send it again."),
            nothing_recorded,
        ),
        500: (
            _("Sorry, something went wrong"),
            _("This is a fault of the service and not yours."),
            try_again,
        ),
        503: (
            _("This is not available at present"),
            _("Nothing was advised and nothing was recorded."),
            try_again,
            _("If a case cannot wait, decide it without advice, as your team's guidance says."),
        ),
    }
