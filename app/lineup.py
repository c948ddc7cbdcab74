"""One model's versions at one moment: which one advises on a case, and which ones only look on.

A frozen value that is swapped whole: a request that began under one lineup ends under it.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import orjson

from app.domain import Arm
from app.errors import UnknownModelError
from app.lifecycle import CanaryRun
from app.lifecycle_refusals import NoLiveVersionError
from app.served import ServedModel

_HUNDRED = 100


@dataclass(frozen=True, slots=True)
class Lineup:
    """The versions of one model that are in use."""

    live: ServedModel
    """The active version."""
    canary: ServedModel | None = None
    """The version that gets a share of the cases."""
    percent: int = 0
    """The canary's share."""
    canary_from: int = -1
    """The entry of the log that made it a canary."""
    canary_runs: tuple[CanaryRun, ...] = ()
    """When the active bundle was a canary under some policy and did not become active by it."""
    shadows: tuple[ServedModel, ...] = ()
    """Versions that score and explain every case, for nobody to see."""

    def choose(self, case: object) -> ServedModel:
        """Return the version that advises on this case: the same one in every process.

        ``case`` is the case as it was sent, before any version's schema is applied to it.
        """
        if self.canary is None:
            return self.live
        salt = f"{self.canary.bundle.digest}\n{self.canary.policy_digest}"
        return self.canary if share_of(case, salt) < self.percent / _HUNDRED else self.live

    def arm_of(self, bundle: str, policy: str, index: int) -> Arm | None:
        """Return whose figures a decision belongs to, by the log alone; None for neither's.

        ``bundle`` and ``policy`` are the digests in the decision's entry. What the active bundle did
        as a canary that was ended is left out; what led to its being active is its own.
        """
        canary = self.canary
        if (
            canary is not None
            and (bundle, policy) == (canary.bundle.digest, canary.policy_digest)
            and index > self.canary_from
        ):
            return "canary"
        if bundle != self.live.bundle.digest or any(
            run.policy == policy and run.begun < index < run.ended for run in self.canary_runs
        ):
            return None
        return "live"


def share_of(case: object, salt: str) -> float:
    """Return a case's place from 0 to below 1: even over cases, and the same for the same case.

    ``salt`` names the canary, so that it is not always the same people whom something new is tried
    on.
    """
    content = orjson.dumps(case, option=orjson.OPT_SORT_KEYS)
    digest = hashlib.sha256(salt.encode() + b"\0" + content).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


class Serving(Mapping[str, ServedModel]):
    """Every model's active version by name, as of this moment; one reference is swapped."""

    def __init__(self) -> None:
        self._lineups: Mapping[str, Lineup] = MappingProxyType({})
        self._waiting: frozenset[str] = frozenset()

    def publish(self, lineups: Mapping[str, Lineup], waiting: frozenset[str]) -> None:
        """Serve these from now on. ``waiting`` are models with no version that may advise here."""
        self._waiting = waiting
        self._lineups = MappingProxyType(dict(lineups))

    @property
    def lineups(self) -> tuple[Lineup, ...]:
        """Every model's versions in use."""
        return tuple(self._lineups.values())

    @property
    def versions(self) -> tuple[ServedModel, ...]:
        """Every version in use, of every model."""
        return tuple(
            version
            for lineup in self.lineups
            for version in (lineup.live, lineup.canary, *lineup.shadows)
            if version is not None
        )

    @property
    def waiting(self) -> frozenset[str]:
        """Models that are registered and of which no version advises here."""
        return self._waiting

    def lineup(self, name: str) -> Lineup:
        """Return a model's versions in use. Raises UnknownModelError or NoLiveVersionError."""
        found = self._lineups.get(name)
        if found is None:
            if name in self._waiting:
                raise NoLiveVersionError(
                    f"no version of {name} is live here: decide unaided, by the body's own procedure"
                )
            raise UnknownModelError(served=sorted(self._lineups))
        return found

    def arm_of(self, name: str, bundle: str, policy: str, index: int) -> Arm | None:
        """Return which of a model's versions in use a decision belongs to, as ``Lineup.arm_of``."""
        found = self._lineups.get(name)
        return None if found is None else found.arm_of(bundle, policy, index)

    def canary_run(self, name: str, bundle: str, policy: str, index: int) -> int | None:
        """Return the entry that began the canary which made a decision, None for any other decision."""
        found = self._lineups.get(name)
        if found is None or found.arm_of(bundle, policy, index) != "canary":
            return None
        return found.canary_from

    def __getitem__(self, name: str) -> ServedModel:
        """Return the active version. Raises KeyError."""
        return self._lineups[name].live

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._lineups)

    def __len__(self) -> int:
        """Return how many models have an active version here."""
        return len(self._lineups)
