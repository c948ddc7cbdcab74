"""What a monitor keeps: the last checkpoint it verified, and evidence that it found."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from audit import merkle
from audit.checkpoint import Checkpoint, parse_checkpoint
from audit.errors import AuditError, NoteError
from audit.files import write_durably
from audit.note import VerifierKey, decode_base64, encode_base64, parse_note

STATE = "monitor.json"


class MonitorStateError(AuditError):
    """The monitor's own state is missing where it is needed, damaged, or of another log."""


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


class MonitorMemory:
    """A monitor's directory. One process for each."""

    def __init__(self, directory: Path, given: Sequence[VerifierKey]) -> None:
        """``given`` are the keys that must sign for the log kept there. Raises MonitorStateError."""
        self._directory = directory
        self.state = self._read()
        """What is remembered; None before the first look."""
        if self.state is None or not given:
            return
        origin = self.state.checkpoint.origin
        if origin not in {key.name for key in given}:
            raise MonitorStateError(f"{directory / STATE} is of the log {origin!r}")

    def keep(self, state: State) -> None:
        """Remember this from now on, durably. Raises OSError."""
        if state == self.state:
            return
        told = {
            "version": 1,
            "note": state.note.decode(),
            "frontier": [encode_base64(each) for each in state.frontier],
            "keys": [key.format() for key in state.keys],
            "grown": state.grown,
        }
        write_durably(self._directory / STATE, json.dumps(told, indent=2).encode() + b"\n")
        self.state = state

    def write_evidence(
        self, kind: str, message: str, *, held: State, shown: bytes, found: str
    ) -> Path:
        """Write down two signed checkpoints that do not go together, once for each pair.

        ``found`` is when. Raises OSError.
        """
        evidence = {
            "version": 1,
            "kind": kind,
            "message": message,
            "origin": held.checkpoint.origin,
            "found": found,
            "keys": [key.format() for key in held.keys],
            "held": held.note.decode(),
            "shown": shown.decode(),
        }
        pair = sha256(held.note + b"\0" + shown).hexdigest()[:16]
        path = self._directory / f"evidence-{kind}-{pair}.json"
        if not path.exists():
            write_durably(path, json.dumps(evidence, indent=2).encode() + b"\n")
        return path

    def _read(self) -> State | None:
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
            state = State(
                note,
                checkpoint,
                tuple(decode_base64(each) for each in told["frontier"]),
                tuple(VerifierKey.parse(each) for each in told["keys"]),
                told["grown"],
            )
        except (NoteError, KeyError, TypeError, AttributeError) as err:
            raise MonitorStateError(f"{path} is not a monitor's state: {err}") from err
        if merkle.frontier_root(state.frontier) != checkpoint.root:
            raise MonitorStateError(f"{path} is damaged: its frontier does not lead to its root")
        return state
