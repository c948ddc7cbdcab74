"""The fast reading of a leaf says the same as the strict one, of every leaf and of every near-miss."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.envelope import Commitments
from audit.errors import LeafError
from audit.leaf import (
    Facts,
    IdempotencyTag,
    Leaf,
    encode_leaf,
    format_timestamp,
    parse_leaf,
)
from audit.scanned_leaf import LeafScanner, check_canonical

SCANNER = LeafScanner()
"""One for all examples, so that what it remembers is part of what is tested."""

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(max_codepoint=127), max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
digests = st.binary(min_size=32, max_size=32)
short = st.binary(min_size=16, max_size=16)
leaves = st.builds(
    Leaf,
    type=st.from_regex(r"[a-z][a-z0-9_.]{0,20}", fullmatch=True),
    id=st.from_regex(r"[A-Za-z0-9._-]{1,40}", fullmatch=True),
    timestamp=st.datetimes(timezones=st.just(UTC), min_value=datetime(1000, 1, 1)).map(  # noqa: DTZ001 - a bound
        format_timestamp
    ),
    facts=st.dictionaries(st.sampled_from(["of", "model", '"},"id":"', "a"]), values, max_size=3),
    payload=st.none()
    | st.builds(
        Commitments,
        length=st.integers(0, 2**31),
        envelope=digests,
        plaintext=digests,
        key=digests,
        wrapped_key=digests,
    ),
    idempotency=st.none() | st.builds(IdempotencyTag, key=short, body=short),
)


def strict(content: bytes) -> Leaf | None:
    """What the slow way says: read as JSON, and the same bytes when written again."""
    try:
        leaf = parse_leaf(content)
        check_canonical(leaf, content)
    except LeafError:
        return None
    return leaf


def fast(content: bytes) -> Leaf | None:
    try:
        return SCANNER.scan(content).leaf()
    except LeafError:
        return None


def encoded(leaf: Leaf) -> bytes:
    try:
        return encode_leaf(leaf)
    except LeafError:  # too large, or text that is not Unicode
        return b""


@given(leaves)
def test_a_leaf_is_read_as_the_strict_way_reads_it(leaf: Leaf) -> None:
    content = encoded(leaf)
    if content:
        assert fast(content) == strict(content) == leaf


@given(leaves, st.data())
def test_a_changed_leaf_is_read_as_the_strict_way_reads_it(leaf: Leaf, data: st.DataObject) -> None:
    content = encoded(leaf)
    if not content:
        return
    at = data.draw(st.integers(0, len(content)))
    inserted = data.draw(st.sampled_from([b"", b" ", b'"', b"0", b"}", b"\\", b"A", b"\xff", b"="]))
    until = data.draw(st.integers(at, min(at + 2, len(content))))
    changed = content[:at] + inserted + content[until:]
    assert fast(changed) == strict(changed)


def a_leaf(facts: Facts | None = None) -> bytes:
    return encode_leaf(
        Leaf(
            "event",
            "id-1",
            "2026-11-23T12:00:00.000Z",
            {"a": 1} if facts is None else facts,
            Commitments(5, bytes(32), bytes(32), bytes(32), bytes(32)),
            IdempotencyTag(bytes(16), bytes(16)),
        )
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'{"a":1}', b'{"a":1,"a":2}'),
        (b'{"a":1}', b'{ "a":1}'),
        (b'{"a":1}', b'{"a":1.0}'),
        (b'{"a":1}', b'{"a":1e0}'),
        (b'{"a":1}', b'{"b":1,"a":1}'),
        (b'{"a":1}', b'{"a":"\\u0041"}'),
        (b'{"a":1}', b'{"a":9007199254740992}'),
        (b'{"a":1}', b'{"a":NaN}'),
        (b'{"a":1}', b"[1]"),
        (b'{"a":1}', b'{"a":1},"facts":{"a":2}'),
        (b'"id":"id-1"', b'"id":"id-1","id":"id-2"'),
        (b'"len":5', b'"len":05'),
        (b'"len":5', b'"len":5.0'),
        (b'"len":5', b'"len":-5'),
        (b'"len":5', b'"len":true'),
        (b'AAA=","len"', b'AAB=","len"'),
        (b'"alg":"A256GCM",', b'"alg":"none",'),
        (b'"v":1}', b'"v":1} '),
        (b'"v":1}', b'"v":1,"w":1}'),
        (b'"v":1}', b'"v":2}'),
    ],
)
def test_another_spelling_is_no_leaf(old: bytes, new: bytes) -> None:
    content = a_leaf()
    assert fast(content) is not None
    assert content.count(old) == 1
    assert fast(content.replace(old, new)) is None


@pytest.mark.parametrize("depth", [400, 5_000, 500_000])
def test_a_leaf_nested_without_end_is_refused_and_stops_nothing(depth: int) -> None:
    content = a_leaf().replace(b'{"a":1}', b'{"a":' + b"[" * depth + b"]" * depth + b"}")
    assert fast(content) is None
    assert strict(content) is None


def test_facts_that_look_like_the_end_of_a_leaf_stay_facts() -> None:
    tail = a_leaf()[len('{"facts":{"a":1') :].decode()
    content = a_leaf({"a": tail[:300]})
    leaf = fast(content)
    assert leaf == strict(content)
    assert leaf is not None
    assert leaf.facts == {"a": tail[:300]}
    assert cast("dict[str, object]", json.loads(content))["id"] == leaf.id


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "../../x y"),
        ("id", ""),
        ("id", "a" * 65),
        ("id", "caf\u00e9"),
        ("type", "Event !"),
        ("type", "1event"),
        ("type", "e" * 49),
        ("timestamp", "hello"),
        ("timestamp", "2026-11-23T12:00:00Z"),
        ("timestamp", "2026-11-23T12:00:00.000+00:00"),
        ("timestamp", "\u0662026-11-23T12:00:00.000Z"),
    ],
)
def test_an_id_a_type_or_a_time_of_another_form_is_no_leaf(name: str, value: str) -> None:
    """Spelt canonically all the same, which is not enough."""
    leaf = Leaf("event", "a.1", "2026-11-23T12:00:00.000Z", {"n": 1}, None, None)
    assert fast(encode_leaf(leaf)) == leaf
    with pytest.raises(LeafError, match=f"its {name} is"):
        LeafScanner().scan(encode_leaf(replace(leaf, **{name: value})))  # type: ignore[arg-type]  # all are text
