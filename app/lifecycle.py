"""The life of a model's versions: submitted, accepted, shadow, live, retired. Pure, told by the log.

A version is a bundle and a policy, both by digest: there is no "latest". At most one version of a
model is active; another may be live beside it for a share of the cases, as a canary. The entries
``registry.1``, ``registry.2`` and so on tell the whole state, and what is needed for it is in their
leaves: anybody who holds the log's leaves, without any key, derives the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias, get_args

from app.lifecycle_refusals import StageRefusedError, UnknownVersionError
from audit.errors import DamagedLogError
from audit.leaf import Fact, Facts
from audit.records import StoredRecord

REGISTERED: Final = "model_registered"
STAGE_CHANGED: Final = "stage_changed"
POLICY_CHANGED: Final = "policy_changed"
EntryType: TypeAlias = Literal["model_registered", "stage_changed", "policy_changed"]

Stage: TypeAlias = Literal["submitted", "accepted", "shadow", "live", "retired"]
STAGES: tuple[Stage, ...] = get_args(Stage)
MOST_SHADOWS = 3
"""Shadows of one model at a time: each scores and explains every case."""


@dataclass(frozen=True, slots=True)
class VersionId:
    """One version of a model: which bundle, under which policy."""

    model: str
    bundle: str
    """``sha256:<hex>``, as in every record."""
    policy: str


@dataclass(frozen=True, slots=True)
class Version:
    """A registered version and where it stands."""

    id: VersionId
    name: str
    """What its card calls this version."""
    policy_name: str
    """What its policy calls itself."""
    stage: Stage
    since: str
    """When it came to this stage, as its entry's leaf says."""
    percent: int | None = None
    """The share of cases of a canary; None for the active version and in any other stage."""
    was_accepted: bool = False
    """Whether it ever was: then it may be taken up again after it was retired."""
    shadow_from: int | None = None
    """The entry that last brought it into shadow."""
    shadow_until: int | None = None
    """The entry that took it out again."""
    canary_from: int | None = None
    """The entry that made it a canary, while it is one; another share is no other canary."""
    canary_runs: tuple["CanaryRun", ...] = ()
    """Its times as a canary that did not lead to being active."""


@dataclass(frozen=True, slots=True)
class CanaryRun:
    """A time as a canary that is over: under which policy, and the entries that began and ended it."""

    policy: str
    begun: int
    ended: int


@dataclass(frozen=True, slots=True)
class EndedCanary:
    """A canary that the circuit breaker ended."""

    id: VersionId
    limits: tuple[str, ...]
    """The limits that it broke."""
    at: str
    """When, as its entry's leaf says."""


@dataclass(frozen=True, slots=True)
class ModelState:
    """One model's versions."""

    versions: Mapping[VersionId, Version] = field(default_factory=dict)
    active: VersionId | None = None
    canary: VersionId | None = None
    before: tuple[VersionId, ...] = ()
    """What was active before, the latest last: where a rollback leads."""
    ended: EndedCanary | None = None
    """The canary that the circuit breaker ended, until somebody moves it or begins with another."""
    stepped_back: bool = False
    """Whether what advises was last changed by a step back: a rollback, or the circuit breaker's."""

    @property
    def shadows(self) -> tuple[VersionId, ...]:
        """The versions in shadow, in the order of their registration."""
        return tuple(id_ for id_, each in self.versions.items() if each.stage == "shadow")

    def taken_over_by(self, id_: VersionId) -> VersionId | None:
        """Return the version whose cases another bundle would take over by going live.

        None where there is none, and for a bundle that was active before.
        """
        active = (*self.before, *(() if self.active is None else (self.active,)))
        known = any(each.bundle == id_.bundle for each in active)
        return active[-1] if active and not known else None


