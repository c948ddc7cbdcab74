"""The report of an acceptance: what was tried, by whom, on which bundle; signed, and for reading.

The signed form is a DSSE envelope (https://github.com/secure-systems-lab/dsse) with an ECDSA
signature, so that tools which nobody here wrote can check it. The text is made from the same content.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ConfigDict, ValidationError

from models.errors import SigningError

PAYLOAD_TYPE = "application/vnd.grounds.acceptance+json"

Status = Literal["passed", "failed", "not_done"]


class ReportError(SigningError):
    """A report cannot be read, or nobody trusted signed it."""


class Check(BaseModel):
    """One thing that was tried."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    status: Status
    summary: str
    """What came of it, or why it was not done, in one sentence."""
    details: Mapping[str, object] = {}


class Report(BaseModel):
    """What a buyer found out about a supplied bundle."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Literal[1] = 1
    made: str
    model: str
    version: str
    digest: str
    supplier: str | None
    """Who signed it, as verified."""
    policy: str
    policy_digest: str
    grounds: str
    checks: tuple[Check, ...]

    @property
    def is_accepted(self) -> bool:
        """Whether everything was done and passed."""
        return all(check.status == "passed" for check in self.checks)


def sign_report(report: Report, key: bytes) -> bytes:
    """Return the report in an envelope signed with a private key (PEM, EC).

    Raises ReportError for another kind of key.
    """
    try:
        private = serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as err:
        raise ReportError(f"the key to sign with: got {err}; want an EC private key, PEM") from err
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise ReportError("the key to sign with: got another kind; want an EC private key, PEM")
    payload = report.model_dump_json().encode()
    signature = private.sign(_encoded(payload), ec.ECDSA(hashes.SHA256()))
    envelope = {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [
            {
                "keyid": _fingerprint(private.public_key()),
                "sig": base64.b64encode(signature).decode(),
            }
        ],
    }
    return (json.dumps(envelope, indent=1) + "\n").encode()


def verify_report(envelope: bytes, key: bytes) -> Report:
    """Return the report if the holder of this public key (PEM, EC) signed it.

    Raises ReportError when it is no report, was edited, or was signed with another key.
    """
    try:
        public = serialization.load_pem_public_key(key)
        content = json.loads(envelope)
        payload = base64.b64decode(content["payload"], validate=True)
        signature = base64.b64decode(content["signatures"][0]["sig"], validate=True)
        if content["payloadType"] != PAYLOAD_TYPE:
            raise ReportError(f"report: got {content['payloadType']!r}; want {PAYLOAD_TYPE}")
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise ReportError("the key to verify with: got another kind; want an EC public key")
        public.verify(signature, _encoded(payload), ec.ECDSA(hashes.SHA256()))
        return Report.model_validate_json(payload)
    except InvalidSignature as err:
        raise ReportError(
            "report: got a signature that does not hold; want one of this key over these bytes"
        ) from err
    except (ValueError, KeyError, TypeError, IndexError, ValidationError,
            UnsupportedAlgorithm) as err:  # fmt: skip
        raise ReportError(f"report: got {type(err).__name__}; want a signed report") from err


def as_markdown(report: Report) -> str:
    """Return the report for reading."""
    verdict = "Accepted" if report.is_accepted else "Not accepted"
    lines = [
        f"# Acceptance of {report.model} {report.version}: {verdict}",
        "",
        f"- Bundle: `{report.digest}`",
        f"- Supplier: {report.supplier or 'nobody trusted has signed it'}",
        f"- Policy: {report.policy}, `{report.policy_digest}`",
        f"- Made: {report.made} by Grounds {report.grounds}",
        "",
        "| check | result | what came of it |",
        "|---|---|---|",
        *(
            f"| {check.name} | {check.status.replace('_', ' ')} | {_cell(check.summary)} |"
            for check in report.checks
        ),
    ]
    for check in report.checks:
        if check.details:
            lines += ["", f"## {check.name}", "", "```json",
                      json.dumps(check.details, indent=1, ensure_ascii=False), "```"]  # fmt: skip
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _encoded(payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(pem).hexdigest()
