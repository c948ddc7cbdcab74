"""What goes into a decision's evidence pack, from the log and from what the service knows."""

from collections.abc import Mapping
from pathlib import Path

import orjson

from app.domain import Caller, Role
from app.keeping_errors import CheckpointConflictError, HeldCheckpointError, NotCoveredError
from app.reading import check_visible
from app.served import ServedModel
from app.timestamps import StoredTimestamp, first_timestamp_after
from audit.checkpoint import unverified_checkpoint
from audit.errors import LogRolledBackError, NoteError
from audit.evidence import StampedCheckpoint, Surroundings, build_pack
from audit.leaf import Leaf, parse_leaf
from audit.rare import RareEntries
from audit.reader import LogReader
from audit.records import KEY_ROTATED


class EvidenceMaker:
    """Makes evidence packs of one log's decisions."""

    def __init__(
        self,
        log: LogReader,
        rare: RareEntries,
        served: Mapping[str, ServedModel],
        *,
        trust_policy: Path | None,
        timestamp_roots: Path | None,
    ) -> None:
        self._log = log
        self._rare = rare
        self._served = served
        self._trust_policy = trust_policy
        self._timestamp_roots = timestamp_roots

    def pack(
        self,
        decision_id: str,
        *,
        note: bytes,
        reader: Caller,
        disclose: bool,
        held: bytes | None = None,
    ) -> bytes:
        """Return the pack under the checkpoint ``note``; ``held`` is one that the reader kept.

        A key with the role caller gets it without the keys: it has its own answer already. Raises
        UnknownDecisionError, NotCoveredError, CheckpointConflictError, HeldCheckpointError.
        """
        log = self._log
        check_visible(log, decision_id, reader=reader)
        index = log.receipt(decision_id).index
        erased_by = log.erasure_of(index)
        size = unverified_checkpoint(note, origin=log.origin).size
        if max(index, -1 if erased_by is None else erased_by) >= size:
            raise NotCoveredError
        leaf = parse_leaf(log.entry(index).leaf)
        try:
            return build_pack(
                log,
                decision_id,
                note=note,
                surroundings=self._surroundings(leaf, index),
                disclose=disclose and reader.role is not Role.CALLER,
                held=held,
            )
        except LogRolledBackError as err:
            raise CheckpointConflictError(str(err)) from err
        except NoteError as err:
            raise HeldCheckpointError(str(err)) from err

    def _surroundings(self, leaf: Leaf, index: int) -> Surroundings:
        if self._trust_policy is None:
            policy = f"log {self._log.verifier_key}\nquorum none\n".encode()
        else:
            policy = self._trust_policy.read_bytes()
        stamped = None
        if self._timestamp_roots is not None:
            stamped = self._stamped(first_timestamp_after(self._log, self._rare, index))
        rotations = [
            self._log.entry(at).leaf
            for at, entry in self._rare.entries()
            if entry.type == KEY_ROTATED
        ]
        return Surroundings(policy, rotations, stamped, self._documents(leaf))

    def _stamped(self, found: StoredTimestamp | None) -> StampedCheckpoint | None:
        if found is None or self._timestamp_roots is None:
            return None
        return StampedCheckpoint(
            found.checkpoint, found.response, self._timestamp_roots.read_bytes()
        )

    def _documents(self, leaf: Leaf) -> dict[str, bytes]:
        """Return card and policy, where what is served is still what was used."""
        files: dict[str, bytes] = {}
        for served in self._served.values():
            if served.facts.get("model") == leaf.facts.get("model"):
                card = served.bundle.card.model_dump(mode="json")
                files["card.json"] = orjson.dumps(card, option=orjson.OPT_SORT_KEYS)
            if served.facts.get("policy") == leaf.facts.get("policy"):
                files["policy.json"] = served.policy.canonical()
        return files