@dataclass(frozen=True, slots=True)
class RegistryState:
    """Every model's versions, after so many entries."""

    count: int = 0
    models: Mapping[str, ModelState] = field(default_factory=dict)

    def model(self, name: str) -> ModelState:
        """Return one model's versions; empty for a model that nobody registered."""
        return self.models.get(name, ModelState())

    def version(self, id_: VersionId) -> Version:
        """Return a registered version. Raises UnknownVersionError."""
        found = self.model(id_.model).versions.get(id_)
        if found is None:
            raise UnknownVersionError(
                f"no version of {id_.model} has the bundle {id_.bundle} and the policy {id_.policy}"
            )
        return found

    def after(self, entry: StoredRecord) -> "RegistryState":
        """Return the state after one more entry. Raises DamagedLogError for one that is none."""
        try:
            changed = _changed(self, entry)
        except (KeyError, TypeError, UnknownVersionError) as err:
            raise DamagedLogError(f"{entry.id} does not say what changed: {err}") from err
        name, model = changed
        before = self.model(name)
        if entry.facts.get("rollback"):
            model = replace(model, stepped_back=True)
        elif (model.active, model.canary) != (before.active, before.canary):
            model = replace(model, stepped_back=False)
        return RegistryState(self.count + 1, {**self.models, name: model})


def allowed_stages(state: ModelState, version: Version) -> tuple[Stage, ...]:
    """Return the stages that a version may go to next."""
    match version.stage:
        case "submitted":
            return ("accepted", "retired")
        case "accepted":
            return ("shadow", "retired")
        case "shadow":
            return ("live", "accepted", "retired")
        case "live":
            return ("retired",) if version.id == state.active else ("live", "shadow", "retired")
        case "retired":
            return ("shadow",) if version.was_accepted else ()


def check_stage(state: ModelState, version: Version, stage: Stage, percent: int | None) -> None:
    """Raise StageRefusedError, saying what is allowed, unless the version may go to this stage."""
    allowed = allowed_stages(state, version)
    if stage not in allowed:
        raise StageRefusedError(
            f"from {version.stage} a version goes to {' or '.join(allowed) or 'no other stage'}, "
            f"not to {stage}"
        )
    if percent is not None and stage != "live":
        raise StageRefusedError(f"percent is for the stage live, and this is {stage}")
    if percent is not None and state.active is None:
        raise StageRefusedError("a canary runs beside an active version, and there is none")
    if stage == "live" and state.canary not in (None, version.id):
        raise StageRefusedError(
            "another canary is under way: take it back to shadow, retire it, or make it live first"
        )
    if stage == "shadow" and len(state.shadows) >= MOST_SHADOWS:
        raise StageRefusedError(f"{MOST_SHADOWS} versions are in shadow already, which is the most")


def rollback_target(state: ModelState, leaving: VersionId | None = None) -> VersionId | None:
    """Return what a rollback makes active again; None when it only ends a canary.

    ``leaving`` is the version that is to be left. It has to be named for a step further back: of two
    people who roll back one after the other, each means the version that both saw. Raises
    StageRefusedError when there is nothing to undo, or another version than that would be left.
    """
    if state.canary is None and not state.before:
        raise StageRefusedError("no version was active before this one: stop the model instead")
    if leaving is None and state.stepped_back:
        raise StageRefusedError(
            "what advises was last changed by a step back already; to go back further, name the "
            "version to leave by its bundle and policy"
        )
    if leaving not in (None, state.canary or state.active):
        raise StageRefusedError(
            "a rollback would leave another version: look at the versions first"
        )
    return None if state.canary is not None else state.before[-1]


def version_facts(id_: VersionId, name: str, policy_name: str) -> dict[str, Fact]:
    """Return how a leaf names a version: the model as recommendations do."""
    return {
        "model": {"name": id_.model, "version": name, "sha256": _hex(id_.bundle)},
        "policy": {"version": policy_name, "sha256": _hex(id_.policy)},
    }


def _changed(state: RegistryState, entry: StoredRecord) -> tuple[str, ModelState]:
    facts = entry.facts
    id_, name, policy_name = _named(facts)
    model = state.model(id_.model)
    match entry.type:
        case "model_registered":
            stage = _stage(facts)
            version = Version(id_, name, policy_name, stage, entry.timestamp)
            made = replace(model, versions={**model.versions, id_: version})
            return id_.model, _activated(made, version) if stage == "live" else made
        case "stage_changed":
            return id_.model, _staged(model, state.version(id_), entry)
        case "policy_changed":
            earlier = model.versions.get(id_)
            version = Version(
                id_,
                name,
                policy_name,
                "live",
                entry.timestamp,
                was_accepted=True,
                canary_runs=() if earlier is None else earlier.canary_runs,
            )
            return id_.model, _activated(model, version)
        case _:
            raise KeyError(entry.type)


