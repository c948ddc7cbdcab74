"""Traces: taken in as W3C says, recorded, returned, and exported where that is asked for."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from app.domain import Role
from app.settings import Settings
from app.spans import Tracing
from app.telemetry import trace_of
from tests.app import tiny
from tests.started import Started, start

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("header", "taken"),
    # The cases of the recommendation, section 3.2, and of its test suite.
    [
        (PARENT, True),
        (f"00-{TRACE}-{SPAN}-00", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-adds", True),
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-01-more", False),
        (f"ff-{TRACE}-{SPAN}-01", False),
        (f"00-{'0' * 32}-{SPAN}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-{SPAN}-01", False),
        (f"00-{TRACE[:-1]}-{SPAN}-01", False),
        (f"cc-{TRACE}-{SPAN}-01.what", False),
        ("", False),
        ("x" * 10_000, False),
    ],
)
def test_a_parent_is_taken_only_as_the_recommendation_says(header: str, *, taken: bool) -> None:
    scope = {"headers": [(b"traceparent", header.encode())]}
    trace = trace_of(scope)
    assert (trace is not None) == taken
    if trace is not None:
        assert (trace.id, trace.parent) == (TRACE, SPAN)


def test_two_parents_are_none() -> None:
    assert trace_of({"headers": [(b"traceparent", PARENT.encode())] * 2}) is None


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def service(
    tiny_models: Path,
    tmp_path: Path,
    exporter: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Started]:
    """A service that exports spans to memory in place of a collector."""
    monkeypatch.setattr("app.spans.otlp_tracing", lambda _: Tracing(exporter))
    settings = Settings(
        models_dir=tiny_models,
        data_dir=tmp_path / "data",
        otlp_endpoint="http://127.0.0.1:4318/v1/traces",
    )
    with start(settings) as started:
        yield started


def test_a_trace_is_recorded_and_returned_and_its_span_exported(
    service: Started, exporter: InMemorySpanExporter
) -> None:
    answer = service.ask(tiny.NAME, tiny.CASE, headers={"traceparent": PARENT})
    version, trace, span, flags = answer.headers["traceresponse"].split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    stored = service.parts.log.read(answer.json()["id"])
    assert json.loads(stored.payload or b"")["trace"] == TRACE
    assert TRACE.encode() not in stored.leaf
    service.client.__exit__(None, None, None)  # stopping sends what is left
    (sent,) = (each for each in exporter.get_finished_spans() if each.parent is not None)
    assert sent.context is not None
    assert format(sent.context.trace_id, "032x") == TRACE
    assert format(sent.context.span_id, "016x") == span
    assert sent.parent is not None
    assert format(sent.parent.span_id, "016x") == SPAN
    assert dict(sent.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/v1/models/{model}/decisions",
        "http.response.status_code": 201,
    }
    service.client.__enter__()


def test_without_a_parent_nothing_is_returned_and_a_trace_begins(
    service: Started, exporter: InMemorySpanExporter
) -> None:
    answer = service.ask("no-such", tiny.CASE)
    assert "traceresponse" not in answer.headers
    service.client.request("BREW", "/v1/models", headers=service.key(Role.ADMIN))
    service.client.__exit__(None, None, None)
    spans = exporter.get_finished_spans()
    assert [each.parent for each in spans] == [None, None]
    assert [each.name for each in spans][1] == "_OTHER /v1/models"
    assert all(each.status.status_code is StatusCode.UNSET for each in spans)
    text = " ".join(each.to_json() for each in spans)
    for secret in ("no-such", "BREW", service.keys[Role.ADMIN], "12.5"):
        assert secret not in text
    service.client.__enter__()


def test_the_frameworks_own_telemetry_tells_nothing(
    service: Started, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: provider)
    found = service.client.get("/v1/decisions?subject=Ann", headers=service.key(Role.ADMIN))
    assert found.status_code < 500
    assert exporter.get_finished_spans() == ()


def test_a_trace_that_is_not_sampled_is_not_exported(
    service: Started, exporter: InMemorySpanExporter
) -> None:
    service.ask(tiny.NAME, tiny.CASE, headers={"traceparent": f"00-{TRACE}-{SPAN}-00"})
    service.client.__exit__(None, None, None)
    assert exporter.get_finished_spans() == ()
    service.client.__enter__()
