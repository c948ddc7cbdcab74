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
from app.policy_terms import NoticeTerms
from app.refusals import NoticeIncompleteError, NoticeUnavailableError
from app.served import ServedModel
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
    """The templates of all languages in which some open model's policy has letters."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._templates: dict[str, LetterTemplate] = {}

    @classmethod
    def open(cls, directory: Path | None, served: Iterable[ServedModel]) -> "NoticeWriter":
        """Load what the served models need, and find each card translated.

        Raises TemplatesError.
        """
        made = cls(directory)
        for model in served:
            made.prepare(model)
        return made

    def prepare(self, model: ServedModel) -> None:
        """Load what a model needs, and find its card translated. Raises TemplatesError."""
        for language in model.policy.notice.letters:
            try:
                model.bundle.card.in_language(language)
            except KeyError as err:
                raise TemplatesError(
                    f"{model.name}: the policy has letters in {language!r}, and the card has "
                    "no such translation"
                ) from err
            if language not in self._templates:
                self._templates[language] = load_template(self._directory, language)

    def write(
        self,
        case: CaseFile,
        served: ServedModel,
        *,
        outcome: str,
        language: str,
        reader: Caller,
        on: date,
    ) -> Letter:
        """Return the letter about an outcome of the case.

        Raises NoticeUnavailableError.
        """
        _check_served(case, served)
        facts = notice_facts(
            case,
            served.bundle.card,
            served.policy,
            outcome=outcome,
            language=language,
            reader=reader,
            on=on,
        )
        template = self._templates[language]
        try:
            text = template.write(facts)
        except TemplatesError as err:
            raise NoticeUnavailableError(f"the template failed: {err}") from err
        return Letter(
            language=language,
            outcome=outcome,
            text=text,
            reading=_reading(text, language, served.policy.notice),
            must_name=facts.labels,
            to_complete=tuple(_OPEN_PLACE.findall(text)),
            template=template,
        )


def check_text(case: CaseFile, served: ServedModel | None, *, text: str, language: str) -> Reading:
    """Return how hard a letter is to read that is to be recorded, by whomever it was written.

    ``served`` is the case's model, None where it is not served any more: a case can still be ended
    then, in English. Raises NoticeIncompleteError for a letter that leaves out a factor that
    weighed, has a place left open or is too hard to read; NoticeUnavailableError where the factors
    have no words in the language.
    """
    left_open = _OPEN_PLACE.findall(text)
    if left_open:
        raise NoticeIncompleteError(f"the notice has {len(left_open)} places left open: [[...]]")
    said = _one_line(text)
    missing = [
        label
        for label in _labels(case, served, language)
        # As words of their own: "count" is not said by "country".
        if re.search(rf"(?<!\w){re.escape(_one_line(label))}(?!\w)", said) is None
    ]
    if missing:
        raise NoticeIncompleteError(f"the notice does not mention: {', '.join(missing)}")
    reading = _reading(text, language, NoticeTerms() if served is None else served.policy.notice)
    if not reading.is_within:
        raise NoticeIncompleteError(
            f"the notice is too hard to read: {reading.measure.replace('_', ' ')} {reading.value}, "
            f"want at most {reading.limit}; shorter sentences and shorter words help"
        )
    return reading


def _one_line(text: str) -> str:
    return " ".join(text.split()).casefold()


def _labels(case: CaseFile, served: ServedModel | None, language: str) -> tuple[str, ...]:
    if language == CARD_LANGUAGE:
        return case.material_labels  # as they were when the advice was given
    if served is None:
        raise NoticeUnavailableError("the model of this case is not served here any more")
    _check_served(case, served)
    try:
        return labels_in(case, served.bundle.card.in_language(language))
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


def _check_served(case: CaseFile, served: ServedModel) -> None:
    if served.bundle.digest != case.answer["model"]["digest"]:
        raise NoticeUnavailableError(
            "the bundle that advised on this case is not served here any more, and its words went "
            "with it"
        )
