"""A canary's own figures, and the circuit breaker that ends it and nothing else."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from markupsafe import escape

from app.api.case_steps import REASON
from app.api.monitoring import monitoring_shape
from app.domain import Role
from app.lifecycle import CanaryRun, RegistryState
from app.lineup import Lineup
from app.main import create_app
from app.metrics import FOLLOWED, OVERRODE
from app.monitoring import breaker
from app.monitoring.attributes import AttributeStore
from app.monitoring.monitor import Monitor
from app.registry import Registry
from app.settings import Settings
from audit.records import StoredRecord
from tests.app import tiny
from tests.app.versions import Owner, Submitted
from tests.monitoring.test_monitor import monitoring, turn_out
from tests.problems import assert_problem
from tests.started import Started, start

WATCH = {
    "window": 1000,
    "protected_attributes": {"sex": ["female", "male"]},
    "limits": {
        # The gravest action there is: it is the active version's, and a canary only ends.
        "selection_rate_difference": {"limit": 0.2, "action": "stop"},
        "calibration_gap": {"limit": 0.3, "action": "report"},
    },
}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    # Every look at the figures is the test's own: what is broken stays so until it is looked for.
    monkeypatch.setattr(breaker, "INTERVAL_SECONDS", 3600.0)
    models = tmp_path / "models"
    tiny.write(models / tiny.NAME)
    (models / tiny.NAME / "monitoring.yaml").write_text(yaml.safe_dump(WATCH))
    return Settings(models_dir=models, data_dir=tmp_path / "data")


@pytest.fixture
def service(settings: Settings) -> Iterator[Started]:
    with start(settings) as started:
        yield started


@contextmanager
def again(settings: Settings, keys: Mapping[Role, str]) -> Iterator[Started]:
    app = create_app(settings)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield Started(settings, app, client, keys)


def owner_of(service: Started) -> Owner:
    return Owner(service.settings, service.client, tiny.NAME)


def policy(version: str, *, line: float) -> dict[str, object]:
    """Return a policy that selects from ``line`` on: half of all is as the active version's."""
    made = tiny.policy()
    bands = made["bands"]
    assert isinstance(bands, list)
    bands[1]["at_least"] = line
    return {**made, "version": version}


def begin(owner: Owner, version: str, *, line: float, percent: int = 50) -> Submitted:
    """Make a canary: the active version's bundle under another policy."""
    directory = owner.settings.models_dir / tiny.NAME
    submitted = owner.submit(directory)
    made = replace(submitted, policy=owner.submit_policy(directory, policy(version, line=line)))
    owner.bring(made, "accepted", "shadow")
    assert owner.move(made, "live", percent=percent).status_code == 200
    return made


def people(service: Started, count: int, *, first: int = 0) -> dict[str, list[str]]:
    """Let people be decided on, men and women by turns; return the decisions by arm.

    Men's score is 0.90 and women's 0.78, so a line at one half selects all, one at 0.9 the men.
    """
    made: dict[str, list[str]] = {"live": [], "canary": []}
    for n in range(first, first + count):
        sex = "female" if n % 2 else "male"
        case = {"amount": 11 + n / 8, "count": 5, "answer": "yes" if sex == "male" else "no"}
        answer = service.ask(tiny.NAME, case).json()
        told = service.client.post(
            f"/v1/decisions/{answer['id']}/protected-attributes",
            json={"attributes": {"sex": sex}},
            headers=service.key(Role.EQUALITY),
        )
        assert told.status_code == 201, told.text
        made[answer["model"]["arm"]].append(answer["id"])
    return made


def step(service: Started) -> None:
    assert service.client.portal is not None
    service.client.portal.call(service.parts.breaker.step)


def selection_gap(figures: Mapping[str, Any]) -> float:
    (sex,) = figures["attributes"]
    (gap,) = [each for each in sex["gaps"] if each["rate"] == "selection_rate"]
    return float(gap["difference"]["value"])


def gauge(service: Started, name: str, **labels: str) -> float | None:
    service.parts.monitor.step()
    found = service.parts.metrics.registry.get_sample_value(name, {"model": tiny.NAME, **labels})
    return None if found is None else float(found)


def stage_entries(service: Started) -> list[StoredRecord]:
    log, count = service.parts.log, service.parts.registry.state.count
    return [log.read(f"registry.{number}") for number in range(1, count + 1)]


