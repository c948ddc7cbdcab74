"""Errors in the log: ten of a kind a minute, the others counted, and none of anything personal."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.log_sampling import MOST_A_MINUTE, Sampler
from app.settings import Settings
from models.errors import ScoringError
from tests.app import tiny
from tests.started import Started, start


def test_ten_a_minute_are_written_and_the_next_minute_says_how_many_were_not() -> None:
    moment = [0.0]
    sampler = Sampler(now=lambda: moment[0])
    admitted = [sampler.admit("a", "b") for _ in range(25)]
    assert admitted == [0] * MOST_A_MINUTE + [None] * 15
    assert sampler.admit("a", "c") == 0  # another place is another line
    moment[0] = 59.9
    assert sampler.admit("a", "b") is None
    moment[0] = 60.0
    assert sampler.admit("a", "b") == 16
    assert sampler.admit("a", "b") == 0


@pytest.fixture
def service(tiny_models: Path, tmp_path: Path) -> Iterator[Started]:
    with start(Settings(models_dir=tiny_models, data_dir=tmp_path / "data")) as started:
        yield started


def test_a_storm_of_errors_writes_few_lines_and_counts_all(
    service: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ScoringError("12.5 is a value of the case")

    session = type(service.parts.served[tiny.NAME].bundle.session)
    monkeypatch.setattr(session, "run_row", fail)
    with capture_logs() as lines:
        for _ in range(40):
            assert service.ask(tiny.NAME, tiny.CASE).status_code == 503
    problems = [line for line in lines if line["event"] == "problem"]
    assert len(problems) == MOST_A_MINUTE
    assert "12.5" not in json.dumps(lines, default=str)
    metrics = service.client.get("/metrics").text
    assert 'grounds_errors_total{type="model-failed"} 40.0' in metrics
