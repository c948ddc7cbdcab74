"""Where the row of each keyed digest is, in memory: for a store that is one process's alone.

Digests are random by design. In an index of the database each new one falls on a page of its own, to
look up, change, log and copy, and the longer the log the dearer. Here the newest are in a dictionary
and the rest in sorted arrays, merged as they grow; a Bloom filter says at once of most digests that they are new.
Some 22 bytes a digest. Made from the rows at each start, and never a source of truth: what is found are
candidates, and the rows decide.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_NEWEST = 65_536
"""Digests in the dictionary before they are sorted: 3 to 50 ms, once in so many."""
_BITS = 32
"""Of the filter for each digest at least, when it is made: it serves until there are half as many."""

Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Digests:
    """How a store without indexes of digests finds rows by them."""

    subjects: "DigestIndex"
    """A subject's handle -> its number."""
    requests: "DigestIndex"
    """An idempotency key's digest -> the entry that used it."""


class _Run(NamedTuple):
    """Digests in order, and the row of each."""

    prefixes: Words
    rows: NDArray[np.int64]


class _Sorted(NamedTuple):
    """All but the newest. Replaced as a whole, so that readers need no lock."""

    runs: tuple[_Run, ...]
    shift: int
    """By how much a prefix is shifted to be the place of its word in the filter."""
    bloom: Words
    """A Bloom filter whose two bits for a digest are in one word. Bits are only ever set."""


class DigestIndex:
    """Rows by the first eight bytes of a digest. One thread adds, any may look."""

    def __init__(self) -> None:
        self._newest: dict[int, int] = {}
        self._sorted = _Sorted((), 0, np.zeros(0, np.uint64))

    @classmethod
    def of(cls, rows: Iterable[tuple[bytes, int]]) -> "DigestIndex":
        """Return the index of (digest, row) pairs."""
        index, rest, pieces = cls(), iter(rows), list[_Run]()
        while piece := list(islice(rest, _NEWEST)):
            prefixes = np.fromiter((_prefix(digest) for digest, _ in piece), np.uint64, len(piece))
            numbers = np.fromiter((row for _, row in piece), np.int64, len(piece))
            pieces.append(_Run(prefixes, numbers))
        if pieces:
            index._sort(_joined(pieces))
        return index

    def candidates(self, digests: Sequence[bytes]) -> list[int]:
        """Return the rows that may be of one of ``digests``: all that are, rarely others."""
        # In this order: what is sorted meanwhile is found twice and not never.
        newest, (runs, shift, bloom) = self._newest, self._sorted
        prefixes = [_prefix(digest) for digest in digests]
        found = {newest[each] for each in prefixes if each in newest}
        if runs and prefixes:
            wanted = np.array(prefixes, np.uint64)
            bits = _bits(wanted)
            wanted = wanted[bloom[wanted >> np.uint64(shift)] & bits == bits]
            if len(wanted):
                for run in runs:
                    first = run.prefixes.searchsorted(wanted, "left")
                    last = run.prefixes.searchsorted(wanted, "right")
                    for start, stop in zip(first, last, strict=True):
                        found.update(map(int, run.rows[start:stop]))
        return sorted(found)

    def add(self, rows: Iterable[tuple[bytes, int]]) -> None:
        """Add (digest, row) pairs of rows that are stored by now."""
        for digest, row in rows:
            prefix = _prefix(digest)
            if len(self._newest) >= _NEWEST or prefix in self._newest:
                self._settle()
            self._newest[prefix] = row

    def _settle(self) -> None:
        newest = self._newest
        count = len(newest)
        self._sort(
            _Run(
                np.fromiter(newest.keys(), np.uint64, count),
                np.fromiter(newest.values(), np.int64, count),
            )
        )
        self._newest = {}

    def _sort(self, run: _Run) -> None:
        """Sort a run in, together with those that are not much longer."""
        runs, shift, bloom = self._sorted
        added = run.prefixes
        run = _in_order(run)
        while runs and len(runs[-1].prefixes) <= 2 * len(run.prefixes):
            run = _in_order(_joined([runs[-1], run]))
            runs = runs[:-1]
        runs = (*runs, run)
        count = sum(len(each.prefixes) for each in runs)
        if count * _BITS > 2 * 64 * len(bloom):
            words = max(count * _BITS // 64, 1).bit_length()
            shift, bloom = 64 - words, np.zeros(1 << words, np.uint64)
            for each in runs:
                _mark(bloom, each.prefixes, shift)
        else:
            _mark(bloom, added, shift)
        self._sorted = _Sorted(runs, shift, bloom)


def _prefix(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "little")


def _joined(runs: Sequence[_Run]) -> _Run:
    return _Run(
        np.concatenate([run.prefixes for run in runs]), np.concatenate([run.rows for run in runs])
    )


def _in_order(run: _Run) -> _Run:
    order = run.prefixes.argsort(kind="stable")
    return _Run(run.prefixes[order], run.rows[order])


def _mark(bloom: Words, prefixes: Words, shift: int) -> None:
    np.bitwise_or.at(bloom, prefixes >> np.uint64(shift), _bits(prefixes))


def _bits(prefixes: Words) -> Words:
    """Return two bits of a word for each prefix."""
    one, most = np.uint64(1), np.uint64(63)
    return (one << (prefixes & most)) | (one << (prefixes >> np.uint64(6) & most))
