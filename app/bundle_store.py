"""The store of bundles and policies by digest: what is in use, was in use, or is about to be.

A directory that only grows::

    bundles/<sha256 of the bundle>/...        the bundle's files, as ``models.bundle`` reads them
    policies/policy-<sha256>.yaml             a policy, as somebody wrote it

Nothing in it is ever replaced, except that a bundle may get a signature that it had not: the digest
does not cover it. What is read is digested again, so a store that was tampered with gives an error
and never another model. Several services that share a log share one store, or hold copies.
"""

import os
import re
import tempfile
from math import inf
from pathlib import Path

from app.policy import Policy, PolicyError, load_policy
from app.settings import Settings
from models.build import copy_bundle
from models.bundle import BundleFiles, read
from models.errors import FilesRefusedError

DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class NotStoredError(Exception):
    """The store has nothing under a digest."""


class BundleStore:
    """Bundles and policies by digest. Safe from any thread and beside other processes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def submit_bundle(self, path: Path) -> BundleFiles:
        """Copy the bundle at ``path`` into the store and return it as read back from there.

        Raises BundleRefusedError when it is none, or does not fit its own card.
        """
        files = read(path)
        return copy_bundle(files, self._bundle_path(files.digest))

    def submit_policy(
        self, path: Path, *, lowest_score: float = inf, highest_score: float = inf
    ) -> Policy:
        """Copy the policy at ``path`` into the store and return it. Raises PolicyError."""
        policy = load_policy(path, lowest_score=lowest_score, highest_score=highest_score)
        target = self._policy_path(policy.digest)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            _write_whole(target, path.read_bytes())
        return policy

    def bundle_by_digest(self, digest: str) -> BundleFiles:
        """Return the bundle with this digest (``sha256:<hex>``), read and digested again.

        This is how a replay finds the very bundle that a record names, in whatever stage its version
        is by now: what was once in use stays here. Open it with ``app.served.join``, with the policy
        that ``policy_by_digest`` gives. Raises NotStoredError when it was never submitted here, and
        BundleRefusedError when what is stored is not what the digest names.
        """
        path = self._bundle_path(digest)
        if not path.is_dir():
            raise NotStoredError(f"the store has no bundle {digest}")
        files = read(path, called=digest)
        if files.digest != digest:
            raise FilesRefusedError(f"bundle {digest} of the store", got=files.digest, want=digest)
        return files

    def policy_by_digest(self, digest: str) -> Policy:
        """Return the policy with this digest; as ``bundle_by_digest``, but PolicyError."""
        path = self._policy_path(digest)
        if not path.is_file():
            raise NotStoredError(f"the store has no policy {digest}")
        policy = load_policy(path, called=f"policy {digest}", lowest_score=inf)
        if policy.digest != digest:
            raise PolicyError(f"policy {digest} of the store is {policy.digest} by now")
        return policy

    def _bundle_path(self, digest: str) -> Path:
        return self.directory / "bundles" / _hex(digest)

    def _policy_path(self, digest: str) -> Path:
        return self.directory / "policies" / f"policy-{_hex(digest)}.yaml"


def store_of(settings: Settings) -> BundleStore:
    """Return the store that the settings name."""
    return BundleStore(settings.store_dir or settings.data_dir / "store")


def _hex(digest: str) -> str:
    """Return the digest's 64 characters: nothing else ever becomes a part of a path."""
    match = DIGEST.fullmatch(digest)
    if match is None:
        raise NotStoredError(f"got {digest[:80]!r}; want sha256: and 64 of 0-9 and a-f")
    return match.group(1)


def _write_whole(target: Path, content: bytes) -> None:
    """Put a file in place in one step, so that no reader finds half of it."""
    handle, draft = tempfile.mkstemp(dir=target.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    Path(draft).chmod(0o644)
    Path(draft).rename(target)
