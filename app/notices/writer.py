"""Writes the letter about one case, and measures it. What the service keeps of letters is here."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from app.cases import CaseFile
from app.domain import Caller
from app.notices.facts import labels_in, notice_facts
from app.notices.readability import Reading, reading_of
from app.notices.templates import LetterTemplate, TemplatesError, load_template
from app.policy import Policy
from app.policy_terms import NoticeTerms
from app.refusals import NoticeIncompleteError, NoticeUnavailableError
from app.served import ServedModel
from models.card import Card
from models.translations import CARD_LANGUAGE

_OPEN_PLACE = re.compile(r"\[\[(.*?)\]\]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter as it would be sent."""

    language: str
    outcome: str
    text: str
    reading: Reading
    must_name: tuple[str, ...]
    """The labels of the facts that weighed: a letter without one of them is not recorded."""
    to_complete: tuple[str, ...]
    """The places, ``[[...]]`` in the text, that only a person can fill."""
    template: LetterTemplate


class NoticeWriter:
    """The templates of all languages, each read when a letter in it is first written."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._templates: dict[str, LetterTemplate] = {}

    @classmethod
    def open(cls, directory: Path | None, served: Iterable[ServedModel]) -> "NoticeWriter":
        """Return a writer that has read what the served models' policies need now.

        Raises TemplatesError.
        """
        writer = cls(directory)
        for model in served:
            writer.prepare(model)
        return writer

    def prepare(self, model: ServedModel) -> None:
        """Read the templates of a model's languages. Raises TemplatesError."""
        for language in model.policy.notice.letters:
            self._template(language)

    def _template(self, language: str) -> LetterTemplate:
        found = self._templates.get(language)
        if found is None:
            found = self._templates[language] = load_template(self._directory, language)
        return found

    def write(
        self,
        case: CaseFile,
        card: Card,
        policy: Policy,
        *,
        today: Policy | None,
        outcome: str,
        language: str,
        reader: Caller,
        on: date,
    ) -> Letter:
        """Return the letter about an outcome of the case.

        ``card`` and ``policy`` are those of the version that advised. Of ``today``'s policy, if
        there is one, are only whom to turn to and how plain a letter has to be. Raises
        NoticeUnavailableError.
        """
        facts = notice_facts(
            case,
            card,
            policy,
            today=today,
            outcome=outcome,
            language=language,
            reader=reader,
            on=on,
        )
        try:
            template = self._template(language)
            text = template.write(facts)
        except TemplatesError as err:
            raise NoticeUnavailableError(f"the template failed: {err}") from err
        return Letter(
            language=language,
            outcome=outcome,
            text=text,
            reading=_reading(text, language, (today or policy).notice),
            must_name=facts.labels,
            to_complete=tuple(_OPEN_PLACE.findall(text)),
            template=template,
        )


def check_text(
    case: CaseFile, card: Card | None, terms: NoticeTerms, *, text: str, language: str
) -> Reading:
    """Return how hard a letter is to read that is to be recorded, by whomever it was written.

    ``card`` is that of the bundle that advised, None where it is gone: a case can still be ended
    then, in English. Raises NoticeIncompleteError for a letter that leaves out a factor that
    weighed, has a place left open or is too hard to read; NoticeUnavailableError where the factors
    have no words in the language.
    """
    check_filled_in(text)
    said = _one_line(text)
    missing = [
        label
        for label in _labels(case, card, language)
        # As words of their own: "count" is not said by "country".
        if re.search(rf"(?<!\w){re.escape(_one_line(label))}(?!\w)", said) is None
    ]
    if missing:
        raise NoticeIncompleteError(
            f"the notice does not mention: {', '.join(missing)}", missing=missing
        )
    reading = _reading(text, language, terms)
    if not reading.is_within:
        raise NoticeIncompleteError(
            f"the notice is too hard to read: {reading.measure.replace('_', ' ')} {reading.value}, "
            f"want at most {reading.limit}; shorter sentences and shorter words help"
        )
    return reading


def check_filled_in(text: str) -> None:
    """Raise NoticeIncompleteError for a letter that has a place left open."""
    left_open = _OPEN_PLACE.findall(text)
    if left_open:
        places = "1 place" if len(left_open) == 1 else f"{len(left_open)} places"
        raise NoticeIncompleteError(
            f"the notice has {places} left open: [[...]]", left_open=len(left_open)
        )


def _one_line(text: str) -> str:
    return " ".join(text.split()).casefold()


def _labels(case: CaseFile, card: Card | None, language: str) -> tuple[str, ...]:
    if language == CARD_LANGUAGE:
        return case.material_labels  # as they were when the advice was given
    if card is None:
        raise NoticeUnavailableError("the version that advised on this case is not available here")
    try:
        return labels_in(case, card.in_language(language))
    except KeyError as err:
        raise NoticeUnavailableError(
            f"the card has no translation into {language!r}, so the letter cannot be checked"
        ) from err


def _reading(text: str, language: str, terms: NoticeTerms) -> Reading:
    return reading_of(
        text,
        language=language,
        greatest_age=terms.greatest_reading_age,
        greatest_lix=terms.greatest_lix,
    )
