"""How the writer of a SQLite log finds subjects, requests and records, and keeps them findable.

What is newest is in memory: the *tail*, of the entries from ``upto`` on, which a reader finds by reading
these rows. When there are enough new entries, the tail so far is *moved* into tables, a piece with each
group's transaction, a piece being a bucket: its digests are neighbours in the tables, and share their
pages. Meanwhile memory goes on answering. With the last piece, ``upto`` moves to where the newer
tail begins.

Memory follows the file, never the other way round: after COMMIT. A crash between two pieces leaves the
old ``upto``; opening reads the tail from there, and moving it again adds nothing twice.
"""

from collections.abc import Callable, Iterable, Sequence
from zlib import crc32

import apsw

from audit.digest_pages import DigestPages, split
from audit.errors import DamagedLogError
from audit.rows import Group
from audit.store import ConstraintViolationError, SqlRow, SqlValue
from audit.tail import BUCKETS, Tail, is_linked, part_of

MOST_RECENT = 65_536
"""How many new entries begin a move. At a million entries a piece's 256 digests then share ten pages."""
_PIECES = 3 * BUCKETS

Query = Callable[..., Sequence[SqlRow]]
"""``query(statement, *parameters)`` -> rows."""


def extent_sum(upto: int) -> int:
    """Return what stands beside ``upto``, so that damage to it shows."""
    return crc32(b"%d" % upto)


