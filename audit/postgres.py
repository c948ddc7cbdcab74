"""The log's rows in PostgreSQL: several processes append to one log.

Each process commits groups of its own. Whoever holds the advisory lock on appending reads the head,
numbers its group and commits; the lock goes with the transaction, so a process that dies or hangs
cannot hold it, and one that comes back late finds its transaction undone. Unique indexes decide on
identifiers and idempotency keys, whoever tries to use them twice.

While one process holds the lock the others wait, so what is done then is what bounds all of them: one
query, one statement that writes, and COMMIT (decision 0034).
"""

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from audit import postgres_schema
from audit.envelope import WRAPPED_SUBJECT_KEY_BYTES, subject_row_digest, unlinked_handle
from audit.errors import (
    DamagedLogError,
    LogBrokenError,
    LogStateError,
    LogUnavailableError,
)
from audit.postgres_session import (
    APPENDING,
    APPLICATION_NAME,
    LOCKS,
    SCHEMA,
    SIGNING,
    STORING,
    Connection,
    Session,
    describe,
)
from audit.rows import Group, Head, News, SubjectRow
from audit.store import SqlRow, SqlValue

_MOST_NEWS = 8_192
"""Entries of others that are taken in one by one; beyond, the tree is read from its tiles anew."""
_RESOLVE_SECONDS = 5.0
"""How long to try to learn what became of a COMMIT that was not answered."""

_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
_LOCK = f"SELECT pg_advisory_xact_lock({LOCKS}, {APPENDING})"
_NEWS = """
SELECT size, frontier, root,
  EXISTS (SELECT FROM erased WHERE erasure >= $1),
  EXISTS (SELECT FROM entry WHERE id = $4),
  ARRAY(SELECT leaf_hash FROM entry
        WHERE seq >= $1 AND seq < size AND size - $1 <= $2 ORDER BY seq),
  found.*
FROM head, (SELECT array_agg(subject), array_agg(handle), array_agg(wrapped), array_agg(digest)
            FROM subject_key WHERE handle = ANY ($3::bytea[])) AS found"""
"""A statement of its own, after the one that waits for the lock: it sees all that was committed
before the lock was had."""
_WRITE = """
WITH
e AS (INSERT INTO entry
      SELECT unnest($1::bigint[]), unnest($2::text[]), unnest($3::bytea[]), unnest($4::bytea[])),
p AS (INSERT INTO payload SELECT unnest($5::bigint[]), unnest($6::bytea[])),
r AS (INSERT INTO record_key
      SELECT unnest($7::bigint[]), unnest($8::bigint[]), unnest($9::bytea[])),
s AS (INSERT INTO subject_key
      SELECT unnest($10::bigint[]), unnest($11::bytea[]), unnest($12::bytea[]),
        unnest($13::bytea[])),
i AS (INSERT INTO idempotency SELECT unnest($14::bytea[]), unnest($15::bigint[])),
t AS (INSERT INTO tile
      SELECT unnest($16::bigint[]), unnest($17::bigint[]), unnest($18::bytea[]),
        unnest($19::bytea[]))
SELECT advance_head($20, $21, $22, $23, $24)"""
"""``unnest`` among what is selected gives row after row; in FROM it would copy all of them first."""
_ERASE = "SELECT erase($1, $2, $3, $4, $5, $6)"
_STORE_CHECKPOINT = """
INSERT INTO checkpoint SELECT $1, $2
WHERE (SELECT max(size) FROM checkpoint) IS NOT DISTINCT FROM $3
ON CONFLICT DO NOTHING"""

_MAY_CHANGE = """
SELECT bool_or(has_table_privilege(oid, 'UPDATE, DELETE, TRUNCATE'))
FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind = 'r'"""
_OTHERS = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name = $1 AND pid <> pg_backend_pid()"
)
"""Connections of services and commands, this one left out."""


@dataclass(frozen=True, slots=True)
class PostgresStore:
    """A log's database."""

    url: str = field(repr=False)
    """``postgresql://``, with a password perhaps: it appears nowhere."""

    @property
    def name(self) -> str:
        """What messages call it."""
        return describe(self.url)

    def exists(self) -> bool:
        """Return whether the log's first entry is there.

        Raises LogMissingError when not even its tables are, SchemaVersionError.
        """
        connection = self.connect()
        try:
            return bool(connection.query("SELECT 1 FROM entry WHERE seq = 0"))
        finally:
            connection.close()

    def is_in_use(self) -> bool:
        """Return whether another process is connected to the log. Raises as ``connect``."""
        connection = self.connect()
        try:
            for _ in range(20):  # the server notices a moment later that somebody has gone
                if not connection.query(_OTHERS, APPLICATION_NAME):
                    return False
                time.sleep(0.1)
            return True
        finally:
            connection.close()

    def may_change(self) -> bool:
        """Return whether its role may do more to the log than read and add. Raises as ``connect``."""
        connection = self.connect()
        try:
            return bool(connection.query(_MAY_CHANGE, SCHEMA)[0][0])
        finally:
            connection.close()

    def connect(self) -> "PostgresConnection":
        """Open it for reading. Raises LogMissingError, SchemaVersionError, LogUnavailableError."""
        return PostgresConnection(self.url)

    def open_writer(self) -> "PostgresWriter":
        """Open it for writing. Raises LogStateError for a server that may lose commits."""
        return PostgresWriter(self.url)


