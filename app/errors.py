"""What can go wrong, and the one table that turns it into an RFC 9457 problem.

Below this file nothing knows HTTP. A problem says what happened, what is allowed and what to do
next; it never repeats a value from a case, because those are personal data.
"""

from collections.abc import Mapping, Sequence

from app import lifecycle_refusals, refusals
from app.index.store import IndexNotReadyError, IndexStoreError
from app.keeping_errors import (
    CheckpointConflictError,
    HeldCheckpointError,
    NotCoveredError,
    TooEarlyError,
    UnknownHoldError,
)
from app.keys import KeyStoreError
from app.monitoring.attributes import AttributeStoreError
from app.policy import PolicyError
from app.practice_error import PracticeError
from app.problem_type import AppError as AppError
from app.problem_type import ProblemType as ProblemType
from app.sessions import SessionStoreError
from audit.errors import AuditError, DamagedLogError, UnderHoldError
from explainers.errors import ExplanationError
from models.errors import CaseRejectedError, ModelError


class UnknownModelError(AppError):
    """No model of this name is served."""

    def __init__(self, *, served: Sequence[str]) -> None:
        super().__init__(f"this service serves: {', '.join(served) or 'no models'}")


class UnknownDecisionError(AppError):
    """No decision has this identifier, or this key may not see it."""

    def __init__(self) -> None:
        super().__init__("the log has no such decision")


class NotFoundError(AppError):
    """There is nothing at this address."""


class UnknownRunError(AppError):
    """No run of replays has this identifier."""

    def __init__(self) -> None:
        super().__init__("the log has no such run of replays")


class UnknownProblemError(AppError):
    """No kind of problem has this name."""

    def __init__(self, *, known: Sequence[str]) -> None:
        super().__init__(f"kinds of problem: {', '.join(known)}")


class UnknownVerificationError(AppError):
    """No verification of the log has this identifier."""

    def __init__(self) -> None:
        super().__init__("no such verification is under way here or on record")


class ErasedDecisionError(AppError):
    """The decision was recorded, and its personal content has been erased since."""


class InvalidRequestError(AppError):
    """The request is not of the documented form."""

    def __init__(self, detail: str, faults: Sequence[Mapping[str, object]] = ()) -> None:
        super().__init__(detail)
        self.faults = tuple(faults)


class InvalidJsonError(AppError):
    """The body is not JSON."""


class UnsupportedMediaTypeError(AppError):
    """The body does not come as the address takes it."""


class ContentCodingError(UnsupportedMediaTypeError):
    """The body is compressed, or coded otherwise."""

    def __init__(self) -> None:
        super().__init__("the body must come without Content-Encoding: nothing is decompressed")


class BodyTooSlowError(AppError):
    """The body did not arrive in time."""

    def __init__(self, *, seconds: float) -> None:
        super().__init__(f"the body did not arrive within {seconds:g} s")


class BodyTooLargeError(AppError):
    """The body is larger than this service takes."""

    def __init__(self, *, limit: int) -> None:
        super().__init__(f"a request body may have at most {limit} bytes")


class TooManyLinesError(AppError):
    """A batch has more lines than one request may."""

    def __init__(self, *, most: int) -> None:
        super().__init__(f"a batch may have at most {most} lines")


class BatchesFullError(AppError):
    """Too many batches are under way."""

    def __init__(self, *, limit: int) -> None:
        super().__init__(f"{limit} batches are under way already")


NOT_A_VALID_KEY = "the key is unknown, revoked or not whole"


class UnauthenticatedError(AppError):
    """No key, or not a valid one."""


class ForbiddenError(AppError):
    """The key is valid, and its role may not do this."""

    def __init__(self, *, got: str, want: Sequence[str]) -> None:
        super().__init__(f"this needs a key with the role {' or '.join(want)}; yours is {got}")


class SignInNeededError(AppError):
    """The page is for people who are signed in."""

    def __init__(self, address: str, *, wrote: bool = False) -> None:
        super().__init__("sign in to see this page")
        self.address = address
        """Where to sign in."""
        self.wrote = wrote
        """Whether somebody had written something, which would be lost on the way there."""


class SignInRefusedError(AppError):
    """What came back from the provider does not let this person in."""


class ProviderError(AppError):
    """The provider that people sign in with cannot be asked, or says what cannot be."""


class ForgedFormError(AppError):
    """The form was not sent from a page of this session."""


class IdempotencyConflictError(AppError):
    """The Idempotency-Key was used before for another request."""

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was sent before with another body or model")


class OverloadedError(AppError):
    """Too many decisions are waiting."""

    def __init__(self, *, limit: int) -> None:
        super().__init__(f"{limit} decisions are waiting already")
        self.limit = limit


class EngineStoppedError(AppError):
    """The service is starting, stopping or can no longer record."""

    def __init__(self) -> None:
        super().__init__("the service is not taking decisions at present")


