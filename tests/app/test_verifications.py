"""Verifying the log on request: what becomes of a run that cannot be recorded."""

import asyncio
from contextlib import closing
from pathlib import Path

from app.domain import Caller, Role
from app.errors import OverloadedError
from app.ids import new_id, utc_now
from app.log_store import write_log
from app.settings import Settings
from app.verifications import Verifications

AUDITOR = Caller("auditor-1", Role.AUDITOR)


class Full:
    """An engine whose queue is full."""

    def submit(self, _work: object) -> None:
        raise OverloadedError(limit=1)


def test_a_run_that_cannot_be_recorded_has_failed_and_another_one_can_begin(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)

    async def run(runs: Verifications) -> None:
        first = runs.begin(AUDITOR)
        assert runs._task is not None
        await asyncio.wait([runs._task])
        found = runs.find(first.id)
        assert (found.status, found.index) == ("failed", None)
        assert found.reason is not None
        assert runs.begin(AUDITOR).id != first.id
        await runs.close()

    with closing(write_log(settings, clock=utc_now, create=True)) as log:
        asyncio.run(run(Verifications(settings, log, Full(), clock=utc_now, new_id=new_id)))  # type: ignore[arg-type]
