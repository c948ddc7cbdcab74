"""The card: what a graph cannot say about itself, written by the people who own the model.

An ONNX file loses column names, ranges, units, what the classes mean and which of them is the
positive one; the card says them, and loading refuses a card that does not fit its graph. The
sections follow what a public register asks of an algorithmic tool: who owns it, what for, on what
authority, what it cannot know.
"""

from typing import Annotated, Literal, Self

import pydantic
import yaml
from pydantic import AfterValidator, StringConstraints, model_validator

from models.card_sections import (
    Assessment,
    Considerations,
    ModelDetails,
    ModelParameters,
    Part,
    QuantitativeAnalysis,
    Supplier,
    Text,
)
from models.plain_yaml import parse_plain
from models.translations import CARD_LANGUAGE, CardWords, Language, gaps

FieldType = Literal["number", "integer", "string", "boolean"]
ClassLabel = int | float | str
Value = float | int | str | bool | None
"""One field's value as Python keeps it; None is a missing value."""

MAX_FIELDS = 1_000
MAX_CATEGORIES = 10_000


def _printable(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError("want printable characters with no space at either end")
    return text


FieldName = Annotated[
    str, StringConstraints(min_length=1, max_length=100), AfterValidator(_printable)
]
ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Version = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,31}$")]


class Field(Part):
    """One named input as a person knows it, never an encoded column."""

    name: FieldName
    type: FieldType
    label: Text
    description: Text | None = None
    unit: Text | None = None
    unit_one: Text | None = None
    """What the unit is called for one of it, where that is another word: ``month``."""
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[int | str, ...] = ()
    """The values allowed, for strings (required) and whole numbers (optional)."""
    may_be_missing: bool = False
    missing_value: float | int | str | bool | None = None
    """What the trainer put in place of a missing value; without it, NaN into a float input."""
    may_be_unknown: bool = False
    """Whether a value outside ``categories`` is scored and flagged instead of refused."""
    actionable: bool = False
    """Whether the person concerned could change this value."""
    direction: Literal["any", "increase", "decrease"] = "any"
    """Which way an actionable value can move."""
    about: Literal["case", "group"] = "case"
    """``group``: a value that everyone in an area, school or cohort shares, and no fact about the
    person. What others did is then held against this one."""
    input: str | None = None
    """The graph input that takes this field; derived when there is only one way."""
    column: int | None = None
    """The column of that input; derived from the order of the fields when absent."""
    wording: Text
    """The field in the middle of a sentence, with ``{value}`` where its value goes."""
    value_wording: dict[str, Text] = pydantic.Field(default_factory=dict)
    """Whole phrases for single values: a category, ``true``, ``false`` or ``missing``."""

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        numeric = self.type in {"number", "integer"}
        kind = {"number": float, "integer": int, "string": str, "boolean": bool}[self.type]
        for fault, applies in (
            ("minimum and maximum are for numbers", not numeric and self._has_range()),
            ("minimum is above maximum", self._range_is_empty()),
            ("limits of a whole number are whole", self.type == "integer" and self._has_fraction()),
            ("a string lists its categories", self.type == "string" and not self.categories),
            (
                "categories are for strings and whole numbers",
                self.type in {"number", "boolean"} and bool(self.categories),
            ),
            (
                f"every category of this field is of type {self.type}",
                any(type(category) is not kind for category in self.categories),
            ),
            ("a category appears twice", len(set(self.categories)) != len(self.categories)),
            (f"at most {MAX_CATEGORIES} categories", len(self.categories) > MAX_CATEGORIES),
            ("may_be_unknown needs categories", self.may_be_unknown and not self.categories),
            (
                "missing_value needs may_be_missing",
                self.missing_value is not None and not self.may_be_missing,
            ),
            (
                f"missing_value is of type {self.type}",
                self.missing_value is not None
                and type(self.missing_value) is not kind
                and not (self.type == "number" and type(self.missing_value) is int),
            ),
            ("direction is for actionable fields", self._has_idle_direction()),
            ("unit_one needs unit", self.unit_one is not None and self.unit is None),
            ("column needs input", self.column is not None and self.input is None),
            ("column counts from 0", self.column is not None and self.column < 0),
            (
                "value_wording is for categories, true, false and missing",
                not set(self.value_wording) <= self._worded_values(),
            ),
        ):
            if applies:
                raise ValueError(fault)
        return self

    def _has_range(self) -> bool:
        return self.minimum is not None or self.maximum is not None

    def _range_is_empty(self) -> bool:
        return self.minimum is not None and self.maximum is not None and self.minimum > self.maximum

    def _has_fraction(self) -> bool:
        return any(x is not None and not x.is_integer() for x in (self.minimum, self.maximum))

    def _has_idle_direction(self) -> bool:
        return self.direction != "any" and not self.actionable

    @property
    def values_read_as_words(self) -> frozenset[str]:
        """The values that a reader meets as words, which another language says in its own."""
        if self.type not in {"number", "integer"}:
            return frozenset(self._worded_values())
        return frozenset({"missing"} if self.may_be_missing else ())

    def _worded_values(self) -> set[str]:
        values = {"true", "false"} if self.type == "boolean" else set(map(str, self.categories))
        return values | {"missing"} if self.may_be_missing else values


