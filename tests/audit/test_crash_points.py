"""The process ends at each named point of a write, and the log opens again with all it promised."""

import shutil
from pathlib import Path

import pytest

from audit.log import Log
from audit.postgres import PostgresStore
from audit.postgres_scan import PostgresSource
from audit.publish import publish
from audit.records import NewRecord
from audit.store import Store
from audit.tiles import bundle_path, decode_bundle, tile_path, tile_widths
from audit.verify import verify
from tests.audit.check_log import check_log, check_open_log
from tests.audit.conftest import ORIGIN, Clock, OpenLog, on_both_stores
from tests.audit.crash_child import (
    CRASHED,
    DISK_POINTS,
    FILE_POINTS,
    GROUP_SIZE,
    STORE_POINTS,
    write,
)
from tests.forked import forks

SIGNED_POINTS = tuple(point for point in FILE_POINTS if point.startswith(("checkpoint-", "count-")))
NTH = {"before-commit": 4, "after-commit": 4, "wal-write": 150, "wal-sync": 9, "tile-written": 3}
"""The first times are the log's beginning; these fall on a group in the middle."""


def crash(directory: Path, store: Store, point: str, nth: int) -> dict[int, str]:
    """Run the child until it crashes; return what it had acknowledged."""
    url, said = getattr(store, "url", None), directory.parent / "said"
    said.touch()
    child = forks.Process(target=write, args=(directory, url, point, nth, said))
    child.start()
    child.join()
    assert child.exitcode == CRASHED, f"never came to {point}: {child.exitcode}"
    child.close()
    return {int(index): leaf for index, leaf in map(str.split, said.read_text().splitlines())}


@on_both_stores
@pytest.mark.parametrize("point", [*STORE_POINTS, *FILE_POINTS])
def test_a_crash_at_a_named_point_loses_nothing_acknowledged(
    directory: Path, store: Store, open_log: OpenLog, point: str
) -> None:
    check_recovery(directory, store, open_log, point)


@pytest.mark.parametrize("point", DISK_POINTS)
def test_a_crash_within_a_commit_of_sqlite_loses_nothing_acknowledged(
    directory: Path, store: Store, open_log: OpenLog, point: str
) -> None:
    check_recovery(directory, store, open_log, point)


@on_both_stores
@pytest.mark.parametrize(
    ("point", "is_remembered"),
    [
        ("after-commit", False),
        ("before-signing", False),
        ("signed-before-storing", False),
        ("checkpoint-stored", False),
        ("checkpoint-written", False),
        ("checkpoint-renamed", True),
        ("count-written", True),
        ("count-renamed", True),
    ],
)
def test_a_crash_at_the_first_signature_is_told_until_the_log_is_opened(
    directory: Path, store: Store, open_log: OpenLog, point: str, *, is_remembered: bool
) -> None:
    """The file that remembers what was signed may never have been there, or be gone: who can say."""
    crash(directory, store, point, 1)
    source = PostgresSource(store.url) if isinstance(store, PostgresStore) else None
    faults = [fault.kind for fault in verify(directory, source=source).faults]
    assert faults == ([] if is_remembered else ["checkpoint-file"])
    check_open_log(open_log(create=False))


@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
@pytest.mark.parametrize("point", [*STORE_POINTS, *SIGNED_POINTS])
def test_a_replica_that_ends_at_a_named_point_leaves_both_sound_and_the_other_goes_on(
    directory: Path, tmp_path: Path, store: Store, open_log: OpenLog, point: str
) -> None:
    """Each has a directory of its own; neither is opened again before it is verified."""
    log = open_log()
    log.append([NewRecord("event", "before", {}, b"payload", "s1")])
    other = Path(shutil.copytree(directory, tmp_path / "other"))
    log.checkpoint()
    acknowledged = crash(other, store, point, NTH.get(point, 3))
    for number in range(3):
        for each in (directory, other):
            check_log(each, store=store)
        log.append([NewRecord("event", f"after-{number}", {}, b"payload", "s1")])
        entries = log.entries(0, log.size)
        assert acknowledged.items() <= {row.seq: row.leaf_hash.hex() for row in entries}.items()
        check_log(other, store=store)
        log.checkpoint()
    Log.open(other, origin=ORIGIN, clock=Clock(), store=store).close()
    for each in (directory, other):
        check_log(each, store=store)
    assert (directory / "checkpoint").read_bytes() == (other / "checkpoint").read_bytes()
    assert (directory / "checkpoint.count").read_bytes() == (
        other / "checkpoint.count"
    ).read_bytes()


def check_recovery(directory: Path, store: Store, open_log: OpenLog, point: str) -> None:
    acknowledged = crash(directory, store, point, NTH.get(point, 3))
    if store.exists():
        check_log(directory, store=store)  # before anything mends what the crash left
    log = open_log()
    entries = log.entries(0, log.size)
    assert acknowledged.items() <= {row.seq: row.leaf_hash.hex() for row in entries}.items()
    # Whole groups, and only the one that the crash met was not acknowledged.
    unheard = log.size - 1 - len(acknowledged)
    possible = {"before-commit": {0}, "after-commit": {GROUP_SIZE}}
    assert unheard in possible.get(point, {0, GROUP_SIZE})
    receipts = log.append([NewRecord("event", "afterwards", {}, b"payload", "s1")])
    check_open_log(log, acknowledged=receipts)
    publish(log, directory / "public", log.checkpoint())
    assert_published(log, directory / "public")
    log.close()
    check_log(directory, store=store)


def assert_published(log: Log, public: Path) -> None:
    for level, (full, partial) in enumerate(tile_widths(log.size)):
        pieces = [(position, 256) for position in range(full)]
        for position, width in [*pieces, *([(full, partial)] if partial else [])]:
            tile = (public / tile_path(level, position, width)).read_bytes()
            assert tile == log.tile(level, position, width=width)
            if level == 0:
                bundle = (public / bundle_path(position, width)).read_bytes()
                rows = log.entries(position * 256, position * 256 + width)
                assert decode_bundle(bundle) == [row.leaf for row in rows]
    assert (public / "checkpoint").read_bytes() == log.stored_checkpoint()
