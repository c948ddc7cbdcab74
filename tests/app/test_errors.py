"""Whatever is wrong with a request is said so that a stranger can mend it, and nothing is advised.

Each problem passes one check of its form; none repeats a value of the case; and the log has no
recommendation more afterwards than it had before.
"""

import asyncio
import gzip
import json
import re
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from structlog.testing import capture_logs

from app import errors
from app.domain import Role
from app.lineup import Serving
from app.main import assemble
from audit.errors import DamagedLogError, LogBrokenError, LogFullError
from explainers.errors import AdditivityError
from models.demo.cases import DEMO_CASES
from models.errors import ScoringError
from tests.app import tiny
from tests.problems import KINDS, assert_problem, faults
from tests.started import Started, serving

PATH = f"/v1/models/{tiny.NAME}/decisions"
UNKNOWN_ID = "019a9f3e-5c1d-7a52-9c0a-6f2e1b7d4c11"
PRIVATE = "Zebedee-Quux-1957"
"""A value that must never come back."""


@pytest.fixture(autouse=True)
def _nothing_is_advised(service: Started) -> Iterator[None]:
    """No test of this module may leave a recommendation behind, unless it makes one on purpose."""
    before = service.recommendations()
    yield
    assert service.recommendations() == before


def send(
    service: Started,
    content: bytes | str | Iterator[bytes],
    *,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """Send these very bytes as a case."""
    response: httpx.Response = service.client.post(
        PATH,
        content=content,
        headers={
            **service.key(Role.CALLER),
            "Content-Type": "application/json",
            **(headers or {}),
        },
    )
    return response


@pytest.mark.parametrize(
    ("change", "field", "code", "allowed"),
    [
        ({"amount": "12"}, "amount", "wrong_type", "a number"),
        ({"amount": True}, "amount", "wrong_type", "a number"),
        ({"amount": [PRIVATE]}, "amount", "wrong_type", "a number"),
        ({"amount": {"a": PRIVATE}}, "amount", "wrong_type", "a number"),
        ({"amount": None}, "amount", "null_not_allowed", "a number"),
        ({"amount": 1e39}, "amount", "not_representable", "a number"),
        ({"count": 2.5}, "count", "wrong_type", "a whole number"),
        ({"count": "2"}, "count", "wrong_type", "a whole number"),
        ({"count": 2**24 + 1}, "count", "not_representable", "a whole number"),
        ({"count": -(2**24) - 1}, "count", "not_representable", "a whole number"),
        ({"count": 2**70}, "count", "wrong_type", "a whole number"),
        ({"answer": 1}, "answer", "wrong_type", "text of at most 1000 characters"),
        ({"answer": None}, "answer", "null_not_allowed", "text of at most 1000 characters"),
        (
            {"answer": PRIVATE * 100},
            "answer",
            "not_representable",
            "text of at most 1000 characters",
        ),
        ({"amuont": 1.0}, "amuont", "unknown_field", "the 3 fields of the schema"),
    ],
    ids=str,
)
def test_a_field_that_is_wrong_is_named_with_what_is_allowed(
    service: Started, change: dict[str, object], field: str, code: str, allowed: str
) -> None:
    response = service.ask(tiny.NAME, {**tiny.CASE, **change})
    problem = assert_problem(response, slug="invalid-case", status=422)
    assert faults(problem) == {field: code}
    assert problem["errors"][0]["allowed"] == allowed
    assert field in problem["errors"][0]["message"]
    assert problem["detail"] == "1 field must be corrected"
    assert PRIVATE not in response.text


@pytest.mark.parametrize(
    "change",
    [{"amount": 12}, {"count": 2.0}, {"count": 2**24}, {"count": -(2**24)}, {"answer": PRIVATE}],
    ids=str,
)
def test_what_is_only_just_allowed_is_not_refused(
    service: Started, change: dict[str, object]
) -> None:
    case = service.parts.served[tiny.NAME].bundle.schema.encode({**tiny.CASE, **change})
    assert case.values.keys() == tiny.CASE.keys()


def test_a_field_that_is_not_there_is_named(service: Started) -> None:
    problem = assert_problem(service.ask(tiny.NAME, {}), slug="invalid-case", status=422)
    assert faults(problem) == dict.fromkeys(tiny.CASE, "missing_field")
    assert problem["detail"] == "3 fields must be corrected"


def test_a_misspelt_field_comes_with_the_name_that_was_meant(service: Started) -> None:
    case = {"amuont": 1.5, "count": 1, "answer": "no"}
    problem = assert_problem(service.ask(tiny.NAME, case), slug="invalid-case", status=422)
    assert faults(problem) == {"amount": "missing_field", "amuont": "unknown_field"}
    assert "did you mean 'amount'?" in problem["errors"][1]["message"]


def test_an_unknown_category_comes_with_those_that_are_known(demonstration: Started) -> None:
    case = DEMO_CASES["close-call"]
    response = demonstration.ask("housing-support", {**case, "tenure": PRIVATE})
    problem = assert_problem(response, slug="invalid-case", status=422)
    assert faults(problem) == {"tenure": "unknown_category"}
    assert problem["errors"][0]["allowed"] == (
        "one of: Council tenant, Housing association tenant, Private tenant, Temporary home"
    )
    assert PRIVATE not in response.text
    near = demonstration.ask("housing-support", {**case, "tenure": "private tenant"})
    message = assert_problem(near, slug="invalid-case", status=422)["errors"][0]["message"]
    assert "did you mean 'Private tenant'?" in message
    out_of_range = demonstration.ask("housing-support", {**case, "weekly_rent": 1000.5})
    (fault,) = assert_problem(out_of_range, slug="invalid-case", status=422)["errors"]
    assert (fault["code"], fault["allowed"]) == (
        "above_maximum",
        "a number from 0 to 1,000 (£ a week)",
    )
    assert demonstration.recommendations() == 0


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "012", "1.", '"\\ud800"', "'a'"])
def test_a_literal_that_json_does_not_have_is_placed(service: Started, text: str) -> None:
    body = f'{{"case": {{"amount": {text}, "count": 1, "answer": "no"}}}}'
    problem = assert_problem(send(service, body), slug="invalid-json", status=400)
    assert "line 1, column" in problem["detail"]
    assert "null" in problem["advice"]


