"""Correcting a fact that looks wrong: the corrected case is advised on anew, and linked to the old."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, ClassVar

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse

from app.api.access import CurrentCaller
from app.api.corrections import CorrectionRequest, correct
from app.api.decisions import DecisionId
from app.api.parts import Parts, parts_of
from app.api.recorded_reads import record_read
from app.api.schemas import SaidOrigin
from app.case_events import CORRECTED
from app.cases import CaseFile
from app.domain import Caller, Role
from app.errors import InvalidRequestError
from app.refusals import CaseCorrectedError, ProvenanceError
from app.reveal import open_case
from app.served import ServedModel
from app.web import case_words
from app.web.advice import shown_value
from app.web.case_view import Form, Items, items_of, label_of
from app.web.forms import filled_in, form_of, missing, plain_number
from app.web.language import Texts, texts_of
from app.web.render import page
from app.web.session import signed_in
from models.card import Field, Value
from models.errors import CaseRejectedError

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

CORRECTORS = (Role.CASEWORKER, Role.REVIEWER, Role.ADMIN)
ORDER = ("value", "unknown", "source", "date", "reason")
"""Of the fields on the page, and so of what the summary says is wrong with them."""
YES_OR_NO = {"yes": True, "no": False}
DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII).fullmatch
FieldName = Annotated[str, Query(alias="field", max_length=200)]


@dataclass(frozen=True, slots=True)
class CorrectionView:
    """The page on which one fact is corrected."""

    template: ClassVar[str] = "cases/correct.html"

    id: str
    reference: str
    field: str
    label: str
    now: str
    unit: str
    choices: Items
    """What there is to choose from; empty where a number is typed."""
    may_be_missing: bool
    sources: Items
    form: Form


@router.get("/decisions/{decision_id}/correct", **signed_in(*CORRECTORS))
async def show_correction(
    request: Request, decision_id: DecisionId, caller: CurrentCaller, name: FieldName
) -> Response:
    """Show the form that corrects one fact."""
    parts = parts_of(request)
    case = await run_in_threadpool(open_case, parts.log, decision_id, reader=caller)
    case.check_correcting()
    served, field = _field(parts.served, case, name)
    await record_read(parts, decision_id, what="page", reader=caller)
    return page(request, _view(case, served, field, texts_of(request), Form()))


@router.post("/decisions/{decision_id}/correct", **signed_in(*CORRECTORS))
async def correct_fact(
    request: Request, decision_id: DecisionId, caller: CurrentCaller, name: FieldName
) -> Response:
    """Correct one fact, and go on with the corrected case."""
    parts, texts = parts_of(request), texts_of(request)
    _ = texts.gettext
    case = await run_in_threadpool(open_case, parts.log, decision_id, reader=caller)
    served, field = _field(parts.served, case, name)
    values = await filled_in(request)
    value, faults = _read(values, field, texts)
    if not faults:
        origin = SaidOrigin.model_validate(
            {"source": values["source"], "date": values.get("date") or None}  # as a body has it
        )
        asked = CorrectionRequest(
            fields={field.name: value}, provenance={field.name: origin}, reason=values["reason"]
        )
        try:
            return await _corrected(parts, decision_id, asked, caller)
        except CaseRejectedError as refused:
            faults["value"] = _unfit(field, refused, texts)
        except ProvenanceError:
            faults["date"] = _("The day cannot be in the future")
    case.check_correcting()
    if values.get("unknown") and _choices(field, texts):
        values["value"] = ""  # nobody can take back a choice: it would stay beside "not known"
    form = form_of(values, {name: faults[name] for name in (*ORDER, *faults) if name in faults})
    return page(request, _view(case, served, field, texts, form), status=422)


async def _corrected(
    parts: Parts, decision_id: str, asked: CorrectionRequest, caller: Caller
) -> Response:
    """Go on with the corrected case: the one that is made now, or was when the form was sent before."""
    try:
        new = await correct(parts, decision_id, asked, caller)
    except CaseCorrectedError:
        case = await run_in_threadpool(open_case, parts.log, decision_id, reader=caller)
        if case.last_said(CORRECTED, caller, asked.model_dump(mode="json")) is None:
            raise
        return RedirectResponse(f"/decisions/{case.corrected_as}", status_code=303)
    await parts.index.reach(parts.log.receipt(new).index + 1)
    return RedirectResponse(f"/decisions/{new}", status_code=303)


def _read(values: Mapping[str, str], field: Field, texts: Texts) -> tuple[Value, dict[str, str]]:
    """Return the value that was filled in, and what is wrong with the form."""
    _ = texts.gettext
    is_unknown = bool(values.get("unknown"))
    faults = missing(
        values,
        {
            **({} if is_unknown else {"value": _("Say what is right")}),
            "source": _("Say where the right value comes from"),
            "reason": _("Say how you know"),
        },
        texts,
    )
    if "source" not in faults and values["source"] not in case_words.sources(texts):
        faults["source"] = _("Choose one of those on the page")
    if values.get("date") and not _is_day(values["date"]):
        faults["date"] = _("Write the day like 2026-11-30")
    if is_unknown and values.get("value"):
        faults["value"] = _("Say what is right, or that it is not known, but not both")
    if is_unknown or "value" in faults:
        return None, faults
    try:
        return _value(field, values["value"]), faults
    except ValueError:
        return None, {**faults, "value": _unreadable(field, texts)}


def _field(
    models: Mapping[str, ServedModel], case: CaseFile, name: str
) -> tuple[ServedModel, Field]:
    """Return the field as today's model has it: that is the one that advises on the corrected case."""
    served = models.get(str(case.answer["model"]["name"]))
    if served is not None and name in case.decision.content.case:
        for field in served.bundle.card.fields:
            if field.name == name:
                return served, field
    raise InvalidRequestError("field: want one of this case's that the model of today has")


