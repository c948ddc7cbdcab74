"""Schema steps: an older file gets every step once, in order, whole or not at all."""

import shutil
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from audit import schema
from audit.errors import DuplicateIdempotencyError, SchemaVersionError
from audit.log import Log
from audit.migrations import Step, steps
from audit.records import Idempotency, NewRecord
from audit.sqlite import SqliteStore
from tests.audit.check_log import check_log
from tests.audit.conftest import ORIGIN, Clock, MakeRecord, OpenLog

LATER = Step(schema.VERSION + 1, "later", "CREATE TABLE later (x INTEGER) STRICT;")
BROKEN = Step(schema.VERSION + 2, "broken", "CREATE TABLE another (x INTEGER); SELECT nonsense;")


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_a_store_has_steps_numbered_without_gaps(engine: str) -> None:
    numbers = [step.number for step in steps(engine)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_an_older_file_is_brought_up_to_date_with_its_entries(
    open_log: OpenLog, directory: Path, record: MakeRecord
) -> None:
    log = open_log()
    receipts = log.append([record(subject="s"), record(key="k")])
    log.close()
    connection = apsw.Connection(str(directory / "log.sqlite3"))
    schema.migrate(connection, [*schema.STEPS, LATER])
    schema.migrate(connection, [*schema.STEPS, LATER])
    assert connection.pragma("user_version") == LATER.number
    assert connection.execute("SELECT count(*) FROM entry").fetchall() == [(3,)]
    with pytest.raises(SchemaVersionError) as caught:
        schema.migrate(connection)  # an older program
    assert (caught.value.got, caught.value.want) == (LATER.number, schema.VERSION)
    connection.execute("DROP TABLE later")
    connection.pragma("user_version", schema.VERSION)
    connection.close()
    check_log(directory, acknowledged=receipts)


def test_a_log_of_the_first_schema_finds_what_it_found(directory: Path) -> None:
    """Made by the first step alone; its subjects, requests and records are found after the others."""
    made = SqliteStore(directory, most_recent=40)
    with closing(Log.open(directory, origin=ORIGIN, clock=Clock(), create=True, store=made)) as log:
        for start in range(0, 500, 25):
            log.append(
                [
                    NewRecord(
                        "event", f"{number:06d}", {}, b"payload", f"s{number % 90}",
                        Idempotency("caller", f"k{number}", b"body"),
                    )
                    for number in range(start, start + 25)
                ]
            )  # fmt: skip
        log.append([NewRecord("event", "alone", {}, b"payload")])
        log.erase_subject("s7", basis="b", actor="a", new_id=lambda: "erasure")
        log.checkpoint()
    set_back(directory / "log.sqlite3")
    for most_recent in (40, 10**6):  # moved at once, and left to be moved
        copy = directory.with_name(f"copy-{most_recent}")
        shutil.copytree(directory, copy)
        store = SqliteStore(copy, most_recent=most_recent)
        with closing(Log.open(copy, origin=ORIGIN, clock=Clock(), store=store)) as log:
            for subject in range(90):
                found = log.records_of(f"s{subject}")
                assert found == ([] if subject == 7 else [*range(subject + 1, 501, 90)])
            for number in range(500):
                match = log.find_idempotent(Idempotency("caller", f"k{number}", b"body"))
                assert match is not None
                assert match.index == number + 1
            request = Idempotency("caller", "k3", b"body")
            with pytest.raises(DuplicateIdempotencyError):
                log.append([NewRecord("event", "again", {}, b"payload", None, request)])
            log.append([NewRecord("event", "more", {}, b"payload", "s3")])
            assert log.records_of("s3")[-1] == log.size - 1
        check_log(copy)
        assert statements(copy / "log.sqlite3") == schema.STATEMENTS


def set_back(path: Path) -> None:
    """Make of a log what it would be had only the first step been taken."""
    connection = apsw.Connection(str(path))
    kept = {
        table: connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608
        for table in schema.TABLES
        if "page" not in table and table not in ("later_record", "lookup_extent")
    }
    connection.close()
    for left in path.parent.glob("log.sqlite3*"):
        left.unlink()
    connection = apsw.Connection(str(path))
    connection.pragma("page_size", 8_192)
    schema.migrate(connection, schema.STEPS[:1])
    for (name,) in connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'head'"
    ).fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute("DELETE FROM head")
    connection.execute(schema.STATEMENTS["head_no_delete"])
    with connection:
        for table, rows in kept.items():
            # The columns of idempotency stood the other way round.
            ordered = [(key, seq) for seq, key in rows] if table == "idempotency" else rows
            for row in ordered:
                places = ", ".join("?" * len(row))
                connection.execute(f"INSERT INTO {table} VALUES ({places})", row)  # noqa: S608
    connection.close()


def statements(path: Path) -> dict[str, str]:
    connection = apsw.Connection(str(path))
    rows = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
    found = {str(name): str(sql) for name, sql in rows}
    connection.close()
    return found


def test_a_step_that_fails_leaves_the_file_as_it_was(open_log: OpenLog, directory: Path) -> None:
    open_log().close()
    connection = apsw.Connection(str(directory / "log.sqlite3"))
    with pytest.raises(apsw.SQLError):
        schema.migrate(connection, [*schema.STEPS, LATER, BROKEN])
    assert connection.pragma("user_version") == schema.VERSION
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    assert not tables & {"later", "another"}
    connection.close()
    check_log(directory)
