"""Finding the very model and policy that a recorded decision names, by their digests.

Any version that is still in the store or in one of the directories will do, in whatever stage: a replay
years later asks for what was used, not for what is in use. Policies are in the log itself, whole, with
every start and every change of the registry.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import orjson
from pydantic import ValidationError

from app.bundle_store import store_of
from app.lifecycle import POLICY_CHANGED, REGISTERED
from app.policy import Policy, PolicyError, load_policy
from app.records import STARTED
from app.served import ServedModel, join, with_policy
from app.settings import Settings
from app.trust import Vouched
from audit.rare import RareEntries
from audit.reader import LogReader
from models.bundle import CARD, MODEL, digest_at, read
from models.errors import ModelError

_DEPTH = 6
"""How far below a directory bundles are looked for."""
_KEPT_OPEN = 8
"""Models at once: each holds its tables in memory."""
NOBODY = Vouched(None, None)
"""Who vouched for a bundle is a fact of the record, not something that a replay decides."""


class MissingModelError(Exception):
    """What a record names is not there; the text says what, and where it was looked for."""


class Library:
    """Models by digest: those served, and others opened when first asked for. Safe from any thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        directories: Iterable[Path] = (),
        served: Iterable[ServedModel] = (),
        policies: Callable[[], Mapping[str, Policy]] = dict,
    ) -> None:
        """``directories`` are searched for bundles and policies besides the store and the models.

        ``policies`` returns others by digest, and is asked when one is not found there.
        """
        self._settings = settings
        self._named = tuple(directories)
        self._directories = (store_of(settings).directory, settings.models_dir, *self._named)
        self._served = {(each.bundle.digest, each.policy_digest): each for each in served}
        self._policies: dict[str, Policy] = {}
        self._more_policies = policies
        self._opened: OrderedDict[tuple[str, str], ServedModel] = OrderedDict()
        self._bundles: dict[str, Path] = {}
        self._lock = threading.Lock()

    def find(
        self, bundle_digest: str, policy_digest: str, *, among: Iterable[ServedModel] = ()
    ) -> ServedModel:
        """Return the model with these digests.

        ``among`` are versions that are open already: one of them, or its bundle under the policy that
        is asked for, needs no opening. Raises MissingModelError when it is nowhere; ModelError, ExplanationError or PolicyError when
        it cannot be opened any more.
        """
        key = (bundle_digest, policy_digest)
        if key in self._served:
            return self._served[key]
        same = [each for each in among if each.bundle.digest == bundle_digest]
        for each in same:
            if each.policy_digest == policy_digest:
                return each
        with self._lock:
            if key not in self._opened:
                self._opened[key] = self._open(bundle_digest, policy_digest, same)
            self._opened.move_to_end(key)
            if len(self._opened) > _KEPT_OPEN:
                self._opened.popitem(last=False)
            return self._opened[key]

    def under(self, bundle_digest: str, policy: Policy) -> ServedModel:
        """Return a bundle by digest with another policy around it; as ``find``."""
        with self._lock:
            self._policies.setdefault(policy.digest, policy)
        return self.find(bundle_digest, policy.digest)

    def _open(
        self, bundle_digest: str, policy_digest: str, same: Sequence[ServedModel]
    ) -> ServedModel:
        path = self._bundle(bundle_digest)
        if path is None and not same:
            raise MissingModelError(f"no bundle {bundle_digest} is {self._where()}")
        policy = self._policy(policy_digest)
        if policy is None:
            raise MissingModelError(
                f"no policy {policy_digest} is {self._where()}, nor in the log's record of a start"
            )
        if path is None or same:
            return with_policy(same[0], policy)
        return join(read(path), policy, self._settings, vouched_for=NOBODY, directory=path.parent)

    def _where(self) -> str:
        # Only the directories that whoever asks has named: a service's own places are nobody's business.
        named = "".join(f", or under {each}" for each in self._named)
        return f"in the store or the models' directory{named}"

    def _bundle(self, digest: str) -> Path | None:
        for served in self._served.values():
            if served.bundle.digest == digest:
                return served.bundle.path
        if digest not in self._bundles:
            self._bundles = dict(self._found_bundles())
        return self._bundles.get(digest)

    def _found_bundles(self) -> Iterator[tuple[str, Path]]:
        for place, names in self._walk():
            if {MODEL, CARD} <= names:
                try:
                    yield digest_at(place), place
                except ModelError:
                    continue  # no bundle, whatever else it is: then no record names it either

    def _policy(self, digest: str) -> Policy | None:
        if digest not in self._policies:
            for served in self._served.values():
                self._policies.setdefault(served.policy_digest, served.policy)
        if digest not in self._policies:
            for place, names in self._walk():
                for name in sorted(names):
                    if name.startswith("policy") and name.endswith((".yaml", ".yml")):
                        self._take(place / name)
        if digest not in self._policies:
            self._policies.update(self._more_policies())
        return self._policies.get(digest)

    def _take(self, path: Path) -> None:
        try:
            policy = load_policy(path, lowest_score=float("inf"))
        except PolicyError:
            return  # of a later or earlier form: no policy that this version could apply
        self._policies.setdefault(policy.digest, policy)

    def _walk(self) -> Iterator[tuple[Path, frozenset[str]]]:
        for top in self._directories:
            depth = len(top.parts)
            for place, below, names in os.walk(top, followlinks=True):
                path = Path(place)
                if len(path.parts) - depth >= _DEPTH:
                    below.clear()
                yield path, frozenset(names)


def recorded_policies(log: LogReader) -> dict[str, Policy]:
    """Return every policy that the log holds whole, by digest: of starts, and of what was registered.

    A record that was erased, or is of a form that this version does not know, adds none.
    """
    found: dict[str, Policy] = {}
    for index, leaf in RareEntries(log, (STARTED, REGISTERED, POLICY_CHANGED)).entries():
        payload = log.read_index(index).payload
        if payload is None:
            continue
        said = orjson.loads(payload)
        held = [said] if leaf.type != STARTED else said["models"].values()
        for told in held:
            policy = _parsed(told["policy"])
            if policy is not None:
                found.setdefault(policy.digest, policy)
    return found


def _parsed(told: object) -> Policy | None:
    try:
        # JSON has no infinity: the start's record says null for a band without a lower end.
        if isinstance(told, dict):
            told = {
                **told,
                "bands": [
                    {
                        **band,
                        "at_least": float("-inf") if band["at_least"] is None else band["at_least"],
                    }
                    for band in told["bands"]
                ],
            }
        return Policy.model_validate(told)
    except (ValidationError, KeyError, TypeError):
        return None
