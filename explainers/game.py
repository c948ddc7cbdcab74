"""The field game of a served graph, played by running it on hybrid rows.

A hybrid takes the fields of a coalition from the case and the others from a background row. A
coalition is a set of fields written as the set bits of its words, field 0 the lowest of the first.
A field on which case and background row agree is a dummy of that row's game: both choices give the same
hybrid. ``differing`` finds them, and the methods never spend an evaluation on them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from explainers.errors import BackgroundError, TimeBudgetError
from explainers.explainer import ExplainerSettings, Feeds, Run, Slot, digest_of, rows_of
from explainers.explanation import (
    Explanation,
    Matrix,
    Terms,
    Vector,
    add_up,
    gathered,
    scale_of,
    stated,
)

Rows: TypeAlias = NDArray[np.int64]
"""Shape (N,): indexes into the background."""
Coalitions: TypeAlias = NDArray[np.int64]
"""Shape (N, words): a row's set bits are the fields of one coalition; field f is bit f % WORD of word f // WORD."""

WORD = 62
"""Fields in one word, a signed 64-bit integer."""
BATCH_ROWS = 8192
"""Rows in one run of the graph: bounds memory, and no slower than larger batches."""
PROBABILITY = "probability"
OUTPUT = "model output"


@dataclass(frozen=True, slots=True)
class Game:
    """A graph, its background, and where each field sits in the graph's inputs."""

    run: Run
    background: Feeds
    slots: tuple[Slot, ...]
    targets: tuple[int, ...]
    settings: ExplainerSettings
    background_scores: Matrix
    """Shape (rows, T): the graph's own scores of the background."""
    background_digest: str
    unit: str
    clock: Callable[[], float]
    """Seconds from any start; only differences are used, to keep the time budget."""

    @property
    def rows(self) -> int:
        """How many rows the background has."""
        return len(self.background_scores)

    @property
    def words(self) -> int:
        """How many words a coalition has."""
        return -(-len(self.slots) // WORD)

    @property
    def base_values(self) -> Vector:
        """Shape (T,): the mean score of the background."""
        mean: Vector = self.background_scores.mean(axis=0)
        return mean

    @property
    def scale(self) -> float:
        """The scale of the output: 1 for a probability, else the background's largest score."""
        if self.unit == PROBABILITY:
            return 1.0
        return float(np.abs(self.background_scores).max()) or 1.0

    def differing(self, case: Feeds) -> NDArray[np.bool_]:
        """Return shape (rows, fields): where a background row does not hold the case's value.

        Floats are compared by their bits: a NaN agrees with itself, and 0.0 differs from -0.0.
        """
        found = np.empty((self.rows, len(self.slots)), dtype=np.bool_)
        for field, slot in enumerate(self.slots):
            case_value = _bits(_column(case, slot))[0]
            found[:, field] = _bits(_column(self.background, slot)) != case_value
        return found

    def hybrids(self, case: Feeds, *, rows: Rows, coalitions: Coalitions) -> Feeds:
        """Return N rows: row n takes the fields of ``coalitions[n]`` from the one row of ``case``.

        The other fields come from background row ``rows[n]``.
        """
        made = {name: np.repeat(column, len(rows), axis=0) for name, column in case.items()}
        for field, slot in enumerate(self.slots):
            word, bit = divmod(field, WORD)
            absent = np.flatnonzero((coalitions[:, word] >> bit) & 1 == 0)
            column = _column(made, slot)
            column[absent] = _column(self.background, slot)[rows[absent]]
        return made

    def worth(self, case: Feeds, *, rows: Rows, coalitions: Coalitions) -> Matrix:
        """Return the graph's scores of the hybrids, shape (N, T), in batches of BATCH_ROWS."""
        found = np.empty((len(rows), len(self.targets)))
        for start in range(0, len(rows), BATCH_ROWS):
            batch = slice(start, start + BATCH_ROWS)
            made = self.hybrids(case, rows=rows[batch], coalitions=coalitions[batch])
            found[batch] = target_scores(self.run, made, self.targets)
        return found

    def check_time(self, started: float) -> None:
        """Raise TimeBudgetError when more than the time budget has passed since ``started``."""
        elapsed = self.clock() - started
        if elapsed > self.settings.time_budget_seconds:
            raise TimeBudgetError(
                elapsed_seconds=elapsed, budget_seconds=self.settings.time_budget_seconds
            )

    def terms(self, method: str) -> Terms:
        """Return in what terms ``method`` states this game's values."""
        return Terms(method, self.unit, "identity", self.targets, self.base_values)

    def explanation(
        self,
        terms: Terms,
        *,
        contributions: Matrix,
        scores: NDArray[Any],
        standard_errors: Matrix | None,
        evaluations: int,
    ) -> Explanation:
        """Return the explanation of a row that was served with ``scores``, shape (n_scores,).

        Raises AdditivityError when base and contributions do not add up to them.
        """
        margins = add_up(terms.base_values, contributions)
        values = gathered(
            contributions=contributions,
            margins=margins,
            linked=margins,
            outputs=np.asarray(scores, dtype=np.float64)[list(self.targets)],
            relative=self.settings.tolerance,
            scale=scale_of(self.background_scores, is_probability=self.unit == PROBABILITY),
        )
        return stated(terms, values)._replace(
            standard_errors=standard_errors, evaluations=evaluations
        )


def open_game(
    background: Feeds,
    run: Run,
    settings: ExplainerSettings,
    *,
    slots: tuple[Slot, ...],
    targets: tuple[int, ...],
    gives_probabilities: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Game:
    """Return the game, with the background scored once.

    Raises BackgroundError when there is no row or no field, or when a score of the background is
    not a finite number.
    """
    rows = rows_of(background)
    if rows == 0:
        raise BackgroundError("number of rows", got=0, want="at least 1")
    if not slots:
        raise BackgroundError("number of fields", got=0, want="at least 1")
    every_score = np.concatenate(
        [
            run({name: column[start : start + BATCH_ROWS] for name, column in background.items()})[
                0
            ]
            for start in range(0, rows, BATCH_ROWS)
        ]
    ).astype(np.float64)
    background_scores = every_score[:, list(targets)]
    if not np.isfinite(background_scores).all():
        raise BackgroundError("scores", got="some that are not finite", want="finite numbers")
    return Game(
        run=run,
        background=background,
        slots=slots,
        targets=targets,
        settings=settings,
        background_scores=background_scores,
        background_digest=digest_of(background),
        unit=unit_of(every_score, gives_probabilities=gives_probabilities),
        clock=clock,
    )


def unit_of(scores: Matrix, *, gives_probabilities: bool = False) -> str:
    """Return PROBABILITY when every row of ``scores`` is a distribution over classes, else OUTPUT.

    A single score is taken for a probability only where it is known to be one: it may be a regression's.
    """
    if gives_probabilities:
        return PROBABILITY
    if scores.shape[1] < 2 or scores.min() < 0 or scores.max() > 1:
        return OUTPUT
    return PROBABILITY if np.allclose(scores.sum(axis=1), 1.0, rtol=0, atol=1e-5) else OUTPUT


def target_scores(run: Run, feeds: Feeds, targets: tuple[int, ...]) -> Matrix:
    """Return the scores of the targets, shape (N, T), in float64."""
    scores, _taps = run(feeds)
    return np.asarray(scores, dtype=np.float64)[:, list(targets)]


def _column(feeds: Feeds, slot: Slot) -> NDArray[Any]:
    column = feeds[slot.input]
    return column if column.ndim == 1 else column[:, slot.column]


def _bits(column: NDArray[Any]) -> NDArray[Any]:
    if column.dtype.kind != "f":
        return column
    return np.ascontiguousarray(column).view(f"u{column.dtype.itemsize}")
