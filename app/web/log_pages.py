"""The auditor's pages about the log as a whole: its state, its verification, runs of replays and their reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse

from app.api.access import CurrentCaller
from app.api.parts import Parts, parts_of
from app.api.replays import RunId, shown_run
from app.api.verifications import VERIFIERS, VerificationId
from app.domain import Role
from app.run_list import recorded_runs
from app.verifications import Verification
from app.web.auditor_words import verdict_words
from app.web.case import READERS as CASE_READERS
from app.web.charts import counts, paired_bars
from app.web.language import Texts, texts_of
from app.web.render import page
from app.web.session import signed_in
from audit.checkpoint import unverified_checkpoint

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

RUN_READERS = (Role.AUDITOR, Role.MODEL_OWNER, Role.ADMIN)
MOST_LISTED = 20


@dataclass(frozen=True, slots=True)
class VerificationLine:
    """One run in a list."""

    id: str
    started: str
    actor: str
    verdict: str
    tag: str
    """The colour of its tag; the words say the same."""
    size: int


@dataclass(frozen=True, slots=True)
class WitnessLine:
    """One witness and how it stands."""

    name: str
    state: str


@dataclass(frozen=True, slots=True)
class LogView:
    """The state of the log."""

    template: ClassVar[str] = "auditor/log.html"

    origin: str
    size: int
    verifier_key: str
    signed_size: int | None
    signed_root: str
    signatures: int
    fault: str | None
    alarms: list[str]
    witnesses: list[WitnessLine]
    has_witnesses: bool
    verifications: list[VerificationLine]
    can_verify: bool


@dataclass(frozen=True, slots=True)
class VerificationView:
    """One verification of the log."""

    template: ClassVar[str] = "auditor/verification.html"

    run: Verification
    verdict: str
    is_running: bool
    percent: int
    begun: str
    ended: str
    """Empty while it is under way."""


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run of replays in the list."""

    id: str
    recorded: str
    kind: str
    decisions: int
    verdicts: list[str]
    index: int


@dataclass(frozen=True, slots=True)
class RunsView:
    """The runs of replays on record."""

    template: ClassVar[str] = "auditor/runs.html"

    runs: list[RunLine]


@dataclass(frozen=True, slots=True)
class RunView:
    """One run's report."""

    template: ClassVar[str] = "auditor/run.html"

    is_counterfactual: bool
    verdict: str
    recorded: str
    actor: str
    index: int
    decisions: int
    verdicts: list[tuple[str, int]]
    selection: list[tuple[str, str]]
    changed_environment: list[dict[str, Any]]
    exceptions: list[dict[str, Any]]
    exceptions_omitted: int
    may_open: bool
    """Whether the reader may see the decisions that are named."""
    results_sha256: str
    instead: list[tuple[str, str]]
    impact: Mapping[str, Any] | None
    outcomes_chart: str
    outcomes: list[tuple[str, str, str]]
    transitions: list[tuple[str, str, str, list[str]]]
    scores_chart: str
    scores: list[tuple[str, str, str]]


@router.get("/audit/log", **signed_in(*VERIFIERS))
async def show_log(request: Request) -> Response:
    """Show the state of the log."""
    parts, texts = parts_of(request), texts_of(request)
    runs = await run_in_threadpool(parts.verifications.latest, MOST_LISTED)
    return page(request, _log_view(parts, runs, texts))


@router.post("/audit/verifications", **signed_in(*VERIFIERS))
async def begin_verification(request: Request, caller: CurrentCaller) -> Response:
    """Begin to verify the log, and show how it goes."""
    run = parts_of(request).verifications.begin(caller)
    return RedirectResponse(f"/audit/verifications/{run.id}", status_code=303)


