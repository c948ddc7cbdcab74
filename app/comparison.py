"""What a shadow version would have said beside what was said: figures over the log's own records.

Read from the log alone, so every replica gives the same, and a restart changes nothing. Only sums leave
this file: no case, no score of a case. Over fewer cases than ``FEWEST`` nothing is said.
"""

import threading
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import orjson

from app.lifecycle import Version
from app.monitoring.intervals import Estimate, share
from app.records import RECOMMENDATION, SHADOW
from audit.leaf import leaf_ending, parse_leaf
from audit.reader import LogReader

FEWEST = 10
MOST = 5_000
"""The latest so many cases are compared: each is decrypted."""
_BATCH = 1_000
_ENDINGS = (leaf_ending(RECOMMENDATION), leaf_ending(SHADOW))


@dataclass(frozen=True, slots=True)
class Comparison:
    """A shadow's outcomes beside the given ones."""

    cases: int
    """Cases that were recorded while the version was in shadow."""
    compared: int
    failed: int
    """Cases that the shadow could not score, explain or judge."""
    left_out: int
    """Cases of which nothing is known: the service was too busy, or was stopped."""
    latest_only: bool
    """Whether only the latest ``MOST`` are in the figures below."""
    agreement: Estimate | None
    """The share of cases with the same outcome; None over too few."""
    outcomes: tuple[tuple[str, str, int], ...]
    """(given, shadow's, cases); a case without advice has the outcome "no advice"."""
    more_adverse: int | None
    """Cases with an adverse outcome of the shadow's where another one was given."""
    mean_score_difference: float | None
    """The shadow's score less the given one, on average."""
    largest_score_difference: float | None


@dataclass(slots=True)
class _Model:
    decided: "array[int]" = field(default_factory=lambda: array("q"))
    looked: "dict[tuple[str, str], array[int]]" = field(default_factory=dict)


NO_ADVICE = "no advice"


class Comparisons:
    """Where the log's recommendations and shadow records are. Safe from any thread."""

    def __init__(self, log: LogReader) -> None:
        self._log = log
        self._models: dict[str, _Model] = {}
        self._next = 0
        self._lock = threading.Lock()

    def compare(self, version: Version) -> Comparison:
        """Return the figures of a version's latest time in shadow. Raises AuditError."""
        first, last = version.shadow_from, version.shadow_until
        with self._lock:
            self._advance()
            model = self._models.get(version.id.model, _Model())
            key = (_hex(version.id.bundle), _hex(version.id.policy))
            end = self._next if last is None else last
            decided = [] if first is None else [i for i in model.decided if first < i < end]
            looked = [] if first is None else [i for i in model.looked.get(key, ()) if i > first]
        # A case looked at twice, or decided before the version came into shadow, has no place here.
        within = set(decided)
        said = [each for each in self._said(looked[-MOST:]) if each[0] in within]
        return _figures(len(decided), len(looked), [content for _, content in said])

    def _said(self, indexes: list[int]) -> Iterator[tuple[int, dict[str, dict[str, object]]]]:
        for index in indexes:
            stored = self._log.read_index(index)
            of = stored.facts["of"]
            if stored.payload is not None and isinstance(of, int):  # else it is erased
                yield of, orjson.loads(stored.payload)

    def _advance(self) -> None:
        size = self._log.size
        while self._next < size:
            stop = min(self._next + _BATCH, size)
            for row in self._log.entries(self._next, stop):
                if row.leaf.endswith(_ENDINGS):
                    self._take(row.seq, row.leaf)
            self._next = stop

    def _take(self, index: int, content: bytes) -> None:
        leaf = parse_leaf(content)
        named, policy = leaf.facts["model"], leaf.facts["policy"]
        if not (isinstance(named, dict) and isinstance(policy, dict)):
            return
        model = self._models.setdefault(str(named["name"]), _Model())
        if leaf.type == RECOMMENDATION:
            model.decided.append(index)
        else:
            key = (str(named["sha256"]), str(policy["sha256"]))
            model.looked.setdefault(key, array("q")).append(index)


def _figures(cases: int, looked: int, said: list[dict[str, dict[str, object]]]) -> Comparison:
    judged = [each for each in said if "failed" not in each["shadow"]]
    pairs = Counter((_outcome(each["live"]), _outcome(each["shadow"])) for each in judged)
    enough = len(judged) >= FEWEST
    gaps = [
        shadow - live
        for each in judged
        if isinstance(shadow := each["shadow"]["score"], float)
        and isinstance(live := each["live"]["score"], float)
    ]
    return Comparison(
        cases=cases,
        compared=len(judged),
        failed=len(said) - len(judged),
        left_out=max(0, cases - looked),
        latest_only=looked > MOST,
        agreement=(
            share(sum(n for (live, shadow), n in pairs.items() if live == shadow), len(judged))
            if enough
            else None
        ),
        outcomes=tuple((*pair, n) for pair, n in sorted(pairs.items())) if enough else (),
        more_adverse=(
            sum(
                bool(e["shadow"]["adverse"]) and _outcome(e["live"]) != _outcome(e["shadow"])
                for e in judged
            )
            if enough
            else None
        ),
        mean_score_difference=sum(gaps) / len(gaps) if enough and len(gaps) >= FEWEST else None,
        largest_score_difference=(max(gaps, key=abs) if enough and len(gaps) >= FEWEST else None),
    )


def _outcome(said: dict[str, object]) -> str:
    return NO_ADVICE if said["outcome"] is None else str(said["outcome"])


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
