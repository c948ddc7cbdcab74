"""Following a log from outside, by nothing but what it publishes: checkpoints, tiles and entries.

A monitor keeps the last checkpoint it verified and the frontier of its tree. It reads every entry that
came after, hashes it onto its own frontier, and so finds out by itself whether the next checkpoint's
root is right and continues the last. What it finds that the log's operator cannot explain away (two
signed checkpoints that do not go together) it writes down with both notes, for others to verify.

Order of writes: evidence before anything else; the state only when all of it was verified. A crash
leaves the state of before, and the next step does the same again.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

from audit import merkle, tiles
from audit.checkpoint import Checkpoint, parse_checkpoint
from audit.errors import LeafError, NoteError, ProofError
from audit.leaf import format_timestamp
from audit.merkle import leaf_hash
from audit.monitor_memory import MonitorMemory, MonitorStateError, State
from audit.note import VerifierKey, open_note, parse_note
from audit.published_log import BundleError, PublishedLog, Source, SourceError
from audit.records import KEY_ROTATED
from audit.rotation import parse_rotation
from audit.scanned_leaf import LeafScanner
from audit.trust import TrustPolicy

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
        self._published = PublishedLog(source)
        self._clock = clock
        self._policy = policy
        self._given = (*keys, *(log.key for log in policy.logs)) if policy else tuple(keys)
        self._start = start
        self._stale_seconds = stale_seconds
        self._progress = progress
        self._memory = MonitorMemory(directory, self._given)
        if self._memory.state is None and not self._given:
            raise MonitorStateError(
                "whose log it is must come from you: give its verifier key, or a policy"
            )

    @property
    def state(self) -> State | None:
        """What is remembered; None before the first look."""
        return self._memory.state

    def look(self) -> Observation:
        """Read the log's newest checkpoint and verify everything up to it.

        Raises SourceError, also when what the log shows is no checkpoint at all, as a proxy's page of
        an error, MonitorStateError, OSError when the state cannot be written.
        """
        note = self._published.checkpoint()
        try:
            shown = parse_checkpoint(parse_note(note).text)
        except NoteError as err:
            raise SourceError(f"what the log shows is no checkpoint: {err}") from err
        try:
            return self._compare(shown, note)
        except BundleError as err:
            state = self.state or self._first_state(shown)
            return self._told(state, shown, Finding("entry", str(err)))

    def _compare(self, shown: Checkpoint, note: bytes) -> Observation:
        """Verify everything up to the checkpoint shown. Raises BundleError, and as ``look``."""
        state = self.state or self._first_state(shown)
        founded: State | None = state
        if self.state is None and 0 < state.checkpoint.size <= shown.size:
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
        self._memory.keep(state)
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
            grown = tiles.grow_from(state.checkpoint.size, self._published.hashes(shown.size))
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
        read = self._published.hashes(last.size)
        try:
            whole, part = (tiles.range_root(0, size, read) for size in (last.size, shown.size))
        except (SourceError, ProofError):
            if self.state is None:  # so the log was never seen to publish that many
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
        read = self._published.hashes(shown.size)
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
        """Write both signed checkpoints down."""
        found = format_timestamp(self._clock())
        path = self._memory.write_evidence(kind, message, held=state, shown=note, found=found)
        return Finding(kind, message, path)

    def _quorum(self, note: bytes) -> list[Finding]:
        if self._policy is None:
            return []
        try:
            self._policy.check_met(list(self._policy.cosigners(parse_note(note))))
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
        """Read the entries after the last checkpoint."""
        found = _Read(list(state.frontier), state.keys)
        for index, entry in self._published.entries(
            state.checkpoint.size, shown.size, self._progress
        ):
            found.take(index, entry)
        return found


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
