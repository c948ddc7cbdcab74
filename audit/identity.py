"""Whose log is being checked: its name, the keys that may sign for it, and the keys beside it."""

from collections.abc import Sequence
from pathlib import Path

from audit.errors import ForeignKeyError, LeafError, NoteError
from audit.faults import Faults
from audit.keys import NAMES, read_keys, staged_vkey
from audit.leaf import Facts, parse_leaf
from audit.master_key import Command
from audit.note import VerifierKey
from audit.records import GENESIS
from audit.rotation import Rotation, parse_rotation, rotation_id
from audit.scan import Scanner


class LogIdentity:
    """What a log's first entry and its changes of keys say, as far as they can be read."""

    def __init__(self, scanner: Scanner, faults: Faults, given: Sequence[VerifierKey]) -> None:
        """``given`` are the keys to trust; without any, the one that the first entry names."""
        self.origin = ""
        """Empty when the first entry cannot be read."""
        self.trusted = list(given)
        self.key_source = "given" if given else "genesis"
        self._scanner = scanner
        self._faults = faults
        self._facts: Facts = {}
        self._vkey_before: str | None = None
        """The key that handed over to the newest."""
        self._read_genesis()

    def owns_keys(self, directory: Path, master_command: Command) -> bool:
        """Return whether the keys in ``directory`` are this log's, reporting which are not.

        Between the entry that hands over to a new key and the files that change places, the old
        key is there and the new one beside it: opening the log goes on from there. Raises
        KeyFileError.
        """
        try:
            keys = read_keys(directory, origin=self.origin, master_command=master_command)
        except ForeignKeyError:
            # A damaged first entry may name another log than the one that the keys are of.
            self._faults.add(None, "key-file", "the signing key in the key files is of another log")
            return False
        named = keys.named()
        if named["vkey"] == self._vkey_before:
            named["vkey"] = staged_vkey(directory, origin=self.origin) or named["vkey"]
        strange = [NAMES[name] for name, got in named.items() if self._facts.get(name) != got]
        for what in strange:
            self._faults.add(None, "key-file", f"the {what} in the key files is not this log's")
        return not strange

    def _read_genesis(self) -> None:
        """Learn the log's name and, when none was given, its key from its first entry."""
        rows = self._scanner.rows("SELECT leaf FROM entry WHERE seq = 0")
        try:
            origin, key, facts = _genesis(rows[0][0] if rows else None)
        except (LeafError, NoteError) as err:
            self._faults.add(0, "genesis", f"the log's first entry is not a genesis entry: {err}")
            return
        self.origin = origin
        self._facts = facts
        if not self.trusted:
            self.trusted = [key]
        self._trust_across(self._rotations(key))

    def _trust_across(self, rotations: Sequence[Rotation]) -> None:
        """Trust each key that a trusted one has handed over to, or has taken over from.

        What the older one signed is compared with the tree like everything else.
        """
        for rotation in rotations:
            if rotation.old in self.trusted and rotation.new not in self.trusted:
                self.trusted.append(rotation.new)
        for rotation in reversed(rotations):
            if rotation.new in self.trusted and rotation.old not in self.trusted:
                self.trusted.append(rotation.old)

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
            self._vkey_before = key.format()
            key = rotation.new
            self._facts = {**self._facts, "vkey": key.format()}
            found.append(rotation)


def _genesis(content: object) -> tuple[str, VerifierKey, Facts]:
    """Return the origin and key that the log's first entry names, and all its facts."""
    if not isinstance(content, bytes):
        raise LeafError("it cannot be read")
    genesis = parse_leaf(content)
    origin, vkey = genesis.facts.get("origin"), genesis.facts.get("vkey")
    if genesis.type != GENESIS or not isinstance(origin, str) or not isinstance(vkey, str):
        raise LeafError("it does not name a log and its key")
    key = VerifierKey.parse(vkey)
    if key.name != origin:
        raise LeafError("the log's name and its key's name are not the same")
    return origin, key, genesis.facts
