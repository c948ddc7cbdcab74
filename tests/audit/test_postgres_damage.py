"""Damage to a log in PostgreSQL: a changed value, a lost row, a flipped byte in a table's file.

Whoever owns the server can do the first two whatever the triggers say, a disk the third. ``verify``
must find each, and name the entry concerned wherever the row is about one.
"""

import os
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from audit import schema
from audit.log import Log
from audit.postgres import PostgresStore
from audit.postgres_scan import PostgresSource
from audit.records import Idempotency, NewRecord
from audit.verify import Report, verify
from tests.audit.check_log import check_log
from tests.audit.conftest import ORIGIN, Clock
from tests.audit.test_damage import KEYS, OWNERS
from tests.postgres import Database, Server, server_or_skip

SIZE = 300
ROWS = 10 if os.environ.get("GROUNDS_LONG") else 1
TABLES = schema.TABLES


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of its own, because it is stopped and its files are changed."""
    with server_or_skip() as server:
        yield server


@pytest.fixture(scope="module")
def database(server: Server) -> Iterator[Database]:
    with server.database() as database:
        yield database


@pytest.fixture(scope="module")
def directory(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with every kind of row, in the database."""
    directory = tmp_path_factory.mktemp("damage") / "log"
    store = PostgresStore(database.url)
    opened = Log.open(directory, origin=ORIGIN, clock=Clock(), create=True, store=store)
    with closing(opened) as log:
        while log.size < SIZE:
            first = log.size
            log.append(
                [
                    NewRecord(
                        "event",
                        f"id-{number:06d}",
                        {"number": number},
                        os.urandom(number % 7 * 40),
                        f"subject-{number % 20}" if number % 3 else None,
                        Idempotency("caller", str(number), b"body"),
                    )
                    for number in range(first, first + 50)
                ]
            )
            log.checkpoint()
        numbers = iter(range(1_000))
        log.erase_subject(
            "subject-7", basis="b", actor="a", new_id=lambda: f"erasure-{next(numbers)}"
        )
        log.checkpoint()
    check_log(directory, store=store)
    return directory


def found(directory: Path, database: Database) -> Report:
    return verify(directory, use_keys=False, source=PostgresSource(database.url), workers=1)


def as_owner(database: Database, statement: str, *arguments: object) -> None:
    """Run a statement past the triggers, as whoever owns the server can."""
    database.execute(statement, *arguments, past_triggers=True)


def columns_of(database: Database, table: str) -> list[str]:
    rows = database.execute(
        "SELECT attname::text FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0"
        " ORDER BY attnum",
        table,
    )
    return [str(name) for (name,) in rows]


def changed(value: object, rng: random.Random) -> object:
    if isinstance(value, int):
        return value ^ (1 << rng.randrange(12, 40))
    if isinstance(value, bytes):
        if len(value) > 1 and rng.random() < 0.3:
            return value[:-1]  # truncated
        flipped = bytearray(value) or bytearray(1)
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        return bytes(flipped)
    return f"{value}x"


def concerned(table: str, row: tuple[object, ...]) -> object:
    """Return the entry that a row is about, None where it is about none or many."""
    return OWNERS[table](row) if table in OWNERS else None


@pytest.mark.parametrize("table", TABLES)
def test_a_changed_value_or_a_lost_row_is_found_and_its_entry_named(
    directory: Path, database: Database, table: str
) -> None:
    columns = columns_of(database, table)
    key = KEYS[table]
    rows: list[tuple[object, ...]] = database.execute(f"SELECT * FROM {table}")  # noqa: S608
    assert rows
    rng = random.Random(table)  # noqa: S311 - positions, not secrets
    for row in rng.sample(rows, min(ROWS, len(rows))):
        where = " AND ".join(f"{name} = ${at}" for at, name in enumerate(columns, 2))
        for column in columns:
            if table == "head" and column == "one":
                continue  # the server's own rule refuses it, triggers or not
            value = changed(row[columns.index(column)], rng)
            as_owner(database, f"UPDATE {table} SET {column} = $1 WHERE {where}", value, *row)  # noqa: S608
            report = found(directory, database)
            assert report.faults, f"{table}.{column} of {row[0]!r}: not found"
            owner = concerned(table, row)
            if isinstance(owner, int):
                assert any(fault.concerns(owner) for fault in report.faults), (
                    f"{table}.{column}: entry {owner} not named: {report.faults[:3]}"
                )
            put_back(database, table, columns, row, column, value)
        lost(directory, database, table, row)
    assert found(directory, database).sound, "not put back"
    assert key in columns


def put_back(
    database: Database,
    table: str,
    columns: list[str],
    row: tuple[object, ...],
    column: str,
    value: object,
) -> None:
    there = [value if name == column else was for name, was in zip(columns, row, strict=True)]
    where = " AND ".join(f"{name} = ${at}" for at, name in enumerate(columns, 2))
    as_owner(
        database,
        f"UPDATE {table} SET {column} = $1 WHERE {where}",  # noqa: S608
        row[columns.index(column)],
        *there,
    )


def lost(directory: Path, database: Database, table: str, row: tuple[object, ...]) -> None:
    columns = columns_of(database, table)
    where = " AND ".join(f"{name} = ${at}" for at, name in enumerate(columns, 1))
    as_owner(database, f"DELETE FROM {table} WHERE {where}", *row)  # noqa: S608
    report = found(directory, database)
    assert report.faults, f"a lost row of {table} was not found"
    owner = concerned(table, row)
    if isinstance(owner, int):
        assert any(fault.concerns(owner) for fault in report.faults), report.faults[:3]
    places = ", ".join(f"${at}" for at in range(1, len(row) + 1))
    as_owner(database, f"INSERT INTO {table} VALUES ({places})", *row)  # noqa: S608


@pytest.mark.parametrize("table", TABLES)
def test_a_flipped_byte_in_a_tables_file_is_found(
    directory: Path, database: Database, server: Server, table: str
) -> None:
    """The server's page checksums refuse the page; what was on it is named as unreadable."""
    ((path,),) = database.execute("SELECT pg_relation_filepath($1::text::regclass)", table)
    ((owned,),) = database.execute(f"SELECT count(*) FROM {table}")  # noqa: S608
    assert owned
    server.stop()
    file = Path(server.data) / str(path)
    content = file.read_bytes()
    assert content
    damaged = bytearray(content)
    rng = random.Random(table)  # noqa: S311
    damaged[8_192 - 1 - rng.randrange(20)] ^= 1 << rng.randrange(8)  # in its first page's last row
    write(file, bytes(damaged))
    server.start()
    report = found(directory, database)
    assert not report.sound
    if table in OWNERS:
        assert any(fault.index is not None for fault in report.faults), report.faults
    server.stop()
    write(file, content)
    server.start()
    assert found(directory, database).sound


def write(file: Path, content: bytes) -> None:
    """Write in place, so that the file stays its owner's."""
    with file.open("r+b") as open_file:
        open_file.write(content)
