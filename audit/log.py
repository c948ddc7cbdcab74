"""Appending: one group, one transaction, durable before anyone hears of it.

Order of writes for a group, and what a crash in between means:

1. Records are drafted: encrypted, digested, nearly a leaf. Crash: nothing happened.
2. Other writers are kept out, and what they appended is taken in. Crash: the same.
3. Drafts are numbered and hashed on a copy of the tree, and one transaction writes entries,
   payloads, keys, tiles and the head. Crash before the end of COMMIT: the database drops all of it
   or keeps all of it; nobody was told, either is right.
4. After COMMIT the copy becomes the tree, and receipts are returned. Crash: the entries are there.

Order of writes for a checkpoint:

1. Other signers are kept out, and what they signed is taken in, if it continues what was signed here.
   The root is recomputed from the stored leaves, not from the hashes kept while appending.
2. The signed note is stored in the database. Crash before: the signature was never seen.
3. The note is copied to a file outside the database. Crash before: the file is one behind, and is
   brought up to date when the log is opened.
4. Only then is it returned, hence published.

On opening, the file is the memory that a restored backup of the database does not have.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
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
from audit.group import Draft, GroupBuilder, PreparedGroup
from audit.keys import (
    LogKeys,
    create_keys,
    drop_retiring_key,
    promote_signing_key,
    read_keys,
    stage_signing_key,
)
from audit.layout import CHECKPOINT_FILE, KEYS_DIRECTORY
from audit.leaf import Facts, format_timestamp, parse_leaf
from audit.note import SigningKey, encode_base64
from audit.proof import LogProof
from audit.reader import LogReader
from audit.records import (
    ERASURE,
    GENESIS,
    KEY_ROTATED,
    Erasure,
    NewRecord,
    Receipt,
    check_ids,
    check_records,
)
from audit.rotation import rotation_facts, rotation_id
from audit.rows import Head, News, SubjectRow
from audit.signer import Signer
from audit.sqlite import SqliteStore
from audit.store import ConstraintViolationError, Store, Writer
from audit.tiles import GrowingTree

Clock = Callable[[], datetime]
Check = Callable[[Sequence[int]], None]
"""Hears the indexes of entries that are about to be erased; raises to forbid it."""
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
        store: Store,
        writer: Writer,
    ) -> None:
        """Use ``Log.open``."""
        super().__init__(directory, origin=origin, keys=keys, store=store)
        self._clock = clock
        self._secrets = keys
        self._writer = writer
        self._groups = GroupBuilder(origin=origin, keys=keys, rows=self._rows)
        self._signer = Signer(
            directory / CHECKPOINT_FILE, origin=origin, keys=keys.signers, rows=self._rows
        )
        self._write_lock = threading.Lock()
        self._checkpoint_lock = threading.Lock()
        self._broken: str | None = None
        self._closed = False
        self._tree = GrowingTree()
        self._erasures = 0
        """How many erasures this process has made: drafts begun before the last may hold its keys."""

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        origin: str,
        clock: Clock,
        create: bool = False,
        facts: Facts | None = None,
        store: Store | None = None,
    ) -> "Log":
        """Open a log for writing; with ``create``, make a log where there is none.

        ``directory`` holds the keys and the last signed checkpoint, and the rows too unless another
        ``store`` does. ``origin`` names the log for good. ``facts`` go into the genesis entry of a
        new log. Raises LogMissingError, LogLockedError, LogUnavailableError, KeyFileError,
        SchemaVersionError, LogRolledBackError, DamagedLogError.
        """
        store = store or SqliteStore(directory)
        found = store.exists()
        if not create and not found:
            raise LogMissingError(f"{store.name} does not exist: there is no log here")
        if create:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        writer = store.open_writer()
        log: Log | None = None
        try:
            if not found:
                _check_nothing_signed(directory, store)
                create_keys(directory / KEYS_DIRECTORY, origin=origin)
            keys = read_keys(directory / KEYS_DIRECTORY, origin=origin)
            writer.prepare_schema()
            log = cls(directory, origin=origin, clock=clock, keys=keys, store=store, writer=writer)
            log._start(facts or {})
        except BaseException:
            # The caller gets the first error; what fails while backing out would only hide it.
            with suppress(LogStateError):
                if log is None:
                    writer.close()
                else:
                    log.close()
            raise
        return log

    @property
    def size(self) -> int:
        """Return the number of durable entries, without asking the database.

        Where several processes append, those are not counted that others appended since the last
        append or checkpoint here.
        """
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
        self._check_usable()
        if not records:
            return []
        erasures = self._erasures
        drafts = self._draft(records)
        with self._appending(drafts) as news:
            if erasures != self._erasures:
                group = self._groups.finish(self._tree, self._draft(records))
            else:
                group = self._groups.finish(self._tree, drafts, news=news)
            return self._commit(group, records)

    def erase_subject(
        self,
        subject: str,
        *,
        basis: str,
        actor: str,
        new_id: Callable[[], str],
        check: Check = lambda _indexes: None,
    ) -> Erasure:
        """Erase every payload of a subject, with its keys and salts, and record that it was done.

        ``basis`` (the ground in law) and ``actor`` (an opaque name) go into the public leaf.
        ``check`` hears which entries it would be, while nobody can append, and raises to forbid it.
        Leaves stay, so all proofs still verify. Raises as ``append``.
        """
        handle = subject_handle(self._secrets.digest, subject)

        def find() -> list[int]:
            row = self._rows.find_subjects([handle]).get(handle)
            indexes = [] if row is None else self._rows.records_of(row.subject)
            check(indexes)
            return indexes

        return self._erase(find, basis=basis, actor=actor, new_id=new_id)

    def erase_records(
        self,
        record_ids: Sequence[str],
        *,
        basis: str,
        actor: str,
        new_id: Callable[[], str],
        check: Check = lambda _indexes: None,
    ) -> Erasure:
        """Erase the payloads of single records; as ``erase_subject``.

        Records that never had a payload, or were erased before, are passed over. Raises
        UnknownRecordError.
        """
        indexes = sorted({self.receipt(record_id).index for record_id in record_ids})

        def find() -> list[int]:
            present = [index for index in indexes if self._rows.record_key(index) is not None]
            check(present)
            return present

        return self._erase(find, basis=basis, actor=actor, new_id=new_id)

    def rotate_key(self) -> str:
        """Give the log a new signing key and return its vkey; the old one goes on signing beside it.

        Order: the new key is durable, then the entry that both keys signed, then the files change
        places. A crash before the entry: the staged key is forgotten. After it: opening the log
        goes on from there. No other process may have the log open. Raises as ``append``.
        """
        directory = self.directory / KEYS_DIRECTORY
        old = self._secrets.signing
        new = SigningKey.generate(self.origin)
        stage_signing_key(directory, new)
        record = NewRecord(
            type=KEY_ROTATED,
            id=rotation_id(len(self.rotations()) + 1),
            facts=rotation_facts(old, new),
        )
        with self._appending():
            group = self._groups.finish(self._tree, self._draft([record]))
            self._commit(group, [record])
        vkey = new.verifier.format()
        promote_signing_key(directory, origin=self.origin, vkey=vkey)
        self._use_keys()
        self.checkpoint()
        return vkey

    def retire_key(self) -> bool:
        """Let the signing key before this one sign no more; return whether there was one."""
        found = drop_retiring_key(self.directory / KEYS_DIRECTORY)
        self._use_keys()
        return found

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
            with self._stopping(), self._writer.signing():
                self._signer.follow()
                return self._signer.sign(self._durable_head(), self._writer.insert_checkpoint)

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
        finally:
            self._writer.close()

    def _erase(
        self, find: Callable[[], list[int]], *, basis: str, actor: str, new_id: Callable[[], str]
    ) -> Erasure:
        with self._appending():
            # Found while nobody else can write: what another erases meanwhile is not erased twice.
            indexes = find()
            records = [
                NewRecord(
                    type=ERASURE,
                    id=new_id(),
                    facts={
                        "of": indexes[start : start + _ERASED_PER_ENTRY],
                        "basis": basis,
                        "actor": actor,
                    },
                )
                for start in range(0, len(indexes), _ERASED_PER_ENTRY)
            ]
            check_ids(records)
            receipts: list[Receipt] = []
            if indexes:
                group = self._groups.finish(self._tree, self._draft(records))
                subjects = [self._subject_of(index).subject for index in indexes]
                group.rows.erased = [
                    (index, group.receipts[at // _ERASED_PER_ENTRY].index, subjects[at])
                    for at, index in enumerate(indexes)
                ]
                receipts = self._commit(group, records)
                self._erasures += 1
                self._groups.forget(subjects)
        # Rows are overwritten in the file only when the WAL is copied into it, and stay readable in
        # the WAL until that is cut to nothing.
        return Erasure(tuple(indexes), tuple(receipts), purged=self.purge())

    def _subject_of(self, index: int) -> SubjectRow:
        key = self._rows.record_key(index)
        row = None if key is None else self._rows.subject(key[0])
        if row is None:
            raise DamagedLogError(f"the key of entry {index} is missing and was not erased")
        return row

    def _draft(self, records: Sequence[NewRecord]) -> list[Draft]:
        return self._groups.draft(records, timestamp=format_timestamp(self._clock()))

    @contextmanager
    def _appending(self, drafts: Sequence[Draft] = ()) -> Iterator[News | None]:
        """Keep other writers out, and take in what they have appended."""
        with self._write_lock:
            self._check_usable()
            with self._stopping():
                news = self._writer.begin(self._tree.size, self._groups.handles(drafts))
                try:
                    if news is not None:
                        self._take_in(news)
                    yield news
                finally:
                    self._writer.roll_back()  # nothing, once it is committed

    def _take_in(self, news: News) -> None:
        """Bring the tree up to what other writers have appended.

        Raises LogRolledBackError when the database holds less than it did, DamagedLogError when its
        head is not that of its entries.
        """
        if news.head.size < self._tree.size:
            raise LogRolledBackError(
                f"the database has {news.head.size} entries, it had {self._tree.size}: "
                "it was set back under a running service"
            )
        if news.erased:
            self._groups.forget_all()
        if news.hashes is None:
            self._tree = self._load_tree()
            return
        tree = self._tree.copy()
        for leaf_hash in news.hashes:
            tree.append(leaf_hash)
        if self._head(tree) != news.head:
            raise DamagedLogError(
                f"the stored head of {news.head.size} entries is not the one they lead to; run verify"
            )
        self._tree = tree

    def _commit(self, group: PreparedGroup, records: Sequence[NewRecord]) -> list[Receipt]:
        old, new = self._head(self._tree), self._head(group.tree)
        try:
            self._writer.commit(group.rows, old=old, new=new)
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

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """Refuse all further writes after one of unknown outcome, or once history was set back."""
        try:
            yield
        except (LogBrokenError, LogRolledBackError) as err:
            self._broken = str(err)
            raise

    def _check_usable(self) -> None:
        if self._closed:
            raise LogStateError("the log is closed")
        if self._broken is not None:
            raise LogBrokenError(f"an earlier write failed, reopen the log: {self._broken}")

    def _durable_head(self) -> Head:
        """Return the stored head, which must not be behind, nor other than, what was appended here."""
        tree = self._tree
        head = self._rows.head()
        if head.size < tree.size:
            raise LogRolledBackError(
                f"the database has {head.size} entries, it had {tree.size}: not signing"
            )
        if head.size == tree.size and head != self._head(tree):
            raise DamagedLogError("the stored head is not the one appended; not signing")
        return head

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

    def _start(self, facts: Facts) -> None:
        """Take in what is stored, make the first entry if there is none, and sign what there is."""
        with self._write_lock:
            self._writer.begin(0, [])  # head, tiles and entries are read in several steps
            try:
                self._tree = self._load_tree()
            finally:
                self._writer.roll_back()
        if not self._tree.size:
            self._append_genesis(facts)
        self._check_keys()
        with self._writer.signing():
            self._signer.recall(self._rows.head().size)
        self.checkpoint()

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
        with self._appending():
            if not self._tree.size:  # else another process has just made this log
                group = self._groups.finish(self._tree, self._draft([record]))
                self._commit(group, [record])

    def _use_keys(self) -> None:
        """Read the key files again."""
        keys = read_keys(self.directory / KEYS_DIRECTORY, origin=self.origin)
        self._keys = self._secrets = keys
        self._signer.keys = keys.signers

    def _check_keys(self) -> None:
        """Refuse key files of another log, by what the genesis entry and changes of keys say."""
        facts = {**parse_leaf(self._entry(0).leaf).facts, "vkey": self.verifier_key}
        if promote_signing_key(
            self.directory / KEYS_DIRECTORY, origin=self.origin, vkey=self.verifier_key
        ):
            self._use_keys()
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


def _check_nothing_signed(directory: Path, store: Store) -> None:
    if (directory / CHECKPOINT_FILE).exists():
        raise LogRolledBackError(
            f"{store.name} is gone, but this log has signed checkpoints: restore it"
        )