@pytest.mark.parametrize("text", ["1e999", "-1e400", "9" * 400], ids=["1e999", "-1e400", "digits"])
def test_a_number_that_is_too_large_is_said_to_be_that(service: Started, text: str) -> None:
    """It is valid JSON, and no machine number holds it."""
    body = f'{{"case": {{"amount": {text}, "count": 1, "answer": "no"}}}}'
    problem = assert_problem(send(service, body), slug="invalid-request", status=422)
    assert problem["detail"] == "the number at line 1, column 21 is too large"
    (fault,) = problem["errors"]
    assert (fault["field"], fault["code"]) == ("body", "number_too_large")
    assert "1.79" in fault["allowed"]


@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip", "GZIP"])
@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        (PATH, "application/json"),
        (f"{PATH}/batch", "application/x-ndjson"),
        ("/v1/subjects/decisions", "application/json"),
        (f"/v1/decisions/{UNKNOWN_ID}/contest", "application/json"),
    ],
)
def test_a_coded_body_is_refused_as_such(
    service: Started, path: str, media_type: str, coding: str
) -> None:
    response = service.client.post(
        path,
        content=gzip.compress(b'{"case": {}}'),
        headers={
            **service.key(Role.ADMIN), "Content-Type": media_type, "Content-Encoding": coding,
        },
    )  # fmt: skip
    problem = assert_problem(response, slug="unsupported-media-type", status=415)
    assert "Content-Encoding" in problem["detail"]
    assert response.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("coding", ["", "identity", "Identity"])
def test_a_body_that_says_it_is_not_coded_is_read(service: Started, coding: str) -> None:
    for path in (PATH, f"/v1/decisions/{UNKNOWN_ID}/contest"):
        response = service.client.post(
            path, json={}, headers={**service.key(Role.ADMIN), "Content-Encoding": coding}
        )
        assert faults(assert_problem(response, slug="invalid-request", status=422))
        assert "accept-encoding" not in response.headers


