"""Two services on one PostgreSQL, of which one records nothing: it knows what the other did."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from app.domain import Role
from app.monitoring.entries import BREAKER, Event
from app.settings import Settings
from tests.app import tiny
from tests.app.governed import Governed
from tests.postgres import server_or_skip
from tests.started import Started, start

BASIS = {"basis": "A test."}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two services; people have keys for both."""

    busy: Governed
    idle: Started

    def decided(self) -> tuple[str, int]:
        """Return a case that was decided at the one, and the index of the decision."""
        decision = self.busy.ask().json()["id"]
        step = self.busy.decide(decision, "ann").json()
        return decision, step["receipt"]["index"]

    def idle_get(self, path: str, role: Role = Role.AUDITOR) -> httpx.Response:
        found: httpx.Response = self.idle.client.get(path, headers=self.idle.key(role))
        return found

    def idle_post(self, path: str, body: object, role: Role = Role.ADMIN) -> httpx.Response:
        done: httpx.Response = self.idle.client.post(path, json=body, headers=self.idle.key(role))
        return done


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("several")
    tiny.write(directory / "models" / tiny.NAME)
    (directory / "models" / tiny.NAME / "monitoring.yaml").write_text(
        "limits:\n  calibration_gap: {limit: 0.1, action: stop}\n"
    )
    with server_or_skip() as server, server.database() as database:
        first = Settings(
            models_dir=directory / "models",
            store_dir=directory / "store",
            data_dir=directory / "one",
            log_url=SecretStr(database.url),
        )
        second = first.model_copy(update={"data_dir": directory / "two"})
        with start(first) as one:
            shutil.copytree(first.data_dir / "log", second.data_dir / "log")
            with start(second) as two:
                yield Pair(Governed(one), two)


@pytest.mark.parametrize("is_owner", [False, True])
def test_a_role_that_may_change_the_log_is_warned_of(tmp_path: Path, is_owner: bool) -> None:
    tiny.write(tmp_path / "models" / tiny.NAME)
    with server_or_skip() as server, server.database() as database:
        settings = Settings(
            models_dir=tmp_path / "models",
            store_dir=tmp_path / "store",
            data_dir=tmp_path / "data",
            log_url=SecretStr(database.owner_url if is_owner else database.url),
        )
        with capture_logs() as lines, start(settings):
            pass
    told = [
        line for line in lines if line["event"] == "the database lets the service change the log"
    ]
    assert [line["log_level"] for line in told] == ["warning"] * is_owner


def eventually(is_so: Callable[[], Any]) -> Any:
    """Return what is true some time later: a second, and longer on a busy machine."""
    deadline = time.monotonic() + 60
    while not (found := is_so()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def test_lists_and_registers_know_what_another_service_recorded(pair: Pair) -> None:
    decision, _ = pair.decided()
    one = pair.busy
    hold = one.post(f"/v1/decisions/{decision}/hold", BASIS, one.person("root", Role.ADMIN))
    assert one.step(decision, "contest", one.person("bob"), text="It is not so.").status_code == 201
    begun = one.post("/v1/log/verifications", None, one.started.key(Role.AUDITOR)).json()["id"]
    for path, sought in (
        ("/v1/decisions", decision),
        ("/v1/holds", hold.json()["id"]),
        ("/v1/contests", decision),
        ("/v1/log/verifications", begun),
    ):
        role = Role.REVIEWER if path == "/v1/contests" else Role.AUDITOR
        assert eventually(lambda: sought in pair.idle_get(path, role).text), path  # noqa: B023
    assert pair.idle_get(f"/v1/log/verifications/{begun}").json()["status"] == "sound"
    lifted = pair.idle_post(f"/v1/holds/{hold.json()['id']}/lift", BASIS)
    assert lifted.status_code == 200


def test_what_one_service_erased_leaves_the_other_ones_list(pair: Pair) -> None:
    decision, _ = pair.decided()

    def row() -> dict[str, Any]:
        listed = pair.idle_get("/v1/decisions?limit=100").json()["decisions"]
        found: dict[str, Any] = next((each for each in listed if each["id"] == decision), {})
        return found

    assert eventually(lambda: row().get("outcome") == "yes")
    one = pair.busy
    one.post(f"/v1/decisions/{decision}/erasure", BASIS, one.person("root", Role.ADMIN))
    assert eventually(lambda: row().get("status") == "erased")
    assert row()["outcome"] is None


def test_a_decision_is_erased_with_the_steps_that_another_service_has_just_recorded(
    pair: Pair,
) -> None:
    decision, step = pair.decided()
    done = pair.idle_post(f"/v1/decisions/{decision}/erasure", BASIS)
    assert done.status_code == 200
    assert step in done.json()["erased"]


def test_a_limit_that_trips_at_one_service_stops_the_other_until_it_is_reset(pair: Pair) -> None:
    one = pair.busy
    parts = one.started.parts
    tripped = {
        "model": parts.model(tiny.NAME).facts["model"],
        "state": "tripped",
        "limit": "calibration_gap",
        "subject": "",
    }
    parts.log.append([Event(BREAKER, parts.new_id(), tripped, {}).prepare().record])

    def asked() -> int:
        return pair.idle.ask(tiny.NAME, tiny.CASE).status_code

    def stance() -> str | None:
        watched = pair.idle_get(f"/v1/models/{tiny.NAME}/monitoring", Role.MODEL_OWNER)
        found: str | None = watched.json()["stance"]
        return found

    assert eventually(lambda: stance() == "stop")
    assert asked() == 503
    path = f"/v1/models/{tiny.NAME}/monitoring/reset"
    reset = one.post(path, {"reason": "Mended."}, one.person("root", Role.ADMIN))
    assert reset.status_code == 200
    assert eventually(lambda: stance() is None)
    assert asked() == 201


def test_a_hold_is_listed_and_lifted_at_once_by_another_service(pair: Pair) -> None:
    decision, _ = pair.decided()
    one = pair.busy
    hold = one.post(f"/v1/decisions/{decision}/hold", BASIS, one.person("root", Role.ADMIN))
    assert pair.idle_post(f"/v1/holds/{hold.json()['id']}/lift", BASIS).status_code == 200
    hold = one.post(f"/v1/decisions/{decision}/hold", BASIS, one.person("root", Role.ADMIN))
    assert hold.json()["id"] in pair.idle_get("/v1/holds").text
