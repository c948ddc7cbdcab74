"""Who vouches for a bundle, as settings decide: a trusted supplier, or openly nobody.

A bundle without the signature of a trusted supplier is not served. A developer may allow bundles with
no signature at all; then every answer, the record of the start and the service's log say so. A
signature that is there must hold even then.
"""

from dataclasses import dataclass

import structlog

from app.settings import Settings
from models.bundle import SIGNATURE, BundleFiles
from models.errors import SignatureRefusedError
from models.signing import load_suppliers, verify_signature

WARNING = (
    "DEVELOPMENT ONLY: nobody has signed this model. It is served because GROUNDS_ALLOW_UNSIGNED is "
    "set. Do not use it for a real decision."
)

_log = structlog.get_logger("grounds.trust")


@dataclass(frozen=True, slots=True)
class Vouched:
    """What is known of who made a served bundle."""

    supplier: str | None
    """The trusted supplier's name; None where nobody has signed it."""
    fingerprint: str | None

    def body(self) -> dict[str, object]:
        """Return it as the answer says it."""
        return {
            "status": "unsigned" if self.supplier is None else "verified",
            "supplier": self.supplier,
            "warning": WARNING if self.supplier is None else None,
        }


def vouched(files: BundleFiles, settings: Settings) -> Vouched:
    """Return who vouches for the bundle.

    Raises SignatureRefusedError when it may not be served, SigningError when a trusted supplier's
    file cannot be read.
    """
    if settings.allow_unsigned and SIGNATURE not in files.contents:
        _log.warning("unsigned bundle", model=files.card.name, warning=WARNING)
        return Vouched(None, None)
    suppliers = load_suppliers(settings.suppliers_dir)
    if not suppliers:
        raise SignatureRefusedError(
            f"trusted suppliers in {settings.suppliers_dir}",
            got="none",
            want="a NAME.pem for each, in GROUNDS_SUPPLIERS_DIR",
        )
    signer = verify_signature(files, suppliers)
    return Vouched(signer.supplier, signer.fingerprint)
