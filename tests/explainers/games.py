"""Small served models in numpy, whose games can be played without a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explainers.explainer import ExplainerSettings, Feeds, Run, Slot
from explainers.game import Game, open_game

Score = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Rows of shape (N, fields) to scores of shape (N,) or (N, n_scores)."""


def numpy_run(score: Score) -> Run:
    def run(feeds: Feeds) -> tuple[NDArray[Any], tuple[NDArray[Any], ...]]:
        found = score(np.asarray(feeds["X"], dtype=np.float64))
        return found.reshape(len(found), -1), ()

    return run


def slots(fields: int) -> tuple[Slot, ...]:
    return tuple(Slot("X", column) for column in range(fields))


def numpy_game(
    score: Score,
    background: NDArray[np.float64],
    *,
    settings: ExplainerSettings | None = None,
    targets: tuple[int, ...] = (0,),
    clock: Callable[[], float] = lambda: 0.0,
) -> Game:
    return open_game(
        {"X": background},
        numpy_run(score),
        settings or ExplainerSettings(),
        slots=slots(background.shape[1]),
        targets=targets,
        clock=clock,
    )


def smooth(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """A score with interactions of every order, in (0, 1)."""
    weights = np.sin(np.arange(1, x.shape[1] + 1))
    inner = x @ weights + 0.7 * x[:, 0] * x[:, 1] - np.abs(x[:, -1] * x[:, 0])
    found: NDArray[np.float64] = 1 / (1 + np.exp(-inner))
    return found
