"""Appending: one group, one transaction, durable before anyone hears of it.

Order of writes for a group, and what a crash in between means:

1. Records are drafted: encrypted, digested, nearly a leaf. Crash: nothing happened. Any thread may
   do that beforehand.
2. Other writers are kept out, drafts that came meanwhile join the group, and what the others appended
   is taken in. Crash: the same.
3. Drafts are numbered and hashed on a copy of the tree, and one transaction writes entries,
   payloads, keys, tiles and the head. Crash before the end of COMMIT: the database drops all of it
   or keeps all of it; nobody was told, either is right.
4. After COMMIT the copy becomes the tree, and receipts are returned. Crash: the entries are there.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from audit import tiles
from audit.digests import idempotency_digest
from audit.errors import (
    DamagedLogError,
    DuplicateIdempotencyError,
    DuplicateIdError,
    FollowsErasedError,
    LogBrokenError,
    LogRolledBackError,
    LogStateError,
    OvertakenError,
    ProofError,
    RecordRejectedError,
)
from audit.group import Draft, GroupBuilder, PreparedGroup
from audit.keys import LogKeys
from audit.leaf import format_timestamp
from audit.records import NewRecord, Receipt, check_distinct, check_records
from audit.row_reader import RowReader
from audit.rows import Head, News, SubjectRow
from audit.store import ConstraintViolationError, Writer
from audit.tiles import GrowingTree

Clock = Callable[[], datetime]
More = Callable[[], Sequence[Draft]]
"""Drafts that came while other writers were waited for."""


def no_more() -> Sequence[Draft]:
    """Return no drafts."""
    return ()


def _nobody() -> Sequence[bytes]:
    """Return no subjects' handles."""
    return ()


