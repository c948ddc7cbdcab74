"""Every durable write x {fails, is lost, persists}: no acknowledged record lost, none made up."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import apsw
import pytest

from audit.errors import LogBrokenError, LogFullError, LogStateError, TooManyFilesError
from audit.log import Log
from audit.publish import publish
from audit.reader import LogReader
from audit.records import Receipt
from tests.audit.check_log import check_log, check_open_log
from tests.audit.conftest import ORIGIN, MakeRecord, OpenLog
from tests.audit.faulty_vfs import NAME, FaultyDisk
from tests.killed_log import kill_writers

KILL_ROUNDS = int(os.environ.get("GROUNDS_KILL_ROUNDS", "20"))


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    disk = FaultyDisk()
    yield disk
    disk.remove()


def test_a_full_disk_loses_nothing_and_appending_goes_on_later(
    open_log: OpenLog, record: MakeRecord, disk: FaultyDisk
) -> None:
    log = open_log(vfs=NAME)
    receipts = log.append([record(subject="known", key="k1")])
    root = log.root()
    refused = record(subject="new", key="k2")
    disk.failing = {"write": apsw.FullError}
    for _ in range(2):
        with pytest.raises(LogFullError):
            log.append([refused])
        assert (log.size, log.root()) == (2, root)
        assert log.broken is None
    disk.failing = {}
    receipts += log.append([refused, record(subject="new")])
    assert [receipt.index for receipt in receipts] == [1, 2, 3]
    check_open_log(log, acknowledged=receipts)


def test_a_full_database_loses_nothing(
    open_log: OpenLog, directory: Path, record: MakeRecord
) -> None:
    log = open_log()
    receipts = log.append([record(b"x" * 5_000)])
    connection = log._writer._connection  # type: ignore[attr-defined]  # SQLite's
    pages = connection.pragma("page_count")
    connection.pragma("max_page_count", pages)
    with pytest.raises(LogFullError):
        log.append([record(b"x" * 500_000)])
    check_open_log(log, acknowledged=receipts)
    connection.pragma("max_page_count", 1_000_000)
    receipts += log.append([record(b"x" * 500_000)])
    log.close()
    check_log(directory, acknowledged=receipts)


@pytest.mark.parametrize(
    ("operation", "error"),
    [("sync", apsw.IOError), ("sync", apsw.FullError), ("write", apsw.IOError)],
)
def test_after_a_failed_write_of_unknown_outcome_the_log_refuses_until_reopened(
    open_log: OpenLog,
    record: MakeRecord,
    disk: FaultyDisk,
    operation: str,
    error: type[apsw.Error],
) -> None:
    log = open_log(vfs=NAME)
    receipts = log.append([record(key="k1")])
    disk.failing = {operation: error}
    doubtful = record(key="k2")
    with pytest.raises(LogStateError) as caught:
        log.append([doubtful])
    disk.failing = {}
    if isinstance(caught.value, LogFullError):
        assert error is apsw.FullError
    else:
        for attempt in (lambda: log.append([record()]), log.checkpoint):
            with pytest.raises(LogBrokenError, match="reopen"):
                attempt()
        assert log.broken
        # What was acknowledged can still be read and proved.
        assert log.read_index(1).payload == b"payload"
    log.close()
    again = open_log(create=False)
    if again.find_idempotent(doubtful.idempotency) is None:  # type: ignore[arg-type]  # it has one
        receipts += again.append([doubtful])
    else:
        receipts.append(again.receipt(doubtful.id))  # durable though nobody was told
    receipts += again.append([record()])
    assert [receipt.index for receipt in receipts] == [1, 2, 3]
    check_open_log(again, acknowledged=receipts)


def test_readers_never_see_what_was_not_committed(
    open_log: OpenLog, record: MakeRecord, disk: FaultyDisk
) -> None:
    log = open_log(vfs=NAME)
    reader = LogReader.open_readonly(log.directory, origin=ORIGIN)
    disk.failing = {"sync": apsw.IOError}
    with pytest.raises(LogStateError):
        log.append([record()])
    assert reader.size == log.size == 1
    reader.close()
    disk.failing = {}


def test_the_commit_is_synced_before_the_receipt(
    open_log: OpenLog, record: MakeRecord, disk: FaultyDisk
) -> None:
    log = open_log(vfs=NAME)
    log.append([record()])
    disk.calls.clear()
    log.append([record()])
    assert disk.calls[-1] == "sync"
    assert disk.calls.count("sync") >= 1


def test_a_checkpoint_file_that_cannot_be_written_stops_the_log(
    open_log: OpenLog, directory: Path, record: MakeRecord
) -> None:
    log = open_log()
    receipts = log.append([record()])
    (directory / "checkpoint.tmp").mkdir()  # in the way of the temporary file
    with pytest.raises(LogBrokenError, match="checkpoint file"):
        log.checkpoint()
    with pytest.raises(LogBrokenError):
        log.append([record()])
    log.close()
    (directory / "checkpoint.tmp").rmdir()
    again = open_log()
    assert again.size == 2
    check_open_log(again, acknowledged=receipts)


def test_no_room_for_the_checkpoint_file_is_survived(
    open_log: OpenLog, record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log()
    receipts = log.append([record()])
    real_fsync = os.fsync

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for _ in range(3):  # none is given away without its copy, however often it is asked for
        with pytest.raises(LogFullError, match="checkpoint file"):
            log.checkpoint()
    monkeypatch.setattr(os, "fsync", real_fsync)
    receipts += log.append([record()])
    log.checkpoint()
    check_open_log(log, acknowledged=receipts)


@pytest.mark.parametrize("fails_at", [1, 2, 3, 4], ids=["file", "folder", "count", "folder again"])
def test_as_many_open_files_as_there_may_be_is_survived(
    open_log: OpenLog, record: MakeRecord, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    log = open_log()
    receipts = log.append([record()])
    real_open, calls = os.open, count(1)

    def open_few(*arguments: Any, **options: Any) -> int:
        if next(calls) >= fails_at:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real_open(*arguments, **options)

    monkeypatch.setattr(os, "open", open_few)
    with pytest.raises(TooManyFilesError, match="Too many open files"):
        log.checkpoint()
    monkeypatch.setattr(os, "open", real_open)
    receipts += log.append([record()])
    log.checkpoint()
    check_open_log(log, acknowledged=receipts)


@pytest.mark.parametrize("operation", ["data-write", "data-sync"])
def test_after_a_failed_copy_into_the_database_the_log_refuses_until_reopened(
    open_log: OpenLog, record: MakeRecord, disk: FaultyDisk, operation: str
) -> None:
    """The kernel may have dropped what it could not write: trying again would prove nothing."""
    log = open_log(vfs=NAME)
    receipts = log.append([record()])
    disk.failing = {operation: apsw.IOError}
    with pytest.raises(LogBrokenError, match="copying the WAL failed"):
        append_past_a_copy(log, record, disk, operation, receipts)
    disk.failing = {}
    with pytest.raises(LogBrokenError):
        log.append([record()])
    assert log.read_index(1).payload == b"payload"
    log.close()
    again = open_log(create=False)
    receipts += again.append([record()])
    check_open_log(again, acknowledged=receipts)


def test_no_room_in_the_database_file_loses_nothing_and_is_got_over(
    open_log: OpenLog, directory: Path, record: MakeRecord, disk: FaultyDisk
) -> None:
    log = open_log(vfs=NAME)
    disk.failing = {"data-write": apsw.FullError}
    receipts: list[Receipt] = []
    append_past_a_copy(log, record, disk, "data-write", receipts)
    assert log.broken is None
    disk.failing = {}
    append_past_a_copy(log, record, disk, "data-sync", receipts)
    check_open_log(log, acknowledged=receipts)
    log.close()
    check_log(directory, acknowledged=receipts)


def append_past_a_copy(
    log: Log, record: MakeRecord, disk: FaultyDisk, operation: str, receipts: list[Receipt]
) -> None:
    """Append until the thread that copies the WAL has met the operation, and some more.

    It flushes only a copy that is whole, for which it must be as far as whoever appends.
    """
    disk.calls.clear()
    more = 60
    for _ in range(1_000):
        receipts += log.append([record(b"x" * 100_000)])
        more -= operation in disk.calls
        if not more:
            return
        time.sleep(0.01)
    raise AssertionError(f"no {operation}")


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_what_cannot_be_published_harms_nothing_and_is_published_later(
    open_log: OpenLog,
    record: MakeRecord,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    """Tiles, bundles and the published checkpoint, each failing in turn at its flush."""
    log, target = open_log(), tmp_path / "public"
    receipts = log.append([record() for _ in range(300)])
    log.checkpoint()
    real_fsync, failed = os.fsync, 0
    for failing in range(1, 40):
        calls = 0

        def fsync(descriptor: int, failing: int = failing) -> None:
            nonlocal calls
            calls += 1
            if calls == failing:
                raise OSError(code, os.strerror(code))
            real_fsync(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)
        with suppress(OSError):
            publish(log, target)
        monkeypatch.setattr(os, "fsync", real_fsync)
        if calls < failing:
            break
        failed += 1
    assert failed >= 3
    assert log.broken is None
    assert (target / "checkpoint").read_bytes() == log.stored_checkpoint()
    check_open_log(log, acknowledged=receipts)
    assert publish(log, target).files == 0


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_checkpoint_file_that_cannot_be_flushed_stops_the_log(
    open_log: OpenLog, record: MakeRecord, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """The file, its directory, the count and its directory again."""
    log = open_log()
    receipts = log.append([record()])
    real_fsync, calls = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(LogBrokenError, match="checkpoint file"):
        log.checkpoint()
    monkeypatch.setattr(os, "fsync", real_fsync)
    with pytest.raises(LogBrokenError):
        log.append([record()])
    log.close()
    again = open_log(create=False)
    receipts += again.append([record()])
    again.checkpoint()
    check_open_log(again, acknowledged=receipts)


def test_a_killed_writer_loses_nothing_it_acknowledged(directory: Path) -> None:
    kill_writers(directory, KILL_ROUNDS, print)
