"""What happens to a case after the recommendation: each event an entry, numbered within its case.

An event's identifier is the decision's with a number: ``<decision>.1``, ``<decision>.2`` and so on,
without a gap. The log takes each identifier once, so two events that were both checked against the
same state cannot both be recorded, whichever processes they came from: the second is refused, and
looked at again. Leaves say which recommendation an event belongs to, by index and leaf hash, and
nothing of a person or an outcome; the rest is in the encrypted payload, under the same person's key.
"""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import orjson

from app.domain import Caller, Kind, Role
from app.reading import StoredDecision
from audit.errors import UnknownRecordError
from audit.leaf import Fact, Facts
from audit.reader import LogReader
from audit.records import NewRecord, Receipt

OWN_ASSESSMENT: Final = "own_assessment"
ADVICE_REQUESTED: Final = "advice_requested"
CASEWORKER_DECISION: Final = "caseworker_decision"
NOTICE: Final = "notice"
CONTEST: Final = "contest"
REPRESENTATION: Final = "representation"
REVIEW: Final = "review"
TAKEN: Final = "taken"
RELEASED: Final = "released"
CORRECTS: Final = "corrects"
CORRECTED: Final = "corrected"
EventType: TypeAlias = Literal[
    "own_assessment", "advice_requested", "caseworker_decision", "notice", "contest",
    "representation", "review", "taken", "released", "corrects", "corrected",
]  # fmt: skip

_SIZE_CLASS_BYTES = 2 * 1024
"""Payloads are padded, as a recommendation's is: the leaf shows their length."""


@dataclass(frozen=True, slots=True)
class CaseEvent:
    """One event of a case, as recorded."""

    number: int
    type: str
    at: str
    actor: str
    role: str
    is_human: bool
    content: Mapping[str, Any]
    receipt: Receipt


def event_record(
    decision: StoredDecision,
    *,
    number: int,
    type_: EventType,
    actor: Caller,
    at: str,
    content: Mapping[str, object],
    facts: Mapping[str, Fact] | None = None,
) -> NewRecord:
    """Return the entry of a case's event ``number``. ``facts`` are for the public leaf."""
    payload = orjson.dumps(
        {
            "v": 1,
            "at": at,
            "actor": actor.name,
            "key": actor.key_id,
            "role": actor.role.value,
            "human": actor.kind is Kind.HUMAN,
            "content": content,
        }
    )
    bound: Facts = {
        "of": decision.receipt.index,
        "leaf": b64encode(decision.receipt.leaf_hash).decode(),
        **(facts or {}),
    }
    return NewRecord(
        type=type_,
        id=event_id(decision.id, number),
        facts=bound,
        payload=payload + b" " * (-len(payload) % _SIZE_CLASS_BYTES),
        subject=decision.content.subject,
        follows=decision.receipt.index,
    )


def event_id(decision_id: str, number: int) -> str:
    """Return the identifier of a case's event."""
    return f"{decision_id}.{number}"


@dataclass(frozen=True, slots=True)
class Events:
    """A case's events as one reading found them."""

    known: tuple[CaseEvent, ...]
    """In order. Erased events are left out: with them went all that they said."""
    count: int
    """How many there are, erased ones too. The next event has this number and one: taken from any
    other reading, it would let a step through that was checked against an older state."""


def read_events(log: LogReader, decision_id: str) -> Events:
    """Return what happened to a case since its recommendation."""
    found: list[CaseEvent] = []
    number = 1
    while True:
        try:
            stored = log.read(event_id(decision_id, number))
        except UnknownRecordError:
            return Events(tuple(found), number - 1)
        if stored.payload is not None:
            said = orjson.loads(stored.payload)
            found.append(
                CaseEvent(
                    number=number,
                    type=stored.type,
                    at=said["at"],
                    actor=said["actor"],
                    role=said["role"],
                    is_human=said["human"],
                    content=said["content"],
                    receipt=Receipt(log.origin, stored.index, stored.leaf_hash),
                )
            )
        number += 1


def shadow_id(decision_id: str, number: int) -> str:
    """Return the identifier of what a shadow version made of a case; no route reads it."""
    return f"{decision_id}.shadow.{number}"


def is_machine_role(role: str) -> bool:
    """Return whether the role is a case-management system's, which shows what it reads to people."""
    return role == Role.CALLER
