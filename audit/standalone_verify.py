"""Verify an evidence pack, or a whole published log, with Python and ``cryptography`` alone.

    python3 verify.py                        the pack this file lies in
    python3 verify.py pack EVIDENCE.zip      a pack, zipped or as a directory
    python3 verify.py log DIRECTORY          a log as published (C2SP tlog-tiles)

Give ``--vkey KEY`` (or ``--policy FILE``), from a source that is not the log's operator: without it
the pack's or log's own word is taken for whose log it is, and the output says so. Exit code 0: all
that could be checked is right. 1: something is not, or cannot be read. 2: the command line is not
understood, and nothing was checked. Nothing is read but the named files; nothing is written or sent.

This file stands alone on purpose. It shares no code with the service, so that a fault in one is not
hidden by the same fault in the other. Specifications: RFC 9162 (Merkle proofs), RFC 3161 and 5652
(timestamps), c2sp.org/signed-note, tlog-checkpoint, tlog-cosignature, tlog-tiles, tlog-proof,
tlog-policy.
"""

import argparse
import base64
import binascii
import hashlib
import json
import os
import re
import struct
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAX_PACK_BYTES = 256 * 1024 * 1024
OWN_WORD = "THE PACK'S OWN WORD"
TIMESTAMP = {"timestamp.tsr", "timestamp.tlog-proof", "timestamp-roots.pem"}
ERASURE = {"erasure-leaf.json", "erasure.tlog-proof"}
DISCLOSED = {"payload.json", "disclosure.json"}
ALWAYS_ALLOWED = {
    "manifest.json", "leaf.json", "decision.tlog-proof", "trust-policy.txt", "verify.py",
    "rotations.json", "consistency.json", "policy.json", "card.json", *TIMESTAMP,
}  # fmt: skip
NOT_VOUCHED_FOR = {"verify.py", "card.json", "trust-policy.txt", "timestamp-roots.pem"}
"""Every other file of a pack is compared with what leads to the checkpoint."""
MANIFEST = {"v", "log", "decision", "index", "size", "erased", "disclosed", "files"}


class Wrong(Exception):  # noqa: N818 - what it is: something is wrong
    """A check failed; the text says how."""


# --- Merkle trees: RFC 9162 section 2.1


def sha256(*parts: bytes) -> bytes:
    """Return the SHA-256 of the parts, one after the other."""
    return hashlib.sha256(b"".join(parts)).digest()


def root_from_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root that a proof leads to (2.1.3.2)."""
    if not 0 <= index < size:
        raise Wrong(f"index {index} is not in a tree of {size}")
    fn, sn, result = index, size - 1, leaf
    for node in path:
        if sn == 0:
            raise Wrong("the inclusion proof is too long")
        if fn % 2 == 1 or fn == sn:
            result = sha256(b"\x01", node, result)
            while fn % 2 == 0 and fn != 0:
                fn, sn = fn // 2, sn // 2
        else:
            result = sha256(b"\x01", result, node)
        fn, sn = fn // 2, sn // 2
    if sn != 0:
        raise Wrong("the inclusion proof is too short")
    return result


def check_consistency(
    first: int, first_root: bytes, second: int, second_root: bytes, path: Sequence[bytes]
) -> None:
    """Raise unless the tree of ``first`` leaves is the beginning of that of ``second`` (2.1.4.2)."""
    if any(len(node) != 32 for node in path):
        raise Wrong("a hash of the consistency proof is not 32 bytes")
    if not 1 <= first <= second:
        raise Wrong(f"sizes {first} and {second} cannot be compared")
    if first == second:
        if path or first_root != second_root:
            raise Wrong("two checkpoints of one size have different roots: a split view")
        return
    nodes = list(path)
    if first & (first - 1) == 0:
        nodes.insert(0, first_root)
    if roots_from_consistency(first, second, nodes) != (first_root, second_root):
        raise Wrong("the older tree is not the beginning of the newer one")


def roots_from_consistency(first: int, second: int, nodes: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return both roots that a proof leads to; its first node is complete."""
    fn, sn = first - 1, second - 1
    while fn % 2 == 1:
        fn, sn = fn // 2, sn // 2
    if not nodes:
        raise Wrong("the consistency proof is empty")
    fr = sr = nodes[0]
    for node in nodes[1:]:
        if sn == 0:
            raise Wrong("the consistency proof is too long")
        if fn % 2 == 1 or fn == sn:
            fr, sr = sha256(b"\x01", node, fr), sha256(b"\x01", node, sr)
            while fn % 2 == 0 and fn != 0:
                fn, sn = fn // 2, sn // 2
        else:
            sr = sha256(b"\x01", sr, node)
        fn, sn = fn // 2, sn // 2
    if sn != 0:
        raise Wrong("the consistency proof is too short")
    return fr, sr


def levels_of(leaves: list[bytes]) -> list[list[bytes]]:
    """Return tile levels: level l + 1 holds the roots of level l's full tiles of 256 hashes."""
    levels = [leaves]
    while len(levels[-1]) >= 256:
        below = levels[-1]
        levels.append([perfect(below[at : at + 256]) for at in range(0, len(below) - 255, 256)])
    return levels


def perfect(nodes: list[bytes]) -> bytes:
    """Return the root over a power of two of hashes."""
    while len(nodes) > 1:
        nodes = [sha256(b"\x01", nodes[at], nodes[at + 1]) for at in range(0, len(nodes), 2)]
    return nodes[0]


def tree_root(nodes: list[bytes]) -> bytes:
    """Return the root over leaf hashes, by the recursion of 2.1.1 written as a loop."""
    if not nodes:
        return sha256()
    while len(nodes) > 1:
        odd = [nodes[-1]] if len(nodes) % 2 else []
        pairs = range(0, len(nodes) - 1, 2)
        nodes = [sha256(b"\x01", nodes[at], nodes[at + 1]) for at in pairs] + odd
    return nodes[0]


# --- Notes, keys, checkpoints, policies, proofs: c2sp.org


def unbase64(text: str) -> bytes:
    """Read base64 in its one canonical spelling."""
    try:
        value = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Wrong("something is not base64") from error
    if base64.b64encode(value).decode() != text:
        raise Wrong("base64 is not in its canonical spelling")
    return value


def decimal(text: str) -> int:
    """Read a decimal number without sign or leading zero, below 2**63."""
    if re.fullmatch("0|[1-9][0-9]{0,18}", text) is None or int(text) >= 2**63:
        raise Wrong("a size or index is not a plain decimal number")
    return int(text)


