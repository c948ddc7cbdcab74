"""Rows put into the store past the log: nobody who reads the log is shown them, verify is.

No INSERT is refused to whoever owns the database, so a row can stand under a number that no entry has.
"""

# ruff: noqa: S608 - statements of our own

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.errors import DamagedLogError, UnknownRecordError
from audit.postgres import PostgresStore
from audit.postgres_scan import PostgresSource
from audit.records import Idempotency
from audit.store import Store
from audit.verify import verify
from tests.audit.check_log import check_log
from tests.audit.conftest import MakeRecord, OpenLog, on_both_stores
from tests.audit.test_damage import without_triggers

pytestmark = on_both_stores

Plant = Callable[[str], None]


@pytest.fixture
def plant(store: Store, directory: Path, request: pytest.FixtureRequest) -> Plant:
    """Run a statement as whoever owns the database."""

    def run(statement: str) -> None:
        if isinstance(store, PostgresStore):
            request.getfixturevalue("database").execute(statement, past_triggers=True)
            return
        without_triggers(directory / "log.sqlite3", statement)

    return run


@pytest.mark.parametrize("at", [-1, 10**9])
def test_an_entry_outside_the_log_is_no_entry_and_is_found(
    open_log: OpenLog, record: MakeRecord, plant: Plant, store: Store, directory: Path, at: int
) -> None:
    log = open_log()
    log.append([record(subject="s", key="k"), record(record_id="a.1")])
    log.close()
    plant(f"INSERT INTO entry SELECT {at}, 'a.2', leaf, leaf_hash FROM entry WHERE seq = 2")
    plant(
        f"INSERT INTO entry SELECT {at - 1}, 'key-rotated-1', leaf, leaf FROM entry WHERE seq = 2"
    )

    log = open_log()  # "key-rotated-1" is looked up in opening it
    assert log.size == 3
    assert len(log.entries(-10, 2 * 10**9)) == 3
    with pytest.raises(UnknownRecordError):
        log.read("a.2")
    with pytest.raises(UnknownRecordError):
        log.read_index(at)
    # The id is taken all the same, and that is told for what it is.
    with pytest.raises(DamagedLogError, match="no record explains"):
        log.append([record(record_id="a.2")])
    log.append([record(record_id="a.3")])
    log.checkpoint()
    log.close()

    source = PostgresSource(store.url) if isinstance(store, PostgresStore) else None
    faults = verify(directory, source=source).faults
    told = [fault.message for fault in faults if fault.kind == "entry"]
    assert any(str(at) in message and "a.2" in message for message in told), faults


def test_a_planted_idempotency_key_is_named_with_the_entry_it_leads_to(
    open_log: OpenLog, record: MakeRecord, plant: Plant, store: Store, directory: Path
) -> None:
    """It would answer one caller with what another was told."""
    log = open_log()
    log.append([record(key="k"), record(), record(key="l")])
    log.close()
    if isinstance(store, PostgresStore):
        plant(rf"INSERT INTO idempotency VALUES ('\x{'01' * 16}'::bytea, 1)")
        plant(rf"INSERT INTO idempotency VALUES ('\x{'02' * 16}'::bytea, 2)")
    else:  # where an entry has one row at most
        plant(f"UPDATE idempotency SET key = x'{'01' * 16}' WHERE seq = 1")
        plant(f"INSERT INTO idempotency VALUES (x'{'02' * 16}', 2)")
    source = PostgresSource(store.url) if isinstance(store, PostgresStore) else None
    faults = verify(directory, source=source).faults
    named = {fault.index for fault in faults if fault.kind == "idempotency"}
    assert named == {None, 1, 2}, faults


