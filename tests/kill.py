"""``kill -9`` under load, round after round: the service, or the database server under it.

``python -m tests.kill sqlite --rounds 500`` and ``python -m tests.kill postgres --rounds 100`` are
the long forms; the tests run short ones of the same. Clients go on asking through it all, each with
one idempotency key until that is answered, so a lost record or a second one for a key would show.

This does not test a power cut of the machine: the operating system's cache survives a killed
process. What a crash between two writes means is tested in ``tests/audit``.
"""

import argparse
import itertools
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from pydantic import SecretStr

from app.domain import Role
from app.ids import utc_now
from app.keys import KeyStore
from app.log_store import log_directory, log_source, log_store
from app.records import RECOMMENDATION
from app.settings import Settings
from audit.leaf import parse_leaf
from audit.log import Log
from audit.reader import LogReader
from audit.rows import EntryRow
from audit.verify import verify
from tests.app import tiny
from tests.postgres import Server
from tests.service import ServiceProcess
from tests.signed import trust_tests

CLIENTS = 6
LONGEST_SECONDS = 0.4
"""Between the first answer after a restart and the next kill."""
PATIENCE_SECONDS = 120
AGAIN_SECONDS = 0.02
STARTS = 10
NOT_YET = ("LockNotAvailable", "TimeoutError")
"""What a start fails with, harmlessly, while the database is busy with what was killed before."""

Say = Callable[[str], None]


