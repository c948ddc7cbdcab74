"""Two services on one log in PostgreSQL, over HTTP, as an operator would run them."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from app.domain import Role
from app.ids import utc_now
from app.keys import KeyStore
from app.log_store import log_source, log_store
from app.settings import Settings
from audit.reader import LogReader
from audit.verify import verify
from tests.app import tiny
from tests.app.test_cli import here
from tests.postgres import PASSWORD, server_or_skip
from tests.service import ServiceProcess

EACH = 40


def test_two_services_share_one_log(tmp_path: Path) -> None:
    with server_or_skip() as server, server.database() as database:
        _run(tmp_path, SecretStr(database.url))


def _run(tmp_path: Path, url: SecretStr) -> None:
    first = Settings(
        models_dir=tmp_path / "models", data_dir=tmp_path / "one" / "data", log_url=url
    )
    tiny.write(first.models_dir / tiny.NAME)
    with closing(KeyStore(first.data_dir / "access.sqlite3")) as store:
        caller = store.create(name="load", role=Role.CALLER, clock=utc_now)
    second = first.model_copy(update={"data_dir": tmp_path / "two" / "data"})
    with ServiceProcess(first) as one:
        shutil.copytree(first.data_dir, second.data_dir)  # keys and checkpoint, as documented
        with ServiceProcess(second) as two:
            addresses = [one.address, two.address]
            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(lambda n: _ask(addresses[n % 2], caller), range(2 * EACH)))
            assert len({answer["receipt"]["index"] for answer in answers}) == 2 * EACH
            headers = {"Authorization": f"Bearer {caller}"}
            for number, answer in enumerate(answers):
                other = addresses[1 - number % 2]
                read = httpx.get(
                    f"{other}/v1/decisions/{answer['id']}", headers=headers, timeout=60
                )
                assert read.json() == answer
    report = verify(first.data_dir / "log", source=log_source(first))
    assert report.sound, report.faults
    held, data = first.data_dir / "log" / "checkpoint", first.data_dir
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUNDS_LOG_URL", url.get_secret_value())
        told = json.loads(here("verify", "--json", "--from", held, "--data-dir", data).stdout)
    assert (told["first"] > 2 * EACH, told["size"], told["sound"]) == (True, report.size, True)
    with closing(
        LogReader.open_readonly(
            first.data_dir / "log", origin=first.log_origin, store=log_store(first)
        )
    ) as log:
        starts = [log.read_index(index).payload or b"" for index in range(1, log.size)]
    assert not any(PASSWORD.encode() in payload for payload in starts)
    for settings in (first, second):
        said = (settings.data_dir.parent / "service.log").read_text()
        assert PASSWORD not in said


def _ask(address: str, key: str) -> dict[str, dict[str, object]]:
    response = httpx.post(
        f"{address}/v1/models/{tiny.NAME}/decisions",
        json={"case": tiny.CASE},
        headers={"Authorization": f"Bearer {key}"},
        timeout=30,
    )
    assert response.status_code == httpx.codes.CREATED, response.text
    answer: dict[str, dict[str, object]] = response.json()
    return answer
