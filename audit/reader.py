"""Reading the log: records, roots, checkpoints and proofs. Safe from any thread."""

import hmac
from pathlib import Path

from audit import merkle, tiles
from audit.checkpoint import Checkpoint, open_checkpoint, unverified_checkpoint
from audit.digests import body_digest, idempotency_digest, subject_handle
from audit.envelope import (
    PayloadDigests,
    RecordKey,
    open_envelope,
    unwrap_record_key,
    unwrap_subject_key,
)
from audit.errors import (
    DamagedLogError,
    EnvelopeError,
    KeyFileError,
    LeafError,
    NoteError,
    ProofError,
    UnknownRecordError,
)
from audit.keys import LogKeys, read_keys
from audit.layout import KEYS_DIRECTORY
from audit.leaf import Leaf, parse_leaf
from audit.master_key import FROM_FILE, Command
from audit.note import VerifierKey
from audit.proof import LogProof
from audit.records import Idempotency, IdempotencyMatch, Receipt, StoredRecord
from audit.rotation import Rotation, parse_rotation, rotation_id
from audit.row_reader import RowReader
from audit.rows import EntryRow
from audit.sqlite import SqliteStore
from audit.store import Store


class LogReader:
    """A log open for reading. With its keys, payloads can be read too."""

    def __init__(self, directory: Path, *, origin: str, keys: LogKeys | None, store: Store) -> None:
        self.directory = directory
        self.origin = origin
        self._keys = keys
        self.store = store
        self._rows = RowReader(store.connect())

    @classmethod
    def open_readonly(
        cls,
        directory: Path,
        *,
        origin: str,
        with_keys: bool = True,
        store: Store | None = None,
        master_command: Command = FROM_FILE,
    ) -> "LogReader":
        """Open a log beside its writer. ``with_keys=False`` needs no secret and reads no payload.

        ``directory`` holds the keys, and the rows too unless another ``store`` does; ``master_command``
        gives the master key, if no file does. Raises LogMissingError, SchemaVersionError, KeyFileError.
        """
        keys = None
        if with_keys:
            keys = read_keys(
                directory / KEYS_DIRECTORY, origin=origin, master_command=master_command
            )
        return cls(directory, origin=origin, keys=keys, store=store or SqliteStore(directory))

    @property
    def size(self) -> int:
        """Return the number of durable entries."""
        return self._rows.head().size

    def catch_up(self) -> int:
        """Return the number of durable entries, whoever appended them."""
        return self.size

    @property
    def verifier_key(self) -> str:
        """Return the key that verifies this log's checkpoints (C2SP vkey): the newest it had.

        Its first entry names the first, and each entry of a change the next.
        """
        vkey = parse_leaf(self.entry(0).leaf).facts["vkey"]
        if not isinstance(vkey, str):
            raise DamagedLogError("the first entry names no verifier key")
        for rotation in self.rotations():
            if rotation.old.format() != vkey:
                raise DamagedLogError("the log's changes of keys do not follow each other")
            vkey = rotation.new.format()
        return vkey

    def rotations(self) -> list[Rotation]:
        """Return the changes of the log's signing key, in order. Raises DamagedLogError."""
        found: list[Rotation] = []
        while (row := self._rows.find_entry(rotation_id(len(found) + 1))) is not None:
            try:
                found.append(parse_rotation(_leaf(row)))
            except NoteError as err:
                raise DamagedLogError(f"entry {row.seq}: {err}") from err
        return found

    def root(self, size: int | None = None) -> bytes:
        """Return the root over the first ``size`` entries, all of them by default."""
        head = self._rows.head()
        if size is None or size == head.size:
            return head.root
        if not 0 <= size < head.size:
            raise ProofError(f"size is {size}, want 0 to {head.size}")
        return tiles.range_root(0, size, self._rows.hashes)

    def verifier_keys(self) -> list[VerifierKey]:
        """Return every key that the log ever signed with: what is held may be older than the last."""
        earlier = [rotation.old for rotation in self.rotations()]
        return [*earlier, VerifierKey.parse(self.verifier_key)]

    def entry(self, index: int) -> EntryRow:
        """Return one stored entry. Raises UnknownRecordError."""
        row = self._rows.entry(index)
        if row is None:
            raise UnknownRecordError(f"the log has no entry {index}")
        return row

    def entries(self, start: int, stop: int) -> list[EntryRow]:
        """Return the stored entries ``start <= index < stop``, as far as there are any."""
        return self._rows.entries(start, stop)

    def read(self, record_id: str) -> StoredRecord:
        """Return a record by id.

        Raises UnknownRecordError, KeyFileError without keys, DamagedLogError when what is stored
        is not what the leaf commits to.
        """
        return self._record(self._found(record_id))

    def read_index(self, index: int) -> StoredRecord:
        """Return a record by index; as ``read``."""
        return self._record(self.entry(index))

    def receipt(self, record_id: str) -> Receipt:
        """Return the receipt of a record already stored."""
        row = self._found(record_id)
        return Receipt(self.origin, row.seq, row.leaf_hash)

    def find_idempotent(self, request: Idempotency) -> IdempotencyMatch | None:
        """Return the earlier record under the same scope and key, if any.

        Raises KeyFileError without keys.
        """
        keys = self._need_keys()
        index = self._rows.find_idempotency(idempotency_digest(keys.digest, request))
        if index is None:
            return None
        row = self.entry(index)
        leaf = _leaf(row)
        if leaf.idempotency is None:
            raise DamagedLogError(f"entry {index} has an idempotency key its leaf does not know")
        try:
            salt = self.record_key(index).salt
        except DamagedLogError:
            if self._rows.erasure_of(index) is None:
                raise
            return IdempotencyMatch(index, row.id, same_request=None)
        body = body_digest(salt, request.fingerprint)
        same = hmac.compare_digest(body, leaf.idempotency.body)
        return IdempotencyMatch(index, row.id, same_request=same)

    def inclusion_proof(self, index: int, size: int) -> tuple[bytes, ...]:
        """Return the proof that entry ``index`` is in the tree of the first ``size`` entries."""
        self._check_size(size)
        return merkle.inclusion_proof(index, size, self._range_root)

    def consistency_proof(self, first: int, second: int) -> tuple[bytes, ...]:
        """Return the proof that the first ``second`` entries begin with the first ``first``."""
        self._check_size(second)
        return merkle.consistency_proof(first, second, self._range_root)

    def tile(self, level: int, position: int, *, width: int = tiles.TILE_WIDTH) -> bytes:
        """Return the first ``width`` hashes of a tile: C2SP tlog-tiles.

        Raises ProofError for a tile the log does not hold yet.
        """
        tiles.tile_path(level, position, width)  # refuses numbers that name no tile
        first = position * tiles.TILE_WIDTH
        self._check_size((first + width) << (tiles.TILE_HEIGHT * level))
        return b"".join(self._rows.hashes(level, first, width))

    def bundle(self, position: int, *, width: int = tiles.TILE_WIDTH) -> bytes:
        """Return the first ``width`` leaves of an entry bundle; as ``tile``."""
        tiles.bundle_path(position, width)
        first = position * tiles.TILE_WIDTH
        self._check_size(first + width)
        return tiles.encode_bundle([row.leaf for row in self._rows.entries(first, first + width)])

    def stored_checkpoint(self) -> bytes | None:
        """Return the newest signed checkpoint as stored."""
        found = self._rows.last_checkpoint()
        return None if found is None else found[1]

    def proof(self, record_id: str) -> LogProof:
        """Return the tlog-proof of a record under the newest stored checkpoint.

        The proof is made for the checkpoint's own size, whatever has been appended since. Raises
        UnknownRecordError, ProofError when no checkpoint covers the entry yet.
        """
        note = self.stored_checkpoint()
        if note is None:
            raise ProofError("no checkpoint is signed yet")
        return self._proof_under(note, record_id)

    def record_key(self, index: int) -> RecordKey:
        """Return one record's key and salt: what a disclosure to an entitled reader holds.

        Raises KeyFileError without keys, DamagedLogError when rows are missing or do not open.
        """
        keys = self._need_keys()
        row = self._rows.record_key(index)
        subject = None if row is None else self._rows.subject(row[0])
        if row is None or subject is None:
            raise DamagedLogError(f"the key of entry {index} is missing and was not erased")
        try:
            subject_key = unwrap_subject_key(
                keys.master, subject.wrapped, subject=subject.subject, handle=subject.handle
            )
            return unwrap_record_key(row[1], subject_key=subject_key)
        except EnvelopeError as err:
            raise DamagedLogError(f"entry {index}: {err}") from err

    def envelope(self, index: int) -> bytes | None:
        """Return an entry's encrypted payload; None when it has none, or has it no more."""
        return self._rows.envelope(index)

    def erasure_of(self, index: int) -> int | None:
        """Return the index of the entry that erased this one, None while nobody did."""
        return self._rows.erasure_of(index)

    def subject_number(self, index: int) -> int | None:
        """Return the number of an entry's subject: equal for two entries of one, and no name.

        None for an entry without a payload, or an erased one.
        """
        found = self._rows.record_key(index)
        return None if found is None else found[0]

    def records_of(self, subject: str) -> list[int]:
        """Return the indexes of a subject's records that are not erased. Raises KeyFileError."""
        handle = subject_handle(self._need_keys().digest, subject)
        found = self._rows.find_subjects([handle]).get(handle)
        return [] if found is None else self._rows.records_of(found.subject)

    def close(self) -> None:
        """Close the connection."""
        self._rows.close()

    def _proof_under(self, note: bytes, record_id: str) -> LogProof:
        row = self._found(record_id)
        checkpoint = self._open_checkpoint(note)
        if row.seq >= checkpoint.size:
            raise ProofError(
                f"entry {row.seq} is not covered yet: the checkpoint has size {checkpoint.size}"
            )
        hashes = merkle.inclusion_proof(row.seq, checkpoint.size, self._range_root)
        return LogProof(row.seq, hashes, note)

    def _open_checkpoint(self, note: bytes) -> Checkpoint:
        keys = self._keys
        if keys is not None:
            trusted = [key.verifier for key in keys.signers]
            return open_checkpoint(note, origin=self.origin, trusted=trusted)
        return unverified_checkpoint(note, origin=self.origin)

    def _record(self, row: EntryRow) -> StoredRecord:
        leaf = _leaf(row)
        payload: bytes | None = None
        erased = False
        if leaf.payload is not None:
            try:
                payload = self._payload(row, leaf.payload)
            except DamagedLogError:
                # Looked at last: another process may erase it between two of the looks before.
                if self._rows.erasure_of(row.seq) is None:
                    raise
                erased = True
        return StoredRecord(
            index=row.seq,
            id=row.id,
            type=leaf.type,
            timestamp=leaf.timestamp,
            facts=leaf.facts,
            leaf=row.leaf,
            leaf_hash=row.leaf_hash,
            payload=payload,
            erased=erased,
        )

    def _payload(self, row: EntryRow, commitments: PayloadDigests) -> bytes:
        envelope = self._rows.envelope(row.seq)
        if envelope is None:
            raise DamagedLogError(f"the payload of entry {row.seq} is missing and was not erased")
        try:
            return open_envelope(
                envelope,
                record_id=row.id,
                record_key=self.record_key(row.seq),
                commitments=commitments,
            )
        except EnvelopeError as err:
            raise DamagedLogError(f"entry {row.seq}: {err}") from err

    def _found(self, record_id: str) -> EntryRow:
        row = self._rows.find_entry(record_id)
        if row is None:
            raise UnknownRecordError(f"no record has the id {record_id}")
        return row

    def _range_root(self, start: int, stop: int) -> bytes:
        return tiles.range_root(start, stop, self._rows.hashes)

    def _check_size(self, size: int) -> None:
        have = self._rows.head().size
        if size > have:
            raise ProofError(f"size is {size}, the log has {have} entries")

    def _need_keys(self) -> LogKeys:
        if self._keys is None:
            raise KeyFileError("the log was opened without its keys, payloads cannot be read")
        return self._keys


def _leaf(row: EntryRow) -> Leaf:
    if merkle.leaf_hash(row.leaf) != row.leaf_hash:
        raise DamagedLogError(f"the leaf of entry {row.seq} does not have its stored hash")
    try:
        leaf = parse_leaf(row.leaf)
    except LeafError as err:
        raise DamagedLogError(f"entry {row.seq}: {err}") from err
    if leaf.id != row.id:
        raise DamagedLogError(f"entry {row.seq} is stored under another id than its leaf's")
    return leaf
