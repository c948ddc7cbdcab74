"""The list of cases: mine, those that nobody has taken, and all; found, filtered and paged."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import ClassVar, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse

from app.api.access import CurrentCaller
from app.api.decision_list import listed, of_subject
from app.api.parts import Parts, parts_of
from app.domain import Caller, Role
from app.index.query import Filters, Order, Row, ending_in, find
from app.records import RECOMMENDATION
from app.web import case_words
from app.web.case_view import Items, items_of
from app.web.forms import filled_in
from app.web.language import Texts, texts_of
from app.web.render import page
from app.web.session import signed_in
from audit.errors import UnknownRecordError

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

READERS = (Role.CASEWORKER, Role.REVIEWER, Role.ADMIN)
IN_PAGE = 25
LONGEST = 200
"""Characters of a reference."""
WHICH = ("mine", "nobody", "all")


@dataclass(frozen=True, slots=True)
class CaseRow:
    """One case in a list."""

    id: str
    reference: str
    model: str
    status: str
    outcome: str
    """The outcome in force; empty while there is none."""
    holder: str
    created: str
    due: str
    """By when a contest is to be answered; empty where there is none."""
    is_overdue: bool


@dataclass(frozen=True, slots=True)
class CasesView:
    """A page of cases."""

    template: ClassVar[str] = "cases/cases.html"

    which: str
    """What the list is called."""
    tabs: list[tuple[str, str, bool]]
    """(address, name, whether it is the one shown)."""
    rows: list[CaseRow]
    models: Items
    statuses: Items
    orders: Items
    chosen: dict[str, str]
    next: str | None
    first: str | None
    """The address of the first page, None on it."""
    searched: str
    """What was searched for; empty in a plain list."""
    not_found: bool
    errors: Mapping[str, str]
    behind: int


@router.get("/cases", **signed_in(*READERS))
async def show_cases(
    request: Request,
    caller: CurrentCaller,
    which: Literal["mine", "nobody", "all"] = "nobody",
    status: str = "",
    model: str = "",
    order: Literal["newest", "oldest"] = "oldest",
    cursor: str | None = None,
) -> Response:
    """Show a page of cases."""
    parts, texts = parts_of(request), texts_of(request)
    chosen = {"which": which, "status": status, "model": model, "order": order}
    found = await run_in_threadpool(
        listed, parts, _filters(chosen, caller), order=_order(order), cursor=cursor, limit=IN_PAGE
    )
    return page(
        request,
        _view(
            parts,
            texts,
            chosen,
            list(found.rows),
            next_=None if found.next is None else _address(chosen, cursor=found.next),
            first=None if cursor is None else _address(chosen),
        ),
    )


@router.post("/cases/search", **signed_in(*READERS))
async def search_cases(request: Request, caller: CurrentCaller) -> Response:
    """Find cases by an identifier, or by the case system's reference for the person.

    The reference comes in the form: an address ends up in the logs of everything between.
    """
    del caller
    parts, texts = parts_of(request), texts_of(request)
    asked = (await filled_in(request)).get("search", "")[:LONGEST]
    chosen = {"which": "all", "status": "", "model": "", "order": "newest"}
    if not asked:
        _ = texts.gettext
        faults = {"search": _("Enter the number of a case, or a reference for the person")}
        view = _view(parts, texts, chosen, [], next_=None, first="/cases", errors=faults)
        return page(request, view, status=422)
    decision = asked.lower()
    if await run_in_threadpool(_is_decision, parts, decision):
        return RedirectResponse(f"/decisions/{decision}", status_code=303)
    rows = await run_in_threadpool(of_subject, parts, asked)
    if len(decision) == case_words.SHORT:
        await parts.index.reach(parts.log.size - 1)
        rows += await run_in_threadpool(_ending_in, parts, decision)
    view = _view(parts, texts, chosen, rows, next_=None, first="/cases", searched=asked)
    return page(request, view)


def _is_decision(parts: Parts, text: str) -> bool:
    try:
        index = parts.log.receipt(text).index
    except UnknownRecordError:
        return False
    return parts.log.read_index(index).type == RECOMMENDATION


def _ending_in(parts: Parts, reference: str) -> list[Row]:
    """Return the cases that are called so on the pages: hardly ever more than one."""
    store = parts.index.store
    return find(store, [parts.log.receipt(name).index for name in ending_in(store, reference)])


def _order(order: Literal["newest", "oldest"]) -> Order:
    return order


def _filters(chosen: dict[str, str], caller: Caller) -> Filters:
    status = chosen["status"] or None
    if chosen["which"] == "nobody":
        # What nobody has taken is what there is to do: decided cases have somebody.
        status = status or "open"
    return Filters(
        holder=caller.name if chosen["which"] == "mine" else None,
        unheld=chosen["which"] == "nobody",
        status=status,
        model=chosen["model"] or None,
    )


def _view(
    parts: Parts,
    texts: Texts,
    chosen: dict[str, str],
    rows: list[Row],
    *,
    next_: str | None,
    first: str | None,
    searched: str = "",
    errors: Mapping[str, str] = MappingProxyType({}),
) -> CasesView:
    _ = texts.gettext
    names = {"mine": _("My cases"), "nobody": _("Cases nobody has taken"), "all": _("All cases")}
    states = case_words.statuses(texts)
    listed_states = {
        name: states[name]
        for name in (
            "open", "waiting_for_second_person", "final", "contested", "reviewed", "corrected",
        )
    }  # fmt: skip
    today, is_search = parts.clock().date(), bool(searched or errors)
    titles = {name: served.bundle.card.title for name, served in sorted(parts.served.items())}
    return CasesView(
        which=_("Search") if is_search else names[chosen["which"]],
        tabs=[
            (f"/cases?which={name}", names[name], name == chosen["which"] and not is_search)
            for name in WHICH
        ],
        rows=[case_row(row, parts, texts, today) for row in rows],
        models=items_of({"": _("Any"), **titles}),
        statuses=items_of({"": _("Any"), **listed_states}),
        orders=items_of({"oldest": _("Longest waiting first"), "newest": _("Newest first")}),
        chosen=chosen,
        next=next_,
        first=first,
        searched=searched,
        not_found=bool(searched) and not rows,
        errors=errors,
        behind=parts.index.behind,
    )


def case_row(row: Row, parts: Parts, texts: Texts, today: date) -> CaseRow:
    """Return a row of a list as people read it."""
    served = parts.served.get(row.model)
    labels = _outcome_labels(row, parts)
    outcome = row.outcome or ""
    return CaseRow(
        id=row.id,
        reference=case_words.short_reference(row.id),
        model=row.model if served is None else served.bundle.card.title,
        status=case_words.statuses(texts)[row.status],
        outcome=labels.get(outcome, outcome.replace("-", " ")),
        holder=row.holder or "",
        created=case_words.moment(row.created, texts),
        due="" if row.due is None else case_words.day(row.due, texts),
        is_overdue=row.due is not None and date.fromisoformat(row.due) < today,
    )


def _outcome_labels(row: Row, parts: Parts) -> dict[str, str]:
    """Return the outcomes in the words of the row's own policy; none where that is not in use."""
    for each in parts.served.versions:
        policy = each.policy
        if (each.name, policy.policy, policy.version) == (
            row.model,
            row.policy,
            row.policy_version,
        ):
            return {band.outcome: band.label for band in policy.bands}
    return {}


def _address(chosen: dict[str, str], **more: str) -> str:
    return "/cases?" + urlencode({name: text for name, text in {**chosen, **more}.items() if text})
