"""Signing in through a provider: the whole way over real HTTP, and everything that is not let in."""

import base64
import hmac
import json
import re
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import yaml

from app.addresses import is_protected
from app.domain import Role
from app.main import StartRefusedError
from app.settings import Settings
from app.web.session import PLAIN_COOKIE
from tests.problems import assert_problem
from tests.provider import CLIENT, SECRET, Provider, new_key, running_provider
from tests.started import Started, start

TERMS = {
    "name": "Northmoor staff",
    "client_id": CLIENT,
    "client_secret_file": "secret.txt",
    "roles": {"caseworkers": "caseworker", "reviewers": "reviewer", "auditors": "auditor"},
}


@pytest.fixture(scope="module")
def module_provider() -> Iterator[Provider]:
    with running_provider() as running:
        yield running


@pytest.fixture
def provider(module_provider: Provider) -> Provider:
    """The provider, telling the truth again."""
    fresh = Provider(address=module_provider.address, key=module_provider.key)
    for name, value in vars(fresh).items():
        setattr(module_provider, name, value)
    return module_provider


@pytest.fixture(scope="module")
def desk(
    module_provider: Provider, demo_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Started]:
    directory = tmp_path_factory.mktemp("oidc")
    file = written(directory, {**TERMS, "issuer": module_provider.address})
    settings = Settings(models_dir=demo_models, data_dir=directory / "data", sign_in_file=file)
    with start(settings) as started:
        yield started


def written(directory: Path, terms: dict[str, Any]) -> Path:
    (directory / "secret.txt").write_text(f"{SECRET}\n")
    file = directory / "sign-in.yaml"
    file.write_text(yaml.safe_dump(terms))
    return file


class Browser:
    """A browser with one session, that goes where it is sent."""

    def __init__(self, desk: Started) -> None:
        self._desk = desk
        self.cookie: str | None = None

    def get(self, path: str, *, page: bool = False) -> httpx.Response:
        headers = {"Accept": "text/html"} if page else {}
        if self.cookie is not None:
            headers["Cookie"] = f"{PLAIN_COOKIE}={self.cookie}"
        response: httpx.Response = self._desk.client.get(
            path, headers=headers, follow_redirects=False
        )
        self.cookie = response.cookies.get(PLAIN_COOKIE, self.cookie)
        self._desk.client.cookies.clear()
        return response

    def begin(self, back: str = "/") -> str:
        """Return where the service sends the browser."""
        return self.start(self.link(back))

    def link(self, back: str) -> str:
        """Open the page to sign in at, and return where its button leads."""
        page = self.get(f"/sign-in?back={back}", page=True).text
        found = re.search(r'href="(/sign-in/start[^"]*)"', page)
        assert found is not None
        return unescape(found[1])

    def start(self, link: str) -> str:
        sent = self.get(link, page=True)
        assert sent.status_code == 303, sent.text
        return sent.headers["location"]

    def answer(self, address: str) -> str:
        """Go to the provider and return where it sends the browser back to, without the host."""
        sent = httpx.get(address, timeout=60)
        assert sent.status_code == 307, sent.text
        back = urlsplit(sent.headers["location"])
        assert f"{back.scheme}://{back.netloc}" == "http://127.0.0.1:8080"
        return f"{back.path}?{back.query}"

    def sign_in(self, back: str = "/") -> httpx.Response:
        return self.get(self.answer(self.begin(back)))


@pytest.fixture
def browser(desk: Started, provider: Provider) -> Browser:
    assert provider.address
    return Browser(desk)


def test_somebody_signs_in_and_arrives_where_they_wanted(browser: Browser) -> None:
    visitor = Browser.get(browser, "/sign-in", page=True)
    assert "Sign in with Northmoor staff" in visitor.text
    before = browser.cookie
    arrived = browser.sign_in("/docs")
    assert arrived.headers["location"] == "/docs"
    assert browser.cookie != before
    assert "Signed in as caseworker" in browser.get("/", page=True).text
    assert "Sign out there as well" in browser.get("/signed-out", page=True).text


def test_each_tab_leads_back_to_its_own_page(browser: Browser) -> None:
    first, _ = browser.link("/docs"), browser.link("/transparency")
    arrived = browser.get(browser.answer(browser.start(first)))
    assert arrived.headers["location"] == "/docs"


def test_a_page_to_sign_in_at_that_was_left_open_for_long_leads_back(browser: Browser) -> None:
    link = browser.link("/docs?of=x")
    browser.cookie = None  # the visitor's session is over
    again = browser.start(link)
    assert again == "/sign-in?back=/docs%3Fof%3Dx"
    assert browser.get(browser.answer(browser.begin("/docs%3Fof%3Dx"))).headers["location"] == (
        "/docs?of=x"
    )
    assert browser.start("/sign-in/start?back=//elsewhere.example") == "/sign-in?back=/"


