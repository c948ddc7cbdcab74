"""What the auditor's pages call statuses, entries and verdicts."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.web.language import Texts
from audit.leaf import Leaf


@dataclass(frozen=True, slots=True)
class Happening:
    """One entry of a decision's timeline."""

    title: str
    when: str
    datetime: str
    who: str
    text: str


def happening(index: int, leaf: Leaf, texts: Texts) -> Happening:
    """Return what a leaf says happened. Leaves name nobody but by opaque names."""
    _ = texts.gettext
    facts = leaf.facts
    who = str(facts.get("reader") or facts.get("actor") or "")
    role = facts.get("role")
    if who and isinstance(role, str):
        who = f"{who} ({role})"
    text = _("Entry %(index)s of the log") % {"index": index}
    verdict = facts.get("verdict")
    if isinstance(verdict, str):
        text = f"{verdict_words(verdict, texts)}. {text}"
    return Happening(
        title=titles(texts).get(leaf.type, leaf.type.replace("_", " ")),
        when=leaf.timestamp.replace("T", " ").replace("Z", " UTC"),
        datetime=leaf.timestamp,
        who=who,
        text=text,
    )


def titles(texts: Texts) -> Mapping[str, str]:
    """Return what the types of entries are called."""
    _ = texts.gettext
    return {
        "recommendation": _("Advice given"),
        "read": _("Read"),
        "own_assessment": _("Own view recorded"),
        "advice_requested": _("Advice asked for"),
        "caseworker_decision": _("Decided by a person"),
        "notice": _("Letter recorded"),
        "contest": _("Contested"),
        "representation": _("The person was heard"),
        "review": _("Reviewed by another person"),
        "taken": _("Taken on"),
        "released": _("Handed back"),
        "corrects": _("Corrects an earlier case"),
        "corrected": _("Corrected as a new case"),
        "replay": _("Recomputed"),
        "erasure": _("Erased"),
        "outcome": _("How it turned out was reported"),
        "hold_set": _("Put under a hold"),
        "hold_lifted": _("Hold lifted"),
    }


def verdict_words(verdict: str, texts: Texts) -> str:
    """Return a replay's verdict in a sentence."""
    _ = texts.gettext
    return {
        "identical": _("Every number came out the same, bit for bit"),
        "within_ulps": _("Every number came out the same but for the last digits"),
        "different": _("Something came out differently"),
        "erased": _("The content is erased, so nothing could be recomputed"),
        "model_missing": _("The model that was used is not here, so nothing could be recomputed"),
    }.get(verdict, verdict.replace("_", " "))


def status_words(status: str, texts: Texts) -> str:
    """Return where a case stands."""
    return statuses(texts).get(status, status)


def statuses(texts: Texts) -> Mapping[str, str]:
    """Return every status with what it is called."""
    _ = texts.gettext
    return {
        "open": _("To be decided"),
        "waiting_for_second_person": _("Waiting for a second person"),
        "final": _("Decided"),
        "contested": _("Contested"),
        "reviewed": _("Reviewed"),
        "corrected": _("Corrected"),
        "erased": _("Erased"),
        "damaged": _("Damaged"),
    }
