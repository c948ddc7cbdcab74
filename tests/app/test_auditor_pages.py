"""The auditor's pages: find a decision, see all that happened to it, check it, and verify the log."""

import io
import re
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.domain import Role
from app.settings import Settings
from audit.leaf import parse_leaf
from tests.app import tiny
from tests.problems import assert_problem
from tests.started import Started, start

WAIT_SECONDS = 60


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Started]:
    models = tmp_path / "models"
    tiny.write(models / tiny.NAME)
    settings = Settings(data_dir=tmp_path / "data", models_dir=models, log_origin="example.org/log")
    with start(settings) as started:
        yield started


def asked(service: Started, subject: str | None = None) -> str:
    identifier: str = service.ask(tiny.NAME, tiny.CASE, subject=subject).json()["id"]
    return identifier


def text_of(service: Started, address: str, role: Role = Role.AUDITOR) -> str:
    response = service.client.get(address, headers=service.session(role))
    assert response.status_code == 200, response.text
    return str(response.text)


def post(service: Started, address: str, **fields: str) -> str:
    """Send a form as an auditor, and return where it leads."""
    cookie = service.session(Role.AUDITOR)
    response = service.client.post(
        address, headers=cookie, data={**service.form(cookie), **fields}, follow_redirects=False
    )
    assert response.status_code == 303, response.text
    return str(response.headers["location"])


def caught_up(service: Started) -> None:
    while service.parts.index.step():
        pass


def test_decisions_are_found_and_the_list_goes_on(service: Started) -> None:
    identifiers = [asked(service) for _ in range(27)]
    caught_up(service)
    page = text_of(service, "/audit/decisions")
    assert identifiers[-1] in page
    assert f">{identifiers[-1][-8:]}</a>" in page, "as people call a case on every page"
    assert identifiers[0] not in page
    older = re.search(r'href="(\?cursor=[^"]+)"', page)
    assert older is not None
    page = text_of(service, "/audit/decisions" + older[1].replace("&amp;", "&"))
    assert identifiers[0] in page
    assert identifiers[-1] not in page
    assert "cursor=" not in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (f"model={tiny.NAME}&status=open", True),
        ("model=another", False),
        ("status=final", False),
        ("created_from=2020-01-01", True),
        ("created_to=2020-01-01", False),
        ("model=&status=", True),
    ],
)
def test_a_list_is_narrowed(service: Started, query: str, *, found: bool) -> None:
    identifier = asked(service)
    caught_up(service)
    page = text_of(service, f"/audit/decisions?{query}")
    assert (identifier in page) is found
    assert ("No decision fits" in page) is not found


def test_what_cannot_be_searched_for_is_said_at_its_field(service: Started) -> None:
    response = service.client.get(
        "/audit/decisions?created_from=yesterday", headers=service.session(Role.AUDITOR)
    )
    assert response.status_code == 422
    assert "Enter the first day as year, month and day" in response.text
    assert 'href="#created_from"' in response.text


def test_one_decision_is_found_by_identifier_and_by_entry(service: Started) -> None:
    identifier = asked(service)
    index = service.parts.log.receipt(identifier).index
    for wanted in (identifier, f" {identifier.upper()} ", identifier[-8:], str(index)):
        assert (
            post(service, "/audit/decisions", decision=wanted) == f"/audit/decisions/{identifier}"
        )
    cookie = service.session(Role.AUDITOR)
    for wanted, fault in (
        ("Nothing", "No decision has this identifier or entry number"),
        ("0", "No decision has this identifier or entry number"),
        ("999999999", "No decision has this identifier or entry number"),
        ("9" * 1000, "No decision has this identifier or entry number"),
        ("99999999", "No decision has this identifier or entry number"),
        (" ", "Enter an identifier or an entry number"),
    ):
        response = service.client.post(
            "/audit/decisions", headers=cookie, data={**service.form(cookie), "decision": wanted}
        )
        assert response.status_code == 422
        assert "<title>Error: " in response.text
        assert fault in response.text
        assert 'href="#decision"' in response.text
        assert f'value="{wanted.strip()}"' in response.text or not wanted.strip()


def test_the_end_of_two_identifiers_leads_to_neither(service: Started) -> None:
    asked(service)
    asked(service)
    index = service.parts.index
    index.catch_up()
    try:
        with index.store._using(index.store._writing):
            index.store._writer.execute("UPDATE decision SET id = substr(id, 1, 28) || 'deadbeef'")
        cookie = service.session(Role.AUDITOR)
        response = service.client.post(
            "/audit/decisions",
            headers=cookie,
            data={**service.form(cookie), "decision": "deadbeef"},
        )
        assert response.status_code == 422
        assert "Several decisions end in these characters" in response.text
    finally:
        index.rebuild()
        index.catch_up()


