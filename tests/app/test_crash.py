"""``kill -9`` under load: whatever was acknowledged is in the log afterwards, and the log is sound.

This does not test a power cut of the machine: the operating system's cache survives a killed
process. What a crash between two writes means is tested in ``tests/audit``.
"""

import os
import random
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from app.domain import Role
from app.ids import utc_now
from app.keys import KeyStore
from app.settings import Settings
from audit.reader import LogReader
from audit.verify import verify
from tests.app import tiny
from tests.service import ServiceProcess

ROUNDS = int(os.environ.get("GROUNDS_KILL_ROUNDS", "50"))
CLIENTS = 6
LONGEST_ROUND_SECONDS = 0.5


@dataclass
class Load:
    """Clients that send cases until the service goes away, and what was acknowledged to them."""

    address: str
    key: str
    acknowledged: list[tuple[str, int]] = field(default_factory=list)

    def run(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}"}
        with httpx.Client(base_url=self.address, headers=headers) as client:
            while True:
                try:
                    response = client.post(
                        f"/v1/models/{tiny.NAME}/decisions", json={"case": tiny.CASE}
                    )
                except httpx.TransportError:
                    return
                answer = response.json()
                assert response.status_code == httpx.codes.CREATED, answer
                self.acknowledged.append((answer["id"], answer["receipt"]["index"]))


def test_no_acknowledged_decision_is_lost_when_the_service_is_killed(tmp_path: Path) -> None:
    settings = Settings(models_dir=tmp_path / "models", data_dir=tmp_path / "data")
    tiny.write(settings.models_dir / tiny.NAME)
    with closing(KeyStore(settings.data_dir / "access.sqlite3")) as store:
        key = store.create(name="load", role=Role.CALLER, clock=utc_now)
    rng = random.Random(20261123)  # noqa: S311  # when to kill is no secret
    acknowledged: list[tuple[str, int]] = []
    for _ in range(ROUNDS):
        with ServiceProcess(settings) as service:
            loads = [Load(service.address, key) for _ in range(CLIENTS)]
            threads = [threading.Thread(target=load.run) for load in loads]
            for thread in threads:
                thread.start()
            time.sleep(rng.uniform(0.05, LONGEST_ROUND_SECONDS))
            service.kill()
            for thread in threads:
                thread.join()
        acknowledged += [receipt for load in loads for receipt in load.acknowledged]

    assert len(acknowledged) >= ROUNDS, "the load did not reach the service"
    report = verify(settings.data_dir / "log")
    assert report.sound, report.faults
    directory = settings.data_dir / "log"
    with closing(LogReader.open_readonly(directory, origin=settings.log_origin)) as log:
        lost = [
            decision_id
            for decision_id, index in acknowledged
            if log.read(decision_id).index != index
        ]
    assert not lost
    assert len({index for _, index in acknowledged}) == len(acknowledged), "one entry, two answers"
