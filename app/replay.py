"""Replay: recompute a recorded recommendation and say whether it comes out bit for bit the same.

The verdict is *identical*, *differs* (naming what, and by how much) or *not replayable* (saying
why). A replay never changes the decision; each one is an entry of its own in the log.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import orjson

from app.answers import NOT_FINISHED, Assessment, answer_body
from app.domain import Caller, Clock, NewId
from app.engine import Prepared
from app.ids import timestamp
from app.metrics import Metrics
from app.reading import StoredDecision
from app.records import REPLAY
from app.served import ServedModel
from app.service import advise, alternatives_for, bits_of, explain
from app.trust import Vouched
from audit.records import Idempotency, NewRecord
from audit.replay import Differs, Identical, Item, NotReplayable, Verdict, compare
from models.errors import CaseRejectedError

IDENTICAL, DIFFERS, NOT_REPLAYABLE = "identical", "differs", "not_replayable"


def replay(
    stored: StoredDecision, served: Mapping[str, ServedModel], runtime: Mapping[str, str]
) -> Verdict:
    """Recompute a decision with the model, explanation and policy it names by digest.

    Compared are the raw numbers and the whole answer, every word of it.

    Raises ScoringError or ExplanationError when what once could be computed no longer can.
    """
    content = stored.content
    model = next(
        (each for each in served.values() if each.bundle.digest == content.model_digest), None
    )
    if model is None:
        return NotReplayable("model_missing", f"the model {content.model_digest} is not loaded")
    if model.policy_digest != content.policy_digest:
        return NotReplayable("model_missing", f"the policy {content.policy_digest} is not loaded")
    try:
        case = model.bundle.schema.encode(content.case)
    except CaseRejectedError as err:
        return NotReplayable("model_changed", f"the recorded case is refused today: {err}")
    scored = model.bundle.session.run_row(case.feeds)
    explanation = explain(model, case, scored, decision_id=stored.id)
    said = orjson.loads(content.answer)
    created = datetime.fromisoformat(said["created"])
    familiarity = model.sureness.familiarity.check(case.values)
    circumstances = content.circumstances
    advice = advise(model, case, scored, familiarity, circumstances, created=created)
    # Who was trusted then is a fact of the record, and not something to compute.
    told = said["model"]["signature"]
    model = replace(model, vouched=Vouched(told["supplier"], None, told["warning"]))
    unfinished = said.get("what_would_change", {}).get("status") == "not_finished"
    answer = answer_body(
        model,
        case,
        Assessment(
            scored,
            explanation,
            familiarity,
            advice,
            NOT_FINISHED if unfinished else alternatives_for(model, case, advice),
            circumstances,
            created,
        ),
        decision_id=stored.id,
    )
    return compare(
        (*content.bits, Item("answer", "bytes", content.answer)),
        (*bits_of(scored, explanation, advice), Item("answer", "bytes", answer)),
        recorded_environment=content.runtime,
        current_environment=runtime,
    )


def verdict_name(verdict: Verdict) -> str:
    """Return the verdict in one word, as the API and the metrics say it."""
    match verdict:
        case Identical():
            return IDENTICAL
        case Differs():
            return DIFFERS
        case NotReplayable():
            return NOT_REPLAYABLE


def verdict_body(verdict: Verdict) -> dict[str, object]:
    """Return the verdict as the API says it."""
    differs = verdict if isinstance(verdict, Differs) else None
    return {
        "verdict": verdict_name(verdict),
        "differences": [
            {"name": each.name, "detail": each.why, "max_ulps": each.max_ulps}
            for each in (differs.differences if differs else ())
        ],
        "reason": verdict.detail if isinstance(verdict, NotReplayable) else None,
        "environment_changed": [
            {"name": each.name, "recorded": each.recorded, "current": each.current}
            for each in (differs.environment if differs else ())
        ],
    }


@dataclass(frozen=True, slots=True)
class ReplayWork:
    """A replay that has been made and waits for its record."""

    stored: StoredDecision
    verdict: Verdict
    caller: Caller
    clock: Clock
    new_id: NewId
    metrics: Metrics

    @property
    def idempotency(self) -> Idempotency | None:
        """Each replay is an event of its own."""
        return None

    def prepare(self) -> Prepared:
        """Return the record of the replay."""
        return replay_record(
            self.stored,
            self.verdict,
            actor=self.caller.key_id,
            clock=self.clock,
            new_id=self.new_id,
        )

    def recorded(self, prepared: Prepared) -> None:
        """Count the replay."""
        self.metrics.replays.labels(prepared.result).inc()


def replay_record(
    stored: StoredDecision, verdict: Verdict, *, actor: str, clock: Clock, new_id: NewId
) -> Prepared:
    """Return the record of a replay, which names the entry that was replayed."""
    answer = orjson.dumps({"decision": stored.id, **verdict_body(verdict)})
    return Prepared(
        record=NewRecord(
            type=REPLAY,
            id=new_id(),
            facts={"of": stored.receipt.index, "verdict": verdict_name(verdict)},
            payload=orjson.dumps(
                {
                    "v": 1,
                    "actor": actor,
                    "at": timestamp(clock()),
                    "answer": orjson.Fragment(answer),
                }
            ),
        ),
        answer=answer,
        result=verdict_name(verdict),
    )