@pytest.mark.parametrize(
    ("content", "slug", "status", "detail"),
    [
        (b"x" * 2**21, "body-too-large", 413, "1048576 bytes"),
        (b'{"subject": "\xff"}', "invalid-json", 400, "line 1, column"),
        (b'{"subject": "\\ud800"}', "invalid-json", 400, "line 1, column"),
        (b"[" * 100_000, "invalid-json", 400, "line 1, column"),
        (b'{"subject": NaN}', "invalid-json", 400, "line 1, column 13"),
        (b'{"subject": ' + b"9" * 5000 + b"}", "invalid-request", 422, "too large"),
        (b'{"subject": "a", "subject": "b"}', "invalid-request", 422, "two members of one name"),
    ],
    ids=["too large", "not UTF-8", "half a character", "deep", "NaN", "digits", "twice"],
)
def test_every_route_reads_json_as_the_hot_one_does(
    service: Started, content: bytes, slug: str, status: int, detail: str
) -> None:
    response = service.client.post(
        "/v1/subjects/decisions",
        content=content,
        headers={**service.key(Role.ADMIN), "Content-Type": "application/json"},
    )
    assert detail in assert_problem(response, slug=slug, status=status)["detail"]


@pytest.mark.parametrize(
    ("body", "field", "allowed"),
    [
        ("null", "body", "a JSON object"),
        ("[]", "body", "a JSON object"),
        ("1", "body", "a JSON object"),
        ('{"case": 1}', "case", "a JSON object"),
        ('{"case": {}, "subject": 7}', "subject", "a text"),
        ('{"case": {}, "subject": ""}', "subject", "a text of at least 1 character"),
        (f'{{"case": {{}}, "subject": "{"x" * 201}"}}', "subject",
         "a text of at most 200 characters"),
        ('{"case": {}, "provenance": {"a": []}}', "provenance.a", "a JSON object"),
        ('{"case": {}, "provenance": {"a": {"source": "x"}}}', "provenance.a.source",
         "one of: declared, verified, estimated or imputed"),
        ('{"case": {}, "provenance": {"a": {"source": "declared", "date": 1}}}',
         "provenance.a.date", "a day as 2026-11-30"),
        ('{"case": {}, "provenance": {"a": {"source": "declared", "date": "2026-02-30"}}}',
         "provenance.a.date", "a day as 2026-11-30"),
    ],
)  # fmt: skip
def test_what_is_allowed_is_said_in_the_words_of_json(
    service: Started, body: str, field: str, allowed: str
) -> None:
    response = send(service, body)
    (fault,) = assert_problem(response, slug="invalid-request", status=422)["errors"]
    assert (fault["field"], fault["allowed"]) == (field, allowed)
    assert fault["message"] == f"Want {allowed}"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/decisions?limit=0", "a number of at least 1"),
        ("/v1/decisions?limit=x", "a whole number"),
        ("/v1/decisions?mine=perhaps", "true or false"),
        ("/v1/decisions?order=size", "one of: newest, oldest or due"),
        ("/v1/decisions?created_from=1", "a day such as 2026-11-23"),
        ("/v1/decisions?created_from=2026-13-01", "a day such as 2026-11-23"),
        ("/v1/decisions/1", "a text that matches ^[0-9a-fA-F]{8}-"),
        ("/v1/decisions?colour=red", "documented names only"),
    ],
)
def test_what_is_allowed_in_an_address_is_said(service: Started, path: str, allowed: str) -> None:
    response = service.client.get(path, headers=service.key(Role.ADMIN))
    (fault,) = assert_problem(response, slug="invalid-request", status=422)["errors"]
    assert fault["allowed"].startswith(allowed)


def test_no_word_of_python_reaches_a_caller(service: Started) -> None:
    """Every body that the document describes, sent as other things than it is."""
    said = []
    for path, methods in service.app.openapi()["paths"].items():
        asked = methods.get("post", {}).get("requestBody", {}).get("content", {})
        if "application/json" not in asked or path == "/v1/stop":  # null stops every model
            continue
        address = path.format(model=tiny.NAME, decision_id=UNKNOWN_ID, hold_id=UNKNOWN_ID, number=1)
        example = asked["application/json"].get("example", {})
        others: list[object] = [None, 1.5, {}, ""]
        bodies: list[object] = [None, [], 1, "x", {}, {"hint": 1}]
        bodies += [{**example, name: wrong} for name in example for wrong in others]
        for body in bodies:
            response = service.client.post(address, json=body, headers=service.key(Role.ADMIN))
            if response.status_code == 422:
                said += response.json().get("errors", [])
    assert len(said) > 100
    texts = {fault["message"] for fault in said} | {fault["allowed"] for fault in said}
    for text in texts:
        assert not re.search(
            r"dictionary|instance|Request|valid (list|string|int)|None|Value", text
        )