class Output(Part):
    """What the graph returns and what it means."""

    task: Literal["classification", "regression"]
    meaning: Text
    """What the score of the positive class, or the number, says about a case."""
    classes: tuple[ClassLabel, ...] = ()
    """In the order of the graph's scores; a graph may write the trainer's 1.0 as 1."""
    positive_class: ClassLabel | None = None
    """The class that the score is about."""
    class_wording: dict[str, Text] = pydantic.Field(default_factory=dict)
    unit: Text | None = None
    number: int | None = None
    """Which of the graph's numbers a regression is about, counting from 0; only where it returns
    several."""
    label_output: str | None = None
    """The graph output that holds the label; derived when there is only one way."""
    score_outputs: tuple[str, ...] = ()
    """The graph output, or one per class, that holds the scores; derived likewise."""

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        classification = self.task == "classification"
        for fault, applies in (
            ("a classification has at least two classes", classification and len(self.classes) < 2),
            ("a class appears twice", len(set(self.classes)) != len(self.classes)),
            (
                "positive_class is one of the classes",
                classification and self.positive_class not in self.classes,
            ),
            (
                "a regression has no classes",
                not classification and bool(self.classes or self.positive_class is not None),
            ),
            ("number counts from 0", self.number is not None and self.number < 0),
            ("number is for regressions", classification and self.number is not None),
            ("class_wording is for classes", not set(self.class_wording) <= self._class_names()),
        ):
            if applies:
                raise ValueError(fault)
        return self

    def worded(self, label: object) -> str:
        """Return what people read of a class: its wording, or else its name."""
        return self.class_wording.get(str(label), str(label))

    def _class_names(self) -> set[str]:
        return {str(label) for label in self.classes}

    @property
    def positive_index(self) -> int:
        """The place of the positive class; 0 for a regression."""
        if self.positive_class is None:
            return 0
        return self.classes.index(self.positive_class)


class Card(Part):
    """One model as its owner describes it."""

    name: ModelName
    version: Version
    title: Text
    owner: Text
    contact: Text | None = None
    purpose: Text
    legal_basis: Text
    training_data: Text | None = None
    output: Output
    fields: tuple[Field, ...]
    protected: tuple[FieldName, ...] = ()
    """Protected attributes that were considered. None of them can be a field."""
    sample_tolerance: Annotated[float, pydantic.Field(gt=0, le=0.1)] = 1e-5
    """The largest difference allowed between the graph and the trainer's own scores; for a regression, of
    their size."""
    what_it_cannot_know: tuple[Text, ...]
    limitations: tuple[Text, ...]
    supplier: Supplier | None = None
    model_details: ModelDetails | None = None
    model_parameters: ModelParameters | None = None
    quantitative_analysis: QuantitativeAnalysis | None = None
    considerations: Considerations | None = None
    assessments: tuple[Assessment, ...] = ()
    translations: dict[Language, CardWords] = pydantic.Field(default_factory=dict)
    """Title and fields in other languages, for the letters to the persons affected."""

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        names = [field.name for field in self.fields]
        if not 1 <= len(names) <= MAX_FIELDS:
            raise ValueError(f"got {len(names)} fields, want 1 to {MAX_FIELDS}")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"field {twice[0]!r} appears twice")
        for field in self.fields:
            if field.name in self.protected:
                raise ValueError(
                    f"protected attribute {field.name!r} is a field: take it out of the graph"
                )
        read = {field.name: (field.unit, field.values_read_as_words) for field in self.fields}
        for language, words in self.translations.items():
            missing = list(gaps(words, read))
            if missing:
                raise ValueError(f"the translation {language!r} lacks: {', '.join(missing)}")
        return self

    def field(self, name: str) -> Field:
        """Return the field of that name. Raises KeyError."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)

    def in_language(self, language: str) -> Self:
        """Return the card with title and fields in a language. Raises KeyError without its words."""
        if language == CARD_LANGUAGE:
            return self
        words = self.translations[language]
        fields = tuple(
            field.model_copy(
                update={
                    **words.fields[field.name].model_dump(exclude_none=True),
                    "unit_one": words.fields[field.name].unit_one,  # else the card's own would stay
                }
            )
            for field in self.fields
        )
        return self.model_copy(update={"title": words.title, "fields": fields})


def parse_card(text: bytes) -> Card:
    """Return the card that a YAML file holds.

    Raises CardRefusedError for anything but plain YAML that fits ``Card``, listing every fault with
    its place.
    """
    return parse_plain(text, Card, what="card.yaml", whole="card")


def write_card(card: Card) -> bytes:
    """Return the card as YAML that ``parse_card`` reads back equal."""
    tree = card.model_dump(mode="json", exclude_defaults=True)
    tree["output"]["task"] = card.output.task
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=100).encode()
