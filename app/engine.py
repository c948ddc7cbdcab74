"""The engine: turns work into durable records, a group at a time.

What was submitted in one turn of the event loop is prepared together, on its thread: each piece
alone, and the whole group through one stage before the next, so that a stage's code and tables are
still in the processor's caches (decision 0032). One thread of the engine's own does what waits for
the disk. It drains whatever queued while the previous group was committed, and while other writers
were waited for (no timer: waiting would only add latency), appends it in one transaction, and only then
lets the answers go. A failed append fails every waiting answer.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from queue import Empty, SimpleQueue
from time import monotonic, perf_counter

import structlog

from app.errors import EngineStoppedError, IdempotencyConflictError, OverloadedError
from app.stops import Stops, is_stop
from app.work import Earlier, Made, Outcome, Prepared, Recorded, Unfinished, Work, alone
from audit.errors import (
    DamagedLogError,
    DuplicateIdempotencyError,
    LogRolledBackError,
    LogStateError,
    OvertakenError,
    RecordRejectedError,
)
from audit.group import Draft
from audit.log import Log
from audit.records import Idempotency

_log = structlog.get_logger("grounds.engine")

MOST_TOGETHER = 64
"""How many pieces of work are prepared together."""
TURN_SECONDS = 0.005
"""About how long, before the event loop sees to its sockets again: fewer where each takes longer."""
A_CASE_SECONDS = 0.0002
"""How long each takes, as long as nobody knows."""

RECOVERY_SECONDS = 5.0
"""How long after a failed append the service says that it is not ready. Then it offers itself again:
a full disk may have room by now, and without traffic nobody would find out."""

STALL_SECONDS = 5.0
"""How long one group may take before the service says that it is not ready: a store that hangs fails
nothing for as long as it hangs."""


@dataclass(frozen=True, slots=True)
class _Alone:
    """Who waits for one piece of work."""

    future: asyncio.Future[Outcome]

    def settle(self, place: int, outcome: Outcome | Exception) -> None:  # noqa: ARG002
        """Let the outcome go, unless the caller went away: the record stays."""
        if self.future.done():
            return
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


@dataclass(slots=True)
class _Together:
    """Who waits for work that was submitted together: one future for all of it."""

    future: asyncio.Future[list[Outcome | Exception]]
    outcomes: list[Outcome | Exception]
    missing: int

    def settle(self, place: int, outcome: Outcome | Exception) -> None:
        """Keep one outcome; the last one lets all of them go."""
        self.outcomes[place] = outcome
        self.missing -= 1
        if self.missing == 0 and not self.future.done():
            self.future.set_result(self.outcomes)


@dataclass(frozen=True, slots=True)
class _Drafted:
    """Prepared work, and all of its record but the place in the log."""

    prepared: Prepared
    draft: Draft


@dataclass(slots=True)
class _Waiting:
    work: Work
    waiter: _Alone | _Together
    place: int = 0
    made: _Drafted | Unfinished | Exception = field(default_factory=EngineStoppedError)
    """What preparing it gave."""


@dataclass(slots=True)
class _Group:
    """Entries that the engine's thread deals with together."""

    size: int = 0
    ready: list[tuple[_Waiting, _Drafted]] = field(default_factory=list)
    """To be appended, with one transaction."""
    settled: list[tuple[_Waiting, Outcome | Exception]] = field(default_factory=list)
    """Known already."""
    postponed: list[_Waiting] = field(default_factory=list)
    """To wait for another of this group."""
    keys: set[tuple[str, str]] = field(default_factory=set)
    unless: str | None = None
    """The next stop's identifier, from before the first was checked: once it is taken, nothing of this
    group may be recorded without being checked again."""
    ends: bool = False
    """Whether its last record is a stop: what comes after that is checked once the stop is known."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """A group that could not be appended."""

    kind: str
    at: float


class Engine:
    """Owns the log's only writing thread."""

    def __init__(
        self,
        log: Log,
        *,
        queue_limit: int,
        group_limit: int,
        on_group: Callable[[int, float], None],
        prepare: Callable[[Sequence[Work]], list[Made]] | None = None,
        stops: Stops | None = None,
    ) -> None:
        """``on_group`` hears size and commit time, in seconds, of every group appended.

        ``prepare`` prepares several pieces of work, in order; without it each is prepared alone. With
        ``stops`` no record comes after a stop in the log that its check did not know of.
        """
        self._stops = stops
        self._stop_is_news = False
        """Whether a stop was recorded here that the checks do not know yet."""
        self._prepare = prepare or alone
        self._log = log
        self._queue_limit = queue_limit
        self._group_limit = group_limit
        self._on_group = on_group
        self._arrived: deque[_Waiting] = deque()
        """Not yet prepared; of the event loop's thread alone."""
        self._each_seconds = A_CASE_SECONDS
        """How long each took to prepare, of those prepared last."""
        self._queue: SimpleQueue[Sequence[_Waiting] | None] = SimpleQueue()
        """Prepared together, on the way to the engine's thread."""
        self._taken: deque[_Waiting] = deque()
        """Taken by the engine's thread, and not settled yet."""
        self._stopping = False
        """Whether all that will ever come is taken; of the engine's thread alone."""
        self._waiting = 0
        self._accepting = False
        self._ended = False
        self._last_failure: _Failure | None = None
        self._begun: float | None = None
        """When the group was taken that is being appended."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    @property
    def waiting(self) -> int:
        """How many pieces of work are queued or under way."""
        return self._waiting

    @property
    def fault(self) -> str | None:
        """Why nothing can be recorded at present, or None."""
        if not self._accepting or not self._thread.is_alive():
            return "the engine is not running"
        if isinstance(self._log.broken, LogRolledBackError):
            return "the database was set back, or another one answers: it lacks what was recorded"
        if self._log.broken is not None:
            return "a write to the log failed; restart the service once the disk is sound"
        failure = self._last_failure
        if failure is not None and monotonic() < failure.at + RECOVERY_SECONDS:
            return f"the last record could not be written ({failure.kind})"
        begun = self._begun
        if begun is not None and monotonic() >= begun + STALL_SECONDS:
            return "the log has not taken a record for some seconds"
        return None

    def start(self) -> None:
        """Begin to take work from the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._accepting = True
        self._thread.start()

    async def stop(self) -> None:
        """Refuse new work, finish what is queued, and end the thread."""
        self._accepting = False
        while self._arrived:
            self._prepare_arrived()
        if self._thread.is_alive():
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)

    def submit(self, work: Work) -> asyncio.Future[Outcome]:
        """Return the outcome of ``work`` to come. Call from the event loop's thread.

        Raises OverloadedError when the queue is full and EngineStoppedError when nothing can be
        recorded. Cancelling the future does not undo the record.
        """
        if self._loop is None or not self._accepting or not self._thread.is_alive():
            raise EngineStoppedError
        if self._waiting >= self._queue_limit:
            raise OverloadedError(limit=self._queue_limit)
        future: asyncio.Future[Outcome] = self._loop.create_future()
        self._arrive([_Waiting(work, _Alone(future))])
        return future

    def submit_all(self, works: Sequence[Work]) -> asyncio.Future[list[Outcome | Exception]]:
        """Return the outcomes of several works to come, in order; what one raised is its outcome.

        One future and one hand-over for all of them: that is what a batch saves. Raises as
        ``submit``, with nothing submitted.
        """
        if self._loop is None or not self._accepting or not self._thread.is_alive():
            raise EngineStoppedError
        if self._waiting + len(works) > self._queue_limit:
            raise OverloadedError(limit=self._queue_limit)
        future: asyncio.Future[list[Outcome | Exception]] = self._loop.create_future()
        if not works:
            future.set_result([])
            return future
        together = _Together(future, [EngineStoppedError()] * len(works), len(works))
        self._arrive([_Waiting(work, together, place) for place, work in enumerate(works)])
        return future

    def _arrive(self, entries: Sequence[_Waiting]) -> None:
        if self._loop is not None and not self._arrived:
            self._loop.call_soon(self._prepare_arrived)
        self._waiting += len(entries)
        self._arrived.extend(entries)

    def _prepare_arrived(self) -> None:
        """Prepare what arrived in this turn of the event loop, and hand it to the thread."""
        fitting = MOST_TOGETHER
        if self._each_seconds > 0:
            fitting = max(1, min(fitting, int(TURN_SECONDS / self._each_seconds)))
        count = min(len(self._arrived), fitting)
        entries = [self._arrived.popleft() for _ in range(count)]
        if self._arrived and self._loop is not None:
            self._loop.call_soon(self._prepare_arrived)
        # Where nobody waits any more, nothing has been recorded: then nothing shall be.
        waited_for = [entry for entry in entries if not entry.waiter.future.done()]
        start = perf_counter()
        try:
            self._make(waited_for)
        except Exception as error:  # noqa: BLE001  # a fault of ours; whoever waits must hear of it
            for entry in waited_for:
                entry.made = error
        if waited_for:
            self._each_seconds = (perf_counter() - start) / len(waited_for)
        if entries:
            self._queue.put(entries)
            if self._ended:
                self._give_up()

    def _make(self, entries: Sequence[_Waiting]) -> None:
        """Prepare and draft; what cannot be costs the others nothing."""
        prepared: list[tuple[_Waiting, Prepared]] = []
        for entry, made in zip(
            entries, self._prepare([entry.work for entry in entries]), strict=True
        ):
            if isinstance(made, Prepared):
                prepared.append((entry, made))
            else:
                entry.made = made
        while prepared:
            try:
                drafts = self._log.draft([made.record for _, made in prepared])
            except RecordRejectedError as error:
                refused, _ = prepared.pop(error.position)
                refused.made = error
            else:
                for (entry, made), draft in zip(prepared, drafts, strict=True):
                    entry.made = _Drafted(made, draft)
                return

    def _run(self) -> None:
        """Work until stopped. Should the thread ever die, nobody may be left waiting."""
        try:
            self._work()
        finally:
            self._accepting = False
            self._ended = True  # before giving up: whoever hands over later sees to it there
            self._deliver([(entry, EngineStoppedError()) for entry in self._taken])
            self._give_up()

    def _give_up(self) -> None:
        """Let go of whatever nobody will take any more."""
        while True:
            try:
                entries = self._queue.get_nowait()
            except Empty:
                return
            self._deliver([(entry, EngineStoppedError()) for entry in entries or ()])

    def _work(self) -> None:
        while not self._stopping or self._taken:
            self._take()
            self._begun = monotonic()
            group = _Group(unless=self._next_stop())
            for entry in islice(self._taken, self._group_limit):
                if group.ends:
                    break
                self._add(group, entry)
            settled = self._append(group)
            for _ in range(group.size):
                self._taken.popleft()
            self._taken.extendleft(reversed(group.postponed))
            self._begun = None
            self._deliver([*group.settled, *settled])

    def _take(self) -> None:
        """Take whatever queued meanwhile; when nothing is taken, wait for what comes next."""
        while not self._stopping and (not self._taken or not self._queue.empty()):
            entries = self._queue.get()
            self._stopping = entries is None
            self._taken.extend(entries or ())

    def _add_late(self, group: _Group) -> list[Draft]:
        """Add what came while other writers were waited for, and return its drafts.

        Only up to the first with a key: looking that up would make the other writers wait.
        """
        self._take()
        before = len(group.ready)
        for entry in list(islice(self._taken, group.size, self._group_limit)):
            if entry.work.idempotency is not None or group.ends:
                break
            self._add(group, entry)
        return [made.draft for _, made in group.ready[before:]]

    def _add(self, group: _Group, entry: _Waiting) -> None:
        """Add an entry to the group that is about to be appended."""
        group.size += 1
        key = entry.work.idempotency
        if key is not None and (key.scope, key.key) in group.keys:
            # The first request with this key is in this very group: answer from its record.
            group.postponed.append(entry)
            return
        try:
            earlier = None if key is None else self._find_earlier(key)
            if earlier is None and isinstance(entry.made, _Drafted):
                entry.made.prepared.check()
        except Exception as error:  # noqa: BLE001  # reaches the one who waits, see _settle
            self._note_unreadable(error)
            group.settled.append((entry, error))
            return
        if earlier is not None:
            group.settled.append((entry, earlier))
        elif isinstance(entry.made, _Drafted):
            group.ready.append((entry, entry.made))
            group.ends = self._stops is not None and is_stop(entry.made.prepared.record)
            if key is not None:
                group.keys.add((key.scope, key.key))
        else:
            group.settled.append((entry, entry.made))

    def _find_earlier(self, key: Idempotency) -> Earlier | None:
        found = self._log.find_idempotent(key)
        if found is None:
            return None
        if found.same_request is False:
            raise IdempotencyConflictError
        return Earlier(found.id)

    def _append(self, group: _Group) -> list[tuple[_Waiting, Outcome | Exception]]:
        settled = self._check_again(group) if self._stop_is_news else []
        return [*settled, *self._append_checked(group)]

    def _append_checked(self, group: _Group) -> list[tuple[_Waiting, Outcome | Exception]]:
        ready = group.ready
        if not ready:
            return []
        start = perf_counter()
        try:
            receipts = self._log.append_drafts(
                [made.draft for _, made in ready], partial(self._add_late, group), group.unless
            )
        except OvertakenError:
            return [*self._check_again(group), *self._append(group)]
        except DuplicateIdempotencyError as error:
            return [*self._answered_elsewhere(group, error), *self._append(group)]
        except RecordRejectedError as error:
            # One record at fault must not cost the others theirs.
            refused, _ = ready.pop(error.position)
            return [(refused, error), *self._append(group)]
        except Exception as error:  # noqa: BLE001  # whatever it was, nothing was acknowledged
            return self._failed(ready, error)
        self._last_failure = None
        self._stop_is_news = group.ends
        self._count(ready, perf_counter() - start)
        return [
            (entry, Recorded(made.prepared.answer, receipt))
            for (entry, made), receipt in zip(ready, receipts, strict=True)
        ]

    def _failed(
        self, ready: Sequence[tuple[_Waiting, _Drafted]], error: Exception
    ) -> list[tuple[_Waiting, Outcome | Exception]]:
        """Return what those hear whose records an error kept from being made; readiness hears of it."""
        self._last_failure = _Failure(type(error).__name__, monotonic())
        told = _as_unrecorded(error)
        return [(entry, told) for entry, _ in ready]

    def _note_unreadable(self, error: Exception) -> None:
        """Let readiness hear of an error, if it is that the log cannot be read."""
        if isinstance(error, LogStateError) and not isinstance(error, DamagedLogError):
            self._last_failure = _Failure(type(error).__name__, monotonic())

    def _next_stop(self) -> str | None:
        return None if self._stops is None else self._stops.next_id

    def _check_again(self, group: _Group) -> list[tuple[_Waiting, Outcome | Exception]]:
        """Take out of a group what the stops that came meanwhile forbid; it may be appended then."""
        settled: list[tuple[_Waiting, Outcome | Exception]] = []
        ready, group.ready = group.ready, []
        try:
            if self._stops is not None:
                self._stops.refresh()
            group.unless = self._next_stop()
            self._stop_is_news = False
        except Exception as error:  # noqa: BLE001  # as when the group cannot be appended
            return self._failed(ready, error)
        for entry, made in ready:
            try:
                made.prepared.check()
            except Exception as error:  # noqa: BLE001  # reaches the one who waits
                settled.append((entry, error))
            else:
                group.ready.append((entry, made))
        return settled

    def _answered_elsewhere(
        self, group: _Group, refused: DuplicateIdempotencyError
    ) -> list[tuple[_Waiting, Outcome | Exception]]:
        """Take out of a group what another service has recorded since its keys were looked up."""
        settled: list[tuple[_Waiting, Outcome | Exception]] = []
        ready, group.ready = group.ready, []
        for position, (entry, made) in enumerate(ready):
            key = entry.work.idempotency
            outcome: Outcome | Exception | None = None
            try:
                outcome = None if key is None else self._find_earlier(key)
            except Exception as error:  # noqa: BLE001  # reaches the one who waits
                self._note_unreadable(error)
                outcome = error
            if outcome is None and position == refused.position:
                outcome = refused
            if outcome is None:
                group.ready.append((entry, made))
            else:
                settled.append((entry, outcome))
        return settled

    def _count(self, ready: list[tuple[_Waiting, _Drafted]], seconds: float) -> None:
        """Tell whoever counts. Records are durable by now: no miscount may cost their answers."""
        try:
            self._on_group(len(ready), seconds)
            for entry, made in ready:
                entry.work.recorded(made.prepared)
        except Exception as error:  # noqa: BLE001
            _log.error("counting", error=type(error).__name__)

    def _deliver(self, settled: list[tuple[_Waiting, Outcome | Exception]]) -> None:
        if self._loop is not None and settled:
            self._loop.call_soon_threadsafe(self._settle, settled)

    def _settle(self, settled: list[tuple[_Waiting, Outcome | Exception]]) -> None:
        self._waiting -= len(settled)
        for entry, outcome in settled:
            entry.waiter.settle(entry.place, outcome)


def _as_unrecorded(error: Exception) -> Exception:
    """Return the error for those whose records it kept from being made.

    Damage that is met in appending is not of a record that they asked to read.
    """
    if not isinstance(error, DamagedLogError):
        return error
    unrecorded = LogStateError(str(error)).with_traceback(error.__traceback__)
    unrecorded.__cause__ = error
    return unrecorded