class Key:
    """A verifier key: ``name+id+base64(type || key)``."""

    def __init__(self, text: str, kind: int = 1) -> None:
        """Read a key. Type 1 is a log's, type 4 a witness'."""
        parts = text.split("+", 2)
        if len(parts) != 3 or not parts[0] or any(char.isspace() for char in parts[0]):
            raise Wrong("a verifier key is not name+id+base64")
        if any("\ud800" <= char <= "\udfff" for char in parts[0]):
            raise Wrong("the name of a verifier key is not UTF-8")
        self.text, self.name = text, parts[0]
        blob = unbase64(parts[2])
        if len(blob) != 33 or blob[0] != kind:
            raise Wrong(f"the key of {self.name} is not an Ed25519 key of type {kind}")
        self.kind, self.public = blob[0], blob[1:]
        self.id = sha256(self.name.encode() + b"\n" + blob)[:4]
        if self.id.hex() != parts[1]:
            raise Wrong(f"the key of {self.name} does not have the id it states")

    def signed(self, text: bytes, signature: bytes) -> bool:
        """Return whether this key made the signature over a note's text."""
        if self.kind == 4:
            if len(signature) != 72:
                return False
            time = int.from_bytes(signature[:8], "big")
            text = b"cosignature/v1\ntime %d\n" % time + text
            signature = signature[8:]
        return ed25519(self.public, signature, text)


def ed25519(public: bytes, signature: bytes, message: bytes) -> bool:
    """Return whether an Ed25519 signature holds."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


class Checkpoint:
    """A signed note about a log's origin, size and root."""

    def __init__(self, note: bytes) -> None:
        """Read a checkpoint; no signature is checked."""
        if len(note) > 1_000_000:
            raise Wrong("a checkpoint is too long")
        try:
            content = note.decode()
        except UnicodeDecodeError as error:
            raise Wrong("a checkpoint is not UTF-8") from error
        if any(ord(char) < 32 and char != "\n" for char in content):
            raise Wrong("a checkpoint holds control characters")
        text, blank, block = content.rpartition("\n\n")
        if not blank or not block.endswith("\n"):
            raise Wrong("a checkpoint has no signatures after an empty line")
        self.note, self.text = note, (text + "\n").encode()
        lines = text.split("\n")
        if len(lines) < 3 or not all(lines):
            raise Wrong("a checkpoint does not have origin, size and root")
        self.origin, self.size, self.root = lines[0], decimal(lines[1]), unbase64(lines[2])
        if len(self.root) != 32:
            raise Wrong("a checkpoint's root is not 32 bytes")
        signatures = block[:-1].split("\n")
        if len(signatures) > 100:
            raise Wrong("a checkpoint has more than 100 signatures")
        self.signatures = [signature_line(line) for line in signatures]

    def signers(self, keys: Sequence[Key]) -> list[tuple[Key, bytes]]:
        """Return (key, signature) for those that signed; a known key's wrong signature raises."""
        found = []
        for key in keys:
            for name, identity, signature in self.signatures:
                if (name, identity) == (key.name, key.id):
                    if not key.signed(self.text, signature):
                        raise Wrong(f"the signature by {key.name} is wrong")
                    found.append((key, signature))
        return found


def signature_line(line: str) -> tuple[str, bytes, bytes]:
    """Return (name, key id, signature) of a signature line."""
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "\u2014" or not parts[1] or "+" in parts[1]:
        raise Wrong("a signature line is not of the form dash, name, base64")
    if any(char.isspace() for char in parts[1]):
        raise Wrong("a signature's name holds a space")
    blob = unbase64(parts[2])
    if len(blob) < 5:
        raise Wrong("a signature is too short")
    return parts[1], blob[:4], blob[4:]


class Policy:
    """Which logs and witnesses are known, and how many witnesses it takes (tlog-policy)."""

    def __init__(self, content: bytes) -> None:
        """Read a policy file."""
        self.logs: list[Key] = []
        self.witnesses: dict[str, Key] = {}
        self.groups: dict[str, tuple[int, list[str]]] = {}
        self.quorum: str | None = None
        if any((byte < 32 and byte not in b"\t\n") or byte == 127 for byte in content):
            raise Wrong("the trust policy holds a control character other than tab and newline")
        for line in content.decode("utf-8", "surrogateescape").split("\n"):
            words = re.split("[ \t]+", line.strip(" \t"))
            if words[0] and not words[0].startswith("#"):
                self._take(words)
        if self.quorum is None:
            raise Wrong("the trust policy has no quorum line")

    def _take(self, words: list[str]) -> None:
        names = self.witnesses.keys() | self.groups.keys()
        if words[0] == "log" and len(words) in (2, 3):
            key = Key(words[1])
            if any(key.public == other.public for other in self.logs):
                raise Wrong("the trust policy has one log's key twice")
            self.logs.append(key)
        elif words[0] == "witness" and len(words) in (3, 4) and words[1] not in names | {"none"}:
            key = Key(words[2], 4)
            if any(key.public == other.public for other in self.witnesses.values()):
                raise Wrong("the trust policy has one witness under two names")
            self.witnesses[words[1]] = key
        elif words[0] == "group" and len(words) > 3 and words[1] not in names | {"none"}:
            members = words[3:]
            taken = {name for _, group in self.groups.values() for name in group}
            if set(members) - names or taken & set(members) or len(set(members)) != len(members):
                raise Wrong("a group of the trust policy has members it cannot have")
            counts = {"all": len(members), "any": 1}
            need = counts.get(words[2]) or decimal(words[2])
            if not 1 <= need <= len(members):
                raise Wrong("a group of the trust policy asks for more members than it has")
            self.groups[words[1]] = (need, members)
        elif words[0] == "quorum" and len(words) == 2 and self.quorum is None:
            if words[1] not in names | {"none"}:
                raise Wrong("the trust policy's quorum is not defined")
            self.quorum = words[1]
        else:
            raise Wrong(f"the trust policy has a line that means nothing: {words[0]!r}")

    def is_met(self, names: set[str]) -> bool:
        """Return whether these witnesses are enough."""
        return self.quorum == "none" or self._has(self.quorum or "", names)

    def _has(self, name: str, names: set[str]) -> bool:
        if name in self.groups:
            need, members = self.groups[name]
            return sum(self._has(member, names) for member in members) >= need
        return name in names


