"""Versions: only the allowed steps, each an entry, the same state for whoever reads the log."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from app.changing import Changing
from app.domain import Role
from app.lifecycle import (
    STAGES,
    CanaryRun,
    ModelState,
    RegistryState,
    Stage,
    Version,
    VersionId,
    allowed_stages,
    check_stage,
    rollback_target,
    version_facts,
)
from app.lifecycle_refusals import StageRefusedError
from app.main import StartRefusedError
from app.settings import Settings
from audit.errors import DamagedLogError
from audit.records import NewRecord, StoredRecord
from models.bundle import PROXIES
from models.card import Card
from models.card_sections import Risk
from models.proxies import FieldStrength, Proxies, ProxyStrength, write_proxies
from models.signing import make_key
from tests.app import tiny, told
from tests.app.test_admission import assessed
from tests.app.versions import Owner, Submitted, report
from tests.problems import assert_problem, faults
from tests.started import Started, start


def second(**changed: object) -> Card:
    """Return the small model's card as another version."""
    return tiny.card().model_copy(update={"version": "2", **changed})


@pytest.fixture
def service(tiny_models: Path, tmp_path: Path) -> Iterator[Started]:
    with start(Settings(models_dir=tiny_models, data_dir=tmp_path / "data")) as started:
        yield started


@pytest.fixture
def owner(service: Started) -> Owner:
    return Owner(service.settings, service.client, tiny.NAME)


def submitted(owner: Owner, directory: Path, card: Card | None = None) -> Submitted:
    tiny.write(directory, told=card or second())
    return owner.submit(directory)


def ask(service: Started, **changed: object) -> dict[str, Any]:
    answer = service.ask(tiny.NAME, {**tiny.CASE, **changed})
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_a_version_goes_from_submitted_to_live_and_back(
    service: Started, owner: Owner, tmp_path: Path
) -> None:
    first = ask(service)["model"]["digest"]
    version = submitted(owner, tmp_path / "second")
    owner.bring(version)
    seen = [owner.shown(version)["stage"]]
    for stage in ("accepted", "shadow", "live"):
        assert ask(service)["model"]["digest"] == first
        assert owner.move(version, stage).status_code == 200
        seen.append(owner.shown(version)["stage"])
    assert seen == ["submitted", "accepted", "shadow", "live"]
    answer = ask(service)
    assert answer["model"]["digest"] == version.bundle
    assert answer["model"]["version"] == "2"
    assert answer["model"]["arm"] == "live"
    assert sorted(owner.stages().values()) == ["live", "retired"]
    assert owner.post("rollback", {"reason": "It was worse."}).status_code == 200
    assert ask(service)["model"]["digest"] == first
    assert owner.shown(version)["stage"] == "retired"
    again = owner.post("rollback", {"reason": "Once more."})
    problem = assert_problem(again, slug="stage-not-allowed", status=409)
    assert "stop the model instead" in problem["detail"]
    # The story, from the log alone.
    told_ = owner.get("stages").json()["changes"]
    assert [(each["type"], each["stage"], each["by"]) for each in told_] == [
        ("model_registered", "live", "operator"),
        ("model_registered", "submitted", "owner-1"),
        ("stage_changed", "accepted", "owner-1"),
        ("stage_changed", "shadow", "owner-1"),
        ("stage_changed", "live", "owner-1"),
        ("stage_changed", "live", "owner-1"),
    ]
    assert told_[2]["accepted_by"] == "test-buyer"
    assert told_[-1]["rollback"] is True
    assert told_[-1]["reason"] == "It was worse."


def test_reasons_and_people_are_in_no_leaf_of_the_registry(
    service: Started, owner: Owner, tmp_path: Path
) -> None:
    owner.bring(submitted(owner, tmp_path / "second"))
    leaf = service.parts.log.read("registry.2").leaf
    assert b"owner-1" not in leaf
    assert b"A test." not in leaf


