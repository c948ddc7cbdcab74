"""Who signed a bundle is known, or it is refused with the reason; the foreign tool agrees."""

import base64
import datetime
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from models.bundle import SIGNATURE, read
from models.errors import BundleRefusedError, SignatureRefusedError, SigningError
from models.signing import load_suppliers, make_key, sign_bundle, verify_signature
from tests.models.graphs import write

TODAY = datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write(tmp_path / "bundle").path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A supplier's private key; its public one is trusted."""
    private, public = make_key(tmp_path / "keys", "acme")
    (tmp_path / "suppliers").mkdir()
    public.rename(tmp_path / "suppliers" / "acme.pem")
    return private


def test_a_signed_bundle_names_its_supplier_and_keeps_its_digest(bundle: Path, key: Path) -> None:
    before = read(bundle).digest
    sign_bundle(bundle, key=key)
    files = read(bundle)
    signer = verify_signature(files, load_suppliers(key.parents[1] / "suppliers"))
    assert (signer.supplier, signer.mode) == ("acme", "key")
    assert files.digest == before
    assert oct(key.stat().st_mode)[-3:] == "600"


def test_an_unsigned_bundle_is_refused(bundle: Path, key: Path) -> None:
    with pytest.raises(SignatureRefusedError, match="got no signature"):
        verify_signature(read(bundle), load_suppliers(key.parents[1] / "suppliers"))


@pytest.mark.usefixtures("key")
def test_an_unknown_supplier_is_refused_by_name_of_who_is_known(
    bundle: Path, tmp_path: Path
) -> None:
    other, _ = make_key(tmp_path / "keys", "stranger")
    sign_bundle(bundle, key=other)
    with pytest.raises(SignatureRefusedError, match=r"want one by a trusted supplier: acme"):
        verify_signature(read(bundle), load_suppliers(tmp_path / "suppliers"))
    with pytest.raises(SignatureRefusedError, match=r"supplier: nobody"):
        verify_signature(read(bundle), load_suppliers(tmp_path / "none"))


def test_every_edited_file_is_named(bundle: Path, key: Path, tmp_path: Path) -> None:
    sign_bundle(bundle, key=key)
    suppliers = load_suppliers(tmp_path / "suppliers")
    edits = 0
    for name in read(bundle).contents:
        if name == SIGNATURE:
            continue
        content = (bundle / name).read_bytes()
        # At the end of a file, so that it still parses where the format allows.
        (bundle / name).write_bytes(content + b"\n")
        try:
            files = read(bundle)
        except BundleRefusedError:
            files = None
        if files is not None:
            edits += 1
            with pytest.raises(SignatureRefusedError, match=rf"edited since.*{name}"):
                verify_signature(files, suppliers)
        (bundle / name).write_bytes(content)
    assert edits >= 2
    verify_signature(read(bundle), suppliers)


def test_a_file_added_or_taken_away_since_is_named(bundle: Path, key: Path, tmp_path: Path) -> None:
    sign_bundle(bundle, key=key)
    suppliers = load_suppliers(tmp_path / "suppliers")
    files = read(bundle)
    contents = {**files.contents, "acceptance.json": b"{}"}
    more = replace(files, contents=contents)
    with pytest.raises(SignatureRefusedError, match=r"not signed: acceptance\.json"):
        verify_signature(more, suppliers)
    fewer = replace(
        files, contents={k: v for k, v in files.contents.items() if k != "samples.json"}
    )
    with pytest.raises(SignatureRefusedError, match=r"no file for the signed: samples\.json"):
        verify_signature(fewer, suppliers)


def test_a_signer_cannot_leave_a_file_out(bundle: Path, key: Path, tmp_path: Path) -> None:
    """The library passes over what the signer told it to ignore; we do not."""
    done = _tool("sign", "key", bundle, "--private_key", key, "--signature", bundle / SIGNATURE,
                 "--ignore-paths", bundle / "card.yaml")  # fmt: skip
    assert done.returncode == 0, done.stderr
    checked = _tool("verify", "key", bundle, "--public_key", tmp_path / "suppliers" / "acme.pem",
                    "--signature", bundle / SIGNATURE)  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    with pytest.raises(SignatureRefusedError, match=r"not signed: card\.yaml"):
        verify_signature(read(bundle), load_suppliers(tmp_path / "suppliers"))


def test_the_foreign_tool_and_ours_accept_each_others_signatures(
    bundle: Path, key: Path, tmp_path: Path
) -> None:
    public = tmp_path / "suppliers" / "acme.pem"
    sign_bundle(bundle, key=key)
    done = _tool("verify", "key", bundle, "--public_key", public,
                 "--signature", bundle / SIGNATURE)  # fmt: skip
    assert done.returncode == 0, done.stderr
    (bundle / SIGNATURE).unlink()
    done = _tool("sign", "key", bundle, "--private_key", key, "--signature", bundle / SIGNATURE)
    assert done.returncode == 0, done.stderr
    assert verify_signature(read(bundle), load_suppliers(public.parent)).supplier == "acme"


