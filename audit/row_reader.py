"""Reading the log's rows, whichever engine holds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from audit.errors import DamagedLogError, ProofError
from audit.merkle import HASH_SIZE
from audit.rows import EntryRow, Head, SubjectRow
from audit.store import Connection, SqlRow, SqlValue
from audit.tiles import TILE_WIDTH, split_hashes

if TYPE_CHECKING:
    from audit.digest_index import Digests

_ENTRY = "SELECT seq, id, leaf, leaf_hash FROM entry"
_SUBJECTS = "SELECT subject, handle, wrapped, digest FROM subject_key"
_REQUESTS = "SELECT seq, key FROM idempotency"
_MOST_AT_ONCE = 64


class RowReader:
    """The stored rows, in SQL that every store understands. Safe from any thread.

    A row outside ``0 <= index < size of the head`` is no part of the log, whoever put it there: what
    is found by anything but its index is looked for within these alone. ``verify`` names the others.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.digests: Digests | None = None
        """How rows are found by digests, where the store has no index of them: else all are looked at."""

    def head(self) -> Head:
        """Return the stored head."""
        rows = self._rows("SELECT size, frontier, root FROM head")
        if len(rows) != 1:
            raise DamagedLogError(f"the head has {len(rows)} rows, want 1")
        size, frontier, root = rows[0]
        return Head(_integer(size), _bytes(frontier), _bytes(root))

    def entry(self, seq: int) -> EntryRow | None:
        """Return one entry by index."""
        rows = self._rows(f"{_ENTRY} WHERE seq = $1 AND {_within('seq')}", seq)
        return _entry(rows[0]) if rows else None

    def is_taken(self, seq: int) -> bool:
        """Return whether an entry is stored at this index, be it within the log or not."""
        return bool(self._rows("SELECT 1 FROM entry WHERE seq = $1", seq))

    def find_entry(self, record_id: str) -> EntryRow | None:
        """Return one entry by its record's id."""
        rows = self._rows(f"{_ENTRY} WHERE id = $1 AND {_within('seq')}", record_id)
        return _entry(rows[0]) if rows else None

    def entries(self, start: int, stop: int) -> list[EntryRow]:
        """Return the entries ``start <= seq < stop``, in order."""
        rows = self._rows(
            f"{_ENTRY} WHERE seq >= $1 AND seq < $2 AND {_within('seq')} ORDER BY seq", start, stop
        )
        return [_entry(row) for row in rows]

    def leaves(self, start: int, stop: int) -> list[bytes]:
        """Return the leaves ``start <= seq < stop``, in order: fewer where an entry is missing."""
        return self._column(
            "SELECT leaf FROM entry WHERE seq >= $1 AND seq < $2 ORDER BY seq", start, stop
        )

    def envelope(self, seq: int) -> bytes | None:
        """Return an entry's stored envelope, None when it is erased or missing."""
        return _optional_bytes(
            self._rows(
                "SELECT envelope FROM payload WHERE seq = $1"
                " AND NOT EXISTS (SELECT 1 FROM erased WHERE seq = $1)",
                seq,
            )
        )

    def record_key(self, seq: int) -> tuple[int, bytes] | None:
        """Return an entry's (subject, wrapped key), None when it is erased or missing."""
        rows = self._rows(
            "SELECT subject, wrapped FROM record_key WHERE seq = $1"
            " AND NOT EXISTS (SELECT 1 FROM erased WHERE seq = $1)",
            seq,
        )
        return (_integer(rows[0][0]), _bytes(rows[0][1])) if rows else None

    def subject(self, subject: int) -> SubjectRow | None:
        """Return a subject's row by its number."""
        rows = self._rows(f"{_SUBJECTS} WHERE subject = $1 AND {_within('subject')}", subject)
        return _subject(rows[0]) if rows else None

    def find_subjects(self, handles: Sequence[bytes]) -> dict[bytes, SubjectRow]:
        """Return the subjects' rows that there are, by handle."""
        if self.digests is None:
            rows = self._among(_SUBJECTS, "handle", handles, f" AND {_within('subject')}")
        else:
            numbers = self.digests.subjects.candidates(handles)
            rows = self._among(_SUBJECTS, "subject", numbers, f" AND {_within('subject')}")
        subjects, wanted = map(_subject, rows), set(handles)
        return {each.handle: each for each in subjects if each.handle in wanted}

    def records_of(self, subject: int) -> list[int]:
        """Return the indexes of a subject's records that are not erased, in order."""
        rows = self._rows(
            f"SELECT seq FROM record_key WHERE subject = $1 AND {_within('seq')} AND NOT EXISTS"  # noqa: S608 - names of ours
            " (SELECT 1 FROM erased WHERE erased.seq = record_key.seq) ORDER BY seq",
            subject,
        )
        return [_integer(seq) for (seq,) in rows]

    def erasure_of(self, seq: int) -> int | None:
        """Return the index of the erasure entry that erased this entry's payload."""
        rows = self._rows("SELECT erasure FROM erased WHERE seq = $1", seq)
        return _integer(rows[0][0]) if rows else None

    def erased_among(self, seqs: Sequence[int]) -> set[int]:
        """Return which of these entries are erased."""
        rows = self._among("SELECT seq FROM erased", "seq", seqs)
        return {_integer(seq) for (seq,) in rows}

    def find_idempotency(self, key: bytes) -> int | None:
        """Return the index of the entry that used this idempotency key."""
        if self.digests is None:
            rows = self._among(_REQUESTS, "key", [key], f" AND {_within('seq')}")
        else:
            numbers = self.digests.requests.candidates([key])
            rows = self._among(_REQUESTS, "seq", numbers, f" AND {_within('seq')}")
        return next((_integer(seq) for seq, used in rows if used == key), None)

    def last_checkpoint(self) -> tuple[int, bytes] | None:
        """Return (size, note) of the largest stored checkpoint."""
        rows = self._rows("SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1")
        return (_integer(rows[0][0]), _bytes(rows[0][1])) if rows else None

    def checkpoint(self, size: int) -> bytes | None:
        """Return the stored checkpoint of exactly this size."""
        return _optional_bytes(self._rows("SELECT note FROM checkpoint WHERE size = $1", size))

    def checkpoint_count(self, *, beyond: int, up_to: int) -> int:
        """Return how many checkpoints of ``beyond < size <= up_to`` entries are stored."""
        rows = self._rows(
            "SELECT count(*) FROM checkpoint WHERE size > $1 AND size <= $2", beyond, up_to
        )
        return _integer(rows[0][0])

    def hashes(self, level: int, first: int, count: int) -> list[bytes]:
        """Return hashes of one level, within one tile: see audit.tiles.ReadHashes."""
        position, offset = divmod(first, TILE_WIDTH)
        rows = self._rows(
            "SELECT hashes FROM tile WHERE level = $1 AND position = $2", level, position
        )
        if rows:
            start = offset * HASH_SIZE
            found = split_hashes(_bytes(rows[0][0])[start : start + count * HASH_SIZE])
        elif level == 0:
            found = self._column(
                "SELECT leaf_hash FROM entry WHERE seq >= $1 AND seq < $2 ORDER BY seq",
                first,
                first + count,
            )
        else:
            found = self._column(
                "SELECT root FROM tile WHERE level = $1 AND position >= $2 AND position < $3"
                " ORDER BY position",
                level - 1,
                first,
                first + count,
            )
        if len(found) != count:
            raise ProofError(f"level {level} has {len(found)} hashes from {first}, want {count}")
        return found

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _among(
        self, select: str, column: str, values: Sequence[SqlValue], also: str = ""
    ) -> Iterator[SqlRow]:
        """Yield the rows of a query whose ``column`` is one of ``values``."""
        for start in range(0, len(values), _MOST_AT_ONCE):
            chunk = list(values[start : start + _MOST_AT_ONCE])
            # Filled up, so that an engine that prepares statements meets only two of them.
            width = 1 if len(chunk) == 1 else _MOST_AT_ONCE
            chunk += chunk[-1:] * (width - len(chunk))
            places = ", ".join(f"${number}" for number in range(1, width + 1))
            yield from self._rows(f"{select} WHERE {column} IN ({places}){also}", *chunk)

    def _column(self, statement: str, *parameters: SqlValue) -> list[bytes]:
        return [_bytes(value) for (value,) in self._rows(statement, *parameters)]

    def _rows(self, statement: str, *parameters: SqlValue) -> Sequence[SqlRow]:
        return self._connection.query(statement, *parameters)


def _within(column: str) -> str:
    """Return the SQL that holds for the indexes of the log's own entries."""
    # With a plus no engine takes these terms for the bounds of its search instead of the caller's.
    return f"+{column} >= 0 AND +{column} < (SELECT size FROM head)"  # noqa: S608 - names of ours


def _entry(row: SqlRow) -> EntryRow:
    seq, record_id, leaf, leaf_hash = row
    if not isinstance(record_id, str):
        raise DamagedLogError(f"id of entry {seq!r} is {type(record_id).__name__}, want text")
    return EntryRow(_integer(seq), record_id, _bytes(leaf), _bytes(leaf_hash))


def _subject(row: SqlRow) -> SubjectRow:
    subject, handle, wrapped, digest = row
    return SubjectRow(_integer(subject), _bytes(handle), _bytes(wrapped), _bytes(digest))


def _integer(value: object) -> int:
    if not isinstance(value, int):
        raise DamagedLogError(f"a stored value is {type(value).__name__}, want an integer")
    return value


def _optional_bytes(rows: Sequence[SqlRow]) -> bytes | None:
    return _bytes(rows[0][0]) if rows else None


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise DamagedLogError(f"a stored value is {type(value).__name__}, want bytes")
    return value
