"""The service's own log: enough to operate it by, and nothing of any person or key."""

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
import structlog

from app.domain import Role
from app.server import configure_logs
from app.settings import Settings
from tests.app import tiny
from tests.app.test_errors import with_explainer_failing
from tests.problems import assert_problem
from tests.started import Started, start

NUMBER = 31337.125
TEXT = "Zebedee-Quux-1957"
SUBJECT = "subject-Ermintrude"
KEY = "idempotency-Dougal"
BODY = {"case": {"amount": NUMBER, "count": 424242, "answer": TEXT}, "subject": SUBJECT}


@contextmanager
def configured() -> Iterator[None]:
    """Set logs up as ``grounds serve`` does, and take that back afterwards."""
    root, uvicorn, client = (logging.getLogger(name) for name in (None, "uvicorn.error", "httpx"))
    handlers, level, filters = root.handlers[:], root.level, uvicorn.filters[:]
    configure_logs()
    client.setLevel(logging.WARNING)  # the test's own client speaks of what it sent
    yield
    client.setLevel(logging.NOTSET)
    root.handlers[:] = handlers
    root.setLevel(level)
    uvicorn.filters[:] = filters
    structlog.reset_defaults()
    for name, module in sys.modules.items():
        if name.startswith("app."):
            # A logger keeps the first stream that it wrote to.
            getattr(module, "_log", sys).__dict__.pop("bind", None)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[StringIO]:
    """What the service would write to standard error."""
    written = StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    with configured():
        yield written


@pytest.fixture
def service(log: StringIO, tiny_models: Path, tmp_path: Path) -> Iterator[Started]:
    assert not log.getvalue()  # set up before the service starts
    with start(Settings(models_dir=tiny_models, data_dir=tmp_path / "data")) as started:
        yield started


def lines(log: StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.getvalue().splitlines() if line]


def test_each_request_is_one_line_with_its_route_and_id(service: Started, log: StringIO) -> None:
    before = len(lines(log))
    answer = service.ask(tiny.NAME, BODY["case"], subject=SUBJECT)
    (line,) = lines(log)[before:]
    assert line.keys() == {
        "event", "level", "timestamp", "request_id", "method", "route", "status", "milliseconds",
    }  # fmt: skip
    assert line["event"] == "request"
    assert line["request_id"] == answer.headers["x-request-id"]
    assert (line["method"], line["status"]) == ("POST", 201)
    assert line["route"] == "/v1/models/{model}/decisions"


def test_no_value_key_subject_or_id_is_ever_logged(service: Started, log: StringIO) -> None:
    headers = {"Idempotency-Key": KEY}
    answer = service.ask(tiny.NAME, BODY["case"], subject=SUBJECT, headers=headers)
    identifier = answer.json()["id"]
    service.ask(tiny.NAME, BODY["case"], subject=SUBJECT, headers=headers)
    service.ask(tiny.NAME, {**tiny.CASE, "amount": TEXT, TEXT: NUMBER}, subject=SUBJECT)
    service.client.get(f"/v1/decisions/{identifier}", headers=service.key(Role.CALLER))
    service.client.get(f"/decisions/{identifier}", headers=service.session(Role.ADMIN))
    service.client.get(f"/v1/decisions/{TEXT}?{TEXT}={SUBJECT}", headers=service.key(Role.ADMIN))
    service.client.get(f"/{TEXT}", headers={"User-Agent": SUBJECT, "Referer": KEY})
    service.client.post(f"/v1/decisions/{identifier}/replay", headers=service.key(Role.AUDITOR))
    for error in (ValueError(f"{TEXT} {NUMBER}"), RuntimeError(str(BODY))):
        with service.replaced(served=with_explainer_failing(service, error)):
            failed = service.ask(tiny.NAME, BODY["case"], subject=SUBJECT)
        assert_problem(failed, slug="internal-error", status=500)
    text = log.getvalue()
    assert_silent(text, service, identifier)
    # The failures themselves are there, with their kind and place.
    problems = [line for line in lines(log) if line["event"] == "problem"]
    assert {line["error"] for line in problems} == {"ValueError", "RuntimeError"}
    assert all(str(line["where"]).startswith("Failing._fail:") for line in problems)


def assert_silent(text: str, service: Started, identifier: str) -> None:
    # A moment, or the number of a request, may hold any digits.
    text = re.sub(r'"(timestamp|request_id)": ?"[-0-9a-fT:.]+Z?"', "", text)
    private = [TEXT, SUBJECT, KEY, identifier, "31337", "424242", *service.keys.values()]
    private += [key.split("_", 2)[2] for key in service.keys.values()]
    for value in private:
        assert value not in text, value


def test_a_value_in_the_log_would_be_noticed(service: Started) -> None:
    with pytest.raises(AssertionError, match="Ermintrude"):
        assert_silent(f"for {SUBJECT}", service, "none")


class Disk(StringIO):
    """A place for log lines that can be full."""

    full = False

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_a_full_disk_under_the_log_lines_ends_nothing(
    tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk()
    monkeypatch.setattr(sys, "stderr", disk)
    with (
        configured(),
        start(Settings(models_dir=tiny_models, data_dir=tmp_path / "data")) as service,
    ):
        disk.full = True
        assert service.ask(tiny.NAME, tiny.CASE).status_code == 201
        logging.getLogger("a.library").error("a library's line")
        disk.full = False
        assert service.ask(tiny.NAME, tiny.CASE).status_code == 201
    told = lines(disk)
    lost = [line["lines"] for line in told if line["event"] == "log lines may be lost"]
    assert lost == [2]
    assert "request" in [line["event"] for line in told]


def test_what_fails_each_second_is_written_ten_times_a_minute(log: StringIO) -> None:
    for _ in range(25):
        structlog.get_logger("grounds.index").error("index", error="IndexStoreError")
    structlog.get_logger("grounds.index").error("index", error="DamagedLogError", entry=7)
    assert [line["error"] for line in lines(log)] == ["IndexStoreError"] * 10 + ["DamagedLogError"]
