"""Checking a log against itself and against what it signed: every stored byte is read and hashed.

Nothing is taken from a hash the log kept for itself. Leaves are hashed, the tree grown from those
hashes, and everything else compared with that: identifiers, payloads, keys, idempotency rows,
erasures, tiles, head, and every checkpoint's signature and root. All faults are collected; one
damaged entry does not hide the next. Ranges of entries are checked by processes of their own.

From a checkpoint that the caller holds, only what came after it is read: the stored hashes of what
came before must lead to the root that was signed.
"""

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from audit import merkle
from audit.errors import DamagedLogError, ProofError, RootMismatchError
from audit.faults import Fault, Faults
from audit.identity import LogIdentity
from audit.layout import KEYS_DIRECTORY
from audit.master_key import FROM_FILE, Command
from audit.note import VerifierKey
from audit.outside import OutsideMemory, SignedCount
from audit.ranges import ENTRIES_PER_TASK, Pool, Progress, Setup, tasks_of
from audit.row_checks import RowChecks
from audit.scan import Scanner, Source
from audit.signed_checks import SignedChecks, check_count, remembered
from audit.sqlite_scan import SqliteSource
from audit.tree_checks import TreeChecks

_MAX_GAP = 100_000
"""Missing entries are looked for one by one up to here; a head may claim any number."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification found. Sound when ``faults`` is empty."""

    origin: str
    first: int
    """The first entry that was read; those before are vouched for by a checkpoint that was held."""
    size: int
    root: bytes
    """Computed from the stored leaves."""
    checkpoints: int
    """How many signed checkpoints were checked against the tree."""
    erased: int
    """Among the entries that were read."""
    payloads_opened: bool
    """Whether payloads were decrypted; without the keys only their digests are checked."""
    key_source: str
    """Where the trusted key came from: "given", or "genesis", the log's own word."""
    faults: tuple[Fault, ...]
    notices: tuple[str, ...] = ()
    """What is no fault and should be known."""

    @property
    def sound(self) -> bool:
        """Return whether nothing is wrong."""
        return not self.faults


def verify(
    directory: Path,
    *,
    vkeys: Sequence[str] = (),
    held: Sequence[bytes] = (),
    start: bytes | None = None,
    use_keys: bool = True,
    progress: Progress = lambda _done, _total: None,
    source: Source | None = None,
    workers: int | None = None,
    entries_per_task: int = ENTRIES_PER_TASK,
    master_command: Command = FROM_FILE,
) -> Report:
    """Check every stored byte of the log in ``directory`` and return what was found.

    ``vkeys`` are the verifier keys to trust; without any, the one the log's first entry names.
    ``held`` are signed checkpoints that the log must still continue; of ``start``, another, only
    what came after it is read. With ``use_keys`` and a readable key directory payloads are
    decrypted and compared too. ``source`` is where the rows are when they are not in the
    directory's own database. ``master_command`` gives the master key, if no file does. ``workers`` is
    how many processes read, one for each core by default; a small log needs none of its own. Raises
    LogMissingError, KeyFileError, NoteError for a malformed vkey, LogUnavailableError when the server
    goes away meanwhile, LogStateError when a log that was at rest was opened for writing meanwhile.
    """
    given = [VerifierKey.parse(vkey) for vkey in vkeys]
    faults = Faults()
    # Before the view of the rows is taken, so that a live log's file cannot be ahead of it.
    outside, count = remembered(OutsideMemory(directory), faults)
    try:
        source = source or SqliteSource(directory)
        scanner = source.open()
    except DamagedLogError as err:
        faults.add(None, "database", str(err))
        return Report("", 0, 0, merkle.EMPTY_ROOT, 0, 0, False, "given", tuple(faults.found))  # noqa: FBT003 - named in the class
    try:
        if count is not None:
            check_count(scanner, faults, count)
        identity = LogIdentity(scanner, faults, given)
        run = _Verification(
            source, scanner, faults, identity, directory / KEYS_DIRECTORY, master_command
        )
        pool = Pool(workers or os.cpu_count() or 1, progress)
        report = run.run(
            pool,
            outside,
            count,
            held=held,
            start=start,
            use_keys=use_keys,
            entries_per_task=entries_per_task,
        )
        scanner.check_undisturbed()
        return report
    finally:
        scanner.close()


