"""The letters' templates: the packaged ones, or a body's own beside or instead of them.

A template directory has one directory for each language with ``letter.txt`` (Jinja) and
``words.yaml``. Templates run in Jinja's sandbox, and what they name must exist: a misspelt name is
an error when the service starts, and never a gap in a letter.
"""

import hashlib
from dataclasses import dataclass
from datetime import date
from importlib.resources import files as resources
from pathlib import Path
from typing import Annotated

import yaml
from jinja2 import StrictUndefined, Template, TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import Field, ValidationError

from app.domain import Source
from app.notices.facts import Fact, NoticeFacts
from app.policy_terms import Strict, Words

LETTER, WORDS = "letter.txt", "words.yaml"
MAX_BYTES = 256 * 1024


class TemplatesError(Exception):
    """A template or its words cannot be used, with what was wrong."""


class TemplateWords(Strict):
    """Words of one language that go with its template."""

    months: Annotated[tuple[Words, ...], Field(min_length=12, max_length=12)]
    sources: Annotated[dict[Source, Words], Field(min_length=4)]

    def day(self, day: date) -> str:
        """Return a date: ``2 November 2026``."""
        return f"{day.day} {self.months[day.month - 1]} {day.year}"

    def source(self, fact: Fact) -> str:
        """Return where a fact comes from, with its date where there is one: `` (you told us)``.

        Empty where nobody has said.
        """
        if fact.source is None:
            return ""
        said = self.sources[fact.source]
        return f" ({said})" if fact.date is None else f" ({said}, {self.day(fact.date)})"


@dataclass(frozen=True, slots=True)
class LetterTemplate:
    """One language's template."""

    language: str
    template: Template
    words: TemplateWords
    digest: str
    """``sha256:<hex>`` of both files: what wrote a letter can be found again."""
    packaged: bool
    """Whether it came with the service."""

    def write(self, facts: NoticeFacts) -> str:
        """Return the letter. Raises TemplatesError."""
        try:
            text = self.template.render(
                **facts.context(), day=self.words.day, source=self.words.source
            )
        except (TemplateError, TypeError, ValueError, ArithmeticError) as err:
            raise TemplatesError(f"{self.language}/{LETTER}: {err}") from err
        return text.strip() + "\n"


def load_template(directory: Path | None, language: str) -> LetterTemplate:
    """Return the language's template in ``directory``, or else the packaged one.

    Raises TemplatesError, also where there is neither.
    """
    own = None if directory is None else directory / language
    packaged = own is None or not own.is_dir()
    if own is None or packaged:
        letter = _packaged(language, LETTER)
        words = _packaged(language, WORDS)
    else:
        letter, words = _read(own / LETTER), _read(own / WORDS)
    return LetterTemplate(
        language=language,
        template=_compiled(letter, language),
        words=_words(words, language),
        digest="sha256:" + hashlib.sha256(letter + b"\0" + words).hexdigest(),
        packaged=packaged,
    )


def _compiled(letter: bytes, language: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    try:
        source = letter.decode()
        unknown = meta.find_undeclared_variables(environment.parse(source)) - _NAMES
        template = environment.from_string(source)
    except (TemplateError, UnicodeDecodeError) as err:
        raise TemplatesError(f"{language}/{LETTER}: {err}") from err
    if unknown:
        raise TemplatesError(
            f"{language}/{LETTER} names {', '.join(sorted(unknown))}; "
            f"there is: {', '.join(sorted(_NAMES))}"
        )
    return template


_NAMES = {*NoticeFacts.__slots__, "day", "source"} - {"labels"}


def _words(content: bytes, language: str) -> TemplateWords:
    try:
        return TemplateWords.model_validate(yaml.safe_load(content))
    except ValidationError as err:
        fault = err.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise TemplatesError(f"{language}/{WORDS}: {place}: {fault['msg']}") from err
    except (yaml.YAMLError, ValueError) as err:
        raise TemplatesError(f"{language}/{WORDS} is not YAML: {err}") from err


def _packaged(language: str, name: str) -> bytes:
    found = resources("app") / "notices" / "defaults" / language / name
    if not found.is_file():
        raise TemplatesError(
            f"there is no template for the language {language!r}: write {language}/{LETTER} and "
            f"{language}/{WORDS} in the directory that GROUNDS_NOTICES_DIR names"
        )
    return found.read_bytes()


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as err:
        raise TemplatesError(f"cannot read {path}: {err.strerror}") from err
    if len(content) > MAX_BYTES:
        raise TemplatesError(f"{path} has {len(content)} bytes, want at most {MAX_BYTES}")
    return content
