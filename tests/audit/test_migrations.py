"""Schema steps: an older file gets every step once, in order, whole or not at all."""

from pathlib import Path

import apsw
import pytest

from audit import schema
from audit.digests import subject_handle
from audit.errors import DamagedLogError, DuplicateIdempotencyError, SchemaVersionError
from audit.migrations import Step, steps
from audit.records import Idempotency, Receipt
from audit.verify import verify
from tests.audit.check_log import check_log
from tests.audit.conftest import MakeRecord, OpenLog
from tests.audit.faulty_vfs import NAME, FaultyDisk

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


FIRST = """
CREATE TABLE subjects (
  subject INTEGER PRIMARY KEY,
  handle BLOB NOT NULL UNIQUE,
  wrapped BLOB NOT NULL,
  digest BLOB NOT NULL
) STRICT;
INSERT INTO subjects SELECT * FROM subject_key;
DROP TABLE subject_key;
ALTER TABLE subjects RENAME TO subject_key;
CREATE TABLE requests (key BLOB NOT NULL PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO requests SELECT key, seq FROM idempotency;
DROP TABLE idempotency;
ALTER TABLE requests RENAME TO idempotency;
"""
"""Makes the two tables as the first step made them."""


def change(directory: Path, statement: str) -> None:
    connection = apsw.Connection(str(directory / "log.sqlite3"))
    connection.execute(statement)
    connection.close()


@pytest.fixture
def older(open_log: OpenLog, directory: Path, record: MakeRecord) -> list[Receipt]:
    """Make a log of the first version; return the receipts of nine entries with subject and key."""
    log = open_log()
    receipts = log.append([record(subject=f"s{number}", key=f"k{number}") for number in range(9)])
    log.close()
    connection = apsw.Connection(str(directory / "log.sqlite3"))
    connection.execute(FIRST)
    made = schema.statements(1)
    for name in (name for name in made if name.startswith(("subject_key_no", "idempotency_no"))):
        connection.execute(made[name])
    # Renamed tables are quoted in the stored text, which is as the first step made them.
    connection.execute("PRAGMA writable_schema = ON")
    for name in ("subject_key", "idempotency"):
        connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (made[name], name))
    connection.pragma("user_version", 1)
    connection.close()
    return receipts


def test_in_a_file_that_had_indexes_of_digests_all_are_found_without(
    open_log: OpenLog, directory: Path, record: MakeRecord, older: list[Receipt]
) -> None:
    receipts = older
    log = open_log(create=False)
    repeated = log.find_idempotent(Idempotency("caller", "k3", b"fingerprint"))
    assert repeated is not None
    assert repeated.index == receipts[3].index
    with pytest.raises(DuplicateIdempotencyError):
        log.append([record(key="k3")])
    receipts += log.append([record(subject="s3")])
    (known,) = log._rows.find_subjects([subject_handle(log._secrets.digest, "s3")]).values()
    assert known.subject == receipts[3].index, "s3 has a key already"
    log.close()
    check_log(directory, acknowledged=receipts)


def test_an_older_file_is_verified_by_its_own_version(
    directory: Path, older: list[Receipt]
) -> None:
    """A backup from before an update is no worse for it."""
    check_log(directory, acknowledged=older)
    change(directory, "DROP TRIGGER idempotency_no_delete")
    change(directory, "CREATE TABLE later (x INTEGER) STRICT")
    assert {fault.message for fault in verify(directory).faults} == {
        "idempotency_no_delete is missing from the schema",
        "later is not what version 1 of the schema makes",
    }


def test_a_full_disk_is_told_from_other_reasons_why_a_step_fails(
    directory: Path, older: list[Receipt]
) -> None:
    disk = FaultyDisk()
    connection = apsw.Connection(str(directory / "log.sqlite3"), vfs=NAME)
    connection.pragma("journal_mode", "wal")
    connection.pragma("cache_size", 1)  # so that it is met in the middle, and SQLite rolls back
    connection.pragma("cache_spill", 1)
    disk.failing["write"] = apsw.FullError
    with pytest.raises(apsw.FullError):
        schema.migrate(connection)
    disk.failing.clear()
    assert connection.pragma("user_version") == 1
    schema.migrate(connection)
    connection.close()
    disk.remove()
    check_log(directory, acknowledged=older)


@pytest.mark.usefixtures("older")
def test_rows_that_cannot_be_brought_along_are_verifys_to_name(
    open_log: OpenLog, directory: Path
) -> None:
    """The first version let two idempotency keys lead to one entry, and no program made them."""
    change(directory, "INSERT INTO idempotency VALUES (zeroblob(16), 1)")
    with pytest.raises(DamagedLogError, match=r"rows that no entry explains.*run verify"):
        open_log(create=False)
    faults = verify(directory).faults
    assert {(fault.index, fault.kind) for fault in faults} == {
        (None, "idempotency"), (1, "idempotency")
    }  # fmt: skip


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