@pytest.mark.parametrize(
    "body",
    [b"", b"   ", b"{", b"case=1", b"\xff\xfe", b"\x00", b"\xef\xbb\xbf{}", b'{"case": {}} x'],
    ids=repr,
)
def test_a_body_that_is_not_json_is_refused(service: Started, body: bytes) -> None:
    assert_problem(send(service, body), slug="invalid-json", status=400)


@pytest.mark.parametrize("depth", [200, 300, 1000, 100_000])
@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "deep"}], ids=["plain", "keyed"])
def test_deep_nesting_is_refused(service: Started, depth: int, headers: dict[str, str]) -> None:
    body = '{"case": {"amount": ' + "[" * depth + "]" * depth + "}}"
    response = send(service, body, headers=headers)
    assert response.status_code in {400, 422}
    slug = json.loads(response.content)["type"].removeprefix("/problems/")
    assert slug in {"invalid-json", "invalid-case", "invalid-request"}
    assert_problem(response, slug=slug, status=response.status_code)


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ("[]", {"body": "model_type"}),
        ("null", {"body": "model_type"}),
        ('"text"', {"body": "model_type"}),
        ("{}", {"case": "missing"}),
        ('{"case": []}', {"case": "dict_type"}),
        ('{"case": null}', {"case": "dict_type"}),
        ('{"case": {}, "subject": 7}', {"subject": "string_type"}),
        ('{"case": {}, "subject": ""}', {"subject": "string_too_short"}),
        ('{"case": {}, "sujbect": "x"}', {"sujbect": "extra_forbidden"}),
    ],
)
def test_a_body_of_another_form_is_refused_with_the_place(
    service: Started, body: str, places: dict[str, str]
) -> None:
    problem = assert_problem(send(service, body), slug="invalid-request", status=422)
    assert faults(problem) == places


def test_a_subject_is_never_repeated(service: Started) -> None:
    response = send(service, json.dumps({"case": {}, "subject": PRIVATE * 20}))
    assert faults(assert_problem(response, slug="invalid-request", status=422)) == {
        "subject": "string_too_long"
    }
    assert PRIVATE not in response.text


def test_a_thousand_faults_make_a_short_answer(service: Started) -> None:
    strange = {f"{PRIVATE}{'x' * 500}{n}": n for n in range(1000)}
    in_case = service.ask(tiny.NAME, {**tiny.CASE, **strange})
    assert len(assert_problem(in_case, slug="invalid-case", status=422)["errors"]) <= 21
    assert len(in_case.content) < 10_000
    in_body = send(service, json.dumps({"case": {}, **strange}))
    assert len(assert_problem(in_body, slug="invalid-request", status=422)["errors"]) <= 20
    assert len(in_body.content) < 10_000


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_content_type_is_refused(service: Started, content_type: str) -> None:
    response = send(
        service, json.dumps({"case": tiny.CASE}), headers={"Content-Type": content_type}
    )
    assert_problem(response, slug="unsupported-media-type", status=415)


def test_a_body_of_ten_megabytes_is_refused(service: Started) -> None:
    body = json.dumps({"case": tiny.CASE, "subject": "x" * 10_000_000})
    problem = assert_problem(send(service, body), slug="body-too-large", status=413)
    assert "1048576 bytes" in problem["detail"]


def test_a_body_in_pieces_is_refused_as_soon_as_it_is_too_large(service: Started) -> None:
    taken = 0

    def pieces() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(160):
            taken += 1
            yield b" " * 65_536

    assert_problem(send(service, pieces()), slug="body-too-large", status=413)
    assert taken > 1  # it was sent in pieces, with no Content-Length to go by


def never_whole(service: Started, path: str, kind: str, accept: str) -> httpx.Response:
    """Send a head whose body does not come."""
    messages: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: MutableMapping[str, Any]) -> None:
        messages.append(dict(message))

    headers = {
        **service.key(Role.ADMIN),
        **service.session(Role.ADMIN),
        "Content-Type": f"application/{kind}",
        "Content-Length": "100",
        "Accept": accept,
    }
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    portal = service.client.portal
    assert portal is not None

    async def ask() -> None:
        async with asyncio.timeout(5):
            await service.app(scope, receive, send)

    settings = service.settings.model_copy(update={"request_timeout_seconds": 0.01})
    with service.replaced(settings=settings):
        portal.call(ask)
    start, body = messages
    return httpx.Response(start["status"], headers=start["headers"], content=body["body"])


