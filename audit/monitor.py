"""Following a log from outside, by nothing but what it publishes: checkpoints, tiles and entries.

A monitor keeps the last checkpoint it verified and the frontier of its tree. It reads every entry that
came after, hashes it onto its own frontier, and so finds out by itself whether the next checkpoint's
root is right and continues the last. What it finds that the log's operator cannot explain away (two
signed checkpoints that do not go together) it writes down with both notes, for others to verify.

Order of writes: evidence before anything else; the state only when all of it was verified. A crash
leaves the state of before, and the next step does the same again.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from audit import merkle, tiles
from audit.checkpoint import Checkpoint, parse_checkpoint
from audit.errors import AuditError, LeafError, NoteError, ProofError, QuorumError
from audit.files import write_durably
from audit.leaf import format_timestamp
from audit.merkle import leaf_hash
from audit.note import VerifierKey, decode_base64, encode_base64, open_note, parse_note
from audit.records import KEY_ROTATED
from audit.rotation import parse_rotation
from audit.scanned_leaf import LeafScanner
from audit.tiles import TILE_WIDTH, bundle_path, decode_bundle, split_hashes, tile_path
from audit.trust import TrustPolicy

CHECKPOINT = "checkpoint"
STATE = "monitor.json"
MAX_RESOURCE_BYTES = TILE_WIDTH * (2 + 65_535)
"""Of the largest resource that there is: a bundle of 256 entries."""
_ROTATED = KEY_ROTATED.encode()
_MOST_FAULTS = 100
"""Entries named in one look."""

Kind: TypeAlias = Literal[
    "rolled-back",
    "split-view",
    "inconsistent",
    "signature",
    "behind",
    "quorum",
    "stale",
    "tile",
    "entry",
]
PROOFS: frozenset[Kind] = frozenset({"rolled-back", "split-view", "inconsistent"})
"""What two signed checkpoints show together: nobody has to take the monitor's word for it."""


class SourceError(AuditError):
    """The log could not be read: it does not answer, or has not what it says it has."""


class MonitorStateError(AuditError):
    """The monitor's own state is missing where it is needed, damaged, or of another log."""


class _EntriesError(AuditError):
    """A bundle is not what a log of that size publishes."""


class Source(Protocol):
    """Where a log publishes."""

    def get(self, path: str) -> bytes | None:
        """Return a resource, None when there is none. Raises SourceError."""
        ...