def test_a_biased_canary_beside_a_fair_active_version_is_caught_and_it_alone_ends(
    settings: Settings,
) -> None:
    with start(settings) as service:
        owner = owner_of(service)
        canary = begin(owner, "2", line=0.9)
        made = people(service, 120)
        told = monitoring(service)
        assert told["decisions"] == len(made["live"])
        assert told["canary"]["decisions"] == len(made["canary"])
        assert (told["canary"]["policy"], told["canary"]["percent"]) == (canary.policy, 50)
        # In the figures before anything is done about it.
        assert selection_gap(told) == 0
        assert selection_gap(told["canary"]) == 1
        shown = {"attribute": "sex", "rate": "selection_rate", "bound": "estimate"}
        assert gauge(service, "grounds_group_difference", arm="live", **shown) == 0
        assert gauge(service, "grounds_group_difference", arm="canary", **shown) == 1
        limit = {"limit": "selection_rate_difference"}
        assert gauge(service, "grounds_canary_ended", **limit) == 0
        step(service)
        check_ended(service, owner, canary)
        keys = service.keys
    with again(settings, keys) as service:
        step(service)
        check_ended(service, owner_of(service), canary)


def check_ended(service: Started, owner: Owner, canary: Submitted) -> None:
    """The canary is in shadow, every case is the active version's, and nothing else is stopped."""
    assert owner.shown(canary)["stage"] == "shadow"
    told = monitoring(service)
    assert told["canary"] is None
    assert told["ended_canary"]["policy"] == canary.policy
    assert told["ended_canary"]["limits"] == ["selection_rate_difference"]
    assert (told["stance"], told["tripped"]) == (None, [])
    answers = [
        service.ask(tiny.NAME, {"amount": 11 + n, "count": 5, "answer": "no"}).json()
        for n in range(12)
    ]
    assert {each["model"]["arm"] for each in answers} == {"live"}
    assert {each["advice"]["status"] for each in answers} == {"given"}
    limit = {"limit": "selection_rate_difference"}
    assert gauge(service, "grounds_canary_ended", **limit) == 1
    assert gauge(service, "grounds_canary_ended", limit="calibration_gap") == 0
    assert gauge(service, "grounds_breaker_tripped", **limit) == 0
    assert gauge(service, "grounds_monitored_decisions", arm="canary") is None
    last = stage_entries(service)[-1]
    assert last.facts["broken_limits"] == ["selection_rate_difference"]
    assert (last.facts["stage"], last.facts["from"]) == ("shadow", "live")
    payload = json.loads(last.payload or b"")
    assert (payload["actor"], payload["human"]) == ("circuit-breaker", False)
    (broken,) = payload["breaker"]["broken"]
    assert (broken["subject"], broken["value"], broken["allowed"]) == ("sex", 1.0, 0.2)


def test_a_fair_canary_of_the_same_size_goes_on(service: Started) -> None:
    owner = owner_of(service)
    canary = begin(owner, "2", line=0.5)
    people(service, 120)
    before = len(stage_entries(service))
    step(service)
    told = monitoring(service)
    assert selection_gap(told["canary"]) == 0
    assert told["ended_canary"] is None
    assert owner.shown(canary)["percent"] == 50
    assert len(stage_entries(service)) == before


def test_what_the_active_version_breaks_trips_as_before_and_the_canary_is_not_blamed(
    service: Started,
) -> None:
    owner = owner_of(service)
    # The active version becomes the one that selects men alone; the canary selects everybody.
    biased = begin(owner, "2", line=0.9)
    assert owner.move(biased, "live").status_code == 200
    canary = begin(owner, "3", line=0.5)
    people(service, 120)
    step(service)
    told = monitoring(service)
    assert (told["stance"], told["ended_canary"]) == ("stop", None)
    assert selection_gap(told["canary"]) == 0
    assert owner.shown(canary)["percent"] == 50
    assert_problem(service.ask(tiny.NAME, tiny.CASE), slug="advice-stopped", status=503)


def test_after_a_restart_every_figure_of_both_arms_is_the_same(settings: Settings) -> None:
    with start(settings) as service:
        begin(owner_of(service), "2", line=0.5)
        made = people(service, 60)
        for n, decision in enumerate(made["canary"]):
            turn_out(service, decision, int(n % 4 > 0))
        for n, decision in enumerate(made["live"]):
            turn_out(service, decision, int(n % 3 > 0))
        before = monitoring(service)
        assert before["canary"]["calibration"]["cases"] == len(made["canary"])
        assert before["calibration"]["cases"] == len(made["live"])
        assert before["canary"]["calibration"] != before["calibration"]
        keys = service.keys
    with again(settings, keys) as service:
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
        shape = monitoring_shape(
            parts, parts.served[tiny.NAME], other.report(tiny.NAME), other.canary(tiny.NAME)
        )
        assert json.loads(shape.model_dump_json()) == before


