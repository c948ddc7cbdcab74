"""A verifier of a published log, written from docs/audit-log.md alone and nothing else of ours.

It imports nothing of the project. Slow and plain on purpose: trees by recursion, JSON by the standard
library, one check after the other. What it raises says which sentence of the document is broken.
"""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TYPE = re.compile(r"[a-z][a-z0-9_.]{0,47}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_MEMBERS = {"facts", "id", "idem", "payload", "ts", "type", "v"}
_PAYLOAD = {"alg", "kc", "len", "pc", "sha256", "wk"}


class BrokenRule(Exception):  # noqa: N818
    """A sentence of the document does not hold."""


def rule(holds: object, sentence: str) -> None:
    if not holds:
        raise BrokenRule(sentence)


def digest(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def canonical_base64(text: str) -> bytes:
    content = base64.b64decode(text, validate=True)
    rule(base64.b64encode(content).decode() == text, "base64 is in its one canonical spelling")
    return content


# 1. Tree


def tree(hashes: list[bytes]) -> bytes:
    """RFC 9162, 2.1.1, as it stands there."""
    if not hashes:
        return digest(b"")
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return digest(b"\x01", tree(hashes[:split]), tree(hashes[split:]))


# 2. Checkpoint


def parse_key(vkey: str) -> tuple[str, bytes, bytes]:
    """Return name, key ID and public key."""
    name, key_id, encoded = vkey.split("+", 2)
    content = canonical_base64(encoded)
    rule(content[:1] == b"\x01" and len(content) == 33, "the log's key is Ed25519, type 01")
    rule(digest(name.encode(), b"\n", content)[:4].hex() == key_id, "KEYID is the hash's beginning")
    return name, bytes.fromhex(key_id), content[1:]


def signed_by(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def open_checkpoint(note: bytes, vkeys: list[str]) -> tuple[str, int, bytes]:
    """Return origin, size and root of a checkpoint that one of the keys has signed."""
    at = note.rfind(b"\n\n")
    rule(at >= 0, "an empty line stands before the signatures")
    text, lines = note[: at + 1], note[at + 2 :].decode().splitlines()
    good = False
    for line in lines:
        dash, name, encoded = line.split(" ")
        rule(dash == "\u2014", "the dash is U+2014")
        content = canonical_base64(encoded)
        for vkey in vkeys:
            known, key_id, public = parse_key(vkey)
            if (name, content[:4]) == (known, key_id):
                rule(signed_by(public, content[4:], text), "a known key's signature is right")
                good = True
    rule(good, "the checkpoint is signed by a known key")
    origin, size, root = text.decode().split("\n")[:3]
    rule(size.isdigit() and str(int(size)) == size, "the size has no leading zero")
    return origin, int(size), canonical_base64(root)


# 3. Published files


def path_of(kind: str, number: int, width: int) -> str:
    digits = f"{number:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    spelt = "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])
    return f"tile/{kind}/{spelt}" + ("" if width == 256 else f".p/{width}")


def resource(log: Path, kind: str, number: int, width: int) -> bytes:
    path = log / path_of(kind, number, width)
    return (path if path.exists() else log / path_of(kind, number, 256)).read_bytes()


def read_entries(log: Path, size: int) -> list[bytes]:
    entries: list[bytes] = []
    while len(entries) < size:
        number = len(entries) // 256
        width = min(256, size - len(entries))
        content, at = resource(log, "entries", number, width), 0
        for _ in range(width):
            length = int.from_bytes(content[at : at + 2], "big")
            entry = content[at + 2 : at + 2 + length]
            rule(len(entry) == length, "a bundle has each entry after its length")
            entries.append(entry)
            at += 2 + length
    return entries


def check_tiles(log: Path, hashes: list[bytes]) -> None:
    level = 0
    while count := len(hashes) // 256**level:
        span = 256**level
        roots = [tree(hashes[at * span : (at + 1) * span]) for at in range(count)]
        for number in range(-(-count // 256)):
            want = b"".join(roots[number * 256 : number * 256 + 256])
            got = resource(log, str(level), number, len(want) // 32)
            rule(got[: len(want)] == want, f"tile {level}/{number} holds the roots of its entries")
        level += 1


# 4. Entry


def parse_leaf(entry: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        rule(len({name for name, _ in pairs}) == len(pairs), "no member stands twice")
        return dict(pairs)

    def no_float(text: str) -> float:
        raise BrokenRule(f"no floats: {text}")

    rule(len(entry) < 1024, "an entry has fewer than 1,024 bytes")
    leaf: dict[str, Any] = json.loads(entry, object_pairs_hook=once, parse_float=no_float)
    spelt = json.dumps(leaf, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    rule(spelt.encode() == entry, "a leaf is in canonical form")
    rule(set(leaf) <= _MEMBERS and _MEMBERS - set(leaf) <= {"idem", "payload"}, "members of a leaf")
    rule(leaf["v"] == 1, "v is 1")
    rule(_ID.fullmatch(leaf["id"]), "id")
    rule(_TYPE.fullmatch(leaf["type"]), "type")
    rule(_TIME.fullmatch(leaf["ts"]), "ts")
    rule(isinstance(leaf["facts"], dict), "facts is an object")
    if "payload" in leaf:
        payload = leaf["payload"]
        rule(set(payload) == _PAYLOAD and payload["alg"] == "A256GCM", "members of payload")
        rule(all(len(canonical_base64(payload[name])) == 32 for name in ("sha256", "pc", "kc", "wk")),
             "commitments are SHA-256")  # fmt: skip
    if "idem" in leaf:
        rule(
            all(len(canonical_base64(leaf["idem"][name])) == 16 for name in ("body", "key")), "idem"
        )
    return leaf


# 5. Payload


def open_payload(leaf: dict[str, Any], envelope: bytes, key: bytes, salt: bytes) -> bytes:
    """Return a record's plaintext, every commitment checked."""
    said = leaf["payload"]
    rule(canonical_base64(said["sha256"]) == digest(envelope), "sha256 is the envelope's")
    rule(canonical_base64(said["kc"]) == digest(b"grounds/kc/v1\n", key), "kc is the key's")
    context = b"grounds/env/v1\n" + leaf["id"].encode() + b"\n"
    plaintext = AESGCM(key).decrypt(envelope[:12], envelope[12:], context)
    rule(canonical_base64(said["pc"]) == digest(b"grounds/pc/v1\n", salt, plaintext), "pc")
    rule(said["len"] == len(plaintext), "len is the plaintext's length")
    return plaintext


# 7, 9. Types, and changes of the key


def check_meaning(leaves: list[dict[str, Any]], origin: str) -> list[str]:
    """Return the log's verifier keys in order."""
    rule(len({leaf["id"] for leaf in leaves}) == len(leaves), "no two entries have one id")
    vkeys: list[str] = []
    for index, leaf in enumerate(leaves):
        facts = leaf["facts"]
        rule((leaf["type"] == "genesis") == (index == 0), "entry 0 is the genesis and no other is")
        if leaf["type"] == "genesis":
            rule(facts["origin"] == origin, "the genesis names the origin")
            vkeys = [facts["vkey"]]
        if leaf["type"] == "key_rotated":
            rule(leaf["id"] == f"key-rotated-{len(vkeys)}", "the id of a change of keys")
            rule(facts["old"] == vkeys[-1], "old is the key before")
            name = parse_key(facts["old"])[0]
            message = f"grounds/rotate-key/v1\n{name}\n{facts['old']}\n{facts['new']}\n".encode()
            for which in ("old", "new"):
                key = parse_key(facts[which])
                rule(key[0] == name, "both keys have one name")
                signature = canonical_base64(facts[f"by_{which}"])
                rule(signed_by(key[2], signature, message), f"{which} has signed the change")
            vkeys.append(facts["new"])
        if leaf["type"] == "erasure":
            rule(len(facts["of"]) <= 40, "of has at most 40 indexes")
            for erased in facts["of"]:
                rule(
                    0 <= erased < index and "payload" in leaves[erased], "of names earlier payloads"
                )
    return vkeys


def verify_log(log: Path, vkey: str) -> list[dict[str, Any]]:
    """Return a published log's leaves, all of it checked under a key from outside."""
    note = (log / "checkpoint").read_bytes()
    origin, size = note.decode().split("\n")[:2]
    entries = read_entries(log, int(size))
    leaves = [parse_leaf(entry) for entry in entries]
    vkeys = check_meaning(leaves, origin)
    rule(vkey in vkeys, "the key given is one of the log's")
    _, _, root = open_checkpoint(note, vkeys)
    hashes = [digest(b"\x00", entry) for entry in entries]
    rule(tree(hashes) == root, "the entries lead to the signed root")
    check_tiles(log, hashes)
    return leaves
