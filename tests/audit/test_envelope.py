"""A payload opens only as what was committed to: same envelope, key, salt, record and subject."""

import os
from dataclasses import replace
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from hypothesis import given
from hypothesis import strategies as st

from audit.envelope import (
    RECORD_SECRET_BYTES,
    RecordKey,
    SealedPayload,
    fresh_secrets,
    open_envelope,
    seal,
    unwrap_record_key,
    unwrap_subject_key,
    wrap_record_key,
    wrap_subject_key,
    wrapped_key_commitment,
)
from audit.errors import EnvelopeError

SUBJECT_KEY = bytes(range(32))


def _sealed(plaintext: bytes) -> SealedPayload:
    (secret,) = fresh_secrets(RECORD_SECRET_BYTES, 1)
    return seal(plaintext, record_id="id-1", secret=secret)


@given(plaintext=st.binary(max_size=200))
def test_any_payload_round_trips(plaintext: bytes) -> None:
    sealed = _sealed(plaintext)
    wrapped = wrap_record_key(sealed.record_key, subject_key=SUBJECT_KEY)
    key = unwrap_record_key(wrapped, subject_key=SUBJECT_KEY)
    assert (key.key, key.salt) == (sealed.record_key.key, sealed.record_key.salt)
    opened = open_envelope(
        sealed.envelope, record_id="id-1", record_key=key, commitments=sealed.digests
    )
    assert opened == plaintext
    assert plaintext == b"" or len(plaintext) < 8 or plaintext not in sealed.envelope


def test_the_sizes_are_those_of_the_standard_constructions() -> None:
    sealed = _sealed(b"x" * 100)
    assert len(sealed.envelope) == 12 + 100 + 16
    assert len(wrap_record_key(sealed.record_key, subject_key=SUBJECT_KEY)) == 72


@pytest.mark.parametrize("size", [0, 1, 1_984, 1_985, 3_968, 4_100, 65_536, 65_537])
def test_payloads_of_any_size_have_the_digests_of_the_format(size: int) -> None:
    plaintext = bytes(at % 251 for at in range(size))
    sealed = _sealed(plaintext)
    salted = b"grounds/pc/v1\n" + sealed.record_key.salt + plaintext
    assert sealed.digests.plaintext == sha256(salted).digest()
    assert sealed.digests.envelope == sha256(sealed.envelope).digest()


def test_secrets_drawn_together_are_all_different() -> None:
    secrets = fresh_secrets(76, 300)
    assert {len(secret) for secret in secrets} == {76}
    parts = {secret[at : at + 4] for secret in secrets for at in range(0, 76, 4)}
    assert len(parts) > 300 * 19 - 5  # four bytes out of 5,700 may meet by chance
    assert not set(secrets) & set(fresh_secrets(76, 300))


def test_every_flipped_bit_of_an_envelope_or_key_is_refused() -> None:
    sealed = _sealed(b"payload")
    for at in range(len(sealed.envelope)):
        damaged = bytearray(sealed.envelope)
        damaged[at] ^= 1
        with pytest.raises(EnvelopeError, match="envelope is not the one"):
            open_envelope(
                bytes(damaged),
                record_id="id-1",
                record_key=sealed.record_key,
                commitments=sealed.digests,
            )
    wrapped = wrap_record_key(sealed.record_key, subject_key=SUBJECT_KEY)
    for at in range(len(wrapped)):
        damaged = bytearray(wrapped)
        damaged[at] ^= 1
        with pytest.raises(EnvelopeError, match="unwrap"):
            unwrap_record_key(bytes(damaged), subject_key=SUBJECT_KEY)


def test_another_record_key_salt_or_length_is_refused() -> None:
    sealed = _sealed(b"payload")
    good, commitments = sealed.record_key, sealed.digests
    for record_id, key, claimed, why in (
        ("id-2", good, commitments, "does not open"),
        ("id-1", RecordKey(bytes(32), good.salt), commitments, "key is not the one"),
        ("id-1", RecordKey(good.key, bytes(32)), commitments, "plaintext is not the one"),
        ("id-1", good, replace(commitments, length=8), "7 bytes"),
    ):
        with pytest.raises(EnvelopeError, match=why):
            open_envelope(sealed.envelope, record_id=record_id, record_key=key, commitments=claimed)


def test_an_operator_cannot_swap_the_key_under_a_ciphertext() -> None:
    """AES-GCM alone would accept a ciphertext built for two keys; the commitment does not."""
    sealed = _sealed(b"payload")
    other = os.urandom(32)
    nonce = sealed.envelope[:12]
    forged = nonce + AESGCM(other).encrypt(nonce, b"another", b"grounds/env/v1\nid-1\n")
    claimed = replace(sealed.digests, envelope=sha256(forged).digest())
    with pytest.raises(EnvelopeError, match="key is not the one"):
        open_envelope(
            forged,
            record_id="id-1",
            record_key=RecordKey(other, sealed.record_key.salt),
            commitments=claimed,
        )


def test_a_wrapped_key_of_another_length_is_refused() -> None:
    with pytest.raises(EnvelopeError, match="holds 32 bytes"):
        unwrap_record_key(aes_key_wrap(SUBJECT_KEY, bytes(32)), subject_key=SUBJECT_KEY)


def test_a_wrapped_key_is_committed_together_with_its_subject() -> None:
    assert wrapped_key_commitment(b"w", subject=1) != wrapped_key_commitment(b"w", subject=2)


def test_a_subject_key_is_bound_to_its_row() -> None:
    master = AESGCM(bytes(32))
    nonce = os.urandom(12)
    wrapped = wrap_subject_key(master, SUBJECT_KEY, nonce=nonce, subject=7, handle=b"h" * 16)
    assert unwrap_subject_key(master, wrapped, subject=7, handle=b"h" * 16) == SUBJECT_KEY
    for key, subject, handle in (
        (AESGCM(b"\x01" * 32), 7, b"h" * 16),
        (master, 8, b"h" * 16),
        (master, 7, b"i" * 16),
    ):
        with pytest.raises(EnvelopeError):
            unwrap_subject_key(key, wrapped, subject=subject, handle=handle)
