"""Signs the log's growth every second or 1,000 entries, so that what others hold is never far behind.

Order, each time that the log has grown: sign, unless another service on this log just has
(stored before it is returned), ask witnesses, publish with whatever they gave. Appending waits for
none of it, and what fails is an alarm.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import structlog

from app.clock_watch import ClockWatch
from app.custody import Custody
from app.domain import Clock, NewId
from app.engine import Engine
from app.metrics import Metrics
from app.outside import PLAIN
from app.settings import Settings
from app.timestamps import Timestamps, read_root_file
from app.witnesses import Witnesses, load_policy_file
from audit.checkpoint import unverified_checkpoint
from audit.errors import AuditError, LogUnavailableError, TimestampError
from audit.log import Log
from audit.publish import prune, publish

INTERVAL_SECONDS = 1.0
GROWTH = 1_000
"""Entries that are not left waiting for the second to end."""
_LOOK_SECONDS = 0.1
ASK_AGAIN_SECONDS = 10.0
"""How often a witness that did not answer is asked about a checkpoint it has been shown."""
PRUNE_EVERY = 256
"""Publications between two looks for partial tiles that are no longer needed."""

_log = structlog.get_logger("grounds.checkpointer")


class Checkpointer:
    """One log's checkpoints, from signing to publishing."""

    def __init__(
        self,
        log: Log,
        custody: Custody,
        *,
        clock: Clock,
        witnesses: Witnesses | None = None,
        timestamps: Timestamps | None = None,
        publish_to: Path | None = None,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self._interval_seconds = interval_seconds
        self._log = log
        self._custody = custody
        self._clock_watch = ClockWatch(log, clock)
        self._witnesses = witnesses
        self._timestamps = timestamps
        self._publish_to = publish_to
        self.fault: str | None = None
        """Why nothing can be recorded, as seen a second ago at most: with nobody asking, nobody else
        would notice that a database is gone."""
        self._one_at_a_time = asyncio.Lock()
        self._signing_fault: str | None = None
        self._publishing_fault: str | None = None
        self._asked: tuple[bytes, float] = (b"", 0.0)
        self._newest: bytes | None = None
        self._published: bytes | None = None
        self._publications = 0

    @property
    def witnesses(self) -> Witnesses | None:
        """Return who cosigns, or None where no policy names witnesses."""
        return self._witnesses

    @property
    def alarms(self) -> list[str]:
        """Return what is wrong at present with what others hold of the log; empty when nothing."""
        found = [] if self._signing_fault is None else [self._signing_fault]
        if self._witnesses is not None:
            found += self._witnesses.alarms
        if self._timestamps is not None:
            found += self._timestamps.alarms
        if self._publishing_fault is not None:
            found.append(self._publishing_fault)
        if self._clock_watch.alarm is not None:
            found.append(self._clock_watch.alarm)
        return found + self._custody.alarms

    @property
    def newest(self) -> bytes | None:
        """Return the newest checkpoint to show, with whatever cosignatures were given for it."""
        return self._newest or self._log.stored_checkpoint()

    @property
    def best(self) -> bytes | None:
        """Return the newest checkpoint that its quorum cosigned, None before the first.

        Without a policy it is the newest there is. Evidence is made for it: it covers every entry
        before it.
        """
        return self.newest if self._witnesses is None else self._witnesses.cosigned

    async def run(self) -> None:
        """Work until cancelled."""
        size = self._log.size
        while True:
            await self._until_due(size)
            size = self._log.size  # before signing: what comes meanwhile counts to the next
            await self.step()

    async def _until_due(self, size: int) -> None:
        """Wait for the interval to end, or for the log to grow by so much beyond ``size``."""
        now = asyncio.get_running_loop().time
        end = now() + self._interval_seconds
        while now() < end and self._log.size < size + GROWTH:  # noqa: ASYNC110  # others append too
            await asyncio.sleep(min(_LOOK_SECONDS, self._interval_seconds))

    async def step(self) -> None:
        """Do one second's work. A fault is an alarm; the next second tries again."""
        async with self._one_at_a_time:
            await self._step()

    async def finish(self) -> None:
        """Sign and publish what was appended since the last second, before the log is closed.

        What no checkpoint covers could be taken from a stopped service's database unnoticed.
        """
        async with self._one_at_a_time:
            try:
                note = await asyncio.to_thread(self._log.checkpoint)
            except AuditError as err:
                _log.error("checkpoint", error=type(err).__name__, reason=str(err))
                return
            self._newest = await self._cosigned(note)
            await self._publish(self._newest)

    async def _step(self) -> None:
        try:
            await asyncio.to_thread(self._clock_watch.look)
            await asyncio.to_thread(self._custody.purge_if_needed, self._log)
            # A service that records nothing itself would not hear what others record.
            await asyncio.to_thread(self._log.catch_up)
            note = await asyncio.to_thread(self._log.checkpoint_in_turn)
        except AuditError as err:
            self._signing_fault = f"no checkpoint can be signed ({type(err).__name__})"
            _log.error("checkpoint", error=type(err).__name__, reason=str(err))
            self.fault = await asyncio.to_thread(self._database_fault)
            return
        self._signing_fault = self.fault = None
        self._newest = await self._cosigned(note)
        await self._publish(self._newest)
        if self._timestamps is not None:
            await self._timestamps.stamp_if_due(note)

    def _database_fault(self) -> str | None:
        """Return whether it is the database; another service that is signing is no fault."""
        try:
            self._log.root()
        except LogUnavailableError:
            return "the log's database does not answer"
        except AuditError:
            return None  # the alarm says it; what can be appended is for the engine to say
        return None

    async def _cosigned(self, note: bytes) -> bytes:
        """Return the note with the cosignatures that witnesses give for it."""
        witnesses = self._witnesses
        if witnesses is None:
            return note
        now = asyncio.get_running_loop().time()
        shown, at = self._asked
        if (
            self._newest is not None
            and shown == note
            and (witnesses.is_complete or now < at + ASK_AGAIN_SECONDS)
        ):
            return self._newest
        self._asked = (note, now)
        try:
            return await witnesses.collect(note)
        except (AuditError, OSError) as err:
            _log.error("cosigned", error=type(err).__name__, reason=str(err))
            return note

    async def _publish(self, note: bytes) -> None:
        target = self._publish_to
        if target is None or note == self._published:
            return
        try:
            done = await asyncio.to_thread(publish, self._log, target, note)
            self._publications += 1
            if self._publications % PRUNE_EVERY == 1:
                await asyncio.to_thread(prune, target)
        except (AuditError, OSError) as err:
            fault = f"the log cannot be published ({type(err).__name__})"
            if self._publishing_fault != fault:
                _log.error("publish", error=type(err).__name__, reason=str(err))
            self._publishing_fault = fault
            return
        self._publishing_fault = None
        self._published = note
        if done.files:
            size = unverified_checkpoint(note, origin=self._log.origin).size
            _log.debug("published", size=size, files=done.files)


@asynccontextmanager
async def outside_client(settings: Settings) -> AsyncIterator[httpx.AsyncClient | None]:
    """Yield what asks witnesses and timestamp authorities; None where the settings name none."""
    if settings.witness_policy is None and settings.timestamp_url is None:
        yield None
        return
    # No proxy or credentials of the environment: whom to ask is the policy's to say.
    async with httpx.AsyncClient(trust_env=False, follow_redirects=False, headers=PLAIN) as client:
        yield client


def checkpointer_for(
    settings: Settings,
    log: Log,
    metrics: Metrics,
    engine: Engine,
    outside: httpx.AsyncClient | None,
    custody: Custody,
    *,
    clock: Clock,
    new_id: NewId,
) -> Checkpointer:
    """Return the checkpointer that the settings describe; without ``outside`` nobody is asked.

    Raises TrustPolicyError or TimestampError for a file that does not fit.
    """
    witnesses: Witnesses | None = None
    timestamps: Timestamps | None = None
    if outside is not None and settings.witness_policy is not None:
        policy = load_policy_file(settings.witness_policy, origin=log.origin)
        witnesses = Witnesses(log, policy, metrics=metrics, client=outside)
    if outside is not None and settings.timestamp_url is not None:
        if settings.timestamp_roots is None:
            raise TimestampError("a timestamp authority needs GROUNDS_TIMESTAMP_ROOTS too")
        timestamps = Timestamps(
            log,
            url=settings.timestamp_url,
            roots=read_root_file(settings.timestamp_roots),
            client=outside,
            engine=engine,
            metrics=metrics,
            clock=clock,
            new_id=new_id,
        )
    return Checkpointer(
        log,
        custody,
        clock=clock,
        witnesses=witnesses,
        timestamps=timestamps,
        publish_to=settings.publish_dir,
    )
