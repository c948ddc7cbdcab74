"""What a case's steps, states and choices are called, in the reader's language."""

from collections.abc import Mapping
from datetime import datetime

from babel.dates import format_date, format_datetime

from app.cases import CaseFile
from app.served import ServedModel
from app.web.language import Texts

SHORT = 8


def short_reference(decision_id: str) -> str:
    """Return the end of an identifier, by which people know a case apart.

    The beginning is the time: cases of one minute share it.
    """
    return decision_id[-SHORT:]


def moment(text: str, texts: Texts) -> str:
    """Return a recorded time as people read it."""
    at = datetime.fromisoformat(text)
    return format_datetime(at, "d MMMM y, HH:mm", locale=texts.language.value) + " UTC"


def day(text: str, texts: Texts) -> str:
    """Return a recorded day as people read it."""
    at = datetime.fromisoformat(text).date()
    return str(format_date(at, "d MMMM y", locale=texts.language.value))


def statuses(texts: Texts) -> Mapping[str, str]:
    """Return what each state of a case is called."""
    _ = texts.gettext
    return {
        "open": _("To decide"),
        "waiting_for_second_person": _("Waiting for a second person"),
        "final": _("Decided"),
        "contested": _("Contested"),
        "reviewed": _("Reviewed"),
        "corrected": _("Corrected: another case took its place"),
        "erased": _("Erased"),
        "damaged": _("Cannot be read"),
    }


def reason_codes(texts: Texts) -> Mapping[str, str]:
    """Return the kinds of reason for a decision: the same ones whichever way it goes."""
    _ = texts.gettext
    return {
        "facts_support": _("The facts of the case support it"),
        "facts_missing_from_model": _("I know something that the model does not"),
        "data_wrong": _("Some of the facts are wrong or out of date"),
        "circumstances_special": _("The person's circumstances are special"),
        "law_or_guidance": _("The law or our guidance says so"),
        "other": _("Something else"),
    }


def confidences(texts: Texts) -> Mapping[str, str]:
    """Return how sure somebody can be of their own view."""
    _ = texts.gettext
    return {"low": _("Not very sure"), "medium": _("Fairly sure"), "high": _("Very sure")}


def steps(texts: Texts) -> Mapping[str, str]:
    """Return what each step of a case is called."""
    _ = texts.gettext
    return {
        "own_assessment": _("Own view recorded"),
        "advice_requested": _("Advice asked for"),
        "caseworker_decision": _("Decision recorded"),
        "notice": _("Letter recorded"),
        "contest": _("Decision contested"),
        "representation": _("Something more was said"),
        "review": _("Reviewed"),
        "taken": _("Case taken on"),
        "released": _("Case handed back"),
        "corrects": _("Made from a corrected case"),
        "corrected": _("Corrected: another case took its place"),
    }


def sources(texts: Texts) -> Mapping[str, str]:
    """Return where a fact can come from."""
    _ = texts.gettext
    return {
        "declared": _("said by the person"),
        "verified": _("checked"),
        "estimated": _("worked out roughly"),
        "imputed": _("filled in"),
    }


def outcome_labels(case: CaseFile, served: ServedModel | None) -> dict[str, str]:
    """Return the outcomes that a decision may have, in the policy's words.

    The words are today's policy's where it is the one that advised; the names alone otherwise.
    """
    labels = {outcome: outcome.replace("-", " ") for outcome in case.terms.outcomes}
    if served is not None and served.policy_digest == case.answer["policy"]["digest"]:
        for band in served.policy.bands:
            labels[band.outcome] = band.label
    return labels
