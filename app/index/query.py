"""Pages of the index: filters, order and a keyset cursor, at a cost that does not grow with it.

A page is read along one index from where the last one ended. Filters that this index does not
answer are tried on at most ``MOST_EXAMINED`` rows: a page may then be short, or empty, and still
have a next one.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

import orjson

from app.errors import InvalidRequestError
from app.ids import timestamp
from app.index.rows import CONTESTED, DAMAGED, ERASED
from app.index.store import IndexStore, Query, Sql

MOST_EXAMINED = 5_000
"""Rows that one page may look at: about 10 ms."""
MOST_IN_PAGE = 200
_SKEW = timedelta(minutes=1)
"""How far the clocks of replicas may differ: entries within it may be out of the order of time."""

_BEYOND = 2**62
"""More entries than any log has."""

Order: TypeAlias = Literal["newest", "oldest", "due"]

COLUMNS = (
    "seq", "id", "created", "model", "version", "policy", "policy_version", "caller", "status",
    "advised", "outcome", "departed", "reason", "holder", "decided", "due", "dwell_ms", "corrects",
    "corrected_as",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One decision as lists know it."""

    seq: int
    """Its index in the log."""
    id: str
    created: str
    model: str
    version: str
    policy: str | None
    policy_version: str | None
    caller: str | None
    status: str
    advised: str | None
    """None also where the advice is not for everybody to see yet."""
    outcome: str | None
    departed: int | None
    reason: str | None
    holder: str | None
    decided: str | None
    due: str | None
    dwell_ms: int | None
    corrects: str | None
    corrected_as: str | None


@dataclass(frozen=True, slots=True)
class Filters:
    """What to list: every filter that is not None has to fit."""

    caller: str | None = None
    holder: str | None = None
    unheld: bool = False
    """Only those that nobody has taken."""
    status: str | None = None
    model: str | None = None
    version: str | None = None
    policy: str | None = None
    policy_version: str | None = None
    outcome: str | None = None
    advised: str | None = None
    departed: bool | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    """Before this moment."""
    with_erased: bool = False
    """Whether decisions without content are listed too."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, and where to go on."""

    rows: tuple[Row, ...]
    next: str | None
    """The cursor of the next page, None where there is none."""


def page(
    store: IndexStore, filters: Filters, *, order: Order = "newest", cursor: str | None, limit: int
) -> Page:
    """Return one page.

    Raises InvalidRequestError for a cursor of another list, IndexNotReadyError, IndexStoreError.
    """
    after = None if cursor is None else _parse_cursor(cursor, order)
    with store.reading() as query:
        return _page(query, filters, order, after, limit)


def find(store: IndexStore, indexes: Sequence[int]) -> list[Row]:
    """Return the rows of these decisions, newest first. Raises IndexNotReadyError, IndexStoreError."""
    marks = ", ".join("?" * len(indexes))
    with store.reading() as query:
        return [
            _row(each)
            for each in query(
                f"SELECT {', '.join(COLUMNS)} FROM decision WHERE seq IN ({marks})"  # noqa: S608
                " ORDER BY seq DESC",
                indexes,
            )
        ]


def ending_in(store: IndexStore, reference: str) -> list[str]:
    """Return the identifiers that end in these 8 characters, two of them at most.

    Raises IndexNotReadyError, IndexStoreError.
    """
    with store.reading() as query:
        found = query("SELECT id FROM decision WHERE substr(id, -8) = ? LIMIT 2", (reference,))
    return [str(name) for (name,) in found]


def mentions(store: IndexStore, index: int) -> list[int]:
    """Return the entries that are about the decision of this index, oldest first.

    Raises IndexNotReadyError, IndexStoreError.
    """
    with store.reading() as query:
        found = query("SELECT seq FROM about WHERE of = ? ORDER BY seq", (index,))
    return [int(str(seq)) for (seq,) in found]


def _page(
    query: Query, filters: Filters, order: Order, after: tuple[str | None, int] | None, limit: int
) -> Page:
    lead, conditions, parameters = _ranged(query, filters, order, after)
    residual, residual_parameters = _residual(filters)
    sorting = {"newest": "seq DESC", "oldest": "seq", "due": "due, seq"}[order]
    inner = f"FROM decision {lead} WHERE {conditions} ORDER BY {sorting}"
    found = query(
        f"SELECT {', '.join(COLUMNS)} FROM (SELECT * {inner} LIMIT {MOST_EXAMINED})"  # noqa: S608
        f" WHERE {residual} LIMIT {limit + 1}",
        (*parameters, *residual_parameters),
    )
    rows = tuple(_row(each) for each in found[:limit])
    if len(found) > limit:
        return Page(rows, _cursor(order, rows[-1].due, rows[-1].seq))
    # Fewer than asked for: the end, or as far as one page looks.
    last = query(
        f"SELECT due, seq {inner} LIMIT 1 OFFSET {MOST_EXAMINED - 1}",
        parameters,
    )
    return Page(rows, _cursor(order, *last[0]) if last else None)


