"""Checking a log against itself and against what it signed: every stored byte is read and hashed.

Nothing is taken from a hash the log kept for itself. Leaves are hashed, the tree grown from those
hashes, and everything else compared with that: identifiers, payloads, keys, idempotency rows,
erasures, tiles, head, and every checkpoint's signature and root. All faults are collected; one
damaged entry does not hide the next. Ranges of entries are checked by processes of their own.

From a checkpoint that the caller holds, only what came after it is read: the stored hashes of what
came before must lead to the root that was signed.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from audit import merkle
from audit.checkpoint import Checkpoint
from audit.entry_checks import EntryChecks
from audit.errors import (
    DamagedLogError,
    LeafError,
    LogRolledBackError,
    LogStateError,
    NoteError,
    ProofError,
    RootMismatchError,
)
from audit.faults import Fault, Faults
from audit.findings import RangeFindings, RangeTask
from audit.keys import LogKeys, read_keys
from audit.layout import CHECKPOINT_COUNT_FILE, CHECKPOINT_FILE, KEYS_DIRECTORY
from audit.leaf import Facts, parse_leaf
from audit.note import VerifierKey, encode_base64
from audit.outside import OutsideMemory, SignedCount
from audit.records import GENESIS
from audit.rotation import Rotation, parse_rotation, rotation_id
from audit.row_checks import RowChecks
from audit.scan import Scanner, Source
from audit.sqlite_scan import SqliteSource
from audit.tiles import TILE_WIDTH
from audit.tree_checks import TreeChecks

Progress = Callable[[int, int], None]
"""``(entries checked, entries to check)``, called about every thousand entries or more."""

ENTRIES_PER_TASK = 16_384
"""A tenth of a second's work or more, so that handing it out does not matter."""
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
) -> Report:
    """Check every stored byte of the log in ``directory`` and return what was found.

    ``vkeys`` are the verifier keys to trust; without any, the one the log's first entry names.
    ``held`` are signed checkpoints that the log must still continue; of ``start``, another, only
    what came after it is read. With ``use_keys`` and a readable key directory payloads are
    decrypted and compared too. ``source`` is where the rows are when they are not in the
    directory's own database. ``workers`` is how many processes read, one for each core by default;
    a small log needs none of its own. Raises LogMissingError, KeyFileError, NoteError for a malformed vkey.
    """
    trusted = [VerifierKey.parse(vkey) for vkey in vkeys]
    faults = Faults()
    # Before the view of the rows is taken, so that a live log's file cannot be ahead of it.
    memory = OutsideMemory(directory)
    outside, count = memory.note(), _signed_count(memory, faults)
    try:
        source = source or SqliteSource(directory)
        scanner = source.open()
    except DamagedLogError as err:
        faults.add(None, "database", str(err))
        return Report("", 0, 0, merkle.EMPTY_ROOT, 0, 0, False, "given", tuple(faults.found))  # noqa: FBT003 - named in the class
    try:
        run = _Verification(directory, scanner, faults, trusted)
        if count is not None:
            run.check_count(count)
        pool = _Pool(source, workers or os.cpu_count() or 1, entries_per_task, progress)
        return run.run(pool, outside, held=held, start=start, use_keys=use_keys)
    finally:
        scanner.close()


@dataclass(frozen=True, slots=True)
class _Setup:
    """What checking a range takes, in this process or in another."""

    source: Source
    origin: str
    vkeys: tuple[str, ...]
    keys_directory: Path | None

    def checks(self, scanner: Scanner) -> EntryChecks:
        keys = None
        if self.keys_directory is not None:
            keys = read_keys(self.keys_directory, origin=self.origin)
        trusted = [VerifierKey.parse(vkey) for vkey in self.vkeys]
        return EntryChecks(scanner, origin=self.origin, trusted=trusted, keys=keys)


def _check_range(setup: _Setup, task: RangeTask) -> RangeFindings:
    scanner = setup.source.open()
    try:
        return setup.checks(scanner).check(task)
    finally:
        scanner.close()