def test_somebody_with_two_roles_chooses(
    browser: Browser, provider: Provider, desk: Started
) -> None:
    provider.claims = {"sub": "p-2", "roles": ["reviewers", "caseworkers", "gardeners"]}
    assert browser.sign_in().headers["location"] == "/sign-in/role"
    page = browser.get("/sign-in/role", page=True).text
    assert 'value="caseworker"' in page
    assert 'value="reviewer"' in page
    assert 'value="admin"' not in page
    headers = {"Cookie": f"{PLAIN_COOKIE}={browser.cookie}"}
    form = desk.form(headers)
    refused = desk.client.post("/sign-in/role", data={**form, "role": "admin"}, headers=headers)
    assert_problem(refused, slug="invalid-request", status=422)
    chosen = desk.client.post(
        "/sign-in/role", data={**form, "role": "reviewer"}, headers=headers, follow_redirects=False
    )
    assert chosen.headers["location"] == "/"
    desk.client.cookies.clear()


def test_a_code_and_an_answer_are_good_once(browser: Browser, provider: Provider) -> None:
    answer = browser.answer(browser.begin())
    provider.lie = lambda claims: {**claims, "nonce": "another"}
    assert_problem(browser.get(answer), slug="sign-in-refused", status=403)
    provider.lie = dict
    assert_problem(browser.get(answer), slug="sign-in-refused", status=403)


def test_an_answer_to_another_browser_is_refused(desk: Started, browser: Browser) -> None:
    """Whoever lures somebody to their own answer would have them work in a stranger's name."""
    stranger = Browser(desk)
    answer = stranger.answer(stranger.begin())
    browser.begin()
    assert_problem(browser.get(answer), slug="sign-in-refused", status=403)
    nobody = Browser(desk)
    assert nobody.get(answer).status_code == 401


def test_what_is_asked_holds_challenge_state_and_nonce_and_no_secret(browser: Browser) -> None:
    first, second = (parse_qs(urlsplit(browser.begin()).query) for _ in range(2))
    for name in ("state", "nonce", "code_challenge"):
        assert len(first[name][0]) >= 43
        assert first[name] != second[name]
    assert first["code_challenge_method"] == ["S256"]
    assert SECRET not in str(first)


Lie = Callable[[dict[str, Any]], dict[str, Any]]
LIES: dict[str, Lie] = {
    "another nonce": lambda claims: {**claims, "nonce": "x"},
    "no nonce": lambda claims: without(claims, "nonce"),
    "another issuer": lambda claims: {**claims, "iss": "https://elsewhere.example"},
    "another audience": lambda claims: {**claims, "aud": "other"},
    "no audience": lambda claims: without(claims, "aud"),
    "other party": lambda claims: {**claims, "aud": [CLIENT, "other"], "azp": "other"},
    "over": lambda claims: {**claims, "exp": claims["iat"] - 3600},
    "no end": lambda claims: without(claims, "exp"),
    "from the future": lambda claims: {**claims, "iat": claims["iat"] + 3600},
    "nobody": lambda claims: without(claims, "sub"),
    "no roles": lambda claims: {**claims, "roles": []},
    "strange roles": lambda claims: {**claims, "roles": ["gardeners", 7, None]},
    "no list of roles": lambda claims: {**claims, "roles": {"caseworkers": True}},
    "a name like an address": lambda claims: {**claims, "sub": "jo@northmoor.example"},
    "a name of another kind": lambda claims: {**claims, "sub": 17},
    "a long name": lambda claims: {**claims, "sub": "x" * 65},
}


def without(claims: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in claims.items() if key != name}


@pytest.mark.parametrize("lie", LIES)
def test_a_token_that_does_not_hold_is_refused(
    browser: Browser, provider: Provider, lie: str
) -> None:
    provider.lie = LIES[lie]
    assert_problem(browser.sign_in(), slug="sign-in-refused", status=403)
    assert "Not signed in" in browser.get("/", page=True).text


def forged(provider: Provider) -> dict[str, Callable[[dict[str, Any]], str]]:
    public = provider.key.as_pem(private=False)
    return {
        "another key": lambda claims: provider.signed(claims, new_key("one")),
        "none": lambda claims: by_hand("none", claims, lambda _: b""),
        "the public key as a secret": lambda claims: by_hand(
            "HS256", claims, lambda signed: hmac.digest(public, signed, "sha256")
        ),
        "no token": lambda _: "not.a.token",
        "a changed token": lambda claims: provider.signed(claims)[:-4] + "AAAA",
    }


