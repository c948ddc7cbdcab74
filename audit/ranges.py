"""Having ranges of a log's entries checked by processes of their own. See ``audit.verify``."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from audit.checkpoint import Checkpoint
from audit.entry_checks import EntryChecks
from audit.errors import LogStateError
from audit.findings import RangeFindings, RangeTask
from audit.keys import read_keys
from audit.master_key import Command
from audit.note import VerifierKey
from audit.scan import Scanner, Source
from audit.tiles import TILE_WIDTH

Progress = Callable[[int, int], None]
"""``(entries checked, entries to check)``, called about every thousand entries or more."""

ENTRIES_PER_TASK = 16_384
"""A tenth of a second's work or more, so that handing it out does not matter."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What checking a range takes, in this process or in another."""

    source: Source
    origin: str
    vkeys: tuple[str, ...]
    keys_directory: Path | None
    master_command: Command

    def checks(self, scanner: Scanner) -> EntryChecks:
        """Return checks over a view. Raises KeyFileError."""
        keys = None
        if self.keys_directory is not None:
            keys = read_keys(
                self.keys_directory, origin=self.origin, master_command=self.master_command
            )
        trusted = [VerifierKey.parse(vkey) for vkey in self.vkeys]
        return EntryChecks(scanner, origin=self.origin, trusted=trusted, keys=keys)


@dataclass(frozen=True, slots=True)
class Pool:
    """How ranges are handed out."""

    workers: int
    progress: Progress

    def run(
        self, setup: Setup, tasks: Sequence[RangeTask], scanner: Scanner
    ) -> Iterator[RangeFindings]:
        """Yield each range's findings, in order."""
        total = sum(task.stop - task.start for task in tasks)
        done = 0
        if self.workers == 1 or len(tasks) < 2:

            def checked(count: int) -> None:
                nonlocal done
                done += count
                if done % 1_024 == 0 or done == total:
                    self.progress(done, total)

            checks = setup.checks(scanner)
            for task in tasks:
                yield checks.check(task, checked)
            return
        # spawn: a fork would copy this process' threads' locks and database handles.
        with ProcessPoolExecutor(
            min(self.workers, len(tasks)), mp_context=get_context("spawn")
        ) as executor:
            try:
                for found in executor.map(partial(_check_range, setup), tasks):
                    done += found.stop - found.start
                    self.progress(done, total)
                    yield found
            except BrokenProcessPool as err:
                raise LogStateError("a process that was checking the log was ended") from err
            finally:
                executor.shutdown(wait=False, cancel_futures=True)


def tasks_of(
    first: int,
    size: int,
    prefix: tuple[bytes, ...],
    signed: Sequence[tuple[str, Checkpoint]],
    entries_per_task: int,
) -> Iterator[RangeTask]:
    """Yield ranges that cover ``first <= index < size`` and end at full tiles."""
    step = -(-entries_per_task // TILE_WIDTH) * TILE_WIDTH
    start = first
    while start < size:
        stop = min(start - start % TILE_WIDTH + step, size)
        sizes = tuple(
            checkpoint.size for _, checkpoint in signed if start < checkpoint.size <= stop
        )
        task = RangeTask(start, stop, sizes=sizes)
        yield replace(task, prefix=prefix) if start == first else task
        start = stop


def _check_range(setup: Setup, task: RangeTask) -> RangeFindings:
    scanner = setup.source.open()
    try:
        return setup.checks(scanner).check(task)
    finally:
        scanner.close()
