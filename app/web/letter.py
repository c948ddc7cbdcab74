"""The letter to the person affected: written, edited, looked at, printed, and recorded as sent."""

from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse

from app.api import case_schemas as shapes
from app.api.access import CurrentCaller
from app.api.decisions import DecisionId
from app.api.notices import drafted, record_notice
from app.api.parts import Parts, parts_of
from app.api.recorded_reads import record_read
from app.cases import CaseFile
from app.domain import Caller, Role
from app.notices.writer import Letter, check_filled_in
from app.refusals import NoticeIncompleteError, NoticeUnavailableError
from app.reveal import open_case
from app.visible import is_visible
from app.web import case_words
from app.web.case_view import Form, Items, items_of, served_by
from app.web.forms import filled_in
from app.web.language import Texts, texts_of
from app.web.render import page
from app.web.session import signed_in

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

WRITERS = (Role.CASEWORKER, Role.REVIEWER, Role.ADMIN)
LANGUAGES = {"en": "English", "cy": "Cymraeg"}
LONGEST = 50_000


@dataclass(frozen=True, slots=True)
class LetterView:
    """The page of a letter."""

    template: ClassVar[str] = "cases/letter.html"

    id: str
    reference: str
    outcomes: Items
    languages: Items
    outcome: str
    """What the text tells, and in which language: this is what is recorded with it."""
    language: str
    chosen_outcome: str
    """The letter that its reader has chosen, which is another until it is written."""
    chosen_language: str
    text: str
    paragraphs: list[str]
    must_name: list[str]
    to_complete: list[str]
    reading: str
    is_within: bool
    unavailable: str
    """Why no letter can be written here; empty where one can."""
    recorded: int
    in_force: str
    """What was decided, where the letter tells another decision; otherwise empty."""
    form: Form


@router.get("/decisions/{decision_id}/letter", **signed_in(*WRITERS))
async def show_letter(
    request: Request,
    decision_id: DecisionId,
    caller: CurrentCaller,
    outcome: str = "",
    language: str = "en",
) -> Response:
    """Show a draft, once it is recorded who reads it."""
    parts, texts = parts_of(request), texts_of(request)
    case = await _readable(parts, decision_id, caller)
    about = outcome if outcome in case.terms.outcomes else case.outcome or case.advised_outcome
    chosen = language if language in LANGUAGES else "en"
    if about is None:
        about = next(iter(case.terms.outcomes))
    letter, unavailable = await _draft(parts, case, caller, outcome=about, language=chosen)
    await record_read(parts, decision_id, what="notice", reader=caller)
    text = "" if letter is None else letter.text
    view = _view(
        parts, case, texts, outcome=about, language=chosen, chosen=(about, chosen), text=text,
        letter=letter, unavailable=unavailable, form=Form(),
    )  # fmt: skip
    return page(request, view)


@router.post("/decisions/{decision_id}/letter", **signed_in(*WRITERS))
async def use_letter(request: Request, decision_id: DecisionId, caller: CurrentCaller) -> Response:
    """Write another letter, show it as it will look, make a PDF of it, or record it as sent."""
    parts, texts = parts_of(request), texts_of(request)
    case = await _readable(parts, decision_id, caller)
    values = await filled_in(request)
    _ = texts.gettext
    text, language = values.get("text", ""), values.get("language", "en")
    outcome, action = values.get("outcome", ""), values.get("action", "")
    other = values.get("other_outcome", outcome), values.get("other_language", language)
    faults: dict[str, str] = {}
    if not _are_on_the_page(case, (outcome, language), other):
        faults["text"] = _("Choose one of those on the page")
        outcome, language = other = next(iter(case.terms.outcomes)), "en"
    elif action == "replace" or (
        action == "write" and text in ("", await _untouched(parts, case, caller, outcome, language))
    ):
        chosen = urlencode({"outcome": other[0], "language": other[1]})
        return RedirectResponse(f"/decisions/{decision_id}/letter?{chosen}", status_code=303)
    elif action == "write" or other != (outcome, language):
        message = _of_another(parts, case, texts, outcome=outcome, language=language, action=action)
        field = "other_outcome" if other[0] != outcome else "other_language"
        faults["replace" if action == "write" else field] = message
    elif not is_visible(text) or len(text) > LONGEST:
        faults["text"] = _("Write the letter: at most 50,000 characters")
    elif action == "pdf":
        made = await _pdf(decision_id, text, language, texts)
        if isinstance(made, Response):
            return made
        faults["text"] = made
    elif action == "record":
        try:
            step = await record_notice(
                request,
                decision_id,
                shapes.Notice(outcome=outcome, text=text, language=language),
                caller,
            )
            await parts.index.reach(step.receipt.index)
            return RedirectResponse(f"/decisions/{decision_id}#letter", status_code=303)
        except NoticeIncompleteError as refused:
            faults["text"] = _incomplete(refused, texts)
        except NoticeUnavailableError as refused:
            faults["text"] = str(refused)
    letter, unavailable = await _draft(parts, case, caller, outcome=outcome, language=language)
    view = _view(
        parts, case, texts, outcome=outcome, language=language, chosen=other, text=text,
        letter=letter, unavailable=unavailable, form=Form(values, faults),
    )  # fmt: skip
    return page(request, view, status=422 if faults else 200)


