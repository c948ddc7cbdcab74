"""A small service whose policy keeps the advice back, asks for care, or is at some impact level."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from app.domain import Kind, Role
from app.ids import utc_now
from app.keys import KeyStore
from app.settings import Settings
from tests.app import tiny
from tests.signed import signed
from tests.started import Started, start

REASON = {"code": "facts_support", "text": "Looked at everything."}


class Governed:
    """The service, with people by name."""

    def __init__(self, started: Started) -> None:
        self.started = started
        self._keys: dict[tuple[str, Role], str] = {}

    def person(self, name: str, role: Role = Role.CASEWORKER) -> dict[str, str]:
        """Return the header that carries a person's key."""
        if (name, role) not in self._keys:
            path = self.started.settings.data_dir / "access.sqlite3"
            with closing(KeyStore(path)) as store:
                self._keys[name, role] = store.create(
                    name=name, role=role, clock=utc_now, kind=Kind.HUMAN, actor=name
                )
        return {"Authorization": f"Bearer {self._keys[name, role]}"}

    @property
    def machine(self) -> dict[str, str]:
        """Return the header of the case-management system."""
        return self.started.key(Role.CALLER)

    def ask(self, case: Mapping[str, object] = tiny.CASE, **more: object) -> httpx.Response:
        """Ask for a recommendation, as the case-management system."""
        return self.post(f"/v1/models/{tiny.NAME}/decisions", {"case": case, **more}, self.machine)

    def post(self, path: str, body: object, headers: Mapping[str, str]) -> httpx.Response:
        response: httpx.Response = self.started.client.post(path, json=body, headers=dict(headers))
        return response

    def get(self, path: str, headers: Mapping[str, str]) -> httpx.Response:
        response: httpx.Response = self.started.client.get(path, headers=dict(headers))
        return response

    def step(
        self, decision: str, step: str, headers: Mapping[str, str], **body: object
    ) -> httpx.Response:
        """Take a step of a case."""
        return self.post(f"/v1/decisions/{decision}/{step}", body, headers)

    def assess(self, decision: str, name: str, outcome: str = "no") -> httpx.Response:
        return self.step(
            decision, "own-assessment", self.person(name),
            outcome=outcome, confidence="high", reason=REASON,
        )  # fmt: skip

    def decide(
        self, decision: str, name: str, outcome: str = "yes", **more: object
    ) -> httpx.Response:
        return self.step(
            decision, "caseworker-decision", self.person(name),
            outcome=outcome, reason=REASON, **more,
        )  # fmt: skip


@contextmanager
def governed(
    directory: Path,
    *,
    aia: bytes | None = None,
    settings: Mapping[str, Any] | None = None,
    **policy: object,
) -> Iterator[Governed]:
    """Run the service under a policy that says more than the small model's own."""
    made = tiny.write(directory / "models" / tiny.NAME)
    if aia is not None:
        (made.path / "aia.json").write_bytes(aia)
        signed(made)
    written = directory / "models" / tiny.NAME / "policy.yaml"
    written.write_text(yaml.safe_dump({**tiny.policy(), **policy}))
    with start(
        Settings(models_dir=directory / "models", data_dir=directory / "data", **(settings or {}))
    ) as started:
        yield Governed(started)
