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
    RecordKey,
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


@given(plaintext=st.binary(max_size=200))
def test_any_payload_round_trips(plaintext: bytes) -> None:
    sealed = seal(plaintext, record_id="id-1")
    wrapped = wrap_record_key(sealed.record_key, subject_key=SUBJECT_KEY)
    key = unwrap_record_key(wrapped, subject_key=SUBJECT_KEY)
    assert (key.key, key.salt) == (sealed.record_key.key, sealed.record_key.salt)
    opened = open_envelope(
        sealed.envelope, record_id="id-1", record_key=key, commitments=sealed.digests
    )
    assert opened == plaintext
    assert plaintext == b"" or len(plaintext) < 8 or plaintext not in sealed.envelope


def test_the_sizes_are_those_of_the_standard_constructions() -> None:
    sealed = seal(b"x" * 100, record_id="id-1")
    assert len(sealed.envelope) == 12 + 100 + 16
    assert len(wrap_record_key(sealed.record_key, subject_key=SUBJECT_KEY)) == 72


def test_every_flipped_bit_of_an_envelope_or_key_is_refused() -> None:
    sealed = seal(b"payload", record_id="id-1")
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
    sealed = seal(b"payload", record_id="id-1")
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
    sealed = seal(b"payload", record_id="id-1")
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
    wrapped = wrap_subject_key(master, SUBJECT_KEY, subject=7, handle=b"h" * 16)
    assert unwrap_subject_key(master, wrapped, subject=7, handle=b"h" * 16) == SUBJECT_KEY
    for key, subject, handle in (
        (AESGCM(b"\x01" * 32), 7, b"h" * 16),
        (master, 8, b"h" * 16),
        (master, 7, b"i" * 16),
    ):
        with pytest.raises(EnvelopeError):
            unwrap_subject_key(key, wrapped, subject=subject, handle=handle)
