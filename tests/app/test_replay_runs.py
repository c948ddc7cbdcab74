"""Runs of replays: put on record through a running service, listed, and read back."""

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.replay_schemas import ReplayReport
from app.client import KEY_VARIABLE, ServiceRefusedError
from app.domain import Role
from app.errors import InvalidRequestError
from app.ids import new_id, utc_now
from app.replay_recorder import Service, replay_one
from app.replay_report import check_report
from app.replay_run import Run, run_replay
from app.settings import Settings
from audit.replay import NotReplayable
from tests.app import tiny
from tests.problems import assert_problem
from tests.started import Started, start

ADDRESS = "http://127.0.0.1:1"


class ThroughApp(httpx.BaseTransport):
    """Hands requests to the started application."""

    def __init__(self, service: Started) -> None:
        self._service = service

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._service.client.request(
            request.method,
            request.url.path,
            content=request.read(),
            headers={name: value for name, value in request.headers.items() if name != "host"},
        )
        return httpx.Response(answer.status_code, content=answer.content)


@pytest.fixture(scope="module")
def ran(service: Started) -> tuple[list[str], bytes]:
    """Three decisions of a running service, and the report of their replay beside it."""
    ids = [
        service.ask(tiny.NAME, {**tiny.CASE, "amount": amount}).json()["id"]
        for amount in (1.0, 10.0, 20.0)
    ]
    return ids, run_replay(Run(service.settings), clock=utc_now).encode()


def post(service: Started, report: dict[str, Any], role: Role = Role.AUDITOR) -> httpx.Response:
    answer: httpx.Response = service.client.post(
        "/v1/replays", json=report, headers=service.key(role)
    )
    return answer


def test_a_run_beside_the_service_is_recorded_listed_and_read_back(
    service: Started, ran: tuple[list[str], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, service.keys[Role.AUDITOR])
    assert ran  # there is something to replay
    report = run_replay(Run(service.settings), clock=utc_now)
    before = service.parts.log.size
    run_id = Service(ADDRESS, transport=ThroughApp(service)).record(report)
    assert service.parts.log.size == before + 1
    headers = service.key(Role.MODEL_OWNER)
    listed = service.client.get("/v1/replays", headers=headers).json()["runs"]
    assert listed[0]["id"] == run_id
    assert listed[0]["report_sha256"] == hashlib.sha256(report.encode()).hexdigest()
    assert listed[0]["verdicts"] == {"identical": report.sums.decisions}
    shown = service.client.get(f"/v1/replays/{run_id}", headers=headers).json()
    # To the byte: what the reporter sent is what the log committed to.
    assert shown["report"] == json.loads(report.encode())
    assert shown["actor"] == Role.AUDITOR.value
    assert shown["receipt"]["index"] == before == listed[0]["index"]


def test_a_report_is_what_the_documents_schema_says(ran: tuple[list[str], bytes]) -> None:
    parsed = ReplayReport.model_validate_json(ran[1])
    assert parsed.model_dump(mode="json") == json.loads(ran[1])


def test_one_decision_is_replayed_by_the_service(
    service: Started, ran: tuple[list[str], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, service.keys[Role.AUDITOR])
    told = Service(ADDRESS, transport=ThroughApp(service)).replay(ran[0][0])
    assert told["verdict"] == "identical"
    with pytest.raises(ServiceRefusedError, match="404"):
        Service(ADDRESS, transport=ThroughApp(service)).replay(new_id())


def test_a_key_does_not_go_out_unencrypted_or_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(ServiceRefusedError, match=KEY_VARIABLE):
        Service(ADDRESS)
    monkeypatch.setenv(KEY_VARIABLE, "a.b")
    with pytest.raises(ServiceRefusedError, match="https"):
        Service("http://grounds.example.org")


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("log", "origin"), "another.example/log", "log.origin"),
        (("log", "size"), 10**9, "log.size"),
        (("log", "root"), "00" * 32, "log.root"),
        (("selection", "start"), 10**9, "selection"),
        (("verdicts", "identical"), 1, "verdicts"),
        (("decisions",), 7, "verdicts"),
        (("exceptions_omitted",), 2, "exceptions"),
        (("kind",), "counterfactual", "instead, impact"),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else None,
)
def test_a_report_that_is_not_about_this_log_or_does_not_add_up_is_refused(
    service: Started, ran: tuple[list[str], bytes], path: tuple[str, ...], value: object, told: str
) -> None:
    report = json.loads(ran[1])
    check_report(service.parts.log, copy.deepcopy(report))
    place = report
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(InvalidRequestError, match=told):
        check_report(service.parts.log, report)
    before = service.parts.log.size
    assert_problem(post(service, report), slug="invalid-request", status=422)
    assert service.parts.log.size == before


def test_a_run_that_is_none_is_unknown(service: Started, ran: tuple[list[str], bytes]) -> None:
    for run_id in (new_id(), ran[0][0]):
        answer = service.client.get(f"/v1/replays/{run_id}", headers=service.key(Role.AUDITOR))
        assert_problem(answer, slug="unknown-run", status=404)


def test_an_erased_decision_is_told_apart_and_the_others_still_replay(
    tiny_models: Path, tmp_path: Path
) -> None:
    settings = Settings(models_dir=tiny_models, data_dir=tmp_path / "data")
    with start(settings) as service:
        ids = [service.ask(tiny.NAME, tiny.CASE).json()["id"] for _ in range(3)]
        erased = service.client.post(
            f"/v1/decisions/{ids[1]}/erasure", json={"basis": "A test."},
            headers=service.key(Role.ADMIN),
        )  # fmt: skip
        assert erased.status_code == 200, erased.text
    report = run_replay(Run(settings), clock=utc_now)
    assert report.body()["verdicts"] == {
        **dict.fromkeys(report.body()["verdicts"], 0),  # type: ignore[call-overload]
        "identical": 2,
        "erased": 1,
    }
    assert [each.decision for each in report.sums.exceptions] == [ids[1]]
    verdict = replay_one(Run(settings), ids[1], log=None, clock=utc_now, new_id=new_id)
    assert isinstance(verdict, NotReplayable)
    assert verdict.reason == "erased"


def test_a_run_leads_to_its_decisions_only_those_who_may_see_them(
    tiny_models: Path, tmp_path: Path
) -> None:
    settings = Settings(models_dir=tiny_models, data_dir=tmp_path / "data")
    with start(settings) as service:
        decision = service.ask(tiny.NAME, tiny.CASE).json()["id"]
        service.client.post(
            f"/v1/decisions/{decision}/erasure", json={"basis": "A test."},
            headers=service.key(Role.ADMIN),
        )  # fmt: skip
        run = post(service, run_replay(Run(settings), clock=utc_now).body()).json()["id"]
        for role, may_open in ((Role.AUDITOR, True), (Role.MODEL_OWNER, False)):
            headers = {**service.session(role), "Accept": "text/html"}
            page = service.client.get(f"/audit/replays/{run}", headers=headers).text
            assert f">{decision[-8:]}</" in page
            assert (f'href="/decisions/{decision}"' in page) is may_open