def test_only_the_allowed_steps_are_taken_and_the_problem_says_which(
    owner: Owner, tmp_path: Path
) -> None:
    version = submitted(owner, tmp_path / "second")
    owner.bring(version)
    problem = assert_problem(owner.move(version, "live"), slug="stage-not-allowed", status=409)
    assert problem["detail"] == "from submitted a version goes to accepted or retired, not to live"
    assert_problem(owner.move(version, "submitted"), slug="stage-not-allowed", status=409)
    canary = owner.move(version, "accepted", percent=5)
    assert_problem(canary, slug="stage-not-allowed", status=409)
    assert owner.move(version, "retired").status_code == 200
    problem = assert_problem(owner.move(version, "accepted"), slug="stage-not-allowed", status=409)
    assert "no other stage" in problem["detail"]
    assert_problem(owner.register(version), slug="already-registered", status=409)


def test_who_may_change_what_is_in_use(service: Started, owner: Owner, tmp_path: Path) -> None:
    version = submitted(owner, tmp_path / "second")
    owner.bring(version, "accepted")
    for role in (Role.CASEWORKER, Role.CALLER, Role.AUDITOR, Role.REVIEWER):
        for path, body in (
            ("stages", {**version.body, "stage": "shadow"}),
            ("policy", {"policy": version.policy, "reason": "x"}),
            ("rollback", {"reason": "x"}),
            ("versions", version.body),
        ):
            answer = service.client.post(
                f"/v1/models/{tiny.NAME}/{path}", json=body, headers=service.key(role)
            )
            assert_problem(answer, slug="forbidden", status=403)
    unexplained = owner.post("stages", {**version.body, "stage": "shadow", "reason": ""})
    assert_problem(unexplained, slug="invalid-request", status=422)


def test_a_machine_does_not_answer_for_what_is_in_use(
    service: Started, owner: Owner, tmp_path: Path
) -> None:
    from contextlib import closing

    from app.ids import utc_now
    from app.keys import KeyStore

    version = submitted(owner, tmp_path / "second")
    with closing(KeyStore(service.settings.data_dir / "access.sqlite3")) as store:
        key = store.create(name="pipeline", role=Role.MODEL_OWNER, clock=utc_now)
    headers = {"Authorization": f"Bearer {key}"}
    path = f"/v1/models/{tiny.NAME}"
    # It may hand something in, and nothing more.
    made = service.client.post(f"{path}/versions", json=version.body, headers=headers)
    assert made.status_code == 201
    moved = service.client.post(
        f"{path}/stages", json={**version.body, "stage": "retired"}, headers=headers
    )
    assert_problem(moved, slug="human-needed", status=403)
    back = service.client.post(f"{path}/rollback", json={"reason": "x"}, headers=headers)
    assert_problem(back, slug="human-needed", status=403)


def test_what_was_never_submitted_or_is_another_models_is_refused(
    owner: Owner, tmp_path: Path
) -> None:
    nothing = Submitted("sha256:" + "0" * 64, "sha256:" + "1" * 64)
    assert_problem(owner.register(nothing), slug="unknown-version", status=404)
    assert_problem(owner.move(nothing, "shadow"), slug="unknown-version", status=404)
    tiny.write(tmp_path / "other", name="other")
    other = owner.submit(tmp_path / "other")
    problem = assert_problem(owner.register(other), slug="bundle-not-servable", status=422)
    assert "the bundle is of the model other, want tiny" in problem["detail"]
    never = Owner(owner.settings, owner.client, "never")
    for answer in (
        never.get("versions"),
        never.post("rollback", {"reason": "Misspelt."}),
        never.post("policy", {"policy": nothing.policy, "reason": "Misspelt."}),
    ):
        assert_problem(answer, slug="unknown-model", status=404)


def test_a_bundle_edited_in_the_store_is_refused(owner: Owner, tmp_path: Path) -> None:
    version = submitted(owner, tmp_path / "second")
    stored = owner.settings.data_dir / "store" / "bundles" / version.bundle[7:] / "card.yaml"
    stored.write_text(stored.read_text().replace("Owner", "Other"))
    problem = assert_problem(owner.register(version), slug="bundle-not-servable", status=422)
    assert version.bundle in problem["detail"]


