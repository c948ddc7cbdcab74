"""The models that are in use: bundles by name, and for each name the one that is active."""

from collections.abc import Iterable

from models.bundle import Bundle
from models.errors import UnknownModelError


class Registry:
    """Bundles by name and digest, one of each name active.

    The active one is always chosen by digest, never by being the newest.
    """

    def __init__(self, bundles: Iterable[Bundle] = ()) -> None:
        self._bundles: dict[str, dict[str, Bundle]] = {}
        self._active: dict[str, Bundle] = {}
        for bundle in bundles:
            self.add(bundle)
            self._active.setdefault(bundle.card.name, bundle)

    def add(self, bundle: Bundle) -> None:
        """Make a bundle known without making it active."""
        self._bundles.setdefault(bundle.card.name, {})[bundle.digest] = bundle

    def activate(self, name: str, digest: str) -> Bundle:
        """Make that bundle the one that answers for ``name``. Raises UnknownModelError."""
        bundle = self.get(name, digest)
        self._active[name] = bundle
        return bundle

    def active(self, name: str) -> Bundle:
        """Return the bundle that answers for ``name``. Raises UnknownModelError."""
        try:
            return self._active[name]
        except KeyError:
            raise UnknownModelError(
                f"model: got {name[:64]!r}; want one of {', '.join(self.names()) or 'none yet'}"
            ) from None

    def get(self, name: str, digest: str) -> Bundle:
        """Return that very bundle. Raises UnknownModelError."""
        try:
            return self._bundles[name][digest]
        except KeyError:
            raise UnknownModelError(
                f"model: got {name[:64]!r} with digest {digest[:80]!r}; want one that is registered"
            ) from None

    def names(self) -> tuple[str, ...]:
        """Return the names that have an active bundle, in alphabetical order."""
        return tuple(sorted(self._active))

    def bundles(self, name: str) -> tuple[Bundle, ...]:
        """Return every bundle of that name in the order they were added; empty when unknown."""
        return tuple(self._bundles.get(name, {}).values())
