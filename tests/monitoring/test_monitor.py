"""Figures by group, drift and calibration of a running service, and the circuit breaker."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fastapi.testclient import TestClient

from app.api.monitoring import monitoring_shape
from app.domain import Role
from app.main import create_app
from app.monitoring import fairness
from app.monitoring.attributes import AttributeStore
from app.monitoring.monitor import Monitor
from app.settings import Settings
from audit.leaf import parse_leaf
from tests.app import tiny
from tests.app.versions import Owner, Submitted
from tests.problems import assert_problem
from tests.started import Started, start

YES = {"amount": 15.0, "count": 5, "answer": "yes"}
NO = {"amount": 1.0, "count": 1, "answer": "no"}
WATCH = {
    "window": 1000,
    "protected_attributes": {"sex": ["female", "male"], "origin": ["here", "there"]},
    "limits": {
        "selection_rate_difference": {"limit": 0.2, "action": "unaided"},
        "output_stability": {"limit": 0.5, "action": "stop"},
        "field_stability": {"limit": 0.5, "action": "report"},
        "calibration_gap": {"limit": 0.1},
    },
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    models = tmp_path / "models"
    tiny.write(models / tiny.NAME)
    (models / tiny.NAME / "monitoring.yaml").write_text(yaml.safe_dump(WATCH))
    return Settings(models_dir=models, data_dir=tmp_path / "data")


@pytest.fixture
def service(settings: Settings) -> Iterator[Started]:
    with start(settings) as started:
        yield started


def decide(service: Started, case: object) -> str:
    answer = service.ask(tiny.NAME, case)
    assert answer.status_code == 201, answer.text
    identifier: str = answer.json()["id"]
    return identifier


def tell(service: Started, decision: str, **attributes: str) -> None:
    answer = service.client.post(
        f"/v1/decisions/{decision}/protected-attributes",
        json={"attributes": attributes},
        headers=service.key(Role.EQUALITY),
    )
    assert answer.status_code == 201, answer.text


def turn_out(service: Started, decision: str, outcome: int) -> None:
    answer = service.client.post(
        f"/v1/decisions/{decision}/outcome",
        json={"outcome": outcome},
        headers=service.key(Role.CALLER),
    )
    assert answer.status_code == 201, answer.text


def monitoring(service: Started) -> dict[str, Any]:
    answer = service.client.get(
        f"/v1/models/{tiny.NAME}/monitoring", headers=service.key(Role.AUDITOR)
    )
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def mixed(service: Started) -> list[tuple[str, bool, str, int]]:
    """Make forty decisions with groups and outcomes: women are selected less often."""
    made = []
    for n in range(40):
        sex = "female" if n % 2 else "male"
        selected = n % 8 == 1 if sex == "female" else n % 4 == 0
        decision = decide(service, YES if selected else NO)
        outcome = int(n % 3 == 0)
        tell(service, decision, sex=sex, **({"origin": "there"} if n < 4 else {}))
        turn_out(service, decision, outcome)
        made.append((decision, selected, sex, outcome))
    return made


def test_figures_agree_with_fairlearn() -> None:
    from fairlearn.metrics import (
        MetricFrame,
        demographic_parity_difference,
        demographic_parity_ratio,
        false_positive_rate,
        selection_rate,
        true_positive_rate,
    )
    from sklearn.metrics import precision_score

    # At least five people in every denominator is what the file must ask for to say anything.
    rng = np.random.default_rng(4)
    names = np.array(["a", "b", "c"])
    groups = rng.integers(0, 3, 600)
    selected = rng.random(600) < np.array([0.5, 0.3, 0.4])[groups]
    answers = (rng.random(600) < 0.2 + 0.5 * selected).astype(int)
    ours = fairness.tally(tuple(names), groups, selected=selected, answers=answers)
    frame = MetricFrame(
        metrics={
            "selection_rate": selection_rate,
            "true_positive_rate": true_positive_rate,
            "false_positive_rate": false_positive_rate,
            "precision": precision_score,
        },
        y_true=answers,
        y_pred=selected.astype(int),
        sensitive_features=names[groups],
    )
    for group in ours:
        for rate in fairness.RATES:
            found = group.rate(rate, smallest=5)
            assert found is not None
            assert found.value == pytest.approx(frame.by_group.loc[group.name, rate], abs=1e-12)
    for rate in fairness.RATES:
        gap = fairness.gap(ours, rate, smallest=5)
        assert gap is not None
        assert gap.difference.value == pytest.approx(frame.difference()[rate], abs=1e-12)
        assert gap.ratio.value == pytest.approx(frame.ratio()[rate], abs=1e-12)
    parity = fairness.gap(ours, "selection_rate", smallest=5)
    assert parity is not None
    about = {"sensitive_features": groups}
    assert parity.difference.value == pytest.approx(
        demographic_parity_difference(answers, selected.astype(int), **about)
    )
    assert parity.ratio.value == pytest.approx(
        demographic_parity_ratio(answers, selected.astype(int), **about)
    )


def test_groups_are_compared_and_small_ones_only_named(service: Started) -> None:
    made = mixed(service)
    origin, sex = monitoring(service)["attributes"]
    for group in sex["groups"]:
        rows = [
            (selected, outcome) for _, selected, name, outcome in made if name == group["group"]
        ]
        assert group["people"] == len(rows)
        assert group["selection_rate"]["value"] == np.mean([selected for selected, _ in rows])
        # Fewer than ten of them turned out positive: nothing is said of that.
        assert group["true_positive_rate"] is None
    assert [group["precision"] is None for group in sex["groups"]] == [True, False]
    assert [gap["rate"] for gap in sex["gaps"]] == ["selection_rate", "false_positive_rate"]
    assert sex["not_tested"] == []
    assert origin["not_tested"] == ["here", "there"]
    assert all(group["people"] is None for group in origin["groups"])
    metrics = service.client.get("/metrics").text
    shown = (
        'grounds_group_selection_rate{arm="live",attribute="sex",bound="estimate",group="female"'
    )
    assert shown in metrics
    assert 'group="there"' not in metrics
    assert 'grounds_groups_not_tested{arm="live",attribute="origin",model="tiny"} 2.0' in metrics


def test_after_a_restart_every_figure_is_the_same(settings: Settings) -> None:
    with start(settings) as service:
        mixed(service)
        before = monitoring(service)
        keys = service.keys
    with start_again(settings, keys) as service:
        assert monitoring(service) == before
        # A fresh monitor over the same log, as another replica would have.
        parts = service.parts
        other = Monitor(
            parts.log,
            parts.served,
            lambda model: parts.monitor.watched(model.name),
            parts.attributes,
            parts.metrics,
            refresh=parts.registry.refresh,
        )
        shape = monitoring_shape(parts, parts.served[tiny.NAME], other.report(tiny.NAME), None)
        assert json.loads(shape.model_dump_json()) == before


@contextmanager
def start_again(settings: Settings, keys: Mapping[Role, str]) -> Iterator[Started]:
    app = create_app(settings)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Started(settings, app, client, keys)


def test_protected_attributes_are_in_their_own_store_and_nowhere_else(settings: Settings) -> None:
    with start(settings) as service:
        decision = decide(service, YES)
        tell(service, decision, sex="female")
        for secret in (b"female",):
            for path in settings.data_dir.rglob("*"):
                if path.is_file() and path.name != "protected-attributes.sqlite3":
                    assert secret not in path.read_bytes(), path
        stored = service.parts.log.read(decision)
        assert b"female" not in (stored.payload or b"")
        for role in set(Role) - {Role.EQUALITY}:
            answer = service.client.post(
                f"/v1/decisions/{decision}/protected-attributes",
                json={"attributes": {"sex": "female"}},
                headers=service.key(role),
            )
            assert_problem(answer, slug="forbidden", status=403)
        for wrong in ({"sex": "none"}, {"age": "old"}):
            answer = service.client.post(
                f"/v1/decisions/{decision}/protected-attributes",
                json={"attributes": wrong},
                headers=service.key(Role.EQUALITY),
            )
            assert_problem(answer, slug="invalid-request", status=422)


def test_a_purge_leaves_figures_and_no_person(settings: Settings) -> None:
    with start(settings) as service:
        mixed(service)
        figures = monitoring(service)["attributes"]
        answer = service.client.post(
            f"/v1/models/{tiny.NAME}/protected-attributes/purge",
            json={"before": "2999-01-01T00:00:00.000Z", "reason": "the review is over"},
            headers=service.key(Role.EQUALITY),
        )
        assert answer.json() == {"reports": 40}
        after = monitoring(service)
        (kept,) = after["purged"]
        assert kept["attributes"] == figures
        assert all(group["people"] is None for group in after["attributes"][1]["groups"])
        assert service.parts.attributes.latest(tiny.NAME, 100) == []
        # Nothing of a report is left in the file's free pages.
        content = (settings.data_dir / "protected-attributes.sqlite3").read_bytes()
        assert b'{"sex":"female"}' not in content


def test_an_erased_decision_takes_its_attributes_along(service: Started) -> None:
    decision = decide(service, YES)
    tell(service, decision, sex="male")
    parts = service.parts
    parts.log.erase_records([decision], basis="art-17", actor="k", new_id=parts.new_id)
    parts.monitor.step()
    assert parts.attributes.latest(tiny.NAME, 10) == []


@pytest.mark.parametrize("after", ["another version", "none"])
def test_a_case_of_an_earlier_version_still_takes_its_outcome_and_its_persons_groups(
    service: Started, tmp_path: Path, after: str
) -> None:
    decision = decide(service, YES)
    old = service.parts.served[tiny.NAME].facts["model"]
    owner = Owner(service.settings, service.client, tiny.NAME)
    if after == "none":
        (state,) = service.parts.registry.state.models.values()
        (only,) = state.versions
        retired = Submitted(only.bundle, only.policy)
        assert owner.move(retired, "retired").status_code == 200
    else:
        second = tiny.card().model_copy(update={"version": "2"})
        tiny.write(tmp_path / "second", told=second)
        owner.bring(owner.submit(tmp_path / "second"), "accepted", "shadow", "live")
        decide(service, YES)
    turn_out(service, decision, 1)
    tell(service, decision, sex="female")
    log = service.parts.log
    (newest,) = log.entries(log.size - 1, log.size)
    leaf = parse_leaf(newest.leaf)
    assert (leaf.type, leaf.facts["model"]) == ("outcome", old)
    assert [each.decision for each in service.parts.attributes.latest(tiny.NAME, 9)] == [decision]
    if after != "none":
        # They are no figures of the version that is active now.
        told = monitoring(service)
        assert told["decisions"] == 1
        assert all(group["people"] is None for group in told["attributes"][0]["groups"])


def test_an_outcome_is_an_entry_and_a_later_one_corrects_it(service: Started) -> None:
    decision = decide(service, YES)
    turn_out(service, decision, 0)
    assert monitoring(service)["calibration"]["bins"][0]["observed"]["value"] == 0
    turn_out(service, decision, 1)
    found = monitoring(service)["calibration"]
    assert found["cases"] == 1
    assert found["bins"][0]["observed"]["value"] == 1
    answer = service.client.post(
        f"/v1/decisions/{decision}/outcome",
        json={"outcome": "perhaps"},
        headers=service.key(Role.CALLER),
    )
    assert_problem(answer, slug="invalid-request", status=422)
    for number in ("NaN", "1e999"):
        no_number = service.client.post(
            f"/v1/decisions/{decision}/outcome",
            content=f'{{"outcome": {number}}}',
            headers={**service.key(Role.CALLER), "Content-Type": "application/json"},
        )
        assert 400 <= no_number.status_code < 500


def step(service: Started) -> None:
    portal = service.client.portal
    assert portal is not None
    portal.call(service.parts.breaker.step)


def reset(service: Started) -> None:
    response = service.client.post(
        f"/v1/models/{tiny.NAME}/monitoring/reset",
        json={"reason": "the intake was changed"},
        headers=service.key(Role.ADMIN),
    )
    assert response.status_code == 200


def reset_on_the_page(service: Started) -> None:
    address = f"/models/{tiny.NAME}/monitoring/reset"
    owner = service.session(Role.MODEL_OWNER)
    page = {**owner, "Accept": "text/html"}
    assert address in service.client.get(f"/models/{tiny.NAME}", headers=page).text
    assert "selection rate difference: sex" in service.client.get(address, headers=page).text
    size = service.parts.log.size

    def send(reason: str) -> int:
        form = {**service.form(owner), "reason": reason}
        sent = service.client.post(address, headers=page, data=form, follow_redirects=False)
        return int(sent.status_code)

    assert send(" ") == 422
    assert service.parts.log.size == size
    assert [send("The intake was changed."), send("The intake was changed.")] == [303, 303]
    assert service.parts.log.size == size + 1, "sent twice, recorded once"
    assert "None of its limits is broken" in service.client.get(address, headers=page).text


def test_a_biased_stream_trips_the_breaker_and_people_decide_unaided(service: Started) -> None:
    for n in range(120):
        decision = decide(service, YES if n % 2 else NO)
        tell(service, decision, sex="male" if n % 2 else "female")
    step(service)
    tripped = monitoring(service)["tripped"]
    assert {"limit": "selection_rate_difference", "subject": "sex", "action": "unaided"} in tripped
    answer = service.ask(tiny.NAME, YES).json()
    assert answer["advice"]["status"] == "none"
    assert answer["advice"]["reason"].startswith("A limit that was set for the model")
    assert answer["requirements"][0]["rule"]["id"] == "circuit-breaker"
    # What was recorded without advice replays as such.
    replayed = service.client.post(
        f"/v1/decisions/{answer['id']}/replay", headers=service.key(Role.AUDITOR)
    )
    assert replayed.json()["verdict"] == "identical"
    assert 'grounds_breaker_tripped{limit="selection_rate_difference",model="tiny"} 1.0' in (
        service.client.get("/metrics").text
    )
    none_at_present = "No advice comes from it at present"
    assert none_at_present in service.client.get(f"/transparency/{tiny.NAME}").text
    reset_on_the_page(service)
    assert none_at_present not in service.client.get(f"/transparency/{tiny.NAME}").text
    assert monitoring(service)["tripped"] == []
    assert service.ask(tiny.NAME, YES).json()["advice"]["status"] == "given"


def test_a_fair_stream_of_the_same_size_trips_nothing(service: Started) -> None:
    for n in range(120):
        case = {"amount": (4.0, 8.0, 15.0, 20.0, 2.0)[n % 5], "count": (1, 6, 2, 9, 4)[n % 5],
                "answer": ("no", "yes", "no", "no", "yes")[n % 5]}  # fmt: skip
        tell(service, decide(service, case), sex="male" if n % 2 else "female")
    step(service)
    assert monitoring(service)["tripped"] == []
    assert monitoring(service)["stance"] is None


def test_drift_stops_the_model_and_stays_so_after_a_restart(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = settings.models_dir / tiny.NAME
    shutil.rmtree(directory)
    # With its usual five rows of background nobody could be sure of any change.
    monkeypatch.setattr(tiny, "BACKGROUND", tiny.BACKGROUND * 20)
    tiny.write(directory)
    (directory / "monitoring.yaml").write_text(yaml.safe_dump(WATCH))
    with start(settings) as service:
        # The breaker may look, and trip, at any time meanwhile.
        for _ in range(60):
            if service.ask(tiny.NAME, YES).status_code != 201:
                break
        step(service)
        stopped = monitoring(service)["stance"]
        keys = service.keys
        assert stopped == "stop", monitoring(service)["output"]
        assert_problem(service.ask(tiny.NAME, YES), slug="advice-stopped", status=503)
    with start_again(settings, keys) as service:
        # At once: figures are made again from the log a second later, and later still in a long one.
        assert_problem(service.ask(tiny.NAME, YES), slug="advice-stopped", status=503)
        step(service)
        assert_problem(service.ask(tiny.NAME, YES), slug="advice-stopped", status=503)
        reset(service)
        assert service.ask(tiny.NAME, YES).status_code == 201
    with start_again(settings, keys) as service:
        assert service.ask(tiny.NAME, YES).status_code == 201
        step(service)
        assert monitoring(service)["stance"] is None
        assert service.ask(tiny.NAME, YES).status_code == 201


def test_attribute_store_counts_reports_for_good(tmp_path: Path) -> None:
    store = AttributeStore(tmp_path / "a.sqlite3")
    at = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
    for n in range(3):
        store.put("m", f"d{n}", {"sex": "female"}, at=at)
    store.put("m", "d1", {"sex": "male"}, at=at)
    assert [each.place for each in store.latest("m", 2)] == [1, 2]
    assert store.forget(["d0", "d2", "none"]) == 2
    assert store.count("m") == 3
    store.put("m", "d9", {"sex": "male"}, at=at)
    assert [each.place for each in store.latest("m", 9)] == [1, 3]
    store.close()


def test_attributes_that_cannot_be_kept_are_refused_and_advice_goes_on(service: Started) -> None:
    decision = decide(service, YES)
    service.parts.attributes.close()
    answer = service.client.post(
        f"/v1/decisions/{decision}/protected-attributes",
        json={"attributes": {"sex": "female"}},
        headers=service.key(Role.EQUALITY),
    )
    assert_problem(answer, slug="attributes-unavailable", status=503)
    assert "female" not in answer.text
    decide(service, YES)