class Proof:
    """A tlog-proof file: index, inclusion proof and checkpoint."""

    def __init__(self, content: bytes) -> None:
        """Read a proof; nothing is checked."""
        head, blank, note = content.partition(b"\n\n")
        lines = head.decode("ascii", "replace").split("\n")
        if not blank or lines.pop(0) != "c2sp.org/tlog-proof@v1":
            raise Wrong("a proof does not begin as a tlog-proof")
        # The format's line "extra" is refused: nothing signs it, and no pack has it.
        if not lines or not lines[0].startswith("index "):
            raise Wrong("a proof's second line is not its index")
        self.index = decimal(lines.pop(0)[6:])
        self.path = [unbase64(line) for line in lines]
        if len(self.path) > 63 or any(len(node) != 32 for node in self.path):
            raise Wrong("a proof's hashes are not at most 63 of 32 bytes")
        self.checkpoint = Checkpoint(note)

    def check(self, leaf: bytes) -> None:
        """Raise unless the leaf's bytes are at the index, under the checkpoint's root."""
        at, size = self.index, self.checkpoint.size
        if root_from_inclusion(sha256(b"\x00", leaf), at, size, self.path) != self.checkpoint.root:
            raise Wrong("the leaf is not where the proof says it is")


# --- Timestamps: RFC 3161, as a CMS SignedData (RFC 5652) in DER

OID_SIGNED_DATA = "1.2.840.113549.1.7.2"
OID_TST_INFO = "1.2.840.113549.1.9.16.1.4"
OID_CONTENT_TYPE = "1.2.840.113549.1.9.3"
OID_MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
DIGESTS: dict[str, tuple[str, hashes.HashAlgorithm]] = {
    "2.16.840.1.101.3.4.2.1": ("sha256", hashes.SHA256()),
    "2.16.840.1.101.3.4.2.2": ("sha384", hashes.SHA384()),
    "2.16.840.1.101.3.4.2.3": ("sha512", hashes.SHA512()),
}


SIGNATURES = {
    "1.2.840.113549.1.1.1",  # RSA, the digest named apart
    "1.2.840.113549.1.1.11", "1.2.840.113549.1.1.12", "1.2.840.113549.1.1.13",  # RSA with SHA-2
    "1.2.840.10045.4.3.2", "1.2.840.10045.4.3.3", "1.2.840.10045.4.3.4",  # ECDSA with SHA-2
}  # fmt: skip
INTEGER, OCTET_STRING, OBJECT_IDENTIFIER, GENERALIZED_TIME = 0x02, 0x04, 0x06, 0x18
SEQUENCE, SET, CONTEXT_0 = 0x30, 0x31, 0xA0


class Der:
    """One DER value: its tag, its content, and its own bytes."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        """Read the value that starts at ``at``."""
        if at + 2 > len(data):
            raise Wrong("the timestamp ends too early")
        self.tag, length, start = data[at], data[at + 1], at + 2
        if length >= 0x80:
            count = length & 0x7F
            if not 1 <= count <= 4 or start + count > len(data):
                raise Wrong("the timestamp is not DER")
            length = int.from_bytes(data[start : start + count], "big")
            if length < 0x80 or length >> 8 * (count - 1) == 0:
                raise Wrong("the timestamp is not DER")  # a shorter spelling is the one allowed
            start += count
        self.end = start + length
        if self.end > len(data):
            raise Wrong("the timestamp ends too early")
        self.content, self.raw = data[start : self.end], data[at : self.end]

    def parts(self) -> "list[Der]":
        """Return the values inside."""
        found, at = [], 0
        while at < len(self.content):
            found.append(Der(self.content, at))
            at = found[-1].end
        return found

    def oid(self) -> str:
        """Return an object identifier as dotted numbers."""
        numbers, value = [], 0
        for byte in self.content:
            value = value << 7 | byte & 0x7F
            if not byte & 0x80:
                numbers.append(value)
                value = 0
        if self.tag != 6 or not numbers:
            raise Wrong("the timestamp has something else where an identifier belongs")
        first = min(numbers[0] // 40, 2)
        return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))


def part(values: "list[Der]", at: int, tag: int) -> Der:
    """Return one of several values, which must be of this kind."""
    if at >= len(values) or values[at].tag != tag:
        raise Wrong("the timestamp lacks a part")
    return values[at]


def inside(values: "list[Der]", at: int, tag: int = 0x30) -> "list[Der]":
    """Return the values inside one of several values."""
    return part(values, at, tag).parts()


def check_timestamp(response: bytes, message: bytes, roots: Sequence[x509.Certificate]) -> datetime:
    """Return the time stated for the message; every link to a root is checked."""
    whole = Der(response)
    if whole.end != len(response):
        raise Wrong("something follows the timestamp")
    outer = inside([whole], 0)
    status = part(inside(outer, 0), 0, INTEGER)
    if status.content != b"\0":
        raise Wrong("the authority did not grant the timestamp")
    token = inside(outer, 1)
    if part(token, 0, OBJECT_IDENTIFIER).oid() != OID_SIGNED_DATA:
        raise Wrong("the timestamp is not signed data")
    signed = inside(inside(token, 1, CONTEXT_0), 0)
    digest_named(part(inside(signed, 1, SET), 0, SEQUENCE))
    content_info = inside(signed, 2)
    if part(content_info, 0, OBJECT_IDENTIFIER).oid() != OID_TST_INFO:
        raise Wrong("what is signed is not a timestamp")
    info = part(inside(content_info, 1, CONTEXT_0), 0, OCTET_STRING).content
    certificates = [
        x509.load_der_x509_certificate(value.raw) for value in inside(signed, 3, CONTEXT_0)
    ]
    signers = inside(signed, len(signed) - 1, SET)
    if len(signers) != 1 or part(signed, 0, INTEGER).content != b"\3":
        raise Wrong("the timestamp does not have exactly one signer")
    certificate = check_signer(inside(signers, 0), info, certificates)
    fields = inside([Der(info)], 0)
    imprint = inside(fields, 2)
    name, _ = digest_named(part(imprint, 0, SEQUENCE))
    if part(imprint, 1, OCTET_STRING).content != hashlib.new(name, message).digest():
        raise Wrong("the timestamp is over something else")
    stated = general_time(part(fields, 4, GENERALIZED_TIME).content)
    check_chain(certificate, certificates, roots, stated)
    return stated


def digest_named(algorithm: Der) -> tuple[str, hashes.HashAlgorithm]:
    """Return the digest that an AlgorithmIdentifier names."""
    oid = part(algorithm.parts(), 0, OBJECT_IDENTIFIER).oid()
    if oid not in DIGESTS:
        raise Wrong(f"the timestamp uses the digest {oid}, which this program does not know")
    return DIGESTS[oid]


def check_signer(
    signer: list[Der], info: bytes, certificates: Sequence[x509.Certificate]
) -> x509.Certificate:
    """Return the certificate whose key signed the token. Raises unless it did."""
    if part(signer, 0, INTEGER).content != b"\1":
        raise Wrong("the signer is named in a way that this program does not know")
    identity = inside(signer, 1)
    serial = int.from_bytes(part(identity, 1, INTEGER).content, "big")
    chosen = [
        certificate
        for certificate in certificates
        if certificate.serial_number == serial
        and certificate.issuer.public_bytes() == part(identity, 0, SEQUENCE).raw
    ]
    if not chosen:
        raise Wrong("the signer's certificate is not in the timestamp")
    name, algorithm = digest_named(part(signer, 2, SEQUENCE))
    attributes = part(signer, 3, CONTEXT_0)
    values: dict[str, Der] = {}
    for attribute in attributes.parts():
        kind = part(attribute.parts(), 0, OBJECT_IDENTIFIER).oid()
        if kind in values:
            raise Wrong("the timestamp has a signed attribute twice")
        values[kind] = inside(attribute.parts(), 1, SET)[0]
    if OID_CONTENT_TYPE not in values or values[OID_CONTENT_TYPE].oid() != OID_TST_INFO:
        raise Wrong("the timestamp's signed attributes are of something else")
    digest = values.get(OID_MESSAGE_DIGEST)
    if digest is None or digest.content != hashlib.new(name, info).digest():
        raise Wrong("the timestamp's signature is over other content")
    if part(inside(signer, 4), 0, OBJECT_IDENTIFIER).oid() not in SIGNATURES:
        raise Wrong("the timestamp is signed in a way that this program does not know")
    # What is signed is the SET as such, not as it stands in the message.
    signed = bytes([SET]) + attributes.raw[1:]
    check_signature(chosen[0], part(signer, 5, OCTET_STRING).content, signed, algorithm)
    return chosen[0]


def check_signature(
    certificate: x509.Certificate,
    signature: bytes,
    message: bytes,
    algorithm: hashes.HashAlgorithm,
) -> None:
    """Raise unless the certificate's key made the signature."""
    key = certificate.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(algorithm))
        else:
            raise Wrong("the timestamp's key is of a kind this program does not know")
    except InvalidSignature as error:
        raise Wrong("the timestamp's signature is wrong") from error


