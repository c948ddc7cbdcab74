"""What Prometheus sees: exact counts, and no series that a stranger made up."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from app import lifecycle
from app.domain import Role
from app.errors import PROBLEMS
from app.main import ROUTE_PATHS
from app.metrics import FOLLOWED, NO_ROUTE, OVERRODE, SHADOW_RESULTS, STAGES
from app.monitoring.gauges import BOUNDS
from app.monitoring.histogram import LATENCY_BUCKETS, LazyHistogram
from app.replay import VERDICTS
from app.settings import Settings
from tests.app import tiny
from tests.started import Started, start

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]
LOW = {"amount": 1.0, "count": 1, "answer": "no"}
HOSTILE = 'x"} 1\ngrounds_evil{a="'


@pytest.fixture
def service(tiny_models: Path, tmp_path: Path) -> Iterator[Started]:
    """A service of its own for each test: counters begin at nothing."""
    with start(Settings(models_dir=tiny_models, data_dir=tmp_path / "data")) as started:
        yield started


def scrape(service: Started) -> Series:
    response = service.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def value(series: Series, name: str, **labels: str) -> float:
    return series[name, tuple(sorted(labels.items()))]


def test_every_decision_is_counted_once_under_its_outcome(service: Started) -> None:
    for _ in range(3):
        assert service.ask(tiny.NAME, tiny.CASE).json()["recommendation"]["outcome"] == "yes"
    headers = {"Idempotency-Key": "once"}
    for _ in range(2):
        answer = service.ask(tiny.NAME, LOW, headers=headers)
        assert answer.json()["recommendation"]["outcome"] == "no"
    service.ask(tiny.NAME, {})
    service.ask(tiny.NAME, tiny.CASE, role=Role.AUDITOR)
    series = scrape(service)
    counted = {key: n for key, n in series.items() if key[0] == "grounds_decisions_total"}
    assert counted == {
        ("grounds_decisions_total", (("model", "tiny"), ("outcome", "yes"), ("rule", "high"))): 3,
        ("grounds_decisions_total", (("model", "tiny"), ("outcome", "no"), ("rule", "low"))): 1,
    }
    assert value(series, "grounds_errors_total", type="invalid-case") == 1
    assert value(series, "grounds_errors_total", type="forbidden") == 1


def test_every_stage_of_a_decision_is_observed(service: Started) -> None:
    before = scrape(service)
    service.ask(tiny.NAME, LOW)
    after = scrape(service)
    for stage in STAGES:
        grown = value(after, "grounds_stage_seconds_count", stage=stage) - value(
            before, "grounds_stage_seconds_count", stage=stage
        )
        assert grown == 1, stage
        assert value(after, "grounds_stage_seconds_sum", stage=stage) > 0, stage
    total = value(after, "grounds_stage_seconds_sum", stage="total")
    assert total < 60  # seconds, not milliseconds
    assert {
        dict(labels)["stage"] for name, labels in after if name == "grounds_stage_seconds_count"
    } == set(STAGES)


def test_log_size_and_readiness_are_those_of_the_log(service: Started) -> None:
    series = scrape(service)
    assert value(series, "grounds_log_entries") == service.parts.log.size
    service.ask(tiny.NAME, tiny.CASE)
    series = scrape(service)
    assert value(series, "grounds_log_entries") == service.parts.log.size
    assert value(series, "grounds_ready") == 1
    assert value(series, "grounds_queue_depth") == 0
    assert value(series, "grounds_explanation_residual_count", model="tiny") == 1
    # The record of the start was a group too, and is not a decision.
    assert value(series, "grounds_commit_group_size_count") == 2


def test_replays_are_counted_by_verdict(service: Started) -> None:
    identifier = service.ask(tiny.NAME, tiny.CASE).json()["id"]
    path = f"/v1/decisions/{identifier}/replay"
    replayed = service.client.post(path, headers=service.key(Role.AUDITOR))
    assert replayed.json()["verdict"] == "identical"
    assert value(scrape(service), "grounds_replays_total", verdict="identical") == 1


def test_nothing_that_a_stranger_sends_adds_a_series(service: Started) -> None:
    def provoke(name: str) -> None:
        key = service.key(Role.ADMIN)
        client = service.client
        strange = {**tiny.CASE, name: name}
        client.post(f"/v1/models/{quote(name)}/decisions", json={"case": tiny.CASE}, headers=key)
        service.ask(tiny.NAME, strange)
        service.ask(tiny.NAME, {**tiny.CASE, "answer": name}, subject=name)
        client.get(f"/v1/models/{quote(name)}", headers=key)
        client.get(f"/v1/decisions/{quote(name)}", headers=key)
        client.get(f"/problems/{quote(name)}")
        client.get(f"/{quote(name)}")
        client.get("/")
        client.get("/v1/models", headers={"Authorization": f"Bearer {name.splitlines()[0]}"})
        client.request("BREW", "/v1/models", headers=key)
        client.get("/v1/models", headers={**key, "X-Model": "a", "User-Agent": "b"})
        client.get("/v1/models", headers={**key, "traceparent": name.splitlines()[0]})
        scrape(service)

    provoke("first")
    service.parts.monitor.step()  # once there is a decision there are figures of the model
    seen = scrape(service).keys()
    for name in (HOSTILE, "second", "x" * 300, "tiny2", "%0a"):
        provoke(name)
    assert scrape(service).keys() - seen == set()
    assert "first" not in str(seen)


def test_what_an_alert_waits_for_is_there_before_it_happens(service: Started) -> None:
    """A series that begins at 1 has not increased: its first event would go unheard."""
    series = scrape(service)
    for problem in PROBLEMS.values():
        assert value(series, "grounds_errors_total", type=problem.slug) == 0
    for verdict in VERDICTS:
        assert value(series, "grounds_replays_total", verdict=verdict) == 0


def test_every_label_value_is_known_beforehand(service: Started) -> None:
    service.ask(tiny.NAME, tiny.CASE)
    service.ask("no-such", tiny.CASE)
    served = service.parts.served[tiny.NAME]
    known: dict[str, set[str]] = {
        "model": {"tiny"},
        "outcome": {"yes", "no"},
        "rule": {"high", "low"},
        "field": {"amount", "count", "answer"},
        "bound": set(BOUNDS),
        "agreement": {FOLLOWED, OVERRODE},
        "route": {*ROUTE_PATHS, NO_ROUTE},
        "status": {"2xx", "4xx"},
        "stage": {*STAGES, *lifecycle.STAGES},
        "arm": {"live"},
        "policy": {served.policy_digest},
        "result": set(SHADOW_RESULTS),
        "type": {kind.slug for kind in PROBLEMS.values()},
        "verdict": set(VERDICTS),
        "version": {"1"},
        "digest": {served.bundle.digest},
        "method": {served.explainer.method},
    }
    known["status"] |= {"found", "none_found", "not_sought", "not_finished"}
    for _, labels in scrape(service):
        for name, label in labels:
            assert name == "le" or label in known[name], (name, label)


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def test_a_trace_is_an_example_of_its_bucket_in_openmetrics(service: Started) -> None:
    service.ask(tiny.NAME, tiny.CASE, headers={"traceparent": PARENT})
    response = service.client.get(
        "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    examples = [
        sample.exemplar.labels
        for family in openmetrics_families(response.text)  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.exemplar is not None
    ]
    assert examples == [{"trace_id": TRACE}]
    assert TRACE not in service.client.get("/metrics").text


def test_requests_are_counted_by_route_and_class_of_status(service: Started) -> None:
    for name in (tiny.NAME, "no-such", "nor-this"):
        service.ask(name, tiny.CASE)
    series = scrape(service)
    route = "/v1/models/{model}/decisions"
    assert value(series, "grounds_responses_total", route=route, status="2xx") == 1
    assert value(series, "grounds_responses_total", route=route, status="4xx") == 2
    assert value(series, "grounds_request_seconds_count", route=route) == 3
    assert value(series, "grounds_requests_in_flight") == 1  # the scrape itself


def test_what_is_special_about_cases_is_counted(service: Started) -> None:
    service.ask(tiny.NAME, tiny.CASE)
    service.ask(tiny.NAME, {**tiny.CASE, "answer": "neither"})
    series = scrape(service)
    assert value(series, "grounds_unfamiliar_cases_total", model="tiny") == 1
    assert value(series, "grounds_incomplete_cases_total", model="tiny") == 1
    sought = [n for key, n in series.items() if key[0] == "grounds_alternatives_total"]
    assert sum(sought) == 2


def test_a_lazy_histogram_counts_as_the_librarys_own_does() -> None:
    registry, own = CollectorRegistry(), CollectorRegistry()
    lazy = LazyHistogram("t_seconds", "T.", buckets=LATENCY_BUCKETS, registry=registry)
    usual = Histogram("t_seconds", "T.", buckets=LATENCY_BUCKETS, registry=own)
    values = [*LATENCY_BUCKETS, 0.0, 1e-9, 99.0, *np.random.default_rng(1).exponential(0.01, 500)]
    for each in values:
        lazy.series[""].observe(each)
        usual.observe(each)

    def numbers(family: str) -> dict[str, float]:
        return {
            f"{name.split('{')[0]}{float(name.split(chr(34))[1]) if chr(34) in name else ''}": round(
                float(number), 9
            )
            for name, number in (
                line.rsplit(" ", 1) for line in family.splitlines() if line[0] != "#"
            )
        }

    assert numbers(generate_latest(registry).decode()) == numbers(generate_latest(own).decode())
