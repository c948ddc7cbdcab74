"""What would have changed the recommendation: every promise of it, asked over HTTP."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from onnx import TensorProto, helper

from app.alternatives import NO_OTHER_OUTCOME
from app.domain import Role
from app.settings import Settings
from models.build import write_bundle
from models.card import Card, Output
from models.demo.build import N_TRAINING, demo_applications
from models.demo.card import demo_card
from models.demo.cases import DEMO_CASES
from models.rows import Labelled, Row, Sample
from tests.app import tiny
from tests.models.graphs import field, make_model, tensor
from tests.signed import signed
from tests.started import Started, start

DEMO = "housing-support"
MODEL = "rent"
PATIENCE = 120
"""Cases of the demonstration that are looked at."""


def changed(case: Row, alternative: dict[str, Any]) -> dict[str, Any]:
    return {**case, **{each["field"]: each["to"] for each in alternative["changes"]}}


def answer(service: Started, model: str, case: object) -> Any:
    response = service.ask(model, case)
    assert response.status_code == 201, response.text
    return response.json()


def test_every_alternative_sent_as_a_case_has_the_outcome_that_it_promises(
    demonstration: Started,
) -> None:
    """And keeps to the card: actionable, in range, in direction, one or two fields."""
    fields = {each.name: each for each in demo_card().fields}
    seen = 0
    for case in demo_applications().cases[N_TRAINING : N_TRAINING + PATIENCE]:
        told = answer(demonstration, DEMO, case)
        body = told["what_would_change"]
        if body["status"] == "not_sought":
            continue
        assert body["status"] == ("found" if body["found"] else "none_found")
        assert len(body["found"]) <= 3
        for alternative in body["found"]:
            seen += 1
            other = answer(demonstration, DEMO, changed(case, alternative))["recommendation"]
            assert other["outcome"] == alternative["outcome"] != told["recommendation"]["outcome"]
            assert other["label"] == alternative["label"]
            assert alternative["label"] in alternative["sentence"]
            assert 1 <= len(alternative["changes"]) <= 2
            for change in alternative["changes"]:
                about, before, after = fields[change["field"]], change["from"], change["to"]
                assert about.actionable
                assert before == case[about.name] != after
                assert not about.categories or after in about.categories
                if about.type == "number" and before is not None:
                    assert about.minimum <= after <= about.maximum
                    assert about.direction != "decrease" or after < before
                if about.type == "boolean" and about.direction == "increase":
                    assert (before, after) == (False, True)
    assert seen > 20


def test_no_part_of_two_changes_is_enough_alone(demonstration: Started) -> None:
    pairs = 0
    for case in demo_applications().cases[N_TRAINING : N_TRAINING + PATIENCE]:
        told = answer(demonstration, DEMO, case)
        for alternative in told["what_would_change"]["found"]:
            if len(alternative["changes"]) == 2:
                pairs += 1
                for change in alternative["changes"]:
                    half = {**case, change["field"]: change["to"]}
                    alone = answer(demonstration, DEMO, half)["recommendation"]
                    assert alone["outcome"] == told["recommendation"]["outcome"]
    assert pairs > 3


def test_the_same_case_has_the_same_alternatives(demonstration: Started) -> None:
    for case in DEMO_CASES.values():
        first, second = (answer(demonstration, DEMO, case) for _ in range(2))
        assert first["what_would_change"] == second["what_would_change"]


def test_none_found_is_said_with_how_far_the_search_went(service: Started) -> None:
    """With little of everything, the only field that may be changed is not enough."""
    body = answer(service, tiny.NAME, {"amount": 1.0, "count": 1, "answer": "no"})[
        "what_would_change"
    ]
    assert body["status"] == "none_found"
    assert body["found"] == []
    assert body["statement"].startswith("No small change was found")
    assert (
        "Looked at changing the one thing that the person could change, 2 variations"
        in body["statement"]
    )


def test_what_a_favourable_outcome_would_take_away_is_not_sought(service: Started) -> None:
    body = answer(service, tiny.NAME, tiny.CASE)["what_would_change"]
    assert body == {"status": "not_sought", "statement": None, "found": []}


def rent_model() -> bytes:
    """Return the graph: 100 + 2 x_0 - 3 x_1 + x_2 + x_3."""
    return make_model(
        [
            helper.make_node(
                "LinearRegressor",
                ["x"],
                ["y"],
                domain="ai.onnx.ml",
                coefficients=[2.0, -3.0, 1.0, 1.0],
                intercepts=[100.0],
                targets=1,
            )
        ],
        [tensor("x", TensorProto.FLOAT, (None, 4))],
        [tensor("y", TensorProto.FLOAT, (None, 1))],
        [],
    )


def rent(case: Row) -> float:
    numbers = [float(case[name] or 0) for name in ("up", "down", "since", "fixed")]
    return 100 + 2 * numbers[0] - 3 * numbers[1] + numbers[2] + numbers[3]


@pytest.fixture(scope="module")
def regression(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """A number to be estimated, with an adverse outcome below 150, and each kind of field."""
    with started_with(tmp_path_factory.mktemp("regression")) as started:
        yield started


@contextmanager
def started_with(
    directory: Path,
    *,
    bands: Sequence[Mapping[str, Any]] = (),
    rules: Sequence[Mapping[str, str]] = (),
    calibration: int = 0,
    most: int = 30,
) -> Iterator[Started]:
    """Run the regression under other bands, or with rules and cases whose answer is known."""
    limits: dict[str, Any] = {"minimum": 0, "maximum": most, "input": "x"}
    background: list[Row] = [
        {
            "up": n % 31 * most / 30,
            "down": n % 7 * most / 30,
            "since": n % 29 * most / 30,
            "fixed": n % 5 * most / 30,
        }
        for n in range(60)
    ]
    files = write_bundle(
        directory / "models" / MODEL / "bundle",
        model=rent_model(),
        card=Card(
            name=MODEL,
            version="1",
            title="Rent",
            owner="Nobody",
            purpose="A test",
            legal_basis="None",
            output=Output(task="regression", meaning="pounds"),
            fields=(
                field("up", actionable=True, direction="increase", **limits),
                field("down", actionable=True, direction="increase", **limits),
                field("since", actionable=False, **limits),
                field("fixed", **limits),
            ),
            what_it_cannot_know=("Nothing",),
            limitations=("All",),
        ),
        background=background,
        samples=[Sample(row, rent(row), (rent(row),)) for row in background[:20]],
        calibration=[Labelled(row, rent(row) + 1) for row in background[:calibration]],
    )
    signed(files)
    band = {"outcome": "low", "label": "Low", "supported_by": "lower"}
    policy = {
        "policy": "rent-policy",
        "version": "1",
        "model": MODEL,
        "description": "Three outcomes.",
        "near_threshold": 2.0,
        "what_would_change": "adverse_or_near_threshold",
        "rules": list(rules),
        "bands": [{**band, **each} for each in bands]
        or [
            {**band, "rule": "low", "at_least": float("-inf"), "adverse": True},
            {**band, "rule": "mid", "at_least": 130.0, "outcome": "mid", "adverse": True},
            {**band, "rule": "high", "at_least": 150.0, "outcome": "high", "adverse": False},
        ],
    }
    (directory / "models" / MODEL / "policy.yaml").write_text(yaml.safe_dump(policy))
    settings = Settings(
        models_dir=directory / "models", data_dir=directory / "data", profile="none"
    )
    with start(settings) as started:
        yield started


def test_a_regression_is_led_to_an_outcome_that_is_not_adverse(regression: Started) -> None:
    """Not to the next band, which is adverse too; only upwards in the one field that helps."""
    case: Row = {"up": 5.0, "down": 2.0, "since": 10.0, "fixed": 0.0}
    told = answer(regression, MODEL, case)
    assert told["recommendation"]["outcome"] == "low"
    (alternative,) = told["what_would_change"]["found"]
    assert alternative["outcome"] == "high"
    (change,) = alternative["changes"]
    # 100 + 2 up - 6 + 10 reaches 150 at 23.
    assert (change["field"], change["from"], change["to"]) == ("up", 5.0, 23.0)
    assert answer(regression, MODEL, {**case, "up": 23.0})["recommendation"]["outcome"] == "high"
    # The near miss: a step less is not enough.
    assert answer(regression, MODEL, {**case, "up": 22.9})["recommendation"]["outcome"] == "mid"


@pytest.mark.parametrize(
    ("language", "unit"), [("en", "own unit"), ("cy", "yn uned yr amcangyfrif")]
)
def test_the_page_of_a_regression_speaks_of_a_number_and_not_of_how_often(
    regression: Started, language: str, unit: str
) -> None:
    told = answer(regression, MODEL, {"up": 5.0, "down": 2.0, "since": 10.0, "fixed": 0.0})
    cookies = f"{regression.session(Role.CASEWORKER)['Cookie']}; grounds-language={language}"
    page = regression.client.get(
        f"/decisions/{told['id']}", headers={"Cookie": cookies, "Accept": "text/html"}
    )
    assert page.status_code == 200
    assert unit in page.text
    for wrong in ("model output", "how often the model expects", "disgwyl i achosion fel hwn fod"):
        assert wrong not in page.text


def test_out_of_range_is_not_offered(regression: Started) -> None:
    """It would take 31, and the card ends at 30."""
    case: Row = {"up": 5.0, "down": 4.0, "since": 0.0, "fixed": 0.0}
    body = answer(regression, MODEL, case)["what_would_change"]
    assert body["status"] == "none_found"
    almost = answer(regression, MODEL, {**case, "since": 2.0})["what_would_change"]
    assert [each["changes"][0]["to"] for each in almost["found"]] == [30.0]


def test_near_the_threshold_a_favourable_outcome_says_what_would_have_lost_it(
    regression: Started,
) -> None:
    case: Row = {"up": 26.0, "down": 1.0, "since": 2.0, "fixed": 0.0}
    told = answer(regression, MODEL, case)
    assert told["recommendation"]["near_threshold"] is True
    assert told["recommendation"]["outcome"] == "high"
    (alternative,) = told["what_would_change"]["found"]
    assert [change["field"] for change in alternative["changes"]] == ["down"]
    other = answer(regression, MODEL, changed(case, alternative))["recommendation"]
    assert other["outcome"] == alternative["outcome"] != "high"
    further = answer(regression, MODEL, {**case, "up": 29.0})
    assert further["what_would_change"]["status"] == "not_sought"


def test_a_change_on_which_nothing_would_be_advised_is_not_offered(tmp_path: Path) -> None:
    """The model would then have suggested nothing."""
    rule = {
        "rule": "too-much",
        "when": "case.up > 22.0",
        "requires": "no_advice",
        "description": "Not for this.",
    }
    case: Row = {"up": 5.0, "down": 2.0, "since": 10.0, "fixed": 0.0}
    with started_with(tmp_path, rules=[rule]) as service:
        body = answer(service, MODEL, case)["what_would_change"]
        assert answer(service, MODEL, {**case, "up": 23.0})["advice"]["status"] == "none"
    assert body["status"] == "none_found"
    assert body["found"] == []
    assert body["statement"].startswith("No small change was found that would have")


def test_the_statement_says_what_was_looked_for(regression: Started, tmp_path: Path) -> None:
    """Instead of an adverse outcome another adverse one, which is near, was not."""
    stuck: Row = {"up": 5.0, "down": 4.0, "since": 0.0, "fixed": 0.0}
    body = answer(regression, MODEL, stuck)["what_would_change"]
    assert body["statement"].startswith(
        "No small change was found that would have led to an outcome in the person's favour. "
        "Looked at changing one or two of 2 things that the person could change, "
    )
    adverse = [
        {"rule": "low", "at_least": float("-inf"), "adverse": True},
        {"rule": "mid", "at_least": 130.0, "outcome": "mid", "adverse": True},
    ]
    with started_with(tmp_path, bands=adverse) as service:
        body = answer(service, MODEL, stuck)["what_would_change"]
    assert body["statement"] == NO_OTHER_OUTCOME


def test_a_page_with_too_few_known_answers_says_that_nothing_is_known(tmp_path: Path) -> None:
    """Of fewer than nine no interval has ends; the page was an error."""
    case: Row = {"up": 26.0, "down": 1.0, "since": 2.0, "fixed": 0.0}
    with started_with(tmp_path, calibration=8) as service:
        told = answer(service, MODEL, case)
        page = service.client.get(
            f"/decisions/{told['id']}", headers=service.session(Role.CASEWORKER)
        )
        six = service.client.get(
            f"/v1/decisions/{told['id']}/explanation", headers=service.key(Role.CASEWORKER)
        ).json()
    assert told["uncertainty"]["status"] == "not_available"
    assert told["uncertainty"]["prediction_interval"] is None
    assert "too few" in told["uncertainty"]["reason"]
    assert page.status_code == 200
    assert "How often this model is right for such cases is not known here." in page.text
    assert "There are no cases" not in six["rationale"]["outcome"]["for_this_person"]


def test_a_page_says_how_close_the_estimate_was_in_past_cases(tmp_path: Path) -> None:
    case: Row = {"up": 26.0, "down": 1.0, "since": 2.0, "fixed": 0.0}
    with started_with(tmp_path, calibration=20) as service:
        told = answer(service, MODEL, case)
        page = service.client.get(
            f"/decisions/{told['id']}", headers=service.session(Role.CASEWORKER)
        )
    # Each answer is 1 more than the estimate, which is 151.
    assert (
        "In at least 90 of 100 past cases the true number was this close to the estimate. "
        "Here that is from 150 to 152."
    ) in page.text


def test_a_change_smaller_than_a_hundredth_is_told_as_it_is(tmp_path: Path) -> None:
    """Rounded, it read "0.75 instead of 0.75"; and what was shown has to have the outcome."""
    case: Row = {"up": 0.7503, "down": 0.0, "since": 0.0, "fixed": 0.0}
    bands = [
        {"rule": "low", "at_least": float("-inf"), "adverse": True},
        {"rule": "high", "at_least": 101.505, "outcome": "high", "adverse": False},
    ]
    with started_with(tmp_path, bands=bands, most=1) as service:
        told = answer(service, MODEL, case)
        (alternative, *_) = told["what_would_change"]["found"]
        (change,) = alternative["changes"]
        shown = re.findall(r"\d+(?:\.\d+)?", alternative["sentence"])
        assert float(shown[0]) == change["to"] > float(shown[1])
        other = answer(service, MODEL, {**case, "up": float(shown[0])})
    assert other["recommendation"]["outcome"] == "high"