@pytest.mark.parametrize("fault", ["missing", "undeclared", "link", "unsigned", "policy"])
def test_a_refusal_names_the_bundle_and_the_file_in_it_and_no_place_on_the_server(
    owner: Owner, tmp_path: Path, fault: str
) -> None:
    version = submitted(owner, tmp_path / "second")
    store = owner.settings.data_dir / "store"
    stored = store / "bundles" / version.bundle[7:]
    if fault == "missing":
        (stored / "card.yaml").unlink()
    elif fault == "undeclared":
        (stored / "notes.txt").write_text("x")
    elif fault == "link":
        (stored / "card.yaml").rename(tmp_path / "card.yaml")
        (stored / "card.yaml").symlink_to(tmp_path / "card.yaml")
    elif fault == "unsigned":
        (stored / "model.sig").unlink()
    else:
        (store / "policies" / f"policy-{version.policy[7:]}.yaml").write_text("policy: [")
    refused = owner.register(version)
    detail = assert_problem(refused, slug="bundle-not-servable", status=422)["detail"]
    assert not re.search(r"/[\w.-]+/", detail), detail
    assert {
        "missing": f"bundle {version.bundle}: got no card.yaml",
        "undeclared": f"bundle {version.bundle}: got undeclared notes.txt",
        "link": f"card.yaml of bundle {version.bundle}: got ",
        "unsigned": f"bundle {version.bundle}: got no signature",
        "policy": f"policy {version.policy} is not YAML",
    }[fault] in detail


def test_an_unsigned_bundle_is_refused(owner: Owner, tmp_path: Path) -> None:
    tiny.write(tmp_path / "second", told=second())
    (tmp_path / "second" / "bundle" / "model.sig").unlink()
    version = owner.submit(tmp_path / "second")
    problem = assert_problem(owner.register(version), slug="bundle-not-servable", status=422)
    assert "signature" in problem["detail"]


def test_a_new_policy_is_a_change_with_a_reason_and_can_be_rolled_back(
    service: Started, owner: Owner, tmp_path: Path
) -> None:
    before = ask(service)
    digest = owner.submit_policy(tmp_path, {**tiny.policy(), "version": "2"})
    body = {"policy": digest, "reason": "New guidance."}
    assert owner.post("policy", body).status_code == 200
    after = ask(service)
    assert after["policy"]["digest"] == digest
    assert after["model"]["digest"] == before["model"]["digest"]
    leaf = json.loads(service.parts.log.read(after["id"]).leaf)
    assert leaf["facts"]["policy"]["sha256"] == digest.removeprefix("sha256:")
    assert_problem(owner.post("policy", body), slug="stage-not-allowed", status=409)
    assert owner.post("rollback", {"reason": "The old one was right."}).status_code == 200
    assert ask(service)["policy"] == before["policy"]
    change = owner.get("stages").json()["changes"][1]
    assert (change["type"], change["reason"]) == ("policy_changed", "New guidance.")


def test_a_policy_for_another_model_or_with_a_hole_is_refused(owner: Owner, tmp_path: Path) -> None:
    whole = tiny.policy()
    bands = whole["bands"]
    assert isinstance(bands, list)
    for policy in ({**whole, "model": "other"}, {**whole, "bands": bands[1:], "version": "3"}):
        digest = owner.submit_policy(tmp_path, policy)
        answer = owner.post("policy", {"policy": digest, "reason": "x"})
        assert_problem(answer, slug="bundle-not-servable", status=422)


def test_a_retired_model_advises_on_nothing(service: Started, owner: Owner) -> None:
    shown = owner.get("versions").json()["versions"][0]
    version = Submitted(shown["bundle"], shown["policy"])
    assert owner.move(version, "retired").status_code == 200
    problem = assert_problem(service.ask(tiny.NAME, tiny.CASE), slug="no-live-version", status=503)
    assert "decide unaided" in problem["detail"]
    assert owner.post("rollback", {"reason": "Needed after all."}).status_code == 200
    assert ask(service)["model"]["digest"] == version.bundle