def check_chain(
    certificate: x509.Certificate,
    others: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    moment: datetime,
) -> None:
    """Raise unless the certificate is for timestamps and leads to a root, all valid at the time."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound as error:
        raise Wrong("the signer's certificate is not for timestamps") from error
    if not usage.critical or [each.dotted_string for each in usage.value] != ["1.3.6.1.5.5.7.3.8"]:
        raise Wrong("the signer's certificate is not for timestamps alone")
    current = certificate
    for _ in range(8):
        if not current.not_valid_before_utc <= moment <= current.not_valid_after_utc:
            raise Wrong("a certificate was not valid at the time of the timestamp")
        if current in roots:
            return
        current = issuer_of(current, [*roots, *others])
    raise Wrong("the timestamp's chain is too long")


def issuer_of(
    certificate: x509.Certificate, candidates: Sequence[x509.Certificate]
) -> x509.Certificate:
    """Return the certificate authority among the candidates that issued a certificate."""
    for candidate in candidates:
        try:
            constraints = candidate.extensions.get_extension_for_class(x509.BasicConstraints)
            certificate.verify_directly_issued_by(candidate)
        except (x509.ExtensionNotFound, ValueError, TypeError, InvalidSignature):
            continue
        if constraints.value.ca:
            return candidate
    raise Wrong("the timestamp's chain does not lead to the given root")


def general_time(content: bytes) -> datetime:
    """Read a GeneralizedTime in UTC."""
    text = content.decode("ascii", "replace")
    match = re.fullmatch(r"(\d{14})(?:\.(\d{1,6}))?\d*Z", text)
    if match is None:
        raise Wrong("the timestamp's time cannot be read")
    moment = datetime.strptime(match[1] + "+0000", "%Y%m%d%H%M%S%z")
    return moment.replace(microsecond=int((match[2] or "0").ljust(6, "0")), tzinfo=UTC)


# --- What the log's own entries say


MAX_LEAF_BYTES = 1023
LEAF_MEMBERS = {"facts", "id", "ts", "type", "v"}
LEAF_FORMS = {
    "id": r"[A-Za-z0-9._-]{1,64}",
    "type": r"[a-z][a-z0-9_.]{0,47}",
    "ts": r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z",
}


NUMBERED = {
    **dict.fromkeys(("model_registered", "stage_changed", "policy_changed"), "registry"),
    **dict.fromkeys(("stopped", "resume_asked", "resumed"), "control"),
}
"""Types whose identifiers are numbered, and what stands before the number."""
STEPS = {
    "own_assessment", "advice_requested", "caseworker_decision", "notice", "contest",
    "representation", "review", "taken", "released", "corrects", "corrected",
}  # fmt: skip
"""Types that follow a recommendation and are numbered after it."""


def members_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object's members: one that stands twice could be read in two ways."""
    members = dict(pairs)
    if len(members) != len(pairs) or not all(name.isascii() for name in members):
        raise Wrong("JSON has a member twice, or one whose name is not ASCII")
    return members


def small_integer(text: str) -> int:
    """Read an integer that every reader of JSON reads alike."""
    if abs(value := int(text)) >= 2**53:
        raise Wrong("JSON has an integer beyond 2**53 - 1")
    return value


def no_number(text: str) -> object:
    """Refuse floats, NaN and infinities."""
    raise Wrong(f"JSON has {text} where an integer belongs")


JSON = json.JSONDecoder(
    object_pairs_hook=members_once,
    parse_int=small_integer,
    parse_float=no_number,
    parse_constant=no_number,
)


def read_json(content: bytes) -> object:
    """Return what JSON in UTF-8 says, if every reader reads it alike."""
    try:
        return JSON.decode(content.decode())
    except (ValueError, RecursionError) as error:
        raise Wrong("something is not JSON in UTF-8") from error


