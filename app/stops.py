"""The stop button: advice stopped for one model or for all, until two people let it go on.

Every stop and resumption is an entry ``control.1``, ``control.2`` and so on, as ``app.numbered`` has
it, so a stop holds in every process and after every restart.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

import orjson

from app.domain import Caller
from app.numbered import Numbered, follow
from app.refusals import AdviceStoppedError, AnotherPersonError, NotStoppedError
from audit.errors import DamagedLogError
from audit.reader import LogReader
from audit.records import NewRecord, StoredRecord

STOPPED: Final = "stopped"
RESUME_ASKED: Final = "resume_asked"
RESUMED: Final = "resumed"
ControlType: TypeAlias = Literal["stopped", "resume_asked", "resumed"]

_PREFIX = "control"


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop in force."""

    number: int
    model: str | None
    """None stops all models."""
    since: str
    actor: str
    reason: str
    resume_asked_by: str | None = None


@dataclass(frozen=True, slots=True)
class StopState:
    """What is stopped, after so many control entries."""

    count: int = 0
    stops: Mapping[int, Stop] = field(default_factory=dict)
    lifted: Mapping[int, Stop] = field(default_factory=dict)
    """Those that two people have lifted."""

    def has(self, *, model: str | None, reason: str, actor: Caller) -> bool:
        """Return whether this very stop, by this person for this reason, is in force."""
        return (model, reason, actor.name) in {
            (stop.model, stop.reason, stop.actor) for stop in self.stops.values()
        }

    def after(self, entry: StoredRecord) -> "StopState":
        """Return the state after one more control entry. Raises DamagedLogError."""
        if entry.payload is None:
            raise DamagedLogError(f"{entry.id} says nothing: it must not be erased")
        return _after(self, entry.type, orjson.loads(entry.payload))


class Stops:
    """The stops in force, as the log has them. Reading is free; looking for news is one look-up."""

    def __init__(self, log: LogReader) -> None:
        self._numbered = Numbered(log, _PREFIX, StopState())
        self.refresh()

    @property
    def state(self) -> StopState:
        """What is known at this moment."""
        return self._numbered.state

    @property
    def next_id(self) -> str:
        """The identifier of the next control entry: while nobody has taken it, this is the state."""
        return control_id(self.state.count + 1)

    def check(self, model: str, *, manual_route: str | None) -> None:
        """Raise AdviceStoppedError while this model's advice, or all advice, is stopped."""
        if self.state.stops and self.covers(model):
            raise AdviceStoppedError(manual_route=manual_route)

    def covers(self, model: str) -> bool:
        """Return whether a stop in force is of this model, or of all."""
        return any(stop.model in (None, model) for stop in self.state.stops.values())

    def refresh(self) -> StopState:
        """Take in what the log has by now. Raises AuditError."""
        return self._numbered.refresh()

    async def run(self) -> None:
        """Look for news until cancelled."""
        await follow(self.refresh, "stops")


def control_id(number: int) -> str:
    """Return the identifier of a control entry."""
    return f"{_PREFIX}.{number}"


def is_stop(record: NewRecord) -> bool:
    """Return whether a record stops advice."""
    return record.type == STOPPED


def stop_record(
    state: StopState, *, model: str | None, reason: str, actor: Caller, at: str
) -> NewRecord:
    """Return the entry that stops a model, or all."""
    return _record(state, STOPPED, {"model": model, "reason": reason}, {"model": model}, actor, at)


def resume_record(
    state: StopState, number: int, *, reason: str, actor: Caller, at: str
) -> NewRecord:
    """Return the entry that asks to resume, or, from a second person, resumes.

    Raises NotStoppedError, or AnotherPersonError when the one who asked comes again.
    """
    stop = state.stops.get(number)
    if stop is None:
        raise NotStoppedError(f"no stop in force has the number {number}")
    if stop.resume_asked_by == actor.name:
        raise AnotherPersonError("a second person has to confirm that advice goes on")
    type_: ControlType = RESUME_ASKED if stop.resume_asked_by is None else RESUMED
    said = {"stop": number, "reason": reason}
    return _record(state, type_, said, {"stop": number}, actor, at)


def _record(
    state: StopState,
    type_: ControlType,
    said: Mapping[str, object],
    facts: Mapping[str, str | int | None],
    actor: Caller,
    at: str,
) -> NewRecord:
    payload = {"v": 1, "actor": actor.name, "role": actor.role.value, "at": at, **said}
    return NewRecord(
        type=type_, id=control_id(state.count + 1), facts=facts, payload=orjson.dumps(payload)
    )


def _after(state: StopState, type_: str, said: Mapping[str, Any]) -> StopState:
    number = state.count + 1
    stops, lifted = dict(state.stops), state.lifted
    if type_ == STOPPED:
        stops[number] = Stop(
            number,
            model=said["model"],
            since=said["at"],
            actor=said["actor"],
            reason=said["reason"],
        )
    elif type_ == RESUME_ASKED:
        stops[said["stop"]] = replace(stops[said["stop"]], resume_asked_by=said["actor"])
    elif type_ == RESUMED:
        lifted = {**lifted, said["stop"]: stops.pop(said["stop"])}
    return StopState(number, stops, lifted)
