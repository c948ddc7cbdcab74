"""Keyed digests: how subjects and requests are found again without their names being stored."""

from hashlib import blake2s

from audit.records import Idempotency


def subject_handle(digest_key: bytes, subject: str) -> bytes:
    """Return the keyed digest under which a subject's key is found. 16 bytes."""
    return blake2s(subject.encode(), digest_size=16, key=digest_key, person=b"subject").digest()


def idempotency_digest(digest_key: bytes, request: Idempotency) -> bytes:
    """Return the keyed digest under which a request is found. 16 bytes."""
    scope = request.scope.encode()
    message = b"%d\n" % len(scope) + scope + request.key.encode()
    return blake2s(message, digest_size=16, key=digest_key, person=b"request").digest()


def body_digest(salt: bytes, fingerprint: bytes) -> bytes:
    """Return the request's digest under the record's salt, useless once that is erased."""
    return blake2s(fingerprint, digest_size=16, key=salt, person=b"body").digest()