def parse_leaf(content: bytes) -> dict[str, object]:
    """Return a leaf's members. Raises for all but the one spelling (docs/audit-log.md, 4 and 5)."""
    if len(content) > MAX_LEAF_BYTES:
        raise Wrong(f"a leaf has {len(content)} bytes, want at most {MAX_LEAF_BYTES}")
    members = read_json(content)
    spelt = json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if spelt.encode("utf-8", "surrogatepass") != content:
        raise Wrong("a leaf is not in its one canonical spelling")
    if not isinstance(members, dict) or members.keys() - {"idem", "payload"} != LEAF_MEMBERS:
        raise Wrong("a leaf does not have the members of a leaf")
    if type(members["v"]) is not int or members["v"] != 1:
        raise Wrong("a leaf is not one of version 1")
    for name, form in LEAF_FORMS.items():
        if not isinstance(members[name], str) or not re.fullmatch(form, members[name]):
            raise Wrong(f"a leaf's {name} is not of its form")
    facts_of(members)
    if "idem" in members:
        digests_in(members["idem"], 16, {"body", "key"})
    if "payload" in members:
        payload_digests(members)
        alg, length = members["payload"]["alg"], members["payload"]["len"]
        if alg != "A256GCM" or type(length) is not int or length < 0:
            raise Wrong("a leaf's payload is not of its form")
    return members


def facts_of(leaf: Mapping[str, object]) -> dict[str, object]:
    """Return a leaf's facts."""
    facts = leaf["facts"]
    if not isinstance(facts, dict):
        raise Wrong("a leaf has no facts")
    return facts


def object_of(value: object, names: set[str]) -> dict[str, object]:
    """Return an object that has these members and no other."""
    if not isinstance(value, dict) or value.keys() != names:
        raise Wrong(f"something in JSON does not have the members {sorted(names)} alone")
    return value


def digests_in(value: object, size: int, names: set[str], *others: str) -> dict[str, bytes]:
    """Return those of an object's members that are base64 of ``size`` bytes."""
    members = object_of(value, names.union(others))
    digests = {name: unbase64(str(members[name])) for name in names}
    if any(len(digest) != size for digest in digests.values()):
        raise Wrong(f"one of {sorted(names)} does not have {size} bytes")
    return digests


def payload_digests(leaf: Mapping[str, object]) -> dict[str, bytes]:
    """Return the commitments of a leaf about its payload."""
    return digests_in(leaf.get("payload"), 32, {"kc", "pc", "sha256", "wk"}, "alg", "len")


def base64_list(value: object) -> list[bytes]:
    """Return what a list of base64 holds."""
    if not isinstance(value, list):
        raise Wrong("something in JSON is no list")
    return [unbase64(str(item)) for item in value]


def rotated(current: Key, leaf: bytes, number: int) -> Key:
    """Return the key that the log's ``number``th change hands over to; both must have signed that."""
    members = parse_leaf(leaf)
    if (members["type"], members["id"]) != ("key_rotated", f"key-rotated-{number}"):
        raise Wrong(f"the log's change of keys number {number} has the id {members['id']}")
    facts = facts_of(members)
    if facts.get("old") != current.text:
        raise Wrong("a key_rotated leaf takes over from another key")
    new = Key(str(facts.get("new")))
    message = f"grounds/rotate-key/v1\n{current.name}\n{current.text}\n{new.text}\n".encode()
    for key, member in ((current, "by_old"), (new, "by_new")):
        if not ed25519(key.public, unbase64(str(facts.get(member))), message):
            raise Wrong(f"the change of keys is not signed as it must be ({member})")
    if new.name != current.name:
        raise Wrong("a key_rotated leaf hands over to another log")
    return new


def decrypted(envelope: bytes, key: bytes, record_id: str) -> bytes:
    """Return the plaintext of an envelope: nonce (12 bytes), then AES-256-GCM."""
    context = b"grounds/env/v1\n" + record_id.encode() + b"\n"
    try:
        return AESGCM(key).decrypt(envelope[:12], envelope[12:], context)
    except (InvalidTag, ValueError) as error:
        raise Wrong("the payload does not open with the disclosed key") from error


# --- Steps, told one by one


class Steps:
    """Runs checks, tells each outcome in a line, and remembers whether all were right."""

    def __init__(self) -> None:
        self.failed = 0

    def run(self, what: str, check: Callable[[], str | None]) -> bool:
        """Run one check; return whether it was right."""
        try:
            detail = check()
        except Exception as error:  # noqa: BLE001 - whatever a check raises, it is not passed
            self.failed += 1
            self._tell("FAILED", f"{what}: {error if str(error) else type(error).__name__}")
            return False
        self._tell("OK", f"{what}{f': {detail}' if detail else ''}")
        return True

    def note(self, text: str) -> None:
        """Tell something that is not a check."""
        self._tell("NOTE", text)

    def _tell(self, outcome: str, text: str) -> None:
        # What a pack says may not end this line and begin another, nor move a terminal's cursor.
        plain = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
        encoding = sys.stdout.encoding or "ascii"
        written = plain.encode(encoding, "backslashreplace").decode(encoding)
        sys.stdout.write(f"{outcome:<8}{written}\n")

    def end(self) -> int:
        """Tell the outcome and return the exit code."""
        failed = "1 check FAILED" if self.failed == 1 else f"{self.failed} checks FAILED"
        sys.stdout.write(f"\n{failed if self.failed else 'all checks are OK'}\n")
        return 1 if self.failed else 0


class Pack:
    """The files of an evidence pack."""

    def __init__(self, path: Path) -> None:
        """Read a zip file or a directory, no more of it than MAX_PACK_BYTES."""
        self.files: dict[str, bytes] = {}
        if path.is_dir():
            found = sorted(path.iterdir())
            if not all(file.is_file() for file in found):
                raise Wrong("it holds something that is not a file")
            self._limit(file.stat().st_size for file in found)
            self.files = {file.name: file.read_bytes() for file in found}
            return
        self._limit([path.stat().st_size])
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            self._limit(entry.file_size for entry in entries)
            for entry in entries:
                if entry.filename in self.files:
                    raise Wrong(f"it has two files named {entry.filename}")
                stored = entry.compress_type == zipfile.ZIP_STORED
                if not stored or entry.compress_size != entry.file_size or entry.flag_bits & 1:
                    raise Wrong(f"{entry.filename} is compressed or encrypted, as no pack is")
                self.files[entry.filename] = archive.read(entry)
            if not holds_nothing_else(path.read_bytes(), archive):
                raise Wrong("it has bytes that are of none of its files: others may read them")

    @staticmethod
    def _limit(sizes: Iterable[int]) -> None:
        if (total := sum(sizes)) > MAX_PACK_BYTES:
            raise Wrong(f"it is too large: {total} bytes, want at most {MAX_PACK_BYTES}")

    def __getitem__(self, name: str) -> bytes:
        if name not in self.files:
            raise Wrong(f"{name} is missing")
        return self.files[name]

    def __contains__(self, name: str) -> bool:
        return name in self.files