class PostgresConnection:
    """A read-only connection that any thread may use, one at a time."""

    def __init__(self, url: str) -> None:
        self._session = Session(url, writes=False, settings={"default_transaction_read_only": "on"})
        try:
            postgres_schema.check_version(self._session)
        except BaseException:
            self._session.close()
            raise

    def query(self, statement: str, *parameters: SqlValue) -> list[SqlRow]:
        """Return a query's rows."""

        async def fetch(connection: Connection) -> list[SqlRow]:
            return [tuple(row) for row in await connection.fetch(statement, *parameters)]

        return self._session.run(fetch, what="reading", reopen=True)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()


class PostgresWriter:
    """The connection that appends, and the one that signs beside it."""

    def __init__(self, url: str) -> None:
        # A plan made for the values of each group would begin by copying them.
        self._session = Session(
            url, writes=True, settings={"plan_cache_mode": "force_generic_plan"}
        )
        self._signing = Session(url, writes=True)
        self._begun = False
        self._erased_files: tuple[int, ...] | None = None
        """The files that held what was erased last, while they may hold it still."""
        try:
            self._session.run(_check_durability, what="looking at the settings")
        except BaseException:
            self.close()
            raise

    @property
    def digests(self) -> None:
        """None: there are unique indexes, which keep several processes apart too."""
        return

    def prepare_schema(self) -> None:
        """Check that the tables are of this version. They are made by ``grounds log migrate``."""
        postgres_schema.check_version(self._session)

    def begin(
        self, known: int, subjects: Callable[[], Sequence[bytes]], sought: str | None
    ) -> News:
        """Take the lock on appending, and return what others appended; see ``audit.store``."""

        async def begin(connection: Connection) -> News:
            if connection.is_in_transaction():
                await connection.execute("ROLLBACK")
            await connection.execute(f"{_BEGIN}; {_LOCK}")
            size, frontier, root, erased, taken, hashes, *found = await connection.fetchrow(
                _NEWS, known, _MOST_NEWS, subjects(), sought
            )
            rows = zip(*found, strict=True) if found[0] else ()
            return News(
                Head(size, frontier, root),
                tuple(hashes) if size - known <= _MOST_NEWS else None,
                {row[1]: SubjectRow(*row) for row in rows if 0 <= row[0] < size},
                erased,
                taken,
            )

        self._begun = True
        # An idle connection may have been lost long ago, and nothing has been written on it.
        return self._session.run(begin, what="beginning to append", reopen=True)

    def roll_back(self) -> None:
        """Let others append. When that cannot be said to the server, it will find out."""
        if self._begun:
            self._begun = False
            with suppress(LogStateError):
                self._session.go_on(_execute("ROLLBACK"), what="rolling back")

    def commit(self, group: Group, *, old: Head, new: Head) -> None:
        """Write the group and move the head; see ``audit.store``."""
        committing = False

        async def write(connection: Connection) -> bool:
            nonlocal committing
            moved: bool = await connection.fetchval(
                _WRITE,
                *_columns(group.entries, 4),
                *_columns(group.payloads, 2),
                *_columns(group.record_keys, 3),
                *_columns(group.subject_keys, 4),
                *_columns(group.idempotency, 2),
                *_columns(
                    [(tile.level, tile.position, tile.root, tile.hashes) for tile in group.tiles], 4
                ),
                old.size,
                old.root,
                new.size,
                new.frontier,
                new.root,
            )
            if not moved:
                return False
            if group.erased:
                await connection.fetchval(_ERASE, *_erasure(group.erased))
                # Before it is known whether COMMIT succeeds: nothing may fail once it has. The rows'
                # locks keep the tables from being written anew until then.
                self._erased_files = await _files(connection)
            committing = True
            await _commit(connection)
            return True

        try:
            moved = self._session.go_on(write, what="appending")
        except LogStateError as err:
            if not committing:
                raise
            self._resolve(group, err)
            moved = True
        if not moved:
            raise LogBrokenError(f"the head is no longer at size {old.size}: another writer?")
        self._begun = False

    @contextmanager
    def signing(self) -> Iterator[None]:
        """Keep all other processes from signing; for as long as the connection holds."""
        self._signing.run(
            _execute(f"SELECT pg_advisory_lock({LOCKS}, {SIGNING})"),
            what="waiting to sign",
            reopen=True,
        )
        try:
            yield
        finally:
            with suppress(LogStateError):
                self._signing.go_on(
                    _execute(f"SELECT pg_advisory_unlock({LOCKS}, {SIGNING})"),
                    what="ending to sign",
                )

    def insert_checkpoint(self, previous: int | None, size: int, note: bytes) -> None:
        """Store a signed checkpoint if the newest is still of ``previous``; see ``audit.store``."""

        async def store(connection: Connection) -> bytes | None:
            async with connection.transaction(isolation="read_committed"):
                await connection.execute(f"SELECT pg_advisory_xact_lock({LOCKS}, {STORING})")
                await connection.execute(_STORE_CHECKPOINT, size, note, previous)
                stored: bytes | None = await connection.fetchval(
                    "SELECT note FROM checkpoint WHERE size = $1", size
                )
            return stored

        # On another connection the lock on signing would be gone.
        stored = self._signing.go_on(store, what="storing a checkpoint")
        if stored is None:
            raise LogUnavailableError("another process has signed meanwhile; this one did not")
        if stored != note:
            raise DamagedLogError(f"another checkpoint is stored for size {size}")

    def purge(self) -> bool:
        """Return whether the tables' files were written anew since the last erasure made here.

        ``VACUUM FULL`` does that, which only their owner can; see the operator's guide, also for
        the server's write-ahead log and backups.
        """
        if self._erased_files is None:
            return True
        try:
            now = self._session.run(_files, what="looking at the files", reopen=True)
        except LogUnavailableError:
            return False  # what was erased is erased, whoever cannot look
        if any(old == new for old, new in zip(self._erased_files, now, strict=True)):
            return False
        self._erased_files = None
        return True

    def close(self) -> None:
        """Close the connections."""
        self._session.close()
        self._signing.close()

    def _resolve(self, group: Group, cause: LogStateError) -> None:
        """Return if the group, whose COMMIT was not answered, is in the log after all.

        Raises LogUnavailableError if it is not, or if that cannot be learnt.
        """
        self._session.drop()
        first = group.entries[0]

        async def look(connection: Connection) -> bool:
            # With the lock, the doubtful transaction is over. And this one has a number of its own,
            # so that its COMMIT too waits for the disk and for standbys, behind the doubtful one.
            await connection.execute(_BEGIN)
            await connection.execute(_LOCK)
            await connection.fetchval("SELECT pg_current_xact_id()::text")
            stored = await connection.fetchval(
                "SELECT leaf_hash FROM entry WHERE seq = $1", first[0]
            )
            await connection.execute("COMMIT")
            return bool(stored == first[3])

        deadline = time.monotonic() + _RESOLVE_SECONDS
        found: bool | None = None
        while found is None:
            try:
                found = self._session.run(look, what="looking for the last group")
            except LogUnavailableError as err:
                if time.monotonic() > deadline:
                    raise LogUnavailableError(
                        f"{cause}; nobody can tell yet whether the group was stored"
                    ) from err
                time.sleep(0.1)
        if not found:
            raise LogUnavailableError(f"{cause}; nothing of the group was stored") from cause


