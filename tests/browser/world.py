"""What the browser tests look at: the production service on a port of its own, with cases in it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from app.demo.asking import request_body
from app.domain import Role
from app.settings import Settings
from models.demo.cases import DEMO_CASES
from tests.service import ServiceProcess
from tests.started import DEMONSTRATION, make_keys

NOBODY = "019a9f3e-5c1d-7a52-9c0a-6f2e1b7d4c11"
"""An identifier that no decision has."""
SUBJECT = "QQ-12-34-56-C"
"""What the cases' persons are called by the caller: no address may hold it."""


@dataclass(frozen=True, slots=True)
class World:
    """A running service and what is in it."""

    address: str
    keys: Mapping[Role, str]
    decisions: Mapping[str, str]
    """The identifier of each demonstration case's decision, by the case's name."""

    def fill(self, path: str) -> str:
        """Return a page's path with the places in it filled in, as in ``tests/browser/pages.py``."""
        return path.format(
            decision=next(iter(self.decisions.values())),
            nobody=NOBODY,
            model=DEMONSTRATION,
            **{name.replace("-", "_"): value for name, value in self.decisions.items()},
        )


@contextmanager
def running_world(models: Path, directory: Path) -> Iterator[World]:
    """Run the demonstration's service and ask it about every demonstration case."""
    settings = Settings(models_dir=models, data_dir=directory / "data", demo_sign_in=True)
    keys = make_keys(settings)
    with ServiceProcess(settings) as service:
        decisions = {name: ask(service.address, keys, name) for name in DEMO_CASES}
        contested(service.address, keys, decisions["large-household-adapted-home"])
        yield World(service.address, keys, decisions)


def ask(address: str, keys: Mapping[Role, str], name: str) -> str:
    """Ask about a demonstration case; return the decision's identifier."""
    answer = httpx.post(
        f"{address}/v1/models/{DEMONSTRATION}/decisions",
        json={**request_body(DEMO_CASES[name]), "subject": SUBJECT},
        headers={"Authorization": f"Bearer {keys[Role.CALLER]}"},
        timeout=60,
    )
    assert answer.status_code == httpx.codes.CREATED, answer.text
    return str(answer.json()["id"])


def contested(address: str, keys: Mapping[Role, str], decision: str) -> None:
    """Decide a case and contest the decision."""
    for step, body in (
        ("take", {}),
        (
            "caseworker-decision",
            {
                "outcome": "priority",
                "reason": {"code": "facts_support", "text": "The home is adapted."},
            },
        ),
        ("contest", {"text": "Somebody else needs it more."}),
    ):
        answer = httpx.post(
            f"{address}/v1/decisions/{decision}/{step}",
            json=body,
            headers={"Authorization": f"Bearer {keys[Role.CASEWORKER]}"},
            timeout=60,
        )
        assert answer.status_code == httpx.codes.CREATED, answer.text
