"""An entry of the log as a CloudEvent (1.0, JSON): what happened, never to whom.

``id`` is the entry's index and ``source`` the log, so a receiver that has seen both has seen the
event. ``sequence`` (the CloudEvents extension) has the order. ``data`` is a part of the public leaf.
"""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import orjson

from app.case_events import CASEWORKER_DECISION, REVIEW
from app.lifecycle import POLICY_CHANGED, REGISTERED, STAGE_CHANGED
from app.records import RECOMMENDATION
from app.stops import RESUME_ASKED, RESUMED, STOPPED
from app.webhooks.endpoints import EventGroup
from audit.leaf import leaf_ending, parse_leaf
from audit.rows import EntryRow

MEDIA_TYPE = "application/cloudevents+json"
PREFIX = "grounds"


@dataclass(frozen=True, slots=True)
class Kind:
    """What is told of one type of entry."""

    type: str
    """The CloudEvents type without its prefix."""
    group: EventGroup
    facts: tuple[str, ...]
    """The leaf's facts that go out; no other does."""
    of_case: bool = False
    """Whether the entry's identifier is a decision's, or begins with one."""


_STAGE = ("model", "policy", "stage", "from", "percent", "rollback", "broken_limits")

KINDS: Mapping[str, Kind] = {
    RECOMMENDATION: Kind(
        "decision.recommended.v1", "recommendation", ("model", "policy"), of_case=True
    ),
    CASEWORKER_DECISION: Kind("decision.decided.v1", "decision", ("of", "final"), of_case=True),
    REVIEW: Kind("decision.reviewed.v1", "decision", ("of",), of_case=True),
    STOPPED: Kind("advice.stopped.v1", "stop", ("model",)),
    RESUME_ASKED: Kind("advice.resume-asked.v1", "stop", ("stop",)),
    RESUMED: Kind("advice.resumed.v1", "stop", ("stop",)),
    REGISTERED: Kind("model.registered.v1", "stage", _STAGE),
    STAGE_CHANGED: Kind("model.stage-changed.v1", "stage", _STAGE),
    POLICY_CHANGED: Kind("model.policy-changed.v1", "stage", _STAGE),
}
"""By the type of entry."""

_ENDINGS = tuple(map(leaf_ending, KINDS))


@dataclass(frozen=True, slots=True)
class Event:
    """One event, ready to be sent."""

    index: int
    group: EventGroup
    recorded: datetime
    body: bytes

    @property
    def id(self) -> str:
        """The CloudEvents id, which is also the webhook's."""
        return str(self.index)


def event_of(row: EntryRow, *, origin: str) -> Event | None:
    """Return what is told of an entry, None where it is of no kind that is told."""
    if not row.leaf.endswith(_ENDINGS):
        return None
    leaf = parse_leaf(row.leaf)
    kind = KINDS.get(leaf.type)
    if kind is None:
        return None
    data: dict[str, object] = {
        "log": origin,
        "index": row.seq,
        "leaf_hash": b64encode(row.leaf_hash).decode(),
        **{name: leaf.facts[name] for name in kind.facts if name in leaf.facts},
    }
    if kind.of_case:
        data["decision"] = leaf.id.partition(".")[0]
    return Event(
        index=row.seq,
        group=kind.group,
        recorded=datetime.fromisoformat(leaf.timestamp),
        body=orjson.dumps(
            {
                "specversion": "1.0",
                "id": str(row.seq),
                "source": f"//{origin}",
                "type": f"{PREFIX}.{kind.type}",
                "time": leaf.timestamp,
                "sequence": f"{row.seq:020}",
                "datacontenttype": "application/json",
                "data": data,
            }
        ),
    )