def _are_on_the_page(case: CaseFile, *letters: tuple[str, str]) -> bool:
    return all(
        outcome in case.terms.outcomes and language in LANGUAGES for outcome, language in letters
    )


async def _pdf(decision_id: str, text: str, language: str, texts: Texts) -> Response | str:
    """Return the letter as a file to print, or why it cannot be printed."""
    from app.letter_pdf import UnprintableError, letter_pdf  # 9 MB that few services need

    _ = texts.gettext
    try:
        check_filled_in(text)  # a file is what is sent
        content = await run_in_threadpool(letter_pdf, text, language=language)
    except NoticeIncompleteError as refused:
        return _incomplete(refused, texts)
    except UnprintableError as refused:
        shown = refused.character
        return _("The letter cannot be printed with this character in it: %(character)s") % {
            "character": shown if shown.isprintable() else ascii(shown)
        }
    name = f"letter-{case_words.short_reference(decision_id)}.pdf"
    return Response(
        content,
        media_type="application/pdf",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


async def _untouched(
    parts: Parts, case: CaseFile, caller: Caller, outcome: str, language: str
) -> str:
    """Return a letter's text as a form sends it where nobody has changed it."""
    letter, _ = await _draft(parts, case, caller, outcome=outcome, language=language)
    return "" if letter is None else letter.text.strip()


def _of_another(
    parts: Parts, case: CaseFile, texts: Texts, *, outcome: str, language: str, action: str
) -> str:
    """Return why a text is not to be used as that of another letter, or be lost to it."""
    _ = texts.gettext
    if action == "write":
        return _("You have changed the text. Choose whether another letter replaces it")
    labels = case_words.outcome_labels(case, served_by(parts, case))
    return _(
        "The text is for “%(outcome)s” (%(language)s). Choose that again, or write the other"
        " letter first"
    ) % {"outcome": labels[outcome], "language": LANGUAGES[language]}


def _incomplete(refused: NoticeIncompleteError, texts: Texts) -> str:
    """Return what a letter lacks, in the page's language."""
    _ = texts.gettext
    if refused.left_open:
        return _("Fill in the places that stand in [[ ]], or take them out")
    if refused.missing:
        return _("Name in the letter what weighed: %(labels)s") % {
            "labels": ", ".join(refused.missing)
        }
    return _("The letter is too hard to read. Write shorter sentences and use shorter words")


async def _readable(parts: Parts, decision_id: str, caller: Caller) -> CaseFile:
    """Return the case for somebody who may write about it. Raises AdviceWithheldError."""
    case = await run_in_threadpool(open_case, parts.log, decision_id, reader=caller)
    case.check_visible(caller)
    return case


async def _draft(
    parts: Parts, case: CaseFile, caller: Caller, *, outcome: str, language: str
) -> tuple[Letter | None, str]:
    """Return a letter, or why there is none."""
    try:
        letter = await run_in_threadpool(drafted, parts, case, outcome, language, caller)
    except NoticeUnavailableError as refused:
        return None, str(refused)
    return letter, ""


def _view(
    parts: Parts,
    case: CaseFile,
    texts: Texts,
    *,
    outcome: str,
    language: str,
    chosen: tuple[str, str],
    text: str,
    letter: Letter | None,
    unavailable: str,
    form: Form,
) -> LetterView:
    _ = texts.gettext
    labels = case_words.outcome_labels(case, served_by(parts, case))
    reading = ""
    if letter is not None and not form.values:
        measures = {
            "reading_age": _("Somebody aged %(value)s can read it; the limit is %(limit)s."),
            "lix": _("Its reading level (LIX) is %(value)s; the limit is %(limit)s."),
        }
        level = letter.reading
        reading = (
            _("It is too short to say how hard it is to read.")
            if level.value is None
            else measures[level.measure] % {"value": f"{level.value:g}", "limit": level.limit}
        )
    return LetterView(
        id=case.decision.id,
        reference=case_words.short_reference(case.decision.id),
        outcomes=items_of(labels),
        languages=items_of(LANGUAGES),
        outcome=outcome,
        language=language,
        chosen_outcome=chosen[0],
        chosen_language=chosen[1],
        text=text,
        paragraphs=[each.strip("\n") for each in text.split("\n\n") if each.strip()],
        must_name=[] if letter is None else list(letter.must_name),
        to_complete=[] if letter is None else list(letter.to_complete),
        reading=reading,
        is_within=letter is None or letter.reading.is_within,
        unavailable=unavailable,
        recorded=len(case.of_type("notice")),
        in_force=""
        if case.outcome in (None, outcome)
        else labels.get(str(case.outcome), str(case.outcome)),
        form=form,
    )