@dataclass(frozen=True, slots=True)
class _Pool:
    """How ranges are handed out."""

    source: Source
    workers: int
    entries_per_task: int
    progress: Progress

    def run(
        self, setup: _Setup, tasks: Sequence[RangeTask], scanner: Scanner
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


class _Verification:
    """One run: what is being read, what was found."""

    def __init__(
        self, directory: Path, scanner: Scanner, faults: Faults, trusted: list[VerifierKey]
    ) -> None:
        self._directory = directory
        self._scanner = scanner
        self._faults = faults
        self._trusted = trusted
        self._key_source = "given" if trusted else "genesis"
        self._origin = ""
        self._genesis_facts: Facts = {}
        self._tree = TreeChecks(scanner, faults)

    def run(
        self,
        pool: _Pool,
        outside: bytes | None,
        *,
        held: Sequence[bytes],
        start: bytes | None,
        use_keys: bool,
    ) -> Report:
        faults, scanner = self._faults, self._scanner
        for message in scanner.header_faults():
            faults.add(None, "schema", message)
        for message in scanner.tail_faults():
            faults.add(None, "wal", message)
        self._read_genesis()
        has_keys = use_keys and (self._directory / KEYS_DIRECTORY).is_dir() and self._origin != ""
        keys = self._own_keys() if has_keys else None
        setup = _Setup(
            pool.source,
            self._origin,
            tuple(key.format() for key in self._trusted),
            self._directory / KEYS_DIRECTORY if keys is not None else None,
        )
        checks = setup.checks(scanner)
        size = self._extent()
        first, prefix = self._start(start, checks, size)
        known = [*held, *(() if start is None else (start,))]
        signed = self._signed_elsewhere(known, outside, checks, size)
        rows = RowChecks(scanner, faults, first=first, size=size)
        # The engine's own check has a view of its own and runs beside ours.
        with ThreadPoolExecutor(1) as beside:
            pages: Future[list[str]] | None = None
            if not first:
                pages = beside.submit(_page_faults, pool.source)
            tasks = list(_tasks(first, size, prefix, signed, pool.entries_per_task))
            for found in pool.run(setup, tasks, scanner):
                for fault in found.faults.found:
                    faults.add(fault.index, fault.kind, fault.message, count=fault.count)
                within = [pair for pair in signed if found.start < pair[1].size <= found.stop]
                self._tree.add(found, within)
                rows.add(found)
            damaged = pages.result() if pages is not None else []
        rows.finish(pool.source)
        self._tree.check_head()
        self._tree.check_tile_count()
        for message in damaged:
            faults.add(None, "database", message)
        if damaged:
            rows.name_page_damage()
        return Report(
            origin=self._origin,
            first=first,
            size=size,
            root=self._tree.root(),
            checkpoints=self._tree.compared,
            erased=rows.erased_count,
            payloads_opened=keys is not None,
            key_source=self._key_source,
            faults=tuple(faults.found),
        )

    def _read_genesis(self) -> None:
        """Learn the log's name and, when none was given, its key from its first entry."""
        rows = self._scanner.rows("SELECT leaf FROM entry WHERE seq = 0")
        try:
            origin, key, facts = _genesis(rows[0][0] if rows else None)
        except (LeafError, NoteError) as err:
            self._faults.add(0, "genesis", f"the log's first entry is not a genesis entry: {err}")
            return
        self._origin = origin
        self._genesis_facts = facts
        if not self._trusted:
            self._trusted = [key]
        self._trust_across(self._rotations(key))

    def _trust_across(self, rotations: Sequence[Rotation]) -> None:
        """Trust each key that a trusted one has handed over to, or has taken over from.

        What the older one signed is compared with the tree like everything else.
        """
        for rotation in rotations:
            if rotation.old in self._trusted and rotation.new not in self._trusted:
                self._trusted.append(rotation.new)
        for rotation in reversed(rotations):
            if rotation.new in self._trusted and rotation.old not in self._trusted:
                self._trusted.append(rotation.old)

    def _rotations(self, key: VerifierKey) -> list[Rotation]:
        """Return the changes of the signing key from the first on, each signed by both keys."""
        found: list[Rotation] = []
        while True:
            rows = self._scanner.rows(
                "SELECT seq, leaf FROM entry WHERE id = $1", rotation_id(len(found) + 1)
            )
            if not rows or not isinstance(rows[0][0], int) or not isinstance(rows[0][1], bytes):
                return found
            try:
                rotation = parse_rotation(parse_leaf(rows[0][1]))
            except (LeafError, NoteError) as err:
                self._faults.add(rows[0][0], "key-rotation", f"the change of keys: {err}")
                return found
            if rotation.old != key:
                self._faults.add(
                    rows[0][0], "key-rotation", "the change of keys is not from the key before"
                )
                return found
            key = rotation.new
            self._genesis_facts = {**self._genesis_facts, "vkey": key.format()}
            found.append(rotation)

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
        stop = 0 if top is None else top + 1
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
        self, note: bytes | None, checks: EntryChecks, size: int
    ) -> tuple[int, tuple[bytes, ...]]:
        """Return the first entry to read, and the hashes of the leaves between it and a full tile.

        When the log does not continue the held checkpoint, everything is read, to find where.
        """
        if note is None:
            return 0, ()
        checkpoint = self._opened(note, "held-checkpoint", "the checkpoint to start from", checks)
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

    def _signed_elsewhere(
        self, held: Sequence[bytes], outside: bytes | None, checks: EntryChecks, size: int
    ) -> list[tuple[str, Checkpoint]]:
        """Return (kind of fault, checkpoint) of what was signed and is kept outside the rows."""
        found: list[tuple[str, Checkpoint]] = []
        if outside is None:
            self._faults.add(None, "checkpoint-file", f"{CHECKPOINT_FILE} is missing")
        else:
            checkpoint = self._opened(outside, "checkpoint", f"the file {CHECKPOINT_FILE}", checks)
            if checkpoint is not None:
                self._check_remembered(checkpoint.size)
                found.append(("checkpoint-file", checkpoint))
        for note in held:
            what = "a checkpoint that is held elsewhere"
            checkpoint = self._opened(note, "held-checkpoint", what, checks)
            if checkpoint is not None:
                self._check_kept(checkpoint)
                found.append(("held-checkpoint", checkpoint))
        longest = max((checkpoint.size for _, checkpoint in found), default=0)
        if longest > size:
            self._faults.add(
                size,
                "rolled-back",
                f"a checkpoint of {longest} entries was signed, the database has {size}",
                count=longest - size,
            )
        return [pair for pair in found if 1 <= pair[1].size <= size]

    def _opened(self, note: bytes, kind: str, what: str, checks: EntryChecks) -> Checkpoint | None:
        try:
            return checks.open_checkpoint(note)
        except NoteError as err:
            self._faults.add(None, kind, f"{what}: {err}")
            return None

    def _check_remembered(self, size: int) -> None:
        """Report stored checkpoints and the one outside that do not remember each other.

        The file may be one behind, after a crash between the two writes.
        """
        newest = self._scanner.value("SELECT max(size) FROM checkpoint")
        if newest is None:
            self._faults.add(None, "checkpoint", "no signed checkpoint is stored, one is outside")
        elif size <= newest:
            if not self._scanner.rows("SELECT 1 FROM checkpoint WHERE size = ?", size):
                self._faults.add(
                    None,
                    "checkpoint",
                    f"the checkpoint of size {size}, kept outside, is not stored",
                )
            later = self._scanner.rows("SELECT 1 FROM checkpoint WHERE size > ?", size)
            if later is not None and len(later) > 1 and not self._scanner.is_live:
                self._faults.add(
                    None,
                    "checkpoint-file",
                    f"it is of size {size}, a later one of size {newest} was signed: a rolled-back "
                    "database would go unnoticed",
                )

    def check_count(self, signed: SignedCount) -> None:
        """Report stored checkpoints that are fewer, or more, than have been signed."""
        rows = self._scanner.rows(
            "SELECT count(*), max(size) FROM checkpoint WHERE size <= $1", signed.size
        )
        if rows is not None and rows != [(signed.count, signed.size)]:
            self._faults.add(
                None,
                "checkpoint",
                f"{signed.count} checkpoints were signed, the last of size {signed.size}; "
                f"stored are {rows[0][0]!r}, the last of size {rows[0][1]!r}",
            )

    def _check_kept(self, held: Checkpoint) -> None:
        """Report a checkpoint that the log signed, as the caller can show, and no longer stores."""
        newest = self._scanner.value("SELECT max(size) FROM checkpoint")
        stored = self._scanner.rows("SELECT 1 FROM checkpoint WHERE size = ?", held.size)
        if newest is not None and held.size <= newest and not stored:
            self._faults.add(
                None,
                "checkpoint",
                f"the checkpoint of size {held.size}, held elsewhere, was deleted",
            )

    def _own_keys(self) -> LogKeys | None:
        """Return the keys beside the log, None and a fault when they are another log's."""
        keys = read_keys(self._directory / KEYS_DIRECTORY, origin=self._origin)
        facts = self._genesis_facts
        strange = [
            what
            for name, got, what in (
                ("vkey", keys.signing.verifier.format(), "signing key"),
                ("master_check", encode_base64(keys.master_check), "master key"),
                ("digest_check", encode_base64(keys.digest_check), "digest key"),
            )
            if facts.get(name) != got
        ]
        for what in strange:
            self._faults.add(None, "key-file", f"the {what} in the key files is not this log's")
        return None if strange else keys


def _tasks(
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


def _signed_count(memory: OutsideMemory, faults: Faults) -> SignedCount | None:
    """Return how many checkpoints were signed, reporting when that is not remembered."""
    try:
        count = memory.count()
    except LogRolledBackError as err:
        faults.add(None, "checkpoint-file", str(err))
        return None
    if count is None and memory.note() is not None:
        faults.add(None, "checkpoint-file", f"{CHECKPOINT_COUNT_FILE} is missing")
    return count


def _genesis(content: object) -> tuple[str, VerifierKey, Facts]:
    """Return the origin and key that the log's first entry names, and all its facts."""
    if not isinstance(content, bytes):
        raise LeafError("it cannot be read")
    genesis = parse_leaf(content)
    origin, vkey = genesis.facts.get("origin"), genesis.facts.get("vkey")
    if genesis.type != GENESIS or not isinstance(origin, str) or not isinstance(vkey, str):
        raise LeafError("it does not name a log and its key")
    return origin, VerifierKey.parse(vkey), genesis.facts


def _page_faults(source: Source) -> list[str]:
    scanner = source.open()
    try:
        return scanner.page_faults()
    finally:
        scanner.close()