@pytest.mark.parametrize(
    ("path", "kind"),
    [(PATH, "json"), ("/v1/stop", "json"), ("/cases/search", "x-www-form-urlencoded")],
)
def test_a_body_that_does_not_arrive_is_not_waited_for(
    service: Started, path: str, kind: str
) -> None:
    response = never_whole(service, path, kind, "application/json")
    assert_problem(response, slug="request-timeout", status=408)


def test_a_form_that_does_not_arrive_is_said_to_be_late_and_no_fault_of_the_service(
    service: Started,
) -> None:
    page = never_whole(service, "/cases/search", "x-www-form-urlencoded", "text/html")
    assert page.status_code == 408
    assert "What you sent did not arrive in time" in page.text
    assert "Nothing was recorded." in page.text
    assert "fault of the service" not in page.text


def test_a_body_of_just_the_limit_is_read(service: Started) -> None:
    limit = service.settings.max_body_bytes
    assert_problem(send(service, b" " * limit), slug="invalid-json", status=400)
    assert_problem(send(service, b" " * (limit + 1)), slug="body-too-large", status=413)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "Bearer",
        "Bearer ",
        "Bearer nonsense",
        "Bearer grounds_00000000_nonsense",
        "Basic %%%",
        "Basic bm9jb2xvbg==",
        "Digest x",
        "Bearer \xff",
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", PATH), ("GET", "/v1/models")],
)
def test_without_a_valid_key_nothing_is_told(
    service: Started, method: str, path: str, header: str | None
) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    response = service.client.request(method, path, headers=headers, json={"case": tiny.CASE})
    problem = assert_problem(response, slug="unauthenticated", status=401)
    assert "grounds key create" in problem["advice"]


def test_a_key_with_its_last_character_changed_is_wrong(service: Started) -> None:
    key = service.keys[Role.CALLER]
    # The last character of base64 has spare bits, but the secret is compared as text.
    wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
    response = service.client.get("/v1/models", headers={"Authorization": f"Bearer {wrong}"})
    assert_problem(response, slug="unauthenticated", status=401)
    assert wrong not in response.text


def test_a_key_of_another_role_hears_which_it_needs(service: Started) -> None:
    response = service.ask(tiny.NAME, tiny.CASE, role=Role.AUDITOR)
    detail = assert_problem(response, slug="forbidden", status=403)["detail"]
    assert (
        detail == "this needs a key with the role caller or caseworker or admin; yours is auditor"
    )


def test_an_unknown_model_is_refused_with_those_that_are_served(service: Started) -> None:
    problem = assert_problem(service.ask("tinny", tiny.CASE), slug="unknown-model", status=404)
    assert problem["detail"] == "this service serves: tiny"


@pytest.mark.parametrize("path", ["/v1/decisions/{}", "/v1/decisions/{}/proof"])
def test_an_unknown_decision_is_not_found(service: Started, path: str) -> None:
    response = service.client.get(path.format(UNKNOWN_ID), headers=service.key(Role.ADMIN))
    assert_problem(response, slug="unknown-decision", status=404)


def test_an_entry_of_another_type_is_not_a_decision(service: Started) -> None:
    started = service.parts.log.read_index(2)
    assert started.type == "started"
    response = service.client.get(f"/v1/decisions/{started.id}", headers=service.key(Role.ADMIN))
    assert_problem(response, slug="unknown-decision", status=404)


@pytest.mark.parametrize(
    "identifier", ["genesis", "1", UNKNOWN_ID[:-1], UNKNOWN_ID + "0", "'; DROP TABLE entry;--"]
)
def test_a_malformed_id_is_refused_with_its_form(service: Started, identifier: str) -> None:
    response = service.client.get(f"/v1/decisions/{identifier}", headers=service.key(Role.ADMIN))
    problem = assert_problem(response, slug="invalid-request", status=422)
    assert faults(problem) == {"path.decision_id": "string_pattern_mismatch"}


