"""Exact Shapley values of any graph by enumeration: every coalition against every background row.

The game of one background row b is ``v_b(S)`` = the graph's own score at the hybrid that takes the
fields of S from the case and the rest from b. The values are the mean over b of each row's
Shapley values (linearity), and a row's game only has the fields on which case and row differ as
players: 2^d evaluations instead of 2^fields. Unit: the score's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explainers.errors import GameTooLargeError
from explainers.explainer import Feeds, InTerms
from explainers.explanation import Explanation, Terms, Vector
from explainers.game import BATCH_ROWS, WORD, Game, Rows, target_scores

METHOD = "exact enumeration"
MAX_PLAYERS = 20
"""2^20 worths of one target are 8 MB."""


def shapley_values(worth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each player's Shapley value, shape (..., m), of games of shape (..., 2**m).

    ``worth[..., s]`` is the worth of the coalition whose members are the set bits of s. The values
    have the same unit and sum to ``worth[..., -1] - worth[..., 0]``. Raises GameTooLargeError for
    more than MAX_PLAYERS players, ValueError when the last axis is no power of two.
    Shapley (1953): phi_i = sum over S without i of |S|! (m-|S|-1)! / m! * (v(S + i) - v(S)).
    """
    size = worth.shape[-1]
    players = size.bit_length() - 1
    if size != 1 << players:
        raise ValueError(f"worth: got {size} coalitions, want a power of two")
    if players > MAX_PLAYERS:
        raise GameTooLargeError("players of an enumerated game", got=players, limit=MAX_PLAYERS)
    values = np.zeros((*worth.shape[:-1], players))
    for player in range(players):
        split = worth.reshape(*worth.shape[:-1], -1, 2, 1 << player)
        gains = split[..., 1, :] - split[..., 0, :]
        # Not a matrix product: its order of summation would depend on BLAS and its threads.
        weighted = gains.reshape(*worth.shape[:-1], -1) * _weights(players)
        values[..., player] = weighted.sum(axis=-1)
    return values


def check_affordable(*, fields: int, rows: int, max_evaluations: int) -> None:
    """Raise GameTooLargeError when 2^fields evaluations of every row may exceed the budget.

    The most a case can need: it is decided once, at load, and never by the case.
    """
    if fields > MAX_PLAYERS:
        raise GameTooLargeError("players of an enumerated game", got=fields, limit=MAX_PLAYERS)
    needed = rows << fields
    if needed > max_evaluations:
        raise GameTooLargeError(
            "evaluations of an enumerated game", got=needed, limit=max_evaluations
        )


def row_games(
    game: Game, case: Feeds, *, rows: Rows, members: NDArray[np.int64], own: Vector
) -> NDArray[np.float64]:
    """Return the values, shape (T, rows, players), of the games of background rows ``rows``.

    ``members``, shape (rows, players), holds each row's players: the fields that differ. The two
    ends need no evaluation: nothing from the case is the background row, all is the case, whose
    scores are ``own``, shape (T,).
    """
    players = members.shape[1]
    worth = np.empty((len(game.targets), len(rows), 1 << players))
    worth[:, :, 0] = game.background_scores[rows].T
    worth[:, :, -1] = own[:, np.newaxis]
    inner = np.arange(1, (1 << players) - 1)
    coalitions = np.zeros((len(rows), len(inner), game.words), dtype=np.int64)
    for word in range(game.words):
        bits = np.where(members // WORD == word, np.int64(1) << members % WORD, 0)
        for player in range(players):
            coalitions[:, :, word] |= ((inner >> player) & 1) * bits[:, player, np.newaxis]
    scores = game.worth(
        case,
        rows=np.repeat(rows, len(inner)),
        coalitions=coalitions.reshape(-1, game.words),
    )
    worth[:, :, 1:-1] = scores.T.reshape(len(game.targets), len(rows), len(inner))
    return shapley_values(worth)


@dataclass(frozen=True, slots=True)
class EnumeratedExplainer(InTerms):
    """Explains rows of one graph by enumeration against every background row."""

    game: Game
    terms: Terms
    reason: str

    @property
    def background_rows(self) -> int:
        """How many rows the background has; all of them are used."""
        return self.game.rows

    @property
    def background_digest(self) -> str:
        """The digest of the background."""
        return self.game.background_digest

    def explain(
        self, feeds: Feeds, scores: NDArray[Any], taps: tuple[NDArray[Any], ...], seed: bytes
    ) -> Explanation:
        """Return the exact values of the one row in ``feeds``.

        The contributions add up to the score that the games' own run gives the row; the residual
        compares it with ``scores``, which the row was served with. Raises AdditivityError, and
        TimeBudgetError past the time budget.
        """
        del taps, seed
        game = self.game
        started = game.clock()
        own = target_scores(game.run, feeds, game.targets)[0]
        differing = game.differing(feeds)
        counts = differing.sum(axis=1)
        total = np.zeros((len(game.targets), len(game.slots)))
        evaluations = 1
        for players in range(1, len(game.slots) + 1):
            rows = np.flatnonzero(counts == players)
            at_once = max(1, BATCH_ROWS >> players)
            for start in range(0, len(rows), at_once):
                chunk = rows[start : start + at_once]
                members = np.nonzero(differing[chunk])[1].reshape(len(chunk), players)
                values = row_games(game, feeds, rows=chunk, members=members, own=own)
                for target in range(len(game.targets)):
                    np.add.at(total[target], members, values[target])
                evaluations += len(chunk) * ((1 << players) - 2)
                game.check_time(started)
        return game.explanation(
            self.terms,
            contributions=total / game.rows,
            scores=scores,
            standard_errors=None,
            evaluations=evaluations,
        )


def build(game: Game, reason: str) -> EnumeratedExplainer:
    """Return the explainer by enumeration; raises GameTooLargeError when it is not affordable."""
    check_affordable(
        fields=len(game.slots), rows=game.rows, max_evaluations=game.settings.max_evaluations
    )
    return EnumeratedExplainer(game=game, terms=game.terms(METHOD), reason=reason)


@cache
def _weights(players: int) -> Vector:
    """Return the weight of each coalition of the other players, shape (2**(players - 1),)."""
    sizes = [coalition.bit_count() for coalition in range(1 << (players - 1))]
    by_size = np.array([1.0 / (players * comb(players - 1, size)) for size in range(players)])
    weights: Vector = by_size[sizes]
    weights.setflags(write=False)
    return weights