def test_the_directory_serves_at_the_first_start_and_is_an_inbox_later(tmp_path: Path) -> None:
    settings = Settings(models_dir=tmp_path / "models", data_dir=tmp_path / "data")
    tiny.write(settings.models_dir / tiny.NAME)
    with start(settings) as service:
        first = ask(service)["model"]["digest"]
        assert service.parts.registry.state.count == 1
    shutil.rmtree(settings.models_dir / tiny.NAME)
    tiny.write(settings.models_dir / tiny.NAME, told=second())
    with capture_logs() as logged, start(settings) as service:
        assert ask(service)["model"]["digest"] == first
        owner = Owner(settings, service.client, tiny.NAME)
        assert sorted(owner.stages().values()) == ["live", "submitted"]
    assert "submitted, not served" in [entry["event"] for entry in logged]
    # Without a directory the registry is enough.
    shutil.rmtree(settings.models_dir)
    with start(settings) as service:
        assert ask(service)["model"]["digest"] == first


def test_a_start_without_the_live_bundle_is_refused(tmp_path: Path) -> None:
    settings = Settings(models_dir=tmp_path / "models", data_dir=tmp_path / "data")
    tiny.write(settings.models_dir / tiny.NAME)
    with start(settings):
        pass
    shutil.rmtree(settings.models_dir)
    shutil.rmtree(settings.data_dir / "store" / "bundles")
    with capture_logs() as logged, pytest.raises(StartRefusedError), start(settings):
        pass
    (refusal,) = [entry for entry in logged if entry["event"] == "cannot start"]
    assert "has no bundle" in refusal["reason"]


def without(section: str) -> Card:
    """Return the small model's card as another version, with one section left out."""
    return second(**{section: None if section != "assessments" else ()})


LATE = tuple(
    each.model_copy(update={"date": date(2999, 1, 1)}) if each.kind == "data_protection" else each
    for each in told.ASSESSMENTS
)
OVERDUE = tuple(
    each.model_copy(update={"review_by": date(2021, 1, 1)}) for each in told.ASSESSMENTS
)


@pytest.mark.parametrize(
    ("card", "obligation", "want"),
    [
        (without("assessments"), "gdpr-dpia", "data_protection"),
        (without("quantitative_analysis"), "atrs-performance", "performance_metrics"),
        (second(assessments=LATE), "assessed-before-use", "going live from 2999-01-01"),
        (second(assessments=OVERDUE), "assessed-again-in-time", "a later review_by"),
    ],
)
def test_going_live_without_an_obligation_is_refused_by_its_name(
    owner: Owner, tmp_path: Path, card: Card, obligation: str, want: str
) -> None:
    version = submitted(owner, tmp_path / "second", card)
    owner.bring(version, "accepted", "shadow")
    for body in ({}, {"percent": 5}):
        answer = owner.move(version, "live", **body)
        problem = assert_problem(answer, slug="obligations-not-met", status=409)
        assert faults(problem)[obligation] == "obligation_unmet"
        found = [each for each in problem["errors"] if each["field"] == obligation]
        assert all(want in fault["allowed"] for fault in found)
    assert owner.shown(version)["stage"] == "shadow"


