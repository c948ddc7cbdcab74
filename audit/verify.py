"""Checking a log against itself and against what it signed: every stored byte is read and hashed.

Nothing is taken from a hash the log kept for itself. Entries are read in order, their leaves
hashed, the tree grown from those hashes, and everything else compared with that: identifiers,
payloads, keys, idempotency rows, erasures, tiles, head, and every checkpoint's signature and root.
All faults are collected; one damaged entry does not hide the next.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from audit import merkle
from audit.checkpoint import Checkpoint, parse_checkpoint
from audit.entry_checks import EntryChecks
from audit.errors import DamagedLogError, LeafError, NoteError
from audit.faults import Fault, Faults
from audit.keys import LogKeys, read_keys
from audit.layout import CHECKPOINT_FILE, DATABASE_FILE, KEYS_DIRECTORY, LOCK_FILE
from audit.leaf import Facts, parse_leaf
from audit.note import VerifierKey, encode_base64, open_note, parse_note
from audit.records import GENESIS
from audit.scan import Scanner
from audit.tiles import FullTile, GrowingTree

Progress = Callable[[int, int], None]
"""``(entries checked, entries in all)``, called about every thousand entries."""

_CHUNK = 1_024
_MAX_GAP = 100_000
"""Missing entries are looked for one by one up to here; a head may claim any number."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification found. Sound when ``faults`` is empty."""

    origin: str
    size: int
    root: bytes
    """Computed from the stored leaves."""
    checkpoints: int
    """How many signed checkpoints were checked against the tree."""
    erased: int
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
    use_keys: bool = True,
    progress: Progress | None = None,
) -> Report:
    """Check every stored byte of the log in ``directory`` and return what was found.

    ``vkeys`` are the verifier keys to trust; without any, the one the log's first entry names.
    With ``use_keys`` and a readable key directory payloads are decrypted and compared too.
    Raises LogMissingError, KeyFileError, NoteError for a malformed vkey.
    """
    trusted = [VerifierKey.parse(vkey) for vkey in vkeys]
    faults = Faults()
    try:
        scanner = Scanner(directory / DATABASE_FILE, lock=directory / LOCK_FILE)
    except DamagedLogError as err:
        faults.add(None, "database", str(err))
        return Report("", 0, merkle.EMPTY_ROOT, 0, 0, False, "given", tuple(faults.found))  # noqa: FBT003 - named in the class
    try:
        return _Verification(directory, scanner, faults, trusted, progress).run(use_keys=use_keys)
    finally:
        scanner.close()


