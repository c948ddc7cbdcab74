"""A stop under load: requests under way are answered, and nothing that was answered is missing."""

import os
import signal
import threading
from pathlib import Path

import httpx
import pytest

from app.domain import Role
from app.settings import Settings
from audit.reader import LogReader
from tests.app import tiny
from tests.service import ServiceProcess
from tests.started import make_keys

CALLERS = 8
BEFORE = 200
"""Answers until the signal is sent."""
PATH = f"/v1/models/{tiny.NAME}/decisions"
NOT_READY = httpx.codes.SERVICE_UNAVAILABLE
STOPPED = (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError)
"""No new connection, or an idle one closed: that is a stop. A half-sent answer is not."""


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_under_load_finishes_what_is_under_way(
    tiny_models: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    settings = Settings(models_dir=tiny_models, data_dir=tmp_path / "data")
    headers = {"Authorization": f"Bearer {make_keys(settings)[Role.CALLER]}"}
    answered: list[str] = []
    broken: list[str] = []
    enough = threading.Event()

    def ask(address: str) -> None:
        with httpx.Client(base_url=address, headers=headers, timeout=30) as client:
            while True:
                try:
                    answer = client.post(PATH, json={"case": tiny.CASE})
                except STOPPED as err:
                    if "incomplete" in str(err) or "without sending complete" in str(err):
                        broken.append(str(err))
                    return
                if answer.status_code != httpx.codes.CREATED:
                    broken.extend([] if answer.status_code == NOT_READY else [answer.text])
                    return
                answered.append(answer.json()["id"])
                if len(answered) >= BEFORE:
                    enough.set()

    with ServiceProcess(settings) as service:
        callers = [
            threading.Thread(target=ask, args=(service.address,), daemon=True)
            for _ in range(CALLERS)
        ]
        for caller in callers:
            caller.start()
        assert enough.wait(60), service.log_tail()
        os.kill(service.pid, sent)
        code = service.wait()
        for caller in callers:
            caller.join(30)
            assert not caller.is_alive()
        tail = service.log_tail()
    assert broken == []
    # uvicorn ends by the signal it was sent, once everything is finished.
    assert code in {0, -signal.SIGTERM}, tail
    assert '"stopped"' in tail
    assert '"opening the log"' in (settings.data_dir.parent / "service.log").read_text()
    reader = LogReader.open_readonly(settings.data_dir / "log", origin=settings.log_origin)
    for identifier in answered:
        assert reader.read(identifier).payload is not None
    reader.close()
