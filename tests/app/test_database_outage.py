"""A service whose PostgreSQL goes away says so, advises nobody meanwhile, and goes on by itself."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from app.domain import Role
from app.ids import utc_now
from app.keys import KeyStore
from app.log_store import log_directory, log_source, log_store
from app.records import RECOMMENDATION
from app.settings import Settings
from audit.leaf import parse_leaf
from audit.reader import LogReader
from audit.verify import verify
from tests.app import tiny
from tests.postgres import Server, server_or_skip
from tests.service import ServiceProcess

PATIENCE_SECONDS = 120


@pytest.fixture
def server() -> Iterator[Server]:
    with server_or_skip() as server:
        yield server


@pytest.mark.parametrize("end", [Server.kill, Server.stop], ids=["killed", "stopped"])
def test_an_outage_of_the_database_is_said_and_got_over(
    server: Server, tmp_path: Path, end: Callable[[Server], None]
) -> None:
    with server.database() as database:
        settings = Settings(
            models_dir=tmp_path / "models",
            data_dir=tmp_path / "one" / "data",
            log_url=SecretStr(database.url),
        )
        tiny.write(settings.models_dir / tiny.NAME)
        with _client(settings) as (service, http):
            assert _ask(http, "before").status_code == httpx.codes.CREATED
            assert _ready(http).status_code == httpx.codes.OK

            end(server)
            _wait_for(http, httpx.codes.SERVICE_UNAVAILABLE)  # though nobody asks for advice
            refused = _ask(http, "meanwhile")
            assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
            assert refused.headers["content-type"] == "application/problem+json"
            assert "Retry-After" in refused.headers
            assert "recommendation" not in refused.json()
            not_ready = _ready(http)
            assert not_ready.status_code == httpx.codes.SERVICE_UNAVAILABLE
            assert not_ready.json()["status"] == "not_ready"
            assert not_ready.json()["reason"] == "the log's database does not answer"
            alive = httpx.get(f"{service.address}/health/live", timeout=60)
            assert alive.status_code == httpx.codes.OK

            server.start()
            _wait_for(http, httpx.codes.OK)
            again = _ask(http, "meanwhile")
            assert again.status_code == httpx.codes.CREATED, again.text
            assert _ask(http, "meanwhile").json()["id"] == again.json()["id"]
        report = verify(log_directory(settings), source=log_source(settings))
        assert report.sound, report.faults
        assert _recommendations(settings) == 2


@contextmanager
def _client(settings: Settings) -> Iterator[tuple[ServiceProcess, httpx.Client]]:
    with closing(KeyStore(settings.data_dir / "access.sqlite3")) as store:
        key = store.create(name="load", role=Role.CALLER, clock=utc_now)
    with (
        ServiceProcess(settings) as service,
        httpx.Client(
            base_url=service.address, headers={"Authorization": f"Bearer {key}"}, timeout=60
        ) as http,
    ):
        yield service, http


def _ask(http: httpx.Client, key: str) -> httpx.Response:
    return http.post(
        f"/v1/models/{tiny.NAME}/decisions",
        json={"case": tiny.CASE},
        headers={"Idempotency-Key": key},
    )


def _ready(http: httpx.Client) -> httpx.Response:
    return http.get("/health/ready")


def _wait_for(http: httpx.Client, status: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while _ready(http).status_code != status:
        assert time.monotonic() < deadline, _ready(http).text
        time.sleep(0.05)


def _recommendations(settings: Settings) -> int:
    with closing(
        LogReader.open_readonly(
            log_directory(settings), origin=settings.log_origin, store=log_store(settings)
        )
    ) as log:
        return sum(parse_leaf(row.leaf).type == RECOMMENDATION for row in log.entries(0, log.size))
