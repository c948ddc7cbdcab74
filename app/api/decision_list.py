"""``GET /v1/decisions``: decisions found by what lists know of them, a page at a time."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.api import examples
from app.api.access import CurrentCaller, admits
from app.api.decisions import READING_ROLES
from app.api.documents import JSON, problems
from app.api.keyed import KeyedRoute
from app.api.parts import Parts, parts_of
from app.api.schemas import Day, Moment
from app.domain import Caller, Role
from app.index.query import MOST_IN_PAGE, Filters, Order, Page, Row, find, page

router = APIRouter(route_class=KeyedRoute, tags=["decisions"])

SEES_ERASED = (Role.AUDITOR, Role.ADMIN)
SUBJECT_ROLES = (Role.CASEWORKER, Role.REVIEWER, Role.AUDITOR, Role.ADMIN)
StatusName = Literal[
    "open", "waiting_for_second_person", "final", "contested", "reviewed", "corrected", "erased",
    "damaged",
]  # fmt: skip
Text = Annotated[str, Field(min_length=1, max_length=200)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _is_iso(text: object) -> object:
    """Let no number through: by itself a day is also read from seconds since 1970."""
    if isinstance(text, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", text) is None:
        raise ValueError("want a day such as 2026-11-23")
    return text


IsoDay = Annotated[date, BeforeValidator(_is_iso)]


class PageQuery(_Shape):
    """How much to list."""

    limit: Annotated[int, Field(ge=1, le=1000, description="How many, the latest first.")] = 100


class ListQuery(_Shape):
    """What to list: every filter that is given has to fit."""

    status: Annotated[
        StatusName | None,
        Field(
            description="Where the case stands. Erased ones are for auditors and administrators."
        ),
    ] = None
    model: Annotated[Text | None, Field(description="The model's name.")] = None
    model_version: Annotated[Text | None, Field(description="The model's version.")] = None
    policy_version: Annotated[Text | None, Field(description="The policy's version.")] = None
    outcome: Annotated[Text | None, Field(description="The outcome in force.")] = None
    advised: Annotated[
        Text | None,
        Field(description="The outcome that was advised. Cases whose advice is kept back until "
              "somebody has formed a view are not found by it before their final decision."),
    ] = None  # fmt: skip
    departed: Annotated[
        bool | None, Field(description="Whether the final decision departs from the advice.")
    ] = None
    mine: Annotated[
        bool, Field(description="Only those that you have taken or decided.")
    ] = False  # fmt: skip
    unassigned: Annotated[bool, Field(description="Only those that nobody has taken.")] = False
    created_from: Annotated[
        IsoDay | None, Field(description="On this day (UTC) or later.")
    ] = None  # fmt: skip
    created_to: Annotated[IsoDay | None, Field(description="On this day (UTC) or before.")] = None
    order: Annotated[
        Order,
        Field(description="`due`: contested decisions only, by the day they are to be answered."),
    ] = "newest"
    limit: Annotated[int, Field(ge=1, le=MOST_IN_PAGE)] = 50
    cursor: Annotated[
        str | None, Field(max_length=200, description="`next` of the page before.")
    ] = None


class ListedDecision(_Shape):
    """One decision, without anything that its case says."""

    id: str
    entry: Annotated[int, Field(description="Its index in the log.")]
    created: Moment
    model: str
    model_version: str
    policy: str | None
    policy_version: str | None
    status: StatusName
    advised: Annotated[
        str | None,
        Field(description="Null too while the advice is not for everybody to see."),
    ]
    outcome: str | None
    departed: bool | None
    holder: Annotated[
        str | None, Field(description="Who has taken the case, or decided it; an opaque name.")
    ]
    decided: Moment | None
    due: Annotated[Day | None, Field(description="By when a contest is to be answered.")]
    overdue: bool
    corrects: str | None
    corrected_as: str | None


class DecisionList(_Shape):
    """One page of decisions."""

    decisions: list[ListedDecision]
    next: Annotated[
        str | None,
        Field(description="The cursor of the next page; null at the end. A page may be short, or "
              "empty, and still have a next one: each looks at a bounded number of decisions."),
    ]  # fmt: skip
    behind: Annotated[int, Field(description="Entries of the log that lists do not know yet.")]


class SubjectQuery(_Shape):
    """Whose decisions to find."""

    subject: Annotated[
        str,
        Field(
            min_length=1,
            max_length=200,
            description="Your opaque reference, as sent with the decisions.",
        ),
    ]


LISTED = {
    "id": examples.DECISION_ID,
    "entry": 41,
    "created": "2026-11-23T10:15:30.123Z",
    "model": examples.MODEL_NAME,
    "model_version": "1.0.0",
    "policy": "housing-support-policy",
    "policy_version": "2026-11",
    "status": "final",
    "advised": "priority",
    "outcome": "priority",
    "departed": False,
    "holder": "cw-17",
    "decided": "2026-11-23T10:20:30.123Z",
    "due": None,
    "overdue": False,
    "corrects": None,
    "corrected_as": None,
}
EXAMPLE = {"decisions": [LISTED], "next": None, "behind": 0}


@router.get(
    "/v1/decisions",
    operation_id="list_decisions",
    summary="Find decisions",
    description="Newest first. It says nothing of what a case holds, and of advice only what "
    "everybody may see. A key with the role caller finds only its own decisions. The index is "
    "made from the log, a moment behind it.",
    responses={
        200: {"content": {JSON: {"example": EXAMPLE}}},
        **problems(401, 403, 422, 503),
    },
    **admits(*READING_ROLES),
)
async def list_decisions(
    request: Request, asked: Annotated[ListQuery, Query()], caller: CurrentCaller
) -> DecisionList:
    """Return one page of decisions."""
    parts = parts_of(request)
    filters = filters_of(asked, caller)
    found = await run_in_threadpool(
        listed, parts, filters, order=asked.order, cursor=asked.cursor, limit=asked.limit
    )
    return _shown(parts, found.rows, found.next)


@router.post(
    "/v1/subjects/decisions",
    operation_id="find_subject_decisions",
    summary="Find the decisions about a subject",
    description="By your opaque reference, which comes in the body: an address ends up in the logs "
    "of everything between. At most 200, the newest.",
    responses={
        200: {"content": {JSON: {"example": EXAMPLE}}},
        **problems(400, 401, 403, 408, 413, 415, 422, 503),
    },
    openapi_extra={
        **admits(*SUBJECT_ROLES)["openapi_extra"],
        "requestBody": {"content": {JSON: {"example": {"subject": "person-8841"}}}},
    },
    dependencies=admits(*SUBJECT_ROLES)["dependencies"],
)
async def find_subject_decisions(request: Request, asked: SubjectQuery) -> DecisionList:
    """Return the decisions about one subject."""
    parts = parts_of(request)
    rows = await run_in_threadpool(of_subject, parts, asked.subject)
    return _shown(parts, rows, None)


def filters_of(asked: ListQuery, caller: Caller) -> Filters:
    """Return what this caller asks for, and no more than they may see."""
    return Filters(
        caller=caller.key_id if caller.role is Role.CALLER else None,
        holder=caller.name if asked.mine else None,
        unheld=asked.unassigned,
        status=asked.status,
        model=asked.model,
        version=asked.model_version,
        policy_version=asked.policy_version,
        outcome=asked.outcome,
        advised=asked.advised,
        departed=asked.departed,
        created_from=None if asked.created_from is None else _midnight(asked.created_from),
        created_to=(
            None if asked.created_to is None else _midnight(asked.created_to) + timedelta(days=1)
        ),
        with_erased=caller.role in SEES_ERASED,
    )


def listed(parts: Parts, filters: Filters, *, order: Order, cursor: str | None, limit: int) -> Page:
    """Return one page. Raises IndexNotReadyError while the index is being made."""
    return page(parts.index.store, filters, order=order, cursor=cursor, limit=limit)


def of_subject(parts: Parts, subject: str) -> list[Row]:
    """Return the newest decisions about a subject. Raises IndexNotReadyError."""
    indexes = parts.log.records_of(subject)
    # Each case has some entries of its own, and SQLite takes so many values in one statement.
    rows: list[Row] = []
    for end in range(len(indexes), 0, -MOST_IN_PAGE):
        rows += find(parts.index.store, indexes[max(0, end - MOST_IN_PAGE) : end])
        if len(rows) >= MOST_IN_PAGE:
            break
    return rows[:MOST_IN_PAGE]


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _shown(parts: Parts, rows: Sequence[Row], following: str | None) -> DecisionList:
    today = parts.clock().date().isoformat()
    return DecisionList(
        decisions=[
            ListedDecision(
                id=row.id,
                entry=row.seq,
                created=row.created,
                model=row.model,
                model_version=row.version,
                policy=row.policy,
                policy_version=row.policy_version,
                status=row.status,
                advised=row.advised,
                outcome=row.outcome,
                departed=None if row.departed is None else bool(row.departed),
                holder=row.holder,
                decided=row.decided,
                due=row.due,
                overdue=row.due is not None and row.due < today,
                corrects=row.corrects,
                corrected_as=row.corrected_as,
            )
            for row in rows
        ],
        next=following,
        behind=parts.index.behind,
    )
