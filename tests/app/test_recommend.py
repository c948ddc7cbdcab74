"""A case in, an explained and recorded recommendation out."""

from fastapi.testclient import TestClient

from app.demo.asking import request_body
from app.domain import Role
from models.demo.cases import DEMO_CASES

PATH = "/v1/models/housing-support/decisions"
CASE = DEMO_CASES["eviction-date-set"]


def test_an_answer_adds_up_from_its_starting_point_to_its_score(caller: TestClient) -> None:
    answer = caller.post(PATH, json=request_body(CASE)).json()
    explanation = answer["explanation"]
    changes = [each["probability_change"] for each in explanation["contributions"]]
    total = explanation["base_probability"] + sum(changes)
    assert abs(total - answer["recommendation"]["score"]) < 1e-6
    assert explanation["residual"] <= explanation["tolerance"]


def test_what_was_answered_is_what_is_read_back(caller: TestClient) -> None:
    answer = caller.post(PATH, json=request_body(CASE))
    assert answer.status_code == 201
    assert caller.get(answer.headers["location"]).content == answer.content


def test_a_caller_does_not_see_another_callers_decision(
    caller: TestClient, keys: dict[Role, str]
) -> None:
    answer = caller.post(
        PATH, json=request_body(CASE), headers={"Authorization": f"Bearer {keys[Role.CASEWORKER]}"}
    )
    assert caller.get(answer.headers["location"]).status_code == 404
