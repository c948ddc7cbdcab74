"""An owner who submits, accepts and moves versions over HTTP, with keys and signed reports of their own."""

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from app.bundle_store import store_of
from app.domain import Kind, Role
from app.ids import utc_now
from app.keys import KeyStore
from app.settings import Settings
from app.supplied.report import Check, Report, Status, sign_report
from app.supplied.suite import CHECKS
from tests.signed import acceptor_key

REASON = "A test."


@dataclass(frozen=True, slots=True)
class Submitted:
    """A bundle and a policy in the store."""

    bundle: str
    policy: str

    @property
    def body(self) -> dict[str, str]:
        return {"bundle": self.bundle, "policy": self.policy, "reason": REASON}


@dataclass(slots=True)
class Owner:
    """The model's owner, with a person's key."""

    settings: Settings
    client: httpx.Client
    model: str
    name: str = "owner-1"
    role: Role = Role.MODEL_OWNER
    _key: dict[str, str] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        if not self._key:
            with closing(KeyStore(self.settings.data_dir / "access.sqlite3")) as store:
                key = store.create(
                    name=self.name, role=self.role, clock=utc_now, kind=Kind.HUMAN, actor=self.name
                )
            self._key = {"Authorization": f"Bearer {key}"}
        return self._key

    def submit(self, directory: Path) -> Submitted:
        """Put ``bundle/`` and ``policy.yaml`` of a directory into the store."""
        store = store_of(self.settings)
        files = store.submit_bundle(directory / "bundle")
        return Submitted(files.digest, store.submit_policy(directory / "policy.yaml").digest)

    def submit_policy(self, directory: Path, policy: Mapping[str, object]) -> str:
        path = directory / f"policy-{policy['version']}.yaml"
        path.write_text(yaml.safe_dump(dict(policy)))
        return store_of(self.settings).submit_policy(path).digest

    def post(self, path: str, body: object) -> httpx.Response:
        return self.client.post(f"/v1/models/{self.model}/{path}", json=body, headers=self.headers)

    def get(self, path: str, **params: str) -> httpx.Response:
        return self.client.get(
            f"/v1/models/{self.model}/{path}", headers=self.headers, params=params
        )

    def register(self, version: Submitted) -> httpx.Response:
        return self.post("versions", version.body)

    def move(self, version: Submitted, stage: str, **more: object) -> httpx.Response:
        """Move a version to a stage; to accepted with a signed report."""
        if stage == "accepted" and "report" not in more:
            more = {"report": report(self.model, version), **more}
        return self.post("stages", {**version.body, "stage": stage, **more})

    def bring(self, version: Submitted, *stages: str) -> None:
        """Register a version and move it through these stages."""
        answer = self.register(version)
        assert answer.status_code == 201, answer.text
        for stage in stages:
            answer = self.move(version, stage)
            assert answer.status_code == 200, answer.text

    def stages(self) -> dict[str, str]:
        """Return each version's stage, by the two digests."""
        shown = self.get("versions").json()["versions"]
        return {each["bundle"] + each["policy"]: each["stage"] for each in shown}

    def shown(self, version: Submitted) -> dict[str, Any]:
        """Return what is shown of one version."""
        (found,) = self._all_shown(version)
        return found

    def is_open(self, version: Submitted) -> bool:
        """Return whether a version is known there and open, ready to advise."""
        return any(each["open_here"] for each in self._all_shown(version))

    def _all_shown(self, version: Submitted) -> list[dict[str, Any]]:
        return [
            dict(each)
            for each in self.get("versions").json()["versions"]
            if (each["bundle"], each["policy"]) == (version.bundle, version.policy)
        ]


def report(
    model: str, version: Submitted, *, key: Path | None = None, failed: str | None = None
) -> dict[str, object]:
    """Return a signed acceptance report on a version, in which everything passed but ``failed``."""

    def status(name: str) -> Status:
        return "failed" if name == failed else "passed"

    made = Report(
        made="2026-11-24T10:00:00.000Z",
        model=model,
        version="1",
        digest=version.bundle,
        supplier="test-supplier",
        policy="p",
        policy_digest=version.policy,
        grounds="test",
        checks=tuple(Check(name=name, status=status(name), summary="Tried.") for name in CHECKS),
    )
    signed: dict[str, object] = json.loads(sign_report(made, (key or acceptor_key()).read_bytes()))
    return signed
