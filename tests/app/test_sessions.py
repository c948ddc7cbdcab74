"""Signing in and out: what opens a session, what ends it, and what others try with it."""

import re
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import sessions as module
from app.domain import Kind, Role
from app.main import StartRefusedError
from app.sessions import Pending, SessionStore
from app.settings import Settings
from app.web.session import PLAIN_COOKIE, SECURE_COOKIE
from tests.problems import assert_problem
from tests.started import Started, start

BROWSER = {"Accept": "text/html"}
ADDRESS = "http://127.0.0.1:8080"


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 26, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[SessionStore]:
    opened = SessionStore(
        tmp_path / "sessions.sqlite3",
        clock=clock,
        idle=timedelta(minutes=30),
        longest=timedelta(hours=10),
    )
    yield opened
    opened.close()


def signed_in(store: SessionStore, *roles: Role) -> str:
    return store.sign_in(store.begin(back="/"), actor="cw-1", roles=roles, source="here")


def test_a_session_is_a_person_in_one_role(store: SessionStore) -> None:
    session = store.find(signed_in(store, Role.CASEWORKER))
    assert session is not None
    caller = session.caller
    assert caller is not None
    assert (caller.role, caller.kind, caller.name) == (Role.CASEWORKER, Kind.HUMAN, "cw-1")
    assert "cw-1" not in caller.key_id


def test_a_visitor_may_do_nothing(store: SessionStore) -> None:
    session = store.find(store.begin(back="/decisions/1"))
    assert session is not None
    assert session.caller is None
    assert session.pending.back == "/decisions/1"


def test_somebody_with_two_roles_chooses_and_gets_a_new_token(store: SessionStore) -> None:
    token = signed_in(store, Role.CASEWORKER, Role.REVIEWER)
    session = store.find(token)
    assert session is not None
    assert session.caller is None
    chosen = store.choose(token, Role.REVIEWER)
    assert store.find(token) is None
    after = store.find(chosen)
    assert after is not None
    assert after.role is Role.REVIEWER
    with pytest.raises(ValueError, match="not a role"):
        store.choose(chosen, Role.ADMIN)


@pytest.mark.parametrize("times", [1, 19])
def test_a_session_lives_while_it_is_used_and_not_longer_than_its_hours(
    store: SessionStore, clock: Clock, times: int
) -> None:
    token = signed_in(store, Role.AUDITOR)
    for _ in range(times):
        clock.now += timedelta(minutes=29, seconds=59)
        assert store.find(token) is not None
    clock.now += timedelta(minutes=30, seconds=20)
    assert store.find(token) is None


def test_idle_too_long_is_the_end(store: SessionStore, clock: Clock) -> None:
    token = signed_in(store, Role.AUDITOR)
    clock.now += timedelta(minutes=30)
    assert store.find(token) is None
    clock.now -= timedelta(minutes=30)
    assert store.find(token) is None, "it does not come back"


def test_choosing_a_role_does_not_lengthen_a_session(store: SessionStore, clock: Clock) -> None:
    token = signed_in(store, Role.CASEWORKER, Role.REVIEWER)
    for _ in range(20):
        clock.now += timedelta(minutes=29)
        token = store.choose(token, Role.REVIEWER)
    clock.now += timedelta(minutes=21)
    assert store.find(token) is None


def test_the_file_opens_nothing_for_whoever_takes_it(store: SessionStore, tmp_path: Path) -> None:
    token = signed_in(store, Role.ADMIN)
    everything = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert token.encode() not in everything
    assert (tmp_path / "sessions.sqlite3").stat().st_mode & 0o077 == 0


