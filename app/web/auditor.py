"""The auditor's pages about decisions: find them, see what happened to one, replay it, take its evidence.

What they show of a decision comes from the log's public leaves: nothing personal is opened, so that an
erased decision has the same page. Reading the decision itself is a link away, and on record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError

from app.api.access import CurrentCaller
from app.api.decision_list import ListQuery, filters_of, listed
from app.api.decisions import DecisionId, replayed
from app.api.evidence import evidence_response
from app.api.parts import Parts, parts_of
from app.domain import Caller, Role
from app.errors import InvalidRequestError, UnknownDecisionError
from app.index.query import Row, ending_in, find, mentions
from app.index.rows import ERASED
from app.reading import check_visible
from app.web.auditor_words import Happening, happening, status_words, statuses
from app.web.case_words import SHORT
from app.web.language import Texts, texts_of
from app.web.render import page
from app.web.session import signed_in
from audit.leaf import Leaf, parse_leaf

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

AUDITORS = (Role.AUDITOR, Role.ADMIN)
IN_PAGE = 25
LONGEST = 64
"""No identifier has more characters."""
MOST_HAPPENINGS = 200
"""Shown of one decision, the latest: each reading of it is one."""
_FILTERS = (
    "model", "model_version", "policy_version", "status", "advised", "outcome", "departed",
    "created_from", "created_to",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FoundRow:
    """One decision in the list."""

    id: str
    index: int
    created: str
    model: str
    status: str
    advised: str
    outcome: str
    departed: str


@dataclass(frozen=True, slots=True)
class FindView:
    """Decisions found."""

    template: ClassVar[str] = "auditor/find.html"

    asked: Mapping[str, str]
    models: list[tuple[str, str]]
    """As chosen and as shown."""
    statuses: Mapping[str, str]
    outcomes: list[tuple[str, str]]
    errors: Mapping[str, str]
    rows: list[FoundRow]
    next_address: str | None
    behind: int
    is_narrowed: bool


@dataclass(frozen=True, slots=True)
class AuditView:
    """What happened to one decision."""

    template: ClassVar[str] = "auditor/timeline.html"

    id: str
    index: int
    created: str
    model: str
    model_version: str
    model_digest: str
    policy_digest: str
    leaf_hash: str
    status: str
    is_erased: bool
    happenings: list[Happening]
    left_out: int
    is_covered: bool
    """Whether a signed checkpoint covers its entry, so that there is evidence to take."""


@router.get("/audit/decisions", **signed_in(*AUDITORS))
async def show_found(request: Request, caller: CurrentCaller) -> Response:
    """Show the decisions that fit."""
    return await _find_page(request, caller)


async def _find_page(
    request: Request, caller: Caller, *, wanted: str = "", fault: str = ""
) -> Response:
    """Return the page to find decisions on. ``fault``: why there is no going to ``wanted``."""
    parts, texts = parts_of(request), texts_of(request)
    given = {name: value.strip() for name, value in request.query_params.items() if value.strip()}
    errors: dict[str, str] = {}
    rows: Sequence[Row] = ()
    following = None
    try:
        asked = ListQuery.model_validate({**given, "limit": IN_PAGE}, strict=False)
        found = await run_in_threadpool(
            listed,
            parts,
            filters_of(asked, caller),
            order=asked.order,
            cursor=asked.cursor,
            limit=asked.limit,
        )
        rows, following = found.rows, found.next
    except ValidationError as err:
        errors = {
            str(fault["loc"][0]): _fault(str(fault["loc"][0]), texts) for fault in err.errors()
        }
    except InvalidRequestError:
        errors = {"cursor": texts.gettext("This page of the list is not there any more.")}
    if fault:
        errors = {"decision": fault}
    kept = {name: given[name] for name in _FILTERS if name in given}
    view = FindView(
        asked={"decision": wanted, **{name: given.get(name, "") for name in _FILTERS}},
        models=[(name, name) for name in sorted(parts.served)],
        statuses=statuses(texts),
        outcomes=_outcomes(parts),
        errors=errors,
        rows=[_found(row, texts) for row in rows],
        next_address=(
            None if following is None else f"?{urlencode({**kept, 'cursor': following})}"
        ),
        behind=parts.index.behind,
        is_narrowed=bool(kept),
    )
    return page(request, view, status=422 if errors else 200)


@router.post("/audit/decisions", **signed_in(*AUDITORS))
async def go_to_decision(
    request: Request, caller: CurrentCaller, decision: Annotated[str, Form()] = ""
) -> Response:
    """Go to one decision by its identifier, by the end of that, or by its entry in the log."""
    wanted = decision.strip().lower()
    parts, _ = parts_of(request), texts_of(request).gettext
    log = parts.log
    if not wanted:
        return await _find_page(request, caller, fault=_("Enter an identifier or an entry number"))
    if len(wanted) == SHORT:
        await parts.index.reach(log.size - 1)
        found = await run_in_threadpool(ending_in, parts.index.store, wanted)
        if len(found) > 1:
            return await _find_page(
                request,
                caller,
                wanted=decision.strip(),
                fault=_("Several decisions end in these characters. Enter the whole identifier"),
            )
        wanted = found[0] if found else wanted
    if wanted.isdecimal() and len(wanted) < 16 and int(wanted) < log.size:
        rows = await run_in_threadpool(log.entries, int(wanted), int(wanted) + 1)
        wanted = rows[0].id if rows else wanted
    try:
        await run_in_threadpool(check_visible, log, wanted[: LONGEST + 1], reader=caller)
    except UnknownDecisionError:
        return await _find_page(
            request,
            caller,
            wanted=decision.strip(),
            fault=_("No decision has this identifier or entry number. Check it"),
        )
    return RedirectResponse(f"/audit/decisions/{wanted}", status_code=303)


@router.get("/audit/decisions/{decision_id}", **signed_in(*AUDITORS))
async def show_timeline(
    request: Request, decision_id: DecisionId, caller: CurrentCaller
) -> Response:
    """Show what happened to one decision."""
    parts = parts_of(request)
    await run_in_threadpool(check_visible, parts.log, decision_id, reader=caller)
    await parts.index.reach(parts.log.size - 1)
    view = await run_in_threadpool(_timeline, parts, decision_id, texts_of(request))
    return page(request, view)


@router.post("/audit/decisions/{decision_id}/replay", **signed_in(*AUDITORS))
async def replay_it(request: Request, decision_id: DecisionId, caller: CurrentCaller) -> Response:
    """Recompute one decision, on record, and show it with the verdict."""
    await replayed(parts_of(request), decision_id, caller)
    return RedirectResponse(f"/audit/decisions/{decision_id}", status_code=303)


@router.get("/audit/decisions/{decision_id}/evidence", **signed_in(*AUDITORS))
async def take_evidence(
    request: Request, decision_id: DecisionId, caller: CurrentCaller
) -> Response:
    """Return one decision's evidence pack, as the API does."""
    return await evidence_response(parts_of(request), decision_id, caller, disclose=True, held=None)


