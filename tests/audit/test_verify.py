"""A verification finds the same however it is cut up, from wherever it starts, and on a live log."""

import multiprocessing
import os
import shutil
from contextlib import closing, suppress
from pathlib import Path

import apsw
import pytest

from audit import schema
from audit.checkpoint import unverified_checkpoint
from audit.errors import LogStateError
from audit.faults import Faults
from audit.log import Log
from audit.outside import OutsideMemory, SignedCount
from audit.records import NewRecord
from audit.signed_checks import remembered
from audit.sqlite_scan import SqliteScanner, SqliteSource
from audit.verify import Report, verify
from tests.audit.conftest import ORIGIN, Clock

SIZE = 1_500


def opened(directory: Path, *, create: bool = False) -> Log:
    return Log.open(directory, origin=ORIGIN, clock=Clock(), create=create)


def events(start: int, count: int) -> list[NewRecord]:
    return [
        NewRecord("event", f"id-{at:06d}", {"at": at}, os.urandom(40), f"subject-{at % 90}")
        for at in range(start, start + count)
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    """A log at rest, and the checkpoints that were signed on the way."""
    directory = tmp_path_factory.mktemp("made") / "log"
    notes = []
    with closing(opened(directory, create=True)) as log:
        while log.size < SIZE:
            log.append(events(log.size, 97))
            notes.append(log.checkpoint())
            if len(notes) == 8:
                log.erase_subject("subject-7", basis="b", actor="a", new_id=lambda: "erasure-1")
                notes.append(log.checkpoint())
    return directory, notes


@pytest.fixture
def copy(made: tuple[Path, list[bytes]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "log"))


def change(directory: Path, *statements: str) -> None:
    """Do what a database's administrator can: the triggers go, and come back."""
    connection = apsw.Connection(str(directory / "log.sqlite3"))
    triggers = [name for name, sql in schema.STATEMENTS.items() if "TRIGGER" in sql]
    for name in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    for name in triggers:
        connection.execute(schema.STATEMENTS[name])
    connection.close()


def kinds(report: Report) -> set[str]:
    return {fault.kind for fault in report.faults}


def size_of(note: bytes) -> int:
    return int(note.split(b"\n")[1])


def test_processes_and_any_cut_find_what_one_process_finds(copy: Path) -> None:
    change(
        copy,
        "UPDATE payload SET envelope = zeroblob(68) WHERE seq IN (300, 900, 901)",
        "DELETE FROM entry WHERE seq = 1024",
        "UPDATE tile SET hashes = zeroblob(8192) WHERE level = 0 AND position = 2",
    )
    whole = verify(copy, workers=1)
    for index in (300, 900, 901, 1024):
        assert any(fault.concerns(index) for fault in whole.faults), index
    for workers, step in ((1, 256), (1, 700), (2, 512)):
        assert verify(copy, workers=workers, entries_per_task=step) == whole, (workers, step)


def test_processes_find_nothing_in_a_sound_log(made: tuple[Path, list[bytes]]) -> None:
    report = verify(made[0], workers=2, entries_per_task=256)
    assert report == verify(made[0], workers=1)
    assert report.sound
    assert report.checkpoints >= len(made[1])


def test_only_what_came_after_a_held_checkpoint_is_read(
    made: tuple[Path, list[bytes]], copy: Path
) -> None:
    whole = verify(copy)
    for note in made[1]:
        seen: list[tuple[int, int]] = []
        report = verify(copy, start=note, progress=lambda done, total: seen.append((done, total)))  # noqa: B023
        assert report.sound, report.faults
        assert (report.first, report.size, report.root) == (size_of(note), whole.size, whole.root)
        assert not seen or seen[-1] == (report.size - report.first,) * 2
    # Damage before it is not looked for, damage after it is found.
    note = made[1][5]
    change(copy, "UPDATE payload SET envelope = zeroblob(68) WHERE seq = 100")
    assert verify(copy, start=note).sound
    change(copy, "UPDATE payload SET envelope = zeroblob(68) WHERE seq = 1400")
    assert [fault.index for fault in verify(copy, start=note).faults] == [1400]


def test_an_erasure_after_a_held_checkpoint_of_entries_before_it_is_checked(
    made: tuple[Path, list[bytes]], copy: Path
) -> None:
    with closing(opened(copy)) as log:
        log.erase_subject("subject-8", basis="b", actor="a", new_id=lambda: "later-erasure")
        log.checkpoint()
    assert verify(copy, start=made[1][-1]).sound
    change(copy, "UPDATE payload SET envelope = randomblob(68) WHERE seq = 8")
    assert ("erasure", 8) in {
        (fault.kind, fault.index) for fault in verify(copy, start=made[1][-1]).faults
    }


def test_another_history_than_the_held_one_is_found_and_read_whole(
    copy: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(copy, tmp_path / "other"))
    notes = []
    for directory in (copy, other):
        with closing(opened(directory)) as log:
            log.append(events(log.size, 3))  # random payloads: never the same twice
            notes.append(log.checkpoint())
    note = notes[1]
    report = verify(copy, start=note)
    assert kinds(report) == {"held-checkpoint"}
    assert report.first == 0
    assert kinds(verify(copy, held=[note])) == {"held-checkpoint"}


def test_a_log_shorter_than_the_held_checkpoint_was_rolled_back(copy: Path, tmp_path: Path) -> None:
    longer = Path(shutil.copytree(copy, tmp_path / "longer"))
    with closing(opened(longer)) as log:
        log.append(events(log.size, 3))
        note = log.checkpoint()
    for report in (verify(copy, start=note), verify(copy, held=[note])):
        assert kinds(report) == {"rolled-back"}


def test_a_held_checkpoint_of_another_key_is_a_fault(copy: Path, tmp_path: Path) -> None:
    with closing(opened(tmp_path / "strange", create=True)) as log:
        strange = log.checkpoint()
    assert kinds(verify(copy, held=[strange])) == {"held-checkpoint"}


def test_an_older_checkpoint_that_was_deleted_is_missed_also_by_who_holds_it(
    made: tuple[Path, list[bytes]], copy: Path
) -> None:
    note = made[1][4]
    change(copy, f"DELETE FROM checkpoint WHERE size = {size_of(note)}")  # noqa: S608
    (copy / "checkpoint.count").write_bytes(  # as if that had been put right too
        b"%d %d\n" % (len(made[1]) - 1, size_of(made[1][-1]))
    )
    for report in (verify(copy, held=[note]), verify(copy, start=note)):
        assert kinds(report) == {"checkpoint"}


def test_a_stored_checkpoint_beyond_the_log_is_found(copy: Path) -> None:
    change(copy, "INSERT INTO checkpoint SELECT 9999, note FROM checkpoint ORDER BY size LIMIT 1")
    assert kinds(verify(copy)) == {"checkpoint"}


def test_a_log_in_use_verifies_while_it_grows_and_erases(copy: Path) -> None:
    with closing(opened(copy)) as log:
        todo = list(range(4))

        def grow(_done: int, _total: int) -> None:
            if todo:  # each erasure waits a second for the verification to let go of the database
                number = todo.pop()
                log.append(events(10_000 + number * 10, 3))
                log.checkpoint()
                log.erase_subject(
                    f"subject-{number}", basis="b", actor="a", new_id=lambda: f"live-{number}"
                )

        for workers in (1, 2):
            report = verify(copy, workers=workers, entries_per_task=256, progress=grow)
            assert report.faults == ()
            assert log.size > report.size
            todo += range(10 * workers, 10 * workers + 2)


def test_a_log_at_rest_that_is_opened_meanwhile_is_to_be_verified_again(copy: Path) -> None:
    """It is read without a lock, and the service copies into the file: what was read is of no moment."""
    numbers = iter((SIZE * 2, SIZE * 3))

    def open_and_close(_done: int, _total: int) -> None:
        with closing(opened(copy)) as log:
            log.append(events(next(numbers), 300))

    with pytest.raises(LogStateError, match="verify it again"):
        verify(copy, workers=1, progress=open_and_close)
    assert verify(copy).sound


def test_a_service_starts_after_a_crash_while_its_log_is_verified(
    copy: Path, tmp_path: Path
) -> None:
    with closing(opened(copy)) as log:
        log.append(events(SIZE * 2, 50))
        left = Path(shutil.copytree(copy, tmp_path / "left"))
    scanner = SqliteSource(left).open()
    with closing(opened(left)) as log:
        (receipt,) = log.append(events(SIZE * 3, 1))
    assert scanner.value("SELECT size FROM head") == receipt.index
    # What came after that view cannot be made durable by copying it, so nothing is built on it.
    with pytest.raises(LogStateError, match="wait for whoever reads it"):
        opened(left)
    scanner.close()
    assert verify(left).sound


class ErasingSource(SqliteSource):
    """Erases a subject before the first process beside the verification opens a view of its own."""

    def open(self) -> SqliteScanner:
        if multiprocessing.parent_process() is not None:
            with suppress(FileExistsError):
                (self.directory / "begun").touch(exist_ok=False)
                with closing(opened(self.directory)) as log:
                    log.erase_subject("subject-20", basis="b", actor="a", new_id=lambda: "late")
        return super().open()


def test_a_log_that_a_crash_left_is_opened_and_erased_from_while_it_is_verified(
    copy: Path, tmp_path: Path
) -> None:
    with closing(opened(copy)) as log:
        log.append(events(SIZE * 2, 50))
        left = Path(shutil.copytree(copy, tmp_path / "left"))
    report = verify(left, workers=2, entries_per_task=256, source=ErasingSource(left))
    assert report.faults == ()
    assert (left / "begun").exists()


def test_the_count_that_is_read_is_never_newer_than_the_note(copy: Path) -> None:
    class Memory(OutsideMemory):
        """Whatever is read, two checkpoints are signed and the log is closed before the next."""

        def note(self) -> bytes | None:
            found = super().note()
            self._sign()
            return found

        def count(self) -> SignedCount | None:
            found = super().count()
            self._sign()
            return found

        def _sign(self) -> None:
            with closing(opened(copy)) as log:
                for _ in range(2):
                    log.append(events(log.size + SIZE, 1))
                    log.checkpoint()

    faults = Faults()
    note, count = remembered(Memory(copy), faults)
    assert note is not None
    assert count is not None
    assert count.size < unverified_checkpoint(note, origin=ORIGIN).size
    assert not faults.found


def test_checkpoints_of_all_keys_are_followed_from_either_end(copy: Path) -> None:
    with closing(opened(copy)) as log:
        first = log.verifier_key
        last = log.rotate_key()
        log.append(events(log.size, 2))
        log.checkpoint()
        log.retire_key()
        log.append(events(log.size, 2))
        log.checkpoint()
    for vkeys in ([], [first], [last], [first, last]):
        assert verify(copy, vkeys=vkeys).faults == (), vkeys


def test_a_stored_checkpoint_of_two_signatures_is_damaged_when_one_line_is(copy: Path) -> None:
    """While the key changes both sign: a line of no known key would be ignored in any other note."""
    with closing(opened(copy)) as log:
        log.rotate_key()
        log.append(events(log.size, 2))
        note = log.checkpoint()
    lines = note.decode().splitlines(keepends=True)
    for at in (-2, -1):
        damaged = list(lines)
        damaged[at] = damaged[at].replace("example", "exanple")
        text = "".join(damaged).encode().hex()
        change(copy, f"UPDATE checkpoint SET note = x'{text}' WHERE size = {size_of(note)}")  # noqa: S608
        messages = [each.message for each in verify(copy).faults if each.kind == "checkpoint"]
        assert any(f"checkpoint of size {size_of(note)}: it has" in each for each in messages)
    change(copy, f"UPDATE checkpoint SET note = x'{note.hex()}' WHERE size = {size_of(note)}")  # noqa: S608
    assert verify(copy).sound


@pytest.mark.parametrize("whole", [True, False], ids=["frame", "header"])
def test_a_write_ahead_log_that_lost_acknowledged_commits_is_found(
    copy: Path, tmp_path: Path, whole: bool
) -> None:
    with closing(opened(copy)) as log:
        for _ in range(4):
            log.append(events(log.size, 3))
        crashed = Path(shutil.copytree(copy, tmp_path / "crashed"))
    assert verify(crashed).sound
    wal = crashed / "log.sqlite3-wal"
    flip(wal, 500 if whole else 10)
    assert "wal" in kinds(verify(crashed))


def test_a_torn_last_commit_is_what_a_crash_leaves(copy: Path, tmp_path: Path) -> None:
    with closing(opened(copy)) as log:
        for _ in range(4):
            log.append(events(log.size, 3))
        crashed = Path(shutil.copytree(copy, tmp_path / "crashed"))
    wal = crashed / "log.sqlite3-wal"
    os.truncate(wal, wal.stat().st_size - 5_000)
    assert verify(crashed).sound


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
