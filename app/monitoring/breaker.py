"""The circuit breaker: a limit that is broken, and not by chance, is recorded and acted upon.

What ``monitoring.yaml`` asks for happens once the entry is in the log, and stays across restarts
until a person resets it with a reason. ``report`` only says so; under ``unaided`` cases are
recorded without advice; under ``stop`` they are refused.

A canary that breaks a limit is ended, whatever the limit asks for: its cases go to the active version
again, and only a person can begin it anew.
"""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from app.domain import Circumstances, Clock, NewId
from app.engine import Engine
from app.errors import EngineStoppedError, OverloadedError
from app.ids import timestamp
from app.lifecycle import VersionId
from app.log_entries import EntryWork
from app.monitoring.attributes import AttributeStore, AttributeStoreError
from app.monitoring.entries import BREAKER, Event
from app.monitoring.log_gauges import LogGauges
from app.monitoring.monitor import Canary, Monitor
from app.monitoring.report import Breach
from app.policy import PolicyError
from app.registry import Registry
from app.registry_entries import Said, ended_canary_record
from app.served import ServedModel
from app.work import Recorded
from audit.errors import AuditError

INTERVAL_SECONDS = 1.0
FAULTS = (AuditError, AttributeStoreError, EngineStoppedError, OverloadedError, PolicyError)
"""What a step may meet and the next one may not: PolicyError from a ``monitoring.yaml`` that was edited."""

ACTOR = "circuit-breaker"
"""Who ends a canary, as its entry says."""

_log = structlog.get_logger("grounds.breaker")


class Breaker:
    """Runs the monitor, and records what it finds broken."""

    def __init__(
        self,
        monitor: Monitor,
        engine: Engine,
        attributes: AttributeStore,
        registry: Registry,
        *,
        clock: Clock,
        new_id: NewId,
        log_gauges: LogGauges,
    ) -> None:
        self._monitor, self._engine, self._attributes = monitor, engine, attributes
        self._registry = registry
        self._clock, self._new_id = clock, new_id
        self._log_gauges = log_gauges
        self._expired: datetime | None = None

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            await asyncio.to_thread(self._log_gauges.measure)
            await self.step()

    async def step(self) -> None:
        """Take in what is new, and trip what is broken. A fault is logged and tried again."""
        try:
            await asyncio.to_thread(self._expire)
            broken = await asyncio.to_thread(self._monitor.step)
            for each in broken:
                if each.watch.arm == "live":
                    model, breach = each.watch.model, each.breach
                    await self._engine.submit(self._tripped(model, breach))
                    _log.error(
                        "limit broken", model=model, limit=breach.limit, subject=breach.subject
                    )
            for model in {each.watch.model for each in broken if each.watch.arm == "canary"}:
                await self._end_canary(model)
            if broken:
                await asyncio.to_thread(self._monitor.step)
        except FAULTS as err:
            _log.error("monitoring", error=type(err).__name__)

    async def reset(self, served: ServedModel, *, reason: str, actor: str) -> tuple[str, int]:
        """Record that a person has looked, and begin all tests anew; return the entry's id and index.

        Raises AuditError when it cannot be recorded: then nothing is reset.
        """
        facts = {
            "model": served.facts["model"],
            "state": "reset",
            "attribute_reports": self._attributes.count(served.name),
        }
        payload = {"reason": reason, "actor": actor, "at": timestamp(self._clock())}
        event = Event(BREAKER, self._new_id(), facts, payload)
        outcome = await self._engine.submit(event)
        if not isinstance(outcome, Recorded):
            raise EngineStoppedError
        await self.step()
        return event.id, outcome.receipt.index

    async def _end_canary(self, model: str) -> None:
        """Record that the model's canary goes back to shadow, and let it advise no more.

        One entry says all of it, so there is no moment at which a limit is known to be broken and the
        canary goes on: after a crash before it, the figures made again from the log end the canary.
        Raises AuditError when something else was recorded meanwhile: the next step looks again.
        """
        canary = await asyncio.to_thread(self._monitor.canary, model)
        if canary is None or not canary.report.breaches:
            return
        state = await asyncio.to_thread(self._registry.refresh)
        served = canary.served
        version = state.version(VersionId(model, served.bundle.digest, served.policy_digest))
        if version.canary_from != canary.begun:
            return  # a person has ended it meanwhile
        limits = sorted({breach.limit for breach in canary.report.breaches})
        reason = f"A canary that breaks a limit is ended: {', '.join(limits)}."
        said = Said(ACTOR, "service", is_human=False, at=timestamp(self._clock()), reason=reason)
        figures = self._figures(canary)
        record = ended_canary_record(state, version, limits, said, breaker=figures)
        await self._engine.submit(EntryWork(record))
        await asyncio.to_thread(self._registry.refresh)
        _log.error("canary ended", model=model, limits=limits)

    def _figures(self, canary: Canary) -> dict[str, object]:
        monitoring = canary.watched.monitoring
        return {
            "broken": [
                {
                    "limit": each.limit,
                    "subject": each.subject,
                    "value": each.value,
                    "allowed": monitoring.limits[each.limit].limit,
                }
                for each in canary.report.breaches
            ],
            "monitoring": monitoring.model_dump(mode="json"),
            "monitoring_digest": monitoring.digest,
        }

    def _expire(self) -> None:
        """Delete attributes that are older than they may be kept; looked at once an hour."""
        now = self._clock()
        if self._expired is not None and now < self._expired + timedelta(hours=1):
            return
        self._expired = now
        for model in self._monitor.models:
            kept = timedelta(days=self._monitor.watched(model).monitoring.keep_attributes_days)
            if self._attributes.expire(model, before=timestamp(now - kept)):
                self._monitor.attributes_changed()

    def _tripped(self, model: str, breach: Breach) -> Event:
        served = self._monitor.served(model)
        watched = self._monitor.watched(model)
        limit = watched.monitoring.limits[breach.limit]
        facts = {
            "model": served.facts["model"],
            "state": "tripped",
            "limit": breach.limit,
            "subject": breach.subject,
            "action": limit.action,
        }
        payload = {
            "value": breach.value,
            "limit": limit.limit,
            "monitoring": watched.monitoring.model_dump(mode="json"),
            "monitoring_digest": watched.monitoring.digest,
            "at": timestamp(self._clock()),
        }
        return Event(BREAKER, self._new_id(), facts, payload)


def unaided(circumstances: Circumstances) -> Circumstances:
    """Return the circumstances of a case on which nothing may be advised at present."""
    return replace(circumstances, unaided=True)