def _staged(model: ModelState, version: Version, entry: StoredRecord) -> ModelState:
    facts = entry.facts
    stage, percent = _stage(facts), facts["percent"]
    if not (percent is None or isinstance(percent, int)):
        raise TypeError("percent")
    begun, runs = _canary_times(version, stage, percent, entry.index)
    moved = replace(
        version,
        stage=stage,
        since=entry.timestamp,
        percent=percent,
        was_accepted=version.was_accepted or stage == "accepted",
        canary_from=begun,
        canary_runs=runs,
    )
    model = replace(model, ended=_ended(model.ended, moved, entry))
    if stage == "shadow":
        moved = replace(moved, shadow_from=entry.index, shadow_until=None)
    elif version.stage == "shadow":
        moved = replace(moved, shadow_until=entry.index)
    if facts["rollback"] and stage == "live":
        return _rolled_back(model, moved)
    if stage == "live" and percent is None:
        return _activated(model, moved)
    return replace(
        model,
        versions={**model.versions, version.id: moved},
        active=None if version.id == model.active else model.active,
        before=(*model.before, version.id) if version.id == model.active else model.before,
        canary=version.id if stage == "live" else _without(model.canary, version.id),
    )


def _canary_times(
    version: Version, stage: Stage, percent: int | None, index: int
) -> tuple[int | None, tuple[CanaryRun, ...]]:
    """Return since when a version is a canary after this change, and its times that are over."""
    begun, runs = version.canary_from, version.canary_runs
    if stage != "live":
        over = () if begun is None else (CanaryRun(version.id.policy, begun, index),)
        return None, (*runs, *over)
    if percent is None:
        return None, runs
    return index if begun is None else begun, runs


def _ended(before: EndedCanary | None, moved: Version, entry: StoredRecord) -> EndedCanary | None:
    broken = entry.facts.get("broken_limits")
    if isinstance(broken, list | tuple) and broken:
        return EndedCanary(moved.id, tuple(map(str, broken)), entry.timestamp)
    is_over = before is None or moved.id == before.id or moved.percent is not None
    return None if is_over else before


def _activated(model: ModelState, version: Version) -> ModelState:
    """Return the state in which this version takes all cases, and the one before it is retired."""
    versions = {**model.versions, version.id: version}
    before = model.before
    if model.active not in (None, version.id):
        versions[model.active] = _retired(versions[model.active], version.since)
        before = (*before, model.active)
    return replace(
        model,
        versions=versions,
        active=version.id,
        canary=_without(model.canary, version.id),
        before=before,
        ended=None if model.ended is None or model.ended.id == version.id else model.ended,
    )


def _rolled_back(model: ModelState, version: Version) -> ModelState:
    versions = {**model.versions, version.id: version}
    if model.active not in (None, version.id):
        versions[model.active] = _retired(versions[model.active], version.since)
    return replace(model, versions=versions, active=version.id, before=model.before[:-1])


def _retired(version: Version, at: str) -> Version:
    return replace(version, stage="retired", since=at, percent=None)


def _without(canary: VersionId | None, id_: VersionId) -> VersionId | None:
    return None if canary == id_ else canary


def _named(facts: Facts) -> tuple[VersionId, str, str]:
    model, policy = facts["model"], facts["policy"]
    if not (isinstance(model, Mapping) and isinstance(policy, Mapping)):
        raise TypeError("model and policy")
    id_ = VersionId(str(model["name"]), f"sha256:{model['sha256']}", f"sha256:{policy['sha256']}")
    return id_, str(model["version"]), str(policy["version"])


def _stage(facts: Facts) -> Stage:
    for stage in STAGES:
        if facts["stage"] == stage:
            return stage
    raise KeyError("stage")


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
