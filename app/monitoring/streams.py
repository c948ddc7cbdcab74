"""The latest decisions of one version of a model, and what became of them: what all figures are taken over.

Everything here can be made again from the log (and the attribute store), in the same order, so a
restart changes no figure.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.monitoring.drift import Bins, field_bins, number_bins
from app.monitoring.limits import Watched
from app.served import ServedModel
from models.card import Value


@dataclass(frozen=True, slots=True)
class Made:
    """One recommendation, as monitoring sees it."""

    id: str
    values: Mapping[str, Value]
    score: float
    outcome: str


@dataclass(frozen=True, slots=True)
class Brief:
    """What is kept of a recommendation so that a later report can be joined to it."""

    score: float
    selected: bool


@dataclass(slots=True)
class Period:
    """Where a stream's tests began anew."""

    origin: int = 0
    """The place in the stream at which the present run of periods begins."""
    before: int = 0
    """Periods that were used up by then."""

    def number(self, count: int, window: int) -> int:
        """Return the number of the period that the latest of ``count`` is in."""
        return self.before + max(0, count - 1 - self.origin) // window

    def start(self, count: int, window: int) -> int:
        """Return the place at which that period began."""
        return self.origin + max(0, count - 1 - self.origin) // window * window

    def begin_anew(self, count: int, window: int) -> None:
        """Begin a new period at the stream's present end: a person has looked at it."""
        self.before = self.number(count, window) + 1
        self.origin = count


class Stream:
    """One version's latest decisions and outcomes."""

    def __init__(self, served: ServedModel, watched: Watched, first: int) -> None:
        """``first``: the entry of the log from which on it counts."""
        self.served, self.watched, self.first = served, watched, first
        window = watched.monitoring.window
        self.bins: tuple[Bins, ...] = field_bins(
            served.bundle.card, served.bundle.background.values
        )
        scores = served.bundle.session.run_batch(served.bundle.background.feeds)
        self.score_bins = number_bins(
            "score", np.asarray(scores)[:, served.target].astype(np.float64)
        )
        self.decided = 0
        """Recommendations ever made by this bundle; by a canary, since it is one."""
        self.reported = 0
        """Outcomes ever reported."""
        self.decisions_period, self.outcomes_period = Period(), Period()
        self.attributes_period = Period()
        self._fresh: deque[tuple[str, Made | None]] = deque(maxlen=window)
        self._codes: deque[NDArray[np.uint8]] = deque(maxlen=window)
        self._briefs: OrderedDict[str, Brief] = OrderedDict()
        self._answers: OrderedDict[str, tuple[int, int, float]] = OrderedDict()

    def decide(self, decision: str, made: Made | None) -> None:
        """Take the next recommendation; None when it must be read from the log."""
        self.decided += 1
        self._fresh.append((decision, made))

    def turn_out(self, decision: str, brief: Brief, *, positive: bool) -> None:
        """Take what became of a decision; a later report corrects an earlier one."""
        place = self.reported
        self.reported += 1
        self._answers.pop(decision, None)
        self._answers[decision] = (place, int(positive), brief.score)
        if len(self._answers) > self.watched.monitoring.window:
            self._answers.popitem(last=False)

    def unread(self) -> list[str]:
        """Return the fresh decisions whose record must be read, oldest first."""
        return [decision for decision, made in self._fresh if made is None]

    def settle(self, read: Mapping[str, Made]) -> None:
        """Put what is fresh into its bins; what was erased meanwhile is passed over."""
        made = [
            each
            for decision, kept in self._fresh
            if (each := kept or read.get(decision)) is not None
        ]
        self._fresh.clear()
        if not made:
            return
        columns = [bins.codes([each.values[bins.name] for each in made]) for bins in self.bins]
        columns.append(self.score_bins.codes([each.score for each in made]))
        self._codes.extend(np.stack(columns, axis=1))
        for each in made:
            self._briefs[each.id] = self.brief(each)
        while len(self._briefs) > self.watched.monitoring.window:
            self._briefs.popitem(last=False)

    def brief(self, made: Made) -> Brief:
        """Return what is kept of a recommendation."""
        return Brief(made.score, made.outcome in self.watched.selected)

    def known(self, decision: str) -> Brief | None:
        """Return what is kept of a recent decision."""
        return self._briefs.get(decision)

    def answer(self, decision: str) -> int | None:
        """Return 1 or 0 as a decision turned out, None while nobody has said."""
        found = self._answers.get(decision)
        return None if found is None else found[1]

    def codes(self, *, since: int = 0) -> NDArray[np.uint8]:
        """Return the bins of the latest decisions from place ``since``: (n, fields + the score)."""
        first = self.decided - len(self._codes)
        rows = list(self._codes)[max(0, since - first) :]
        width = len(self.bins) + 1
        return np.stack(rows) if rows else np.zeros((0, width), dtype=np.uint8)

    def turned_out(self, *, since: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return scores and answers of the latest outcomes from place ``since``."""
        rows = [row for row in self._answers.values() if row[0] >= since]
        return (
            np.array([row[2] for row in rows], dtype=np.float64),
            np.array([row[1] for row in rows], dtype=np.float64),
        )

    def forget(self, decisions: Iterable[str]) -> None:
        """Forget what is kept under the names of decisions; counts in bins name nobody."""
        for decision in decisions:
            self._briefs.pop(decision, None)
            self._answers.pop(decision, None)
