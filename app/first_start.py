"""What the directory of models means: at a model's first start it is what is served, later it is an inbox.

A model that the log knows nothing of is registered and made live, with the operator as the actor: a
plain directory serves in one command. From then on the registry says what is served, and another
bundle or policy found in the directory is submitted, no more.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from app.bundle_store import BundleStore
from app.domain import OPERATOR, Clock
from app.gates import check_may_advise
from app.ids import timestamp
from app.lifecycle import VersionId
from app.lifecycle_refusals import BundleNotServableError
from app.policy import Policy, PolicyError
from app.registry import Registry, check_fit
from app.registry_entries import registered_record, said_by
from app.served import highest_score, lowest_score
from app.settings import Settings
from app.trust import vouched
from audit.errors import DuplicateIdError
from audit.records import NewRecord
from models.bundle import BundleFiles

FIRST = "Found in the directory of models at the model's first start."
LATER = "Found in the directory of models at a start."

_log = structlog.get_logger("grounds.start")


@dataclass(frozen=True, slots=True)
class Found:
    """A bundle and a policy in the directory of models, copied into the store."""

    files: BundleFiles
    policy: Policy
    directory: Path

    @property
    def id(self) -> VersionId:
        """Which version it is."""
        return VersionId(self.files.card.name, self.files.digest, self.policy.digest)


def find_models(settings: Settings, store: BundleStore) -> dict[str, Found]:
    """Return what is in the directory of models, by model; nothing where there is no directory.

    Raises ModelError or PolicyError for what cannot be read, and for two models of one name.
    """
    found: dict[str, Found] = {}
    top = settings.models_dir
    for directory in sorted(top.iterdir()) if top.is_dir() else ():
        if not directory.is_dir() or directory.name.startswith("."):
            continue
        files = store.submit_bundle(directory / "bundle")
        policy = store.submit_policy(
            directory / "policy.yaml",
            lowest_score=lowest_score(files.card),
            highest_score=highest_score(files.card),
        )
        made = Found(files, policy, directory)
        if made.id.model in found:
            raise PolicyError(f"{directory} holds a second model named {made.id.model}")
        found[made.id.model] = made
    return found


def register_found(
    found: Mapping[str, Found],
    registry: Registry,
    settings: Settings,
    append: Callable[[NewRecord], object],
    *,
    clock: Clock,
) -> None:
    """Record what the log does not know yet: live at a model's first start, else submitted.

    Raises ModelError, PolicyError, BundleNotServableError, ObligationsUnmetError or AuditError: then
    the service does not start.
    """
    for model in found.values():
        check_fit(model.files.card, model.policy, model.id.model)
        while True:
            state = registry.refresh()
            versions = state.model(model.id.model).versions
            if model.id in versions:
                break
            now = clock()
            if versions:
                signed_by = vouched(model.files, settings)
            else:
                signed_by = registry.open(model.id).vouched
                check_may_advise(model.files, model.policy, settings, on=now.date(), earlier=None)
            record = registered_record(
                state,
                model.files,
                model.policy,
                signed_by,
                said_by(OPERATOR, at=timestamp(now), reason=LATER if versions else FIRST),
                stage="submitted" if versions else "live",
            )
            try:
                append(record)
            except DuplicateIdError:
                continue  # another service recorded something meanwhile: look again
            if versions:
                _log.warning("submitted, not served", model=model.id.model, bundle=model.id.bundle,
                             policy=model.id.policy)  # fmt: skip
    if not registry.refresh().models and not settings.models_dir.is_dir():
        raise PolicyError(
            f"there is no directory of models at {settings.models_dir}: set GROUNDS_MODELS_DIR, "
            "or make the demonstration's with `grounds demo`"
        )


def check_served(registry: Registry) -> None:
    """Raise BundleNotServableError when what the log says is live cannot be opened here."""
    for name in sorted(registry.serving.waiting):
        model = registry.state.model(name)
        for id_ in (model.active, model.canary):
            if id_ is not None and id_ in registry.faults:
                raise BundleNotServableError(f"{name}: {registry.faults[id_]}")
