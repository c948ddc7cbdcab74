"""The report on how people rely on the advice, for managers: all together, never person by person."""

from dataclasses import dataclass
from typing import ClassVar

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse

from app.api.parts import parts_of
from app.api.reliance import READERS, reliance_of
from app.practice import Reliance
from app.reliance import LATEST, SMALLEST_CELL, Relied
from app.web import case_words
from app.web.language import Texts, texts_of
from app.web.render import page
from app.web.session import signed_in

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)
MINUTE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class ModelReliance:
    """How people rely on one model."""

    title: str
    decisions: int
    departed: str
    reasons: list[list[str]]
    dwell: list[list[str]]
    groups: list[list[str]]
    practice: list[list[str]]
    switched: list[str]


@dataclass(frozen=True, slots=True)
class RelianceView:
    """The report."""

    template: ClassVar[str] = "reliance/report.html"

    models: list[ModelReliance]
    latest: str
    smallest: int


@router.get("/reliance", **signed_in(*READERS))
async def show_reliance(request: Request) -> Response:
    """Show the report of every model."""
    parts, texts = parts_of(request), texts_of(request)
    made = [
        _model(
            parts.served[name].bundle.card.title,
            *await run_in_threadpool(reliance_of, parts, name),
            texts,
        )
        for name in sorted(parts.served)
    ]
    view = RelianceView(models=made, latest=f"{LATEST:,}", smallest=SMALLEST_CELL)
    return page(request, view)


def _model(title: str, live: Relied, practice: Reliance, texts: Texts) -> ModelReliance:
    _ = texts.gettext
    codes = case_words.reason_codes(texts)
    few = _("too few to say")
    return ModelReliance(
        title=title,
        decisions=live.decisions,
        departed=_share(live.departed, live.decisions, texts),
        reasons=[
            [codes.get(name, name), f"{followed:,}", f"{departed:,}"]
            for name, (followed, departed) in live.reasons.items()
        ],
        dwell=[]
        if live.dwell is None
        else [
            [_("A quarter were quicker than"), _time(live.dwell.lower, texts)],
            [_("Half were quicker than"), _time(live.dwell.median, texts)],
            [_("A quarter took longer than"), _time(live.dwell.upper, texts)],
        ],
        groups=[
            [
                f"{each.attribute}: {each.group}",
                few if each.decisions is None else f"{each.decisions:,}",
                few
                if each.decisions is None or each.departed is None
                else _share(each.departed, each.decisions, texts),
            ]
            for each in live.groups
        ],
        practice=[
            [_("Advice was right"), f"{practice.right:,}",
             _share(practice.right_followed, practice.right, texts)],
            [_("Advice was wrong"), f"{practice.wrong:,}",
             _share(practice.wrong_followed, practice.wrong, texts)],
        ]
        if practice.right + practice.wrong
        else [],
        switched=[
            _("Times somebody left a wrong view of their own after the advice: %(count)s.")
            % {"count": practice.switched_to_right},
            _("Times somebody left a right view of their own after the advice: %(count)s.")
            % {"count": practice.switched_to_wrong},
        ],
    )  # fmt: skip


def _share(part: int, whole: int, texts: Texts) -> str:
    """Return a share with its numbers, or that there are too few for one."""
    _ = texts.gettext
    if whole < SMALLEST_CELL:
        return _("too few to say")
    return _("%(percent)s%% (%(part)s of %(whole)s)") % {
        "percent": round(100 * part / whole),
        "part": f"{part:,}",
        "whole": f"{whole:,}",
    }


def _time(seconds: float, texts: Texts) -> str:
    if seconds < MINUTE_SECONDS:
        count = round(seconds)
        return texts.ngettext("%(num)d second", "%(num)d seconds", count) % {"num": count}
    count = round(seconds / MINUTE_SECONDS)
    return texts.ngettext("%(num)d minute", "%(num)d minutes", count) % {"num": count}
