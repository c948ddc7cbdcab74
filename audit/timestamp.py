"""RFC 3161 timestamps: an outside authority's word that a checkpoint existed at a time.

A checkpoint carries no time of its own, because nobody could verify it. The token is over SHA-256 of
the checkpoint note as the log signed it, without cosignatures. Needs the extra ``timestamps``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from audit.errors import TimestampError

REQUEST_TYPE = "application/timestamp-query"
RESPONSE_TYPE = "application/timestamp-reply"
MAX_RESPONSE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class TimestampRequest:
    """What to send to an authority, and what its answer must repeat."""

    content: bytes
    nonce: int | None


def request_for(message: bytes) -> TimestampRequest:
    """Return the request for a timestamp over ``message``, with a nonce of its own."""
    request = (
        TimestampRequestBuilder()
        .data(message)
        .hash_algorithm(HashAlgorithm.SHA256)
        .nonce(nonce=True)
        .cert_request(cert_request=True)
        .build()
    )
    return TimestampRequest(request.as_bytes(), request.nonce)


def verify_timestamp(
    response: bytes,
    message: bytes,
    *,
    roots: Sequence[x509.Certificate],
    nonce: int | None = None,
) -> datetime:
    """Return the time that a response (TimeStampResp, DER) states for ``message``.

    The signature, the chain to one of ``roots`` at that time, the message and, where given, the
    nonce are checked. Raises TimestampError.
    """
    if len(response) > MAX_RESPONSE_BYTES:
        raise TimestampError(f"has {len(response)} bytes, want at most {MAX_RESPONSE_BYTES}")
    try:
        decoded: TimeStampResponse = decode_timestamp_response(response)
        certificates = [
            x509.load_der_x509_certificate(content) for content in decoded.signed_data.certificates
        ]
    except ValueError as err:
        raise TimestampError(f"not a timestamp: {err}") from err
    signer = _signer(certificates)
    builder = VerifierBuilder(
        tsa_certificate=signer,
        roots=list(roots),
        intermediates=[
            certificate
            for certificate in certificates
            if certificate != signer and certificate not in roots
        ],
        nonce=nonce,
    )
    try:
        builder.build().verify_message(decoded, message)
    except (VerificationError, ValueError) as err:
        raise TimestampError(f"the timestamp does not hold: {err}") from err
    return decoded.tst_info.gen_time.astimezone(UTC)


def read_roots(content: bytes) -> list[x509.Certificate]:
    """Return the certificates of a PEM file. Raises TimestampError when it holds none."""
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as err:
        raise TimestampError(f"not certificates in PEM: {err}") from err


def _signer(certificates: list[x509.Certificate]) -> x509.Certificate:
    """Return the one certificate made for timestamps and nothing else (RFC 3161 2.3)."""
    found = []
    for certificate in certificates:
        try:
            usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        except x509.ExtensionNotFound:
            continue
        if list(usage.value) == [ExtendedKeyUsageOID.TIME_STAMPING] and usage.critical:
            found.append(certificate)
    if len(found) != 1:
        raise TimestampError(f"{len(found)} certificates in it are for timestamps, want one")
    return found[0]