def test_a_timeline_tells_reading_replaying_and_erasing_in_order(service: Started) -> None:
    identifier = asked(service, subject="person-1")
    text_of(service, f"/decisions/{identifier}", Role.CASEWORKER)
    assert (
        post(service, f"/audit/decisions/{identifier}/replay") == f"/audit/decisions/{identifier}"
    )
    page = text_of(service, f"/audit/decisions/{identifier}")
    assert f"{identifier[-8:]} \N{EN DASH} Grounds</title>" in page, "two tabs are told apart"
    assert "Every number came out the same, bit for bit" in page
    titles = re.findall(r'app-timeline__item">\s*<h3[^>]*>([^<]+)<', page)
    assert titles == ["Advice given", "Read", "Recomputed"]
    erased = service.client.post(
        "/v1/subjects/erasure",
        headers=service.key(Role.ADMIN),
        json={"subject": "person-1", "basis": "Article 17"},
    )
    assert erased.is_success, erased.text
    page = text_of(service, f"/audit/decisions/{identifier}")
    titles = re.findall(r'app-timeline__item">\s*<h3[^>]*>([^<]+)<', page)
    assert titles == ["Advice given", "Read", "Recomputed", "Erased"]
    assert "Its content has been erased" in page
    assert "Recompute this decision" not in page
    assert "It cannot be recomputed" in page


def test_looking_at_a_timeline_opens_nothing_personal(service: Started) -> None:
    identifier = asked(service)
    size = service.parts.log.size
    page = text_of(service, f"/audit/decisions/{identifier}")
    assert service.parts.log.size == size, "what opens a record is recorded"
    for value in tiny.CASE.values():
        assert f">{value}<" not in page


def test_evidence_is_a_link_away_and_on_record(service: Started) -> None:
    identifier = asked(service)
    service.parts.log.checkpoint()
    response = service.client.get(
        f"/audit/decisions/{identifier}/evidence", headers=service.session(Role.AUDITOR)
    )
    assert response.status_code == 200
    assert "verify.py" in zipfile.ZipFile(io.BytesIO(response.content)).namelist()
    last = service.parts.log.entries(service.parts.log.size - 1, service.parts.log.size)[0]
    assert parse_leaf(last.leaf).facts["what"] == "evidence"


def verified(service: Started) -> str:
    """Verify the log by a click, and return the page of what came of it."""
    address = post(service, "/audit/verifications")
    deadline = time.monotonic() + WAIT_SECONDS
    while "data-follow" in (page := text_of(service, address)):
        assert time.monotonic() < deadline
    return page


def test_the_log_is_verified_by_a_click_and_that_is_on_record(service: Started) -> None:
    asked(service)
    page = verified(service)
    assert "Sound: nothing is wrong" in page
    assert "On record as entry" in page
    state = text_of(service, "/audit/log")
    assert "Sound: nothing is wrong" in state
    assert "Nobody outside cosigns this log" in state


def test_a_damaged_log_is_told_by_entry(service: Started) -> None:
    identifier = asked(service)
    index = service.parts.log.receipt(identifier).index
    damage(service, index)
    page = verified(service)
    assert "Something is wrong with the log" in page
    assert re.search(rf'<th scope="row"[^>]*>{index}</th>', page)


def damage(service: Started, index: int) -> None:
    """Flip one byte of an entry's payload behind the service's back."""
    import apsw

    database = next((service.settings.data_dir / "log").glob("*.sqlite3"))
    connection = apsw.Connection(str(database))
    (envelope,) = next(connection.execute("SELECT envelope FROM payload WHERE seq = ?", (index,)))
    changed = bytearray(envelope)
    changed[-1] ^= 1
    for (trigger,) in list(
        connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
    ):
        connection.execute(f"DROP TRIGGER {trigger}")
    connection.execute("UPDATE payload SET envelope = ? WHERE seq = ?", (bytes(changed), index))
    connection.close()


def test_the_api_says_the_same(service: Started) -> None:
    asked(service)
    key = service.key(Role.AUDITOR)
    begun = service.client.post("/v1/log/verifications", headers=key)
    assert begun.status_code == 202
    address = begun.headers["location"]
    deadline = time.monotonic() + WAIT_SECONDS
    while (run := service.client.get(address, headers=key).json())["status"] == "running":
        assert time.monotonic() < deadline
    assert run["status"] == "sound"
    assert run["size"] <= run["index"]
    listed = service.client.get("/v1/log/verifications", headers=key).json()["verifications"]
    assert [each["id"] for each in listed] == [run["id"]]
    leaf = parse_leaf(service.parts.log.entries(run["index"], run["index"] + 1)[0].leaf)
    assert leaf.facts["root"] == run["root"] == service.parts.log.root(run["size"]).hex()
    unknown = service.client.get("/v1/log/verifications/none", headers=key)
    assert_problem(unknown, slug="unknown-verification", status=404)


def test_what_was_found_is_still_there_after_a_restart(tmp_path: Path) -> None:
    models = tmp_path / "models"
    tiny.write(models / tiny.NAME)
    settings = Settings(data_dir=tmp_path / "data", models_dir=models, log_origin="example.org/log")
    with start(settings) as service:
        asked(service)
        verified(service)
    with start(settings) as service:
        assert "Sound: nothing is wrong" in text_of(service, "/audit/log")


def test_an_empty_service_has_its_pages_too(service: Started) -> None:
    assert "There are no decisions yet" in text_of(service, "/audit/decisions")
    assert "No run is on record yet" in text_of(service, "/audit/replays")
    assert "Nobody has verified this log from here yet" in text_of(service, "/audit/log")
