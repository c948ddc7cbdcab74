"""What the rules of a policy, a law or a stage refuse, and the problem that each refusal is."""

from collections.abc import Mapping, Sequence

from app.problem_type import AppError, ProblemType


class PurposeError(AppError):
    """The call names no purpose or ground in law that the model is for."""


class ProvenanceError(AppError):
    """What the call says of its inputs' origin cannot be."""


class OutsideAgreementError(AppError):
    """The call is outside the data-sharing agreement that the key was made under."""


class HumanNeededError(AppError):
    """Only a person may do this, and the key is a machine's."""


class TrainingError(AppError):
    """The person's training for this impact level is missing or has expired."""


class AdviceWithheldError(AppError):
    """The advice is not for this reader to see, or not yet."""


class AlreadyDecidedError(AppError):
    """The final decision stands; only a review changes it."""

    def __init__(self) -> None:
        super().__init__("this case has a final decision: it changes only by review")


class AnotherPersonError(AppError):
    """This step needs somebody who has not taken part before."""


class StepMissingError(AppError):
    """Another step has to come first."""


class CaseTakenError(AppError):
    """Somebody else has taken the case."""


class CaseCorrectedError(AppError):
    """The case's inputs were corrected: another case took its place."""

    def __init__(self, *, replaced_by: str) -> None:
        super().__init__(f"this case was corrected: go on with {replaced_by}")


class EvidenceNeededError(AppError):
    """A rule asks for evidence, and the decision says nothing of any."""


class NoticeNeededError(AppError):
    """The person affected must be told before this decision is final."""


class NoticeIncompleteError(AppError):
    """The letter leaves out something that it has to say, or is too hard to read."""

    def __init__(self, detail: str, *, missing: Sequence[str] = (), left_open: int = 0) -> None:
        super().__init__(detail)
        self.missing = tuple(missing)
        """Labels of what weighed and is not in it."""
        self.left_open = left_open
        """How many places nobody has filled in."""


class NoticeUnavailableError(AppError):
    """A letter cannot be written: words for it are missing."""


class NotStoppedError(AppError):
    """There is nothing to resume."""


class AdviceStoppedError(AppError):
    """Somebody has stopped the advice."""

    def __init__(self, *, manual_route: str | None) -> None:
        super().__init__(
            "advice stopped: decide unaided. "
            + (manual_route or "Use the body's own procedure for deciding without advice.")
        )


PROBLEMS: Mapping[type[Exception], ProblemType] = {
    HumanNeededError: ProblemType(
        403,
        "human-needed",
        "Only a person may do this",
        "Use the key of a person: `grounds key create --kind human --actor NAME`.",
    ),
    OutsideAgreementError: ProblemType(
        403,
        "outside-agreement",
        "The call is outside the data-sharing agreement",
        "Ask who keeps the agreements. Nothing was advised or recorded.",
    ),
    TrainingError: ProblemType(
        403,
        "training-needed",
        "Training for decisions at this impact level is missing or has expired",
        "Complete the training and have it entered in the file of attestations.",
    ),
    AdviceWithheldError: ProblemType(
        409,
        "advice-withheld",
        "The advice is kept back for now",
        "The policy wants a view that advice has not coloured. The advice is shown after that.",
    ),
    AlreadyDecidedError: ProblemType(
        409,
        "already-decided",
        "The case has a final decision",
        "A final decision changes only by review: contest it, and another person reviews it.",
    ),
    AnotherPersonError: ProblemType(
        409,
        "another-person-needed",
        "Another person has to do this",
        "Somebody who took no part in the decision does this step.",
    ),
    CaseTakenError: ProblemType(
        409,
        "case-taken",
        "Somebody else has taken this case",
        "The one who took it, or a reviewer, hands it back: `POST /v1/decisions/{id}/release`.",
    ),
    CaseCorrectedError: ProblemType(
        409,
        "case-corrected",
        "The case was corrected, and another took its place",
        "`detail` names the case to go on with.",
    ),
    StepMissingError: ProblemType(
        409, "step-missing", "Another step comes first", "`detail` names the step."
    ),
    EvidenceNeededError: ProblemType(
        409,
        "evidence-needed",
        "The policy asks for evidence first",
        "Say in `evidence` what was checked and how: accepting the advice and departing from it "
        "need the same.",
    ),
    NoticeNeededError: ProblemType(
        409,
        "notice-needed",
        "The person affected has no notice of this outcome yet",
        "`POST /v1/decisions/{id}/notice` with this outcome, then decide.",
    ),
    NoticeUnavailableError: ProblemType(
        409,
        "notice-unavailable",
        "No letter can be written for this case in this language",
        "`detail` says what is missing: words in the policy's `notice.letters` or the card's "
        "`translations`. A letter written by hand can be recorded all the same.",
    ),
    NotStoppedError: ProblemType(
        409, "not-stopped", "There is no such stop", "`GET /v1/stops` lists those in force."
    ),
    PurposeError: ProblemType(
        422,
        "purpose-not-allowed",
        "The purpose or its legal basis is missing, or is not one of this model's",
        "`GET /v1/models/{model}` lists the purposes and the legal bases of each. Nothing was "
        "advised or recorded.",
    ),
    ProvenanceError: ProblemType(
        422,
        "invalid-provenance",
        "What is said of the inputs' origin cannot be",
        "`detail` says what to change. Nothing was advised or recorded.",
    ),
    AdviceStoppedError: ProblemType(
        503,
        "advice-stopped",
        "Advice is stopped: decide unaided",
        "`detail` says how to decide without it. Cases already recorded can still be decided.",
    ),
    NoticeIncompleteError: ProblemType(
        422,
        "notice-incomplete",
        "The notice leaves out something that it has to say, or is too hard to read",
        "`detail` names it. Say it in words that the person will understand.",
    ),
}
