"""Reading decisions, and how they turned out, back from the log: what nobody handed over in memory."""

from dataclasses import dataclass

import numpy as np
import orjson
import structlog

from app.metrics import Metrics
from app.monitoring.streams import Made
from app.records import RECOMMENDATION, StoredRecommendation, parse_recommendation
from audit.errors import AuditError
from audit.reader import LogReader
from models.card import ClassLabel

_log = structlog.get_logger("grounds.monitor")


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """A decision as the log has it."""

    id: str
    index: int
    content: StoredRecommendation

    def made(self, target: int) -> Made:
        """Return what figures are made of; ``target`` is the score that the advice rests on."""
        bits = {item.name: item for item in self.content.bits}
        scores = np.frombuffer(
            bits["scores"].raw, dtype="<f4" if bits["scores"].type == "float32" else "<f8"
        )
        return Made(
            id=self.id,
            values=self.content.case,  # type: ignore[arg-type]  # as the schema let them in
            score=float(scores[target]),
            outcome=bits["outcome"].raw.decode().partition("\n")[0],
        )


@dataclass(frozen=True, slots=True)
class RecordedOutcome:
    """How a decision turned out, as it was reported."""

    decision: str
    outcome: ClassLabel


class Recorded:
    """What is on record. An entry that cannot be read is counted as a fault, and passed over."""

    def __init__(self, log: LogReader, metrics: Metrics) -> None:
        self._log, self._metrics = log, metrics

    def decision(self, record_id: str) -> RecordedDecision | None:
        """Return a decision; None where it is erased, cannot be read, or is something else."""
        try:
            stored = self._log.read(record_id)
        except AuditError as err:
            self._fault(err)
            return None
        if stored.type != RECOMMENDATION or stored.payload is None:
            return None
        return RecordedDecision(record_id, stored.index, parse_recommendation(stored.payload))

    def outcome(self, record_id: str) -> RecordedOutcome | None:
        """Return a report of how a case turned out; None where it is erased or cannot be read."""
        try:
            payload = self._log.read(record_id).payload
        except AuditError as err:
            self._fault(err)
            return None
        if payload is None:
            return None
        content = orjson.loads(payload)
        return RecordedOutcome(content["decision"], content["outcome"])

    def _fault(self, error: AuditError) -> None:
        self._metrics.verify_failures.inc()
        _log.error("monitoring", error=type(error).__name__)
