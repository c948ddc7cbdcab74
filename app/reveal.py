"""Who may see an advice by now, looked up in the log."""

from contextlib import suppress

import orjson

from app.case_events import read_events
from app.cases import CaseFile
from app.domain import Caller
from app.errors import ErasedDecisionError
from app.reading import StoredDecision, read_decision
from app.records import with_receipt
from audit.reader import LogReader
from audit.records import Receipt

WITHHELD = (
    "The policy shows the advice later: see `GET /v1/decisions/{id}/history` for the next step."
)
_BEFORE_ADVICE = ("id", "created", "model", "policy", "purpose", "provenance", "flags")


def open_case(log: LogReader, decision_id: str, *, reader: Caller) -> CaseFile:
    """Return a case with all its events. Raises as ``read_decision``."""
    decision = read_decision(log, decision_id, reader=reader)
    return CaseFile(decision, read_events(log, decision_id))


def read_advice(log: LogReader, decision_id: str, *, reader: Caller) -> StoredDecision:
    """Return a decision for somebody who may see its advice.

    Raises AdviceWithheldError, and as ``read_decision``.
    """
    decision = read_decision(log, decision_id, reader=reader)
    if decision.content.terms.reveal != "concurrent":
        CaseFile(decision, read_events(log, decision_id)).check_visible(reader)
    return decision


def shown_body(log: LogReader, decision: StoredDecision, *, reader: Caller) -> bytes:
    """Return the answer as far as the reader may see it by now."""
    if decision.content.terms.reveal == "concurrent":
        return decision.body
    case = CaseFile(decision, read_events(log, decision.id))
    if case.is_visible(reader):
        return decision.body
    return without_advice(decision.content.answer, decision.receipt)


def without_advice(answer: bytes, receipt: Receipt) -> bytes:
    """Return an answer with everything that comes from the model taken out.

    An answer that holds no advice in the first place is returned as it is.
    """
    said = orjson.loads(answer)
    if said["advice"]["status"] == "none":
        return with_receipt(answer, receipt)
    kept = {name: said[name] for name in _BEFORE_ADVICE}
    body = {**kept, "advice": {"status": "withheld", "reason": WITHHELD}, "requirements": []}
    return with_receipt(orjson.dumps(body), receipt)


def check_disclosable(log: LogReader, decision_id: str, *, reader: Caller) -> None:
    """Raise AdviceWithheldError while the reader may not see what a record holds.

    An erased record holds nothing any more. Raises UnknownDecisionError.
    """
    with suppress(ErasedDecisionError):
        read_advice(log, decision_id, reader=reader)