def test_another_model_needs_its_assessments_looked_at_again(
    service: Started, owner: Owner, tmp_path: Path
) -> None:
    # Of the very day of the active version's: nobody has looked since.
    stale = tuple(
        each.model_copy(update={"title": f"{each.title}, as before"})
        for each in service.parts.served[tiny.NAME].bundle.card.assessments
    )
    old = submitted(owner, tmp_path / "stale", second(assessments=stale))
    owner.bring(old, "accepted", "shadow")
    for body in ({}, {"percent": 5}):
        answer = owner.move(old, "live", **body)
        problem = assert_problem(answer, slug="obligations-not-met", status=409)
        assert [each["field"] for each in problem["errors"]] == ["assessed-anew"] * 4
        assert (
            "data_protection is dated 2020-01-02, and the one of the version before 2020-01-02"
            in problem["detail"]
        )
    assert owner.move(old, "retired").status_code == 200
    first = ask(service)["model"]["digest"]
    new = submitted(owner, tmp_path / "fresh")
    owner.bring(new, "accepted", "shadow", "live")
    # The same model under another policy was looked at, and so was one that was active before.
    policy = owner.submit_policy(tmp_path, {**tiny.policy(), "version": "2"})
    assert owner.post("policy", {"policy": policy, "reason": "Guidance."}).status_code == 200
    assert owner.post("rollback", {"reason": "Not in force."}).status_code == 200
    leaving = {"bundle": new.bundle, "policy": new.policy}
    assert owner.post("rollback", {"reason": "Nor this.", **leaving}).status_code == 200
    assert ask(service)["model"]["digest"] == first


def test_below_the_threshold_every_gap_is_named(owner: Owner, tmp_path: Path) -> None:
    """Nothing essential is missing, but too much that is not."""
    card = second(supplier=None, model_parameters=None)
    version = submitted(owner, tmp_path / "second", card)
    owner.bring(version, "accepted", "shadow")
    answer = owner.move(version, "live")
    problem = assert_problem(answer, slug="obligations-not-met", status=409)
    assert {"atrs-supplier", "atrs-model", "accuracy"} <= set(faults(problem))


def test_nothing_is_accepted_without_a_sound_report(owner: Owner, tmp_path: Path) -> None:
    version = submitted(owner, tmp_path / "second")
    other = replace(version, bundle="sha256:" + "0" * 64)
    stranger, _ = make_key(tmp_path / "stranger", "stranger")
    owner.bring(version)
    for given_report, found in (
        (None, "no acceptance report"),
        (report(tiny.NAME, version, key=stranger), "nobody trusted has signed"),
        (report(tiny.NAME, other), "a report on sha256:0000"),
        (report(tiny.NAME, version, failed="fairness"), "a report with fairness failed"),
        ({"payload": "x"}, "nobody trusted has signed"),
    ):
        answer = owner.move(version, "accepted", report=given_report)
        problem = assert_problem(answer, slug="obligations-not-met", status=409)
        assert found in problem["detail"]
        assert "grounds bundle accept" in problem["errors"][0]["allowed"]
    assert owner.move(version, "accepted").status_code == 200


def test_the_first_start_asks_for_the_same(tmp_path: Path) -> None:
    settings = Settings(models_dir=tmp_path / "models", data_dir=tmp_path / "data")
    tiny.write(settings.models_dir / tiny.NAME, told=without("assessments"))
    with capture_logs() as logged, pytest.raises(StartRefusedError), start(settings):
        pass
    (refusal,) = [entry for entry in logged if entry["event"] == "cannot start"]
    assert "gdpr-dpia (UK GDPR, Article 35)" in refusal["reason"]
    # Research with public data goes on, and says so in every answer.
    with start(settings.model_copy(update={"profile": "none"})) as service:
        assert "RESEARCH ONLY" in ask(service)["model"]["signature"]["warning"]


IDS = tuple(VersionId("m", f"sha256:{n:064x}", "sha256:" + "f" * 64) for n in range(5))


def entry(number: int, type_: str, version: Version, **facts: object) -> StoredRecord:
    return StoredRecord(
        index=number + 10,
        id=f"registry.{number}",
        type=type_,
        timestamp="2026-11-26T10:00:00.000Z",
        facts={**version_facts(version.id, "1", "1"), **facts},  # type: ignore[dict-item]
        leaf=b"",
        leaf_hash=b"",
        payload=None,  # the leaf alone is enough
        erased=False,
    )


