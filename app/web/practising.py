"""Practice: a case whose answer is known, one's own view, the advice, a decision, and what was right.

Nothing of it is recorded but a tally without a name. What was said on the way is carried in the form.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from fastapi import APIRouter, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse

from app.api.parts import Parts, parts_of
from app.domain import Role
from app.errors import NotFoundError
from app.practice import PracticeCase, practice_answer
from app.served import ServedModel
from app.web.advice import Advice, advice_of, shown_value
from app.web.case_view import FactRow, Form, Items, items_of
from app.web.forms import filled_in
from app.web.language import texts_of
from app.web.render import page
from app.web.session import signed_in

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

LEARNERS = (Role.CASEWORKER, Role.REVIEWER, Role.ADMIN)
Number = Annotated[int, Path(ge=1, le=100)]
Step = Literal["own", "decide", "feedback"]


@dataclass(frozen=True, slots=True)
class PracticeModel:
    """A model that can be practised with."""

    name: str
    title: str
    cases: int


@dataclass(frozen=True, slots=True)
class PracticeListView:
    """What there is to practise with."""

    template: ClassVar[str] = "practice/practice_list.html"

    models: list[PracticeModel]


@dataclass(frozen=True, slots=True)
class PracticeView:
    """One practice case, at one of its three steps."""

    template: ClassVar[str] = "practice/practice_case.html"

    model: str
    title: str
    number: int
    of: int
    step: Step
    facts: list[FactRow]
    outcomes: Items
    own: str
    own_label: str
    advice: Advice | None
    no_advice_reason: str
    what_it_cannot_know: list[str]
    final_label: str
    right_label: str
    was_right: bool
    advice_was_right: bool | None
    changed_mind: bool
    why: str
    form: Form


@router.get("/practice", **signed_in(*LEARNERS))
async def show_practice(request: Request) -> Response:
    """Show what there is to practise with."""
    parts = parts_of(request)
    models = [
        PracticeModel(name, served.bundle.card.title, len(parts.practice_cases.of(served)))
        for name, served in sorted(parts.served.items())
    ]
    return page(request, PracticeListView(models=[model for model in models if model.cases]))


@router.get("/practice/{model}/{number}", **signed_in(*LEARNERS))
async def show_practice_case(request: Request, model: str, number: Number) -> Response:
    """Show the facts of a practice case, and ask for one's own view."""
    return await _page(request, model, number, Form())


@router.post("/practice/{model}/{number}", **signed_in(*LEARNERS))
async def practise(request: Request, model: str, number: Number) -> Response:
    """Go on to the advice, and from there to what was right."""
    parts = parts_of(request)
    _ = texts_of(request).gettext
    values = await filled_in(request)
    outcomes = parts.model(model).terms.outcomes
    own, final = values.get("own", ""), values.get("outcome", "")
    if own not in outcomes and final not in outcomes:
        return await _page(
            request, model, number, Form(values, {"outcome": _("Choose what you think")})
        )
    if own not in outcomes:
        return await _page(request, model, number, Form(), own=final)
    if final not in outcomes:
        form = Form(values, {"outcome": _("Choose a decision")})
        return await _page(request, model, number, form, own=own)
    return await _page(request, model, number, Form(), own=own, final=final)


async def _page(
    request: Request, model: str, number: int, form: Form, *, own: str = "", final: str = ""
) -> Response:
    parts, texts = parts_of(request), texts_of(request)
    served, case, count = _case(parts, model, number)
    answer = None
    if own:
        answer = await parts.slow_lane.run(lambda: practice_answer(served, case, parts.clock))
    recommendation = None if answer is None else answer.get("recommendation")
    advised = None if recommendation is None else str(recommendation["outcome"])
    if final:
        await run_in_threadpool(
            parts.practice.count, served, right=case.outcome, advised=advised, own=own, final=final
        )
    labels = {band.outcome: band.label for band in served.policy.bands}
    card = served.bundle.card
    view = PracticeView(
        model=model,
        title=card.title,
        number=number,
        of=count,
        step="feedback" if final else "decide" if own else "own",
        facts=[
            FactRow(name, card.field(name).label, shown_value(name, value, served, texts), "", "")
            for name, value in case.case.items()
        ],
        outcomes=items_of(labels),
        own=own,
        own_label=labels.get(own, ""),
        advice=None if answer is None or advised is None else advice_of(answer, served, texts),
        no_advice_reason="" if answer is None else str(answer["advice"]["reason"] or ""),
        what_it_cannot_know=list(card.what_it_cannot_know),
        final_label=labels.get(final, ""),
        right_label=labels.get(case.outcome, case.outcome),
        was_right=final == case.outcome,
        advice_was_right=None if advised is None else advised == case.outcome,
        changed_mind=bool(final) and own != final,
        why=case.why,
        form=form,
    )
    return page(request, view, status=422 if form.errors else 200)


def _case(parts: Parts, model: str, number: int) -> tuple[ServedModel, PracticeCase, int]:
    """Return a practice case and how many there are. Raises UnknownModelError, NotFoundError."""
    served = parts.model(model)
    cases = parts.practice_cases.of(served)
    if number > len(cases):
        raise NotFoundError
    return served, cases[number - 1], len(cases)
