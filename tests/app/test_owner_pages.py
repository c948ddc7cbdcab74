"""The model owner's pages: what is known of a model, and the stop button."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from markupsafe import escape

from app.domain import Role
from app.settings import Settings
from tests.app import tiny
from tests.problems import assert_problem
from tests.started import Started, start


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Started]:
    models = tmp_path / "models"
    tiny.write(models / tiny.NAME)
    settings = Settings(
        data_dir=tmp_path / "data", models_dir=models, log_origin="example.org/log", profile="uk"
    )
    with start(settings) as started:
        yield started


def text_of(
    service: Started, address: str, role: Role = Role.MODEL_OWNER, *, status: int = 200
) -> str:
    headers = {**service.session(role), "Accept": "text/html"}
    response = service.client.get(address, headers=headers)
    assert response.status_code == status, response.text
    return str(response.text)


def post(service: Started, address: str, actor: str, **fields: str) -> int:
    cookie = service.session(Role.MODEL_OWNER, actor=actor)
    response = service.client.post(
        address, headers=cookie, data={**service.form(cookie), **fields}, follow_redirects=False
    )
    return int(response.status_code)


def test_a_model_is_listed_with_what_it_does_now(service: Started) -> None:
    page = text_of(service, "/models")
    assert f'href="/models/{tiny.NAME}"' in page
    assert "Gives advice" in page


def test_a_models_page_tells_gaps_and_what_is_not_known(service: Started) -> None:
    page = text_of(service, f"/models/{tiny.NAME}")
    digest = service.parts.model(tiny.NAME).bundle.digest
    assert digest in page
    assert "rules ask for is there" in page
    assert "Nobody has reported how its cases turned out" in page
    assert "There are no cases yet" in page


def test_cases_show_how_far_they_have_moved(service: Started) -> None:
    for _ in range(3):
        assert service.ask(tiny.NAME, tiny.CASE).is_success
    page = text_of(service, f"/models/{tiny.NAME}")
    assert "Population stability index" in page
    for field in service.parts.model(tiny.NAME).bundle.card.fields:
        assert f">{escape(field.label)}</th>" in page


def test_how_cases_turned_out_is_shown_beside_the_estimates(service: Started) -> None:
    for number in range(12):
        decision = service.ask(tiny.NAME, tiny.CASE).json()["id"]
        told = service.client.post(
            f"/v1/decisions/{decision}/outcome",
            json={"outcome": int(number < 9)},
            headers=service.key(Role.CALLER),
        )
        assert told.status_code == 201, told.text
    page = text_of(service, f"/models/{tiny.NAME}")
    assert "The same figures, with 95% intervals" in page
    assert "75% (" in page


def test_stopping_takes_a_reason_and_going_on_two_people(service: Started) -> None:
    address = f"/models/{tiny.NAME}"
    assert post(service, f"{address}/stop", "owner-1", reason=" ") == 422
    assert service.ask(tiny.NAME, tiny.CASE).is_success, "nothing was stopped without a reason"
    assert post(service, f"{address}/stop", "owner-1", reason="The feed is wrong.") == 303
    assert_problem(service.ask(tiny.NAME, tiny.CASE), slug="advice-stopped", status=503)
    page = text_of(service, address)
    assert "Stopped by a person" in page
    assert "The feed is wrong." in page
    resume = f"{address}/stops/1/resume"
    assert post(service, resume, "owner-1", reason="Mended.") == 303
    assert "owner-1 has asked that it go on" in text_of(service, address)
    confirming = text_of(service, resume)
    assert "The feed is wrong." in confirming, "what the second person confirms"
    assert "owner-1 has asked that it go on" in confirming
    assert post(service, resume, "owner-1", reason="Mended.") == 409, "the same person"
    assert post(service, resume, "owner-2", reason="I have checked.") == 303
    assert "Gives advice" in text_of(service, address)
    assert service.ask(tiny.NAME, tiny.CASE).is_success
    lifted = "This stop has been lifted already"
    assert lifted in text_of(service, resume, status=409)
    assert post(service, resume, "owner-2", reason="I have checked.") == 409


@pytest.mark.parametrize("form", ["stop", "stops/1/resume"])
def test_a_reason_that_is_too_long_comes_back_with_the_limit(service: Started, form: str) -> None:
    cookie = {**service.session(Role.MODEL_OWNER, actor="owner-1"), "Accept": "text/html"}
    reason = "\r\n".join("x" * 9 for _ in range(50))
    longest = f"{reason}z"
    if form != "stop":
        assert post(service, f"/models/{tiny.NAME}/stop", "owner-1", reason="A test.") == 303
    sent = service.client.post(
        f"/models/{tiny.NAME}/{form}",
        headers=cookie,
        data={**service.form(cookie), "reason": f"{longest}z"},
        follow_redirects=False,
    )
    assert sent.status_code == 422
    assert "Write at most 500 characters" in sent.text
    assert "x\r\nxxxxxxxxxzz</textarea>" in sent.text
    assert post(service, f"/models/{tiny.NAME}/{form}", "owner-1", reason=longest) == 303


def test_whoever_asks_to_stop_is_told_of_the_stops_in_force(service: Started) -> None:
    address = f"/models/{tiny.NAME}/stop"
    assert "No advice comes from this model now" not in text_of(service, address)
    assert post(service, address, "owner-1", reason="The feed is wrong.") == 303
    page = text_of(service, address)
    assert "No advice comes from this model now" in page
    assert "The feed is wrong." in page
    assert f'href="/models/{tiny.NAME}/stops/1/resume"' in page


@pytest.mark.parametrize("role", [Role.CASEWORKER, Role.REVIEWER])
def test_whoever_stops_a_model_comes_to_a_page_that_they_may_see(
    service: Started, role: Role
) -> None:
    cookie = {**service.session(role), "Accept": "text/html"}
    stopped = service.client.post(
        f"/models/{tiny.NAME}/stop",
        headers=cookie,
        data={**service.form(cookie), "reason": "The feed is wrong."},
    )
    assert stopped.status_code == 200, stopped.text
    assert "This model is stopped." in stopped.text
    cancel = f'href="{stopped.url.path}">Cancel'
    assert cancel in text_of(service, f"/models/{tiny.NAME}/stop", role)


def test_a_stop_that_there_never_was_is_not_asked_about(service: Started) -> None:
    resume = f"/models/{tiny.NAME}/stops/99/resume"
    assert "Page not found" in text_of(service, resume, status=404)
    assert post(service, resume, "owner-1", reason="Mended.") == 404


def test_what_people_write_is_shown_as_they_wrote_it(service: Started) -> None:
    reason = '<script>alert("1")</script>'
    assert post(service, f"/models/{tiny.NAME}/stop", "owner-1", reason=reason) == 303
    page = text_of(service, f"/models/{tiny.NAME}")
    assert reason not in page
    assert "&lt;script&gt;" in page


def test_a_model_that_is_not_there_has_a_page_that_says_so(service: Started) -> None:
    response = service.client.get("/models/nothing", headers=service.session(Role.MODEL_OWNER))
    assert_problem(response, slug="unknown-model", status=404)