def check(state: ModelState) -> None:
    live = [each for each in state.versions.values() if each.stage == "live"]
    assert {each.id for each in live} == {
        id_ for id_ in (state.active, state.canary) if id_ is not None
    }
    assert state.active is None or state.versions[state.active].percent is None
    assert state.canary is None or state.versions[state.canary].percent is not None
    assert state.active != state.canary or state.active is None
    assert len(state.shadows) <= 3
    assert all(each.percent is None for each in state.versions.values() if each.stage != "live")
    for each in state.versions.values():
        assert (each.canary_from is not None) == (each.id == state.canary)
        if each.stage in ("shadow", "live"):
            assert each.was_accepted or each.id == IDS[0]


@hypothesis_settings(max_examples=300)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["register", "stage", "rollback"]),
            st.sampled_from(IDS),
            st.sampled_from(STAGES),
            st.sampled_from([None, 10]),
        ),
        max_size=40,
    )
)
def test_no_order_of_steps_leaves_two_active_versions_or_one_that_was_not_accepted(
    steps: list[tuple[str, VersionId, Stage, int | None]],
) -> None:
    first = Version(IDS[0], "1", "1", "live", "")
    state = RegistryState().after(entry(1, "model_registered", first, stage="live"))
    entries = 1
    for step, id_, stage, percent in steps:
        model = state.model("m")
        known = model.versions.get(id_)
        made: StoredRecord | None = None
        if step == "register" and known is None:
            version = Version(id_, "1", "1", "submitted", "")
            made = entry(entries + 1, "model_registered", version, stage="submitted")
        elif step == "stage" and known is not None:
            try:
                check_stage(model, known, stage, percent)
            except StageRefusedError:
                continue
            assert stage in allowed_stages(model, known)
            made = entry(
                entries + 1, "stage_changed", known, stage=stage, percent=percent, rollback=False
            )
        elif step == "rollback":
            try:
                target = rollback_target(model)
            except StageRefusedError:
                continue
            moved = model.versions[model.canary or target or IDS[0]]
            made = entry(
                entries + 1,
                "stage_changed",
                moved,
                stage="shadow" if target is None else "live",
                percent=None,
                rollback=True,
            )
        if made is not None:
            state, entries = state.after(made), entries + 1
            assert state.count == entries
            check(state.model("m"))


def staged(
    state: RegistryState, id_: VersionId, stage: Stage, percent: int | None = None, **more: object
) -> RegistryState:
    version = state.version(id_)
    facts = {"stage": stage, "percent": percent, "rollback": stage == "shadow", **more}
    return state.after(entry(state.count + 1, "stage_changed", version, **facts))


def on_trial() -> RegistryState:
    """Return a model whose first version is active and whose second is a canary."""
    state = RegistryState()
    for id_, stage in zip(IDS[:3], ("live", "submitted", "submitted"), strict=True):
        version = Version(id_, "1", "1", "submitted", "")
        state = state.after(entry(state.count + 1, "model_registered", version, stage=stage))
    return staged(state, IDS[1], "live", 5)


def test_after_a_step_back_a_rollback_has_to_name_what_it_leaves() -> None:
    """A person and the circuit breaker, or two people, mean the version that was odd."""
    second = staged(on_trial(), IDS[1], "live")
    trial = staged(second, IDS[2], "live", 5)
    assert rollback_target(trial.model("m")) is None
    breaker = staged(trial, IDS[2], "shadow", broken_limits=["adverse_rate"])
    person = staged(staged(second, IDS[2], "live"), IDS[1], "live", rollback=True)
    for state in (breaker, person):
        model = state.model("m")
        with pytest.raises(StageRefusedError, match="name the version"):
            rollback_target(model)
        with pytest.raises(StageRefusedError, match="another version"):
            rollback_target(model, IDS[2])
        assert rollback_target(model, IDS[1]) == IDS[0]
        # Only what changes what advises lets a rollback go unnamed again.
        with pytest.raises(StageRefusedError, match="name the version"):
            rollback_target(staged(state, IDS[2], "retired", rollback=False).model("m"))
        assert rollback_target(staged(state, IDS[2], "live").model("m")) == IDS[1]


