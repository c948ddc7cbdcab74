"""Many cases in one request: each a decision of its own, in order, and never more than was recorded."""

import json
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api import schemas
from app.api.batch_answer import GROUP, MOST_LINES, NDJSON
from app.domain import Role
from app.settings import Settings
from tests.app import tiny
from tests.problems import KINDS, assert_problem, faults
from tests.service import ServiceProcess
from tests.started import Started, make_keys, start

PATH = f"/v1/models/{tiny.NAME}/decisions/batch"
LOW = {"amount": 1.0, "count": 1, "answer": "no"}
GOOD = json.dumps({"case": tiny.CASE})
MOST_BYTES = 300_000
OTHER = json.dumps({"case": LOW})


def send(
    service: Started, lines: Sequence[str], *, role: Role = Role.CALLER, **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response: httpx.Response = service.client.post(
        PATH,
        content="\n".join(lines),
        headers={"Content-Type": NDJSON, **service.key(role), **named},
    )
    return response


def results(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == httpx.codes.OK, response.text
    assert response.headers["content-type"] == NDJSON
    assert response.text.endswith("\n")
    return [json.loads(line) for line in response.text.splitlines()]


def kind_of(result: dict[str, Any]) -> str:
    """Return which problem came of a line, once it is shown to be whole."""
    problem = schemas.Problem.model_validate(result["problem"])
    slug = problem.type.removeprefix("/problems/")
    kind = KINDS[slug]
    assert result.keys() == {"line", "status", "problem"}
    assert result["status"] == problem.status == kind.status
    assert (problem.title, problem.advice) == (kind.title, kind.advice)
    assert problem.request_id
    return slug


def about(decision: dict[str, Any]) -> dict[str, Any]:
    """Return what two decisions on one case have in common."""
    return {name: decision[name] for name in decision.keys() - {"id", "created", "receipt"}}


def test_each_line_is_a_decision_as_a_request_of_its_own_would_make_it(service: Started) -> None:
    alone = [service.ask(tiny.NAME, case).json() for case in (tiny.CASE, LOW)]
    lines = [GOOD, OTHER] * GROUP  # two groups, so that order holds from one to the next
    found = results(send(service, lines))
    assert [each["line"] for each in found] == list(range(1, len(lines) + 1))
    assert {each["status"] for each in found} == {201}
    decisions = [each["decision"] for each in found]
    for number, decision in enumerate(decisions):
        assert about(decision) == about(alone[number % 2])
    indexes = [decision["receipt"]["index"] for decision in decisions]
    assert len(set(indexes)) == len(lines)
    for decision in (decisions[0], decisions[-1]):
        path = f"/v1/decisions/{decision['id']}"
        assert service.client.get(path, headers=service.key(Role.CALLER)).json() == decision
        replayed = service.client.post(f"{path}/replay", headers=service.key(Role.AUDITOR))
        assert replayed.json()["verdict"] == "identical"


def test_a_faulty_line_costs_no_other_line_anything(service: Started) -> None:
    before = service.recommendations()
    lines = [
        GOOD,
        "{",
        "",
        json.dumps({"case": {**tiny.CASE, "count": "many"}}),
        "[1]",
        GOOD,
        json.dumps({"case": tiny.CASE, "strange": 1}),
        json.dumps({"case": tiny.CASE, "purpose": "none-such"}),
        json.dumps({"case": tiny.CASE, "idempotency_key": 7}),
        json.dumps({"case": tiny.CASE, "idempotency_key": "two words"}),
        '{"case": {}, "case": {}}',
        json.dumps({"case": {**tiny.CASE, "answer": "x" * service.settings.max_body_bytes}}),
        GOOD,
    ]
    found = results(send(service, lines))
    assert [each["line"] for each in found] == [1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]
    assert {each["line"]: kind_of(each) for each in found if each["status"] != 201} == {
        2: "invalid-json",
        4: "invalid-case",
        5: "invalid-request",
        7: "invalid-request",
        8: "purpose-not-allowed",
        9: "invalid-request",
        10: "invalid-request",
        11: "invalid-request",
        12: "body-too-large",
    }
    (rejected,) = (each["problem"] for each in found if each["line"] == 4)
    assert [fault["field"] for fault in rejected["errors"]] == ["count"]
    for each in found[-5:-3]:
        assert faults(each["problem"]) == {"idempotency_key": "invalid_key"}
    assert service.recommendations() == before + 3


def test_a_batch_sent_again_gives_the_first_answers_again(service: Started) -> None:
    lines = [GOOD, "{", OTHER]
    first = send(service, lines, Idempotency_Key="monday")
    recorded = service.recommendations()
    again = send(service, lines, Idempotency_Key="monday")
    assert service.recommendations() == recorded
    assert [each.get("replayed") for each in results(first)] == [False, None, False]
    assert [each.get("replayed") for each in results(again)] == [True, None, True]
    decisions = [[each.get("decision") for each in results(made)] for made in (first, again)]
    assert decisions[0] == decisions[1]
    # Another case on the same line is another request under the same key.
    changed = results(send(service, [OTHER, "{", OTHER], Idempotency_Key="monday"))
    assert kind_of(changed[0]) == "idempotency-conflict"
    assert changed[2]["replayed"] is True
    assert service.recommendations() == recorded


def test_a_lines_own_key_goes_before_that_of_the_batch(service: Started) -> None:
    keyed = json.dumps({"case": tiny.CASE, "idempotency_key": "application-12"})
    first, second, third = results(send(service, [keyed, keyed, GOOD], Idempotency_Key="tuesday"))
    assert (first["replayed"], second["replayed"], third["replayed"]) == (False, True, False)
    assert second["decision"] == first["decision"]
    # The same key on a request of its own is the same promise.
    alone = service.ask(tiny.NAME, tiny.CASE, headers={"Idempotency-Key": "application-12"})
    assert alone.headers["idempotency-replayed"] == "true"
    assert alone.json() == first["decision"]


def test_what_concerns_the_whole_batch_is_answered_as_one_problem(service: Started) -> None:
    before = service.recommendations()
    assert_problem(send(service, [GOOD], role=Role.AUDITOR), slug="forbidden", status=403)
    nobody = service.client.post(PATH, content=GOOD, headers={"Content-Type": NDJSON})
    assert_problem(nobody, slug="unauthenticated", status=401)
    json_instead = send(service, [GOOD], Content_Type="application/json")
    assert_problem(json_instead, slug="unsupported-media-type", status=415)
    for empty in ([], ["", "  ", ""]):
        assert_problem(send(service, empty), slug="invalid-request", status=422)
    spaced = send(service, [GOOD], Idempotency_Key="two words")
    assert_problem(spaced, slug="invalid-request", status=422)
    unknown = service.client.post(
        "/v1/models/none/decisions/batch",
        content=GOOD,
        headers={"Content-Type": NDJSON, **service.key(Role.CALLER)},
    )
    assert_problem(unknown, slug="unknown-model", status=404)
    assert service.recommendations() == before


def test_no_more_lines_than_allowed_are_taken(service: Started) -> None:
    found = results(send(service, ["{"] * (MOST_LINES + 3)))
    assert len(found) == MOST_LINES + 1
    assert found[-1]["line"] == MOST_LINES + 1
    assert kind_of(found[-1]) == "too-many-lines"


def test_a_batch_waits_for_room_where_a_request_would_be_refused(
    tiny_models: Path, tmp_path: Path
) -> None:
    settings = Settings(models_dir=tiny_models, data_dir=tmp_path / "data", queue_limit=4)
    with start(settings) as service:
        found = results(send(service, [GOOD] * 50))
        assert [each["status"] for each in found] == [201] * 50


class Connection:
    """A batch over a socket, so that a test can send and read when it likes."""

    def __init__(self, service: ServiceProcess, key: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", service.port), timeout=60)
        self.socket.sendall(
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: {NDJSON}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        self.file = self.socket.makefile("rb")

    def send(self, text: str) -> None:
        content = text.encode()
        self.socket.sendall(b"%x\r\n%s\r\n" % (len(content), content))

    def end(self) -> None:
        self.socket.sendall(b"0\r\n\r\n")

    def status(self) -> int:
        status = int(self.file.readline().split()[1])
        while self.file.readline() != b"\r\n":
            pass
        return status

    def results(self) -> list[dict[str, Any]]:
        """Return the lines of the next piece; none at the answer's end."""
        size = int(self.file.readline(), 16)
        content = self.file.read(size)
        self.file.readline()
        return [json.loads(line) for line in content.splitlines()]

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture(scope="module")
def served(
    tiny_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ServiceProcess, dict[Role, str]]]:
    settings = Settings(
        models_dir=tiny_models,
        data_dir=tmp_path_factory.mktemp("batch") / "data",
        batch_limit=1,
        max_batch_bytes=MOST_BYTES,
    )
    keys = make_keys(settings)
    with ServiceProcess(settings) as process:
        yield process, keys


def metric(service: ServiceProcess, name: str) -> float:
    for line in httpx.get(f"{service.address}/metrics", timeout=60).text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise AssertionError(f"{name} is not among the metrics")


def test_an_answer_comes_before_the_next_line_is_sent_and_stops_hold_for_each_line(
    served: tuple[ServiceProcess, dict[Role, str]],
) -> None:
    service, keys = served
    with closing(Connection(service, keys[Role.CALLER])) as batch:
        batch.send(f"{GOOD}\n{GOOD[:9]}")
        assert batch.status() == httpx.codes.OK
        assert [each["line"] for each in batch.results()] == [1]
        # Only so many batches at a time; the next may try again.
        refused = httpx.post(
            f"{service.address}{PATH}",
            content=GOOD,
            headers={"Content-Type": NDJSON, "Authorization": f"Bearer {keys[Role.CALLER]}"},
            timeout=60,
        )
        assert_problem(refused, slug="batches-full", status=503)
        assert refused.headers["retry-after"] == "5"
        admin = {"Authorization": f"Bearer {keys[Role.ADMIN]}"}
        stopped = httpx.post(
            f"{service.address}/v1/stop",
            json={"model": tiny.NAME, "reason": "A test."},
            headers=admin,
            timeout=60,
        )
        assert stopped.status_code == httpx.codes.CREATED, stopped.text
        batch.send(f"{GOOD[9:]}\n")
        (second,) = batch.results()
        assert second["line"] == 2
        assert kind_of(second) == "advice-stopped"
        number = stopped.json()["stops"][-1]["number"]
        for role in (Role.ADMIN, Role.MODEL_OWNER):
            httpx.post(
                f"{service.address}/v1/stops/{number}/resume",
                json={"reason": "A test."},
                headers={"Authorization": f"Bearer {keys[role]}"},
                timeout=60,
            )
        batch.send(GOOD)  # the last line needs no end of its own
        batch.end()
        (third,) = batch.results()
        assert third["status"] == httpx.codes.CREATED
        assert batch.results() == []


def test_what_is_recorded_stays_when_the_client_goes_away(
    served: tuple[ServiceProcess, dict[Role, str]],
) -> None:
    service, keys = served
    before = metric(service, "grounds_log_entries")
    with closing(Connection(service, keys[Role.CALLER])) as batch:
        batch.send(f"{GOOD}\n{GOOD}\n")
        assert batch.status() == httpx.codes.OK
        told = batch.results()
        assert [each["line"] for each in told] == [1, 2]
    assert metric(service, "grounds_log_entries") == before + 2
    decision = told[0]["decision"]
    read = httpx.get(
        f"{service.address}/v1/decisions/{decision['id']}",
        headers={"Authorization": f"Bearer {keys[Role.CALLER]}"},
        timeout=60,
    )
    assert read.json() == decision


def test_a_client_that_reads_nothing_holds_back_the_work_and_loses_none_of_it(
    served: tuple[ServiceProcess, dict[Role, str]],
) -> None:
    service, keys = served
    lines = 4_000
    wait_until_free(service, keys)
    before = metric(service, "grounds_log_entries")
    with closing(Connection(service, keys[Role.CALLER])) as batch:
        # All of it is sent before anything is read, as many clients do.
        for _ in range(lines // 100):
            batch.send(f"{GOOD}\n" * 100)
        batch.end()
        assert batch.status() == httpx.codes.OK
        held = settled(lambda: metric(service, "grounds_log_entries"))
        assert held - before < lines
        assert metric(service, "grounds_queue_depth") == 0
        told = 0
        while found := batch.results():
            assert [each["status"] for each in found] == [201] * len(found)
            told += len(found)
    assert told == lines
    assert metric(service, "grounds_log_entries") >= before + lines


def test_a_batch_that_is_too_large_is_cut_off_and_what_came_before_is_answered(
    served: tuple[ServiceProcess, dict[Role, str]],
) -> None:
    service, keys = served
    wait_until_free(service, keys)
    with closing(Connection(service, keys[Role.CALLER])) as batch:
        batch.send(f"{GOOD}\n")
        assert batch.status() == httpx.codes.OK
        (first,) = batch.results()
        assert first["status"] == httpx.codes.CREATED
        batch.send("x" * MOST_BYTES)
        (last,) = batch.results()
        assert last["line"] == 2
        assert kind_of(last) == "body-too-large"
        assert batch.results() == []


def wait_until_free(service: ServiceProcess, keys: dict[Role, str]) -> None:
    """Wait until the batch before has ended: its client went away."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with closing(Connection(service, keys[Role.CALLER])) as batch:
            batch.send(GOOD)
            batch.end()
            if batch.status() == httpx.codes.OK:
                assert len(batch.results()) == 1
                assert batch.results() == []
                return
    raise AssertionError("the batch before does not end")


def settled(read: Any) -> float:
    """Return a number once it has not moved for a while."""
    found, since = read(), time.monotonic()
    deadline = time.monotonic() + 60
    while time.monotonic() - since < 1.0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
        if (now := read()) != found:
            found, since = now, time.monotonic()
    return float(found)
