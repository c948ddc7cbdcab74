"""Payloads sealed apart from the leaf, so that they can be erased and still be accounted for.

Every record has a key and a salt of its own. They are wrapped by its subject's key (RFC 3394), and
that by the log's master key. The leaf commits to the envelope, to the plaintext (salted), to the
key and to the wrapped key: AES-GCM alone does not fix the plaintext, because one ciphertext can be
built to open under two keys, and here the operator is the adversary.
"""

import os
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_wrap,
)

from audit.errors import EnvelopeError

KEY_BYTES = 32
SALT_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
RECORD_SECRET_BYTES = KEY_BYTES + SALT_BYTES + NONCE_BYTES
SUBJECT_SECRET_BYTES = KEY_BYTES + NONCE_BYTES
WRAPPED_KEY_BYTES = KEY_BYTES + SALT_BYTES + 8
WRAPPED_SUBJECT_KEY_BYTES = NONCE_BYTES + KEY_BYTES + TAG_BYTES


@dataclass(frozen=True, slots=True)
class PayloadDigests:
    """What a leaf says about a payload, whosever it is. Digests are SHA-256, 32 bytes."""

    length: int
    """Of the plaintext, in bytes."""
    envelope: bytes
    plaintext: bytes
    """Salted, so that it reveals nothing about a guessable plaintext once the salt is gone."""
    key: bytes


@dataclass(frozen=True, slots=True)
class Commitments(PayloadDigests):
    """All that a leaf says about a payload."""

    wrapped_key: bytes


@dataclass(frozen=True, slots=True, repr=False)
class RecordKey:
    """One record's key and salt. Whoever holds both can open and check that record alone."""

    key: bytes
    salt: bytes


@dataclass(frozen=True, slots=True)
class SealedPayload:
    """A payload as stored, the key that opens it, and what the leaf says about both."""

    envelope: bytes
    record_key: RecordKey
    digests: PayloadDigests


def fresh_secrets(size: int, count: int) -> list[bytes]:
    """Return so many secrets of ``size`` random bytes each, never to be used twice.

    Drawn together: each call of the system gives the interpreter's lock away.
    """
    drawn = os.urandom(size * count)
    return [drawn[at : at + size] for at in range(0, len(drawn), size)]


def seal(plaintext: bytes, *, record_id: str, secret: bytes) -> SealedPayload:
    """Encrypt ``plaintext`` under a key of its own, from RECORD_SECRET_BYTES that are fresh."""
    key, salt, nonce = secret[:32], secret[32:64], secret[64:RECORD_SECRET_BYTES]
    envelope = nonce + AESGCM(key).encrypt(nonce, plaintext, _envelope_context(record_id))
    return SealedPayload(
        envelope,
        RecordKey(key, salt),
        PayloadDigests(
            len(plaintext),
            sha256(envelope).digest(),
            _plaintext_commitment(plaintext, salt),
            _key_commitment(key),
        ),
    )


def wrap_record_key(record_key: RecordKey, *, subject_key: bytes) -> bytes:
    """Return the record's key and salt under its subject's key (RFC 3394). 72 bytes."""
    return aes_key_wrap(subject_key, record_key.key + record_key.salt)


def unwrap_record_key(wrapped_key: bytes, *, subject_key: bytes) -> RecordKey:
    """Return the record's key and salt. Raises EnvelopeError under another subject's key."""
    try:
        secret = aes_key_unwrap(subject_key, wrapped_key)
    except (InvalidUnwrap, ValueError) as err:
        raise EnvelopeError("the record's key does not unwrap under its subject's key") from err
    if len(secret) != KEY_BYTES + SALT_BYTES:
        raise EnvelopeError(f"the wrapped key holds {len(secret)} bytes, want key and salt, 64")
    return RecordKey(secret[:KEY_BYTES], secret[KEY_BYTES:])


def open_envelope(
    envelope: bytes, *, record_id: str, record_key: RecordKey, commitments: PayloadDigests
) -> bytes:
    """Return the plaintext, after checking every commitment the leaf makes about it.

    Raises EnvelopeError naming the first that fails.
    """
    if sha256(envelope).digest() != commitments.envelope:
        raise EnvelopeError("the envelope is not the one the leaf commits to")
    if _key_commitment(record_key.key) != commitments.key:
        raise EnvelopeError("the key is not the one the leaf commits to")
    try:
        plaintext = AESGCM(record_key.key).decrypt(
            envelope[:NONCE_BYTES], envelope[NONCE_BYTES:], _envelope_context(record_id)
        )
    except (InvalidTag, ValueError) as err:
        raise EnvelopeError("the envelope does not open under its key and id") from err
    if _plaintext_commitment(plaintext, record_key.salt) != commitments.plaintext:
        raise EnvelopeError("the plaintext is not the one the leaf commits to")
    if len(plaintext) != commitments.length:
        raise EnvelopeError(f"plaintext has {len(plaintext)} bytes, leaf says {commitments.length}")
    return plaintext


def wrapped_key_commitment(wrapped_key: bytes, *, subject: int) -> bytes:
    """Return the digest by which a leaf fixes its key row: the wrapped key and whose it is."""
    return sha256(b"grounds/wk/v1\n%d\n" % subject + wrapped_key).digest()


def wrap_subject_key(
    master: AESGCM, subject_key: bytes, *, nonce: bytes, subject: int, handle: bytes
) -> bytes:
    """Return the subject's key under the master key, bound to its row. 60 bytes.

    ``nonce`` is fresh: with one master key, none may be used twice.
    """
    return nonce + master.encrypt(nonce, subject_key, _subject_context(subject, handle))


def unwrap_subject_key(master: AESGCM, wrapped: bytes, *, subject: int, handle: bytes) -> bytes:
    """Return the subject's key. Raises EnvelopeError for another master key or another row."""
    try:
        return master.decrypt(
            wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _subject_context(subject, handle)
        )
    except (InvalidTag, ValueError) as err:
        raise EnvelopeError("the subject's key does not unwrap under the master key") from err


def subject_row_digest(subject: int, handle: bytes, wrapped: bytes) -> bytes:
    """Return a plain digest of a subject's row, so that damage shows without the master key."""
    return sha256(b"grounds/subject/v1\n%d\n" % subject + handle + wrapped).digest()[:16]


def unlinked_handle(subject: int) -> bytes:
    """Return what stands for a handle where there is no one to find: unique, and no one's digest.

    So it is for a record of no subject, and for a subject that was erased. It grows with the log:
    random ones would touch a page of the index for every record.
    """
    return subject.to_bytes(16, "big")


def _envelope_context(record_id: str) -> bytes:
    return b"grounds/env/v1\n" + record_id.encode() + b"\n"


def _subject_context(subject: int, handle: bytes) -> bytes:
    return b"grounds/kek/v1\n%d\n" % subject + handle


def _plaintext_commitment(plaintext: bytes, salt: bytes) -> bytes:
    digest = sha256(b"grounds/pc/v1\n" + salt)
    digest.update(plaintext)
    return digest.digest()


def _key_commitment(key: bytes) -> bytes:
    return sha256(b"grounds/kc/v1\n" + key).digest()
