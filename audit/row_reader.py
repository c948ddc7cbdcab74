"""Reading the log's SQLite file, beside the writer or without one."""

import threading
from collections.abc import Sequence
from pathlib import Path

import apsw

from audit.errors import DamagedLogError, LogMissingError, ProofError
from audit.merkle import HASH_SIZE
from audit.rows import EntryRow, Head, SubjectRow
from audit.sqlite import SqlRow, SqlValue, as_integer, check_sqlite, check_version, converted
from audit.tiles import TILE_WIDTH, split_hashes


class Reader:
    """A read-only connection that any thread may use, one at a time."""

    def __init__(self, path: Path, *, vfs: str | None = None, immutable: bool = False) -> None:
        """Open the file. ``immutable`` takes no lock and ignores a WAL: for a log at rest."""
        check_sqlite()
        if not path.is_file():
            raise LogMissingError(f"{path} does not exist: there is no log here")
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_EXRESCODE
        name = path.absolute().as_uri() + ("?immutable=1" if immutable else "")
        self._lock = threading.Lock()
        with converted(f"{path} cannot be opened"):
            self._connection = apsw.Connection(name, flags=flags, vfs=vfs)
            self._connection.set_busy_timeout(1_000)
            check_version(self._connection)

    def head(self) -> Head:
        """Return the stored head."""
        rows = self._rows("SELECT size, frontier, root FROM head")
        if len(rows) != 1:
            raise DamagedLogError(f"the head has {len(rows)} rows, want 1")
        size, frontier, root = rows[0]
        return Head(as_integer(size), _bytes(frontier), _bytes(root))

    def entry(self, seq: int) -> EntryRow | None:
        """Return one entry by index."""
        rows = self._rows("SELECT seq, id, leaf, leaf_hash FROM entry WHERE seq = ?", seq)
        return _entry(rows[0]) if rows else None

    def find_entry(self, record_id: str) -> EntryRow | None:
        """Return one entry by its record's id."""
        rows = self._rows("SELECT seq, id, leaf, leaf_hash FROM entry WHERE id = ?", record_id)
        return _entry(rows[0]) if rows else None

    def entries(self, start: int, stop: int) -> list[EntryRow]:
        """Return the entries ``start <= seq < stop``, in order."""
        rows = self._rows(
            "SELECT seq, id, leaf, leaf_hash FROM entry WHERE seq >= ? AND seq < ? ORDER BY seq",
            start,
            stop,
        )
        return [_entry(row) for row in rows]

    def envelope(self, seq: int) -> bytes | None:
        """Return an entry's stored envelope, None when it is erased or missing."""
        return _optional_bytes(
            self._rows(
                "SELECT envelope FROM payload WHERE seq = ?1"
                " AND NOT EXISTS (SELECT 1 FROM erased WHERE seq = ?1)",
                seq,
            )
        )

    def record_key(self, seq: int) -> tuple[int, bytes] | None:
        """Return an entry's (subject, wrapped key), None when it is erased or missing."""
        rows = self._rows(
            "SELECT subject, wrapped FROM record_key WHERE seq = ?1"
            " AND NOT EXISTS (SELECT 1 FROM erased WHERE seq = ?1)",
            seq,
        )
        return (as_integer(rows[0][0]), _bytes(rows[0][1])) if rows else None

    def subject(self, subject: int) -> SubjectRow | None:
        """Return a subject's row by its number."""
        return self._subject("subject = ?", subject)

    def find_subject(self, handle: bytes) -> SubjectRow | None:
        """Return a subject's row by its handle."""
        return self._subject("handle = ?", handle)

    def records_of(self, subject: int) -> list[int]:
        """Return the indexes of a subject's records that are not erased, in order."""
        rows = self._rows(
            "SELECT seq FROM record_key WHERE subject = ? AND NOT EXISTS"
            " (SELECT 1 FROM erased WHERE erased.seq = record_key.seq) ORDER BY seq",
            subject,
        )
        return [as_integer(seq) for (seq,) in rows]

    def erasure_of(self, seq: int) -> int | None:
        """Return the index of the erasure entry that erased this entry's payload."""
        rows = self._rows("SELECT erasure FROM erased WHERE seq = ?", seq)
        return as_integer(rows[0][0]) if rows else None

    def find_idempotency(self, key: bytes) -> int | None:
        """Return the index of the entry that used this idempotency key."""
        rows = self._rows("SELECT seq FROM idempotency WHERE key = ?", key)
        return as_integer(rows[0][0]) if rows else None

    def last_checkpoint(self) -> tuple[int, bytes] | None:
        """Return (size, note) of the largest stored checkpoint."""
        rows = self._rows("SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1")
        return (as_integer(rows[0][0]), _bytes(rows[0][1])) if rows else None

    def checkpoint(self, size: int) -> bytes | None:
        """Return the stored checkpoint of exactly this size."""
        return _optional_bytes(self._rows("SELECT note FROM checkpoint WHERE size = ?", size))

    def checkpoint_count(self) -> int:
        """Return how many checkpoints are stored."""
        return as_integer(self._rows("SELECT count(*) FROM checkpoint")[0][0])

    def hashes(self, level: int, first: int, count: int) -> list[bytes]:
        """Return hashes of one level, within one tile: see audit.tiles.ReadHashes."""
        position, offset = divmod(first, TILE_WIDTH)
        rows = self._rows(
            "SELECT hashes FROM tile WHERE level = ? AND position = ?", level, position
        )
        if rows:
            start = offset * HASH_SIZE
            found = split_hashes(_bytes(rows[0][0])[start : start + count * HASH_SIZE])
        elif level == 0:
            found = self._column(
                "SELECT leaf_hash FROM entry WHERE seq >= ? AND seq < ? ORDER BY seq",
                first,
                first + count,
            )
        else:
            found = self._column(
                "SELECT root FROM tile WHERE level = ? AND position >= ? AND position < ?"
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
        with self._lock, converted("closing failed"):
            self._connection.close()

    def _subject(self, condition: str, value: int | bytes) -> SubjectRow | None:
        rows = self._rows(
            f"SELECT subject, handle, wrapped, digest FROM subject_key WHERE {condition}",  # noqa: S608 - the two conditions above
            value,
        )
        if not rows:
            return None
        subject, handle, wrapped, digest = rows[0]
        return SubjectRow(as_integer(subject), _bytes(handle), _bytes(wrapped), _bytes(digest))

    def _column(self, statement: str, *parameters: SqlValue) -> list[bytes]:
        return [_bytes(value) for (value,) in self._rows(statement, *parameters)]

    def _rows(self, statement: str, *parameters: SqlValue) -> list[SqlRow]:
        with self._lock, converted("reading failed"):
            return self._connection.execute(statement, parameters).fetchall()


def _entry(row: SqlRow) -> EntryRow:
    seq, record_id, leaf, leaf_hash = row
    if not isinstance(record_id, str):
        raise DamagedLogError(f"id of entry {seq!r} is {type(record_id).__name__}, want text")
    return EntryRow(as_integer(seq), record_id, _bytes(leaf), _bytes(leaf_hash))


def _optional_bytes(rows: Sequence[SqlRow]) -> bytes | None:
    return _bytes(rows[0][0]) if rows else None


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise DamagedLogError(f"a stored value is {type(value).__name__}, want bytes")
    return value
