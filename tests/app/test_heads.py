"""HEAD is answered wherever GET is, as GET, without the body."""

import socket
from urllib.parse import urlsplit

import pytest
from fastapi.routing import APIRoute

from app.domain import Role
from app.log_entries import READ
from app.main import ROUTERS
from app.one_write import OneWriteProtocol
from tests.app import tiny
from tests.problems import assert_problem
from tests.running import running
from tests.started import Started

ROUTES = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
READ_AT = sorted({route.path for route in ROUTES if "GET" in (route.methods or ())})
ONLY_POSTED = sorted({route.path for route in ROUTES} - set(READ_AT))
OF_THE_REQUEST = {"x-request-id", "traceresponse", "set-cookie", "date"}
GROWING = {"/metrics"}
"""Whose content says what was answered before."""


def at(path: str) -> str:
    values = {
        "model": tiny.NAME, "slug": "invalid-case", "hold_id": "1", "path": "0/000.p/1",
        "number": "0", "decision_id": "019a9f3e-5c1d-7a52-9c0a-6f2e1b7d4c11",
    }  # fmt: skip
    for route in ROUTES:
        if route.path == path:
            values |= {name: "1" for name in route.param_convertors if name not in values}
    return path.replace(":path}", "}").format(**values)


@pytest.mark.parametrize("who", ["nobody", "admin", "somebody signed in"])
def test_head_has_the_status_and_headers_of_get(service: Started, who: str) -> None:
    headers = {"nobody": {}, "admin": service.key(Role.ADMIN)}.get(
        who, service.session(Role.CASEWORKER)
    )
    for path in READ_AT:
        answers = []
        for method in ("GET", "HEAD"):
            service.client.cookies.clear()
            answers.append(
                service.client.request(method, at(path), headers=headers, follow_redirects=False)
            )
        got, head = answers
        assert (head.status_code, head.content) == (got.status_code, b""), path
        unlike = OF_THE_REQUEST | ({"content-length"} if path in GROWING else set())
        told = [
            sorted((name, value) for name, value in answer.headers.items() if name not in unlike)
            for answer in (head, got)
        ]
        assert told[0] == told[1], path
        assert head.headers.keys() == got.headers.keys(), path


@pytest.mark.parametrize("name", ["icon.svg", None])
def test_files_and_the_document_have_a_head(service: Started, name: str | None) -> None:
    path = "/openapi.json" if name is None else service.parts.assets[name]
    head = service.client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == service.client.get(path).headers["content-length"]
    refused = service.client.delete(path)
    assert_problem(refused, slug="method-not-allowed", status=405)
    assert refused.headers["allow"] == "GET, HEAD"


def test_what_is_only_posted_has_no_head(service: Started) -> None:
    assert "/v1/models/{model}/decisions" in ONLY_POSTED
    for path in ONLY_POSTED:
        answer = service.client.head(at(path), headers=service.key(Role.ADMIN))
        assert answer.status_code == 405, path
        assert answer.headers["allow"] == "POST", path


def test_the_head_of_a_personal_record_is_a_read_and_recorded_once(service: Started) -> None:
    identifier = service.ask(tiny.NAME, tiny.CASE).json()["id"]
    before = service.parts.log.size
    head = service.client.head(f"/v1/decisions/{identifier}", headers=service.key(Role.AUDITOR))
    assert head.status_code == 200
    assert service.parts.log.size == before + 1
    assert service.parts.log.read_index(before).type == READ
    refused = service.client.head(f"/v1/decisions/{identifier}", headers=service.key(Role.EQUALITY))
    assert (refused.status_code, service.parts.log.size) == (403, before + 1)


def test_a_head_is_counted_by_its_route(service: Started) -> None:
    def counted() -> float:
        service.client.head("/health/live")
        service.parts.metrics.drain()
        text = service.client.get("/metrics").text
        lines = [line for line in text.splitlines() if 'route="/health/live"' in line]
        return sum(
            float(line.split()[-1]) for line in lines if "_count{" in line or "_total{" in line
        )

    assert 0 < counted() < counted()


@pytest.mark.parametrize("path", ["/health/ready", "/transparency", "/v1/models", "/docs"])
def test_no_body_follows_a_head_on_the_wire(service: Started, path: str) -> None:
    with running(service.app, http=OneWriteProtocol) as address:
        host, port = urlsplit(address).netloc.split(":")
        answers = []
        for method in ("GET", "HEAD"):
            with socket.create_connection((host, int(port)), timeout=10) as sock:
                key = service.key(Role.ADMIN)["Authorization"]
                lines = f"Host: h\r\nAuthorization: {key}\r\nConnection: close\r\n\r\n"
                sock.sendall(f"{method} {path} HTTP/1.1\r\n{lines}".encode())
                with sock.makefile("rb") as stream:
                    answers.append(stream.read())
    (got, body), (head, nothing) = (answer.split(b"\r\n\r\n", 1) for answer in answers)
    assert body
    assert nothing == b""
    assert head.splitlines()[0] == got.splitlines()[0] == b"HTTP/1.1 200 OK"
    assert b"content-length: %d" % len(body) in head.lower().splitlines()