class _Verification:
    """One run: what is being read, what was found."""

    def __init__(
        self,
        directory: Path,
        scanner: Scanner,
        faults: Faults,
        trusted: list[VerifierKey],
        progress: Progress | None,
    ) -> None:
        self._directory = directory
        self._scanner = scanner
        self._faults = faults
        self._trusted = trusted
        self._progress = progress
        self._key_source = "given" if trusted else "genesis"
        self._origin = ""
        self._genesis_facts: Facts = {}
        self._tree = GrowingTree()
        self._tiles = 0
        self._checkpoints = 0

    def run(self, *, use_keys: bool) -> Report:
        faults, scanner = self._faults, self._scanner
        for message in scanner.header_faults():
            faults.add(None, "schema", message)
        self._read_genesis()
        keys: LogKeys | None = None
        if use_keys and (self._directory / KEYS_DIRECTORY).is_dir() and self._origin:
            keys = self._own_keys()
        outside = self._outside_checkpoint()
        size = self._extent()
        checks = EntryChecks(scanner, faults, keys)
        # SQLite's own check has a connection of its own and runs beside ours.
        with ThreadPoolExecutor(1) as pool:
            pages = pool.submit(_page_faults, self._directory)
            self._check_entries(size, checks, outside)
            damaged = pages.result()
        checks.finish(size)
        self._check_head(size)
        self._check_counts()
        if outside is not None and outside.size > size:
            faults.add(
                size,
                "rolled-back",
                f"a checkpoint of {outside.size} entries was signed, the database has {size}",
                count=outside.size - size,
            )
        for message in damaged:
            faults.add(None, "database", message)
        if damaged:
            checks.name_page_damage(size)
        return Report(
            origin=self._origin,
            size=size,
            root=self._tree.root(),
            checkpoints=self._checkpoints,
            erased=checks.erased_count,
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

    def _check_entries(self, size: int, checks: EntryChecks, outside: Checkpoint | None) -> None:
        for start in range(0, size, _CHUNK):
            stop = min(start + _CHUNK, size)
            signed = self._checkpoints_within(start, stop, size)
            for index, leaf_hash in checks.leaf_hashes(start, stop):
                for tile in self._tree.append(leaf_hash):
                    self._check_tile(tile)
                for checkpoint in signed.pop(index + 1, []):
                    self._compare(checkpoint, "checkpoint")
                if outside is not None and outside.size == index + 1:
                    self._compare(outside, "checkpoint-file")
            if self._progress is not None:
                self._progress(stop, size)

    def _checkpoints_within(self, start: int, stop: int, size: int) -> dict[int, list[Checkpoint]]:
        """Return the stored checkpoints with start < size <= stop, their signatures checked."""
        last = stop == size
        rows = self._scanner.rows(
            "SELECT size, note FROM checkpoint WHERE size > ? AND size <= ? ORDER BY size",
            -1 if start == 0 else start,
            2**62 if last else stop,
        )
        if rows is None:
            self._faults.add(
                None, "checkpoint", f"checkpoints of sizes {start} to {stop} cannot be read"
            )
            return {}
        found: dict[int, list[Checkpoint]] = {}
        for stored_size, note in rows:
            checkpoint = self._open(note, f"the stored checkpoint of size {stored_size!r}")
            if checkpoint is None:
                continue
            if checkpoint.size != stored_size or not 1 <= checkpoint.size <= size:
                self._faults.add(
                    None,
                    "checkpoint",
                    f"a checkpoint of size {checkpoint.size} is stored as {stored_size!r}, "
                    f"the log has {size} entries",
                )
                continue
            found.setdefault(checkpoint.size, []).append(checkpoint)
        return found

    def _open(self, note: object, what: str) -> Checkpoint | None:
        try:
            return self._opened(note)
        except NoteError as err:
            self._faults.add(None, "checkpoint", f"{what}: {err}")
            return None

    def _opened(self, note: object) -> Checkpoint:
        if not isinstance(note, bytes):
            raise NoteError("not bytes")
        parsed = open_note(note, self._trusted)[0] if self._trusted else parse_note(note)
        checkpoint = parse_checkpoint(parsed.text)
        if self._origin and checkpoint.origin != self._origin:
            raise NoteError(f"it is of log {checkpoint.origin!r}, want {self._origin!r}")
        return checkpoint

    def _compare(self, checkpoint: Checkpoint, kind: str) -> None:
        self._checkpoints += 1
        got = self._tree.root()
        if got != checkpoint.root:
            self._faults.add(
                None,
                kind,
                f"at size {checkpoint.size} the entries lead to root {got.hex()}, "
                f"signed is {checkpoint.root.hex()}",
            )

    def _outside_checkpoint(self) -> Checkpoint | None:
        path = self._directory / CHECKPOINT_FILE
        try:
            note = path.read_bytes()
        except FileNotFoundError:
            self._faults.add(None, "checkpoint-file", f"{path.name} is missing")
            return None
        checkpoint = self._open(note, f"the file {path.name}")
        if checkpoint is not None:
            self._check_remembered(checkpoint.size)
        return checkpoint

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
            if later is not None and len(later) > 1:
                self._faults.add(
                    None,
                    "checkpoint-file",
                    f"it is of size {size}, a later one of size {newest} was signed: a rolled-back "
                    "database would go unnoticed",
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

    def _check_tile(self, tile: FullTile) -> None:
        self._tiles += 1
        span = 1 << (8 * tile.level)
        first = tile.position * 256 * span
        rows = self._scanner.rows(
            "SELECT root, hashes FROM tile WHERE level = ? AND position = ?",
            tile.level,
            tile.position,
        )
        if not rows or rows[0] != (tile.root, tile.hashes):
            what = f"tile {tile.level}/{tile.position}"
            stored = rows[0][1] if rows else None
            if not isinstance(stored, bytes) or len(stored) != len(tile.hashes):
                self._faults.add(first, "tile", f"{what} cannot be read", count=256 * span)
                return
            if rows and rows[0][0] != tile.root:
                self._faults.add(first, "tile", f"the root of {what} is wrong", count=256 * span)
            for at in range(256):
                if stored[at * 32 : at * 32 + 32] != tile.hashes[at * 32 : at * 32 + 32]:
                    self._faults.add(
                        first + at * span, "tile", f"hash {at} of {what} is wrong", count=span
                    )

    def _check_head(self, size: int) -> None:
        rows = self._scanner.rows("SELECT one, size, frontier, root FROM head")
        want = [(1, size, b"".join(self._tree.frontier), self._tree.root())]
        if rows != want:
            self._faults.add(
                None, "head", f"the stored head is not that of the {size} stored entries"
            )

    def _check_counts(self) -> None:
        """Report rows that no entry accounts for."""
        if self._scanner.value("SELECT count(*) FROM tile") != self._tiles:
            self._faults.add(None, "tile", f"there are not {self._tiles} tiles, as there should be")


def _genesis(content: object) -> tuple[str, VerifierKey, Facts]:
    """Return the origin and key that the log's first entry names, and all its facts."""
    if not isinstance(content, bytes):
        raise LeafError("it cannot be read")
    genesis = parse_leaf(content)
    origin, vkey = genesis.facts.get("origin"), genesis.facts.get("vkey")
    if genesis.type != GENESIS or not isinstance(origin, str) or not isinstance(vkey, str):
        raise LeafError("it does not name a log and its key")
    return origin, VerifierKey.parse(vkey), genesis.facts


def _page_faults(directory: Path) -> list[str]:
    scanner = Scanner(directory / DATABASE_FILE, lock=directory / LOCK_FILE)
    try:
        found = scanner.integrity_faults()
        pages, size = scanner.value("PRAGMA page_count"), scanner.value("PRAGMA page_size")
        on_disk = (directory / DATABASE_FILE).stat().st_size
        if pages is not None and size is not None and on_disk > pages * size:
            found.append(f"{on_disk - pages * size} bytes lie beyond the last page")
        return found
    finally:
        scanner.close()
