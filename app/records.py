"""Domain to canonical bytes and back: what the log keeps of a recommendation.

The payload is written once, stored as it is and never re-serialised to verify anything. It holds
the case, the answer exactly as it was given (all but the receipt, which only the log can give),
and the raw bits of every number that a replay must reproduce.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import orjson

from app.domain import CaseTerms, Circumstances, Origin
from audit.records import Receipt
from audit.replay import Item

RECOMMENDATION = "recommendation"
REPLAY = "replay"
SHADOW = "shadow"
STARTED = "started"

FIRST_WITH_TERMS = 3
NO_TERMS = CaseTerms("concurrent", "human", {}, 0, None)
"""Of records from before there were any: no decision can be recorded on them."""

SIZE_CLASS_BYTES = 12_224
"""Sealed and as a row, two of this length share three pages of the log's SQLite file."""

Bits = Sequence[Item]
"""The numbers, and the outcome, that a replay must reproduce bit for bit."""


@dataclass(frozen=True, slots=True)
class StoredRecommendation:
    """What a recommendation's payload says."""

    caller: str
    case: Mapping[str, object]
    answer: bytes
    """The answer's JSON without the receipt, as it was given."""
    bits: Bits
    model_digest: str
    policy_digest: str
    runtime: Mapping[str, str]
    circumstances: Circumstances
    subject: str | None
    """The caller's opaque name of the person, under the key that dies with their records."""
    terms: CaseTerms
    """The rules for what follows."""


def recommendation_payload(
    *,
    caller: str,
    subject: str | None,
    case: Mapping[str, object],
    circumstances: Circumstances,
    terms: CaseTerms,
    answer: bytes,
    bits: Bits,
    runtime: Mapping[str, str],
    trace: str | None = None,
) -> bytes:
    """Return the payload of a recommendation, padded to its size class.

    The leaf says how long the payload is, and an answer's length tells its outcome: an adverse one
    says what would have changed it. White space at the end of JSON means nothing.
    """
    payload = orjson.dumps(
        {
            "v": 3,
            "caller": caller,
            "subject": subject,
            "case": case,
            "circumstances": _circumstances_body(circumstances),
            "terms": terms,
            "answer": orjson.Fragment(answer),
            "bits": [
                {"name": item.name, "type": item.type, "hex": item.raw.hex()} for item in bits
            ],
            "runtime": runtime,
            "trace": trace,
        }
    )
    return payload + b" " * (-len(payload) % SIZE_CLASS_BYTES)


def parse_recommendation(payload: bytes) -> StoredRecommendation:
    """Return what ``payload``, written by recommendation_payload, says."""
    content = orjson.loads(payload)
    answer = content["answer"]
    return StoredRecommendation(
        caller=content["caller"],
        case=content["case"],
        # orjson writes what it read in the same order and with the same digits.
        answer=orjson.dumps(answer),
        bits=tuple(
            Item(item["name"], item["type"], bytes.fromhex(item["hex"])) for item in content["bits"]
        ),
        model_digest=answer["model"]["digest"],
        policy_digest=answer["policy"]["digest"],
        runtime=content["runtime"],
        # Records of version 1 said nothing around the case.
        circumstances=(
            Circumstances() if content["v"] == 1 else _parse_circumstances(content["circumstances"])
        ),
        subject=None if content["v"] == 1 else content["subject"],
        terms=CaseTerms(**content["terms"]) if content["v"] >= FIRST_WITH_TERMS else NO_TERMS,
    )


def _circumstances_body(circumstances: Circumstances) -> dict[str, object]:
    return {
        "purpose": circumstances.purpose,
        "legal_basis": circumstances.legal_basis,
        "agreement": circumstances.agreement,
        "unaided": circumstances.unaided,
        "provenance": {
            name: [origin.source, origin.date] for name, origin in circumstances.provenance.items()
        },
    }


def _parse_circumstances(content: Mapping[str, Any]) -> Circumstances:
    return Circumstances(
        purpose=content["purpose"],
        legal_basis=content["legal_basis"],
        agreement=content["agreement"],
        unaided=content.get("unaided", False),
        provenance={
            name: Origin(source, None if day is None else date.fromisoformat(day))
            for name, (source, day) in content["provenance"].items()
        },
    )


def with_receipt(answer: bytes, receipt: Receipt) -> bytes:
    """Return the answer with its receipt as the last member: what the caller gets."""
    tail = orjson.dumps(
        {
            "log": receipt.origin,
            "index": receipt.index,
            "leaf_hash": b64encode(receipt.leaf_hash).decode(),
        }
    )
    return b"".join((answer[:-1], b',"receipt":', tail, b"}"))