def test_what_was_broken_when_the_service_died_ends_the_canary_at_its_next_start(
    settings: Settings,
) -> None:
    with start(settings) as service:
        canary = begin(owner_of(service), "2", line=0.9)
        people(service, 60)
        assert owner_of(service).shown(canary)["stage"] == "live"
        keys = service.keys
    with again(settings, keys) as service:
        step(service)
        check_ended(service, owner_of(service), canary)


def test_only_a_person_begins_it_again_and_then_with_empty_figures(service: Started) -> None:
    owner = owner_of(service)
    canary = begin(owner, "2", line=0.9)
    people(service, 60)
    step(service)
    assert owner.shown(canary)["stage"] == "shadow"
    machine = {"bundle": canary.bundle, "policy": canary.policy, "stage": "live", "percent": 50,
               "reason": "A machine's."}  # fmt: skip
    refused = service.client.post(
        f"/v1/models/{tiny.NAME}/stages", json=machine, headers=service.key(Role.CALLER)
    )
    assert_problem(refused, slug="forbidden", status=403)
    assert owner.move(canary, "live", percent=50).status_code == 200
    step(service)
    told = monitoring(service)
    assert (told["canary"]["decisions"], told["ended_canary"]) == (0, None)
    assert all(group["people"] is None for group in told["canary"]["attributes"][0]["groups"])
    assert owner.shown(canary)["percent"] == 50, "what it did before does not end it again"
    limit = {"limit": "selection_rate_difference"}
    assert gauge(service, "grounds_canary_ended", **limit) == 0
    # What it does now does.
    people(service, 60, first=1000)
    step(service)
    assert owner.shown(canary)["stage"] == "shadow"


def test_another_share_is_the_same_canary_and_another_version_begins_with_nothing(
    service: Started,
) -> None:
    owner = owner_of(service)
    one = begin(owner, "2", line=0.5)
    made = people(service, 30)
    assert owner.move(one, "live", percent=80).status_code == 200
    told = monitoring(service)["canary"]
    assert (told["decisions"], told["percent"]) == (len(made["canary"]), 80)
    assert owner.move(one, "retired").status_code == 200
    begin(owner, "3", line=0.5)
    assert monitoring(service)["canary"]["decisions"] == 0
    later = people(service, 30, first=500)
    told = monitoring(service)
    assert told["canary"]["decisions"] == len(later["canary"])
    assert told["decisions"] == len(made["live"]) + len(later["live"])


def test_what_it_did_as_a_canary_is_its_own_once_it_is_active_and_what_was_ended_is_not(
    settings: Settings,
) -> None:
    with start(settings) as service:
        owner = owner_of(service)
        canary = begin(owner, "2", line=0.9)
        first = people(service, 60)
        step(service)
        assert owner.shown(canary)["stage"] == "shadow", "ended: it selected men alone"
        assert owner.move(canary, "live", percent=50).status_code == 200
        made = people(service, 8, first=1000)
        before = monitoring(service)["canary"]["decisions"]
        assert before == len(made["canary"])
        assert owner.move(canary, "live").status_code == 200
        told = monitoring(service)
        assert told["canary"] is None
        # The same bundle under the policy before is part of its past; the ended time is not.
        assert told["decisions"] == len(first["live"]) + len(made["live"]) + len(made["canary"])
        assert told["stance"] is None
        keys = service.keys
    with again(settings, keys) as service:
        assert monitoring(service) == told


def test_a_canary_that_a_person_ends_meanwhile_is_left_alone(service: Started) -> None:
    owner = owner_of(service)
    begin(owner, "2", line=0.9)
    people(service, 60)
    assert service.parts.monitor.step(), "a limit is broken"
    assert owner.post("rollback", {"reason": "I saw it."}).status_code == 200
    entries = len(stage_entries(service))
    step(service)
    assert len(stage_entries(service)) == entries
    assert monitoring(service)["ended_canary"] is None


class Behind:
    """A registry that has not heard of the latest change the first time it looks."""

    def __init__(self, registry: Registry, before: RegistryState) -> None:
        self._registry, self._states = registry, [before]

    def refresh(self) -> RegistryState:
        return self._states.pop() if self._states else self._registry.refresh()


