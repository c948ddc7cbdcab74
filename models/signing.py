"""Signatures of bundles: who vouches for these very bytes.

The format is OpenSSF model signing 1.x (a Sigstore bundle with a DSSE envelope around the digests of
all files), so a supplier may sign with that project's own tool and need not have ours. It works
without a network, with a key on a curve that the format allows or with a certificate. What is
verified is what was read into memory: the files on disk may have changed since.

A signature made with a key is verified here, for the project's library takes a third of a second to
import, most of it for signing over a network: one signature over bytes that we read ourselves anyway.
Certificates are its work, and so is signing. The tests hold both readings against each other.
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
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from models.bundle import SIGNATURE, BundleFiles, read
from models.errors import SignatureRefusedError, SigningError

PREDICATE = "https://model_signing/signature/v1.0"
_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_HASH_OF_CURVE = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
"""The curves that the format allows, each with the hash that it prescribes."""
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
            f"bundle {files.called}", got="no signature", want=f"{SIGNATURE} of a trusted supplier"
        )
    envelope = _Envelope.parse(signature)
    _check_covered(files, envelope)
    candidates = [supplier for supplier in suppliers if envelope.may_be_from(supplier)]
    reasons = []
    for supplier in candidates:
        reason = (
            _key_fault(envelope, supplier)
            if supplier.mode == "key"
            else _certificate_fault(files, supplier)
        )
        if reason is None:
            return Signer(supplier.name, supplier.mode, supplier.fingerprint)
        reasons.append(f"{supplier.name}: {reason}")
    trusted = ", ".join(supplier.name for supplier in suppliers) or "nobody"
    raise SignatureRefusedError(
        f"signature of bundle {files.called}",
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
    payload: bytes
    """What was signed: the statement that the digests are read from."""
    signature: bytes

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
            material, envelope = bundle["verificationMaterial"], bundle["dsseEnvelope"]
            payload = base64.b64decode(envelope["payload"], validate=True)
            (made,) = envelope["signatures"]
            statement = json.loads(payload)
            predicate = statement["predicate"]
            for got, want in (
                (bundle["mediaType"], _MEDIA_TYPE),
                (envelope["payloadType"], _PAYLOAD_TYPE),
                (statement["_type"], _STATEMENT),
                (statement["predicateType"], PREDICATE),
            ):
                if got != want:
                    raise SignatureRefusedError(SIGNATURE, got=repr(got), want=want)
            if predicate["serialization"]["method"] != "files":
                raise SignatureRefusedError(
                    SIGNATURE, got="digests of shards", want="the digest of each file"
                )
            digests = {}
            whole = hashlib.sha256()
            for resource in predicate["resources"]:
                if resource["algorithm"] != "sha256":
                    raise SignatureRefusedError(
                        SIGNATURE, got=f"digests by {resource['algorithm']}", want="sha256"
                    )
                digests[str(resource["name"])] = str(resource["digest"])
                whole.update(bytes.fromhex(resource["digest"]))
            (subject,) = statement["subject"]
            if subject["digest"]["sha256"] != whole.hexdigest():
                raise SignatureRefusedError(
                    SIGNATURE, got=repr(subject["digest"]["sha256"]), want=whole.hexdigest()
                )
            signature = base64.b64decode(made["sig"], validate=True)
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
        return cls(digests, key, certificate, payload, signature)


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
                f"signature of bundle {files.called}",
                got=f"{what}: {', '.join(sorted(names)[:8])}",
                want="every file exactly as it was signed",
            )


def _key_fault(envelope: _Envelope, supplier: Supplier) -> str | None:
    """Return why this is not the signature of the supplier's key, None when it is."""
    try:
        key = _public_key(supplier.path.read_bytes())
        if hashlib.sha256(_pem(key)).hexdigest() != envelope.key:
            return f"{supplier.path.name} is another key by now"
        kind = _HASH_OF_CURVE.get(key.curve.name)
        if kind is None:
            return f"the format has no signatures on the curve {key.curve.name}"
        # DSSE's pre-authentication encoding: the type is signed with the payload.
        head = f"DSSEv1 {len(_PAYLOAD_TYPE)} {_PAYLOAD_TYPE} {len(envelope.payload)} "
        key.verify(envelope.signature, head.encode() + envelope.payload, ec.ECDSA(kind))
    except InvalidSignature:
        return "it does not hold"
    except (OSError, ValueError, UnsupportedAlgorithm) as err:
        return f"{supplier.path.name}: {type(err).__name__}"
    return None


def _certificate_fault(files: BundleFiles, supplier: Supplier) -> str | None:
    """Return why nobody whom the supplier's certificates vouch for signed these bytes, or None."""
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
            fingerprint = hashlib.sha256(_pem(_public_key(content))).hexdigest()
            return Supplier(path.stem, "key", fingerprint, path)
        if _CERTIFICATE in text:
            first = x509.load_pem_x509_certificates(content)[0]
            raw = first.public_bytes(serialization.Encoding.DER)
            return Supplier(path.stem, "certificate", hashlib.sha256(raw).hexdigest(), path)
    except (OSError, ValueError, UnsupportedAlgorithm) as err:
        raise SigningError(f"{path}: got {err}; want {want}") from err
    raise SigningError(f"{path}: got neither; want {want}")


def _public_key(pem: bytes) -> ec.EllipticCurvePublicKey:
    """Return the key. Raises UnsupportedAlgorithm when it is of another kind, ValueError when none."""
    key = serialization.load_pem_public_key(pem)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise UnsupportedAlgorithm(f"got {type(key).__name__}")
    return key


def _pem(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
