"""Verifying the whole log at somebody's request while the service runs: one at a time, on record.

What a run found is an entry of its own, so that anybody can see when the log was last checked, by
whom, and what came of it. It is the service's own word: ``python -m audit verify``, the verifier of an
evidence pack and an independent monitor are for those who do not want to take it.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

import orjson
import structlog

from app.domain import Caller, Clock, NewId
from app.engine import Engine
from app.errors import AppError, UnknownVerificationError
from app.ids import timestamp
from app.log_entries import EntryWork
from app.log_store import log_directory, log_source, master_command
from app.settings import Settings
from audit.errors import AuditError
from audit.faults import Fault
from audit.leaf import Facts
from audit.log import Log
from audit.rare import RareEntries
from audit.records import NewRecord
from audit.verify import Report, verify

VERIFIED: Final = "verified"
MOST_FAULTS = 200
"""Faults that the entry names; it counts them all."""
_PROCESSES = 2
"""A log of more than one task is read by processes of their own, so that no decision waits for it."""

Status: TypeAlias = Literal["running", "sound", "faulty", "failed"]

_log = structlog.get_logger("grounds.verification")


@dataclass(frozen=True, slots=True)
class NamedFault:
    """One thing that is wrong with the log."""

    index: int | None
    """The first entry concerned; None when it is not about entries."""
    count: int
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Verification:
    """One run, under way or on record."""

    id: str
    status: Status
    started: str
    actor: str
    done: int = 0
    total: int = 0
    """Entries read, and to read. 0 of 0 while it begins."""
    ended: str | None = None
    size: int = 0
    root: str = ""
    """Hexadecimal, of the tree over the stored leaves."""
    checkpoints: int = 0
    erased: int = 0
    faults: tuple[NamedFault, ...] = ()
    fault_count: int = 0
    index: int | None = None
    """Of its entry, once it is on record."""
    reason: str | None = None
    """Why nothing could be verified."""


class Verifications:
    """The runs of one service. Call from the event loop's thread."""

    def __init__(
        self, settings: Settings, log: Log, engine: Engine, *, clock: Clock, new_id: NewId
    ) -> None:
        self._directory, self._source = log_directory(settings), log_source(settings)
        self._master_command = master_command(settings)
        self._log, self._engine = log, engine
        self._clock, self._new_id = clock, new_id
        self._rare = RareEntries(log, (VERIFIED,))
        self._current: Verification | None = None
        self._task: asyncio.Task[None] | None = None

    def begin(self, actor: Caller) -> Verification:
        """Begin a run and return it; the one under way where there is one."""
        current = self._current
        if current is not None and current.status == "running":
            return current
        begun = Verification(
            self._new_id(), "running", timestamp(self._clock()), actor.name, total=self._log.size
        )
        self._current = begun
        self._task = asyncio.create_task(self._run(begun))
        return begun

    def find(self, identifier: str) -> Verification:
        """Return a run. Raises UnknownVerificationError; reading the log may raise too."""
        current = self._current
        if current is not None and current.id == identifier:
            return current
        self._log.catch_up()
        for index, leaf in self._rare.entries():
            if leaf.id == identifier:
                return self._on_record(index, identifier)
        raise UnknownVerificationError

    def latest(self, limit: int) -> list[Verification]:
        """Return the latest runs, the one under way first."""
        current = self._current
        found = [] if current is None or current.index is not None else [current]
        entries = self._rare.entries()[-limit:]
        return [*found, *(self._on_record(index, leaf.id) for index, leaf in reversed(entries))]

    async def close(self) -> None:
        """Forget a run that is under way: nothing of it is on record."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self, begun: Verification) -> None:
        try:
            report = await asyncio.to_thread(self._verify, begun)
            await self._record(begun, report)
        except (AppError, AuditError, OSError) as err:
            _log.error("verification", error=type(err).__name__, reason=str(err))
            self._current = replace(
                begun,
                status="failed",
                ended=timestamp(self._clock()),
                reason="The log could not be verified. The operator finds the reason in the "
                "service's own messages.",
            )

    def _verify(self, begun: Verification) -> Report:
        def advance(done: int, total: int) -> None:
            self._current = replace(begun, done=done, total=total)

        return verify(
            self._directory,
            source=self._source,
            workers=_PROCESSES,
            progress=advance,
            master_command=self._master_command,
        )

    async def _record(self, begun: Verification, report: Report) -> None:
        ended = timestamp(self._clock())
        record = verification_record(begun, report, ended=ended)
        await self._engine.submit(EntryWork(record))
        self._current = replace(
            _told(begun.id, orjson.loads(record.payload or b"{}")),
            done=begun.total,
            index=self._log.receipt(begun.id).index,
        )
        if not report.sound:
            _log.error("verification", faults=len(report.faults), size=report.size)

    def _on_record(self, index: int, identifier: str) -> Verification:
        payload = self._log.read(identifier).payload
        if payload is None:
            raise UnknownVerificationError
        return replace(_told(identifier, orjson.loads(payload)), index=index)


def verification_record(begun: Verification, report: Report, *, ended: str) -> NewRecord:
    """Return the entry of a finished run. Its leaf says what the log was found to be, and by whom."""
    faults = sum(fault.count for fault in report.faults)
    payload = orjson.dumps(
        {
            "v": 1,
            "started": begun.started,
            "ended": ended,
            "actor": begun.actor,
            "size": report.size,
            "root": report.root.hex(),
            "checkpoints": report.checkpoints,
            "erased": report.erased,
            "fault_count": faults,
            "faults": [_named(fault) for fault in report.faults[:MOST_FAULTS]],
        }
    )
    facts: Facts = {
        "actor": begun.actor,
        "faults": faults,
        "root": report.root.hex(),
        "size": report.size,
    }
    return NewRecord(type=VERIFIED, id=begun.id, facts=facts, payload=payload)


def _named(fault: Fault) -> dict[str, object]:
    return {
        "index": fault.index,
        "count": fault.count,
        "kind": fault.kind,
        "message": fault.message,
    }


def _told(identifier: str, said: Mapping[str, Any]) -> Verification:
    return Verification(
        id=identifier,
        status="faulty" if said["fault_count"] else "sound",
        started=said["started"],
        actor=said["actor"],
        done=said["size"],
        total=said["size"],
        ended=said["ended"],
        size=said["size"],
        root=said["root"],
        checkpoints=said["checkpoints"],
        erased=said["erased"],
        faults=tuple(NamedFault(**fault) for fault in said["faults"]),
        fault_count=said["fault_count"],
    )