@pytest.mark.parametrize("key", ["", "with space", "ü", "x" * 256, "tab\there"])
def test_a_malformed_idempotency_key_is_refused(service: Started, key: str) -> None:
    response = service.client.post(
        PATH,
        json={"case": tiny.CASE},
        headers={**service.key(Role.CALLER), "Idempotency-Key": key.encode("latin-1")},
    )
    problem = assert_problem(response, slug="invalid-request", status=422)
    assert "1 to 255 printable ASCII" in problem["detail"]
    assert faults(problem) == {"header.Idempotency-Key": "invalid_key"}


@pytest.mark.parametrize("path", [PATH, f"{PATH}/batch", "/v1/subjects/decisions", "/v1/models"])
@pytest.mark.parametrize("name", ["Authorization", "Content-Type", "Host", "Idempotency-Key"])
def test_a_header_that_says_one_thing_is_given_once(service: Started, path: str, name: str) -> None:
    headers = [
        *service.key(Role.ADMIN).items(),
        ("Content-Type", "application/json"),
        ("Host", "testserver"),
        ("Idempotency-Key", "one"),
    ]
    method = "GET" if path == "/v1/models" else "POST"
    body = json.dumps({"case": tiny.CASE, "subject": "one"})
    for again in (dict(headers)[name], "two"):
        response = service.client.request(
            method, path, content=body, headers=[*headers, (name.lower(), again)]
        )
        problem = assert_problem(response, slug="invalid-request", status=422)
        assert faults(problem) == {f"header.{name}": "repeated"}
        assert name in problem["detail"]


def test_a_parameter_of_the_address_is_refused_where_a_case_is_sent(service: Started) -> None:
    for path, kind in ((PATH, "json"), (f"{PATH}/batch", "x-ndjson")):
        response = service.client.post(
            f"{path}?dry_run=true",
            content=json.dumps({"case": tiny.CASE}),
            headers={**service.key(Role.CALLER), "Content-Type": f"application/{kind}"},
        )
        problem = assert_problem(response, slug="invalid-request", status=422)
        assert faults(problem) == {"query.dry_run": "extra_forbidden"}


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ({}, {"outcome": "missing", "reason": "missing"}),
        ({"outcome": "a", "reason": {"code": "a", "text": 7}}, {"reason.text": "string_type"}),
        ({"outcome": "a", "reason": {"code": "x"}, "strange": 1}, {"strange": "extra_forbidden"}),
        ([], {"body": "model_attributes_type"}),
        (None, {"body": "model_attributes_type"}),
    ],
)
def test_a_fault_in_the_body_is_named_by_its_place_there_on_every_route(
    service: Started, body: object, places: dict[str, str]
) -> None:
    response = service.client.post(
        f"/v1/decisions/{UNKNOWN_ID}/caseworker-decision",
        content=json.dumps(body),
        headers={**service.key(Role.ADMIN), "Content-Type": "application/json"},
    )
    found = faults(assert_problem(response, slug="invalid-request", status=422))
    assert places.items() <= found.items()
    assert not [place for place in found if place.startswith("body.")]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", PATH), ("DELETE", "/v1/models"), ("POST", "/metrics"), ("PUT", "/static/icon.svg")],
)
def test_another_method_is_refused(service: Started, method: str, path: str) -> None:
    response = service.client.request(method, path, headers=service.key(Role.ADMIN))
    assert_problem(response, slug="method-not-allowed", status=405)


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/models/", "/v1/decisions/", "/static/none.css", "/static/../keys.py"]
)
def test_an_address_that_leads_nowhere_is_a_problem_too(service: Started, path: str) -> None:
    response = service.client.get(path, headers=service.key(Role.ADMIN), follow_redirects=False)
    assert_problem(response, slug="not-found", status=404)


def test_every_kind_of_problem_has_a_page_of_its_own(service: Started) -> None:
    assert len(KINDS) == len(errors.ALL_PROBLEM_TYPES)
    for slug, kind in KINDS.items():
        page = service.client.get(f"/problems/{slug}")
        assert page.status_code == 200
        assert kind.title.replace("'", "&#39;") in page.text
    assert_problem(service.client.get("/problems/none"), slug="unknown-problem", status=404)


SCORE = 0.9046505
"""The small model's own output for its case, which no failure may give away."""


