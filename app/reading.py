"""Reading a recorded decision back, as far as the reader may."""

from dataclasses import dataclass

from app import records
from app.domain import Caller, Role
from app.errors import ErasedDecisionError, UnknownDecisionError
from app.records import StoredRecommendation, parse_recommendation
from audit.errors import UnknownRecordError
from audit.reader import LogReader
from audit.records import Receipt, StoredRecord


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """A recommendation with its place in the log."""

    id: str
    content: StoredRecommendation
    receipt: Receipt

    @property
    def body(self) -> bytes:
        """The answer as its caller got it."""
        return records.with_receipt(self.content.answer, self.receipt)


def check_visible(log: LogReader, decision_id: str, *, reader: Caller) -> None:
    """Raise UnknownDecisionError unless there is such a decision and the reader may know of it."""
    if reader.role is Role.CALLER:
        read_decision(log, decision_id, reader=reader)
    else:
        _stored(log, decision_id)


def read_decision(log: LogReader, decision_id: str, *, reader: Caller) -> StoredDecision:
    """Return the decision. A caller sees only what the same key asked for.

    Raises UnknownDecisionError, or ErasedDecisionError when its content is gone.
    """
    stored = _stored(log, decision_id)
    if stored.payload is None:
        if reader.role is Role.CALLER:
            raise UnknownDecisionError  # whose it was went with the content
        raise ErasedDecisionError
    content = parse_recommendation(stored.payload)
    if reader.role is Role.CALLER and content.caller != reader.key_id:
        # The same answer as for an identifier that never was: its existence is not theirs to know.
        raise UnknownDecisionError
    return StoredDecision(
        id=decision_id,
        content=content,
        receipt=Receipt(log.origin, stored.index, stored.leaf_hash),
    )


def _stored(log: LogReader, decision_id: str) -> StoredRecord:
    try:
        stored = log.read(decision_id)
    except UnknownRecordError as err:
        raise UnknownDecisionError from err
    if stored.type != records.RECOMMENDATION:
        raise UnknownDecisionError
    return stored
