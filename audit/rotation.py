"""Handing a log over to a new signing key: an entry that both keys have signed.

Whoever trusts the old key can follow to the new one from the leaf alone, wherever it was got from.
"""

from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from audit.errors import NoteError, SignatureError
from audit.leaf import Facts, Leaf
from audit.note import SigningKey, VerifierKey, decode_base64, encode_base64
from audit.records import KEY_ROTATED


@dataclass(frozen=True, slots=True)
class Rotation:
    """One handing over."""

    old: VerifierKey
    new: VerifierKey


def rotation_facts(old: SigningKey, new: SigningKey) -> Facts:
    """Return the facts of the entry that hands over, signed by both."""
    message = _message(old.verifier, new.verifier)
    return {
        "old": old.verifier.format(),
        "new": new.verifier.format(),
        "by_old": encode_base64(old.private_key.sign(message)),
        "by_new": encode_base64(new.private_key.sign(message)),
    }


def parse_rotation(leaf: Leaf) -> Rotation:
    """Return what a key_rotated leaf says, both signatures checked.

    Raises NoteError when it is not one, SignatureError when a signature is wrong.
    """
    if leaf.type != KEY_ROTATED:
        raise NoteError(f"the entry is of type {leaf.type}, want {KEY_ROTATED}")
    texts = [leaf.facts.get(name) for name in ("old", "new", "by_old", "by_new")]
    if not all(isinstance(text, str) for text in texts):
        raise NoteError("the entry does not name two keys and their signatures")
    old, new = VerifierKey.parse(str(texts[0])), VerifierKey.parse(str(texts[1]))
    if old.name != new.name:
        raise NoteError(f"the entry hands {old.name!r} over to {new.name!r}, another log")
    for key, signature in ((old, texts[2]), (new, texts[3])):
        try:
            Ed25519PublicKey.from_public_bytes(key.public_key).verify(
                decode_base64(str(signature)), _message(old, new)
            )
        except InvalidSignature as err:
            raise SignatureError(
                f"{key.key_id.hex()} has not signed the handing over as it says"
            ) from err
    return Rotation(old, new)


def rotation_id(number: int) -> str:
    """Return the id of the log's first, second, ... change of keys: found without a search."""
    return f"key-rotated-{number}"


def _message(old: VerifierKey, new: VerifierKey) -> bytes:
    return f"grounds/rotate-key/v1\n{old.name}\n{old.format()}\n{new.format()}\n".encode()