def assert_no_output_in(response: httpx.Response) -> None:
    """Check what a failure says beyond its kind: the kind's own words are in the table."""
    body = response.json()
    told = f"{body['detail']} {body.get('errors')} {sorted(response.headers.items())}"
    kind = KINDS[body["type"].removeprefix("/problems/")]
    for trace in ("0.90", "90%", "2.25", "1.2", "yes", PRIVATE):
        assert trace not in told.replace(kind.title, ""), trace
    assert set(body) == {"type", "title", "status", "detail", "advice", "request_id"}


def test_the_output_would_be_recognised(service: Started) -> None:
    """What the next tests look for is what the model says of this very case."""
    bundle = service.parts.served[tiny.NAME].bundle
    scored = bundle.session.run_row(bundle.schema.encode(tiny.CASE).feeds)
    np.testing.assert_allclose(scored.scores[1], SCORE, rtol=0, atol=1e-6)


class Failing:
    """Stands for a part, and fails in one method with one error, at once or when let go."""

    def __init__(
        self, like: object, method: str, error: Exception, *, gate: threading.Event | None = None
    ) -> None:
        self._like = like
        self._method = method
        self._error = error
        self._gate = gate
        self.entered = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return self._fail if name == self._method else getattr(self._like, name)

    def _fail(self, *_: object, **__: object) -> None:
        self.entered.set()
        if self._gate is not None:
            assert self._gate.wait(10)
        raise self._error


def with_explainer_failing(service: Started, error: Exception) -> Serving:
    served = service.parts.served[tiny.NAME]
    failing = Failing(served.explainer, "explain", error)
    return serving(replace(served, explainer=failing))


@contextmanager
def log_failing(
    service: Started,
    error: Exception,
    *,
    gate: threading.Event | None = None,
    **settings: object,
) -> Iterator[Failing]:
    """Let the service run on a log that fails to append, with an engine of its own."""
    parts = service.parts
    failing = Failing(parts.log, "append_drafts", error, gate=gate)
    other = assemble(
        parts.settings.model_copy(update=settings),
        failing,  # type: ignore[arg-type]
        parts.keys,
        parts.registry,
        parts.attributes,
        parts.sessions,
        parts.index.store,
        parts.practice,
        clock=parts.clock,
        new_id=parts.new_id,
    )

    async def begin() -> None:
        other.engine.start()

    portal = service.client.portal
    assert portal is not None
    portal.call(begin)
    service.app.state.parts = other
    try:
        yield failing
    finally:
        service.app.state.parts = parts
        portal.call(other.engine.stop)


@pytest.mark.parametrize(
    ("error", "slug"),
    [
        (
            AdditivityError(target=1, explained=0.9047, output=SCORE, tolerance=1e-5),
            "no-explanation",
        ),
        (ScoringError(f"the graph gave {SCORE} for {PRIVATE}"), "model-failed"),
    ],
)
def test_without_an_explanation_nothing_is_advised(
    service: Started, error: Exception, slug: str
) -> None:
    with service.replaced(served=with_explainer_failing(service, error)):
        response = service.ask(tiny.NAME, tiny.CASE)
    assert_problem(response, slug=slug, status=503)
    assert_no_output_in(response)


def test_the_unexpected_is_a_problem_with_every_header_and_no_word_of_its_cause(
    service: Started,
) -> None:
    error = ValueError(f"{PRIVATE} scored {SCORE}")
    with service.replaced(served=with_explainer_failing(service, error)):
        response = service.ask(tiny.NAME, tiny.CASE)
    assert_problem(response, slug="internal-error", status=500)
    assert_no_output_in(response)


def test_a_score_that_no_band_covers_advises_nothing(service: Started) -> None:
    served = service.parts.served[tiny.NAME]
    band = served.policy.bands[1].model_copy(update={"at_least": 0.95})
    policy = served.policy.model_copy(update={"bands": (band,)})
    with service.replaced(served=serving(replace(served, policy=policy))):
        response = service.ask(tiny.NAME, tiny.CASE)
    assert_problem(response, slug="no-outcome", status=503)
    assert_no_output_in(response)


