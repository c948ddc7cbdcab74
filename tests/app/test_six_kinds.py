"""A decision explained in six kinds: every half is there, or says why it is not."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.domain import Role
from app.library import Library
from app.lineup import Serving
from app.six_kinds import shapes
from app.six_kinds.process import Made, process_halves
from models.bundle import read
from models.demo.cases import DEMO_CASES
from tests.app import tiny
from tests.app.governed import Governed, governed
from tests.app.test_caseworker import assert_no_advice
from tests.problems import assert_problem
from tests.started import DEMONSTRATION, Started

KINDS = ("rationale", "responsibility", "data", "fairness", "safety_and_performance", "impact")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Governed]:
    with governed(tmp_path_factory.mktemp("plain")) as service:
        yield service


def explained(service: Governed, decision: str, name: str = "ann") -> Any:
    answer = service.get(f"/v1/decisions/{decision}/explanation", service.person(name))
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("name", DEMO_CASES)
def test_the_demonstration_provides_every_half(demonstration: Started, name: str) -> None:
    asked = demonstration.ask(DEMONSTRATION, DEMO_CASES[name]).json()
    answer = demonstration.client.get(
        f"/v1/decisions/{asked['id']}/explanation", headers=demonstration.key(Role.AUDITOR)
    )
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["not_provided"] == []
    for kind in KINDS:
        for half in ("process", "outcome"):
            assert told[kind][half]["status"] == "provided", (kind, half)
    rationale = told["rationale"]["outcome"]
    check = rationale["sum_check"]
    effects = math.fsum(factor["effect"] for factor in rationale["factors"])
    assert math.isclose(check["effects"], effects, abs_tol=1e-9)
    # The model's own output, to the stated tolerance: the sum is not the same sum told twice.
    score = asked["recommendation"]["score"]
    assert abs(1 / (1 + math.exp(-(check["base_value"] + effects))) - score) < 1e-5
    sizes = [abs(factor["effect"]) for factor in rationale["factors"]]
    assert sizes == sorted(sizes, reverse=True)
    assert rationale["what_would_change"]["sentences"] == [
        each["sentence"] for each in asked["what_would_change"]["found"]
    ]
    inputs = {each["field"]: each["value"] for each in told["data"]["outcome"]["inputs"]}
    assert inputs == DEMO_CASES[name]
    safety = told["safety_and_performance"]["outcome"]
    assert safety["uncertainty"] == asked["uncertainty"]
    assert safety["model_digest"] == asked["model"]["digest"]
    stand_ins = told["fairness"]["outcome"]["stand_ins"]
    material = {factor["field"] for factor in rationale["factors"] if factor["material"]}
    assert {each["field"] for each in stand_ins} <= material


def test_what_nobody_has_said_is_not_provided_and_says_why(tiny_models: Path) -> None:
    files = read(tiny_models / tiny.NAME / "bundle")
    silent = files.card.model_copy(
        update={
            "training_data": None,
            "considerations": None,
            "quantitative_analysis": None,
            "assessments": (),
        }
    )
    halves = process_halves(
        Made(
            files=replace(files, card=silent, datasheet=None, impact=None),
            deployment=None,
            method="a method",
            why_this_method="a reason",
            background_rows=5,
            signed_by=None,
            watched=(),
        )
    )
    for half in (halves.data, halves.fairness, halves.safety, halves.impact):
        assert isinstance(half, shapes.NotProvided)
        assert half.reason
    assert isinstance(halves.rationale, shapes.RationaleProcess)
    assert isinstance(halves.responsibility, shapes.ResponsibilityProcess)
    # The near miss: one thing said makes the half be there.
    told = replace(
        files, card=silent.model_copy(update={"training_data": "Cases."}), datasheet=None
    )
    again = process_halves(Made(told, None, "a", "b", 5, None, ()))
    assert isinstance(again.data, shapes.DataProcess)


def test_who_decided_and_what_was_decided_is_told_once_it_is(plain: Governed) -> None:
    decision = plain.ask().json()["id"]
    before = explained(plain, decision)
    assert before["responsibility"]["outcome"]["took_part"] == []
    assert "Nobody has decided yet." in before["summary"]
    plain.decide(decision, "ann", "no")
    after = explained(plain, decision)
    (step,) = after["responsibility"]["outcome"]["took_part"]
    assert (step["actor"], step["role"], step["human"]) == ("ann", "caseworker", True)
    assert after["responsibility"]["outcome"]["outcome"] == "no"
    assert any(
        "can be contested" in each for each in after["impact"]["outcome"]["what_could_change_it"]
    )
    plain.step(decision, "contest", plain.machine, text="No!")
    contested = explained(plain, decision)
    assert contested["responsibility"]["outcome"]["case_status"] == "contested"


def test_sources_flags_and_dates_of_inputs_are_told(plain: Governed) -> None:
    asked = plain.ask(
        {**tiny.CASE, "answer": "perhaps"},
        provenance={"amount": {"source": "estimated", "date": "2026-01-02"}},
    ).json()
    inputs = {
        each["field"]: each for each in explained(plain, asked["id"])["data"]["outcome"]["inputs"]
    }
    assert (inputs["amount"]["source"], inputs["amount"]["date"]) == ("estimated", "2026-01-02")
    assert inputs["count"]["source"] is None
    assert inputs["answer"]["flags"] == [each["kind"] for each in asked["flags"]]
    assert inputs["answer"]["flags"]


def test_no_byte_of_the_advice_is_in_it_before_the_own_assessment(tmp_path: Path) -> None:
    with governed(tmp_path, reveal="after_own_assessment") as service:
        decision = service.ask().json()["id"]
        path = f"/v1/decisions/{decision}/explanation"
        for reader in (service.person("ann"), service.machine, service.person("aud", Role.AUDITOR)):
            refused = service.get(path, reader)
            assert_problem(refused, slug="advice-withheld", status=409)
            assert_no_advice(refused.content)
        service.assess(decision, "ann")
        assert b"raised the estimate" in service.get(path, service.person("ann")).content
        assert service.get(path, service.person("bob")).status_code == 409


def test_without_advice_the_reasons_of_a_model_are_not_provided(tmp_path: Path) -> None:
    rule = {
        "rule": "never", "when": "true", "requires": "no_advice", "description": "Not for this.",
    }  # fmt: skip
    with governed(tmp_path, rules=[rule]) as service:
        told = explained(service, service.ask().json()["id"])
        for kind in ("rationale", "fairness", "safety_and_performance"):
            assert told[kind]["outcome"]["status"] == "not_provided", kind
            assert "no advice" in told[kind]["outcome"]["reason"]
        assert told["data"]["outcome"]["status"] == "provided"
        assert told["data"]["outcome"]["category"] is None
        assert told["summary"][0] == "No advice was given on this case."


def test_a_bundle_that_is_gone_leaves_what_is_recorded(plain: Governed, tmp_path: Path) -> None:
    decision = plain.ask().json()["id"]
    started = plain.started
    elsewhere = started.settings.model_copy(update={"models_dir": tmp_path, "data_dir": tmp_path})
    with started.replaced(served=Serving(), library=Library(started.settings)):
        # It is not active any more, and still to be found by its digest.
        assert explained(plain, decision)["rationale"]["process"]["status"] == "provided"
    with started.replaced(served=Serving(), library=Library(elsewhere)):
        told = explained(plain, decision)
    assert told["rationale"]["outcome"]["status"] == "provided"
    assert told["rationale"]["process"]["status"] == "not_provided"
    assert told["data"]["outcome"]["status"] == "not_provided"


def test_reading_it_is_recorded_and_it_is_a_strict_shape(plain: Governed) -> None:
    decision = plain.ask().json()
    log = plain.started.parts.log
    told = explained(plain, decision["id"])
    newest = log.read_index(log.size - 1)
    assert newest.type == "read"
    assert newest.facts["what"] == "explanation"
    assert newest.facts["of"] == decision["receipt"]["index"]
    shapes.SixKinds.model_validate(told)
    with pytest.raises(ValueError, match="extra_forbidden"):
        shapes.SixKinds.model_validate({**told, "more": 1})
