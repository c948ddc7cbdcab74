"""The shapes of what happens to a case after the advice."""

from typing import Annotated, Literal

from pydantic import Field

from app.api.schemas import Moment, Receipt, Shape
from app.visible import VISIBLE, VISIBLY
from models.translations import Language

Outcome = Annotated[
    str, Field(min_length=1, max_length=64, description="One of the policy's outcomes.")
]
Text = Annotated[str, Field(min_length=1, max_length=10_000, description=VISIBLE), VISIBLY]
ReasonCode = Literal[
    "facts_support",
    "facts_missing_from_model",
    "data_wrong",
    "circumstances_special",
    "law_or_guidance",
    "other",
]
EventName = Literal[
    "own_assessment",
    "advice_requested",
    "caseworker_decision",
    "notice",
    "contest",
    "representation",
    "review",
    "taken",
    "released",
    "corrects",
    "corrected",
]


class Reason(Shape):
    """Why: a kind, to be counted, and words. The same whether the advice is followed or not."""

    code: ReasonCode
    text: Text


class OwnAssessment(Shape):
    """What the caseworker thinks before seeing the advice."""

    outcome: Outcome
    confidence: Literal["low", "medium", "high"]
    reason: Reason


class Nothing(Shape):
    """An empty object: there is nothing to say."""


class CaseworkerDecision(Shape):
    """The decision. Whether it agrees with the advice is worked out, not asked."""

    outcome: Outcome
    reason: Reason
    evidence: Annotated[
        Text | None,
        Field(description="What was checked, and how: needed where the policy asks for evidence."),
    ] = None


class Notice(Shape):
    """The letter to the person affected, as it was sent."""

    outcome: Outcome
    text: Annotated[
        str,
        Field(
            min_length=1,
            max_length=50_000,
            description="The whole text: it must name, by its label, every field that weighed.",
        ),
        VISIBLY,
    ]
    language: Annotated[Language, Field(description="An ISO 639 code.")] = "en"


class ReadingLevel(Shape):
    """How hard a text is to read, by a published formula."""

    measure: Annotated[
        Literal["reading_age", "lix"],
        Field(
            description="`reading_age`: years, by the automated readability index (English). `lix`: "
            "LIX, by the length of sentences and words (other languages)."
        ),
    ]
    value: Annotated[float | None, Field(description="Null for a text of under 100 words.")]
    limit: int
    within_limit: bool


class NoticeTemplate(Shape):
    """Which template wrote the letter."""

    digest: str
    packaged: Annotated[bool, Field(description="False: the body's own.")]


class WrittenNotice(Shape):
    """A letter to the person affected, to be read over and sent by a person."""

    decision: str
    outcome: str
    language: str
    text: str
    must_name: Annotated[
        list[str], Field(description="The facts that weighed: the letter must name each.")
    ]
    to_complete: Annotated[
        list[str], Field(description="Places `[[...]]` in the text that only a person can fill.")
    ]
    reading: ReadingLevel
    template: NoticeTemplate


class Contest(Shape):
    """The person affected, or somebody for them, disagrees."""

    text: Text
    on_behalf_of: Literal["person", "representative"] = "person"


class Representation(Shape):
    """Something more that they say."""

    text: Text


class Review(Shape):
    """What another person comes to."""

    outcome: Outcome
    reason: Reason


class CaseStep(Shape):
    """One recorded step of a case."""

    decision: str
    number: Annotated[int, Field(ge=1, description="Its place in the case's history.")]
    type: EventName
    at: Moment
    actor: str
    role: str
    human: bool
    content: Annotated[dict[str, object], Field(description="What was said, by type.")]
    receipt: Receipt


class History(Shape):
    """Everything recorded of one case since the advice."""

    decision: str
    status: Annotated[
        Literal["open", "waiting_for_second_person", "final", "contested", "reviewed", "corrected"],
        Field(description="Where the case stands."),
    ]
    outcome: Annotated[str | None, Field(description="The outcome in force; null while open.")]
    steps: list[CaseStep]


class OpenContest(Shape):
    """A contest that nobody has reviewed."""

    decision: str
    since: Moment
    due: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")]
    overdue: bool


class OpenContests(Shape):
    """Contests waiting for a review, the longest waiting first."""

    contests: list[OpenContest]