class TimedOutError(AppError):
    """The record was not durable in time for this answer."""

    def __init__(self, *, seconds: float) -> None:
        super().__init__(f"no durable record within {seconds:g} s")


NOT_FOUND = ProblemType(404, "not-found", "There is nothing at this address", "See `/docs`.")

PROBLEMS: Mapping[type[Exception], ProblemType] = {
    **refusals.PROBLEMS,
    **lifecycle_refusals.PROBLEMS,
    InvalidJsonError: ProblemType(
        400,
        "invalid-json",
        "The body is not valid JSON",
        "Send one JSON object, UTF-8. JSON has no NaN or Infinity: a missing value is null.",
    ),
    UnauthenticatedError: ProblemType(
        401,
        "unauthenticated",
        "A valid key is needed",
        "Send `Authorization: Bearer <key>`. An administrator makes keys with "
        "`grounds key create`.",
    ),
    SignInNeededError: ProblemType(
        401, "sign-in-needed", "You need to sign in", "Sign in and try again."
    ),
    SignInRefusedError: ProblemType(
        403,
        "sign-in-refused",
        "You could not be signed in",
        "Begin again at `/sign-in`. If it goes on, `detail` tells your administrator why.",
    ),
    ProviderError: ProblemType(
        503,
        "provider-unavailable",
        "The sign-in service cannot be used at present",
        "Try again later. The API does not depend on it.",
        retry_after_seconds=30,
    ),
    ForgedFormError: ProblemType(
        403,
        "form-not-accepted",
        "This form was not sent from your own session",
        "Go back, load the page again and send it once more. Nothing was recorded.",
    ),
    SessionStoreError: ProblemType(
        503,
        "sessions-unavailable",
        "The sessions cannot be read or written",
        "Tell the service's operator. The API does not depend on them.",
    ),
    ForbiddenError: ProblemType(
        403, "forbidden", "This key may not do that", "Use a key with one of the named roles."
    ),
    UnknownModelError: ProblemType(
        404, "unknown-model", "No such model is served", "`GET /v1/models` lists those that are."
    ),
    UnknownDecisionError: ProblemType(
        404,
        "unknown-decision",
        "No such decision",
        "Check the identifier. A key with the role caller sees only its own decisions.",
    ),
    NotFoundError: NOT_FOUND,
    UnknownRunError: ProblemType(
        404, "unknown-run", "No such run of replays", "`GET /v1/replays` lists those on record."
    ),
    UnknownProblemError: ProblemType(
        404, "unknown-problem", "No such kind of problem", "`/docs` lists what may go wrong."
    ),
    UnknownVerificationError: ProblemType(
        404,
        "unknown-verification",
        "No such verification of the log",
        "`GET /v1/log/verifications` lists those that there are.",
    ),
    BodyTooSlowError: ProblemType(
        408,
        "request-timeout",
        "The body did not arrive in time",
        "Try again. Nothing was advised or recorded.",
    ),
    UnknownHoldError: ProblemType(
        404, "unknown-hold", "No such hold is in force", "`GET /v1/holds` lists those that are."
    ),
    CheckpointConflictError: ProblemType(
        409,
        "checkpoint-conflict",
        "The log does not continue your checkpoint",
        "Keep your checkpoint and this answer: together they are evidence against the log.",
    ),
    UnderHoldError: ProblemType(
        409,
        "under-hold",
        "A legal hold is on it, so nothing was erased",
        "`GET /v1/holds` shows the holds that `detail` names; whoever is responsible may lift them.",
    ),
    TooEarlyError: ProblemType(
        409,
        "must-be-kept",
        "It must be kept for longer, so nothing was erased",
        "The file of retention periods says for how long, and on what ground.",
    ),
    IdempotencyConflictError: ProblemType(
        409,
        "idempotency-conflict",
        "This Idempotency-Key belongs to another request",
        "Send a new Idempotency-Key for a new case; repeat one only with the very same request.",
    ),
    ErasedDecisionError: ProblemType(
        410,
        "erased",
        "The content of this decision was erased",
        "The log still proves that the decision was made and when; its content is gone for good.",
    ),
    BodyTooLargeError: ProblemType(
        413,
        "body-too-large",
        "The body is too large",
        "Send one case a request, or fewer in a batch.",
    ),
    TooManyLinesError: ProblemType(
        413,
        "too-many-lines",
        "The batch has too many lines",
        "The lines before this one are answered and recorded. Send the rest as another batch.",
    ),
    UnsupportedMediaTypeError: ProblemType(
        415,
        "unsupported-media-type",
        "The body must be JSON, and not compressed",
        "Send `Content-Type: application/json` (a batch: `application/x-ndjson`) and no "
        "`Content-Encoding`.",
    ),
    CaseRejectedError: ProblemType(
        422,
        "invalid-case",
        "The case does not fit the model's fields",
        "`errors` names each field and what is allowed; `GET /v1/models/{model}` describes all "
        "fields. Nothing was advised or recorded.",
    ),
    InvalidRequestError: ProblemType(
        422,
        "invalid-request",
        "The request is not of the documented form",
        "`errors` or `detail` names what to change; `/docs` describes every request.",
    ),
    HeldCheckpointError: ProblemType(
        422,
        "not-a-checkpoint",
        "What you kept is not a checkpoint of this log",
        "Send the signed note as you got it, percent-encoded.",
    ),
    NotCoveredError: ProblemType(
        503,
        "not-covered",
        "No cosigned checkpoint covers the decision yet",
        "Try again after the time in Retry-After; `alarms` in `/health/ready` says if witnesses fail.",
        retry_after_seconds=2,
    ),
    ExplanationError: ProblemType(
        503,
        "no-explanation",
        "No sound explanation could be given, so nothing was advised",
        "Decide this case without advice and tell the service's operator: a recommendation is "
        "only given with reasons that add up to the model's own output.",
    ),
    ModelError: ProblemType(
        503,
        "model-failed",
        "The model could not be run, so nothing was advised",
        "Decide this case without advice and tell the service's operator.",
    ),
    PolicyError: ProblemType(
        503,
        "no-outcome",
        "The policy has no outcome for this score, so nothing was advised",
        "Decide this case without advice and tell the service's operator.",
    ),
    DamagedLogError: ProblemType(
        503,
        "record-damaged",
        "What is stored contradicts the log",
        "Do not rely on it, and tell the service's operator: `grounds verify` says which entries "
        "are concerned. Trying again does not help.",
    ),
    AuditError: ProblemType(
        503,
        "not-recorded",
        "The decision could not be recorded, so nothing was advised",
        "Try again with the same Idempotency-Key. `/health/ready` says whether the log works.",
        retry_after_seconds=5,
    ),
    KeyStoreError: ProblemType(
        503,
        "keys-unavailable",
        "The access keys cannot be read",
        "Tell the service's operator. Nothing was advised or recorded.",
    ),
    AttributeStoreError: ProblemType(
        503,
        "attributes-unavailable",
        "The protected attributes cannot be read or written",
        "Tell the service's operator. Advice does not depend on them.",
    ),
    IndexNotReadyError: ProblemType(
        503,
        "index-not-ready",
        "The index of decisions is being made from the log",
        "Lists come back once it is whole: try again after the time in Retry-After. Decisions can "
        "be read and taken meanwhile.",
        retry_after_seconds=10,
    ),
    IndexStoreError: ProblemType(
        503,
        "index-unavailable",
        "The index of decisions cannot be read",
        "Tell the service's operator. Decisions can be read and taken meanwhile.",
    ),
    PracticeError: ProblemType(
        503,
        "practice-unavailable",
        "Practice cases, or their tallies, cannot be used",
        "Tell the service's operator. Nothing live depends on them.",
    ),
    OverloadedError: ProblemType(
        503,
        "overloaded",
        "Too many decisions are waiting",
        "Try again after the time in Retry-After.",
        retry_after_seconds=1,
    ),
    BatchesFullError: ProblemType(
        503,
        "batches-full",
        "Too many batches are under way",
        "Try again after the time in Retry-After, or send single cases.",
        retry_after_seconds=5,
    ),
    EngineStoppedError: ProblemType(
        503,
        "not-ready",
        "The service is not taking decisions at present",
        "Try again after the time in Retry-After.",
        retry_after_seconds=5,
    ),
    TimedOutError: ProblemType(
        503,
        "timed-out",
        "The record was not durable in time",
        "Try again with the same Idempotency-Key: if the record became durable after all, you "
        "get its answer.",
        retry_after_seconds=1,
    ),
}

METHOD_NOT_ALLOWED = ProblemType(
    405, "method-not-allowed", "This address does not take that method", "See `/docs`."
)
INTERNAL = ProblemType(
    500,
    "internal-error",
    "Something unexpected went wrong, and nothing was advised",
    "Tell the service's operator the value of `request_id`.",
)

ALL_PROBLEM_TYPES: tuple[ProblemType, ...] = (
    *PROBLEMS.values(),
    METHOD_NOT_ALLOWED,
    INTERNAL,
)


def problem_type(error: Exception) -> ProblemType:
    """Return the kind of problem ``error`` is: that of its nearest class in the table."""
    for kind in type(error).__mro__:
        if issubclass(kind, Exception) and kind in PROBLEMS:
            return PROBLEMS[kind]
    return INTERNAL


def problem(
    kind: ProblemType, *, detail: str, request_id: str, faults: Sequence[Mapping[str, object]] = ()
) -> dict[str, object]:
    """Return the problem's body (RFC 9457, media type application/problem+json)."""
    body: dict[str, object] = {
        "type": f"/problems/{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "advice": kind.advice,
        "request_id": request_id,
    }
    if faults:
        body["errors"] = list(faults)
    return body
