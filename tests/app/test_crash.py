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

import httpx

from app.domain import Role
from app.settings import Settings
from audit.reader import LogReader
from audit.verify import verify
from models.demo.cases import DEMO_CASES
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
        case = DEMO_CASES["close-call"]
        with httpx.Client(base_url=self.address, headers=headers) as client:
            while True:
                try:
                    response = client.post(
                        "/v1/models/housing-support/decisions", json={"case": case}
                    )
                except httpx.TransportError:
                    return
                answer = response.json()
                assert response.status_code == httpx.codes.CREATED, answer
                self.acknowledged.append((answer["id"], answer["receipt"]["index"]))


def test_no_acknowledged_decision_is_lost_when_the_service_is_killed(
    settings: Settings, keys: dict[Role, str]
) -> None:
    rng = random.Random(20261123)  # noqa: S311  # when to kill is no secret
    acknowledged: list[tuple[str, int]] = []
    for _ in range(ROUNDS):
        with ServiceProcess(settings) as service:
            loads = [Load(service.address, keys[Role.CALLER]) for _ in range(CLIENTS)]
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
