"""Appending: one group, one transaction, durable before anyone hears of it.

Order of writes for a group, and what a crash in between means:

1. Leaf, envelope and hashes are computed on a copy of the tree. Crash: nothing happened.
2. One transaction writes entries, payloads, keys, tiles and the head. Crash before the end of
   COMMIT: SQLite drops all of it or keeps all of it; nobody was told, either is right.
3. After COMMIT the copy becomes the tree, and receipts are returned. Crash: the entries are there.

Order of writes for a checkpoint:

1. The root is recomputed from the stored leaves, not from the hashes kept while appending.
2. The signed note is stored in the database. Crash before: the signature was never seen.
3. The note is copied to a file outside the database. Crash before: the file is one behind, and is
   brought up to date when the log is opened.
4. Only then is it returned, hence published.

On opening, the file is the memory that a restored backup of the database does not have.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from audit import tiles
from audit.digests import idempotency_digest, subject_handle
from audit.errors import (
    DamagedLogError,
    DuplicateIdempotencyError,
    DuplicateIdError,
    KeyFileError,
    LogBrokenError,
    LogMissingError,
    LogRolledBackError,
    LogStateError,
    ProofError,
    RecordRejectedError,
)
from audit.files import WriterLock
from audit.group import GroupBuilder, PreparedGroup
from audit.keys import LogKeys, create_keys, read_keys
from audit.layout import CHECKPOINT_FILE, DATABASE_FILE, KEYS_DIRECTORY, LOCK_FILE
from audit.leaf import Facts, format_timestamp, parse_leaf
from audit.note import encode_base64
from audit.proof import LogProof
from audit.reader import LogReader
from audit.records import (
    ERASURE,
    GENESIS,
    Erasure,
    NewRecord,
    Receipt,
    check_ids,
    check_records,
)
from audit.rows import Head, SubjectRow
from audit.signer import Signer
from audit.sqlite import ConstraintViolationError, Writer
from audit.tiles import GrowingTree

Clock = Callable[[], datetime]
_ERASED_PER_ENTRY = 40
"""Indexes in one erasure entry, so that its leaf stays below its limit."""


class Log(LogReader):
    """A log open for writing. Append from one thread; read, prove and sign from any."""

    def __init__(
        self,
        directory: Path,
        *,
        origin: str,
        clock: Clock,
        keys: LogKeys,
        writer: Writer,
        lock: WriterLock,
        vfs: str | None,
    ) -> None:
        """Use ``Log.open``."""
        super().__init__(directory, origin=origin, keys=keys, vfs=vfs)
        self._clock = clock
        self._secrets = keys
        self._writer = writer
        self._lock = lock
        self._groups = GroupBuilder(origin=origin, keys=keys, rows=self._rows)
        self._signer = Signer(
            directory / CHECKPOINT_FILE, origin=origin, key=keys.signing, rows=self._rows
        )
        self._write_lock = threading.Lock()
        self._checkpoint_lock = threading.Lock()
        self._broken: str | None = None
        self._closed = False
        self._tree = GrowingTree()

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        origin: str,
        clock: Clock,
        create: bool = False,
        facts: Facts | None = None,
        vfs: str | None = None,
    ) -> "Log":
        """Open the one writer of a log; with ``create``, make a log where there is none.

        ``origin`` names the log for good. ``facts`` go into the genesis entry of a new log. ``vfs``
        names another SQLite file layer. Raises LogMissingError, LogLockedError, KeyFileError,
        SchemaVersionError, LogRolledBackError, DamagedLogError.
        """
        database, keys_directory = directory / DATABASE_FILE, directory / KEYS_DIRECTORY
        if create:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        elif not database.exists():
            raise LogMissingError(f"{database} does not exist: there is no log here")
        lock = WriterLock(directory / LOCK_FILE)
        writer: Writer | None = None
        log: Log | None = None
        try:
            if not database.exists():
                _check_nothing_signed(directory)
                create_keys(keys_directory, origin=origin)
            keys = read_keys(keys_directory, origin=origin)
            writer = Writer(database, vfs=vfs)
            writer.prepare_schema()
            log = cls(
                directory,
                origin=origin,
                clock=clock,
                keys=keys,
                writer=writer,
                lock=lock,
                vfs=vfs,
            )
            log._tree = log._load_tree()
            if not log.size:
                log._append_genesis(facts or {})
            log._check_keys()
            log._signer.recall(log._tree)
            log.checkpoint()
        except BaseException:
            # The caller gets the first error; what fails while backing out would only hide it.
            with suppress(LogStateError):
                if log is not None:
                    log.close()
            with suppress(LogStateError):
                if writer is not None:
                    writer.close()
            lock.release()
            raise
        return log

    @property
    def size(self) -> int:
        """Return the number of durable entries."""
        return self._tree.size

    @property
    def broken(self) -> str | None:
        """Return why the log refuses to append, or None while it does not."""
        return self._broken

    def append(self, records: Sequence[NewRecord]) -> list[Receipt]:
        """Append records in order, all or none; they are durable when this returns.

        Raises RecordRejectedError (and its kinds) naming the record at fault, LogFullError when
        there is no room; the log can be used on. Raises LogBrokenError when a write failed in a way
        that leaves the disk's state unknown: then, and from then on, until reopened.
        """
        check_records(records)
        with self._write_lock:
            self._check_usable()
            return self._commit(self._prepare(records), records)

    def erase_subject(
        self, subject: str, *, basis: str, actor: str, new_id: Callable[[], str]
    ) -> Erasure:
        """Erase every payload of a subject, with its keys and salts, and record that it was done.

        ``basis`` (the ground in law) and ``actor`` (an opaque name) go into the public leaf.
        Leaves stay, so all proofs still verify. Raises as ``append``.
        """
        row = self._rows.find_subject(subject_handle(self._secrets.digest, subject))
        indexes = [] if row is None else self._rows.records_of(row.subject)
        return self._erase(indexes, basis=basis, actor=actor, new_id=new_id)

    def erase_records(
        self, record_ids: Sequence[str], *, basis: str, actor: str, new_id: Callable[[], str]
    ) -> Erasure:
        """Erase the payloads of single records; as ``erase_subject``.

        Records that never had a payload, or were erased before, are passed over. Raises
        UnknownRecordError.
        """
        indexes = sorted({self.receipt(record_id).index for record_id in record_ids})
        present = [index for index in indexes if self._rows.record_key(index) is not None]
        return self._erase(present, basis=basis, actor=actor, new_id=new_id)

    def purge(self) -> bool:
        """Remove erased bytes from the write-ahead log. False while another process reads it."""
        with self._write_lock:
            self._check_usable()
            return self._writer.purge()

    def checkpoint(self) -> bytes:
        """Return a signed checkpoint of all entries, stored before it is returned.

        Raises DamagedLogError, and never signs, when the stored leaves do not lead to the root.
        """
        with self._checkpoint_lock:
            self._check_usable()
            try:
                return self._signer.sign(self._tree, self._store_checkpoint)
            except LogBrokenError as err:
                self._broken = str(err)
                raise

    def proof(self, record_id: str) -> LogProof:
        """Return the tlog-proof of a record, under the last checkpoint or, if need be, a new one.

        Raises UnknownRecordError.
        """
        receipt = self.receipt(record_id)
        newest = self._signer.newest()
        covered = newest is not None and receipt.index < newest[0]
        note = newest[1] if newest is not None and covered else self.checkpoint()
        return self._proof_under(note, record_id)

    def close(self) -> None:
        """Close connections and give the writer's lock back."""
        if self._closed:
            return
        self._closed = True
        try:
            super().close()
            self._writer.close()
        finally:
            self._lock.release()

    def _erase(
        self, indexes: Sequence[int], *, basis: str, actor: str, new_id: Callable[[], str]
    ) -> Erasure:
        if not indexes:
            return Erasure((), (), purged=self.purge())
        records = []
        for start in range(0, len(indexes), _ERASED_PER_ENTRY):
            batch = list(indexes[start : start + _ERASED_PER_ENTRY])
            facts: Facts = {"of": batch, "basis": basis, "actor": actor}
            records.append(NewRecord(type=ERASURE, id=new_id(), facts=facts))
        check_ids(records)
        with self._write_lock:
            self._check_usable()
            group = self._prepare(records)
            subjects = [self._subject_of(index) for index in indexes]
            group.rows.erased = [
                (index, group.receipts[at // _ERASED_PER_ENTRY].index, subjects[at].subject)
                for at, index in enumerate(indexes)
            ]
            receipts = self._commit(group, records)
            self._groups.forget(subject.handle for subject in subjects)
            # Rows are overwritten in the file only when the WAL is copied into it, and stay
            # readable in the WAL until that is cut to nothing.
            purged = self._writer.purge()
        return Erasure(tuple(indexes), tuple(receipts), purged)

    def _subject_of(self, index: int) -> SubjectRow:
        key = self._rows.record_key(index)
        row = None if key is None else self._rows.subject(key[0])
        if row is None:
            raise DamagedLogError(f"the key of entry {index} is missing and was not erased")
        return row

    def _prepare(self, records: Sequence[NewRecord]) -> PreparedGroup:
        return self._groups.prepare(self._tree, records, timestamp=format_timestamp(self._clock()))

    def _store_checkpoint(self, size: int, note: bytes) -> None:
        with self._write_lock:
            self._writer.insert_checkpoint(size, note)

    def _commit(self, group: PreparedGroup, records: Sequence[NewRecord]) -> list[Receipt]:
        old, new = self._head(self._tree), self._head(group.tree)
        try:
            self._guarded(lambda: self._writer.commit(group.rows, old=old, new=new))
        except ConstraintViolationError as err:
            raise self._conflict(records, err) from err
        # Only now: had COMMIT failed, the old tree would still be the true one.
        self._tree = group.tree
        self._groups.committed(group)
        return group.receipts

    def _conflict(
        self, records: Sequence[NewRecord], cause: ConstraintViolationError
    ) -> RecordRejectedError | LogStateError:
        for position, record in enumerate(records):
            if self._rows.find_entry(record.id) is not None:
                return DuplicateIdError(position=position, record_id=record.id)
            request = record.idempotency
            if request is not None:
                digest = idempotency_digest(self._secrets.digest, request)
                index = self._rows.find_idempotency(digest)
                if index is not None:
                    return DuplicateIdempotencyError(
                        position=position, scope=request.scope, index=index
                    )
        return DamagedLogError(f"rows are in the way that no record explains: {cause}")

    def _guarded(self, write: Callable[[], None]) -> None:
        """Run a write; after a failure of unknown outcome, refuse all further ones."""
        try:
            write()
        except LogBrokenError as err:
            self._broken = str(err)
            raise

    def _check_usable(self) -> None:
        if self._closed:
            raise LogStateError("the log is closed")
        if self._broken is not None:
            raise LogBrokenError(f"an earlier write failed, reopen the log: {self._broken}")

    def _load_tree(self) -> GrowingTree:
        """Return the tree as stored, after checking that head, entries and tiles agree."""
        head = self._rows.head()
        try:
            tree = tiles.grow_from(head.size, self._rows.hashes)
        except ProofError as err:
            raise DamagedLogError(f"entries or tiles are missing: {err}; run verify") from err
        if self._head(tree) != head:
            raise DamagedLogError("the stored head does not fit the stored tiles; run verify")
        if self._rows.entry(head.size) is not None:
            raise DamagedLogError(f"there are entries beyond the head's size {head.size}")
        return tree

    def _append_genesis(self, facts: Facts) -> None:
        """Write entry 0, which says whose log this is and which keys belong to it."""
        keys = self._secrets
        record = NewRecord(
            type=GENESIS,
            id=GENESIS,
            facts={
                **facts,
                "origin": self.origin,
                "vkey": keys.signing.verifier.format(),
                "master_check": encode_base64(keys.master_check),
                "digest_check": encode_base64(keys.digest_check),
            },
        )
        with self._write_lock:
            self._commit(self._prepare([record]), [record])

    def _check_keys(self) -> None:
        """Refuse key files of another log, by what the genesis entry says."""
        facts = parse_leaf(self._entry(0).leaf).facts
        keys = self._secrets
        for name, got, what in (
            ("origin", self.origin, "origin"),
            ("vkey", keys.signing.verifier.format(), "signing key"),
            ("master_check", encode_base64(keys.master_check), "master key"),
            ("digest_check", encode_base64(keys.digest_check), "digest key"),
        ):
            if facts.get(name) != got:
                raise KeyFileError(f"the {what} is not this log's: restore the one made with it")

    @staticmethod
    def _head(tree: GrowingTree) -> Head:
        return Head(tree.size, b"".join(tree.frontier), tree.root())


def _check_nothing_signed(directory: Path) -> None:
    if (directory / CHECKPOINT_FILE).exists():
        raise LogRolledBackError(
            f"{directory / DATABASE_FILE} is gone, but this log has signed checkpoints: restore it"
        )
