"""Every entry with content about one case: what is kept, held and erased with its recommendation.

An entry that follows a recommendation names it by index in its leaf (``of``). Neither identifiers nor
subjects will do to find them: a report of how a case turned out has an identifier of its own, and a
case need not have a subject.
"""

import re
from collections.abc import Collection, Iterator
from typing import get_args

from app.case_events import EventType
from app.monitoring.entries import OUTCOME
from app.records import RECOMMENDATION, REPLAY, SHADOW
from audit.leaf import Leaf, parse_leaf
from audit.reader import LogReader
from audit.rows import EntryRow

FOLLOWING = frozenset((SHADOW, OUTCOME, REPLAY, *get_args(EventType)))
"""Entries about one recommendation that have content of their own."""

_CHUNK = 1_024
_OF = re.compile(rb'"of":([0-9]{1,18})[,}]')


def case_of(index: int, leaf: Leaf) -> int | None:
    """Return the index of the recommendation of an entry's case: its own, or the one it follows.

    None for an entry that is not of a case.
    """
    if leaf.type == RECOMMENDATION:
        return index
    of = leaf.facts.get("of")
    return of if leaf.type in FOLLOWING and isinstance(of, int) else None


def following(
    log: LogReader, recommendations: Collection[int], *, beyond: int = 0
) -> Iterator[EntryRow]:
    """Yield the entries that follow these recommendations, given by index.

    Reads every leaf after the first of them, from the index ``beyond`` on.
    """
    if not recommendations:
        return
    start = max(beyond, min(recommendations) + 1)
    size = log.size
    while start < size:
        stop = min(start + _CHUNK, size)
        for row in log.entries(start, stop):
            # Most leaves name another entry, or none: no need to parse those.
            named = any(int(each) in recommendations for each in _OF.findall(row.leaf))
            if named and case_of(row.seq, parse_leaf(row.leaf)) in recommendations:
                yield row
        start = stop
