"""The index in memory against a plain dictionary of lists, whatever comes and in whatever order."""

import threading
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import digest_index
from audit.digest_index import DigestIndex

WORDS = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**63 - 1, 2**63, 2**64 - 1])
PIECES = st.lists(st.lists(WORDS, min_size=1, max_size=30), max_size=12)


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sort as soon as there are eight, or most of it would never be met."""
    monkeypatch.setattr(digest_index, "_NEWEST", 8)


def digest(word: int) -> bytes:
    return word.to_bytes(8, "little") + b"the rest"


@settings(max_examples=300)
@given(stored=st.lists(WORDS, max_size=60), pieces=PIECES, others=st.lists(WORDS, max_size=20))
def test_every_row_of_a_digest_is_a_candidate(
    stored: list[int], pieces: list[list[int]], others: list[int]
) -> None:
    rows = defaultdict[int, set[int]](set)
    index = DigestIndex.of((digest(word), row) for row, word in enumerate(stored))
    for row, word in enumerate(stored):
        rows[word].add(row)
    at = len(stored)
    for piece in pieces:
        index.add((digest(word), row) for row, word in enumerate(piece, at))
        for row, word in enumerate(piece, at):
            rows[word].add(row)
        at += len(piece)
        asked = [*piece, *others]
        want = set().union(*(rows[word] for word in asked))
        assert index.candidates([digest(word) for word in asked]) == sorted(want)
    for word, want in list(rows.items()):
        assert index.candidates([digest(word)]) == sorted(want)
    assert index.candidates([]) == []


def test_what_was_added_is_found_while_more_is_sorted_in() -> None:
    index, added, missed = DigestIndex(), [0], list[int]()
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            row = added[0] - 1
            if row >= 0 and index.candidates([digest(row * 7919)]) != [row]:
                missed.append(row)

    looking = threading.Thread(target=look)
    looking.start()
    for row in range(20_000):
        index.add([(digest(row * 7919), row)])
        added[0] = row + 1
    ended.set()
    looking.join()
    assert missed == []


def test_a_digest_that_is_too_short_to_be_one_harms_nothing() -> None:
    index = DigestIndex.of([(b"", 3), (b"\x01", 4), (digest(1), 5)])
    assert index.candidates([b"\x01"]) == [4, 5], "the rows decide"
