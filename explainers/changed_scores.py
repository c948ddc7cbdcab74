"""Scores of a case with some fields changed, from the trees as they were read at load.

The search for what would have changed a recommendation asks for about a hundred variations of one
case. Running the graph on them costs half a millisecond; here a changed value is a few ranks
written over the case's own, and the trees are walked by compiled code. That the ranks of a field's
columns depend on that field alone is what the tree explainer proved at load. The scores differ
from the graph's in the last bits of 32: whoever shows a change has it scored by the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from explainers.counterfactual import Change, Trial, vary
from explainers.domains import Domain, Numbers, Value
from explainers.explainer import Feeds, Slot
from explainers.explanation import Vector
from explainers.links import SEPARATE_LINKS, link_outputs
from explainers.tree import TreeExplainer
from explainers.tree_changes import changed_sums, reached, readers_of, trees_of
from explainers.tree_kernel import rank_row

Taps: TypeAlias = Callable[[Feeds], tuple[NDArray[Any], ...]]
"""Runs the graph on one row and returns its taps."""

MOST_KNOWN = 4_096
"""Values of one field whose ranks are kept."""


class ScoredCase(NamedTuple):
    """A case as the trees read it."""

    feeds: Feeds
    """One row."""
    ranks: NDArray[np.int32]
    """Shape (columns,)."""
    leaves: Vector
    """Shape (trees,): what each tree gives."""
    total: float
    """Their sum."""


class ChangedScores:
    """Scores one target of one tree ensemble."""

    def __init__(
        self, explainer: TreeExplainer, run: Taps, slots: Mapping[str, Slot], *, target: int
    ) -> None:
        """``slots``: every field, in the order that the explainer numbers them, and where it sits."""
        self._explainer = explainer
        self._run = run
        self._slots = slots
        self._place = explainer.terms.targets.index(target)
        self._columns = {
            name: [column for column, field in enumerate(explainer.fields) if field == number]
            for number, name in enumerate(slots)
        }
        game, place = explainer.game, explainer.margins.sums[self._place]
        self._trees = trees_of(game, place)
        self._readers = readers_of(game.ensemble, n_columns=len(game.cuts.starts) - 1)
        self._known: dict[str, dict[Value, list[int]]] = {name: {} for name in slots}

    def learn(self, case: Feeds, domains: Sequence[Domain]) -> None:
        """Look up what each domain's own values are encoded as; ``case`` is any one row."""
        for domain in domains:
            for value in domain.tried if isinstance(domain, Numbers) else domain.values:
                self._ranks_of(case, domain.field, value)

    def doubt(self, score: float) -> float:
        """Return how far a score of this size may be from the graph's."""
        lookup = self._explainer.lookup
        return lookup.relative * max(lookup.scale, abs(score))

    def case(self, feeds: Feeds, taps: tuple[NDArray[Any], ...]) -> ScoredCase:
        """Return a case that the graph has been run on, ready to be changed."""
        ranks = self._ranks(feeds, taps)
        leaves, total = reached(ranks, *self._trees)
        return ScoredCase(feeds, ranks, leaves, total)

    def of(self, case: ScoredCase, trials: Sequence[Trial]) -> Vector:
        """Return the score of each changed case, shape (N,)."""
        starts = [0]
        columns: list[int] = []
        changed: list[int] = []
        for trial in trials:
            for change in trial:
                field = change.field
                known = self._known[field].get(change.after)
                if known is None:
                    known = self._ranks_of(case.feeds, field, change.after)
                columns += self._columns[field]
                changed += known
            starts.append(len(columns))
        sums = changed_sums(
            np.array(starts, dtype=np.int32),
            np.array(columns, dtype=np.int32),
            np.array(changed, dtype=np.int32),
            case.ranks.copy(),
            case.leaves,
            case.total,
            self._readers[0],
            self._readers[1],
            *self._trees,
        )
        own, place = self._explainer.margins, self._place
        return link_outputs(self._explainer.link, sums * own.signs[place] + own.offsets[place])

    def _ranks(self, feeds: Feeds, taps: tuple[NDArray[Any], ...]) -> NDArray[np.int32]:
        """Return the ranks of one row, 0 in columns that no tree reads."""
        game, lookup = self._explainer.game, self._explainer.lookup
        encoded = game.comparable(self._explainer.encoded(feeds, taps))
        ranks = np.zeros(encoded.shape[1], dtype=np.int32)
        rank_row(encoded[0], lookup.ints, lookup.cuts, ranks)
        return ranks

    def _ranks_of(self, case: Feeds, field: str, value: Value) -> list[int]:
        row = vary(case, self._slots, [(Change(field, None, value),)])
        ranks = self._ranks(row, self._run(row))
        found: list[int] = ranks[self._columns[field]].tolist()
        known = self._known[field]
        if len(known) >= MOST_KNOWN:
            known.clear()
        known[value] = found
        return found


def changed_scores(
    explainer: object, run: Taps, slots: Mapping[str, Slot], *, target: int
) -> ChangedScores | None:
    """Return the scores of changed cases; None where the score is not of one sum of trees alone."""
    if not isinstance(explainer, TreeExplainer) or explainer.link not in SEPARATE_LINKS:
        return None
    return ChangedScores(explainer, run, slots, target=target)
