"""How people rely on the advice, all together: never by person, and no cell that is too small.

From the index alone: the latest decisions on which there was advice. Whether people follow too
readily or too seldom shows in practice, where it is known what was right.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles

from app.index.store import IndexStore

LATEST = 1_000
"""Decisions that are looked at."""
SMALLEST_CELL = 10
FOUR = 4


@dataclass(frozen=True, slots=True)
class Dwell:
    """How long cases were open before their decision, in seconds: one quarter, half, three quarters."""

    known: int
    lower: float
    median: float
    upper: float


@dataclass(frozen=True, slots=True)
class GroupShare:
    """How often the advice was departed from for one group of persons."""

    attribute: str
    group: str
    decisions: int | None
    """None where there are too few to be told."""
    departed: int | None


@dataclass(frozen=True, slots=True)
class Relied:
    """How people relied on a model's advice."""

    decisions: int
    departed: int
    reasons: Mapping[str, tuple[int, int]]
    """By kind of reason: how often with decisions that follow, and with those that depart. Empty with
    fewer than SMALLEST_CELL decisions."""
    dwell: Dwell | None
    """None where fewer than SMALLEST_CELL times are known."""
    groups: tuple[GroupShare, ...]


def relied(store: IndexStore, model: str, groups: Mapping[str, Mapping[str, str]]) -> Relied:
    """Return how people relied on the latest advice of a model.

    ``groups``: by decision, the person's group by attribute, where it was reported. Raises
    IndexNotReadyError, IndexStoreError.
    """
    with store.reading() as query:
        rows = query(
            "SELECT id, departed, reason, dwell_ms FROM decision INDEXED BY decision_by_decided"
            " WHERE model = ? AND decided IS NOT NULL ORDER BY decided DESC LIMIT ?",
            (model, LATEST),
        )
    told = [row for row in rows if row[1] is not None]
    reasons: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for _, departed, reason, _ in told:
        reasons[str(reason)][int(bool(departed))] += 1
    times = sorted(float(str(row[3])) / 1000 for row in told if row[3] is not None)
    return Relied(
        decisions=len(told),
        departed=sum(bool(row[1]) for row in told),
        reasons={name: (counts[0], counts[1]) for name, counts in sorted(reasons.items())}
        if len(told) >= SMALLEST_CELL
        else {},
        dwell=_dwell(times),
        groups=_by_group([(str(row[0]), bool(row[1])) for row in told], groups),
    )


def _dwell(times: Sequence[float]) -> Dwell | None:
    if len(times) < SMALLEST_CELL:
        return None
    lower, median, upper = quantiles(times, n=FOUR)
    return Dwell(len(times), lower, median, upper)


def _by_group(
    decisions: Sequence[tuple[str, bool]], groups: Mapping[str, Mapping[str, str]]
) -> tuple[GroupShare, ...]:
    made: dict[str, Counter[str]] = defaultdict(Counter)
    departed: dict[str, Counter[str]] = defaultdict(Counter)
    for decision, is_departure in decisions:
        for attribute, group in groups.get(decision, {}).items():
            made[attribute][group] += 1
            departed[attribute][group] += is_departure
    return tuple(
        GroupShare(attribute, group, None, None)
        if group in hidden
        else GroupShare(attribute, group, made[attribute][group], departed[attribute][group])
        for attribute in sorted(made)
        for hidden in (_too_small(made[attribute]),)
        for group in sorted(made[attribute])
    )


def _too_small(counts: Counter[str]) -> set[str]:
    """Return the groups that are not told: with one alone, the smallest other one as well.

    Else the one could be worked out from the total.
    """
    small = {group for group, count in counts.items() if count < SMALLEST_CELL}
    if len(small) == 1 and len(counts) > 1:
        small.add(min(counts.keys() - small, key=lambda group: (counts[group], group)))
    return small
