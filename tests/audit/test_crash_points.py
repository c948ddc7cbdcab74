"""The process ends at each named point of a write, and the log opens again with all it promised."""

from pathlib import Path

import pytest

from audit.log import Log
from audit.publish import publish
from audit.records import NewRecord
from audit.store import Store
from audit.tiles import bundle_path, decode_bundle, tile_path, tile_widths
from tests.audit.check_log import check_log, check_open_log
from tests.audit.conftest import OpenLog, on_both_stores
from tests.audit.crash_child import (
    CRASHED,
    DISK_POINTS,
    FILE_POINTS,
    GROUP_SIZE,
    STORE_POINTS,
    write,
)
from tests.forked import forks

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