def test_a_canary_is_the_same_one_until_it_ends() -> None:
    state = on_trial()
    begun = state.version(IDS[1]).canary_from
    assert begun == state.count + 10
    more = staged(state, IDS[1], "live", 50)
    assert more.version(IDS[1]).canary_from == begun
    active = staged(more, IDS[1], "live").version(IDS[1])
    assert (active.canary_from, active.canary_runs) == (None, ()), "that time is its own"
    over = staged(more, IDS[1], "shadow")
    run = CanaryRun(IDS[1].policy, begun, over.count + 10)
    assert over.version(IDS[1]).canary_runs == (run,)
    assert over.model("m").ended is None, "a person ended it"
    again = staged(over, IDS[1], "live", 5).version(IDS[1])
    assert (again.canary_from, again.canary_runs) == (over.count + 11, (run,))


def test_what_the_circuit_breaker_ended_is_told_until_somebody_acts_upon_it() -> None:
    state = staged(on_trial(), IDS[1], "shadow", broken_limits=["calibration_gap"])
    ended = state.model("m").ended
    assert ended is not None
    assert (ended.id, ended.limits) == (IDS[1], ("calibration_gap",))
    policy = entry(state.count + 1, "policy_changed", Version(IDS[1], "1", "1", "live", ""))
    for after in (
        staged(state, IDS[1], "accepted"),
        staged(state, IDS[1], "live", 5),
        staged(state, IDS[1], "live"),
        staged(state, IDS[2], "live", 5),
        state.after(policy),
    ):
        assert after.model("m").ended is None
    assert staged(state, IDS[2], "accepted").model("m").ended == ended


def test_an_entry_that_does_not_say_what_changed_is_damage() -> None:
    version = Version(IDS[0], "1", "1", "live", "")
    with pytest.raises(DamagedLogError):
        RegistryState().after(entry(1, "model_registered", version, stage="asleep"))
    with pytest.raises(DamagedLogError):
        RegistryState().after(
            entry(1, "stage_changed", version, stage="live", percent=None, rollback=False)
        )


def test_a_high_impact_level_needs_reviews_and_people(tmp_path: Path) -> None:
    tiny.write(tmp_path / "models" / tiny.NAME)
    settings = Settings(models_dir=tmp_path / "models", data_dir=tmp_path / "data")
    documents = {"aia.json": assessed(90)}
    people = ("peer_review", "equality", "oversight_test")
    alone = tuple(each for each in told.ASSESSMENTS if each.kind not in people)
    with start(settings) as service:
        owner = Owner(settings, service.client, tiny.NAME)
        tiny.write(tmp_path / "second", told=second(assessments=alone), documents=documents)
        policy = tmp_path / "second" / "policy.yaml"
        version = owner.submit(tmp_path / "second")
        owner.bring(version, "accepted", "shadow")
        answer = owner.move(version, "live")
        problem = assert_problem(answer, slug="obligations-not-met", status=409)
        assert {"peer-review", "gender-analysis", "oversight-test"} <= set(faults(problem))
        assert "level III" in problem["detail"]
        tiny.write(tmp_path / "third", told=second(version="3"), documents=documents)
        owner.bring(owner.submit(tmp_path / "third"), "accepted", "shadow", "live")
        # A policy that lets a machine decide cannot even be opened around such a bundle.
        policy.write_text(
            yaml.safe_dump({**tiny.policy(), "final_decision": "machine_where_favourable"})
        )
        answer = owner.register(owner.submit(tmp_path / "second"))
        problem = assert_problem(answer, slug="bundle-not-servable", status=422)
        assert "only a person decides" in problem["detail"]