def _timeline(parts: Parts, decision_id: str, texts: Texts) -> AuditView:
    log = parts.log
    receipt = log.receipt(decision_id)
    own = _leaf(parts, receipt.index)
    about = mentions(parts.index.store, receipt.index)
    rows = find(parts.index.store, [receipt.index])
    status = rows[0].status if rows else "open"
    shown = about[-MOST_HAPPENINGS:]
    model, policy = own.facts.get("model"), own.facts.get("policy")
    return AuditView(
        id=decision_id,
        index=receipt.index,
        created=own.timestamp.replace("T", " ").replace("Z", " UTC"),
        model=_fact(model, "name"),
        model_version=_fact(model, "version"),
        model_digest=_fact(model, "sha256"),
        policy_digest=_fact(policy, "sha256"),
        leaf_hash=receipt.leaf_hash.hex(),
        status=status_words(status, texts),
        is_erased=status == ERASED,
        happenings=[
            happening(receipt.index, own, texts),
            *(happening(index, _leaf(parts, index), texts) for index in shown),
        ],
        left_out=len(about) - len(shown),
        is_covered=parts.checkpointer.best is not None,
    )


def _leaf(parts: Parts, index: int) -> Leaf:
    return parse_leaf(parts.log.entry(index).leaf)


def _fact(facts: object, name: str) -> str:
    return str(facts.get(name, "")) if isinstance(facts, Mapping) else ""


def _outcomes(parts: Parts) -> list[tuple[str, str]]:
    return sorted(
        {
            (band.outcome, band.outcome)
            for each in parts.served.values()
            for band in each.policy.bands
        }
    )


def _found(row: Row, texts: Texts) -> FoundRow:
    _ = texts.gettext
    return FoundRow(
        id=row.id,
        index=row.seq,
        created=row.created.replace("T", " ")[:16],
        model=f"{row.model} {row.version}",
        status=status_words(row.status, texts),
        advised=row.advised or "",
        outcome=row.outcome or "",
        departed="" if row.departed is None else _("departs") if row.departed else _("follows"),
    )


def _fault(name: str, texts: Texts) -> str:
    _ = texts.gettext
    return {
        "created_from": _("Enter the first day as year, month and day, like 2026-11-23."),
        "created_to": _("Enter the last day as year, month and day, like 2026-11-30."),
        "status": _("Choose a status from the list."),
    }.get(name, _("This cannot be searched for."))
