"""Replaying a whole range of the log, by processes of their own, and summing up what came out.

The log is read beside its writer and nothing is written: what is to be recorded of a run is one
entry, made when it has ended. Memory is bounded by the ranges under way, not by the log. Ranges are
of one size whatever the number of processes, so that a run's report does not depend on it.
"""

import hashlib
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from app.counterfactual import Otherwise
from app.domain import OPERATOR, Clock
from app.environment import environment
from app.errors import AppError, ErasedDecisionError
from app.ids import timestamp
from app.impact import Tally
from app.library import Library, MissingModelError, recorded_policies
from app.log_store import read_log
from app.policy import Policy, PolicyError
from app.reading import StoredDecision, read_decision
from app.replay import replay
from app.replay_report import Instead, LogPoint, ModelKey, RunReport, Sums
from app.selection import Selection, check_named, latest, only, recommendations
from app.settings import Settings
from audit.errors import DamagedLogError, LogStateError
from audit.leaf import Leaf
from audit.reader import LogReader
from audit.replay import MAX_ULPS, Difference, Differs, Identical, NotReplayable, Verdict
from audit.rows import EntryRow
from explainers.errors import ExplanationError
from models.errors import ModelError

Advance = Callable[[int, int], None]
"""Hears how many of how many entries have been gone through."""

ENTRIES_PER_TASK = 256
"""A tenth of a second or more for a process, and few results to hold."""
_AHEAD = 4
"""Ranges handed out for each process: enough that none waits, few enough to bound memory."""


class RunInterruptedError(AppError):
    """Somebody stopped the run. Nothing was recorded."""

    def __init__(self, done: int, total: int) -> None:
        super().__init__(
            f"stopped after {done:,} of {total:,} entries; nothing was recorded or written"
        )


@dataclass(frozen=True, slots=True)
class Run:
    """What to go through, and how."""

    settings: Settings
    selection: Selection = Selection()  # noqa: RUF009  # frozen, and everything
    directories: tuple[Path, ...] = ()
    """Where bundles and policies are looked for besides the models directory."""
    max_ulps: int = MAX_ULPS
    with_bundle: Path | None = None
    with_policy: Path | None = None
    """Either makes the run counterfactual."""

    @property
    def is_counterfactual(self) -> bool:
        """Whether cases are tried with something else than what they were made with."""
        return self.with_bundle is not None or self.with_policy is not None


def run_replay(
    run: Run,
    *,
    clock: Clock,
    decision: str | None = None,
    limit: int | None = None,
    workers: int | None = None,
    advance: Advance = lambda _done, _total: None,
    on_lines: Callable[[bytes], object] = lambda _lines: None,
) -> RunReport:
    """Go through the selected decisions and return what came out.

    ``decision`` selects one, ``limit`` the latest so many. ``workers`` is how many processes
    recompute, one for each core by default; a short range needs none of its own. ``on_lines`` hears
    the lines that ``results_sha256`` is over, in order. Raises UnknownRecordError, AuditError,
    ModelError, ExplanationError, PolicyError, RunInterruptedError, InvalidRequestError when a model is named
    that never advised.
    """
    started = timestamp(clock())
    with closing(read_log(run.settings)) as log:
        size = log.size
        point = LogPoint(log.origin, size, log.root(size).hex())
        policies = recorded_policies(log)
        worker = Worker(run, log, policies)
        selection = _narrowed(run, worker, log, size=size, decision=decision, limit=limit)
        tasks = list(_tasks(selection.start, selection.stop or 0))
        processes = min(workers or os.cpu_count() or 1, len(tasks))
        parts = (
            (worker.go(selection, *task) for task in tasks)
            if processes < 2
            else _spread(run, policies, selection, tasks, processes)
        )
        sums = Sums(impact=Tally() if run.is_counterfactual else None)
        results = hashlib.sha256()
        done, total = 0, sum(end - start for start, end in tasks)
        try:
            for (start, end), part in zip(tasks, parts, strict=True):
                lines = b"".join(part.lines)
                results.update(lines)
                on_lines(lines)
                sums.merge(part)
                done += end - start
                advance(done, total)
        except KeyboardInterrupt as err:
            raise RunInterruptedError(done, total) from err
        if not sums.decisions:  # nothing that somebody could take for a check that was passed
            check_named(log, selection)
    otherwise = worker.otherwise
    return RunReport(
        kind="replay" if otherwise is None else "counterfactual",
        log=point,
        selection=selection,
        started=started,
        ended=timestamp(clock()),
        environment=environment(run.settings),
        allowed_ulps=run.max_ulps,
        sums=sums,
        results_sha256=results.hexdigest(),
        instead=(
            None if otherwise is None else Instead(otherwise.bundle_digest, otherwise.policy_digest)
        ),
    )


def _narrowed(
    run: Run,
    worker: "Worker",
    log: LogReader,
    *,
    size: int,
    decision: str | None,
    limit: int | None,
) -> Selection:
    """Return what to go through, with both ends."""
    selection = run.selection
    if worker.otherwise is not None and selection.model is None:
        selection = replace(selection, model=worker.otherwise.model_name)
    stop = size if selection.stop is None else min(size, selection.stop)
    selection = replace(selection, stop=stop)
    if decision is not None:
        return only(log, decision)
    if limit is not None:
        return latest(log, selection, count=limit)
    return selection


