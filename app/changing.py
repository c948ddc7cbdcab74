"""The changes that people make to the registry: each checked against the state, then one entry.

Nothing here records anything: a change is made for a state, and the log takes its number once. Whatever
has to be open for the change is open before its entry is written, so that it takes effect at once.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import orjson

from app.domain import Caller, Clock, Kind
from app.gates import check_accepted, check_may_advise
from app.ids import timestamp
from app.lifecycle import (
    RegistryState,
    Stage,
    VersionId,
    check_stage,
    rollback_target,
)
from app.lifecycle_refusals import AlreadyRegisteredError, StageRefusedError
from app.refusals import HumanNeededError
from app.registry import Registry
from app.registry_entries import (
    Acceptance,
    Said,
    policy_record,
    registered_record,
    said_by,
    stage_record,
)
from app.settings import Settings
from audit.records import NewRecord


@dataclass(frozen=True, slots=True)
class Changing:
    """Makes the entries of changes. Its methods take seconds where something has to be opened."""

    registry: Registry
    settings: Settings
    clock: Clock

    def register(
        self, state: RegistryState, id_: VersionId, caller: Caller, reason: str, held: ExitStack
    ) -> NewRecord:
        """Return the entry of a new version, whose bundle and policy are in the store.

        Raises AlreadyRegisteredError, UnknownVersionError, BundleNotServableError.
        """
        known = state.model(id_.model).versions.get(id_)
        if known is not None:
            raise AlreadyRegisteredError(f"this version is registered, in the stage {known.stage}")
        files, policy = self.registry.files(id_)
        served = held.enter_context(self.registry.held_open(id_))
        return registered_record(state, files, policy, served.vouched, self._said(caller, reason))

    def stage(
        self,
        state: RegistryState,
        id_: VersionId,
        stage: Stage,
        caller: Caller,
        reason: str,
        held: ExitStack,
        *,
        percent: int | None = None,
        report: Mapping[str, Any] | None = None,
    ) -> NewRecord:
        """Return the entry of a change of stage.

        ``percent`` makes a canary of a version; ``report`` is the signed acceptance report, for the
        stage accepted. Raises HumanNeededError, UnknownVersionError, StageRefusedError,
        ObligationsUnmetError, BundleNotServableError.
        """
        _check_human(caller)
        version = state.version(id_)
        check_stage(state.model(id_.model), version, stage, percent)
        acceptance = None
        if stage == "accepted" and not version.was_accepted:
            envelope = None if report is None else orjson.dumps(report)
            signer = check_accepted(envelope, id_, self.settings)
            if signer is not None and report is not None:
                acceptance = Acceptance(signer, report)
        elif report is not None:
            raise StageRefusedError("report is for the stage accepted, the first time")
        if stage in ("shadow", "live"):
            held.enter_context(self.registry.held_open(id_))
        if stage == "live":
            self._check_may_advise(id_, state)
        said = self._said(caller, reason)
        return stage_record(state, version, stage, said, percent=percent, acceptance=acceptance)

    def policy(
        self,
        state: RegistryState,
        model: str,
        digest: str,
        caller: Caller,
        reason: str,
        held: ExitStack,
    ) -> NewRecord:
        """Return the entry that puts another policy of the store around the active bundle.

        Raises HumanNeededError, StageRefusedError, UnknownVersionError, ObligationsUnmetError,
        BundleNotServableError.
        """
        _check_human(caller)
        active = state.model(model).active
        if active is None:
            raise StageRefusedError(f"{model} has no active version: a version is made live first")
        id_ = VersionId(model, active.bundle, digest)
        if id_ == active:
            raise StageRefusedError("this policy is the active version's already")
        _, policy = self.registry.files(id_)
        served = held.enter_context(self.registry.held_open(id_))
        self._check_may_advise(id_, state)
        said = self._said(caller, reason)
        return policy_record(state, state.version(active), policy, served.vouched, said)

    def rollback(
        self,
        state: RegistryState,
        model: str,
        caller: Caller,
        reason: str,
        held: ExitStack,
        *,
        leaving: VersionId | None = None,
    ) -> NewRecord:
        """Return the entry that undoes the latest step towards live.

        While a canary is under way, it goes back to shadow; else the version that was active before
        is active again. ``leaving`` is needed for a second step. Raises HumanNeededError,
        StageRefusedError, ObligationsUnmetError.
        """
        _check_human(caller)
        of = state.model(model)
        target = rollback_target(of, leaving)
        said = self._said(caller, reason)
        if target is None:
            canary = of.versions[of.canary] if of.canary is not None else None
            if canary is None:
                raise StageRefusedError("there is no canary to end")
            return stage_record(state, canary, "shadow", said, rollback=True)
        held.enter_context(self.registry.held_open(target))
        self._check_may_advise(target, state)
        return stage_record(state, state.version(target), "live", said, rollback=True)

    def _check_may_advise(self, id_: VersionId, state: RegistryState) -> None:
        files, policy = self.registry.files(id_)
        earlier = state.model(id_.model).taken_over_by(id_)
        check_may_advise(
            files,
            policy,
            self.settings,
            on=self.clock().date(),
            earlier=None if earlier is None else self.registry.files(earlier)[0].card,
        )

    def _said(self, caller: Caller, reason: str) -> Said:
        return said_by(caller, at=timestamp(self.clock()), reason=reason)


def _check_human(caller: Caller) -> None:
    if caller.kind is not Kind.HUMAN:
        raise HumanNeededError(
            "only a person answers for what is in use, and this key is a machine's"
        )
