"""Signatures of bundles: who vouches for these very bytes.

The format is OpenSSF model signing 1.x (a Sigstore bundle with a DSSE envelope around the digests of
all files), so a supplier may sign with that project's own tool and need not have ours. It works
without a network, with a key on a curve that the format allows or with a certificate. What is
verified is what was read into memory: the files on disk may have changed since.

The library takes half a second to import, so it is imported where it is used: at load, never later.
"""

import base64
import binascii
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from models.bundle import SIGNATURE, BundleFiles, read
from models.errors import SignatureRefusedError, SigningError

PREDICATE = "https://model_signing/signature/v1.0"
_KEY, _CERTIFICATE = "BEGIN PUBLIC KEY", "BEGIN CERTIFICATE"

Mode = Literal["key", "certificate"]


@dataclass(frozen=True, slots=True)
class Supplier:
    """Someone whose signature is trusted: a public key, or certificates that lead to theirs."""

    name: str
    """The file's name without its ending: what the operator who put it there calls them."""
    mode: Mode
    fingerprint: str
    """SHA-256 of the public key (PEM), or of the first certificate (DER), in hexadecimal."""
    path: Path


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed a bundle, as verified."""

    supplier: str
    mode: Mode
    fingerprint: str


def load_suppliers(directory: Path) -> tuple[Supplier, ...]:
    """Return the trusted suppliers: every ``NAME.pem`` of the directory; none when it is missing.

    Raises SigningError for a PEM file that is neither a public key nor certificates.
    """
    if not directory.is_dir():
        return ()
    return tuple(_supplier(path) for path in sorted(directory.glob("*.pem")))


def verify_signature(files: BundleFiles, suppliers: Sequence[Supplier]) -> Signer:
    """Return which supplier signed exactly these files.

    Raises SignatureRefusedError when there is no signature, when it covers other bytes or not all
    files, and when nobody in ``suppliers`` made it.
    """
    signature = files.contents.get(SIGNATURE)
    if signature is None:
        raise SignatureRefusedError(
            f"bundle {files.path}", got="no signature", want=f"{SIGNATURE} of a trusted supplier"
        )
    envelope = _Envelope.parse(signature)
    _check_covered(files, envelope)
    candidates = [supplier for supplier in suppliers if envelope.may_be_from(supplier)]
    reasons = []
    for supplier in candidates:
        reason = _fault(files, supplier)
        if reason is None:
            return Signer(supplier.name, supplier.mode, supplier.fingerprint)
        reasons.append(f"{supplier.name}: {reason}")
    trusted = ", ".join(supplier.name for supplier in suppliers) or "nobody"
    raise SignatureRefusedError(
        f"signature of bundle {files.path}",
        got=f"one by {envelope.signer}" + (f" ({'; '.join(reasons)})" if reasons else ""),
        want=f"one by a trusted supplier: {trusted}",
    )


def sign_bundle(
    path: Path, *, key: Path, certificate: Path | None = None, chain: Sequence[Path] = ()
) -> None:
    """Sign the bundle at ``path`` with a private key, in certificate mode where one is given.

    Raises BundleRefusedError when it is no bundle, SigningError when the key does not fit.
    """
    from model_signing import hashing, signing

    read(path)
    # The library leaves its constructors without types.
    hashed = hashing.Config()  # type: ignore[no-untyped-call]
    hashed.set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)
    config = signing.Config()  # type: ignore[no-untyped-call]
    config.set_hashing_config(hashed)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as directory:
        made = Path(directory) / SIGNATURE
        try:
            if certificate is None:
                config.use_elliptic_key_signer(private_key=key)
            else:
                config.use_certificate_signer(
                    private_key=key, signing_certificate=certificate, certificate_chain=chain
                )
            config.sign(path, made)
        except (ValueError, TypeError, AttributeError, OSError, UnsupportedAlgorithm) as err:
            raise SigningError(
                f"signing {path} with {key}: got {err}; want an unencrypted private key on the "
                "curve P-256, and the certificate that belongs to it"
            ) from err
        made.chmod(0o644)
        made.replace(path / SIGNATURE)


def make_key(directory: Path, name: str) -> tuple[Path, Path]:
    """Write a new P-256 key pair, ``NAME.key`` and ``NAME.pem``, and return both paths.

    Raises SigningError rather than replace a key.
    """
    private, public = directory / f"{name}.key", directory / f"{name}.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    directory.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as err:
        raise SigningError(f"{private}: got a file there; want no such path") from err
    with os.fdopen(handle, "wb") as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    public.write_bytes(_pem(key.public_key()))
    return private, public


@dataclass(frozen=True, slots=True)
class _Envelope:
    """What a signature claims, before anything of it is believed."""

    digests: Mapping[str, str]
    """The file names that it says it covers, with their SHA-256."""
    key: str | None
    """The fingerprint of the key it says it was made with; None for certificates."""
    certificate: str | None
    """The fingerprint of the certificate it says it was made with."""

    @property
    def signer(self) -> str:
        if self.key is not None:
            return f"the key {self.key[:16]}..."
        return f"the certificate {(self.certificate or '')[:16]}..."

    def may_be_from(self, supplier: Supplier) -> bool:
        if self.key is not None:
            return supplier.mode == "key" and supplier.fingerprint == self.key
        # Any certificate of the chain may be the one that is trusted; verifying finds out.
        return supplier.mode == "certificate"

    @classmethod
    def parse(cls, content: bytes) -> "_Envelope":
        try:
            bundle = json.loads(content)
            material = bundle["verificationMaterial"]
            statement = json.loads(
                base64.b64decode(bundle["dsseEnvelope"]["payload"], validate=True)
            )
            predicate = statement["predicate"]
            if statement["predicateType"] != PREDICATE:
                raise SignatureRefusedError(
                    SIGNATURE, got=repr(statement["predicateType"]), want=f"{PREDICATE}"
                )
            if predicate["serialization"]["method"] != "files":
                raise SignatureRefusedError(
                    SIGNATURE, got="digests of shards", want="the digest of each file"
                )
            digests = {}
            for resource in predicate["resources"]:
                if resource["algorithm"] != "sha256":
                    raise SignatureRefusedError(
                        SIGNATURE, got=f"digests by {resource['algorithm']}", want="sha256"
                    )
                digests[str(resource["name"])] = str(resource["digest"])
            key, certificate = None, None
            if "publicKey" in material:
                key = str(material["publicKey"]["hint"])
            else:
                first = material["x509CertificateChain"]["certificates"][0]["rawBytes"]
                certificate = hashlib.sha256(base64.b64decode(first, validate=True)).hexdigest()
        except (
            ValueError, KeyError, TypeError, IndexError, RecursionError, binascii.Error
        ) as err:  # fmt: skip
            raise SignatureRefusedError(
                SIGNATURE,
                got=f"something else ({type(err).__name__})",
                want="a signature of OpenSSF model signing 1.x in key or certificate mode",
            ) from err
        return cls(digests, key, certificate)


def _check_covered(files: BundleFiles, envelope: _Envelope) -> None:
    """Refuse unless the signature names exactly these files with these digests.

    A signer can leave files out, and the library then passes over them: here none may be.
    """
    actual = {
        name: hashlib.sha256(content).hexdigest()
        for name, content in files.contents.items()
        if name != SIGNATURE
    }
    for what, names in (
        ("files that are not signed", actual.keys() - envelope.digests.keys()),
        ("no file for the signed", envelope.digests.keys() - actual.keys()),
        (
            "files edited since they were signed",
            {name for name in actual if envelope.digests.get(name, actual[name]) != actual[name]},
        ),
    ):
        if names:
            raise SignatureRefusedError(
                f"signature of bundle {files.path}",
                got=f"{what}: {', '.join(sorted(names)[:8])}",
                want="every file exactly as it was signed",
            )


def _fault(files: BundleFiles, supplier: Supplier) -> str | None:
    """Return why this is not the supplier's signature of these bytes, None when it is."""
    from model_signing import verifying

    with tempfile.TemporaryDirectory() as directory:
        # A copy of what was read: the files at ``files.path`` may be others by now. The signature
        # stands outside it, as it may have done where it was made.
        copy, signature = Path(directory) / "bundle", Path(directory) / SIGNATURE
        copy.mkdir()
        for name, content in files.contents.items():
            (signature if name == SIGNATURE else copy / name).write_bytes(content)
        config = verifying.Config()  # type: ignore[no-untyped-call]  # the library
        try:
            if supplier.mode == "key":
                config.use_elliptic_key_verifier(public_key=supplier.path)
            else:
                config.use_certificate_verifier(certificate_chain=[supplier.path])
            config.verify(copy, signature)
        except Exception as err:  # noqa: BLE001  whatever a hostile signature makes it raise, it does not hold
            return (
                str(err).strip().splitlines()[0][:200] if str(err).strip() else "it does not hold"
            )
    return None


def _supplier(path: Path) -> Supplier:
    want = "a public key (EC, PEM), or certificates (PEM)"
    try:
        content = path.read_bytes()
        text = content.decode("ascii")
        if "PRIVATE KEY" in text:
            raise SigningError(f"{path}: got a private key; want {want}")
        if _KEY in text:
            key = serialization.load_pem_public_key(content)
            if not isinstance(key, ec.EllipticCurvePublicKey):
                raise SigningError(f"{path}: got {type(key).__name__}; want {want}")
            return Supplier(path.stem, "key", hashlib.sha256(_pem(key)).hexdigest(), path)
        if _CERTIFICATE in text:
            first = x509.load_pem_x509_certificates(content)[0]
            raw = first.public_bytes(serialization.Encoding.DER)
            return Supplier(path.stem, "certificate", hashlib.sha256(raw).hexdigest(), path)
    except (OSError, ValueError, UnsupportedAlgorithm) as err:
        raise SigningError(f"{path}: got {err}; want {want}") from err
    raise SigningError(f"{path}: got neither; want {want}")


def _pem(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
