"""Shapley values of any graph by paired permutations, sampled until their standard error is small.

Each background row is its own game and gets its own random order of joining, walked forwards and
backwards (an antithetic pair). One round gives every row one pair; the mean over all rows is
unbiased, and what differs between rows never adds to the error, because every row counts in
every round (stratified sampling). Rows that differ from the case in few fields are enumerated
exactly. On the three graphs measured this needs about ten times fewer evaluations for the same
error than leverage-score KernelSHAP (Musco and Witter 2025) with whole-background coalitions.

Draws are SHAKE-256 of the seed and the round, so that a replay has the same bits whatever the
version of numpy. Time decides only whether there is an answer, never which.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import shake_256
from math import ceil, inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explainers.errors import PrecisionError
from explainers.exact import row_games
from explainers.explainer import Feeds, InTerms
from explainers.explanation import Explanation, Matrix, Terms
from explainers.game import BATCH_ROWS, WORD, Game, Rows, target_scores

METHOD = "sampled permutations"
FIRST_ROUNDS = 2
DEGREES_OF_FREEDOM = 200
"""Fewest behind the standard errors: the draws of a row have long tails."""
PRIOR_DEGREES = 50
"""Weight of the mean of all fields in a field's variance; see ``moderated_variances``."""
SAFETY = 1.25
"""Stated over estimated error: stopping when it looks small, and long tails, flatter the estimate.
Measured over 500 runs of an oracle set: 99.9 % of the exact values lie within 3 stated errors."""
ARITHMETIC_ERROR = 2.0**-22
"""Two float32 steps at 1: most graphs compute in float32, and a batch is not bit-equal to a row."""
MAX_BACKGROUND_ROWS = 1000
"""A larger background is thinned to evenly spaced rows, and the explainer's reason says so."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """The background rows that differ from the case in the same number of fields."""

    rows: Rows
    members: NDArray[np.int64]
    """Shape (rows, players): the fields in which each row differs."""

    @property
    def players(self) -> int:
        """In how many fields each row differs."""
        return int(self.members.shape[1])

    @property
    def pair_cost(self) -> int:
        """What one antithetic pair for every row costs; the two ends are known."""
        return len(self.rows) * 2 * (self.players - 1)

    @property
    def enumeration_cost(self) -> int:
        """What the exact games of the rows cost."""
        return len(self.rows) * ((1 << self.players) - 2)


@dataclass(frozen=True, slots=True)
class SampledExplainer(InTerms):
    """Explains rows of one graph by sampling; the standard errors are part of the answer."""

    game: Game
    terms: Terms
    reason: str

    @property
    def background_rows(self) -> int:
        """How many background rows are used; all of them in every round."""
        return self.game.rows

    @property
    def background_digest(self) -> str:
        """The digest of the background rows that are used."""
        return self.game.background_digest

    def explain(
        self, feeds: Feeds, scores: NDArray[Any], taps: tuple[NDArray[Any], ...], seed: bytes
    ) -> Explanation:
        """Return the estimate for the one row in ``feeds``: a function of row and seed only.

        Raises PrecisionError when the bound on the standard error would take more evaluations
        than the settings allow, TimeBudgetError past the time budget, AdditivityError when the
        games' own run of the row disagrees with ``scores``.
        """
        del taps
        game = self.game
        walk = _Walk(game=game, case=feeds, seed=seed, started=game.clock())
        bound = game.settings.standard_error * game.scale
        wanted = FIRST_ROUNDS
        worst = inf
        while True:
            wanted, enumerated = walk.affordable(wanted, standard_error=worst, bound=bound)
            walk.enumerate_first(enumerated)
            walk.sample(wanted)
            estimate, error = walk.estimate()
            worst = float(error.max())
            if worst <= bound:
                return game.explanation(
                    self.terms,
                    contributions=estimate,
                    scores=scores,
                    standard_errors=np.hypot(error, ARITHMETIC_ERROR * game.scale),
                    evaluations=walk.evaluations,
                )
            # A tenth more than the error asks for, so that one more look is usually enough.
            wanted = max(wanted + 1, ceil(1.1 * wanted * (worst / bound) ** 2))


def build(game: Game, reason: str) -> SampledExplainer:
    """Return the sampling explainer of a game."""
    return SampledExplainer(game=game, terms=game.terms(METHOD), reason=reason)


def thinned(background: Feeds, *, rows: int) -> tuple[Feeds, str]:
    """Return at most MAX_BACKGROUND_ROWS evenly spaced rows, and a phrase that says which."""
    if rows <= MAX_BACKGROUND_ROWS:
        return background, f"all {rows} background rows"
    chosen = np.arange(MAX_BACKGROUND_ROWS) * rows // MAX_BACKGROUND_ROWS
    phrase = f"{MAX_BACKGROUND_ROWS} evenly spaced of {rows} background rows"
    return {name: column[chosen] for name, column in background.items()}, phrase


def moderated_variances(spread: Matrix, count: Matrix, *, rounds: int) -> Matrix:
    """Return each field's mean variance of a draw, drawn towards that of all fields.

    ``spread``, shape (T, fields), sums a field's sample variances over its ``count`` rows. A field
    that few rows play, or whose rare effect no draw has met yet, would claim an error of nothing;
    so the mean of all fields counts as PRIOR_DEGREES further degrees of freedom (Smyth 2004).
    """
    degrees = count * max(rounds - 1, 0)
    rows = np.maximum(count.sum(axis=1, keepdims=True), 1.0)
    everyones = spread.sum(axis=1, keepdims=True) / rows
    own = spread / np.maximum(count, 1.0)
    variances: Matrix = (degrees * own + PRIOR_DEGREES * everyones) / (degrees + PRIOR_DEGREES)
    return variances


def random_keys(seed: bytes, *, number: int, shape: tuple[int, ...]) -> NDArray[np.uint64]:
    """Return one 64-bit key for each player of each row; sorting them draws an order.

    ``shape`` is (rows, players). The keys are the words of SHAKE-256 over the seed, the round and
    the number of players. Equal keys, at odds of about 2^-57 a row, fall back to field order.
    """
    rows, players = shape
    message = b"".join(
        [len(seed).to_bytes(4, "big"), seed, number.to_bytes(4, "big"), players.to_bytes(4, "big")]
    )
    words = shake_256(message).digest(8 * rows * players)
    keys: NDArray[np.uint64] = np.frombuffer(words, dtype=">u8").astype(np.uint64)
    return keys.reshape(shape)


def _strata(differing: NDArray[np.bool_]) -> list[Stratum]:
    """Return the strata by growing number of players; rows equal to the case are in none."""
    counts = differing.sum(axis=1)
    strata = []
    for players in sorted(set(counts.tolist()) - {0}):
        rows = np.flatnonzero(counts == players)
        members = np.nonzero(differing[rows])[1].reshape(len(rows), players)
        strata.append(Stratum(rows=rows, members=members))
    return strata


class _Walk:
    """What is known of one case's games so far: exact rows, and the draws of the others."""

    def __init__(self, *, game: Game, case: Feeds, seed: bytes, started: float) -> None:
        self._game = game
        self._case = case
        self._seed = seed
        self._started = started
        self._own = target_scores(game.run, case, game.targets)[0]
        self._known = np.zeros((len(game.targets), len(game.slots)))
        self._left = _strata(game.differing(case))
        self._draws: dict[int, list[NDArray[np.float64]]] = {s.players: [] for s in self._left}
        self.rounds = 0
        self.evaluations = 1

    def affordable(self, wanted: int, *, standard_error: float, bound: float) -> tuple[int, int]:
        """Return the rounds to go to, at least ``wanted``, and how many strata to enumerate first.

        A stratum is enumerated where that costs no more than its rounds would. With fewer rows
        left, each standard error needs more rounds to stand on. Raises PrecisionError when all
        this takes more evaluations than the settings allow.
        """
        enumerated = 0
        for stratum in self._left:
            rows = sum(len(other.rows) for other in self._left[enumerated:])
            wanted = max(wanted, 1 + ceil(DEGREES_OF_FREEDOM / rows))
            if stratum.enumeration_cost > (wanted - self.rounds) * stratum.pair_cost:
                break
            enumerated += 1
        cost = sum(stratum.enumeration_cost for stratum in self._left[:enumerated])
        cost += sum(
            (wanted - self.rounds) * stratum.pair_cost for stratum in self._left[enumerated:]
        )
        if self.evaluations + cost > self._game.settings.max_evaluations:
            raise PrecisionError(
                standard_error=standard_error, bound=bound, evaluations=self.evaluations
            )
        return wanted, enumerated

    def enumerate_first(self, strata: int) -> None:
        """Play the exact games of the first ``strata`` strata, and keep the others."""
        for stratum in self._left[:strata]:
            at_once = max(1, BATCH_ROWS >> stratum.players)
            for start in range(0, len(stratum.rows), at_once):
                rows = stratum.rows[start : start + at_once]
                members = stratum.members[start : start + at_once]
                values = row_games(
                    self._game, self._case, rows=rows, members=members, own=self._own
                )
                _add(self._known, values, members=members)
                self._game.check_time(self._started)
            self.evaluations += stratum.enumeration_cost
        self._left = self._left[strata:]

    def sample(self, wanted: int) -> None:
        """Give every stratum that is left its antithetic pairs up to ``wanted`` rounds."""
        for stratum in self._left:
            at_once = max(1, BATCH_ROWS // stratum.pair_cost)
            for start in range(self.rounds, wanted, at_once):
                numbers = range(start, min(start + at_once, wanted))
                self._draws[stratum.players].append(self._pairs(stratum, numbers))
                self.evaluations += len(numbers) * stratum.pair_cost
                self._game.check_time(self._started)
        self.rounds = wanted

    def _pairs(self, stratum: Stratum, numbers: range) -> NDArray[np.float64]:
        """Return each player's mean gain over an order and its reverse.

        Shape (T, rounds, rows, players), players in the order of ``stratum.members``.
        """
        game, players = self._game, stratum.players
        keys = [random_keys(self._seed, number=n, shape=stratum.members.shape) for n in numbers]
        ranking = np.argsort(np.stack(keys), axis=-1, kind="stable")
        orders = np.take_along_axis(stratum.members[np.newaxis], ranking, axis=-1)
        word, bit = np.divmod(orders[..., np.newaxis], WORD)
        bits = np.where(word == np.arange(game.words), np.int64(1) << bit, 0)
        forwards = np.cumsum(bits, axis=-2)[..., :-1, :]
        backwards = bits.sum(axis=-2, keepdims=True) - forwards
        walks = np.stack([forwards, backwards], axis=-3)
        rows = np.broadcast_to(stratum.rows[:, np.newaxis, np.newaxis], walks.shape[:-1])
        worth = game.worth(self._case, rows=rows.ravel(), coalitions=walks.reshape(-1, game.words))
        path = np.empty((len(game.targets), *walks.shape[:-2], players + 1))
        path[..., 1:-1] = worth.T.reshape(len(game.targets), *walks.shape[:-1])
        # The complements of a walk are the reverse order's coalitions, met from its end.
        background = game.background_scores[stratum.rows].T[:, np.newaxis, :]
        own = self._own[:, np.newaxis, np.newaxis]
        path[..., 0, 0] = path[..., 1, -1] = background
        path[..., 0, -1] = path[..., 1, 0] = own
        steps = np.diff(path, axis=-1)
        gains = (steps[..., 0, :] - steps[..., 1, :]) / 2
        back = np.argsort(ranking, axis=-1, kind="stable")
        return np.take_along_axis(gains, back[np.newaxis], axis=-1)

    def estimate(self) -> tuple[Matrix, Matrix]:
        """Return the estimate and its stated standard error, shape (T, fields) each.

        Rows are independent, so the variance of a field's mean is the sum of its rows' variances
        over their rounds, divided by rounds * rows^2.
        """
        total, spread = self._known.copy(), np.zeros_like(self._known)
        count = np.zeros_like(self._known)
        for stratum in self._left:
            draws = np.concatenate(self._draws[stratum.players], axis=1)
            _add(total, draws.mean(axis=1), members=stratum.members)
            _add(spread, draws.var(axis=1, ddof=1), members=stratum.members)
            _add(count, np.ones((len(total), *stratum.members.shape)), members=stratum.members)
        variance = count * moderated_variances(spread, count, rounds=self.rounds) / self.rounds
        return total / self._game.rows, SAFETY * np.sqrt(variance) / self._game.rows


def _add(total: Matrix, values: NDArray[np.float64], *, members: NDArray[np.int64]) -> None:
    """Add (T, rows, players) values to their fields in ``total``, shape (T, fields)."""
    for target in range(len(total)):
        np.add.at(total[target], members, values[target])
