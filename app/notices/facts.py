"""What a letter about one case may say: read from the record, in the letter's language.

Everything comes from the recorded answer, the card and the policy. A caseworker's own words are in
English and go into an English letter only: in another one their place is left open.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from app.case_events import CASEWORKER_DECISION, OWN_ASSESSMENT, REVIEW
from app.cases import CaseFile
from app.domain import Caller, Source
from app.policy import Policy
from app.policy_terms import LetterTerms
from app.refusals import NoticeUnavailableError
from models.card import Card, Field, Value
from models.translations import CARD_LANGUAGE
from models.wording import format_value, needs_all_digits

AdviceUse = Literal["followed", "departed", "none"]


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that was known, as the letter says it."""

    label: str
    value: str
    source: Source | None
    """None where nobody has said."""
    date: date | None


@dataclass(frozen=True, slots=True)
class Change:
    """One field of what would have changed the program's suggestion."""

    label: str
    from_: str
    to: str


@dataclass(frozen=True, slots=True)
class NoticeFacts:
    """Everything that a template may use: its names are the template's."""

    language: str
    reference: str
    date: date
    letter: LetterTerms
    """What the body itself says in its letters."""
    outcome: str
    advice: AdviceUse
    advised: str | None
    """The advised outcome as a sentence; None where nothing was advised."""
    decided_by: Literal["person", "machine"]
    model: str
    factors_for: tuple[Fact, ...]
    """What weighed towards the decision, or, where it departs from it, towards the suggestion."""
    factors_against: tuple[Fact, ...]
    other_facts: tuple[Fact, ...]
    not_known: tuple[str, ...]
    """What nobody had a value for, and did not weigh: the fields' labels."""
    some_without_source: bool
    """Whether nobody has said of some fact where it comes from."""
    changes: tuple[tuple[Change, ...], ...]
    reason: str | None
    """Why the outcome was decided, in the words on record; None where there are none in the language."""
    reason_was_given: bool
    """Whether a person gave a reason for the outcome, in whatever language."""
    answer_within_days: int
    appeal_within_days: int
    labels: tuple[str, ...] = field(default=())
    """Of the material factors: each has to be in the letter."""

    def context(self) -> Mapping[str, object]:
        """Return the template's variables by name."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "labels"}


def notice_facts(
    case: CaseFile,
    card: Card,
    policy: Policy,
    *,
    today: Policy | None,
    outcome: str,
    language: str,
    reader: Caller,
    on: date,
) -> NoticeFacts:
    """Return what a letter says about ``outcome``, one of the case's.

    ``card`` and ``policy`` are those of the version that advised; whom to turn to is ``today``'s.
    Raises NoticeUnavailableError where a word is missing in the language, or card or policy do not
    know the case.
    """
    letter = _letter(policy, today, language)
    if letter is None:
        known = ", ".join(f"'{each}'" for each in policy.notice.letters)
        raise NoticeUnavailableError(
            f"the policy that advised on this case has no words for a letter in '{language}'"
            + (f"; it has them in {known}" if known else ", nor in another language")
        )
    if outcome not in letter.outcomes:
        raise NoticeUnavailableError("the letters of this case's policy have no such outcome")
    told = _in_language(card, language)
    advised = case.advised_outcome
    use: AdviceUse = "none" if advised is None else "followed" if advised == outcome else "departed"
    towards, against = _factors(case, told, policy)
    weighed = set(case.material_factors)
    values = case.decision.content.case
    others = [each for each in told.fields if each.name not in weighed]
    had = tuple(_fact(each, case) for each in others if values.get(each.name) is not None)
    final = case.in_force
    decided_by: Literal["person", "machine"] = (
        "machine" if final is not None and not final.is_human else "person"
    )
    reason = _reason(case, reader, outcome)
    return NoticeFacts(
        language=language,
        reference=case.decision.id,
        date=on,
        letter=letter,
        outcome=letter.outcomes[outcome],
        advice=use,
        advised=None if advised is None else letter.outcomes.get(advised),
        decided_by=decided_by,
        model=told.title,
        factors_for=towards,
        factors_against=against,
        other_facts=had,
        not_known=tuple(each.label for each in others if values.get(each.name) is None),
        some_without_source=any(fact.source is None for fact in (*towards, *against, *had)),
        changes=_changes(case, told) if use == "followed" else (),
        reason=reason if language == CARD_LANGUAGE else None,
        reason_was_given=reason is not None and decided_by == "person",
        answer_within_days=case.terms.answer_within_days,
        appeal_within_days=policy.notice.appeal_within_days,
        labels=labels_in(case, told),
    )


def labels_in(case: CaseFile, card: Card) -> tuple[str, ...]:
    """Return the card's labels of the factors that weighed in the advice, heaviest first.

    Raises NoticeUnavailableError where the card has no such field any more.
    """
    return tuple(_field(card, name).label for name in case.material_factors)


def _letter(policy: Policy, today: Policy | None, language: str) -> LetterTerms | None:
    """Return what the body says in the letters of a case's policy, with whom to turn to now."""
    said = policy.notice.letters.get(language)
    now = None if today is None else today.notice.letters.get(language)
    if said is None or now is None:
        return said
    return said.model_copy(
        update={
            "body": now.body,
            "contact": now.contact,
            "ask_for_a_person": now.ask_for_a_person,
            "appeal": now.appeal,
        }
    )