def by_hand(algorithm: str, claims: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """Return a token that no careful library makes."""
    header = {"alg": algorithm, "kid": "one", "typ": "JWT"}
    signed = b".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    return b".".join((signed, encoded(sign(signed)))).decode()


def encoded(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")


@pytest.mark.parametrize("kind", forged(Provider()))
def test_a_signature_of_nobody_is_refused(browser: Browser, provider: Provider, kind: str) -> None:
    provider.sign = forged(provider)[kind]
    assert_problem(browser.sign_in(), slug="sign-in-refused", status=403)


def test_times_may_differ_a_little(browser: Browser, provider: Provider) -> None:
    provider.lie = lambda claims: {**claims, "iat": claims["iat"] + 20, "exp": claims["iat"] - 20}
    assert browser.sign_in().status_code == 303


def test_a_provider_that_says_no_is_told_to_the_person(
    browser: Browser, provider: Provider
) -> None:
    provider.denies = True
    page = browser.get(browser.answer(browser.begin()), page=True)
    assert page.status_code == 403
    assert "You could not be signed in" in page.text


def test_an_answer_of_another_provider_is_refused(browser: Browser) -> None:
    answer = browser.answer(browser.begin())
    mixed = answer.rpartition("iss=")[0] + "iss=https%3A%2F%2Felsewhere.example"
    assert_problem(browser.get(mixed), slug="sign-in-refused", status=403)


def test_an_answer_without_an_end_is_not_read_to_the_end(
    browser: Browser, provider: Provider
) -> None:
    provider.claims = {**provider.claims, "padding": "a" * 300_000}
    assert_problem(browser.sign_in(), slug="provider-unavailable", status=503)


def test_a_new_key_of_the_provider_is_found(
    desk: Started, browser: Browser, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert browser.sign_in().status_code == 303
    monkeypatch.setattr("app.oidc.KEYS_AGAIN_SECONDS", -1)
    provider.key = new_key("two")
    assert Browser(desk).sign_in().status_code == 303


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://elsewhere.example"},
        {"token_endpoint": "http://elsewhere.example/token"},
        {"authorization_endpoint": None},
        {"jwks_uri": "file:///etc/passwd"},
    ],
    ids=str,
)
def test_a_provider_that_says_what_cannot_be_is_not_used(
    provider: Provider, settings: Settings, tmp_path: Path, metadata: dict[str, Any]
) -> None:
    provider.metadata = metadata
    file = written(tmp_path, {**TERMS, "issuer": provider.address})
    with start(settings.model_copy(update={"sign_in_file": file})) as desk:
        browser = Browser(desk)
        browser.get("/sign-in")
        response = browser.get("/sign-in/start")
        assert_problem(response, slug="provider-unavailable", status=503)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"issuer": "http://login.example"}, "https://"),
        ({"roles": {}}, "roles"),
        ({"roles": {"x": "caller"}}, "machines"),
        ({"roles": {"x": "emperor"}}, "roles"),
        ({"client_secret_file": "none.txt"}, "none.txt"),
        ({"surprise": 1}, "surprise"),
    ],
    ids=str,
)
def test_terms_that_do_not_fit_refuse_the_start(
    settings: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, Any],
    said: str,
) -> None:
    file = written(tmp_path, {**TERMS, "issuer": "https://login.example", **change})
    with (
        pytest.raises(StartRefusedError),
        start(settings.model_copy(update={"sign_in_file": file})),
    ):
        raise AssertionError("started")
    assert said in capsys.readouterr().out


def test_beyond_this_machine_signing_in_needs_an_address_in_tls(desk: Started) -> None:
    response = desk.client.get(
        "/sign-in/start", headers={"Host": "grounds.example"}, follow_redirects=False
    )
    assert_problem(response, slug="not-found", status=404)


@pytest.mark.parametrize(
    ("address", "protected"),
    [
        ("https://login.example", True),
        ("http://127.0.0.1:9", True),
        ("http://localhost/x", True),
        ("http://[::1]/x", True),
        ("http://login.example", False),
        ("http://127.0.0.1.example", False),
        ("file:///etc/passwd", False),
        ("", False),
    ],
)
def test_only_this_machine_is_asked_without_tls(address: str, protected: bool) -> None:
    assert is_protected(address) == protected


def test_the_person_is_who_the_log_names(browser: Browser, desk: Started) -> None:
    browser.sign_in()
    assert browser.cookie is not None
    session = desk.parts.sessions.find(browser.cookie)
    assert session is not None
    assert session.caller is not None
    assert (session.caller.name, session.caller.role) == ("p-17", Role.CASEWORKER)