class Appender:
    """The one way into a log. Append from one thread; the rest may be used from any."""

    def __init__(
        self, *, origin: str, clock: Clock, keys: LogKeys, rows: RowReader, writer: Writer
    ) -> None:
        self._clock = clock
        self._digest_key = keys.digest
        self._rows = rows
        self._writer = writer
        self._groups = GroupBuilder(origin=origin, keys=keys)
        self._lock = threading.Lock()
        self._broken: LogStateError | None = None
        self._closed = False
        self._tree = GrowingTree()
        self._erasures = 0
        """How often this process has made or met erasures: drafts begun before may hold their keys."""

    @property
    def size(self) -> int:
        """Return the number of entries that were durable when this process last looked."""
        return self._tree.size

    @property
    def broken(self) -> LogStateError | None:
        """Return why nothing more is written, or None."""
        return self._broken

    def load(self) -> None:
        """Take in what is stored. Raises DamagedLogError when head, entries and tiles disagree."""
        with self._lock:
            try:
                # Head, tiles and entries are read in several steps.
                self._writer.begin(self._tree.size, _nobody, None)
                self._tree = self._load_tree()
            finally:
                self._writer.roll_back()

    def draft(self, records: Sequence[NewRecord]) -> list[Draft]:
        """Return the records' drafts: see ``Log.draft``."""
        check_records(records)
        return self._draft(records)

    def _draft(self, records: Sequence[NewRecord]) -> list[Draft]:
        # Read first: an erasure made meanwhile must show.
        erasures = self._erasures
        timestamp = format_timestamp(self._clock())
        return self._groups.draft(records, timestamp=timestamp, erasures=erasures)

    def append(
        self, drafts: Sequence[Draft], more: More = no_more, unless: str | None = None
    ) -> list[Receipt]:
        """Append drafts in order, all or none: see ``Log.append_drafts``."""
        self.check_usable()
        if not drafts:
            return []
        group = list(drafts)

        def unknown() -> Sequence[bytes]:
            group.extend(more())
            return self._groups.unknown(group)

        with self.exclusively(unknown, unless) as news:
            if news is not None and news.is_taken:
                raise OvertakenError(f"an entry {unless} is there by now")
            records = [draft.record for draft in group]
            check_distinct(records)
            self._check_followed(records)
            outdated = any(draft.erasures != self._erasures for draft in group)
            if outdated:
                group = self._draft(records)
            stored = self._look_up(group) if outdated or news is None else news.subjects
            return self._commit(self._groups.finish(self._tree, group, stored), records)

    @contextmanager
    def exclusively(
        self, subjects: Callable[[], Sequence[bytes]] = _nobody, unless: str | None = None
    ) -> Iterator[News | None]:
        """Keep all other writers out, and take in what they have appended.

        Once they are out ``subjects`` is asked for the handles of those to look up; ``unless`` is an
        identifier to look for.
        """
        with self._lock:
            self.check_usable()
            with self.stopping():
                try:
                    news = self._writer.begin(self._tree.size, subjects, unless)
                    if news is not None:
                        self._take_in(news)
                    yield news
                finally:
                    self._writer.roll_back()  # nothing, once it is committed

    def add(
        self, records: Sequence[NewRecord], *, erased: Sequence[tuple[int, int, int]] = ()
    ) -> list[Receipt]:
        """Append records of the log's own, ``exclusively``, and erase with the same transaction.

        ``erased`` are (entry, the entry that says so, subject).
        """
        drafts = self._draft(records)
        group = self._groups.finish(self._tree, drafts, self._look_up(drafts))
        group.rows.erased = list(erased)
        receipts = self._commit(group, records)
        if erased:
            # In this order: a draft made in between may hold a key that is gone, and shows it.
            self._groups.forget(subject for _, _, subject in erased)
            self._erasures += 1
        return receipts

    def purge(self) -> bool:
        """Remove erased bytes from the store's files: see ``Writer.purge``."""
        with self._lock:
            self.check_usable()
            return self._writer.purge()

    def durable_head(self) -> Head:
        """Return the stored head, which must not be behind, nor other than, what was appended here."""
        tree = self._tree
        head = self._rows.head()
        if head.size < tree.size:
            raise LogRolledBackError(
                f"the database has {head.size} entries, it had {tree.size}: not signing"
            )
        if head.size == tree.size and head != _head(tree):
            raise DamagedLogError("the stored head is not the one appended; not signing")
        return head

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """Refuse all further writes after one of unknown outcome, or once history was set back."""
        try:
            yield
        except (LogBrokenError, LogRolledBackError) as err:
            self._broken = err
            raise

    def check_usable(self) -> None:
        """Raise LogStateError unless the log can be written to."""
        if self._closed:
            raise LogStateError("the log is closed")
        if self._broken is not None:
            raise LogBrokenError(f"an earlier write failed, reopen the log: {self._broken}")

    def close(self) -> None:
        """Give the writer's connections and locks back."""
        with self._lock:
            self._closed = True
            self._writer.close()

    def _check_followed(self, records: Sequence[NewRecord]) -> None:
        """Refuse what follows an erased entry: nobody else can erase one by now."""
        followed = {record.follows for record in records if record.follows is not None}
        erased = self._rows.erased_among(list(followed))
        for position, record in enumerate(records):
            if record.follows in erased:
                raise FollowsErasedError(position=position, index=record.follows)

    def _look_up(self, drafts: Sequence[Draft]) -> dict[bytes, SubjectRow]:
        """Return those of the drafts' subjects that are stored, and not remembered here, by handle."""
        return self._rows.find_subjects(self._groups.unknown(drafts))

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
            self._erasures += 1
        if news.hashes is None:
            self._tree = self._load_tree()
            return
        tree = self._tree.copy()
        tree.append(news.hashes)
        if _head(tree) != news.head:
            raise DamagedLogError(
                f"the stored head of {news.head.size} entries is not the one they lead to; run verify"
            )
        self._tree = tree

    def _commit(self, group: PreparedGroup, records: Sequence[NewRecord]) -> list[Receipt]:
        try:
            self._writer.commit(group.rows, old=_head(self._tree), new=_head(group.tree))
        except ConstraintViolationError as err:
            raise self._conflict(records, err) from err
        # Only now: had COMMIT failed, the old tree would still be the true one.
        self._tree = group.tree
        return self._groups.committed(group)

    def _conflict(
        self, records: Sequence[NewRecord], cause: ConstraintViolationError
    ) -> RecordRejectedError | LogStateError:
        for position, record in enumerate(records):
            if self._rows.find_entry(record.id) is not None:
                return DuplicateIdError(position=position, record_id=record.id)
            request = record.idempotency
            if request is not None:
                index = self._rows.find_idempotency(idempotency_digest(self._digest_key, request))
                if index is not None:
                    return DuplicateIdempotencyError(
                        position=position, scope=request.scope, index=index
                    )
        return DamagedLogError(f"rows are in the way that no record explains: {cause}")

    def _load_tree(self) -> GrowingTree:
        """Return the tree as stored, after checking that head, entries and tiles agree."""
        head = self._rows.head()
        try:
            tree = tiles.grow_from(head.size, self._rows.hashes)
        except ProofError as err:
            raise DamagedLogError(f"entries or tiles are missing: {err}; run verify") from err
        if _head(tree) != head:
            raise DamagedLogError("the stored head does not fit the stored tiles; run verify")
        if self._rows.is_taken(head.size):
            raise DamagedLogError(f"there are entries beyond the head's size {head.size}")
        return tree


def _head(tree: GrowingTree) -> Head:
    return Head(tree.size, b"".join(tree.frontier), tree.root())
