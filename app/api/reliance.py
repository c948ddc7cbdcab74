"""``GET /v1/models/{model}/reliance``: how people rely on a model's advice, all together."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from app.api import examples
from app.api.access import admits
from app.api.documents import JSON, problems
from app.api.parts import Parts, parts_of
from app.domain import Role
from app.practice import Reliance
from app.reliance import LATEST, SMALLEST_CELL, Relied, relied

router = APIRouter(tags=["monitoring"])

READERS = (Role.REVIEWER, Role.MODEL_OWNER, Role.AUDITOR, Role.ADMIN)


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ReasonCount(_Shape):
    """How often one kind of reason was given."""

    reason: str
    followed: int
    departed: int


class DwellTimes(_Shape):
    """Seconds from opening a case to deciding it."""

    known: int
    lower_quartile: float
    median: float
    upper_quartile: float


class GroupReliance(_Shape):
    """One group of persons; null where there are too few to be told."""

    attribute: str
    group: str
    decisions: int | None
    departed: int | None


class PracticeReliance(_Shape):
    """Practice cases, whose answer is known."""

    advice_right: int
    advice_right_followed: int
    advice_wrong: int
    advice_wrong_followed: int
    switched_to_right: int
    switched_to_wrong: int


class RelianceReport(_Shape):
    """How people rely on a model's advice."""

    model: str
    latest: Annotated[int, Field(description="At most so many decisions are looked at.")]
    decisions: int
    departed: int
    reasons: list[ReasonCount]
    dwell: DwellTimes | None
    groups: list[GroupReliance]
    smallest_cell: int
    practice: PracticeReliance


EXAMPLE = {
    "model": examples.MODEL_NAME,
    "latest": LATEST,
    "decisions": 200,
    "departed": 31,
    "reasons": [{"reason": "facts_support", "followed": 140, "departed": 6}],
    "dwell": {"known": 180, "lower_quartile": 95.0, "median": 160.0, "upper_quartile": 340.0},
    "groups": [{"attribute": "age", "group": "60+", "decisions": 41, "departed": 9}],
    "smallest_cell": SMALLEST_CELL,
    "practice": {
        "advice_right": 60,
        "advice_right_followed": 52,
        "advice_wrong": 40,
        "advice_wrong_followed": 12,
        "switched_to_right": 9,
        "switched_to_wrong": 3,
    },
}


@router.get(
    "/v1/models/{model}/reliance",
    operation_id="read_reliance",
    summary="How people rely on the advice",
    description="All people together, never one by one. The latest decisions with advice; reasons, "
    "times and groups with too few decisions are not told, and no group that could be worked out from "
    "them. `practice` "
    "is of cases whose answer is known: there it shows whether people follow wrong advice.",
    responses={
        200: {"content": {JSON: {"example": EXAMPLE}}},
        **problems(401, 403, 404, 422, 503),
    },
    **admits(*READERS),
)
async def read_reliance(
    request: Request,
    model: Annotated[str, Path(examples=[examples.MODEL_NAME])],
) -> RelianceReport:
    """Return how people rely on a model's advice."""
    parts = parts_of(request)
    live, practice = await run_in_threadpool(reliance_of, parts, model)
    return RelianceReport(
        model=model,
        latest=LATEST,
        decisions=live.decisions,
        departed=live.departed,
        reasons=[
            ReasonCount(reason=name, followed=followed, departed=departed)
            for name, (followed, departed) in live.reasons.items()
        ],
        dwell=None
        if live.dwell is None
        else DwellTimes(
            known=live.dwell.known,
            lower_quartile=live.dwell.lower,
            median=live.dwell.median,
            upper_quartile=live.dwell.upper,
        ),
        groups=[
            GroupReliance(
                attribute=each.attribute,
                group=each.group,
                decisions=each.decisions,
                departed=each.departed,
            )
            for each in live.groups
        ],
        smallest_cell=SMALLEST_CELL,
        practice=PracticeReliance(
            advice_right=practice.right,
            advice_right_followed=practice.right_followed,
            advice_wrong=practice.wrong,
            advice_wrong_followed=practice.wrong_followed,
            switched_to_right=practice.switched_to_right,
            switched_to_wrong=practice.switched_to_wrong,
        ),
    )


def reliance_of(parts: Parts, model: str) -> tuple[Relied, Reliance]:
    """Return how people rely on a model, live and in practice. Raises UnknownModelError."""
    served = parts.model(model)
    groups = {
        each.decision: each.groups for each in parts.attributes.latest(served.name, 10 * LATEST)
    }
    return relied(parts.index.store, served.name, groups), parts.practice.reliance(served)