class DirectorySource:
    """A log published as files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, path: str) -> bytes | None:
        """Return a file's content, None when there is none. Raises SourceError."""
        try:
            with (self._directory / path).open("rb") as file:
                return file.read(MAX_RESOURCE_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as err:
            raise SourceError(f"cannot read {path}: {err.strerror}") from err


@dataclass(frozen=True, slots=True)
class State:
    """What a monitor remembers."""

    note: bytes
    """The last checkpoint that was verified, as it was signed."""
    checkpoint: Checkpoint
    frontier: tuple[bytes, ...]
    keys: tuple[VerifierKey, ...]
    """The log's keys that are trusted: those given, and those they have handed over to."""
    grown: str
    """When the log was last seen to have grown."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be."""

    kind: Kind
    message: str
    evidence: Path | None = None
    """Where both signed checkpoints were written down."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one look at the log gave."""

    origin: str
    size: int
    """That the log shows."""
    verified: int
    """Entries that the monitor has hashed or taken over by now."""
    new: int
    """Of these, read in this look."""
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Return whether nothing was found."""
        return not self.findings


class Monitor:
    """Follows one log. One process for a state directory."""

    def __init__(
        self,
        directory: Path,
        source: Source,
        *,
        clock: Callable[[], datetime],
        keys: Sequence[VerifierKey] = (),
        policy: TrustPolicy | None = None,
        start: bytes | None = None,
        stale_seconds: float | None = None,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> None:
        """``start`` is a checkpoint that its holder trusts: what came before it is not read.

        Without it, the first look reads the whole log. Raises MonitorStateError.
        """
        self._directory = directory
        self._source = source
        self._clock = clock
        self._policy = policy
        self._given = (*keys, *(log.key for log in policy.logs)) if policy else tuple(keys)
        self._start = start
        self._stale_seconds = stale_seconds
        self._progress = progress
        self._state = self._read_state()
        if self._state is None and not self._given:
            raise MonitorStateError(
                "whose log it is must come from you: give its verifier key, or a policy"
            )

    @property
    def state(self) -> State | None:
        """What is remembered; None before the first look."""
        return self._state

    def look(self) -> Observation:
        """Read the log's newest checkpoint and verify everything up to it.

        Raises SourceError, also when what the log shows is no checkpoint at all, as a proxy's page of
        an error, MonitorStateError, OSError when the state cannot be written.
        """
        note = self._source.get(CHECKPOINT)
        if note is None:
            raise SourceError("the log publishes no checkpoint")
        try:
            shown = parse_checkpoint(parse_note(note).text)
        except NoteError as err:
            raise SourceError(f"what the log shows is no checkpoint: {err}") from err
        try:
            return self._compare(shown, note)
        except _EntriesError as err:
            state = self._state or self._first_state(shown)
            return self._told(state, shown, Finding("entry", str(err)))

    def _compare(self, shown: Checkpoint, note: bytes) -> Observation:
        """Verify everything up to the checkpoint shown. Raises _EntriesError, and as ``look``."""
        state = self._state or self._first_state(shown)
        founded: State | None = state
        if self._state is None and 0 < state.checkpoint.size <= shown.size:
            founded = self._founded(state, shown)
        keys, read = state.keys, None
        if founded is not None and not _signed_by(note, keys):
            # The log may have changed its key since the last look; its entries say so, signed.
            read = self._read(founded, shown)
            keys = read.keys
        if shown.origin != state.checkpoint.origin or not _signed_by(note, keys):
            message = f"the checkpoint of {shown.origin} of size {shown.size} is not signed by "
            return self._told(state, shown, Finding("signature", message + state.checkpoint.origin))
        conflict = self._conflict(state, shown, note)
        if conflict is not None:
            return self._told(state, shown, conflict)
        if founded is None:
            return self._told(state, shown, self._why_not(state, shown, note))
        state = founded
        before, findings = state, []
        if shown.size > state.checkpoint.size:
            read = read or self._read(state, shown)
            if merkle.frontier_root(read.frontier) != shown.root:
                return self._told(state, shown, self._why_not(state, shown, note))
            findings = read.faults
            grown = format_timestamp(self._clock())
            state = State(note, shown, tuple(read.frontier), read.keys, grown)
        else:
            state = replace(state, note=note)  # perhaps with more cosignatures
        self._write_state(state)
        findings += self._quorum(note)
        findings += self._staleness(state, note)
        return self._told(state, shown, *findings, new=shown.size - before.checkpoint.size)

    def _told(
        self, state: State, shown: Checkpoint, *findings: Finding, new: int = 0
    ) -> Observation:
        return Observation(shown.origin, shown.size, state.checkpoint.size, new, findings)

    def _first_state(self, shown: Checkpoint) -> State:
        """Return where to begin: before the first entry, or at a checkpoint that was given."""
        origins = {key.name for key in self._given}
        if shown.origin not in origins:
            raise MonitorStateError(f"the log is {shown.origin!r}, want {sorted(origins)}")
        now = format_timestamp(self._clock())
        if self._start is None:
            nothing = Checkpoint(shown.origin, 0, merkle.EMPTY_ROOT)
            return State(b"", nothing, (), self._given, now)
        try:
            held = parse_checkpoint(open_note(self._start, self._given)[0].text)
        except NoteError as err:
            raise MonitorStateError(f"the checkpoint given: {err}") from err
        return State(self._start, held, (), self._given, now)

    def _founded(self, state: State, shown: Checkpoint) -> State | None:
        """Return the first state with the frontier of the checkpoint given, as the tiles have it.

        None when they do not lead to that checkpoint.
        """
        try:
            grown = tiles.grow_from(state.checkpoint.size, self._hashes(shown.size))
        except ProofError:
            return None
        if grown.root() != state.checkpoint.root:
            return None
        return replace(state, frontier=tuple(grown.frontier))

    def _conflict(self, state: State, shown: Checkpoint, note: bytes) -> Finding | None:
        """Return what the last checkpoint and the one shown say together, None when they may."""
        last = state.checkpoint
        if shown.size == last.size and shown.root != last.root:
            text = f"two roots are signed for size {last.size}"
            return self._proved("split-view", text, state, note)
        if shown.size >= last.size:
            return None
        text = f"the log shows {shown.size} entries, and had signed for {last.size}"
        read = self._hashes(last.size)
        try:
            whole, part = (tiles.range_root(0, size, read) for size in (last.size, shown.size))
        except (SourceError, ProofError):
            if self._state is None:  # so the log was never seen to publish that many
                text = (
                    f"the checkpoint to start from is of {last.size} entries, and the log shows "
                    f"{shown.size}: if it was signed a moment ago it may not be published yet, and a "
                    "later look finds it; else the log was set back, and has the others no more"
                )
            else:
                text += ", which it has no more"
            return self._proved("rolled-back", text, state, note)
        if whole != last.root:
            return self._proved("rolled-back", f"{text}, and now has others", state, note)
        if part != shown.root:
            return self._proved("inconsistent", f"{text}, which do not continue it", state, note)
        # One of several services behind one address can be a second behind the others.
        return Finding("behind", f"{text}, which it still has")

    def _why_not(self, state: State, shown: Checkpoint, note: bytes) -> Finding:
        """Tell apart a log that signed two histories from one that serves damaged files.

        The tiles are asked: if they lead to the new root and not to the old one, then what was
        signed is inconsistent, whatever the entries are.
        """
        last = state.checkpoint
        read = self._hashes(shown.size)
        try:
            if tiles.range_root(0, shown.size, read) != shown.root:
                return Finding(
                    "tile", f"entries and tiles do not lead to the root signed for {shown.size}"
                )
            old = tiles.range_root(0, last.size, read) if last.size else merkle.EMPTY_ROOT
        except ProofError as err:
            return Finding("tile", str(err))
        if old != last.root:
            text = f"the log of {shown.size} entries does not continue the one of {last.size}"
            return self._proved("inconsistent", text, state, note)
        return Finding("entry", f"entries from {last.size} on are not those of the signed tree")

    def _proved(self, kind: Kind, message: str, state: State, note: bytes) -> Finding:
        """Write both signed checkpoints down, once for each pair."""
        evidence = {
            "version": 1,
            "kind": kind,
            "message": message,
            "origin": state.checkpoint.origin,
            "found": format_timestamp(self._clock()),
            "keys": [key.format() for key in state.keys],
            "held": state.note.decode(),
            "shown": note.decode(),
        }
        pair = sha256(state.note + b"\0" + note).hexdigest()[:16]
        path = self._directory / f"evidence-{kind}-{pair}.json"
        if not path.exists():
            write_durably(path, json.dumps(evidence, indent=2).encode() + b"\n")
        return Finding(kind, message, path)

    def _quorum(self, note: bytes) -> list[Finding]:
        if self._policy is None:
            return []
        try:
            names = self._policy.cosigners(parse_note(note))
            if not self._policy.met_by(list(names)):
                raise QuorumError(have=sorted(names), want=self._policy.quorum or "none")
        except NoteError as err:
            return [Finding("quorum", str(err))]
        return []

    def _staleness(self, state: State, note: bytes) -> list[Finding]:
        """Return whether the checkpoint is older than allowed: by its witnesses, or as seen here."""
        if self._stale_seconds is None:
            return []
        now = self._clock()
        try:
            cosigned = [*self._policy.cosigners(parse_note(note)).values()] if self._policy else []
        except NoteError:
            cosigned = []  # a wrong cosignature says no time; the quorum tells of it
        if cosigned:
            then, by = datetime.fromtimestamp(max(cosigned), UTC), "witnesses cosigned it"
        else:
            then, by = datetime.fromisoformat(state.grown), "it was first seen"
        age = (now - then).total_seconds()
        if age <= self._stale_seconds:
            return []
        return [Finding("stale", f"{by} {math.floor(age):,} s ago, want {self._stale_seconds:g}")]

    def _read(self, state: State, shown: Checkpoint) -> "_Read":
        """Read the entries after the last checkpoint, a bundle at a time."""
        first = state.checkpoint.size
        found = _Read(list(state.frontier), state.keys)
        for position in range(first // TILE_WIDTH, -(-shown.size // TILE_WIDTH)):
            start = position * TILE_WIDTH
            width = min(TILE_WIDTH, shown.size - start)
            path = bundle_path(position, width)
            try:
                entries = decode_bundle(self._resource(path, bundle_path(position)))
            except ProofError as err:
                raise _EntriesError(f"{path}: {err}") from err
            # In the place of a partial one that is gone the full one is read.
            if len(entries) not in (width, TILE_WIDTH):
                raise _EntriesError(f"{path} has {len(entries)} entries, want {width}")
            for index in range(max(first, start), start + width):
                found.take(index, entries[index - start])
            self._progress(start + width - first, shown.size - first)
        return found

    def _hashes(self, size: int) -> tiles.ReadHashes:
        """Return a reader of the hashes that the log publishes for a tree of this size."""

        def read(level: int, first: int, count: int) -> list[bytes]:
            position, offset = divmod(first, TILE_WIDTH)
            width = min(TILE_WIDTH, (size >> (tiles.TILE_HEIGHT * level)) - position * TILE_WIDTH)
            path = tile_path(level, position, width)
            hashes = split_hashes(self._resource(path, tile_path(level, position)))
            return hashes[offset : offset + count]

        return read

    def _resource(self, path: str, full: str) -> bytes:
        """Return a resource; a partial one that is gone is the beginning of the full one.

        Raises SourceError, ProofError when it is larger than any can be.
        """
        content = self._source.get(path)
        if content is None and full != path:
            content = self._source.get(full)
        if content is None:
            raise SourceError(f"the log does not publish {path}")
        if len(content) > MAX_RESOURCE_BYTES:
            raise ProofError(f"{path} has more than {MAX_RESOURCE_BYTES:,} bytes")
        return content

    def _read_state(self) -> State | None:
        path = self._directory / STATE
        try:
            told = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as err:
            raise MonitorStateError(f"{path} cannot be read: {err}") from err
        try:
            note = told["note"].encode()
            checkpoint = parse_checkpoint(parse_note(note).text)
            frontier = tuple(decode_base64(each) for each in told["frontier"])
            state = State(
                note,
                checkpoint,
                frontier,
                tuple(VerifierKey.parse(each) for each in told["keys"]),
                told["grown"],
            )
        except (NoteError, KeyError, TypeError, AttributeError) as err:
            raise MonitorStateError(f"{path} is not a monitor's state: {err}") from err
        if merkle.frontier_root(frontier) != checkpoint.root:
            raise MonitorStateError(f"{path} is damaged: its frontier does not lead to its root")
        if self._given and checkpoint.origin not in {key.name for key in self._given}:
            raise MonitorStateError(f"{path} is of the log {checkpoint.origin!r}")
        return state

    def _write_state(self, state: State) -> None:
        if state == self._state:
            return
        told = {
            "version": 1,
            "note": state.note.decode(),
            "frontier": [encode_base64(each) for each in state.frontier],
            "keys": [key.format() for key in state.keys],
            "grown": state.grown,
        }
        write_durably(self._directory / STATE, json.dumps(told, indent=2).encode() + b"\n")
        self._state = state


class _Read:
    """Entries hashed onto a frontier."""

    def __init__(self, frontier: list[bytes], keys: tuple[VerifierKey, ...]) -> None:
        self.frontier = frontier
        self.keys = keys
        self.faults: list[Finding] = []
        self._leaves = LeafScanner()

    def take(self, index: int, entry: bytes) -> None:
        """Take one entry in, follow a change of keys, and note what is no leaf."""
        merkle.extend(self.frontier, index, leaf_hash(entry))
        try:
            scanned = self._leaves.scan(entry)
            if scanned.type == _ROTATED:
                rotation = parse_rotation(scanned.leaf())
                if rotation.old in self.keys and rotation.new not in self.keys:
                    self.keys = (*self.keys, rotation.new)
        except (LeafError, NoteError) as err:
            if len(self.faults) < _MOST_FAULTS:
                self.faults.append(Finding("entry", f"entry {index}: {err}"))


def _signed_by(note: bytes, keys: Sequence[VerifierKey]) -> bool:
    try:
        open_note(note, keys)
    except NoteError:
        return False
    return True
