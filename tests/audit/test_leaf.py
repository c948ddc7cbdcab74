"""The leaf is RFC 8785 by an independent implementation, small, and free of what it must not hold."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from audit.envelope import Commitments
from audit.errors import LeafError
from audit.leaf import (
    MAX_LEAF_BYTES,
    Fact,
    Facts,
    IdempotencyTag,
    Leaf,
    encode_leaf,
    format_timestamp,
    parse_leaf,
)

COMMITMENTS = Commitments(2500, bytes(32), b"\xff" * 32, b"\x01" * 32, b"\x02" * 32)
TAG = IdempotencyTag(b"k" * 16, b"b" * 16)


def leaf_with(facts: Facts) -> Leaf:
    return Leaf("decision", "id-1", "2026-01-01T00:00:00.000Z", facts, COMMITMENTS, TAG)


facts = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(max_codepoint=127), max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    facts=st.dictionaries(st.text(st.characters(max_codepoint=127), max_size=4), facts, max_size=3),
    payload=st.sampled_from([None, COMMITMENTS]),
    tag=st.sampled_from([None, TAG]),
)
def test_leaf_bytes_are_canonical_json(
    facts: dict[str, Fact], payload: Commitments | None, tag: IdempotencyTag | None
) -> None:
    leaf = Leaf("decision", "id-1", "2026-01-01T00:00:00.000Z", facts, payload, tag)
    encoded = encode_leaf(leaf)
    content: dict[str, object] = {
        "v": 1,
        "type": "decision",
        "id": "id-1",
        "ts": "2026-01-01T00:00:00.000Z",
        "facts": facts,
    }
    if payload is not None:
        content["payload"] = {
            "alg": "A256GCM",
            "len": 2500,
            "sha256": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "pc": "//////////////////////////////////////////8=",
            "kc": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
            "wk": "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=",
        }
    if tag is not None:
        content["idem"] = {"key": "a2tra2tra2tra2tra2traw==", "body": "YmJiYmJiYmJiYmJiYmJiYg=="}
    assert encoded == rfc8785.dumps(content)  # type: ignore[arg-type]  # its JSON type is narrower
    assert parse_leaf(encoded) == leaf


@pytest.mark.parametrize(
    "value",
    [1.0, float("nan"), 2**53, -(2**53), b"bytes", {"é": 1}, {1: 2}, {"a": [{"b": 0.5}]}, "\ud800"],
    ids=repr,
)
def test_what_a_leaf_must_not_hold_is_refused(value: object) -> None:
    with pytest.raises(LeafError):
        encode_leaf(leaf_with({"fact": value}))  # type: ignore[dict-item]  # the point of the test


def test_a_leaf_is_smaller_than_a_kilobyte() -> None:
    room = MAX_LEAF_BYTES - len(encode_leaf(leaf_with({"text": ""})))
    assert len(encode_leaf(leaf_with({"text": "x" * room}))) == 1023
    with pytest.raises(LeafError, match="1024 bytes, want at most 1023"):
        encode_leaf(leaf_with({"text": "x" * (room + 1)}))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b'{"v":2}',
        b'{"v":1}',
        b'{"facts":{},"id":1,"ts":"","type":"x","v":1}',
        b'{"facts":{},"id":"i","payload":{},"ts":"","type":"x","v":1}',
        b'{"facts":{},"id":"i","idem":{"body":"!","key":""},"ts":"","type":"x","v":1}',
    ],
)
def test_other_bytes_are_no_leaf(content: bytes) -> None:
    with pytest.raises(LeafError):
        parse_leaf(content)


def test_times_are_utc_milliseconds() -> None:
    moment = datetime(2026, 1, 1, 2, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))
    assert format_timestamp(moment) == "2026-01-01T01:00:00.999Z"
    assert format_timestamp(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000Z"
    with pytest.raises(LeafError, match="without a zone"):
        format_timestamp(datetime(2026, 1, 1))  # noqa: DTZ001 - the point of the test