def _ranged(
    query: Query, filters: Filters, order: Order, after: tuple[str | None, int] | None
) -> tuple[str, str, list[Sql]]:
    """Return the index to read along, and where on it: as SQL with its parameters."""
    if order == "due":
        conditions = f"status = '{CONTESTED}' AND (due, seq) > (?, ?)"
        return "INDEXED BY decision_by_due", conditions, [*(after or ("", -1))]
    lead, equal = _lead(filters)
    equals = [f"{column} IS NULL" if value is None else f"{column} = ?" for column, value in equal]
    parameters: list[Sql] = [value for _, value in equal if value is not None]
    low, high = _bounds(query, filters)
    if after is not None and order == "newest":
        high = min(high, after[1])
    elif after is not None:
        low = max(low, after[1])
    conditions = " AND ".join((*equals, "seq > ? AND seq < ?"))
    return lead, conditions, [*parameters, low, high]


def _lead(filters: Filters) -> tuple[str, list[tuple[str, Sql]]]:
    """Return the index that leaves the fewest rows, by what a list of that kind usually holds."""
    status = filters.status
    departed = None if filters.departed is None else int(filters.departed)
    candidates: tuple[tuple[str, list[tuple[str, Sql]]], ...] = (
        ("decision_by_holder_status", [("holder", filters.holder), ("status", status)]),
        ("decision_by_holder", [("holder", filters.holder)]),
        ("decision_by_caller_status", [("caller", filters.caller), ("status", status)]),
        ("decision_by_caller", [("caller", filters.caller)]),
        ("decision_by_departure", [("departed", departed)]),
        ("decision_by_model_status", [("model", filters.model), ("status", status)]),
        ("decision_by_status", [("status", status)]),
        ("decision_by_policy", [("policy_version", filters.policy_version)]),
        ("decision_by_version", [("version", filters.version)]),
        ("decision_by_outcome", [("outcome", filters.outcome)]),
        ("decision_by_advised", [("advised", filters.advised)]),
        ("decision_by_model", [("model", filters.model)]),
    )
    if filters.unheld and status is not None:
        return "INDEXED BY decision_unheld", [("holder", None), ("status", status)]
    for index, equal in candidates:
        if all(value is not None for _, value in equal):
            return f"INDEXED BY {index}", equal
    return "NOT INDEXED", []


def _bounds(query: Query, filters: Filters) -> tuple[int, int]:
    """Return which indexes a span of time lies between, both exclusive."""
    low, high = -1, _BEYOND
    statement = "SELECT seq FROM decision WHERE created >= ? ORDER BY created LIMIT 1"
    if filters.created_from is not None:
        found = query(statement, (timestamp(filters.created_from - _SKEW),))
        low = int(str(found[0][0])) - 1 if found else high
    if filters.created_to is not None:
        found = query(statement, (timestamp(filters.created_to + _SKEW),))
        high = int(str(found[0][0])) if found else high
    return low, high


def _residual(filters: Filters) -> tuple[str, list[Sql]]:
    """Return every filter once more, as conditions on a row."""
    conditions: list[str] = []
    parameters: list[Sql] = []
    for column, value in (
        ("caller", filters.caller),
        ("holder", filters.holder),
        ("status", filters.status),
        ("model", filters.model),
        ("version", filters.version),
        ("policy", filters.policy),
        ("policy_version", filters.policy_version),
        ("outcome", filters.outcome),
        ("advised", filters.advised),
        ("departed", None if filters.departed is None else int(filters.departed)),
    ):
        if value is not None:
            conditions.append(f"{column} = ?")
            parameters.append(value)
    for operator, at in ((">=", filters.created_from), ("<", filters.created_to)):
        if at is not None:
            conditions.append(f"created {operator} ?")
            parameters.append(timestamp(at))
    if filters.unheld:
        conditions.append("holder IS NULL")
    if not filters.with_erased:
        conditions.append(f"status NOT IN ('{ERASED}', '{DAMAGED}')")
    return " AND ".join(conditions) or "1", parameters


def _cursor(order: Order, due: Sql, seq: Sql) -> str:
    body = orjson.dumps([order, due if order == "due" else None, seq])
    return base64.urlsafe_b64encode(body).decode().rstrip("=")


def _parse_cursor(text: str, order: Order) -> tuple[str | None, int]:
    try:
        of, due, seq = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        fits = (
            of == order
            and type(seq) is int
            and 0 <= seq < _BEYOND
            and (isinstance(due, str) if order == "due" else due is None)
        )
    except (ValueError, TypeError):
        of = due = seq = None
        fits = False
    if not fits:
        raise InvalidRequestError(
            "cursor: want the `next` of a page of this list, in the same order"
        )
    return due, seq


def _row(values: Sequence[Sql]) -> Row:
    named: Mapping[str, Any] = dict(zip(COLUMNS, values, strict=True))
    return Row(**named)