def test_a_planted_proxy_goes_live_only_where_the_card_says_what_is_done_about_it(
    owner: Owner, tmp_path: Path
) -> None:
    found = Proxies(
        method="A test.",
        rows=200,
        attributes=(
            ProxyStrength(
                attribute="religion",
                groups={"one": 100, "other": 100},
                left_out={},
                auc=0.9,
                fields=(
                    FieldStrength(field="answer", association=0.6),
                    FieldStrength(field="count", association=0.1),
                ),
            ),
        ),
    )
    documents = {PROXIES: write_proxies(found)}
    tiny.write(tmp_path / "planted", told=second(), documents=documents)
    planted = owner.submit(tmp_path / "planted")
    owner.bring(planted, "accepted", "shadow")
    answer = owner.move(planted, "live")
    problem = assert_problem(answer, slug="obligations-not-met", status=409)
    assert faults(problem) == {"proxies": "obligation_unmet"}
    assert "the field answer tells 60% of religion" in problem["detail"]
    assert owner.move(planted, "retired").status_code == 200

    considerations = second().considerations
    assert considerations is not None
    risk = Risk(name="answer follows religion", mitigation_strategy="Looked at every quarter.")
    explained = second(
        version="3",
        considerations=considerations.model_copy(update={"ethical_considerations": (risk,)}),
    )
    tiny.write(tmp_path / "explained", told=explained, documents=documents)
    version = owner.submit(tmp_path / "explained")
    owner.bring(version, "accepted", "shadow", "live")


def test_nationality_as_a_field_is_refused(owner: Owner, tmp_path: Path) -> None:
    card = second()
    first = card.fields[0].model_copy(update={"name": "nationality", "label": "Amount"})
    tiny.write(tmp_path / "n", told=card.model_copy(update={"fields": (first, *card.fields[1:])}))
    answer = owner.register(owner.submit(tmp_path / "n"))
    problem = assert_problem(answer, slug="bundle-not-servable", status=422)
    assert "no protected attribute among the fields" in problem["detail"]


class Overtaken:
    """Makes a rollback's entry, before which somebody else does something, once."""

    def __init__(self, changing: Changing, other: Callable[[], object]) -> None:
        self._changing, self._other = changing, [other]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._changing, name)

    def rollback(self, *asked: Any, **more: Any) -> NewRecord:
        made = self._changing.rollback(*asked, **more)
        while self._other:
            self._other.pop()()
        return made


def test_of_two_rollbacks_at_once_one_is_made_and_the_other_told(
    service: Started, owner: Owner, tmp_path: Path
) -> None:
    made = []
    for version in ("2", "3"):
        made.append(owner.submit_policy(tmp_path, {**tiny.policy(), "version": version}))
        changed = owner.post("policy", {"policy": made[-1], "reason": "A test."})
        assert changed.status_code == 200, changed.text
    others: list[httpx.Response] = []

    def roll_back(**leaving: str) -> httpx.Response:
        return owner.post("rollback", {"reason": "Odd figures.", **leaving})

    changing = Overtaken(service.parts.changing, lambda: others.append(roll_back()))
    with service.replaced(changing=changing):
        refused = roll_back()
    assert [each.status_code for each in others] == [200]
    assert_problem(refused, slug="stage-not-allowed", status=409)
    assert service.parts.lineup(tiny.NAME).live.policy_digest == made[0], "one version back"
    # A moment later it is no other: whoever asks again has to say what is to be left.
    bundle = service.parts.lineup(tiny.NAME).live.bundle.digest
    problem = assert_problem(roll_back(), slug="stage-not-allowed", status=409)
    assert "name the version to leave" in problem["detail"]
    left = roll_back(bundle=bundle, policy=made[1])
    problem = assert_problem(left, slug="stage-not-allowed", status=409)
    assert "would leave another version" in problem["detail"]
    half = assert_problem(roll_back(bundle=bundle), slug="invalid-request", status=422)
    assert "given together" in half["errors"][0]["message"]
    assert service.parts.lineup(tiny.NAME).live.policy_digest == made[0]
    # The near miss: something else that is recorded meanwhile costs nothing.
    other_policy = {**tiny.policy(), "version": "4"}
    fourth = Submitted(
        service.parts.lineup(tiny.NAME).live.bundle.digest,
        owner.submit_policy(tmp_path, other_policy),
    )
    changing = Overtaken(service.parts.changing, lambda: owner.register(fourth))
    with service.replaced(changing=changing):
        assert roll_back(bundle=bundle, policy=made[0]).status_code == 200
