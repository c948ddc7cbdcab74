"""When checkpoints are signed without anyone asking for one."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.checkpointer import GROWTH, Checkpointer
from app.custody import TYPES, Custody
from app.ids import utc_now
from app.retention import Retention
from audit.checkpoint import unverified_checkpoint
from audit.log import Log
from audit.rare import RareEntries
from audit.records import NewRecord

ORIGIN = "checkpointer.example/log"
AN_HOUR = 3_600.0


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    opened = Log.open(tmp_path / "log", origin=ORIGIN, clock=utc_now, create=True)
    yield opened
    opened.close()


def signed_size(log: Log) -> int:
    note = log.stored_checkpoint()
    assert note is not None
    return unverified_checkpoint(note, origin=ORIGIN).size


@pytest.mark.parametrize(("entries", "signed"), [(GROWTH, GROWTH + 1), (GROWTH - 1, 1)])
def test_a_thousand_entries_do_not_wait_for_the_interval_to_end(
    log: Log, entries: int, signed: int
) -> None:
    custody = Custody(log, RareEntries(log, TYPES), retention=Retention(), clock=utc_now)

    async def run() -> None:
        checkpointer = Checkpointer(log, custody, clock=utc_now, interval_seconds=AN_HOUR)
        running = asyncio.create_task(checkpointer.run())
        await asyncio.sleep(0)  # it waits from here on
        log.append([NewRecord("event", f"e{number}", {}) for number in range(entries)])
        for _ in range(20):
            await asyncio.sleep(0.05)
            if signed_size(log) == log.size:
                break
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())
    assert signed_size(log) == signed


def test_what_is_less_is_signed_when_the_interval_ends(log: Log) -> None:
    custody = Custody(log, RareEntries(log, TYPES), retention=Retention(), clock=utc_now)

    async def run() -> None:
        checkpointer = Checkpointer(log, custody, clock=utc_now, interval_seconds=0.05)
        running = asyncio.create_task(checkpointer.run())
        log.append([NewRecord("event", "e", {})])
        while signed_size(log) < log.size:  # noqa: ASYNC110  # the file is what is looked at
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(run())
    assert signed_size(log) == 2
