"""The registry in one process: follows the log's entries, opens versions, swaps what is served.

What is in use, in shadow, or one rollback away is kept open. A version is opened and warmed up on a
thread of its own; then one reference is swapped. A version that the log says is live and that is not
open here is not replaced by another: until it is open, its model advises on nothing.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import structlog

from app.bundle_store import BundleStore, NotStoredError
from app.lifecycle import ModelState, RegistryState, VersionId
from app.lifecycle_refusals import BundleNotServableError, UnknownVersionError
from app.lineup import Lineup, Serving
from app.numbered import INTERVAL_SECONDS, Numbered, follow
from app.policy import Policy, PolicyError, misfit
from app.served import Progress, ServedModel, highest_score, join, lowest_score, with_policy
from app.settings import Settings
from app.trust import vouched
from audit.reader import LogReader
from explainers.errors import ExplanationError
from models.bundle import BundleFiles
from models.card import Card
from models.errors import ModelError

PREFIX = "registry"
_TRY_AGAIN = 40
"""After so many looks, ten seconds, what could not be opened is tried again."""
CANNOT_OPEN = (ModelError, ExplanationError, PolicyError, NotStoredError)

_log = structlog.get_logger("grounds.registry")


class Registry:
    """Every version's stage, as the log has it, and the versions that are open here."""

    def __init__(
        self,
        log: LogReader,
        store: BundleStore,
        settings: Settings,
        *,
        directories: Mapping[str, Path],
        at_hand: dict[str, BundleFiles],
        progress: Progress,
    ) -> None:
        """``directories`` say where a model's own settings are, by its name.

        ``at_hand``: what was just read from the store, by digest. A bundle that is opened first is
        taken from there instead of being read again.
        """
        self.store = store
        self.serving = Serving()
        self._settings, self._directories, self._progress = settings, directories, progress
        self._at_hand = at_hand
        self._numbered = Numbered(log, PREFIX, RegistryState())
        self._open: dict[VersionId, ServedModel] = {}
        self._failed: dict[VersionId, str] = {}
        self._held: Counter[VersionId] = Counter()
        self._warm_up: Callable[[ServedModel], None] = lambda _: None
        self._changed: list[Callable[[], None]] = []
        self._lock = threading.RLock()
        self._opening = threading.Lock()

    @property
    def state(self) -> RegistryState:
        """Every version's stage, as known at this moment."""
        return self._numbered.state

    @property
    def open_versions(self) -> frozenset[VersionId]:
        """The versions that are open in this process, ready to advise or to look on."""
        return frozenset(self._open)

    @property
    def faults(self) -> Mapping[VersionId, str]:
        """Why a version that is wanted here cannot be opened."""
        return dict(self._failed)

    @property
    def fault(self) -> str | None:
        """Why this service cannot advise on a model that is live elsewhere, or None."""
        for name in sorted(self.serving.waiting):
            model = self.state.model(name)
            for id_ in (model.active, model.canary):
                if id_ is not None and id_ not in self._open:
                    why = self._failed.get(id_, "it is being opened")
                    return f"a live version of {name} is not open here: {why}"
        return None

    def practise_with(self, warm_up: Callable[[ServedModel], None]) -> None:
        """Let every version that is opened from now on do once what a decision needs."""
        self._warm_up = warm_up

    def on_change(self, hear: Callable[[], None]) -> None:
        """Call ``hear`` after each change of what is served, on the thread that made it."""
        self._changed.append(hear)

    def files(self, id_: VersionId) -> tuple[BundleFiles, Policy]:
        """Return what a version is made of, from the store.

        Raises UnknownVersionError when it was never submitted, BundleNotServableError when bundle and
        policy are not of this model or the store was tampered with.
        """
        try:
            files = self._at_hand.pop(id_.bundle, None) or self.store.bundle_by_digest(id_.bundle)
            policy = self.store.policy_by_digest(id_.policy)
        except NotStoredError as err:
            raise UnknownVersionError(str(err)) from err
        except (ModelError, PolicyError) as err:
            raise BundleNotServableError(str(err)) from err
        check_fit(files.card, policy, id_.model)
        return files, policy

    def open(self, id_: VersionId) -> ServedModel:
        """Return a version, opened and warmed up; the same one again when it is open.

        Takes seconds the first time: not for the event loop's thread. Raises UnknownVersionError or
        BundleNotServableError.
        """
        with self._opening:
            found = self._open.get(id_)
            if found is None:
                found = self._opened(id_)
                self._warm_up(found)
                with self._lock:
                    self._open[id_] = found
                    self._failed.pop(id_, None)
            return found

    @contextmanager
    def held_open(self, id_: VersionId) -> Iterator[ServedModel]:
        """Open a version and keep it open, wanted or not yet, until its change is recorded."""
        with self._lock:
            self._held[id_] += 1
        try:
            yield self.open(id_)
        finally:
            with self._lock:
                self._held[id_] -= 1

    def refresh(self) -> RegistryState:
        """Take in what the log has by now, and serve accordingly. Raises AuditError."""
        with self._lock:
            before = self._numbered.state
            state = self._numbered.refresh()
            if state is not before:
                self._open_policies(state)
                self._arrange(state)
            return state

    def open_wanted(self) -> None:
        """Open whatever is wanted here and is not open yet; let go of what no longer is."""
        wanted = _wanted(self.state)
        for id_ in wanted:
            if id_ in self._open:
                continue
            try:
                self.open(id_)
            except (UnknownVersionError, BundleNotServableError) as err:
                if self._failed.get(id_) != str(err):
                    _log.error("version cannot be opened", model=id_.model, bundle=id_.bundle,
                               policy=id_.policy, reason=str(err))  # fmt: skip
                self._failed[id_] = str(err)
        with self._lock:
            state = self._numbered.state
            still = {*_wanted(state), *(+self._held)}
            self._open = {id_: served for id_, served in self._open.items() if id_ in still}
            self._failed = {id_: why for id_, why in self._failed.items() if id_ in still}
            self._arrange(state)

    async def run(self) -> None:
        """Follow the log until cancelled."""
        async with asyncio.TaskGroup() as group:  # should one fail, both begin again
            group.create_task(follow(self.refresh, "registry"))
            group.create_task(self._keep_open())

    async def _keep_open(self) -> None:
        # Apart from following: a rollback must not wait until something else is open.
        rounds = 0
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            rounds += 1
            wanted, have = set(_wanted(self.state)), set(self._open)
            hopeful = wanted - have - set(self._failed)
            if hopeful or have - wanted or (rounds % _TRY_AGAIN == 0 and wanted - have):
                await asyncio.to_thread(self.open_wanted)

    def _open_policies(self, state: RegistryState) -> None:
        """Put what advises by now under its new policy, where its bundle is open: that is quick.

        Left for later, a service would advise on nothing until the next look.
        """
        for id_ in _advising(state):
            same = self._same_bundle(id_)
            if id_ in self._open or same is None:
                continue
            try:
                self._open[id_] = self._under_policy(same, id_)
            except BundleNotServableError as err:
                self._failed[id_] = str(err)

    def _arrange(self, state: RegistryState) -> None:
        lineups: dict[str, Lineup] = {}
        waiting = set()
        for name, model in state.models.items():
            lineup = self._lineup(model)
            if lineup is not None:
                lineups[name] = lineup
            elif model.active is not None or model.before:
                waiting.add(name)
        self.serving.publish(lineups, frozenset(waiting))
        for hear in self._changed:
            hear()

    def _lineup(self, model: ModelState) -> Lineup | None:
        live = None if model.active is None else self._open.get(model.active)
        if live is None:
            return None
        canary, percent, begun = None, 0, -1
        if model.canary is not None:
            canary = self._open.get(model.canary)
            percent = model.versions[model.canary].percent or 0
            begun = model.versions[model.canary].canary_from or 0
            if canary is None:
                return None  # the log says that it advises on its share, and here it cannot
        return Lineup(
            live=live,
            canary=None if canary is None else replace(canary, arm="canary"),
            percent=percent,
            canary_from=begun,
            canary_runs=tuple(
                run
                for id_, version in model.versions.items()
                if id_.bundle == live.bundle.digest
                for run in version.canary_runs
            ),
            shadows=tuple(self._open[id_] for id_ in model.shadows if id_ in self._open),
        )

    def _opened(self, id_: VersionId) -> ServedModel:
        same = self._same_bundle(id_)
        if same is not None:
            return self._under_policy(same, id_)
        files, policy = self.files(id_)
        directory = self._directories.get(id_.model, self._settings.models_dir / id_.model)
        try:
            return join(
                files,
                policy,
                self._settings,
                vouched_for=vouched(files, self._settings),
                directory=directory,
                progress=self._progress,
            )
        except CANNOT_OPEN as err:
            raise BundleNotServableError(str(err)) from err

    def _same_bundle(self, id_: VersionId) -> ServedModel | None:
        opened = tuple(self._open.values())
        return next((each for each in opened if each.bundle.digest == id_.bundle), None)

    def _under_policy(self, same: ServedModel, id_: VersionId) -> ServedModel:
        try:
            policy = self.store.policy_by_digest(id_.policy)
            check_fit(same.bundle.card, policy, id_.model)
            return with_policy(same, policy)
        except CANNOT_OPEN as err:
            raise BundleNotServableError(str(err)) from err


def check_fit(card: Card, policy: Policy, model: str) -> None:
    """Raise BundleNotServableError unless bundle and policy are both of this model."""
    if card.name != model:
        raise BundleNotServableError(f"the bundle is of the model {card.name}, want {model}")
    if policy.model != model:
        raise BundleNotServableError(f"the policy is for the model {policy.model}, want {model}")
    fault = misfit(policy, lowest_score=lowest_score(card), highest_score=highest_score(card))
    if fault is not None:
        raise BundleNotServableError(fault)


def _advising(state: RegistryState) -> tuple[VersionId, ...]:
    """Return the versions that advise."""
    return tuple(
        id_
        for model in state.models.values()
        for id_ in (model.active, model.canary)
        if id_ is not None
    )


def _wanted(state: RegistryState) -> tuple[VersionId, ...]:
    """Return the versions to keep open, the most urgent first."""
    ready: list[VersionId] = []
    for model in state.models.values():
        ready += model.shadows
        ready += model.before[-1:]
    return tuple(dict.fromkeys((*_advising(state), *ready)))