def holds_nothing_else(content: bytes, archive: zipfile.ZipFile) -> bool:
    """Return whether a zip is its files, one after the other, then their directory, then its end.

    Programs look for a zip's files from its beginning or from its end. Between other bytes, or where a
    file's own header has another length than the directory, they may find other files than this one does.
    """
    entries = archive.infolist()
    at, row = 0, archive.start_dir
    for entry in entries:
        header, listed = content[at : at + 30], content[row : row + 46]
        length = int.from_bytes(listed[28:30], "little")
        # Version, flags, method, time, checksum, both sizes and the name's length; then two lengths of more.
        if header[4:] != listed[6:30] + bytes(2) or any(listed[30:34]) or entry.header_offset != at:
            return False
        if content[at + 30 : at + 30 + length] != content[row + 46 : row + 46 + length]:
            return False
        at += 30 + length + entry.compress_size
        row += 46 + length
    count, size = len(entries), row - archive.start_dir
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, size, archive.start_dir, 0)
    return archive.start_dir == at and content[row:] == end


class PackCheck:
    """One run over one pack."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.steps = Steps()

    def run(self) -> int:
        """Run every check that applies; return the exit code."""
        steps = self.steps
        sys.stdout.write("Evidence about one decision\n\n")
        if not steps.run("the pack can be read", self._read):
            return steps.end()
        pack = self.pack
        steps.run("the files are those that the manifest lists", self._files)
        if not steps.run("the decision is in the log under its checkpoint", self._inclusion):
            return steps.end()
        if not steps.run("the log's key", self._key):
            return steps.end()
        steps.run("the checkpoint is signed by the log", lambda: self._signed(self.proof))
        policy = "your policy" if self.options.policy else "the pack's own policy"
        steps.run(f"the checkpoint is cosigned as {policy} asks", self._cosigned)
        if TIMESTAMP & pack.files.keys():
            steps.run("a timestamp bounds when the decision was recorded", self._timestamp)
        else:
            steps.note("no timestamp authority's word is in the pack")
        if self.options.checkpoint is not None:
            steps.run("the log continues your own checkpoint", self._consistency)
        elif "consistency.json" in pack:
            steps.run("the log continues a checkpoint that the pack names", self._consistency)
        if self.erased:
            steps.run("the content was erased, and the log says so", self._erasure)
        else:
            steps.run("the encrypted payload is the recorded one", self._envelope)
            if self.disclosed:
                steps.run("the key and plaintext are the recorded ones", self._disclosure)
            else:
                steps.note("the plaintext is not disclosed in this pack")
        if "policy.json" in pack:
            steps.run("the policy is the recorded one", self._policy)
        steps.run("the model", self._model)
        own = sorted(NOT_VOUCHED_FOR & pack.files.keys())
        steps.note(f"what the files {', '.join(own)} say is {OWN_WORD}")
        return steps.end()

    def _read(self) -> str:
        self.pack = Pack(self.options.path)
        self.manifest = object_of(read_json(self.pack["manifest.json"]), MANIFEST)
        self.erased, self.disclosed = self.manifest["erased"], self.manifest["disclosed"]
        if not type(self.erased) is type(self.disclosed) is bool:
            raise Wrong("the manifest does not say whether the content is disclosed or erased")
        if self.erased and self.disclosed:
            raise Wrong("the manifest says that erased content is disclosed")
        return f"{len(self.pack.files)} files"

    def _files(self) -> str:
        listed, have = self.manifest["files"], self.pack.files.keys() - {"manifest.json"}
        content = {"envelope.bin", *(DISCLOSED if self.disclosed else ())}
        if unknown := have - ALWAYS_ALLOWED - (ERASURE if self.erased else content):
            raise Wrong(f"nothing vouches for {sorted(unknown)}")
        if not isinstance(listed, dict):
            raise Wrong("the manifest lists no files")
        if differ := listed.keys() ^ have:
            raise Wrong(f"listed and there differ in {sorted(differ)}")
        for name, digest in listed.items():
            if hashlib.sha256(self.pack[name]).hexdigest() != digest:
                raise Wrong(f"{name} was changed")
        return f"{len(listed)} files"

    def _inclusion(self) -> str:
        self.leaf = parse_leaf(self.pack["leaf.json"])
        self.proof = Proof(self.pack["decision.tlog-proof"])
        self.proof.check(self.pack["leaf.json"])
        if self.leaf["type"] != "recommendation":
            raise Wrong(f"the leaf is of the type {self.leaf['type']}")
        checkpoint, index = self.proof.checkpoint, self.proof.index
        for name, proved in (
            ("v", 1),
            ("log", checkpoint.origin),
            ("decision", self.leaf["id"]),
            ("index", index),
            ("size", checkpoint.size),
        ):
            if repr(self.manifest[name]) != repr(proved):  # in JSON, true is not 1
                raise Wrong(f"the manifest's {name} is {self.manifest[name]!r}, want {proved!r}")
        when = f"recorded at {self.leaf['ts']} by the log's own clock"
        return f"entry {index} of {checkpoint.size}, {when}"

    def _key(self) -> str:
        self.policy = Policy(
            self.options.policy.read_bytes()
            if self.options.policy
            else self.pack["trust-policy.txt"]
        )
        own = [] if self.options.vkey else self.policy.logs
        given = [Key(text) for text in self.options.vkey]
        self.keys = [key for key in (*given, *own) if key.name == self.proof.checkpoint.origin]
        if not self.keys:
            raise Wrong(f"no known key is of the log {self.proof.checkpoint.origin!r}")
        if "rotations.json" in self.pack:
            leaves = base64_list(read_json(self.pack["rotations.json"]))
            self.keys += keys_led_to(self.keys, leaves)
        return f"{self.keys[0].text} ({whose(self.options.vkey or self.options.policy)})"

    def _signed(self, proof: Proof) -> str:
        if proof.checkpoint.origin != self.proof.checkpoint.origin:
            raise Wrong("a checkpoint is of another log")
        signers = proof.checkpoint.signers(self.keys)
        if not signers:
            raise Wrong("no known key of the log has signed it")
        return f"{proof.checkpoint.origin}, size {proof.checkpoint.size}"

    def _cosigned(self) -> str:
        times = {}
        for name, key in self.policy.witnesses.items():
            for _, signature in self.proof.checkpoint.signers([key]):
                times[name] = int.from_bytes(signature[:8], "big")
        if not self.policy.is_met(set(times)):
            raise Wrong(f"cosigned by {sorted(times) or 'nobody'}, want {self.policy.quorum}")
        told = [f"{name} at {told_time(time)}" for name, time in sorted(times.items())]
        if self.policy.quorum == "none":
            told = ["it asks for no witness"]
        return f"{', '.join(told)} ({whose(self.options.policy)})"

    def _timestamp(self) -> str:
        proof = Proof(self.pack["timestamp.tlog-proof"])
        proof.check(self.pack["leaf.json"])
        self._signed(proof)
        path = self.options.tsa_root
        roots = x509.load_pem_x509_certificates(
            path.read_bytes() if path else self.pack["timestamp-roots.pem"]
        )
        stated = check_timestamp(self.pack["timestamp.tsr"], proof.checkpoint.note, roots)
        return f"not after {stated.isoformat()} (the authority's root: {whose(path)})"

    def _consistency(self) -> str:
        content = object_of(read_json(self.pack["consistency.json"]), {"from", "proof"})
        held = Checkpoint(str(content["from"]).encode())
        if self.options.checkpoint is not None:
            mine = Checkpoint(self.options.checkpoint.read_bytes())
            if mine.text != held.text:
                raise Wrong("the pack was made for another checkpoint than yours")
        if not held.signers(self.keys):
            raise Wrong("no known key of the log has signed it")
        new = self.proof.checkpoint
        if held.origin != new.origin:
            raise Wrong("it is of another log")
        first, second = (held, new) if held.size <= new.size else (new, held)
        path = base64_list(content["proof"])
        check_consistency(first.size, first.root, second.size, second.root, path)
        return f"sizes {first.size} and {second.size} ({whose(self.options.checkpoint)})"

    def _envelope(self) -> str:
        self.digests = payload_digests(self.leaf)
        envelope = self.pack["envelope.bin"]
        if sha256(envelope) != self.digests["sha256"]:
            raise Wrong("it is not the one that the leaf commits to")
        return f"{len(envelope)} bytes"

    def _disclosure(self) -> str:
        secret = digests_in(read_json(self.pack["disclosure.json"]), 32, {"key", "salt"})
        key, salt = secret["key"], secret["salt"]
        if sha256(b"grounds/kc/v1\n", key) != self.digests["kc"]:
            raise Wrong("the key is not the one that the leaf commits to")
        plaintext = decrypted(self.pack["envelope.bin"], key, str(self.leaf["id"]))
        if sha256(b"grounds/pc/v1\n", salt, plaintext) != self.digests["pc"]:
            raise Wrong("the plaintext is not the one that the leaf commits to")
        payload = self.leaf["payload"]
        if not isinstance(payload, dict) or len(plaintext) != payload.get("len"):
            raise Wrong("the plaintext does not have the recorded length")
        if plaintext != self.pack["payload.json"]:
            raise Wrong("payload.json is not what the payload opens to")
        advised = json.loads(plaintext)["answer"].get("recommendation")
        told = f"outcome {advised['outcome']!r}" if advised else "nothing was advised"
        return f"what was answered is in payload.json ({told})"

    def _erasure(self) -> str:
        leaf = parse_leaf(self.pack["erasure-leaf.json"])
        proof = Proof(self.pack["erasure.tlog-proof"])
        proof.check(self.pack["erasure-leaf.json"])
        if proof.checkpoint.note != self.proof.checkpoint.note:
            # Another one, signed by the log, may be of a history that no witness has seen.
            raise Wrong("it is not under the decision's checkpoint")
        facts = facts_of(leaf)
        if leaf["type"] != "erasure":
            raise Wrong("the other leaf is no erasure")
        if self.proof.index not in earlier(facts.get("of"), proof.index):
            raise Wrong("the erasure is of other entries")
        return f"entry {proof.index}, at {leaf['ts']}, on the ground {facts['basis']!r}"

    def _policy(self) -> str:
        recorded = self._facts("policy")["sha256"]
        if hashlib.sha256(self.pack["policy.json"]).hexdigest() != recorded:
            raise Wrong("policy.json does not have the digest in the leaf")
        return f"sha256 {recorded}"

    def _model(self) -> str:
        model = self._facts("model")
        return f"{model['name']} {model['version']}, sha256 {model['sha256']}"

    def _facts(self, name: str) -> dict[str, str]:
        found = facts_of(self.leaf).get(name)
        if not isinstance(found, dict):
            raise Wrong(f"the leaf does not name its {name}")
        return found


def earlier(of: object, index: int) -> list[int]:
    """Return the entries that an erasure at ``index`` names, 1 to 40, all of them before it."""
    if not isinstance(of, list) or not 1 <= len(of) <= 40:
        raise Wrong(f"entry {index} does not erase 1 to 40 entries")
    if not all(type(at) is int and 0 < at < index for at in of):
        raise Wrong(f"entry {index} erases what is not before it")
    return of


def keys_led_to(known: Sequence[Key], rotations: Sequence[bytes]) -> list[Key]:
    """Return the keys before and after the known ones: each change was signed by both of its two."""
    pairs = []
    for number, leaf in enumerate(rotations, 1):
        old = Key(str(facts_of(parse_leaf(leaf)).get("old")))
        pairs.append((old, rotated(old, leaf, number)))
    trusted = {key.text for key in known}
    found: list[Key] = []
    for old, new in (*pairs, *((new, old) for old, new in reversed(pairs))):
        if old.text in trusted and new.text not in trusted:
            trusted.add(new.text)
            found.append(new)
    if not all(new.text in trusted for _, new in pairs):
        raise Wrong("a change of keys leads to no known key of the log")
    return found


def whose(given: object) -> str:
    """Return on whose word something rests: the reader's, if they gave it."""
    return "as you gave it" if given else f"{OWN_WORD}, compare it with yours"