def _execute(statement: str) -> Callable[[Connection], Awaitable[None]]:
    async def execute(connection: Connection) -> None:
        await connection.execute(statement)

    return execute


async def _commit(connection: Connection) -> None:
    tag = await connection.execute("COMMIT")
    if tag != "COMMIT":
        raise LogUnavailableError(f"the server answered COMMIT with {tag}")


async def _files(connection: Connection) -> tuple[int, ...]:
    tables = ("payload", "record_key", "subject_key")
    return tuple(
        [await connection.fetchval("SELECT pg_relation_filenode($1::regclass)", t) for t in tables]
    )


async def _check_durability(connection: Connection) -> None:
    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
        value = await connection.fetchval("SELECT current_setting($1)", setting)
        if value != "on":
            raise LogStateError(
                f"the server has {setting} {value}, want on: it could lose what it acknowledged"
            )


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> list[Sequence[object]]:
    """Return rows as columns, which is how ``unnest`` takes them."""
    return [*zip(*rows, strict=True)] if rows else [()] * width


def _erasure(erased: Sequence[tuple[int, int, int]]) -> list[Sequence[object]]:
    """Return what the function ``erase`` takes; it empties only subjects without other records."""
    gone = bytes(WRAPPED_SUBJECT_KEY_BYTES)
    subjects = sorted({subject for _, _, subject in erased})
    handles = [unlinked_handle(subject) for subject in subjects]
    digests = [
        subject_row_digest(subject, handle, gone)
        for subject, handle in zip(subjects, handles, strict=True)
    ]
    return [*_columns(erased, 3), subjects, handles, digests]