@dataclass
class Load:
    """Clients that ask without end, at whichever service is there."""

    key: str
    addresses: list[str | None]
    answered: dict[str, tuple[str, int]] = field(default_factory=dict)
    """By idempotency key: the decision's id and its entry's index."""
    faults: list[str] = field(default_factory=list)
    refused: int = 0
    ending: bool = False
    stopped: bool = False

    @contextmanager
    def running(self) -> Iterator[None]:
        """Ask from so many threads; whoever is not answered by then gives up."""
        threads = [
            threading.Thread(target=self._run, args=(n,), name=f"client-{n}")
            for n in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.ending = self.stopped = True
            for thread in threads:
                thread.join()

    def wait_for_more(self) -> None:
        """Return when somebody has been answered since."""
        before, deadline = len(self.answered), time.monotonic() + PATIENCE_SECONDS
        while len(self.answered) <= before:
            assert not self.faults, self.faults[0]
            assert time.monotonic() < deadline, "nobody is answered any more"
            time.sleep(0.005)

    def _run(self, client: int) -> None:
        with httpx.Client(headers={"Authorization": f"Bearer {self.key}"}, timeout=30) as http:
            for number in itertools.count():
                if self.ending or not self._ask(http, client, f"client-{client}-{number}"):
                    return

    def _ask(self, http: httpx.Client, client: int, key: str) -> bool:
        """Ask until answered, whatever dies meanwhile; False when the answer is wrong."""
        for attempt in itertools.count(client):
            if self.stopped:
                return False
            address = self.addresses[attempt % len(self.addresses)]
            try:
                if address is None:
                    raise httpx.ConnectError("it is down")
                response = http.post(
                    f"{address}/v1/models/{tiny.NAME}/decisions",
                    json={"case": tiny.CASE},
                    headers={"Idempotency-Key": key},
                )
            except httpx.TransportError:
                time.sleep(AGAIN_SECONDS)
                continue
            if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                self.refused += 1
                time.sleep(AGAIN_SECONDS)
                continue
            if response.status_code not in (httpx.codes.CREATED, httpx.codes.OK):
                self.faults.append(f"{response.status_code}: {response.text}")
                return False
            answer = response.json()
            self.answered[key] = answer["id"], answer["receipt"]["index"]
            return True
        return False


def kill_sqlite(place: Path, rounds: int, say: Say) -> None:
    """Kill a service on its own file so often; raise AssertionError unless all is kept."""
    settings = _settings(place, None)
    load = Load(_key(settings), [None])
    rng = random.Random(20261123)  # noqa: S311 - when to kill is no secret
    with load.running():
        for number in range(rounds):
            with _service(settings, load, 0) as service:
                load.wait_for_more()
                time.sleep(rng.uniform(0, LONGEST_SECONDS))
                load.addresses[0] = None
                service.kill()
            _tell(say, number, rounds, load, settings)
        load.ending = True
        with _service(settings, load, 0):
            _finish(load)
    _check(settings, load, say)


def kill_postgres(place: Path, rounds: int, say: Say) -> None:
    """Kill one of two services, the server, the other service, and so on."""
    server = Server()
    rng = random.Random(20261124)  # noqa: S311
    try:
        with server.database() as database, ExitStack() as stack:
            first = _settings(place, SecretStr(database.url))
            load = Load(_key(first), [None, None])
            second = first.model_copy(update={"data_dir": place / "second" / "data"})
            with _service(first, load, 0):
                pass  # it makes keys, and signs a checkpoint
            shutil.copytree(first.data_dir, second.data_dir)
            every = [first, second]
            services = [
                stack.enter_context(_service(settings, load, at))
                for at, settings in enumerate(every)
            ]
            with load.running():
                for number in range(rounds):
                    load.wait_for_more()
                    time.sleep(rng.uniform(0, LONGEST_SECONDS))
                    if number % 3 == 1:
                        server.kill()
                        server.start()
                    else:
                        at = (number % 3) // 2
                        load.addresses[at] = None
                        services[at].kill()
                        services[at] = stack.enter_context(_service(every[at], load, at))
                    _tell(say, number, rounds, load, first)
                load.ending = True
                _finish(load)
            for service in services:
                service.stop()
            for settings in every:
                _check(settings, load, say)
    finally:
        server.remove()


@contextmanager
def _service(settings: Settings, load: Load, at: int) -> Iterator[ServiceProcess]:
    service = _started(settings)
    with ExitStack() as stack:
        stack.push(service)
        load.addresses[at] = service.address
        yield service
        load.addresses[at] = None


def _started(settings: Settings) -> ServiceProcess:
    """Start a service; again, as a supervisor would, when the database does not answer it yet."""
    for _ in range(STARTS - 1):
        try:
            return ServiceProcess(settings).__enter__()
        except AssertionError as err:
            if not any(reason in str(err) for reason in NOT_YET):
                raise
    return ServiceProcess(settings).__enter__()


def _settings(place: Path, url: SecretStr | None) -> Settings:
    settings = Settings(models_dir=place / "models", data_dir=place / "first" / "data", log_url=url)
    tiny.write(settings.models_dir / tiny.NAME)
    return settings


def _key(settings: Settings) -> str:
    with closing(KeyStore(settings.data_dir / "access.sqlite3")) as store:
        return store.create(name="load", role=Role.CALLER, clock=utc_now)


def _tell(say: Say, number: int, rounds: int, load: Load, settings: Settings) -> None:
    """Look for what was acknowledged so far, every so many rounds."""
    if (number + 1) % 25 and number + 1 < rounds:
        return
    answered = dict(load.answered)
    lost, rows = _lost(settings, answered)
    assert not lost, lost[:5]
    say(
        f"round {number + 1}: {len(rows)} entries, {len(answered)} acknowledged, 0 lost, "
        f"{load.refused} refused (503)"
    )


def _finish(load: Load) -> None:
    """Let every client have its last answer."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(thread.name.startswith("client") for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "a client never got its answer"
        time.sleep(0.01)
    assert not load.faults, load.faults[0]


def _check(settings: Settings, load: Load, say: Say) -> None:
    """Compare what was acknowledged with what the log holds; nobody has it open."""
    directory = log_directory(settings)
    begun = time.perf_counter()
    Log.open(
        directory, origin=settings.log_origin, clock=utc_now, store=log_store(settings)
    ).close()
    opened = time.perf_counter() - begun
    lost, rows = _lost(settings, load.answered)
    recommended = sum(parse_leaf(row.leaf).type == RECOMMENDATION for row in rows)
    say(
        f"{len(rows)} entries, {len(load.answered)} acknowledged, {len(lost)} lost, "
        f"{recommended - len(load.answered)} duplicates; the log opened in {opened:.3f} s"
    )
    assert not lost, lost[:5]
    assert len(set(load.answered.values())) == len(load.answered), "one record, two answers"
    assert recommended == len(load.answered), "a request was recorded twice"
    report = verify(directory, source=log_source(settings))
    assert report.sound, report.faults
    say(f"verify: sound, {report.size} entries, {report.checkpoints} checkpoints")


def _lost(
    settings: Settings, answered: Mapping[str, tuple[str, int]]
) -> tuple[list[str], list[EntryRow]]:
    """Return the keys whose decision is not where it was said to be, and all entries."""
    with closing(
        LogReader.open_readonly(
            log_directory(settings), origin=settings.log_origin, store=log_store(settings)
        )
    ) as log:
        rows = log.entries(0, log.size)
    assert [row.seq for row in rows] == list(range(len(rows)))
    where = {row.id: row.seq for row in rows}
    return [key for key, (at, index) in answered.items() if where.get(at) != index], rows


def main() -> None:
    """Run one of the two forms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", choices=["sqlite", "postgres"])
    parser.add_argument("--rounds", type=int, default=500)
    options = parser.parse_args()
    run = kill_sqlite if options.store == "sqlite" else kill_postgres

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory(prefix="grounds-kill-") as place:
        trust_tests(Path(tempfile.mkdtemp(dir=place)))
        run(Path(place), options.rounds, say)


if __name__ == "__main__":
    main()
