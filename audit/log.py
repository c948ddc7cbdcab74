"""A log open for writing: appending, signing, erasing and its keys, behind one door.

The order of writes of a group is told in ``audit.appender``. That of a checkpoint, and what a crash
in between means:

1. Other signers are kept out, and what they signed is taken in, if it continues what was signed here.
   The root is recomputed from the stored leaves, not from the hashes kept while appending.
2. The signed note is stored in the database. Crash before: the signature was never seen.
3. The note is copied to a file outside the database, and how many there have been to another. Crash
   before: the file is one behind, and is brought up to date when the log is opened.
4. Only then is it returned, hence published.

On opening, the first file is the memory that a restored backup of the database does not have.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from audit.appender import Appender, Clock, More, no_more
from audit.digests import subject_handle
from audit.erasing import erase
from audit.errors import (
    KeyFileError,
    LogMissingError,
    LogRolledBackError,
    LogStateError,
)
from audit.group import Draft
from audit.keys import (
    NAMES,
    LogKeys,
    create_keys,
    drop_retiring_key,
    promote_signing_key,
    read_keys,
    stage_signing_key,
)
from audit.layout import KEYS_DIRECTORY
from audit.leaf import Facts, parse_leaf
from audit.master_key import FROM_FILE, Command
from audit.note import SigningKey
from audit.outside import OutsideMemory
from audit.proof import LogProof
from audit.reader import LogReader
from audit.records import GENESIS, KEY_ROTATED, Erasure, NewRecord, Receipt
from audit.rotation import rotation_facts, rotation_id
from audit.signer import Signer
from audit.sqlite import SqliteStore
from audit.store import Store, Writer

Check = Callable[[Sequence[int]], None]
"""Hears the indexes of entries that are about to be erased; raises to forbid it."""


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
        master_command: Command,
    ) -> None:
        """Use ``Log.open``."""
        super().__init__(directory, origin=origin, keys=keys, store=store)
        self._master_command = master_command
        self._secrets = keys
        self._writer = writer
        self._rows.digests = writer.digests
        self._appender = Appender(
            origin=origin, clock=clock, keys=keys, rows=self._rows, writer=writer
        )
        self._signer = Signer(
            OutsideMemory(directory), origin=origin, keys=keys.signers, rows=self._rows
        )
        self._checkpoint_lock = threading.Lock()
        self._closed = False

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
        master_command: Command = FROM_FILE,
    ) -> "Log":
        """Open a log for writing; with ``create``, make a log where there is none.

        ``directory`` holds the keys and the last signed checkpoint, and the rows too unless another
        ``store`` does. ``master_command`` gives the master key, if no file does. ``origin`` names the
        log for good. ``facts`` go into the genesis entry of a new log. Raises LogMissingError,
        LogLockedError, LogUnavailableError, KeyFileError, SchemaVersionError, LogRolledBackError,
        DamagedLogError.
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
                create_keys(
                    directory / KEYS_DIRECTORY, origin=origin, master_command=master_command
                )
            keys = read_keys(
                directory / KEYS_DIRECTORY, origin=origin, master_command=master_command
            )
            writer.prepare_schema()
            log = cls(
                directory, origin=origin, clock=clock, keys=keys, store=store, writer=writer,
                master_command=master_command,
            )  # fmt: skip
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
        append or ``catch_up`` here.
        """
        return self._appender.size

    def catch_up(self) -> int:
        """Take in what other processes have appended; return the number of durable entries.

        Raises as ``append``.
        """
        if self._rows.head().size > self._appender.size:
            with self._appender.exclusively():
                pass
        return self._appender.size

    @property
    def broken(self) -> LogStateError | None:
        """Return why the log refuses to append, or None while it does not."""
        return self._appender.broken

    def append(self, records: Sequence[NewRecord]) -> list[Receipt]:
        """Append records in order, all or none; they are durable when this returns.

        Raises RecordRejectedError (and its kinds) naming the record at fault, LogFullError when
        there is no room; the log can be used on. Raises LogBrokenError when a write failed in a way
        that leaves the disk's state unknown: then, and from then on, until reopened.
        """
        return self._appender.append(self._appender.draft(records))

    def draft(self, records: Sequence[NewRecord]) -> list[Draft]:
        """Return records done as far as can be without the store; from any thread, reading nothing.

        Raises RecordRejectedError naming the record that cannot be appended, whatever is beside it.
        """
        return self._appender.draft(records)

    def append_drafts(
        self, drafts: Sequence[Draft], more: More = no_more, unless: str | None = None
    ) -> list[Receipt]:
        """Append what was drafted before, in order: as ``append``, which does both.

        Once other writers are kept out, which can take as long as several groups, ``more`` is asked
        for drafts that came meanwhile: they are appended after the others. ``unless`` is an identifier
        that nobody has used as far as is known here: when another process has, nothing is appended,
        and OvertakenError raised.
        """
        return self._appender.append(drafts, more, unless)

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

        return erase(self._appender, self._rows, find, basis=basis, actor=actor, new_id=new_id)

    def erase_records(
        self,
        record_ids: Sequence[str],
        *,
        basis: str,
        actor: str,
        new_id: Callable[[], str],
        check: Check = lambda _indexes: None,
        late: Callable[[], Sequence[int]] = list,
    ) -> Erasure:
        """Erase the payloads of single records; as ``erase_subject``.

        ``late`` is asked for the indexes of further ones, while nobody can append. Records that never
        had a payload, or were erased before, are passed over. Raises UnknownRecordError.
        """
        named = {self.receipt(record_id).index for record_id in record_ids}

        def find() -> list[int]:
            indexes = sorted({*named, *late()})
            present = [index for index in indexes if self._rows.record_key(index) is not None]
            check(present)
            return present

        return erase(self._appender, self._rows, find, basis=basis, actor=actor, new_id=new_id)

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
        with self._appender.exclusively():
            self._appender.add([record])
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
        return self._appender.purge()

    def checkpoint(self) -> bytes:
        """Return a signed checkpoint of all entries, stored before it is returned.

        Raises DamagedLogError, and never signs, when the stored leaves do not lead to the root.
        """
        with self._signing():
            self._signer.follow()
            return self._signed()

    def checkpoint_in_turn(self) -> bytes:
        """As ``checkpoint``; but one that another process signed since the last call here will do.

        Where several processes append to one log and each calls this every second, one of them
        signs. When that one ends, the next to call finds nothing new, and takes its place.
        """
        with self._signing():
            followed = self._signer.newest() if self._signer.follow() else None
            if followed is None:
                return self._signed()
            self._appender.durable_head()  # who signed need not know what was appended here
            return followed[1]

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
        """Close connections and give the writer's lock back, once whoever signs or appends is done."""
        if self._closed:
            return
        self._closed = True
        with self._checkpoint_lock:
            try:
                super().close()
            finally:
                self._appender.close()

    @contextmanager
    def _signing(self) -> Iterator[None]:
        """Keep all other threads and processes from signing."""
        with self._checkpoint_lock:
            self._appender.check_usable()
            with self._appender.stopping(), self._writer.signing():
                yield

    def _signed(self) -> bytes:
        return self._signer.sign(self._appender.durable_head(), self._writer.insert_checkpoint)

    def _start(self, facts: Facts) -> None:
        """Take in what is stored, make the first entry if there is none, and sign what there is."""
        self._appender.load()
        if not self._appender.size:
            self._append_genesis(facts)
        self._check_keys()
        with self._writer.signing():
            self._signer.recall(self._rows.head().size)
        self.checkpoint()

    def _append_genesis(self, facts: Facts) -> None:
        """Write entry 0, which says whose log this is and which keys belong to it."""
        record = NewRecord(
            type=GENESIS,
            id=GENESIS,
            facts={**facts, "origin": self.origin, **self._secrets.named()},
        )
        with self._appender.exclusively():
            if not self._appender.size:  # else another process has just made this log
                self._appender.add([record])

    def _use_keys(self) -> None:
        """Read the key files again."""
        keys = read_keys(
            self.directory / KEYS_DIRECTORY,
            origin=self.origin,
            master_command=self._master_command,
        )
        self._keys = self._secrets = keys
        self._signer.keys = keys.signers

    def _check_keys(self) -> None:
        """Refuse key files of another log, by what the genesis entry and changes of keys say."""
        facts = {**parse_leaf(self.entry(0).leaf).facts, "vkey": self.verifier_key}
        if promote_signing_key(
            self.directory / KEYS_DIRECTORY, origin=self.origin, vkey=self.verifier_key
        ):
            self._use_keys()
        for name, got in {"origin": self.origin, **self._secrets.named()}.items():
            if facts.get(name) != got:
                what = NAMES.get(name, name)
                raise KeyFileError(f"the {what} is not this log's: restore the one made with it")


def _check_nothing_signed(directory: Path, store: Store) -> None:
    if OutsideMemory(directory).note() is not None:
        raise LogRolledBackError(
            f"{store.name} is gone, but this log has signed checkpoints: restore it"
        )
