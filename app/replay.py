"""Replay: recompute a recorded recommendation and say whether it comes out bit for bit the same.

The verdict is *identical*, *within ULPs* or *different* (naming what, and by how much), or says why
there was nothing to compare: *erased*, *model missing*, *failed*, *damaged*. A replay never changes
the decision; each one is an entry of its own in the log.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, TypeAlias, get_args

import orjson

from app.answers import NOT_FINISHED, Assessment, answer_body
from app.domain import Caller, Clock, NewId
from app.ids import timestamp
from app.library import Library, MissingModelError
from app.metrics import Metrics
from app.policy import PolicyError
from app.reading import StoredDecision
from app.records import REPLAY
from app.served import ServedModel
from app.service import advise, alternatives_for, bits_of, explain
from app.trust import Vouched
from app.work import Prepared
from audit.records import Idempotency, NewRecord
from audit.replay import (
    MAX_ULPS,
    Difference,
    Differs,
    Identical,
    Item,
    NotReplayable,
    Verdict,
    compare,
)
from explainers.errors import ExplanationError
from models.errors import CaseRejectedError, ModelError

VerdictName: TypeAlias = Literal[
    "identical", "within_ulps", "different", "erased", "model_missing", "failed", "damaged"
]
VERDICTS: tuple[VerdictName, ...] = get_args(VerdictName)


def replay(stored: StoredDecision, library: Library, runtime: Mapping[str, str]) -> Verdict:
    """Recompute a decision with the model, explanation and policy it names by digest.

    Compared are the raw numbers and the whole answer, every word of it.
    """
    content = stored.content
    try:
        model = library.find(content.model_digest, content.policy_digest)
        return _compared(stored, model, runtime)
    except MissingModelError as err:
        return NotReplayable("model_missing", str(err))
    except CaseRejectedError as err:
        fields = ", ".join(dict.fromkeys(fault.field or "the case" for fault in err.faults))
        return NotReplayable("failed", f"the recorded case is refused today: {fields}")
    except (ModelError, ExplanationError, PolicyError) as err:
        # Without the text, which can hold numbers of the case.
        return NotReplayable("failed", f"it can no longer be computed: {type(err).__name__}")


def _compared(
    stored: StoredDecision, model: ServedModel, runtime: Mapping[str, str]
) -> Identical | Differs:
    content = stored.content
    case = model.bundle.schema.encode(content.case)
    scored = model.bundle.session.run_row(case.feeds)
    explanation = explain(model, case, scored, decision_id=stored.id)
    said = orjson.loads(content.answer)
    created = datetime.fromisoformat(said["created"])
    familiarity = model.sureness.familiarity.check(case.values)
    circumstances = content.circumstances
    advice = advise(model, case, scored, familiarity, circumstances, created=created)
    # Who was trusted then, and which arm it was, are facts of the record: nothing to compute.
    told = said["model"]["signature"]
    vouched = Vouched(told["supplier"], None, told["warning"])
    model = replace(model, vouched=vouched, arm=said["model"].get("arm"))
    assessment = Assessment(scored, explanation, familiarity, advice, None, circumstances, created)
    unfinished = said.get("what_would_change", {}).get("status") == "not_finished"
    found = NOT_FINISHED if unfinished else alternatives_for(model, case, assessment)
    assessment = replace(assessment, alternatives=found)
    answer = answer_body(model, case, assessment, decision_id=stored.id)
    return compare(
        (*content.bits, Item("answer", "json", content.answer)),
        (*bits_of(scored, explanation, advice), Item("answer", "json", answer)),
        recorded_environment=content.runtime,
        current_environment=runtime,
    )


def verdict_name(verdict: Verdict, *, max_ulps: int = MAX_ULPS) -> VerdictName:
    """Return the verdict in one word, as the API and the metrics say it.

    Numbers that are at most ``max_ulps`` units in the last place apart are ``within_ulps``.
    """
    match verdict:
        case Identical():
            return "identical"
        case Differs(max_ulps=distance):
            return "within_ulps" if distance is not None and distance <= max_ulps else "different"
        case NotReplayable(reason=reason):
            return reason


def verdict_body(verdict: Verdict, *, max_ulps: int = MAX_ULPS) -> dict[str, object]:
    """Return the verdict as the API says it."""
    differs = verdict if isinstance(verdict, Differs) else None
    return {
        "verdict": verdict_name(verdict, max_ulps=max_ulps),
        "max_ulps": None if differs is None else differs.max_ulps,
        "differences": [difference_body(each) for each in (differs.differences if differs else ())],
        "reason": verdict.detail if isinstance(verdict, NotReplayable) else None,
        "environment_changed": [
            {"name": each.name, "recorded": each.recorded, "current": each.current}
            for each in (differs.environment if differs else ())
        ],
    }


def difference_body(difference: Difference) -> dict[str, object]:
    """Return one difference as the API says it: places, and nothing of what stands there."""
    return {
        "name": difference.name,
        "detail": difference.why,
        "max_ulps": difference.max_ulps,
        "places": list(difference.places),
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
            subject=stored.content.subject,
            follows=stored.receipt.index,
        ),
        answer=answer,
        result=verdict_name(verdict),
    )
