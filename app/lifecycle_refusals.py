"""What the life cycle of a model's versions refuses, and the problem that each refusal is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.problem_type import AppError, ProblemType


@dataclass(frozen=True, slots=True)
class Unmet:
    """One obligation that stands in the way, and what would satisfy it."""

    obligation: str
    """Its short name, as in the country's profile."""
    source: str
    """Where it comes from."""
    found: str
    want: str


class StageRefusedError(AppError):
    """The version cannot go to that stage from where it is."""


class ObligationsUnmetError(AppError):
    """The version may not be used yet: each obligation is named with what would satisfy it."""

    def __init__(self, unmet: Sequence[Unmet]) -> None:
        super().__init__(
            f"{len(unmet)} obligation{'s' if len(unmet) != 1 else ''} not met: "
            + "; ".join(f"{e.obligation} ({e.source}): {e.found}; want {e.want}" for e in unmet)
        )
        self.unmet = tuple(unmet)
        self.faults: tuple[Mapping[str, object], ...] = tuple(
            {
                "field": each.obligation,
                "code": "obligation_unmet",
                "message": f"{each.source}: {each.found}",
                "allowed": each.want,
            }
            for each in unmet
        )


class UnknownVersionError(AppError):
    """There is no such version of the model, or the store lacks what it is made of."""


class AlreadyRegisteredError(AppError):
    """The version is registered already."""


class BundleNotServableError(AppError):
    """The service would refuse to serve the bundle, or the policy around it."""


class NoLiveVersionError(AppError):
    """No version of the model is active, or the active one is not open here yet."""


PROBLEMS: Mapping[type[Exception], ProblemType] = {
    UnknownVersionError: ProblemType(
        404,
        "unknown-version",
        "There is no such version",
        "`GET /v1/models/{model}/versions` lists those that are registered; `grounds bundle submit` "
        "puts a bundle and its policy into the store.",
    ),
    StageRefusedError: ProblemType(
        409,
        "stage-not-allowed",
        "The version cannot go to that stage now",
        "`detail` says which stages are allowed. Nothing was changed.",
    ),
    ObligationsUnmetError: ProblemType(
        409,
        "obligations-not-met",
        "Obligations stand in the way of this stage",
        "`errors` names each obligation and what would satisfy it. Nothing was changed.",
    ),
    AlreadyRegisteredError: ProblemType(
        409,
        "already-registered",
        "The version is registered already",
        "Change its stage instead. Nothing was changed.",
    ),
    BundleNotServableError: ProblemType(
        422,
        "bundle-not-servable",
        "The bundle or its policy cannot be served",
        "`detail` says what is wrong and what is wanted; `grounds bundle check` shows the same.",
    ),
    NoLiveVersionError: ProblemType(
        503,
        "no-live-version",
        "No version of this model is live here: decide unaided",
        "Decide by the body's own procedure without advice. Somebody responsible for the model makes "
        "a version live.",
    ),
}
