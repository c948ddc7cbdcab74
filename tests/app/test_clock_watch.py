"""A clock that was set back is an alarm until it has caught up, and not when time services nudge it."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from app.clock_watch import TOLERATED, ClockWatch
from app.settings import Settings
from audit.log import Log
from audit.records import NewRecord
from tests.started import start

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


class SetClock:
    """A clock that shows what it is set to."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.mark.parametrize("entries", [0, 1])
def test_a_clock_set_back_is_told_until_it_has_caught_up(tmp_path: Path, entries: int) -> None:
    clock = SetClock()
    with closing(Log.open(tmp_path / "log", origin="o/log", clock=clock, create=True)) as log:
        watch = ClockWatch(log, clock)
        watch.look()
        assert watch.alarm is None
        clock.now = NOON - timedelta(hours=1)
        log.append([NewRecord("event", f"e{at}", {}) for at in range(entries)])
        watch.look()
        assert watch.alarm is not None
        assert "3600 s" in watch.alarm
        clock.now = NOON
        watch.look()
        assert watch.alarm is None


def test_what_a_time_service_corrects_is_no_alarm(tmp_path: Path) -> None:
    clock = SetClock()
    with closing(Log.open(tmp_path / "log", origin="o/log", clock=clock, create=True)) as log:
        watch = ClockWatch(log, clock)
        clock.now = NOON - TOLERATED
        watch.look()
        assert watch.alarm is None
        clock.now -= timedelta(milliseconds=1)
        watch.look()
        assert watch.alarm is not None


def test_a_service_whose_clock_stands_before_its_log_says_so(
    tiny_models: Path, tmp_path: Path
) -> None:
    settings = Settings(models_dir=tiny_models, data_dir=tmp_path / "data")
    later = datetime(2200, 1, 1, tzinfo=UTC)
    with closing(
        Log.open(settings.data_dir / "log", origin=settings.log_origin, clock=lambda: later,
                 create=True)
    ):  # fmt: skip
        pass
    with start(settings) as service:
        answer: httpx.Response = service.client.get("/health/ready")
        assert answer.status_code == 200
        (alarm,) = answer.json()["alarms"]
        assert "the clock is" in alarm
        assert "grounds_log_alarms 1.0" in service.client.get("/metrics").text