def _in_language(card: Card, language: str) -> Card:
    try:
        return card.in_language(language)
    except KeyError as err:
        raise NoticeUnavailableError(
            f"the card has no translation into {language!r}: its fields would be in English"
        ) from err


def _factors(
    case: CaseFile, card: Card, policy: Policy
) -> tuple[tuple[Fact, ...], tuple[Fact, ...]]:
    """Return the material factors for and against the advised outcome, heaviest first."""
    if case.advised_outcome is None:
        return (), ()
    # Two rules for one outcome can be supported from different sides.
    band = policy.band(case.answer["recommendation"]["rule"]["id"])
    if band is None:
        raise NoticeUnavailableError("the policy of this case has no such rule as advised")
    sign = 1 if band.supported_by == "higher" else -1
    towards: list[Fact] = []
    against: list[Fact] = []
    for name in case.material_factors:
        side = towards if case.contributions[name] * sign > 0 else against
        side.append(_fact(_field(card, name), case))
    return tuple(towards), tuple(against)


def _fact(field: Field, case: CaseFile) -> Fact:
    content = case.decision.content
    origin = content.circumstances.provenance.get(field.name)
    return Fact(
        label=field.label,
        value=shown(field, content.case.get(field.name)),
        source=None if origin is None else origin.source,
        date=None if origin is None else origin.date,
    )


def shown(field: Field, value: Any, *, exact: bool = False) -> str:
    """Return a field's value as a letter says it, on one line."""
    key = (
        "missing"
        if value is None
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )
    words = field.value_wording.get(key) or format_value(field, value, exact=exact)
    # A text that a caller sent cannot pass for a part of the letter, nor for a place left open.
    return " ".join(words.split()).replace("[[", "[ [")


def _changes(case: CaseFile, card: Card) -> tuple[tuple[Change, ...], ...]:
    found: Sequence[Mapping[str, Any]] = case.answer.get("what_would_change", {}).get("found", [])
    return tuple(
        tuple(
            _change(_field(card, part["field"]), part["from"], part["to"])
            for part in each["changes"]
        )
        for each in found
    )


def _change(field: Field, before: Value, after: Value) -> Change:
    return Change(
        field.label,
        shown(field, before, exact=needs_all_digits(before, after)),
        shown(field, after, exact=True),
    )


def _field(card: Card, name: str) -> Field:
    try:
        return card.field(name)
    except KeyError as err:
        raise NoticeUnavailableError(
            "the model's card has changed since this case was advised on"
        ) from err


def _reason(case: CaseFile, reader: Caller, outcome: str) -> str | None:
    """Return the reason on record for an outcome: a review's, the decision's, or the reader's own."""
    for type_ in (REVIEW, CASEWORKER_DECISION, OWN_ASSESSMENT):
        for event in reversed(case.of_type(type_)):
            mine = type_ != OWN_ASSESSMENT or event.actor == reader.name
            if mine and event.content["outcome"] == outcome:
                text: str = event.content["reason"]["text"]
                return " ".join(text.split())
    return None
