"""The supplier that the tests trust: a key of their own, and bundles signed with it."""

import os
from pathlib import Path

from models.bundle import BundleFiles, read
from models.signing import make_key, sign_bundle

SUPPLIER = "test-supplier"
ACCEPTOR = "test-buyer"


def trust_tests(directory: Path) -> None:
    """Make the key in ``directory`` and let every service started from here on trust it."""
    _, public = make_key(directory, SUPPLIER)
    trusted = directory / "suppliers"
    trusted.mkdir()
    public.rename(trusted / public.name)
    os.environ["GROUNDS_SUPPLIERS_DIR"] = str(trusted)
    _, public = make_key(directory, ACCEPTOR)
    acceptors = directory / "acceptors"
    acceptors.mkdir()
    public.rename(acceptors / public.name)
    os.environ["GROUNDS_ACCEPTORS_DIR"] = str(acceptors)


def signed(files: BundleFiles) -> BundleFiles:
    """Return the bundle as read back after the tests' supplier has signed it."""
    sign_bundle(files.path, key=supplier_key())
    return read(files.path)


def supplier_key() -> Path:
    """Return the tests' supplier's private key."""
    return Path(os.environ["GROUNDS_SUPPLIERS_DIR"]).parent / f"{SUPPLIER}.key"


def acceptor_key() -> Path:
    """Return the private key of the buyer whose acceptance reports the tests' services trust."""
    return Path(os.environ["GROUNDS_ACCEPTORS_DIR"]).parent / f"{ACCEPTOR}.key"
