"""Rules, alerts, dashboards and runbooks against the service that they are about."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from app.domain import Role
from app.metrics import Metrics
from app.monitoring.gauges import GAUGES
from app.settings import Settings
from tests.app import tiny
from tests.service import ServiceProcess, port_of, reserved_port
from tests.started import Started, make_keys, start

ROOT = Path(__file__).resolve().parents[2]
PACK = ROOT / "deploy" / "prometheus"
RULES = PACK / "grounds.rules.yml"
TESTS = (PACK / "grounds.rules.test.yml", PACK / "grounds.slow-rules.test.yml")
DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
SCRAPES_SECONDS = 60


def tool(name: str) -> str:
    """Return where Prometheus or promtool is; skip, and say how to get it, where it is not."""
    own = ROOT / ".tools" / "usr" / "bin" / name
    found = str(own) if own.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"NOT CHECKED: {name} is missing; `make prometheus` fetches Debian's package")
    return found


def run(*command: str | Path, given: bytes | None = None) -> str:
    done = subprocess.run(command, input=given, capture_output=True, check=False)  # noqa: S603
    output = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, output
    return output


def rules() -> list[dict[str, object]]:
    content = yaml.safe_load(RULES.read_text())
    return [rule for group in content["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, object]]:
    return {str(rule["alert"]): rule for rule in rules() if "alert" in rule}


def known_metrics() -> set[str]:
    names = {"up"}
    for family in Metrics(["a-model"], ["/a"]).registry.collect():
        names |= {family.name, f"{family.name}_total"}
        if family.type == "histogram":
            names |= {f"{family.name}_{part}" for part in ("bucket", "count", "sum")}
    return names | {gauge.name for gauge in GAUGES}


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\bgrounds_\w+", expression))


def test_every_metric_that_a_rule_names_exists() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for rule in rules():
        expression = str(rule["expr"])
        assert metrics_in(expression) <= known_metrics(), rule
        assert set(re.findall(r"\bgrounds:[\w:]+", expression)) <= recorded, rule
        assert "grounds" in expression


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_metric_that_a_dashboard_names_exists(path: Path) -> None:
    board = json.loads(path.read_text())
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    identifiers = [panel["id"] for panel in board["panels"]]
    assert len(set(identifiers)) == len(identifiers)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(set(places)) == len(places)
    for panel in board["panels"]:
        assert panel["title"]
        for target in panel["targets"]:
            named = metrics_in(target["expr"])
            assert named <= known_metrics(), panel["title"]
            others = set(re.findall(r"\bgrounds:[\w:]+", target["expr"]))
            assert others <= recorded, panel["title"]
            assert named | others, panel["title"]


def test_every_gauge_of_fairness_and_drift_is_on_a_dashboard() -> None:
    shown = metrics_in("".join(path.read_text() for path in DASHBOARDS))
    assert {gauge.name for gauge in GAUGES} <= shown


def test_every_alert_has_its_section_and_every_section_an_alert() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    headings = re.findall(r"^### (Grounds\w+)$", text, re.MULTILINE)
    assert sorted(headings) == sorted(alerts())
    for name, rule in alerts().items():
        annotations, labels = rule["annotations"], rule["labels"]
        assert isinstance(annotations, dict)
        assert isinstance(labels, dict)
        assert annotations["runbook"] == f"docs/operations.md#{name.lower()}"
        assert annotations["summary"]
        assert labels["severity"] in {"page", "ticket"}


def test_every_alert_has_a_case_that_fires_and_one_that_stays_silent() -> None:
    cases = [
        (check["alertname"], bool(check["exp_alerts"]))
        for path in TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        for check in test["alert_rule_test"]
    ]
    assert sorted(cases) == sorted((name, fires) for name in alerts() for fires in (True, False))


def test_promtool_takes_configuration_and_rules() -> None:
    run(tool("promtool"), "check", "config", PACK / "prometheus.yml")
    run(tool("promtool"), "check", "rules", RULES)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_each_alert_fires_and_stays_silent_as_its_cases_say(path: Path) -> None:
    assert "SUCCESS" in run(tool("promtool"), "test", "rules", path)


def test_a_rule_that_never_fires_is_noticed(tmp_path: Path) -> None:
    (tmp_path / RULES.name).write_text(
        RULES.read_text().replace("grounds_ready == 0", "grounds_ready == 2")
    )
    cases = yaml.safe_load(TESTS[0].read_text())
    cases["tests"] = [test for test in cases["tests"] if test["name"].startswith("GroundsNotReady")]
    (tmp_path / "test.yml").write_text(yaml.safe_dump(cases))
    with pytest.raises(AssertionError, match="FAILED"):
        run(tool("promtool"), "test", "rules", tmp_path / "test.yml")


@pytest.fixture
def watched_models(tmp_path: Path) -> Path:
    models = tmp_path / "models"
    tiny.write(models / tiny.NAME)
    (models / tiny.NAME / "monitoring.yaml").write_text(
        yaml.safe_dump(
            {
                "window": 1000,
                "protected_attributes": {"sex": ["female", "male"]},
                "limits": {"selection_rate_difference": {"limit": 0.2}},
            }
        )
    )
    return models


@pytest.fixture
def service(watched_models: Path, tmp_path: Path) -> Iterator[Started]:
    with start(Settings(models_dir=watched_models, data_dir=tmp_path / "data")) as started:
        yield started


def test_the_metrics_pass_promtool(service: Started) -> None:
    service.ask(tiny.NAME, tiny.CASE)
    service.ask(tiny.NAME, {})
    page = service.client.get("/metrics").content
    found = run(tool("promtool"), "check", "metrics", given=page)
    assert found == ""


BIASED = (
    ({"amount": 15.0, "count": 5, "answer": "yes"}, "male"),
    ({"amount": 1.0, "count": 1, "answer": "no"}, "female"),
)


def test_a_real_prometheus_scrapes_the_service_and_the_alert_fires(
    watched_models: Path, tmp_path: Path
) -> None:
    prometheus = tool("prometheus")
    settings = Settings(models_dir=watched_models, data_dir=tmp_path / "data")
    keys = make_keys(settings)
    with ServiceProcess(settings) as service, reserved_port() as held:
        content = yaml.safe_load((PACK / "prometheus.yml").read_text())
        content["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        content["rule_files"] = [str(RULES)]
        (job,) = content["scrape_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{service.port}"]}]
        config = tmp_path / "prometheus.yml"
        config.write_text(yaml.safe_dump(content))
        port = port_of(held)
        with (tmp_path / "prometheus.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603
                [
                    prometheus,
                    f"--config.file={config}",
                    f"--storage.tsdb.path={tmp_path / 'tsdb'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                    "--enable-feature=exemplar-storage",
                ],
                stderr=log,
                env={**os.environ, "GOMAXPROCS": "1"},
            )
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(lambda: series(address, 'grounds_ready{job="grounds"}') == ["1"], tmp_path)
            assert firing(address) == set()
            make_biased(service.address, keys)
            wait_for(lambda: "GroundsBreakerTripped" in firing(address), tmp_path)
            assert firing(address) == {"GroundsBreakerTripped"}
        finally:
            process.terminate()
            process.wait(30)


def make_biased(address: str, keys: dict[Role, str]) -> None:
    caller, equality = (
        {"Authorization": f"Bearer {keys[role]}"} for role in (Role.CALLER, Role.EQUALITY)
    )
    with httpx.Client(base_url=address, timeout=60) as client:
        for _ in range(60):
            for case, sex in BIASED:
                made = client.post(
                    f"/v1/models/{tiny.NAME}/decisions", json={"case": case}, headers=caller
                )
                told = client.post(
                    f"/v1/decisions/{made.json()['id']}/protected-attributes",
                    json={"attributes": {"sex": sex}},
                    headers=equality,
                )
                assert told.status_code == httpx.codes.CREATED, told.text


def series(address: str, query: str) -> list[str]:
    try:
        answer = httpx.get(f"{address}/api/v1/query", params={"query": query}, timeout=60)
    except httpx.TransportError:
        return []  # it is still starting
    if answer.status_code != httpx.codes.OK:
        return []
    return [result["value"][1] for result in answer.json()["data"]["result"]]


def firing(address: str) -> set[str]:
    found = httpx.get(f"{address}/api/v1/alerts", timeout=60).json()["data"]["alerts"]
    return {alert["labels"]["alertname"] for alert in found if alert["state"] == "firing"}


def wait_for(condition: object, directory: Path) -> None:
    assert callable(condition)
    deadline = time.monotonic() + SCRAPES_SECONDS
    while not condition():
        assert time.monotonic() < deadline, (directory / "prometheus.log").read_text()[-2000:]
        time.sleep(0.3)