def test_another_change_at_the_same_moment_delays_the_end_by_a_look(service: Started) -> None:
    owner, parts = owner_of(service), service.parts
    canary = begin(owner, "2", line=0.9)
    people(service, 60)
    before = parts.registry.state
    other = owner.submit_policy(owner.settings.models_dir / tiny.NAME, policy("3", line=0.5))
    assert owner.register(replace(canary, policy=other)).status_code == 201
    looking = breaker.Breaker(
        parts.monitor,
        parts.engine,
        parts.attributes,
        Behind(parts.registry, before),  # type: ignore[arg-type]  # all that the breaker asks of it
        clock=parts.clock,
        new_id=parts.new_id,
        log_gauges=parts.breaker._log_gauges,
    )
    assert service.client.portal is not None
    service.client.portal.call(looking.step)
    assert owner.shown(canary)["stage"] == "live", "the number of its entry was taken"
    service.client.portal.call(looking.step)
    assert owner.shown(canary)["stage"] == "shadow"


def test_reading_the_figures_keeps_nothing_from_the_breaker(service: Started) -> None:
    owner = owner_of(service)
    canary = begin(owner, "2", line=0.9)
    people(service, 60)
    for _ in range(3):
        monitoring(service)
    step(service)
    assert owner.shown(canary)["stage"] == "shadow"


def test_who_follows_a_canary_and_who_departs_from_it_is_counted_apart(service: Started) -> None:
    begin(owner_of(service), "2", line=0.5, percent=50)
    made = people(service, 12)
    for arm, outcome in (("canary", "no"), ("canary", "yes"), ("live", "yes")):
        decided = service.client.post(
            f"/v1/decisions/{made[arm].pop()}/caseworker-decision",
            json={"outcome": outcome, "reason": REASON, "evidence": None},
            headers=service.key(Role.CASEWORKER),
        )
        assert decided.status_code == 201, decided.text
    counted = {
        (arm, agreement): gauge(
            service, "grounds_caseworker_decisions_total", arm=arm, agreement=agreement
        )
        for arm in ("live", "canary")
        for agreement in (FOLLOWED, OVERRODE)
    }
    assert counted == {
        ("live", FOLLOWED): 1, ("live", OVERRODE): 0,
        ("canary", FOLLOWED): 1, ("canary", OVERRODE): 1,
    }  # fmt: skip


def test_nothing_that_a_stranger_sends_adds_a_series(service: Started) -> None:
    begin(owner_of(service), "2", line=0.5)
    people(service, 40)
    names = re.compile(r'^grounds_[^ ]*model="[^ ]+(?= )', re.MULTILINE)

    def series() -> set[str]:
        service.parts.monitor.step()
        return set(names.findall(service.client.get("/metrics").text))

    def provoke(name: str) -> None:
        for role in (Role.ADMIN, Role.EQUALITY, Role.CALLER):
            key = service.key(role)
            client = service.client
            client.get(f"/v1/models/{name}/monitoring?arm={name}", headers=key)
            client.post(
                f"/v1/decisions/{name}/protected-attributes",
                json={"attributes": {"sex": name}},
                headers=key,
            )
            body = {"case": {**tiny.CASE, "answer": name, "arm": name}, "arm": name, "canary": name}
            client.post(f"/v1/models/{tiny.NAME}/decisions", json=body, headers=key)
            client.post(f"/v1/models/{name}/decisions", json={"case": tiny.CASE}, headers=key)

    provoke("first")
    seen = series()
    assert set(re.findall(r'arm="([^"]*)"', " ".join(seen))) == {"live", "canary"}
    for name in ("second", "x" * 200, "canary2"):
        provoke(name)
    assert series() - seen == set()


def test_erasure_and_purge_take_a_canarys_reports_along(service: Started) -> None:
    begin(owner_of(service), "2", line=0.5)
    made = people(service, 40)
    parts = service.parts
    run = parts.served.lineup(tiny.NAME).canary_from
    store = parts.attributes
    assert {each.decision for each in store.latest(tiny.NAME, 99, canary=run)} == set(
        made["canary"]
    )
    gone = made["canary"][0]
    parts.log.erase_records([gone], basis="art-17", actor="k", new_id=parts.new_id)
    parts.monitor.step()
    assert gone not in {each.decision for each in store.latest(tiny.NAME, 99, canary=run)}
    figures = monitoring(service)
    answer = service.client.post(
        f"/v1/models/{tiny.NAME}/protected-attributes/purge",
        json={"before": "2999-01-01T00:00:00.000Z", "reason": "the review is over"},
        headers=service.key(Role.EQUALITY),
    )
    assert answer.json() == {"reports": 39}
    assert store.latest(tiny.NAME, 99, canary=run) == []
    assert store.count(tiny.NAME, canary=run) == len(made["canary"])
    (kept,) = monitoring(service)["purged"]
    assert kept["attributes"] == figures["attributes"]
    assert kept["canary"] == figures["canary"]["attributes"]