def test_a_signature_made_elsewhere_or_from_a_relative_path_holds(
    bundle: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suppliers = load_suppliers(tmp_path / "suppliers")
    monkeypatch.chdir(tmp_path)
    sign_bundle(Path(bundle.name), key=key)
    sign_bundle(Path(bundle.name), key=key)  # over the first one
    assert verify_signature(read(bundle), suppliers).supplier == "acme"
    (bundle / SIGNATURE).unlink()
    done = _tool("sign", "key", bundle, "--private_key", key, "--signature", tmp_path / "away.sig")
    assert done.returncode == 0, done.stderr
    (tmp_path / "away.sig").rename(bundle / SIGNATURE)
    assert verify_signature(read(bundle), suppliers).supplier == "acme"


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_a_signature_on_every_curve_of_the_format_holds(
    curve: ec.EllipticCurve, bundle: Path, tmp_path: Path
) -> None:
    """Made by the project's library, read by us: each curve prescribes a hash of its own."""
    key, suppliers = _pair(tmp_path, ec.generate_private_key(curve))
    sign_bundle(bundle, key=key)
    assert verify_signature(read(bundle), load_suppliers(suppliers)).supplier == "acme"


def test_a_curve_outside_the_format_is_refused(bundle: Path, tmp_path: Path) -> None:
    key, suppliers = _pair(tmp_path, ec.generate_private_key(ec.SECP256K1()))
    _sign_by_hand(bundle, key, lambda _: None)
    with pytest.raises(SignatureRefusedError, match="curve secp256k1"):
        verify_signature(read(bundle), load_suppliers(suppliers))


def _statement_type(statement: dict[str, Any]) -> None:
    statement["_type"] = "https://in-toto.io/Statement/v0.1"


def _root_digest(statement: dict[str, Any]) -> None:
    statement["subject"][0]["digest"]["sha256"] = 64 * "0"


def _two_subjects(statement: dict[str, Any]) -> None:
    statement["subject"] *= 2


def _nothing(statement: dict[str, Any]) -> None:
    del statement


@pytest.mark.parametrize(
    ("change", "holds"),
    [(_nothing, True), (_statement_type, False), (_root_digest, False), (_two_subjects, False)],
)
def test_ours_and_the_library_agree_on_what_a_key_really_signed(
    change: Callable[[dict[str, Any]], None],
    holds: bool,
    bundle: Path,
    key: Path,
    tmp_path: Path,
) -> None:
    """The key's holder signed it, so only what is signed can be wrong."""
    _sign_by_hand(bundle, key, change)
    suppliers = tmp_path / "suppliers"
    done = _tool("verify", "key", bundle, "--public_key", suppliers / "acme.pem",
                 "--signature", bundle / SIGNATURE)  # fmt: skip
    assert (done.returncode == 0) is holds, done.stderr
    if holds:
        verify_signature(read(bundle), load_suppliers(suppliers))
        return
    with pytest.raises(SignatureRefusedError):
        verify_signature(read(bundle), load_suppliers(suppliers))


def _pair(tmp_path: Path, key: ec.EllipticCurvePrivateKey) -> tuple[Path, Path]:
    """Write a key; return its path and the directory where it is trusted."""
    private, suppliers = tmp_path / "own.key", tmp_path / "trusted"
    private.write_bytes(_private(key))
    suppliers.mkdir()
    (suppliers / "acme.pem").write_bytes(_public(key))
    return private, suppliers


def _public(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _sign_by_hand(bundle: Path, path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Sign a changed statement as DSSE says, with any key."""
    throwaway, _ = make_key(bundle.parent / "throwaway", "any")
    sign_bundle(bundle, key=throwaway)
    made = json.loads((bundle / SIGNATURE).read_bytes())
    envelope = made["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    change(statement)
    payload = json.dumps(statement).encode()
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    kind = envelope["payloadType"].encode()
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    envelope["payload"] = base64.b64encode(payload).decode()
    envelope["signatures"][0]["sig"] = base64.b64encode(
        key.sign(signed, ec.ECDSA(hashes.SHA256()))
    ).decode()
    made["verificationMaterial"]["publicKey"]["hint"] = hashlib.sha256(_public(key)).hexdigest()
    (bundle / SIGNATURE).write_text(json.dumps(made))


def _tool(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run OpenSSF's own command."""
    return subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-m", "model_signing", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_certificate_is_trusted_through_its_authority_only(bundle: Path, tmp_path: Path) -> None:
    authority, authority_key = _certificate("Acme root", None, None)
    leaf, leaf_key = _certificate("Acme models", authority, authority_key)
    other, _ = _certificate("Other root", None, None)
    paths = _write(tmp_path, leaf=leaf, root=authority)
    key = tmp_path / "leaf.key"
    key.write_bytes(_private(leaf_key))
    sign_bundle(bundle, key=key, certificate=paths["leaf"], chain=[paths["root"]])
    _write(tmp_path / "suppliers", acme=authority)
    _write(tmp_path / "others", other=other)
    signer = verify_signature(read(bundle), load_suppliers(tmp_path / "suppliers"))
    assert (signer.supplier, signer.mode) == ("acme", "certificate")
    with pytest.raises(SignatureRefusedError, match="trusted supplier: other"):
        verify_signature(read(bundle), load_suppliers(tmp_path / "others"))
    (bundle / "card.yaml").write_bytes((bundle / "card.yaml").read_bytes() + b"\n")
    with pytest.raises(SignatureRefusedError, match="edited since"):
        verify_signature(read(bundle), load_suppliers(tmp_path / "suppliers"))


def _flip_signature(content: bytes) -> bytes:
    bundle = json.loads(content)
    raw = bytearray(base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"]))
    raw[-1] ^= 1
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(raw).decode()
    return json.dumps(bundle).encode()


def _without(*path: str) -> Callable[[bytes], bytes]:
    def harm(content: bytes) -> bytes:
        bundle = json.loads(content)
        inner = bundle
        for name in path[:-1]:
            inner = inner[name]
        del inner[path[-1]]
        return json.dumps(bundle).encode()

    return harm


@pytest.mark.parametrize(
    "harm",
    [
        _flip_signature,
        _without("verificationMaterial"),
        _without("verificationMaterial", "publicKey", "hint"),
        _without("dsseEnvelope", "payload"),
        _without("dsseEnvelope", "signatures"),
        _without("mediaType"),
        lambda _: b"",
        lambda _: b"null",
        lambda _: b"[" * 100_000,
        lambda content: content.replace(b"publicKey", b"x509CertificateChain"),
    ],
    ids=[f"harm-{number}" for number in range(10)],
)
def test_a_signature_that_is_not_whole_is_refused(
    harm: Callable[[bytes], bytes], bundle: Path, key: Path, tmp_path: Path
) -> None:
    sign_bundle(bundle, key=key)
    whole = (bundle / SIGNATURE).read_bytes()
    (bundle / SIGNATURE).write_bytes(harm(whole))
    with pytest.raises(SignatureRefusedError):
        verify_signature(read(bundle), load_suppliers(tmp_path / "suppliers"))
    (bundle / SIGNATURE).write_bytes(whole)
    verify_signature(read(bundle), load_suppliers(tmp_path / "suppliers"))


def test_a_payload_that_the_key_did_not_sign_is_refused(
    bundle: Path, key: Path, tmp_path: Path
) -> None:
    """New digests under an old signature: what an editor would try first."""
    sign_bundle(bundle, key=key)
    (bundle / "card.yaml").write_bytes((bundle / "card.yaml").read_bytes() + b"\n")
    honest = json.loads((bundle / SIGNATURE).read_bytes())
    other, _ = make_key(tmp_path / "keys", "editor")
    sign_bundle(bundle, key=other)
    forged = json.loads((bundle / SIGNATURE).read_bytes())
    honest["dsseEnvelope"]["payload"] = forged["dsseEnvelope"]["payload"]
    (bundle / SIGNATURE).write_text(json.dumps(honest))
    with pytest.raises(SignatureRefusedError, match="acme: "):
        verify_signature(read(bundle), load_suppliers(tmp_path / "suppliers"))


def test_a_key_that_cannot_sign_is_refused(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "rsa.key"
    path.write_bytes(_private(rsa.generate_private_key(65537, 2048)))
    for wrong in (path, tmp_path / "none.key"):
        with pytest.raises(SigningError, match="want an unencrypted private key"):
            sign_bundle(bundle, key=wrong)
    assert SIGNATURE not in read(bundle).contents


def test_a_key_is_never_replaced(tmp_path: Path) -> None:
    make_key(tmp_path, "acme")
    with pytest.raises(SigningError, match="want no such path"):
        make_key(tmp_path, "acme")


def test_a_suppliers_file_that_is_no_public_key_is_refused(tmp_path: Path) -> None:
    private, _ = make_key(tmp_path / "keys", "acme")
    directory = tmp_path / "suppliers"
    directory.mkdir()
    public_rsa = rsa.generate_private_key(65537, 2048).public_key()
    for content in (
        private.read_bytes(),
        b"hello",
        b"\xff",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        public_rsa.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
    ):
        (directory / "acme.pem").write_bytes(content)
        with pytest.raises(SigningError, match="want a public key"):
            load_suppliers(directory)


def _certificate(
    name: str,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey | None,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(TODAY)
        .not_valid_after(TODAY + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, content_commitment=False, key_encipherment=False,
                data_encipherment=False, key_agreement=False, key_cert_sign=issuer is None,
                crl_sign=False, encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )
        .sign(issuer_key or key, hashes.SHA256())
    )  # fmt: skip
    return made, key


def _write(directory: Path, **certificates: x509.Certificate) -> dict[str, Path]:
    directory.mkdir(exist_ok=True)
    paths = {}
    for name, certificate in certificates.items():
        paths[name] = directory / f"{name}.pem"
        paths[name].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return paths


def _private(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