class Worker:
    """Goes through ranges of the log in one process."""

    def __init__(self, run: Run, log: LogReader, policies: Mapping[str, Policy]) -> None:
        """Raises what opening another bundle or policy raises."""
        settings = run.settings
        self._run = run
        self._log = log
        self._library = Library(settings, directories=run.directories, policies=lambda: policies)
        self._runtime = environment(settings)
        self.otherwise: Otherwise | None = None
        if run.is_counterfactual:
            self.otherwise = Otherwise(
                settings, self._library, bundle=run.with_bundle, policy=run.with_policy
            )

    def go(self, selection: Selection, start: int, stop: int) -> Sums:
        """Return what the selected decisions of one range came to."""
        sums = Sums(impact=None if self.otherwise is None else Tally())
        for row, leaf in recommendations(self._log, start, stop):
            if selection.takes(leaf):
                self._one(sums, row, leaf)
        return sums

    def _one(self, sums: Sums, row: EntryRow, leaf: Leaf) -> None:
        verdict: Verdict
        try:
            stored = read_decision(self._log, row.id, reader=OPERATOR)
        except ErasedDecisionError:
            verdict = NotReplayable("erased", "its content was erased")
        except DamagedLogError:
            verdict = NotReplayable("damaged", "its record cannot be read: run verify")
        else:
            if self.otherwise is None:
                verdict = replay(stored, self._library, self._runtime)
            else:
                verdict = self._compare(sums, self.otherwise, stored)
        sums.add(
            row.seq, row.id, row.leaf_hash, _model_key(leaf), verdict, max_ulps=self._run.max_ulps
        )

    def _compare(self, sums: Sums, otherwise: Otherwise, stored: StoredDecision) -> Verdict:
        """Add the comparison to the sums, and return a verdict on whether there was one.

        For a run that tries something else "identical" says the same outcome, and "different"
        another one, or none because the case is refused.
        """
        try:
            comparison = otherwise.compare(stored)
        except MissingModelError as err:
            return NotReplayable("model_missing", str(err))
        except (ModelError, ExplanationError, PolicyError) as err:
            return NotReplayable("failed", f"it cannot be judged: {type(err).__name__}")
        sums.impact = sums.impact or Tally()
        sums.impact.add(comparison)
        if comparison.instead is None:
            return Differs((Difference("case", (), None, "is refused", comparison.refused),), ())
        if comparison.instead.outcome == comparison.recorded.outcome:
            return Identical()
        return Differs((Difference("outcome", (), None, "is another"),), ())


_worker: list[Worker] = []
"""A process of the pool has one, made when the process starts."""


def _start_worker(run: Run, policies: Mapping[str, Policy]) -> None:
    _worker.append(Worker(run, read_log(run.settings), policies))


def _go(selection: Selection, start: int, stop: int) -> Sums:
    return _worker[0].go(selection, start, stop)


def _spread(
    run: Run,
    policies: Mapping[str, Policy],
    selection: Selection,
    tasks: Sequence[tuple[int, int]],
    workers: int,
) -> Iterator[Sums]:
    """Yield each range's sums, in order, from processes of their own."""
    # spawn: a fork would copy this process' threads' locks and database handles.
    executor = ProcessPoolExecutor(
        workers,
        mp_context=get_context("spawn"),
        initializer=_start_worker,
        initargs=(run, policies),
    )
    waiting: deque[Future[Sums]] = deque()
    rest = iter(tasks)
    try:
        # Ctrl-C goes to every process of the terminal; only this one decides what becomes of it.
        with _deaf():
            for task in islice(rest, workers):
                waiting.append(executor.submit(_go, selection, *task))
        while waiting:
            for task in islice(rest, max(0, workers * _AHEAD - len(waiting))):
                waiting.append(executor.submit(_go, selection, *task))
            yield waiting.popleft().result()
    except BrokenProcessPool as err:
        raise LogStateError("a process that was replaying was ended, or could not begin") from err
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _deaf() -> Iterator[None]:
    """Let processes that begin meanwhile never hear Ctrl-C, which this one hears afterwards.

    They inherit what is blocked. Were it ignored here meanwhile, it would be lost. Only this thread
    blocks it: where another one hears it, the handler remembers it.
    """
    heard: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _frame: heard.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
        for number in heard:
            signal.raise_signal(number)


def _tasks(start: int, stop: int) -> Iterator[tuple[int, int]]:
    while start < stop:
        # At multiples, so that a report does not depend on where its range begins.
        end = min(stop, start - start % ENTRIES_PER_TASK + ENTRIES_PER_TASK)
        yield start, end
        start = end


def _model_key(leaf: Leaf) -> ModelKey:
    told = leaf.facts.get("model")
    model = told if isinstance(told, dict) else {}
    return str(model.get("name")), str(model.get("version")), f"sha256:{model.get('sha256')}"