@pytest.mark.parametrize("use_keys", [True, False])
def test_two_rows_of_one_digest_are_found(
    open_log: OpenLog,
    record: MakeRecord,
    plant: Plant,
    store: Store,
    directory: Path,
    use_keys: bool,
) -> None:
    """An erasure would find one of the two, and a repeated request be answered by either."""
    log = open_log()
    log.append([record(subject="s", key="k"), record(subject="t", key="l"), record(subject="u")])
    log.close()
    if isinstance(store, PostgresStore):
        plant("ALTER TABLE subject_key DROP CONSTRAINT subject_key_handle_key")
        plant("ALTER TABLE idempotency DROP CONSTRAINT idempotency_pkey")
    plant("UPDATE subject_key SET handle = (SELECT handle FROM subject_key WHERE subject = 1)"
          " WHERE subject = 3")  # fmt: skip
    plant("UPDATE idempotency SET key = (SELECT key FROM idempotency WHERE seq = 1) WHERE seq = 2")
    source = PostgresSource(store.url) if isinstance(store, PostgresStore) else None
    faults = verify(directory, source=source, use_keys=use_keys).faults
    assert {(fault.index, fault.kind) for fault in faults} >= {
        (1, "subject-key"), (3, "subject-key"), (1, "idempotency"), (2, "idempotency")
    }  # fmt: skip


def test_what_belongs_to_no_entry_is_not_looked_up(
    open_log: OpenLog, record: MakeRecord, plant: Plant, store: Store
) -> None:
    log = open_log()
    log.append([record(subject="s", key="k")])
    bytes_ = "'\\x{}'::bytea" if isinstance(store, PostgresStore) else "x'{}'"
    stored = log.store.connect()
    ((handle,),) = stored.query("SELECT handle FROM subject_key")
    stored.close()
    assert isinstance(handle, bytes)
    zero = bytes_.format("00")
    plant(f"INSERT INTO record_key VALUES (-1, 1, {zero})")
    plant(f"INSERT INTO idempotency VALUES ({bytes_.format('01' * 16)}, -1)")
    plant(f"INSERT INTO subject_key VALUES (-1, {bytes_.format('02' * 16)}, {zero}, {zero})")

    rows = log._rows
    assert log.find_idempotent(Idempotency("caller", "k", b"fingerprint")) is not None
    assert rows.records_of(1) == [1]
    assert rows.find_idempotency(b"\x01" * 16) is None
    assert rows.find_subjects([handle]).keys() == {handle}
    assert rows.find_subjects([b"\x02" * 16]) == {}
    assert rows.subject(-1) is None


def test_the_key_of_an_erased_subject_put_back_from_a_copy_is_found(
    open_log: OpenLog, record: MakeRecord, plant: Plant, store: Store, directory: Path
) -> None:
    log = open_log()
    log.append([record(subject="s"), record(subject="t"), record(subject="t"), record()])
    connection = log.store.connect()
    numbers = itertools.count()
    copies = connection.query("SELECT handle, wrapped, digest FROM subject_key WHERE subject < 3")
    kept = log.read_index(2)
    ids = [log.read_index(3).id, log.read_index(4).id]
    new_id = lambda: f"erasure-{next(numbers)}"  # noqa: E731
    log.erase_subject("s", basis="b", actor="a", new_id=new_id)
    log.erase_records(ids, basis="b", actor="a", new_id=new_id)  # one of t's two stays
    assert log.read_index(2) == kept
    connection.close()
    log.checkpoint()
    log.close()
    check_log(directory, store=store)

    literal = "'\\x{}'::bytea" if isinstance(store, PostgresStore) else "x'{}'"
    handle, wrapped, digest = (
        literal.format(value.hex()) for value in copies[0] if isinstance(value, bytes)
    )
    plant(
        f"UPDATE subject_key SET handle = {handle}, wrapped = {wrapped}, digest = {digest}"
        " WHERE subject = 1"
    )
    source = PostgresSource(store.url) if isinstance(store, PostgresStore) else None
    for use_keys in (True, False):
        (fault,) = verify(directory, source=source, use_keys=use_keys).faults
        assert (fault.index, fault.kind) == (1, "subject-key")
