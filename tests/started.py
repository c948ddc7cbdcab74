"""The production application, started in this process, with a key for each role."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.api.parts import Parts
from app.demo.asking import PURPOSE
from app.domain import Kind, Role
from app.ids import utc_now
from app.keys import KeyStore
from app.lineup import Lineup, Serving
from app.main import create_app
from app.records import RECOMMENDATION
from app.served import ServedModel
from app.settings import Settings
from app.web.session import PLAIN_COOKIE
from audit.leaf import parse_leaf

DEMONSTRATION = "housing-support"


@dataclass(frozen=True, slots=True)
class Started:
    """One running service."""

    settings: Settings
    app: FastAPI
    client: TestClient
    keys: Mapping[Role, str]

    @property
    def parts(self) -> Parts:
        """What the composition root put together."""
        parts: Parts = self.app.state.parts
        return parts

    def key(self, role: Role) -> dict[str, str]:
        """Return the header that carries the key of a role."""
        return {"Authorization": f"Bearer {self.keys[role]}"}

    def session(self, role: Role, *, actor: str | None = None) -> dict[str, str]:
        """Sign somebody in and return the header that their browser sends."""
        sessions = self.parts.sessions
        token = sessions.sign_in(
            sessions.begin(back="/"), actor=actor or role.value, roles=[role], source="tests"
        )
        return {"Cookie": f"{PLAIN_COOKIE}={token}"}

    def form(self, session: Mapping[str, str]) -> dict[str, str]:
        """Return what every form of a session's pages carries."""
        found = self.parts.sessions.find(session["Cookie"].partition("=")[2])
        assert found is not None
        return {"csrf": found.csrf}

    def ask(
        self,
        model: str,
        case: object,
        *,
        role: Role = Role.CALLER,
        subject: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Ask for a recommendation."""
        response: httpx.Response = self.client.post(
            f"/v1/models/{model}/decisions",
            json={
                "case": case,
                **(PURPOSE if model == DEMONSTRATION else {}),
                **({} if subject is None else {"subject": subject}),
            },
            headers={**self.key(role), **(headers or {})},
        )
        return response

    @contextmanager
    def replaced(self, **parts: Any) -> Iterator[None]:
        """Let the service run with other parts for a while."""
        own = self.parts
        self.app.state.parts = replace(own, **parts)
        try:
            yield
        finally:
            self.app.state.parts = own

    def resume_all(self) -> None:
        """Let advice go on after whatever stopped it: two people have to say so."""
        for number in list(self.parts.stops.state.stops):
            for role in (Role.ADMIN, Role.MODEL_OWNER):
                self.client.post(
                    f"/v1/stops/{number}/resume", json={"reason": "A test."}, headers=self.key(role)
                )
        if self.parts.stops.state.stops:
            # One of the two had asked before: the other confirms now.
            self.resume_all()

    def recommendations(self) -> int:
        """Return how many entries of the log are recommendations."""
        log = self.parts.log
        return sum(parse_leaf(row.leaf).type == RECOMMENDATION for row in log.entries(0, log.size))


@contextmanager
def start(settings: Settings) -> Iterator[Started]:
    """Run the production application with these settings."""
    app = create_app(settings)
    keys = make_keys(settings)
    with TestClient(
        app,
        base_url="http://127.0.0.1:8080",
        client=("127.0.0.1", 50000),
        raise_server_exceptions=False,
    ) as client:
        started = Started(settings, app, client, keys)
        # Lists are refused until the index has caught up, which takes some milliseconds, or a second on
        # a busy machine: whichever test comes first must not depend on it.
        started.parts.index.catch_up()
        yield started


def serving(*models: ServedModel) -> Serving:
    """Return what a service would serve with these as the active versions."""
    made = Serving()
    made.publish({model.name: Lineup(model) for model in models}, frozenset())
    return made


def make_keys(settings: Settings) -> dict[Role, str]:
    """Make one key for each role."""
    store = KeyStore(settings.data_dir / "access.sqlite3")
    made = {role: make_key(store, role) for role in Role}
    store.close()
    return made


def make_key(store: KeyStore, role: Role, *, actor: str | None = None) -> str:
    """Make a key: a person's, but for the role that case-management systems have."""
    if role is Role.CALLER:
        return store.create(name=role.value, role=role, clock=utc_now)
    return store.create(
        name=role.value, role=role, clock=utc_now, kind=Kind.HUMAN, actor=actor or role.value
    )