class _Verification:
    """One run: what is being read, what was found."""

    def __init__(
        self,
        source: Source,
        scanner: Scanner,
        faults: Faults,
        identity: LogIdentity,
        keys_directory: Path,
        master_command: Command,
    ) -> None:
        self._source = source
        self._scanner = scanner
        self._faults = faults
        self._identity = identity
        self._keys_directory = keys_directory
        self._master_command = master_command
        self._tree = TreeChecks(scanner, faults)

    def run(
        self,
        pool: Pool,
        outside: bytes | None,
        count: SignedCount | None,
        *,
        held: Sequence[bytes],
        start: bytes | None,
        use_keys: bool,
        entries_per_task: int,
    ) -> Report:
        faults, scanner, identity = self._faults, self._scanner, self._identity
        for message in scanner.header_faults():
            faults.add(None, "schema", message)
        for message in scanner.tail_faults():
            faults.add(None, "wal", message)
        has_keys = use_keys and self._keys_directory.is_dir() and identity.origin != ""
        opens = has_keys and identity.owns_keys(self._keys_directory, self._master_command)
        setup = Setup(
            self._source,
            identity.origin,
            tuple(key.format() for key in identity.trusted),
            self._keys_directory if opens else None,
            self._master_command,
        )
        size = self._extent()
        signed_checks = SignedChecks(scanner, faults, setup.checks(scanner))
        first, prefix = self._start(start, signed_checks, size)
        known = [*held, *(() if start is None else (start,))]
        signed = signed_checks.check(known, outside, count, size)
        rows = RowChecks(scanner, faults, first=first, size=size)
        # The engine's own check has a view of its own and runs beside ours.
        with ThreadPoolExecutor(1) as beside:
            pages: Future[list[str]] | None = None
            if not first:
                pages = beside.submit(_page_faults, self._source)
            tasks = list(tasks_of(first, size, prefix, signed, entries_per_task))
            for found in pool.run(setup, tasks, scanner):
                for fault in found.faults.found:
                    faults.add(fault.index, fault.kind, fault.message, count=fault.count)
                within = [pair for pair in signed if found.start < pair[1].size <= found.stop]
                self._tree.add(found, within)
                rows.add(found)
            damaged = pages.result() if pages is not None else []
        rows.finish(self._source)
        self._tree.check_head()
        self._tree.check_tile_count()
        for message in damaged:
            faults.add(None, "database", message)
        if damaged:
            rows.name_page_damage()
        return Report(
            origin=identity.origin,
            first=first,
            size=size,
            root=self._tree.root(),
            checkpoints=self._tree.compared,
            erased=rows.erased_count,
            payloads_opened=opens,
            key_source=identity.key_source,
            faults=tuple(faults.found),
            notices=tuple(signed_checks.notices),
        )

    def _extent(self) -> int:
        """Return how many entries to look at, reporting when head and entries disagree."""
        scanner, faults = self._scanner, self._faults
        head = scanner.value("SELECT size FROM head")
        top = scanner.value("SELECT max(seq) FROM entry")
        count = scanner.value("SELECT count(*) FROM entry")
        if head is None:
            faults.add(None, "head", "the head cannot be read")
        if count is None:
            faults.add(None, "database", "the entries cannot be counted")
            return min(max(head or 0, 0), _MAX_GAP)
        stop = 0 if top is None else max(top + 1, 0)
        if head is not None and head != stop:
            if head > stop:
                faults.add(stop, "missing", f"the head says {head} entries", count=head - stop)
            else:
                faults.add(
                    max(head, 0), "beyond", f"the head says {head} entries", count=stop - head
                )
        if stop > count + _MAX_GAP:
            faults.add(count, "missing", f"an entry claims index {stop - 1}", count=stop - count)
            return count
        return stop

    def _start(
        self, note: bytes | None, signed: SignedChecks, size: int
    ) -> tuple[int, tuple[bytes, ...]]:
        """Return the first entry to read, and the hashes of the leaves between it and a full tile.

        When the log does not continue the held checkpoint, everything is read, to find where.
        """
        if note is None:
            return 0, ()
        checkpoint = signed.opened(note, "held-checkpoint", "the checkpoint to start from")
        if checkpoint is None or not 1 <= checkpoint.size <= size:
            return 0, ()
        try:
            return checkpoint.size, self._tree.start_from(checkpoint.size, checkpoint.root)
        except RootMismatchError as err:
            self._faults.add(
                None,
                "held-checkpoint",
                f"the log does not continue the checkpoint of size {checkpoint.size}: {err}",
            )
        except ProofError as err:
            self._faults.add(None, "tile", f"before the held checkpoint: {err}")
        return 0, ()


def _page_faults(source: Source) -> list[str]:
    scanner = source.open()
    try:
        return scanner.page_faults()
    finally:
        scanner.close()
