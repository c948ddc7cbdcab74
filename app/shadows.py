"""Shadow versions: each recorded case is scored and explained by them too, for nobody to see.

A decision is never kept waiting: what is to be looked at is put on a bounded queue once the decision
is durable, and one thread of its own works it off. What comes of it is recorded in the log, under an
identifier that no route reads and under the same person's key. Where the queue is full the case is
left out and counted; a comparison says of how many cases it knows nothing.
"""

import asyncio
import threading
from base64 import b64encode
from dataclasses import dataclass
from queue import Empty, Full, Queue

import orjson
import structlog

from app.case_events import shadow_id
from app.domain import Clock
from app.engine import Engine
from app.errors import EngineStoppedError, OverloadedError
from app.ids import timestamp
from app.log_entries import EntryWork
from app.metrics import Metrics
from app.policy import PolicyError
from app.records import SHADOW
from app.served import ServedModel
from app.service import Application, advise, explain
from app.work import Recorded
from audit.errors import AuditError, FollowsErasedError
from audit.leaf import Facts
from audit.reader import LogReader
from audit.records import NewRecord
from explainers.errors import ExplanationError
from models.errors import ModelError

LIMIT = 512
"""Cases waiting for their shadows; more are left out."""
GROUP = 32
"""Cases looked at before what came of them is recorded, in one transaction."""
RECORD_SECONDS = 30.0
SIZE_CLASS_BYTES = 4 * 1024
"""Payloads are padded, as a recommendation's is: the leaf shows their length."""
CANNOT_LOOK = (ModelError, ExplanationError, PolicyError)

_log = structlog.get_logger("grounds.shadows")


@dataclass(frozen=True, slots=True)
class Seen:
    """A recorded case for shadows to look at."""

    application: Application
    recorded: Recorded


class Shadows:
    """The queue, and the thread that works it off."""

    def __init__(self, log: LogReader, engine: Engine, metrics: Metrics, *, clock: Clock) -> None:
        self._log, self._engine, self._metrics, self._clock = log, engine, metrics, clock
        self._queue: Queue[Seen | None] = Queue(LIMIT)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="shadows", daemon=True)

    def start(self) -> None:
        """Begin to work, recording through the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def close(self) -> None:
        """Work off what is queued, and end. Not from the event loop's thread: it is needed."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def offer(self, application: Application, recorded: Recorded) -> None:
        """Let the case's shadows look at it, now that it is recorded, some time soon. Never waits."""
        if not application.shadows:
            return
        try:
            self._queue.put_nowait(Seen(application, recorded))
        except Full:
            self._count(application.shadows, "left_out")

    def _run(self) -> None:
        ended = False
        while not ended:
            group = [self._queue.get()]
            while len(group) < GROUP:
                try:
                    group.append(self._queue.get_nowait())
                except Empty:
                    break
            ended = None in group
            self._work([seen for seen in group if seen is not None])

    def _work(self, group: list[Seen]) -> None:
        looked: list[tuple[ServedModel, str, NewRecord]] = []
        for seen in group:
            try:
                erased = self._log.erasure_of(seen.recorded.receipt.index) is not None
            except AuditError as err:  # the log, for now: nobody else works the queue off
                _log.error("shadows", error=type(err).__name__)
                self._count(seen.application.shadows, "left_out")
                continue
            if not erased:
                looked += self._looked(seen)
        if not looked or self._loop is None:
            return
        recording = asyncio.run_coroutine_threadsafe(
            self._record([record for _, _, record in looked]), self._loop
        )
        try:
            recording.result(RECORD_SECONDS)
        except (AuditError, OverloadedError, EngineStoppedError, TimeoutError) as err:
            _log.error("shadows", error=type(err).__name__)
            self._count(tuple(served for served, _, _ in looked), "left_out")
            return
        for served, result, _ in looked:
            self._count((served,), result)

    async def _record(self, records: list[NewRecord]) -> None:
        works = [self._engine.submit(EntryWork(record)) for record in records]
        for done in await asyncio.gather(*works, return_exceptions=True):
            if isinstance(done, BaseException) and not isinstance(done, FollowsErasedError):
                raise done

    def _looked(self, seen: Seen) -> list[tuple[ServedModel, str, NewRecord]]:
        found = []
        for number, shadow in enumerate(seen.application.shadows, start=1):
            try:
                result, content = "compared", self._look(shadow, seen.application)
            except CANNOT_LOOK as err:
                result, content = "failed", {"failed": type(err).__name__}
            found.append((shadow, result, self._entry(seen, shadow, number, content)))
        return found

    def _look(self, shadow: ServedModel, application: Application) -> dict[str, object]:
        """Return what a shadow makes of a case. Raises CANNOT_LOOK, as advising would."""
        case = shadow.bundle.schema.encode(application.case.values)
        scored = shadow.bundle.session.run_row(case.feeds)
        explanation = explain(shadow, case, scored, decision_id=application.id)
        familiarity = shadow.sureness.familiarity.check(case.values)
        advice = advise(
            shadow, case, scored, familiarity, application.circumstances, created=self._clock()
        )
        row = explanation.terms.targets.index(shadow.target)
        fields = [field.name for field in shadow.bundle.card.fields]
        return {
            "outcome": None if advice.is_withheld else advice.outcome,
            "rule": advice.rule.id,
            "score": advice.score,
            "adverse": advice.adverse,
            "near_threshold": advice.near_threshold,
            "requires": [each.kind for each in advice.requires],
            "base_value": float(explanation.terms.base_values[row]),
            "contributions": dict(
                zip(fields, explanation.contributions[row].tolist(), strict=True)
            ),
            "residual": explanation.residual,
        }

    def _entry(
        self, seen: Seen, shadow: ServedModel, number: int, content: dict[str, object]
    ) -> NewRecord:
        application, receipt = seen.application, seen.recorded.receipt
        answer = orjson.loads(seen.recorded.answer)
        told = answer.get("recommendation")
        payload = orjson.dumps(
            {
                "v": 1,
                "decision": application.id,
                "at": timestamp(self._clock()),
                "live": {
                    "model": application.served.bundle.digest,
                    "policy": application.served.policy_digest,
                    "outcome": None if told is None else told["outcome"],
                    "score": None if told is None else told["score"],
                },
                "shadow": content,
            }
        )
        facts: Facts = {
            **shadow.facts,
            "of": receipt.index,
            "leaf": b64encode(receipt.leaf_hash).decode(),
        }
        return NewRecord(
            type=SHADOW,
            id=shadow_id(application.id, number),
            facts=facts,
            payload=payload + b" " * (-len(payload) % SIZE_CLASS_BYTES),
            subject=application.subject,
            follows=receipt.index,
        )

    def _count(self, shadows: tuple[ServedModel, ...], result: str) -> None:
        for shadow in shadows:
            self._metrics.shadows.labels(shadow.name, result).inc()
