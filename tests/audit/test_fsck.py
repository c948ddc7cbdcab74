"""What is published, compared with the log: each fault by file and by the entries it concerns."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from audit.fsck import check_published
from audit.log import Log
from audit.publish import prune, publish
from audit.records import NewRecord
from audit.tiles import bundle_path, tile_path

ORIGIN = "fsck.example/log"


def open_log(place: Path) -> Log:
    return Log.open(
        place, origin=ORIGIN, clock=lambda: datetime(2026, 11, 26, tzinfo=UTC), create=True
    )


def grow(log: Log, count: int, public: Path) -> None:
    first = log.size
    log.append([NewRecord("event", f"e{first + at}", {"n": at}) for at in range(count)])
    log.checkpoint()
    publish(log, public)


@pytest.fixture
def published(tmp_path: Path) -> Iterator[tuple[Log, Path]]:
    public = tmp_path / "public"
    public.mkdir()
    with closing(open_log(tmp_path / "log")) as log:
        grow(log, 40, public)
        grow(log, 559, public)
        yield log, public


def test_what_was_published_is_sound_even_when_the_log_has_grown(
    published: tuple[Log, Path],
) -> None:
    log, public = published
    assert check_published(log, public).sound
    log.append([NewRecord("event", "more", {})])
    report = check_published(log, public)
    assert (report.sound, report.size, report.files) == (True, 600, 9)


@pytest.mark.parametrize(
    ("path", "index", "count"),
    [
        (tile_path(0, 1), 256, 256),
        (tile_path(0, 2, 88), 512, 88),
        (tile_path(1, 0, 2), 0, 512),
        (bundle_path(0), 0, 256),
        (bundle_path(2, 88), 512, 88),
    ],
)
def test_each_damaged_or_missing_file_is_named_with_its_entries(
    published: tuple[Log, Path], path: str, index: int, count: int
) -> None:
    log, public = published
    content = (public / path).read_bytes()
    (public / path).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (fault,) = check_published(log, public).faults
    assert (fault.kind, fault.message, fault.index, fault.count) == ("differs", path, index, count)
    (public / path).unlink()
    (fault,) = check_published(log, public).faults
    assert (fault.kind, fault.message, fault.index, fault.count) == ("missing", path, index, count)


def test_a_damaged_partial_tile_of_an_earlier_size_is_named_with_its_entries(
    published: tuple[Log, Path],
) -> None:
    """Whoever holds the checkpoint of that size reads it, as long as it is not pruned."""
    log, public = published
    for path in (tile_path(0, 0, 41), bundle_path(0, 41)):
        content = (public / path).read_bytes()
        for damaged in (content[:-1] + bytes([content[-1] ^ 1]), content[:-1], content + b"\0"):
            (public / path).write_bytes(damaged)
            (fault,) = check_published(log, public).faults
            assert (fault.kind, fault.message) == ("differs", path)
            assert (fault.index, fault.count) == (0, 41)
        (public / path).unlink()
        assert check_published(log, public).sound


def test_files_that_no_log_of_this_size_had_are_named(published: tuple[Log, Path]) -> None:
    log, public = published
    for stray in (
        "tile/0/003",
        "tile/0/002.p/89",
        "tile/0/x000/001",
        "tile/entries/x",
        "tile/9/000",
    ):
        (public / stray).parent.mkdir(parents=True, exist_ok=True)
        (public / stray).write_bytes(b"")
    report = check_published(log, public)
    assert {fault.message for fault in report.faults} == {
        "tile/0/003", "tile/0/002.p/89", "tile/0/x000/001", "tile/entries/x", "tile/9/000",
    }  # fmt: skip
    assert {fault.kind for fault in report.faults} == {"stray"}


def test_a_link_to_nothing_among_the_tiles_is_named(published: tuple[Log, Path]) -> None:
    log, public = published
    for stray in ("tile/0/003", tile_path(0, 0, 7)):
        (public / stray).parent.mkdir(exist_ok=True)
        (public / stray).symlink_to("nothing")
    faults = check_published(log, public).faults
    assert {(fault.kind, fault.message) for fault in faults} == {
        ("stray", "tile/0/003"), ("stray", tile_path(0, 0, 7)),
    }  # fmt: skip


def test_what_else_lies_in_the_directory_is_told_and_is_no_fault(
    published: tuple[Log, Path],
) -> None:
    log, public = published
    assert check_published(log, public).others == ()
    (public / "copy" / "keys").mkdir(parents=True)
    for other in ("index.html", "log.sqlite3", "copy/keys/log.key", "checkpoint.tmp"):
        (public / other).write_bytes(b"")
    (public / "linked").symlink_to(log.directory)
    report = check_published(log, public)
    assert report.sound
    assert report.others == ("copy/keys/log.key", "index.html", "linked", "log.sqlite3")
    (public / "checkpoint").unlink()
    assert "log.sqlite3" in check_published(log, public).others


def test_another_logs_checkpoint_a_longer_one_and_none_are_told_apart(
    published: tuple[Log, Path], tmp_path: Path
) -> None:
    log, public = published
    note = (public / "checkpoint").read_bytes()
    (public / "checkpoint").unlink()
    assert [each.kind for each in check_published(log, public).faults] == ["checkpoint"]
    (public / "checkpoint").write_bytes(note.replace(b"\n600\n", b"\n601\n"))
    assert [each.kind for each in check_published(log, public).faults] == ["checkpoint"]
    # The same keys, a database of before: what was published is of more than the log has.
    (public / "checkpoint").write_bytes(note)
    older = tmp_path / "older"
    shutil.copytree(log.directory / "keys", older / "keys")
    (older / "keys").chmod(0o700)
    with closing(open_log(older)) as short:
        kinds = {each.kind for each in check_published(short, public).faults}
    assert "beyond" in kinds


def test_what_is_no_file_or_no_directory_is_a_fault_too(published: tuple[Log, Path]) -> None:
    log, public = published
    shutil.rmtree(public / "tile" / "1")
    (public / "tile" / "1").write_bytes(b"")
    fault, stray = check_published(log, public).faults
    assert (fault.kind, fault.index, fault.count) == ("missing", 0, 512)
    assert stray.kind == "stray"
    (public / "checkpoint").unlink()
    (public / "checkpoint").mkdir()
    (told,) = check_published(log, public).faults
    assert (told.kind, told.message) == ("checkpoint", "cannot be read: Is a directory")


def test_a_service_that_prunes_meanwhile_is_no_fault(
    published: tuple[Log, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    log, public = published
    real_rglob = Path.rglob

    def rglob(path: Path, pattern: str) -> Iterator[Path]:
        yield from [*real_rglob(path, pattern)]
        if pattern == "*":
            prune(public)

    monkeypatch.setattr(Path, "rglob", rglob)
    assert (public / tile_path(0, 0, 41)).exists()
    assert check_published(log, public).faults == ()
    assert not (public / tile_path(0, 0, 41)).exists()


def test_a_service_that_publishes_meanwhile_is_no_fault(
    published: tuple[Log, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    log, public = published
    real_rglob = Path.rglob

    def rglob(path: Path, pattern: str) -> Iterator[Path]:
        if path == public / "tile":
            grow(log, 10, public)
        return real_rglob(path, pattern)

    monkeypatch.setattr(Path, "rglob", rglob)
    assert check_published(log, public).faults == ()
    assert log.size == 610