def test_a_canarys_reports_are_numbered_apart(tmp_path: Path) -> None:
    with closing(AttributeStore(tmp_path / "a.sqlite3")) as store:
        at = "2026-01-01T00:00:00.000Z"
        for n in range(6):
            canary = 7 if n % 3 == 0 else None
            store.put("m", f"d{n}", {"sex": "female"}, at=at, canary=canary)
        store.put("m", "d3", {"sex": "male"}, at=at, canary=7)
        store.put("m", "d9", {"sex": "male"}, at=at, canary=8)
        found = store.latest("m", 9, canary=7)
        assert [(each.place, each.decision) for each in found] == [(0, "d0"), (1, "d3")]
        assert found[1].groups == {"sex": "male"}, "a later report replaces an earlier one"
        assert [each.decision for each in store.latest("m", 1, canary=7)] == ["d3"]
        assert [store.count("m", canary=run) for run in (7, 8, 9)] == [2, 1, 0]
        # The model's own numbers are of all its reports.
        assert [each.place for each in store.latest("m", 9)] == list(range(7))


def test_the_log_alone_says_whose_figures_a_decision_belongs_to(service: Started) -> None:
    live = service.parts.served[tiny.NAME]
    bundle, old = live.bundle.digest, live.policy_digest
    lineup = Lineup(
        live,
        canary=replace(live, policy_digest="new"),
        percent=5,
        canary_from=100,
        canary_runs=(CanaryRun("new", 10, 20),),
    )
    told = [
        lineup.arm_of(bundle, policy_digest, index)
        for policy_digest, index in ((old, 5), ("new", 15), ("new", 9), ("new", 100), ("new", 101))
    ]
    assert told == ["live", None, "live", "live", "canary"]
    assert lineup.arm_of("another", old, 101) is None
    assert Lineup(live).arm_of(bundle, "new", 101) == "live"


def owners_page(service: Started) -> str:
    headers = {**service.session(Role.MODEL_OWNER), "Accept": "text/html"}
    answer = service.client.get(f"/models/{tiny.NAME}", headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.text)


def test_the_owners_page_shows_both_and_says_why_a_canary_ended(service: Started) -> None:
    assert "canary" not in owners_page(service)
    begin(owner_of(service), "2", line=0.9)
    made = people(service, 60)
    turn_out(service, made["canary"][0], 1)
    page = owners_page(service)
    assert f"advises on 50% of the cases, {len(made['canary'])} so far" in page
    captions = re.findall(r"<caption[^>]*>([^<]*)</caption>", page)
    assert [each for each in captions if each.startswith("sex")] == [
        "sex", "sex: canary, version 1 with policy 2"
    ]  # fmt: skip
    assert "Population stability index: canary, version 1 with policy 2" in captions
    assert "How often it turned out as estimated: canary, version 1 with policy 2" in captions
    # What is counted is the outcome that is in a person's favour, and the page says which it is.
    assert "Adverse advice" not in page
    counted = page.partition("counts cases with this advice:")[2].partition("</p>")[0]
    assert escape(f"Yes {tiny.HOSTILE}") in counted
    assert escape(f"No {tiny.HOSTILE}") not in counted
    # Selected: everybody by the line at one half, the men alone by the canary's.
    tables = page.split("<caption")
    (live,) = [each for each in tables if ">sex</caption>" in each]
    (canary,) = [
        each for each in tables if ">sex: canary, version 1 with policy 2</caption>" in each
    ]
    assert ">Put forward</th>" in live
    assert re.findall(r"(\d+)% \(", live) == ["100", "100"]
    assert re.findall(r"(\d+)% \(", canary) == ["0", "100"]
    step(service)
    page = owners_page(service)
    assert "The canary, version 1 with policy 2, was ended by the circuit breaker" in page
    assert "<li>selection rate difference</li>" in page
    assert "circuit-breaker" in page
    assert "is on trial" not in page