@pytest.mark.parametrize(
    ("error", "slug", "status"),
    [
        (LogFullError(f"no room for {PRIVATE}"), "not-recorded", 503),
        (LogBrokenError(f"fsync failed beside {PRIVATE}"), "not-recorded", 503),
        (DamagedLogError(f"rows are in the way of {PRIVATE}"), "not-recorded", 503),
        (OSError(f"disk on fire: {PRIVATE}"), "internal-error", 500),
    ],
)
def test_what_cannot_be_recorded_is_not_advised(
    service: Started, error: Exception, slug: str, status: int
) -> None:
    headers = {"Idempotency-Key": f"unrecorded-{type(error).__name__}"}
    with log_failing(service, error):
        response = service.ask(tiny.NAME, tiny.CASE, headers=headers)
        ready = service.client.get("/health/ready")
        metrics = service.client.get("/metrics").text
    assert_problem(response, slug=slug, status=status)
    assert_no_output_in(response)
    assert ready.status_code == 503
    assert ready.json()["status"] == "not_ready"
    assert "grounds_ready 0.0" in metrics.splitlines()
    assert not [
        line for line in metrics.splitlines() if line.startswith("grounds_decisions_total{")
    ]


def test_a_damaged_record_is_told_as_damage_and_raises_the_alarm(service: Started) -> None:
    def failures() -> float:
        lines = service.client.get("/metrics").text.splitlines()
        (line,) = (each for each in lines if each.startswith("grounds_verify_failures_total "))
        return float(line.split()[1])

    before = failures()
    log = Failing(service.parts.log, "read", DamagedLogError(f"entry 7: {PRIVATE}"))
    with service.replaced(log=log), capture_logs() as lines:
        response = service.client.get(
            f"/v1/decisions/{UNKNOWN_ID}", headers=service.key(Role.AUDITOR)
        )
    assert_problem(response, slug="record-damaged", status=503)
    assert PRIVATE not in response.text
    assert failures() == before + 1
    (line,) = (each for each in lines if each["event"] == "problem")
    assert (line["log_level"], line["problem"]) == ("error", "record-damaged")


def test_a_full_queue_refuses_and_says_when_to_come_back(service: Started) -> None:
    gate = threading.Event()
    error = LogFullError("full")
    with (
        log_failing(service, error, gate=gate, queue_limit=1) as log,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(service.ask, tiny.NAME, tiny.CASE)
        try:
            assert log.entered.wait(10)
            depth = service.client.get("/health/ready").json()["queue_depth"]
            refused = service.ask(tiny.NAME, tiny.CASE)
        finally:
            gate.set()
        assert_problem(first.result(), slug="not-recorded", status=503)
    assert depth == 1
    assert_problem(refused, slug="overloaded", status=503)
    assert_no_output_in(refused)


def test_a_record_that_takes_too_long_is_not_waited_for(service: Started) -> None:
    gate = threading.Event()
    error = LogFullError("full")
    with log_failing(service, error, gate=gate, request_timeout_seconds=0.01):
        try:
            response = service.ask(tiny.NAME, tiny.CASE)
        finally:
            gate.set()
    assert_problem(response, slug="timed-out", status=503)
    assert_no_output_in(response)


def test_a_service_that_is_stopping_takes_nothing(service: Started) -> None:
    parts = service.parts
    idle = assemble(
        parts.settings,
        parts.log,
        parts.keys,
        parts.registry,
        parts.attributes,
        parts.sessions,
        parts.index.store,
        parts.practice,
        clock=parts.clock,
        new_id=parts.new_id,
    )
    with service.replaced(engine=idle.engine):
        response = service.ask(tiny.NAME, tiny.CASE)
        ready = service.client.get("/health/ready")
    assert_problem(response, slug="not-ready", status=503)
    assert (ready.status_code, ready.json()["reason"]) == (503, "the engine is not running")


def test_every_kind_of_problem_is_met_in_some_test() -> None:
    """A new kind of problem must come with a test of it."""
    tests = Path(__file__).parents[1]
    sources = "".join(path.read_text() for path in sorted(tests.rglob("*.py")))
    assert {slug for slug in KINDS if f'"{slug}"' not in sources} == set()


def test_an_address_names_every_method_that_it_takes(service: Started) -> None:
    response = service.client.request("BREW", f"/v1/decisions/{UNKNOWN_ID}/notice")
    assert_problem(response, slug="method-not-allowed", status=405)
    assert response.headers["allow"] == "GET, HEAD, POST"
