"""What monitoring itself writes into the log: outcomes as they are reported, and the breaker."""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from app.work import Prepared
from audit.leaf import Fact, Facts
from audit.records import Idempotency, NewRecord
from models.card import ClassLabel

OUTCOME = "outcome"
BREAKER = "breaker"
PURGE = "attributes_purged"


@dataclass(frozen=True, slots=True)
class Event:
    """Something to be recorded that needs no computing."""

    type: str
    id: str
    facts: Facts
    payload: Mapping[str, object]
    subject: str | None = None
    """Whose data it is, so that it is erased with the rest."""
    follows: int | None = None
    """The recommendation that it says more about."""

    @property
    def idempotency(self) -> Idempotency | None:
        """Each event is one of its own."""
        return None

    def recorded(self, prepared: Prepared) -> None:
        """Nothing is counted: monitoring reads the log."""

    def prepare(self) -> Prepared:
        """Return the record."""
        content = orjson.dumps({"v": 1, **self.payload})
        return Prepared(
            record=NewRecord(
                type=self.type,
                id=self.id,
                facts=self.facts,
                payload=content,
                subject=self.subject,
                follows=self.follows,
            ),
            answer=content,
            result=self.type,
        )


def outcome_event(
    *, event_id: str, of: int, decision: str, model: Fact, outcome: ClassLabel, actor: str, at: str,
    subject: str | None,
) -> Event:  # fmt: skip
    """Return the event that says how a decided case turned out."""
    return Event(
        type=OUTCOME,
        id=event_id,
        facts={"of": of, "model": model},
        payload={"decision": decision, "outcome": outcome, "actor": actor, "at": at},
        subject=subject,
        follows=of,
    )
