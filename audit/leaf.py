"""The leaf: the small canonical JSON that the tree commits to, free of floats and personal data.

Canonical means RFC 8785 (JCS). Without floats, with ASCII keys and integers below 2**53, the
standard library's encoder writes exactly those bytes. They are written once, stored, and never
serialised again to verify: hashes are taken over the stored bytes.
"""

import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from json.encoder import encode_basestring
from typing import TypeAlias

from audit.envelope import Commitments, PayloadDigests
from audit.errors import LeafError
from audit.note import encode_base64

VERSION = 1
MAX_LEAF_BYTES = 1023
MAX_INTEGER = 2**53 - 1
ID_FORM = "[A-Za-z0-9._-]{1,64}"
TYPE_FORM = "[a-z][a-z0-9_.]{0,47}"
TIME_FORM = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z"
"""As regular expressions."""
_DIGEST_CHARACTERS = 44
"""Of SHA-256 in base64."""

_quote: Callable[[str], str] = encode_basestring

Fact: TypeAlias = "str | int | bool | Sequence[Fact] | Mapping[str, Fact] | None"
"""JSON without floats."""
Facts: TypeAlias = Mapping[str, Fact]


@dataclass(frozen=True, slots=True)
class IdempotencyTag:
    """What a leaf says about an idempotency key: keyed digests, 16 bytes each."""

    key: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Leaf:
    """A parsed leaf."""

    type: str
    id: str
    timestamp: str
    facts: Facts
    payload: Commitments | None
    idempotency: IdempotencyTag | None


def format_timestamp(moment: datetime) -> str:
    """Return RFC 3339 in UTC with milliseconds. Raises LeafError for a time without a zone."""
    if moment.tzinfo is None:
        raise LeafError("the clock gave a time without a zone, want UTC")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode_leaf(leaf: Leaf) -> bytes:
    """Return the leaf's bytes, fewer than 1,024.

    Raises LeafError for floats, keys that are not ASCII, integers beyond 2**53, lone surrogates.
    """
    before, after = encode_around_key(
        leaf.type,
        leaf.id,
        leaf.timestamp,
        canonical_facts(leaf.facts),
        payload=leaf.payload,
        idempotency=leaf.idempotency,
    )
    key = b"" if leaf.payload is None else encode_base64(leaf.payload.wrapped_key).encode()
    return before + key + after


def canonical_facts(facts: Facts) -> str:
    """Return facts as they stand in a leaf. Raises LeafError; see ``encode_leaf``."""
    return _canonical(facts)


def encode_around_key(
    record_type: str,
    record_id: str,
    timestamp: str,
    facts: str,
    *,
    payload: PayloadDigests | None,
    idempotency: IdempotencyTag | None,
) -> tuple[bytes, bytes]:
    """Return the leaf's bytes before and after the digest of the wrapped key, which goes between.

    That digest can depend on the entry's index; everything else of a leaf is known before. Without
    a payload there is no such digest, and the second part is empty. ``facts`` are canonical.
    """
    tag = digests = ""
    if idempotency is not None:
        body, key = encode_base64(idempotency.body), encode_base64(idempotency.key)
        tag = f'"idem":{{"body":"{body}","key":"{key}"}},'
    if payload is not None:
        digests = (
            f'"payload":{{"alg":"A256GCM","kc":"{encode_base64(payload.key)}",'
            f'"len":{payload.length},"pc":"{encode_base64(payload.plaintext)}",'
            f'"sha256":"{encode_base64(payload.envelope)}","wk":"'
        )
    # The outer keys stand in sorted order, and base64 needs no escapes: this is JCS by hand, 15 us
    # faster a record than a general encoder.
    before = f'{{"facts":{facts},"id":{_quote(record_id)},{tag}{digests}'
    after = f'"ts":{_quote(timestamp)},"type":{_quote(record_type)},"v":{VERSION}}}'
    if payload is not None:
        after = '"},' + after
    try:
        parts = before.encode(), after.encode()
    except UnicodeEncodeError as err:
        raise LeafError(f"the facts hold text that is not Unicode: {err}") from err
    length = len(parts[0]) + len(parts[1]) + (0 if payload is None else _DIGEST_CHARACTERS)
    if length > MAX_LEAF_BYTES:
        raise LeafError(f"the leaf has {length} bytes, want at most {MAX_LEAF_BYTES}")
    return parts if payload is not None else (parts[0] + parts[1], b"")


def leaf_ending(record_type: str) -> bytes:
    """Return how every leaf of a type ends, and none of another: to tell them apart unparsed."""
    return f'"type":"{record_type}","v":{VERSION}}}'.encode()


def parse_leaf(content: bytes) -> Leaf:
    """Read a leaf. Raises LeafError when it is not one of this version."""
    try:
        fields = json.loads(content.decode())
        if fields["v"] != VERSION:
            raise LeafError(f"the leaf has version {fields['v']!r}, want {VERSION}")
        payload, idempotency = fields.get("payload"), fields.get("idem")
        return Leaf(
            type=_text(fields["type"]),
            id=_text(fields["id"]),
            timestamp=_text(fields["ts"]),
            facts=fields["facts"],
            payload=None
            if payload is None
            else Commitments(
                length=payload["len"],
                envelope=_digest(payload["sha256"]),
                plaintext=_digest(payload["pc"]),
                key=_digest(payload["kc"]),
                wrapped_key=_digest(payload["wk"]),
            ),
            idempotency=None
            if idempotency is None
            else IdempotencyTag(key=_digest(idempotency["key"]), body=_digest(idempotency["body"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise LeafError(f"not a leaf: {type(err).__name__}: {err}") from err


def parse_facts(content: bytes) -> Facts:
    """Read a leaf's facts. Raises LeafError unless they are spelt as ``encode_leaf`` spells them."""
    try:
        facts = json.loads(content.decode())
        if not isinstance(facts, dict) or _canonical(facts).encode() != content:
            raise LeafError("the facts are not in canonical form")
    except (ValueError, RecursionError) as err:
        raise LeafError(f"the facts cannot be read: {type(err).__name__}: {err}") from err
    return facts


def _digest(text: str) -> bytes:
    # Spelling need not be checked as in a note: the leaf's own hash fixes it.
    return binascii.a2b_base64(text, strict_mode=True)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise LeafError(f"not a leaf: {type(value).__name__} where text belongs")
    return value


def _canonical(value: object) -> str:
    kind = type(value)
    if isinstance(value, str):
        return _quote(value)
    if value is None or kind is bool:
        return "null" if value is None else "true" if value else "false"
    if isinstance(value, int):
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise LeafError(f"integer {value} in facts, want at most 2**53 - 1 in size")
        return f"{value:d}"
    if isinstance(value, Mapping):
        for key in value:
            if type(key) is not str or not key.isascii():
                raise LeafError(f"key {key!r} in facts, want ASCII text")
        members = [f"{_quote(key)}:{_canonical(value[key])}" for key in sorted(value)]
        return "{" + ",".join(members) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_canonical, value)) + "]"
    raise LeafError(f"{kind.__name__} in facts, want text, integers, true, false or null")