@router.get("/audit/verifications/{verification_id}", **signed_in(*VERIFIERS))
async def show_verification(request: Request, verification_id: VerificationId) -> Response:
    """Show one verification, under way or on record."""
    run = await run_in_threadpool(parts_of(request).verifications.find, verification_id)
    verdict, _ = _verdict(run, texts_of(request))
    return page(
        request,
        VerificationView(
            run=run,
            verdict=verdict,
            is_running=run.status == "running",
            percent=0 if run.total == 0 else min(100, 100 * run.done // run.total),
            begun=_moment(run.started),
            ended=_moment(run.ended or ""),
        ),
    )


@router.get("/audit/replays", **signed_in(*RUN_READERS))
async def show_runs(request: Request) -> Response:
    """Show the runs of replays on record."""
    texts = texts_of(request)
    runs = await run_in_threadpool(recorded_runs, parts_of(request).replay_runs, MOST_LISTED)
    return page(
        request,
        RunsView(
            [
                RunLine(
                    id=run.id,
                    recorded=_moment(run.recorded),
                    kind=_kind(run.kind, texts),
                    decisions=run.decisions,
                    verdicts=[
                        f"{verdict_words(name, texts)}: {count:,}"
                        for name, count in run.verdicts.items()
                    ],
                    index=run.index,
                )
                for run in runs
            ]
        ),
    )


@router.get("/audit/replays/{run_id}", **signed_in(*RUN_READERS))
async def show_run(request: Request, run_id: RunId, caller: CurrentCaller) -> Response:
    """Show one run's report: what came out, and what would change under another model or policy."""
    told = orjson.loads(await run_in_threadpool(shown_run, parts_of(request), run_id))
    view = _run_view(told, texts_of(request), may_open=caller.role in CASE_READERS)
    return page(request, view)


def _log_view(parts: Parts, runs: Sequence[Verification], texts: Texts) -> LogView:
    note = parts.checkpointer.newest
    signed = None if note is None else unverified_checkpoint(note, origin=parts.log.origin)
    witnesses = parts.checkpointer.witnesses
    _ = texts.gettext
    return LogView(
        origin=parts.log.origin,
        size=parts.log.size,
        verifier_key=parts.log.verifier_key,
        signed_size=None if signed is None else signed.size,
        signed_root="" if signed is None else signed.root.hex(),
        signatures=0 if note is None else note.decode().count("\n— "),
        fault=parts.engine.fault,
        alarms=parts.checkpointer.alarms,
        witnesses=[
            WitnessLine(
                state.name,
                texts.ngettext(
                    "has cosigned %(size)s entry", "has cosigned %(size)s entries", state.size
                )
                % {"size": f"{state.size:,}"}
                if state.fault is None
                else _("has not answered as it should (%(fault)s)") % {"fault": state.fault},
            )
            for state in (() if witnesses is None else witnesses.states)
        ],
        has_witnesses=witnesses is not None,
        verifications=[_line(run, texts) for run in runs],
        can_verify=not any(run.status == "running" for run in runs),
    )


def _line(run: Verification, texts: Texts) -> VerificationLine:
    verdict, tag = _verdict(run, texts)
    return VerificationLine(run.id, _moment(run.started), run.actor, verdict, tag, run.size)


def _verdict(run: Verification, texts: Texts) -> tuple[str, str]:
    _ = texts.gettext
    return {
        "running": (_("Under way"), "blue"),
        "sound": (_("Sound: nothing is wrong"), "green"),
        "faulty": (_("Something is wrong with the log"), "red"),
        "failed": (_("Could not be verified"), "yellow"),
    }[run.status]


def _run_view(told: Mapping[str, Any], texts: Texts, *, may_open: bool) -> RunView:
    _ = texts.gettext
    report = told["report"]
    impact = report["impact"]
    verdicts = [(verdict_words(name, texts), count) for name, count in report["verdicts"].items()]
    return RunView(
        is_counterfactual=impact is not None,
        verdict=_run_verdict(report, texts),
        recorded=_moment(told["recorded"]),
        actor=told["actor"],
        index=told["receipt"]["index"],
        decisions=report["decisions"],
        verdicts=[(words, count) for words, count in verdicts if count],
        selection=[
            (name, str(value)) for name, value in report["selection"].items() if value is not None
        ],
        changed_environment=report["environment_changed"],
        exceptions=[
            {**each, "verdict": verdict_words(each["verdict"], texts)}
            for each in report["exceptions"]
        ],
        exceptions_omitted=report["exceptions_omitted"],
        may_open=may_open,
        results_sha256=report["results_sha256"],
        instead=[
            (name, value) for name, value in (report["instead"] or {}).items() if value is not None
        ],
        impact=impact,
        **_impact_parts(impact, texts),
    )


def _impact_parts(impact: Mapping[str, Any] | None, texts: Texts) -> dict[str, Any]:
    if impact is None:
        return {
            "outcomes_chart": "", "outcomes": [], "transitions": [], "scores_chart": "",
            "scores": [],
        }  # fmt: skip
    _ = texts.gettext
    before: dict[str, int] = {}
    after: dict[str, int] = {}
    for each in impact["transitions"]:
        before[each["recorded"]] = before.get(each["recorded"], 0) + each["count"]
        after[each["instead"]] = after.get(each["instead"], 0) + each["count"]
    names = sorted(before | after)
    legend = (_("Then"), _("Instead"))
    outcomes = [counts(name, before.get(name, 0), after.get(name, 0)) for name in names]
    bins = [] if impact["scores"] is None else impact["scores"]["bins"]
    scores = [counts(f"{each['at_least']:g}", each["recorded"], each["instead"]) for each in bins]
    return {
        "outcomes_chart": paired_bars(outcomes, legend=legend, title=_("Cases by outcome")),
        "outcomes": [(pair.label, pair.first_text, pair.second_text) for pair in outcomes],
        "transitions": [
            (each["recorded"], each["instead"], f"{each['count']:,}", each["examples"])
            for each in impact["transitions"]
            if each["recorded"] != each["instead"]
        ],
        "scores_chart": (
            paired_bars(scores, legend=legend, title=_("Cases by score")) if scores else ""
        ),
        "scores": [(pair.label, pair.first_text, pair.second_text) for pair in scores],
    }


def _run_verdict(report: Mapping[str, Any], texts: Texts) -> str:
    _ = texts.gettext
    impact, verdicts = report["impact"], report["verdicts"]
    if impact is not None:
        return _("%(changed)s of %(compared)s cases would have had another outcome.") % {
            "changed": f"{impact['changed']:,}",
            "compared": f"{impact['compared']:,}",
        }
    if verdicts["identical"] == report["decisions"]:
        return _("All decisions came out the same, bit for bit.")
    if verdicts["identical"] + verdicts["erased"] == report["decisions"]:
        return _("All decisions whose content is still there came out the same, bit for bit.")
    return _("Not all decisions came out the same.")


def _kind(kind: str, texts: Texts) -> str:
    _ = texts.gettext
    return _("What would change") if kind == "counterfactual" else _("Recomputed")


def _moment(at: str) -> str:
    return at.replace("T", " ").replace("Z", " UTC")
