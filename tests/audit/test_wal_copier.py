"""The write-ahead log is copied beside the writer: it stays small, and erasing still empties it."""

import threading
from pathlib import Path

import apsw

from tests.audit.check_log import check_log
from tests.audit.conftest import MakeRecord, OpenLog

MEGABYTE = 1 << 20


def test_the_wal_stays_bounded_however_much_is_appended(
    open_log: OpenLog, directory: Path, record: MakeRecord
) -> None:
    log, wal = open_log(), directory / "log.sqlite3-wal"
    receipts, largest = [], 0
    for _ in range(100):
        receipts += log.append([record(b"x" * MEGABYTE)])
        largest = max(largest, wal.stat().st_size)
    assert 16 * MEGABYTE < largest < 50 * MEGABYTE
    log.close()
    assert not wal.exists()
    check_log(directory, acknowledged=receipts)


def test_the_wal_is_emptied_in_the_middle_of_copying_it(
    open_log: OpenLog, directory: Path, record: MakeRecord
) -> None:
    log, wal = open_log(), directory / "log.sqlite3-wal"
    for _ in range(20):
        log.append([record(b"x" * 4 * MEGABYTE)])
        assert log.purge()
        assert wal.stat().st_size == 0


def test_a_reader_that_stays_holds_up_no_commit(
    open_log: OpenLog, directory: Path, record: MakeRecord
) -> None:
    log = open_log()
    reader = apsw.Connection(str(directory / "log.sqlite3"), flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM entry").fetchall() == [(1,)]
    receipts = [log.append([record(b"x" * MEGABYTE)])[0] for _ in range(30)]
    assert reader.execute("SELECT count(*) FROM entry").fetchall() == [(1,)]
    assert not log.purge()
    reader.close()
    assert log.purge()
    log.close()
    check_log(directory, acknowledged=receipts)


def test_closing_ends_the_thread(open_log: OpenLog, record: MakeRecord) -> None:
    before = set(threading.enumerate())  # other logs may be open in this process
    log = open_log()
    log.append([record(b"x" * 4 * MEGABYTE)])
    assert "wal-copier" in {thread.name for thread in set(threading.enumerate()) - before}
    log.close()
    assert set(threading.enumerate()) <= before