class Lookups:
    """One writer's lookups. Not for two threads at once, but for what says otherwise."""

    def __init__(self, connection: apsw.Connection, *, most_recent: int) -> None:
        self._cursor = connection.cursor()
        self._most_recent = most_recent
        self._handles = DigestPages(connection, "handle_page")
        self._requests = DigestPages(connection, "request_page")
        self._tails: tuple[Tail, ...] = (Tail(0),)
        """The newest first; the second one, if there is one, is being moved."""
        self._moved = self._due = 0
        """Pieces of it that are in the file, and that will be with the transaction under way."""
        self._unknown: frozenset[bytes] = frozenset()
        """Handles that were looked up last and not found."""
        self._is_touched = False

    def load(self) -> None:
        """Read what is in no table yet, moving on the spot what an older file has too much of."""
        self._handles.load()
        self._requests.load()
        while True:
            start, size = self._extent()
            if size - start <= 2 * self._most_recent:
                break
            tail = self._read(start, start + self._most_recent)
            self._cursor.execute("BEGIN IMMEDIATE")
            try:
                self._move(tail, range(_PIECES))
                self._set_upto(start + self._most_recent)
                self._cursor.execute("COMMIT")
            except BaseException:
                self._cursor.execute("ROLLBACK")
                raise
        self._tails = (self._read(start, size),)
        self._moved = self._due = 0
        self._begin_to_move(size)

    def subjects(self, handles: Sequence[bytes]) -> list[int]:
        """Return subjects that may have these handles: their rows tell."""
        found: set[int] = set()
        older = []
        for handle in handles:
            for tail in self._tails:
                subject = tail.handles.get(handle)
                if subject is not None:
                    found.add(subject)
                    break
            else:
                older.append(handle)
        candidates = self._handles.find(older)
        self._unknown = frozenset(older).difference(candidates)
        return [*found.union(*candidates.values())]

    def recent_request(self, key: bytes) -> int | None:
        """Return the entry in memory with this request's digest. From any thread, before the tables.

        What is not in memory any more is in the tables by then.
        """
        for tail in self._tails:
            seq = tail.requests.get(key)
            if seq is not None:
                return seq
        return None

    def recent_records(self, subject: int) -> list[int]:
        """Return a subject's records in memory, but for its first. As ``recent_request``."""
        return [seq for tail in self._tails for seq in tail.records_of(subject)]

    def check_unique(self, group: Group) -> None:
        """Raise ConstraintViolationError when a handle or a request's digest is there already."""
        handles = [row[1] for row in group.subject_keys if is_linked(row[1])]
        keys = [key for key, _ in group.idempotency]
        if len({*handles}) != len(handles) or len({*keys}) != len(keys):
            raise ConstraintViolationError("a digest stands twice in one group")
        handles = [handle for handle in handles if handle not in self._unknown]
        for tail in self._tails:
            if not tail.handles.keys().isdisjoint(handles):
                raise ConstraintViolationError("a subject's handle is there already")
            if not tail.requests.keys().isdisjoint(keys):
                raise ConstraintViolationError("a request's digest is there already")
        self._refuse(
            self._handles.find(handles), "SELECT handle FROM subject_key WHERE subject = ?"
        )
        self._refuse(self._requests.find(keys), "SELECT key FROM idempotency WHERE seq = ?")

    def write(self, group: Group, erased: Sequence[tuple[int, bytes]], *, size: int) -> None:
        """Write what the group's transaction moves. ``erased`` are (subject, the handle it had)."""
        for subject, handle in erased:
            self._is_touched = True
            self._handles.remove(handle, subject)
        self._due = self._moved
        if group.erased or len(self._tails) == 1:
            return
        # Slightly faster than new ones come, so that it is done before the next move begins.
        new = size - self._tails[0].start
        self._due = min(_PIECES, new * _PIECES * 17 // (16 * self._most_recent))
        self._move(self._tails[1], range(self._moved, self._due))
        if self._due == _PIECES:
            self._set_upto(self._tails[0].start)

    def committed(self, group: Group, erased: Sequence[tuple[int, bytes]], *, size: int) -> None:
        """Follow a transaction that is durable now."""
        self._is_touched = False
        for _, handle in erased:
            for tail in self._tails:
                tail.forget(handle)
        self._tails[0].add(group)
        self._unknown = frozenset()
        self._moved = self._due
        if self._moved == _PIECES:
            self._tails = self._tails[:1]
            self._moved = self._due = 0
        self._begin_to_move(size)

    def rolled_back(self) -> None:
        """Forget what a transaction would have written. Raises apsw.Error."""
        self._due = self._moved
        if self._is_touched:
            self._handles.load()
            self._requests.load()
            self._is_touched = False

    def _begin_to_move(self, size: int) -> None:
        if len(self._tails) == 1 and size - self._tails[0].start >= self._most_recent:
            self._tails = (Tail(size), self._tails[0])

    def _move(self, tail: Tail, pieces: Iterable[int]) -> None:
        for piece in pieces:
            self._is_touched = True
            bucket, kind = divmod(piece, 3)
            if kind == 0:
                entries = sorted(split(tail.packed_handles[bucket]))
                self._handles.add(entries, may_be_there=tail.was_read)
            elif kind == 1:
                entries = sorted(split(tail.packed_requests[bucket]))
                self._requests.add(entries, may_be_there=tail.was_read)
            else:
                records = sorted((subject, seq) for seq, subject in tail.records[bucket].items())
                self._cursor.executemany(
                    "INSERT OR IGNORE INTO later_record VALUES (?, ?, ?)",
                    [(bucket, subject, seq) for subject, seq in records],
                )

    def _set_upto(self, upto: int) -> None:
        self._cursor.execute("UPDATE lookup_extent SET upto = ?, sum = ?", (upto, extent_sum(upto)))

    def _read(self, start: int, stop: int) -> Tail:
        run = self._cursor.execute
        tail = Tail(start, was_read=True)
        within = (start, stop)
        tail.add_handles(
            run(
                "SELECT subject, handle FROM subject_key WHERE subject >= ? AND subject < ?", within
            )
        )
        tail.add_requests(
            run("SELECT key, seq FROM idempotency WHERE seq >= ? AND seq < ?", within)
        )
        tail.add_records(
            run(
                "SELECT seq, subject FROM record_key WHERE seq >= ? AND seq < ? AND subject <> seq",
                within,
            )
        )
        return tail

    def _refuse(self, candidates: dict[bytes, list[int]], statement: str) -> None:
        for digest, indexes in candidates.items():
            for index in indexes:
                if self._cursor.execute(statement, (index,)).fetchall() == [(digest,)]:
                    raise ConstraintViolationError("a digest is there already")

    def _extent(self) -> tuple[int, int]:
        """Return (upto, size)."""
        rows = self._cursor.execute("SELECT upto, sum, size FROM lookup_extent, head").fetchall()
        upto, said, size = map(_integer, rows[0])
        if not 0 <= upto <= size or said != extent_sum(upto):
            raise DamagedLogError("what says how far lookups go is damaged; run verify")
        return upto, size


def _integer(value: SqlValue) -> int:
    if not isinstance(value, int):
        raise DamagedLogError(f"a stored value is {type(value).__name__}, want an integer")
    return value


_FIRST_RECORD = (
    "SELECT seq FROM record_key WHERE seq = $1 AND subject = $1"
    " AND NOT EXISTS (SELECT 1 FROM erased WHERE erased.seq = record_key.seq)"
)
_RECENT_RECORD = (
    "SELECT seq FROM record_key WHERE seq = $1"
    " AND NOT EXISTS (SELECT 1 FROM erased WHERE erased.seq = record_key.seq)"
)
_NEWEST_RECORDS = (
    "SELECT seq FROM record_key WHERE seq >= (SELECT upto FROM lookup_extent) AND subject = $1"
    " AND NOT EXISTS (SELECT 1 FROM erased WHERE erased.seq = record_key.seq)"
)
_MOVED_RECORDS = (
    "SELECT seq FROM later_record WHERE part = $1 AND subject = $2"
    " AND NOT EXISTS (SELECT 1 FROM erased WHERE erased.seq = later_record.seq)"
)


def records_of(query: Query, subject: int, recent: Sequence[int] | None) -> list[SqlRow]:
    """Return the rows (index) of a subject's records that are not erased, in order.

    ``recent`` are those that may be in no table yet; without, the newest rows are read.
    """
    found = {*query(_FIRST_RECORD, subject)}
    # Before the table: what is moved meanwhile is found there.
    if recent is None:
        found.update(query(_NEWEST_RECORDS, subject))
    else:
        found.update(row for seq in recent for row in query(_RECENT_RECORD, seq))
    found.update(query(_MOVED_RECORDS, part_of(subject), subject))
    return sorted(found)
