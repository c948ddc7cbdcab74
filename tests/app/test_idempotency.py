"""A request sent again is the same request: one answer, one record, whatever happened in between."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from threading import Barrier

import httpx
import pytest

from app.domain import Role
from app.ids import utc_now
from app.keys import KeyStore
from app.settings import Settings
from tests.app import tiny
from tests.app.versions import Owner
from tests.problems import assert_guarded, assert_problem
from tests.started import Started, start

PATH = f"/v1/models/{tiny.NAME}/decisions"
LOW = {"amount": 1.0, "count": 1, "answer": "no"}


def ask(
    service: Started, key: str, body: bytes | dict[str, object], role: Role = Role.CALLER
) -> httpx.Response:
    response: httpx.Response = service.client.post(
        PATH,
        content=body if isinstance(body, bytes) else json.dumps(body).encode(),
        headers={
            **service.key(role),
            "Content-Type": "application/json",
            "Idempotency-Key": key,
        },
    )
    return response


def assert_repeats(again: httpx.Response, first: httpx.Response) -> None:
    assert first.status_code == again.status_code == 201
    assert again.content == first.content
    assert again.headers["location"] == first.headers["location"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert_guarded(again)


@pytest.mark.parametrize("case", [tiny.CASE, LOW], ids=["plain", "slow"])
def test_the_same_request_gets_the_first_answer_byte_for_byte(
    service: Started, case: dict[str, object]
) -> None:
    key = f"same-{case['amount']}"
    before = service.recommendations()
    first = ask(service, key, {"case": case, "subject": "person-1"})
    for _ in range(3):
        assert_repeats(ask(service, key, {"case": case, "subject": "person-1"}), first)
    assert service.recommendations() == before + 1


def test_white_space_and_the_order_of_members_are_not_another_request(service: Started) -> None:
    first = ask(service, "spaced", b'{"case":{"amount":12.5,"count":5,"answer":"yes"}}')
    again = ask(
        service,
        "spaced",
        b'\n{ "case" : {"answer": "yes",\t"count": 5, "amount": 1.25e1} }\r\n',
    )
    assert_repeats(again, first)


@pytest.mark.parametrize(
    "written",
    [
        b'{"case":{"amount":12.50,"count":5,"answer":"caf\\u00e9"}}',
        b'{"case":{"amount":1.25e1,"count":5,"answer":"caf\xc3\xa9"}}',
        b'{"case":{"answer":"caf\\u00E9","count":5,"amount":125E-1}}',
    ],
)
def test_how_a_value_is_written_is_not_part_of_the_request(
    service: Started, written: bytes
) -> None:
    key = sha256(written).hexdigest()
    first = ask(service, key, {"case": {**tiny.CASE, "answer": "café"}})
    assert_repeats(ask(service, key, written), first)


@pytest.mark.parametrize(
    "other",
    [
        {"case": {**tiny.CASE, "count": 5.0}},
        {"case": tiny.CASE, "provenance": {}},
        {"case": tiny.CASE, "subject": None},
        {"case": {**tiny.CASE, "amount": 12.500001}},
        {"case": {**tiny.CASE, "answer": "Yes"}},
        {"case": tiny.CASE, "subject": "person-2"},
        {"case": LOW},
    ],
    ids=["integer", "no provenance", "no subject", "number", "text", "subject", "case"],
)
def test_another_body_under_the_same_key_is_refused_and_the_first_answer_kept(
    service: Started, other: dict[str, object]
) -> None:
    key = "conflict-" + sha256(json.dumps(other).encode()).hexdigest()
    first = ask(service, key, {"case": tiny.CASE})
    before = service.recommendations()
    problem = assert_problem(ask(service, key, other), slug="idempotency-conflict", status=409)
    assert "person-2" not in str(problem)
    assert service.recommendations() == before
    assert_repeats(ask(service, key, {"case": tiny.CASE}), first)


def test_the_same_request_to_another_model_is_another_request(
    tmp_path: Path,
) -> None:
    for name in ("tiny", "other"):
        tiny.write(tmp_path / "models" / name, name=name)
    settings = Settings(models_dir=tmp_path / "models", data_dir=tmp_path / "data")
    headers = {"Idempotency-Key": "one"}
    with start(settings) as service:
        assert service.ask("tiny", tiny.CASE, headers=headers).status_code == 201
        response = service.ask("other", tiny.CASE, headers=headers)
        assert_problem(response, slug="idempotency-conflict", status=409)


def test_another_callers_same_key_is_their_own(service: Started) -> None:
    with closing(KeyStore(service.settings.data_dir / "access.sqlite3")) as store:
        stranger = store.create(name="stranger", role=Role.CALLER, clock=utc_now)
    mine = ask(service, "shared", {"case": tiny.CASE})
    theirs = service.client.post(
        PATH,
        json={"case": LOW},
        headers={"Authorization": f"Bearer {stranger}", "Idempotency-Key": "shared"},
    )
    assert theirs.status_code == 201
    assert "idempotency-replayed" not in theirs.headers
    assert theirs.json()["id"] != mine.json()["id"]


def test_without_a_key_every_request_is_a_new_one(service: Started) -> None:
    first, second = (service.ask(tiny.NAME, tiny.CASE) for _ in range(2))
    assert first.json()["id"] != second.json()["id"]


@pytest.mark.parametrize("case", [tiny.CASE, LOW], ids=["plain", "slow"])
def test_requests_at_the_same_time_make_one_record(
    service: Started, case: dict[str, object]
) -> None:
    number = 12
    key = f"together-{case['amount']}"
    before = service.recommendations()
    barrier = Barrier(number)

    def together(_: int) -> httpx.Response:
        barrier.wait(10)
        return ask(service, key, {"case": case})

    with ThreadPoolExecutor(number) as pool:
        answers = list(pool.map(together, range(number)))
    assert {answer.status_code for answer in answers} == {201}, [a.text for a in answers]
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert service.recommendations() == before + 1


def test_bodies_that_differ_at_the_same_time_end_in_one_record_and_conflicts(
    service: Started,
) -> None:
    number = 8
    before = service.recommendations()
    barrier = Barrier(number)

    def together(place: int) -> httpx.Response:
        barrier.wait(10)
        return ask(service, "race", {"case": {**tiny.CASE, "count": place}})

    with ThreadPoolExecutor(number) as pool:
        answers = list(pool.map(together, range(number)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [201] + [409] * (number - 1)
    assert service.recommendations() == before + 1


def test_a_refused_case_does_not_use_up_its_key(service: Started) -> None:
    refused: list[dict[str, object]] = [
        {"case": {**tiny.CASE, "count": "five"}},
        {"case": tiny.CASE, "subjekt": "x"},
        {"case": {}},
    ]
    for wrong in refused:
        assert ask(service, "mended", wrong).status_code == 422
    assert ask(service, "mended", b'{"case": NaN}').status_code == 400
    answer = ask(service, "mended", {"case": tiny.CASE})
    assert answer.status_code == 201
    assert "idempotency-replayed" not in answer.headers


def test_what_was_accepted_keeps_its_answer_after_a_restart_and_a_stricter_model(
    tmp_path: Path,
) -> None:
    """The model of today would refuse the case; the answer of yesterday is still the answer."""
    settings = Settings(models_dir=tmp_path / "models", data_dir=tmp_path / "data")
    model = tmp_path / "models" / tiny.NAME
    body = {"case": {**tiny.CASE, "answer": "perhaps"}}
    tiny.write(model)
    with start(settings) as service:
        key = service.key(Role.CALLER)
        first = service.client.post(PATH, json=body, headers={**key, "Idempotency-Key": "kept"})
        owner = Owner(settings, service.client, tiny.NAME)
        told = tiny.card(takes_unknown=False).model_copy(update={"version": "2"})
        tiny.write(tmp_path / "stricter", told=told)
        owner.bring(owner.submit(tmp_path / "stricter"), "accepted", "shadow", "live")
    with start(settings) as service:
        refused = service.client.post(PATH, json=body, headers={**key, "Idempotency-Key": "new"})
        assert_problem(refused, slug="invalid-case", status=422)
        again = service.client.post(PATH, json=body, headers={**key, "Idempotency-Key": "kept"})
        assert_repeats(again, first)
