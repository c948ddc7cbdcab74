"""Entries of the log that are no decisions: who read what, holds. Made beforehand, only recorded."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from app.domain import Caller, NewId
from app.work import Prepared
from audit.records import Idempotency, NewRecord, Receipt

READ = "read"

Reading: TypeAlias = Literal[
    "decision", "page", "evidence", "history", "explanation", "notice", "provenance"
]


@dataclass(frozen=True, slots=True)
class EntryWork:
    """One entry for the engine to append."""

    record: NewRecord

    @property
    def idempotency(self) -> Idempotency | None:
        """Each is an event of its own."""
        return None

    def recorded(self, prepared: Prepared) -> None:
        """Nothing is counted."""

    def prepare(self) -> Prepared:
        """Return the entry as it is."""
        return Prepared(record=self.record, answer=b"", result=self.record.type)


def read_record(of: Receipt, *, what: Reading, reader: Caller, new_id: NewId) -> NewRecord:
    """Return the entry that says who read a personal record. No payload: the names are opaque."""
    facts = {"of": of.index, "what": what, "reader": reader.name, "role": reader.role.value}
    return NewRecord(READ, new_id(), facts)