def told_time(seconds: int) -> str:
    """Return a time since 1970 as text."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


# --- A whole log


class LogCheck:
    """One run over one published log."""

    def __init__(self, directory: Path, vkeys: Sequence[str]) -> None:
        self.directory = directory
        self.vkeys = vkeys
        self.steps = Steps()
        self.leaves: list[bytes] = []
        self.numbers: dict[str, int] = {}

    def run(self) -> int:
        """Check everything; return the exit code."""
        steps = self.steps
        if not steps.run("the checkpoint can be read", self._checkpoint):
            return steps.end()
        if not steps.run("every entry is there", self._entries):
            return steps.end()
        steps.run("the entries lead to the checkpoint's root", self._root)
        steps.run("every tile holds the hashes of the entries", self._tiles)
        if steps.run("the entries are those of one log", self._content):
            steps.run("the checkpoint is signed by the log's key", self._signature)
        return steps.end()

    def _checkpoint(self) -> str:
        self.checkpoint = Checkpoint((self.directory / "checkpoint").read_bytes())
        return f"{self.checkpoint.origin}, size {self.checkpoint.size}"

    def _entries(self) -> str:
        size = self.checkpoint.size
        for position in range((size + 255) // 256):
            width = min(256, size - position * 256)
            self.leaves += bundle(*self._file("tile/entries", position, width))[:width]
        self.hashes = [sha256(b"\x00", leaf) for leaf in self.leaves]
        return f"{size} entries"

    def _root(self) -> str:
        if tree_root(self.hashes) != self.checkpoint.root:
            raise Wrong("they lead to another root")
        return self.checkpoint.root.hex()

    def _tiles(self) -> str:
        count = 0
        for level, nodes in enumerate(levels_of(self.hashes)):
            for at in range(0, len(nodes), 256):
                want = nodes[at : at + 256]
                got, count_in_it = self._file(f"tile/{level}", at // 256, len(want))
                if got[: 32 * len(want)] != b"".join(want) or len(got) != 32 * count_in_it:
                    raise Wrong(f"tile {level}/{at // 256} holds other hashes")
                count += 1
        return f"{count} tiles"

    def _content(self) -> str:
        identities: set[object] = set()
        self.key: Key | None = None
        for index, content in enumerate(self.leaves):
            try:
                leaf = parse_leaf(content)
            except Wrong as error:
                raise Wrong(f"entry {index}: {error}") from error
            facts = facts_of(leaf)
            if leaf["id"] in identities:
                raise Wrong(f"entry {index} has the identifier of an earlier one")
            identities.add(leaf["id"])
            if (index == 0) != (leaf["type"] == "genesis"):
                raise Wrong(f"entry {index} is of the type {leaf['type']}")
            if index == 0:
                self.key = Key(str(facts.get("vkey")))
                if facts.get("origin") != self.checkpoint.origin:
                    raise Wrong("the first entry names another log")
                self.chain = [self.key]
            else:
                self._later(leaf, index)
        return f"{len(identities)} identifiers"

    def _later(self, leaf: dict[str, object], index: int) -> None:
        """Check what an entry after the first says of others."""
        if leaf["type"] == "key_rotated" and self.key is not None:
            self.key = rotated(self.key, self.leaves[index], len(self.chain))
            self.chain.append(self.key)
        elif leaf["type"] == "erasure":
            earlier(facts_of(leaf).get("of"), index)
        elif series := NUMBERED.get(str(leaf["type"])):
            self._expect_id(leaf, series, index)
        elif leaf["type"] in (*STEPS, "shadow") or {"of", "leaf"} <= facts_of(leaf).keys():
            self._step(leaf, index)
        else:
            # A type that is newer than this program may be numbered with those that it knows.
            series = str(leaf["id"]).rpartition(".")[0]
            self.numbers[series] = self.numbers.get(series, 0) + 1

    def _step(self, leaf: dict[str, object], index: int) -> None:
        """Check what follows a recommendation: by its index and leaf hash, and numbered."""
        facts = facts_of(leaf)
        of = facts.get("of")
        if type(of) is not int or not 0 <= of < index:
            raise Wrong(f"entry {index} follows what is not before it")
        if unbase64(str(facts.get("leaf"))) != self.hashes[of]:
            raise Wrong(f"entry {index} follows entry {of}, which has another leaf")
        series = str(parse_leaf(self.leaves[of])["id"])
        if not str(leaf["id"]).startswith(f"{series}."):
            raise Wrong(f"entry {index} follows entry {of}, whose id does not begin its own")
        # A shadow's has another part before the number, and so may have those of newer types.
        if leaf["type"] in STEPS or str(leaf["id"]).rpartition(".")[0] == series:
            self._expect_id(leaf, series, index)

    def _expect_id(self, leaf: dict[str, object], series: str, index: int) -> None:
        self.numbers[series] = number = self.numbers.get(series, 0) + 1
        if leaf["id"] != f"{series}.{number}":
            raise Wrong(f"entry {index} has the id {leaf['id']}, want {series}.{number}")

    def _signature(self) -> str:
        if self.key is None:
            raise Wrong("there is no entry that names a key")
        known = {key.text for key in self.chain}
        for text in self.vkeys:
            if text not in known:
                raise Wrong(f"the key you gave is not one of this log: {text}")
        if self.key.text not in {key.text for key, _ in self.checkpoint.signers(self.chain)}:
            raise Wrong(f"{self.key.text} has not signed it")
        source = "led to by the key you gave" if self.vkeys else "THE LOG'S OWN WORD"
        return f"{self.key.text} ({source})"

    def _file(self, folder: str, position: int, width: int) -> tuple[bytes, int]:
        """Return a tile or bundle, and how many hashes or entries it must hold.

        Where a partial one was pruned its full one stands: it begins with the same.
        """
        digits = f"{position % 1000:03d}"
        while position := position // 1000:
            digits = f"x{position % 1000:03d}/{digits}"
        full = self.directory / folder / digits
        partial = Path(f"{full}.p") / str(width)
        if width < 256 and partial.exists():
            return partial.read_bytes(), width
        return full.read_bytes(), 256


def bundle(content: bytes, count: int) -> list[bytes]:
    """Return the ``count`` entries of a bundle, which holds nothing else."""
    entries, at = [], 0
    for _ in range(count):
        length = int.from_bytes(content[at : at + 2], "big")
        entries.append(content[at + 2 : at + 2 + length])
        at += 2 + length
    if at != len(content):
        raise Wrong(f"a bundle does not hold {count} entries and nothing else")
    return entries


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(
        description="Verify evidence about a decision, or a log. Without a verb: the pack here."
    )
    trust = argparse.ArgumentParser(add_help=False)
    trust.add_argument("--vkey", action="append", default=[], help="the log's verifier key")
    verbs = parser.add_subparsers(dest="verb", required=True)
    pack = verbs.add_parser("pack", parents=[trust], help="verify an evidence pack")
    pack.add_argument("path", type=Path, nargs="?", default=Path(__file__).parent)
    pack.add_argument("--policy", type=Path, help="a tlog-policy file of yours")
    pack.add_argument("--tsa-root", type=Path, help="the timestamp authority's root, PEM")
    pack.add_argument("--checkpoint", type=Path, help="the last checkpoint that you kept")
    log = verbs.add_parser("log", parents=[trust], help="verify a published log")
    log.add_argument("path", type=Path)
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] not in ("pack", "log", "-h", "--help"):
        given.insert(0, "pack")
    options = parser.parse_args(given)
    if options.verb == "log":
        return LogCheck(options.path, options.vkey).run()
    return PackCheck(options).run()


if __name__ == "__main__":
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read along has stopped, as ``head`` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)
