"""What the log keeps of each change of the registry: in the leaf what changed, in the payload who and why.

Nothing here is about a person whom a decision concerns, and nothing of it can be erased by subject.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.domain import Caller, Kind
from app.lifecycle import (
    POLICY_CHANGED,
    REGISTERED,
    STAGE_CHANGED,
    EntryType,
    RegistryState,
    Stage,
    Version,
    VersionId,
    version_facts,
)
from app.policy import Policy
from app.registry import PREFIX
from app.trust import Vouched
from audit.leaf import Fact
from audit.reader import LogReader
from audit.records import NewRecord, StoredRecord
from models.bundle import BundleFiles


@dataclass(frozen=True, slots=True)
class Said:
    """Who changed something, when and why."""

    actor: str
    role: str
    is_human: bool
    at: str
    reason: str


def said_by(caller: Caller, *, at: str, reason: str) -> Said:
    """Return what a caller says of a change."""
    return Said(caller.name, caller.role.value, caller.kind is Kind.HUMAN, at, reason)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A buyer's signed report, as it was handed in."""

    signer: str
    envelope: Mapping[str, Any]


def registered_record(
    state: RegistryState,
    files: BundleFiles,
    policy: Policy,
    vouched: Vouched,
    said: Said,
    *,
    stage: Stage = "submitted",
) -> NewRecord:
    """Return the entry of a new version: its card and its policy whole, to be read years later."""
    id_ = VersionId(files.card.name, files.digest, policy.digest)
    return _record(
        state,
        REGISTERED,
        {**version_facts(id_, files.card.version, policy.version), "stage": stage},
        said,
        card=files.card.model_dump(mode="json"),
        policy=policy.model_dump(mode="json"),
        signature={**vouched.body(), "fingerprint": vouched.fingerprint},
        impact_level=None if files.impact is None else files.impact.level,
    )


def stage_record(
    state: RegistryState,
    version: Version,
    stage: Stage,
    said: Said,
    *,
    percent: int | None = None,
    rollback: bool = False,
    acceptance: Acceptance | None = None,
) -> NewRecord:
    """Return the entry of a change of stage."""
    facts = {
        **version_facts(version.id, version.name, version.policy_name),
        "stage": stage,
        "from": version.stage,
        "percent": percent,
        "rollback": rollback,
    }
    report = None if acceptance is None else {
        "signer": acceptance.signer, "report": acceptance.envelope
    }  # fmt: skip
    return _record(state, STAGE_CHANGED, facts, said, acceptance=report)


def ended_canary_record(
    state: RegistryState,
    canary: Version,
    broken: Sequence[str],
    said: Said,
    **figures: object,
) -> NewRecord:
    """Return the entry by which the circuit breaker ends a canary: its cases go to the active version.

    ``broken`` names the limits; ``figures`` are what was found, and go into the payload.
    """
    facts = {
        **version_facts(canary.id, canary.name, canary.policy_name),
        "stage": "shadow",
        "from": canary.stage,
        "percent": None,
        "rollback": True,
        "broken_limits": sorted(set(broken)),
    }
    return _record(state, STAGE_CHANGED, facts, said, **figures)


def policy_record(
    state: RegistryState, active: Version, policy: Policy, vouched: Vouched, said: Said
) -> NewRecord:
    """Return the entry that puts another policy around the active version's bundle."""
    id_ = VersionId(active.id.model, active.id.bundle, policy.digest)
    was = {"version": active.policy_name, "sha256": active.id.policy.removeprefix("sha256:")}
    return _record(
        state,
        POLICY_CHANGED,
        {**version_facts(id_, active.name, policy.version), "from": was},
        said,
        policy=policy.model_dump(mode="json"),
        signature={**vouched.body(), "fingerprint": vouched.fingerprint},
    )


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the registry, read back from the log."""

    number: int
    index: int
    type: EntryType
    id: VersionId
    version: str
    policy_version: str
    stage: Stage
    percent: int | None
    rollback: bool
    at: str
    actor: str
    role: str
    is_human: bool
    reason: str
    accepted_by: str | None
    """Whose signed report let it be accepted."""


def changes(log: LogReader, state: RegistryState, model: str) -> list[Change]:
    """Return every change of a model's versions, oldest first, read from the log alone.

    Raises AuditError.
    """
    found = []
    for number in range(1, state.count + 1):
        entry = log.read(f"{PREFIX}.{number}")
        change = _change(number, entry)
        if change.id.model == model:
            found.append(change)
    return found


def _change(number: int, entry: StoredRecord) -> Change:
    facts: Mapping[str, Any] = entry.facts
    said = {} if entry.payload is None else orjson.loads(entry.payload)
    model, policy = facts["model"], facts["policy"]
    acceptance = said.get("acceptance")
    return Change(
        number=number,
        index=entry.index,
        type=entry.type,  # type: ignore[arg-type]  # only such entries have these identifiers
        id=VersionId(model["name"], f"sha256:{model['sha256']}", f"sha256:{policy['sha256']}"),
        version=model["version"],
        policy_version=policy["version"],
        stage=facts.get("stage", "live"),
        percent=facts.get("percent"),
        rollback=facts.get("rollback", False),
        at=entry.timestamp,
        actor=said.get("actor", ""),
        role=said.get("role", ""),
        is_human=said.get("human", False),
        reason=said.get("reason", ""),
        accepted_by=None if acceptance is None else acceptance["signer"],
    )


def _record(
    state: RegistryState, type_: EntryType, facts: Mapping[str, Fact], said: Said, **more: object
) -> NewRecord:
    payload = {
        "v": 1,
        "actor": said.actor,
        "role": said.role,
        "human": said.is_human,
        "at": said.at,
        "reason": said.reason,
        **more,
    }
    return NewRecord(
        type=type_,
        id=f"{PREFIX}.{state.count + 1}",
        facts=facts,
        payload=orjson.dumps(payload),
    )
