"""Two services on one log under load: versions change, advice stops and goes on, and no request fails.

Nothing here asserts a time: how long the second service took to follow is printed (``pytest -s``).
"""

import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from math import sqrt
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
from pydantic import SecretStr

from app.domain import Role
from app.ids import utc_now
from app.keys import KeyStore
from app.log_store import log_source
from app.settings import Settings
from audit.verify import verify
from tests.app import tiny
from tests.app.test_lifecycle import second
from tests.app.versions import Owner
from tests.postgres import server_or_skip
from tests.service import ServiceProcess

THREADS = 2
"""For each service."""
ENOUGH = 60
"""Answers to see of each state before it changes."""
SECONDS = 60


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer: when it was asked for and when it came, by whom, and what it was."""

    asked: float
    came: float
    service: int
    status: int
    slug: str
    bundle: str
    policy: str
    arm: str


@dataclass(slots=True)
class Load:
    """Callers that ask both services without a pause."""

    addresses: Sequence[str]
    key: str
    answers: list[Answered] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def ask(self, service: int, numbers: Iterator[int]) -> None:
        with httpx.Client(
            base_url=self.addresses[service], headers={"Authorization": f"Bearer {self.key}"}
        ) as client:
            for number in numbers:
                if self.ended.is_set():
                    return
                case = {**tiny.CASE, "amount": number / 100}
                begun = monotonic()
                answer = client.post(
                    f"/v1/models/{tiny.NAME}/decisions", json={"case": case}, timeout=30
                )
                body: dict[str, Any] = answer.json()
                self.answers.append(
                    Answered(
                        begun,
                        monotonic(),
                        service,
                        answer.status_code,
                        body.get("type", ""),
                        body.get("model", {}).get("digest", ""),
                        body.get("policy", {}).get("digest", ""),
                        body.get("model", {}).get("arm", ""),
                    )
                )

    def until(self, holds: Callable[[Answered], bool], *, more: int = ENOUGH) -> float:
        """Wait until each service has given so many such answers from now; return the first's lag.

        The lag is how long after this call the slower service gave its first such answer.
        """
        begun, start = len(self.answers), monotonic()
        while monotonic() < start + SECONDS:
            new = [each for each in self.answers[begun:] if each.asked >= start and holds(each)]
            seen = Counter(each.service for each in new)
            if all(seen[service] >= more for service in range(len(self.addresses))):
                firsts = {each.service: each.came for each in reversed(new)}
                return max(firsts.values()) - start
            sleep(0.02)
        raise AssertionError("the services did not follow")


@contextmanager
def loaded(addresses: Sequence[str], key: str) -> Iterator[Load]:
    load, numbers = Load(addresses, key), count()
    threads = [
        threading.Thread(target=load.ask, args=(service, numbers))
        for service in range(len(addresses))
        for _ in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.ended.set()
        for thread in threads:
            thread.join()


def test_versions_change_and_advice_stops_on_two_services_under_load(tmp_path: Path) -> None:
    with server_or_skip() as server, server.database() as database:
        _run(tmp_path, SecretStr(database.url))


def _run(tmp_path: Path, url: SecretStr) -> None:
    first = Settings(
        models_dir=tmp_path / "models",
        data_dir=tmp_path / "one" / "data",
        store_dir=tmp_path / "store",
        log_url=url,
    )
    tiny.write(first.models_dir / tiny.NAME)
    store = KeyStore(first.data_dir / "access.sqlite3")
    caller = store.create(name="load", role=Role.CALLER, clock=utc_now)
    store.close()
    clients = [httpx.Client(timeout=60) for _ in range(3)]
    owners = [
        Owner(first, client, tiny.NAME, name=f"owner-{n}") for n, client in enumerate(clients)
    ]
    for owner in owners:
        assert owner.headers  # both keys are made before the store of keys is copied
    second_ = first.model_copy(update={"data_dir": tmp_path / "two" / "data"})
    with ServiceProcess(first) as one:
        shutil.copytree(first.data_dir, second_.data_dir)
        with ServiceProcess(second_) as two:
            addresses = [one.address, two.address]
            for client, address in zip(clients, (one, one, two), strict=True):
                client.base_url = httpx.URL(address.address)
            *owners, other = owners
            with loaded(addresses, caller) as load:
                _reload(load, owners[0], other, tmp_path)
                number = _stop(load, owners[0])
            two.stop()
            with ServiceProcess(second_) as again:
                _goes_on(again.address, owners, caller, number)
    for client in clients:
        client.close()
    report = verify(first.data_dir / "log", source=log_source(first))
    assert report.sound, report.faults


def _reload(load: Load, owner: Owner, other: Owner, tmp_path: Path) -> None:
    load.until(lambda each: each.status == 201)
    tiny.write(tmp_path / "second", told=second())
    version = owner.submit(tmp_path / "second")
    owner.bring(version, "accepted", "shadow")
    _wait(lambda: other.is_open(version))
    begun = len(load.answers)
    assert owner.move(version, "live", percent=30).status_code == 200
    lags = {"canary": load.until(lambda each: each.bundle == version.bundle, more=60)}
    since = load.answers[-1].came
    load.until(lambda each: each.status == 201, more=150)
    arms = Counter(each.arm for each in load.answers[begun:] if each.asked > since)
    total = arms.total()
    assert abs(arms["canary"] - 0.3 * total) < 4.5 * sqrt(total * 0.3 * 0.7), arms
    assert owner.move(version, "live").status_code == 200
    lags["live"] = load.until(lambda each: each.arm == "live" and each.bundle == version.bundle)
    assert owner.post("rollback", {"reason": "A test."}).status_code == 200
    lags["rollback"] = load.until(lambda each: each.bundle != version.bundle)
    policy = owner.submit_policy(tmp_path, {**tiny.policy(), "version": "2"})
    assert owner.post("policy", {"policy": policy, "reason": "A test."}).status_code == 200
    lags["policy"] = load.until(lambda each: each.policy == policy)
    # What is live again is never followed by an answer of what was live before, on either service.
    for service in (0, 1):
        policies = [each.policy for each in load.answers if each.service == service]
        assert set(policies[policies.index(policy) + THREADS :]) == {policy}
    assert Counter(each.status for each in load.answers) == {201: len(load.answers)}
    print(f"{len(load.answers)} answers, none failed; seconds until both had followed: {lags}")  # noqa: T201


def _stop(load: Load, owner: Owner) -> int:
    answer = owner.client.post(
        "/v1/stop", json={"model": tiny.NAME, "reason": "A test."}, headers=owner.headers
    )
    assert answer.status_code == 201, answer.text
    stopped = monotonic()
    lag = load.until(lambda each: each.status == 503)
    for each in load.answers:
        if each.asked > stopped and each.service == 0:
            assert each.slug.endswith("advice-stopped"), each  # here, from the answer on
    advised = [each.came - stopped for each in load.answers if each.status == 201]
    print(f"stopped everywhere after {lag:.3f} s; last advice {max(advised):.3f} s after the stop")  # noqa: T201
    return int(answer.json()["stops"][-1]["number"])


def _goes_on(address: str, owners: Sequence[Owner], caller: str, number: int) -> None:
    """A stop is in force after a restart, until two people say otherwise."""
    headers = {"Authorization": f"Bearer {caller}"}
    path, case = f"{address}/v1/models/{tiny.NAME}/decisions", {"case": tiny.CASE}

    def status() -> int:
        return httpx.post(path, json=case, headers=headers, timeout=30).status_code

    assert status() == 503
    for owner in owners:
        assert status() == 503
        answer = owner.client.post(
            f"/v1/stops/{number}/resume", json={"reason": "Mended."}, headers=owner.headers
        )
        assert answer.status_code == 200, answer.text
    _wait(lambda: status() == 201)


def _wait(holds: Callable[[], bool]) -> None:
    deadline = monotonic() + SECONDS
    while not holds():
        assert monotonic() < deadline
        sleep(0.05)