def _view(
    case: CaseFile, served: ServedModel, field: Field, texts: Texts, form: Form
) -> CorrectionView:
    return CorrectionView(
        id=case.decision.id,
        reference=case_words.short_reference(case.decision.id),
        field=field.name,
        label=label_of(case, served, field.name),
        now=shown_value(field.name, case.decision.content.case[field.name], served, texts),
        unit=field.unit or "",
        choices=_choices(field, texts),
        may_be_missing=field.may_be_missing,
        sources=items_of(case_words.sources(texts)),
        form=form,
    )


def _choices(field: Field, texts: Texts) -> Items:
    _ = texts.gettext
    if field.type == "boolean":
        return items_of({"yes": _("yes"), "no": _("no")})
    return items_of({str(each): str(each) for each in field.categories})


def _unreadable(field: Field, texts: Texts) -> str:
    """Return what to write in place of something that is no value of the field."""
    _ = texts.gettext
    if _choices(field, texts):
        return _("Choose one of those on the page")
    if field.type == "integer":
        return _("Write a whole number, like 12")
    return _("Write a number, like 12 or 12.50")


def _unfit(field: Field, refused: CaseRejectedError, texts: Texts) -> str:
    """Return why the model of today does not take the corrected case, in the page's language."""
    _ = texts.gettext
    codes = {fault.code for fault in refused.faults if fault.field == field.name}
    if not codes:
        return _(
            "Another fact of this case does not fit the model of today. Ask whoever manages it."
        )
    told = {"label": field.label}
    if "below_minimum" in codes:
        return _("%(label)s must be %(limit)s or more") % {**told, "limit": _limit(field.minimum)}
    if "above_maximum" in codes:
        return _("%(label)s must be %(limit)s or less") % {**told, "limit": _limit(field.maximum)}
    if "null_not_allowed" in codes:
        return _("Say what is right")
    if _choices(field, texts):
        return _("Choose one of those on the page")
    return _("The model cannot work with this number. Check it.")


def _limit(limit: float | None) -> str:
    return f"{limit:,.15g}"


def _value(field: Field, text: str) -> Value:
    """Return what was filled in, of the field's type. Raises ValueError."""
    if field.type == "boolean":
        if text not in YES_OR_NO:
            raise ValueError
        return YES_OR_NO[text]
    if field.type == "string":
        return text
    plain = plain_number(text)
    return int(plain) if field.type == "integer" else float(plain)


def _is_day(text: str) -> bool:
    """Return whether the text is a day as the API takes one: ISO 8601 has other spellings."""
    if not DAY(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