def test_visitors_cannot_fill_the_store_nor_keep_others_out(
    store: SessionStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_VISITORS", 3)
    person = signed_in(store, Role.ADMIN)
    tokens = []
    for _ in range(5):
        clock.now += timedelta(seconds=1)
        tokens.append(store.begin(back="/"))
    there = [store.find(token) is not None for token in tokens]
    assert there == [False, False, True, True, True]
    assert store.find(person) is not None


def test_what_a_begun_sign_in_waits_for_is_kept(store: SessionStore) -> None:
    token = store.begin(back="/x")
    pending = Pending(back="/x", state="s", nonce="n", verifier="v")
    store.wait_for(token, pending)
    session = store.find(token)
    assert session is not None
    assert session.pending == pending


# Over HTTP, in the demonstration.


@pytest.fixture(scope="module")
def demo(demo_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    directory = tmp_path_factory.mktemp("sign-in")
    settings = Settings(models_dir=demo_models, data_dir=directory / "data", demo_sign_in=True)
    with start(settings) as started:
        yield started


def token_in(page: httpx.Response) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found is not None
    return found[1]


def cookie(response: httpx.Response) -> dict[str, str]:
    (sent,) = [
        value for value in response.headers.get_list("set-cookie") if value.startswith(PLAIN_COOKIE)
    ]
    assert "HttpOnly" in sent
    assert "samesite=lax" in sent.lower()
    return {"Cookie": sent.split(";")[0]}


def begin(demo: Started, back: str = "/") -> tuple[dict[str, str], str]:
    demo.client.cookies.clear()
    page = demo.client.get("/sign-in", params={"back": back}, headers=BROWSER)
    demo.client.cookies.clear()
    return cookie(page), token_in(page)


def sign_in(demo: Started, person: str, back: str = "/") -> tuple[dict[str, str], httpx.Response]:
    mine, csrf = begin(demo, back)
    response = demo.client.post(
        "/sign-in/demonstration",
        data={"csrf": csrf, "person": person},
        headers=mine,
        follow_redirects=False,
    )
    demo.client.cookies.clear()
    assert response.status_code == 303, response.text
    return cookie(response), response


def test_somebody_signs_in_arrives_where_they_wanted_and_signs_out(demo: Started) -> None:
    mine, response = sign_in(demo, "demo-caseworker", back="/docs")
    assert response.headers["location"] == "/docs"
    home = demo.client.get("/", headers={**BROWSER, **mine})
    assert "Signed in as caseworker" in home.text
    out = demo.client.post(
        "/sign-out", data={"csrf": token_in(home)}, headers=mine, follow_redirects=False
    )
    assert out.headers["location"] == "/signed-out"
    after = demo.client.get("/", headers={**BROWSER, **mine})
    assert "Not signed in" in after.text, "the cookie that was kept opens nothing"


def test_signing_in_makes_a_new_token(demo: Started) -> None:
    planted, csrf = begin(demo)
    response = demo.client.post(
        "/sign-in/demonstration",
        data={"csrf": csrf, "person": "demo-admin"},
        headers=planted,
        follow_redirects=False,
    )
    demo.client.cookies.clear()
    assert cookie(response) != planted
    assert "Not signed in" in demo.client.get("/", headers={**BROWSER, **planted}).text


def test_a_token_that_nobody_was_given_opens_nothing(demo: Started) -> None:
    made_up = {"Cookie": f"{PLAIN_COOKIE}=chosen-by-another"}
    assert "Not signed in" in demo.client.get("/", headers={**BROWSER, **made_up}).text
    page = demo.client.get("/sign-in", headers={**BROWSER, **made_up})
    demo.client.cookies.clear()
    assert "chosen-by-another" not in str(cookie(page))


@pytest.mark.parametrize(
    ("form", "more"),
    [
        ({"person": "demo-admin"}, {}),
        ({"person": "demo-admin", "csrf": "x"}, {}),
        ({"person": "demo-admin", "csrf": "own"}, {"Sec-Fetch-Site": "cross-site"}),
        ({"person": "demo-admin", "csrf": "own"}, {"Sec-Fetch-Site": "same-site"}),
    ],
)
def test_another_site_cannot_sign_somebody_in(
    demo: Started, form: dict[str, str], more: dict[str, str]
) -> None:
    mine, csrf = begin(demo)
    if form.get("csrf") == "own":
        form = {**form, "csrf": csrf}
    response = demo.client.post("/sign-in/demonstration", data=form, headers={**mine, **more})
    assert_problem(response, slug="form-not-accepted", status=403)


def test_another_site_cannot_sign_somebody_out(demo: Started) -> None:
    mine, _ = sign_in(demo, "demo-auditor")
    response = demo.client.post("/sign-out", data={"csrf": "x"}, headers=mine)
    assert_problem(response, slug="form-not-accepted", status=403)
    assert "Signed in as auditor" in demo.client.get("/", headers={**BROWSER, **mine}).text


@pytest.mark.parametrize(
    "back", ["https://elsewhere.example", "//elsewhere.example", "/\\elsewhere", "/a b", "x", ""]
)
def test_nobody_is_sent_to_another_site(demo: Started, back: str) -> None:
    _, response = sign_in(demo, "demo-reviewer", back=back)
    assert response.headers["location"] == "/"
    language = demo.client.get("/language/cy", params={"back": back}, follow_redirects=False)
    demo.client.cookies.clear()
    assert language.headers["location"] == "/"


CASE = "/decisions/0193c9a5-2f47-7c3f-8a35-6d1f2f9c0b12"


@pytest.mark.parametrize(
    ("form", "page"),
    [
        (f"{CASE}/decision", CASE),
        (f"{CASE}/take", CASE),
        (f"{CASE}/review", CASE),
        (f"{CASE}/letter", f"{CASE}/letter"),
        (f"{CASE}/correct?field=rent_arrears", f"{CASE}/correct?field=rent_arrears"),
        (f"{CASE}/correct?field=//elsewhere.example&a=:@", f"{CASE}/correct"),
        ("/models/housing-support/stop", "/models/housing-support/stop"),
        ("/models/housing-support/stops/1/resume", "/models/housing-support/stops/1/resume"),
        ("/cases/search", "/cases"),
    ],
)
def test_a_form_sent_after_the_session_ended_says_so_and_leads_back_to_its_page(
    demo: Started, form: str, page: str
) -> None:
    size = demo.parts.log.size
    sent = demo.client.post(
        form, data={"csrf": "x"}, headers={**BROWSER, "Cookie": ""}, follow_redirects=False
    )
    assert sent.status_code == 303
    address = sent.headers["location"]
    shown = demo.client.get(address, headers=BROWSER)
    assert "You were signed out. What you sent was not recorded." in shown.text
    csrf, mine = token_in(shown), cookie(shown)
    arrived = demo.client.post(
        "/sign-in/demonstration",
        data={"csrf": csrf, "person": "demo-caseworker"},
        headers=mine,
        follow_redirects=False,
    )
    demo.client.cookies.clear()
    assert arrived.headers["location"] == page
    assert demo.parts.log.size == size


@pytest.mark.parametrize("field", ["reason_text", "evidence", "text", "reason"])
def test_what_was_written_is_shown_where_the_session_has_ended(demo: Started, field: str) -> None:
    said = "The landlord's letter of 3 May says <b>otherwise</b>."
    form = {"csrf": "x", "outcome": "priority", field: f"  {said}\r\n"}
    own = {**BROWSER, "Cookie": "", "Sec-Fetch-Site": "same-origin"}
    shown = demo.client.post(f"{CASE}/decision", data=form, headers=own, follow_redirects=False)
    assert shown.status_code == 401
    assert "The landlord&#39;s letter of 3 May says &lt;b&gt;otherwise&lt;/b&gt;.</p>" in shown.text
    assert "Nothing was recorded." in shown.text
    assert f'href="/sign-in?back={CASE}&amp;unsent=yes"' in shown.text
    # Another site would put its own words there.
    for site in ("cross-site", "same-site", "none", ""):
        theirs = demo.client.post(
            f"{CASE}/decision",
            data=form,
            headers={**own, "Sec-Fetch-Site": site},
            follow_redirects=False,
        )
        assert theirs.status_code == 303
        assert "landlord" not in theirs.text


@pytest.mark.parametrize(
    ("page", "link"),
    [
        ("/transparency", "/sign-in?back=/transparency"),
        ("/cases?which=all", "/sign-in?back=/cases%3Fwhich%3Dall"),  # by way of the sign-in page
        ("/", "/sign-in"),
        ("/signed-out", "/sign-in"),
    ],
)
def test_the_link_to_sign_in_leads_back_to_its_page(demo: Started, page: str, link: str) -> None:
    shown = demo.client.get(page, headers={**BROWSER, "Cookie": ""})
    demo.client.cookies.clear()
    assert f'href="{link}">Sign in</a>' in shown.text


def test_what_was_written_is_shown_where_another_tab_signed_in_anew(demo: Started) -> None:
    own = {**BROWSER, **demo.session(Role.CASEWORKER), "Sec-Fetch-Site": "same-origin"}
    form = {"csrf": "of another session", "reason_text": "Two papers differ."}
    refused = demo.client.post(f"{CASE}/decision", data=form, headers=own)
    assert refused.status_code == 403
    assert "Your form was not accepted" in refused.text
    assert "Two papers differ." in refused.text


@pytest.mark.parametrize("host", ["grounds.example", "192.0.2.7:8080", "127.0.0.1.example"])
def test_the_choice_of_persons_is_for_this_machines_own_name_only(demo: Started, host: str) -> None:
    """A page elsewhere can make its own name lead to this machine."""
    mine, csrf = begin(demo)
    page = demo.client.get("/sign-in", headers={**BROWSER, **mine, "Host": host})
    assert "demo-admin" not in page.text
    response = demo.client.post(
        "/sign-in/demonstration",
        data={"csrf": csrf, "person": "demo-admin"},
        headers={**mine, "Host": host},
    )
    assert_problem(response, slug="not-found", status=404)


def test_without_the_setting_there_is_no_choice_of_persons(service: Started) -> None:
    page = service.client.get("/sign-in", headers=BROWSER)
    service.client.cookies.clear()
    assert "demo-" not in page.text
    assert "Nobody can sign in here yet" in page.text
    response = service.client.post(
        "/sign-in/demonstration",
        data={"csrf": token_or_nothing(page), "person": "demo-admin"},
        headers=cookie(page),
    )
    assert_problem(response, slug="not-found", status=404)


def token_or_nothing(page: httpx.Response) -> str:
    found = re.findall(r'name="csrf" value="([^"]+)"', page.text)
    return found[0] if found else ""


def test_the_demonstrations_setting_is_refused_beyond_this_machine(settings: Settings) -> None:
    open_to_others = settings.model_copy(update={"demo_sign_in": True, "host": "0.0.0.0"})  # noqa: S104
    with pytest.raises(StartRefusedError), start(open_to_others):
        raise AssertionError("started")


def test_behind_tls_the_cookie_is_for_tls_and_this_host_alone(settings: Settings) -> None:
    behind = settings.model_copy(update={"public_url": "https://grounds.example"})
    with start(behind) as service:
        page = service.client.get("/sign-in", headers=BROWSER)
    (sent,) = page.headers.get_list("set-cookie")
    assert sent.startswith(f"{SECURE_COOKIE}=")
    assert "; Secure" in sent
    assert "; Path=/" in sent
    assert "domain" not in sent.lower()


def test_a_person_who_chooses_nobody_there_is_told(demo: Started) -> None:
    mine, csrf = begin(demo)
    response = demo.client.post(
        "/sign-in/demonstration", data={"csrf": csrf, "person": "root"}, headers=mine
    )
    assert_problem(response, slug="invalid-request", status=422)


def test_without_the_store_pages_fail_and_the_api_works(demo: Started) -> None:
    class Broken:
        def find(self, _: str) -> Any:
            raise module.SessionStoreError("disk I/O error")

    headers = {"Cookie": f"{PLAIN_COOKIE}=x"}
    with demo.replaced(sessions=Broken()):
        response = demo.client.get("/", headers=headers)
        assert_problem(response, slug="sessions-unavailable", status=503)
        page = demo.client.get("/", headers={**headers, **BROWSER})
        assert page.status_code == 503
        assert "This is not available at present" in page.text
        models = demo.client.get("/v1/models", headers=demo.key(Role.CALLER))
        assert models.status_code == 200


def test_a_store_of_sessions_that_is_no_database_refuses_the_start(settings: Settings) -> None:
    settings.data_dir.mkdir(parents=True)
    (settings.data_dir / module.FILE).write_bytes(b"not a database" * 100)
    with pytest.raises(StartRefusedError), start(settings):
        raise AssertionError("started")
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(settings.data_dir / module.FILE).execute("SELECT 1 FROM session")
