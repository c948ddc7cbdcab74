"""Whether a bundle may be served at all, as settings decide, and who vouches for it.

A bundle without the signature of a trusted supplier is not served. A developer may allow bundles with
no signature at all; then every answer, the record of the start and the service's log say so. A
signature that is there must hold even then. A model with a protected attribute among its fields is not
served either, under the rules of any country.
"""

from dataclasses import dataclass

import structlog

from app.settings import Settings
from models.bundle import SIGNATURE, BundleFiles
from models.errors import SignatureRefusedError
from models.forbidden import check_fields
from models.profile import load_profile
from models.signing import Signer, load_suppliers, verify_signature

WARNING = (
    "DEVELOPMENT ONLY: nobody has signed this model. It is served because GROUNDS_ALLOW_UNSIGNED is "
    "set. Do not use it for a real decision."
)

UNRULED = (
    "RESEARCH ONLY: no country's rules were applied to this model (GROUNDS_PROFILE is none). Do not "
    "use it for a real decision."
)

_log = structlog.get_logger("grounds.trust")


@dataclass(frozen=True, slots=True)
class Vouched:
    """What is known of who made a served bundle."""

    supplier: str | None
    """The trusted supplier's name; None where nobody has signed it."""
    fingerprint: str | None
    warning: str | None = None
    """Why it must not be used for a real decision, if so."""

    def body(self) -> dict[str, object]:
        """Return it as the answer says it."""
        return {
            "status": "unsigned" if self.supplier is None else "verified",
            "supplier": self.supplier,
            "warning": self.warning,
        }


def vouched(files: BundleFiles, settings: Settings) -> Vouched:
    """Return who vouches for the bundle.

    Raises SignatureRefusedError or CardRefusedError when it may not be served, SigningError when a
    trusted supplier's file cannot be read.
    """
    warnings = []
    if settings.profile == "none":
        warnings.append(UNRULED)
    else:
        check_fields(files.card, load_profile(settings.profile))
    signer = _signer(files, settings)
    if signer is None:
        warnings.append(WARNING)
    for warning in warnings:
        _log.warning("not for real decisions", model=files.card.name, warning=warning)
    told = " ".join(warnings) or None
    if signer is None:
        return Vouched(None, None, told)
    return Vouched(signer.supplier, signer.fingerprint, told)


def _signer(files: BundleFiles, settings: Settings) -> Signer | None:
    if settings.allow_unsigned and SIGNATURE not in files.contents:
        return None
    suppliers = load_suppliers(settings.suppliers_dir)
    if not suppliers:
        raise SignatureRefusedError(
            "trusted suppliers",
            got="none in GROUNDS_SUPPLIERS_DIR",
            want="a NAME.pem for each there",
        )
    return verify_signature(files, suppliers)
