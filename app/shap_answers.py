"""Independent answers of what a field contributes: shap's own explainers on a game of fields.

Nothing here is shared with ``explainers``. A case's fields are put into background rows in plain
numpy, onnxruntime runs them, scores are turned back into margins, and shap (extra ``train``) does
the arithmetic, on a model whose inputs say only which fields come from the case.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from explainers.errors import ExplanationError
from models.bundle import Bundle
from models.session import Feeds

Numbers = NDArray[np.float64]

SCORE_ERROR = 2.0**-22
"""Two float32 steps at 1: how far a graph's own arithmetic may leave a score from its margin."""
MARGIN_ERROR = 1e-6
"""Of the margin's size: sums of hundreds of float32 leaves or weights."""
LEAST_SHARE = 1e-2
"""A softmax's scores are known to their own rounding, and taken to be no surer than this one is. Seen:
4e-6 in the logarithm of the smallest of all."""
LEAST_NORMAL = 2.0**-126
"""Below it float32 numbers lose digits, and then are zero."""
TREE_ERROR = 2.0**-26
"""Of the score's size, for each tree: a forest's float32 sum of so many votes. Seen: two thirds of it."""
FINE = 1e-4
"""A case whose margins are less certain than this, because float32 probabilities near 0 or 1 do
not tell them apart, says little: it is for where no case says more."""
COARSEST = 1e-2
"""One whose margins are less certain than this says nothing and has no answer."""
REPEATS = 20
"""Independent answers of the permutation explainer, from which its standard error is known."""
STANDARD_ERRORS = 6.0
"""How far off a mean of REPEATS answers may be. Of the thousands that are compared the worst is
usually at 4, and an explainer that is wrong is wrong on many rows."""
_ROWS_AT_ONCE = 8192


class NotComparableError(ExplanationError):
    """There is no independent answer to compare with, with the reason."""


class CrossCheckMissingError(ExplanationError):
    """The cross-check is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "cross-check of explanations: got no library shap; want the extra `train` "
            "(pip install 'grounds-decision-support[train]')"
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What each player contributes, and how far off that may itself be, both (players,)."""

    values: Numbers
    uncertainty: Numbers
    is_fine: bool
    """Whether the scores tell the margins to ``FINE``."""


@dataclass(frozen=True, slots=True)
class FieldGame:
    """The worth of coalitions of fields: the mean margin of hybrids of a case and a background."""

    bundle: Bundle
    background: Feeds
    players: tuple[int, ...]
    """The fields that may come from the case; the case agrees with the background on the others."""
    link: str
    trees: int = 0
    """How many trees the graph adds up."""

    def worth(self, case: Feeds, coalitions: NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
        """Return the worth of N coalitions, shape (N, players), and how far off each may be."""
        rows = len(next(iter(self.background.values())))
        at_once = max(_ROWS_AT_ONCE // rows, 1)
        worths, errors = [], []
        for start in range(0, len(coalitions), at_once):
            chunk = coalitions[start : start + at_once]
            hybrids = {
                name: np.concatenate([column] * len(chunk))
                for name, column in self.background.items()
            }
            for player, field in enumerate(self.players):
                slot = self.bundle.slots[field]
                own = np.flatnonzero(np.repeat(chunk[:, player], rows))
                value = case[slot.input].ravel()[slot.column]
                if hybrids[slot.input].ndim == 1:
                    hybrids[slot.input][own] = value
                else:
                    hybrids[slot.input][own, slot.column] = value
            margins, uncertainty = self._margins(self.bundle.session.run_batch(hybrids))
            worths.append(margins.reshape(len(chunk), rows).mean(axis=1))
            errors.append(uncertainty.reshape(len(chunk), rows).mean(axis=1))
        return np.concatenate(worths), np.concatenate(errors)

    def uncertainty(self, rows: Feeds) -> Numbers:
        """Return how far off the margin of each row may be, told by its own scores, shape (rows,)."""
        return self._margins(self.bundle.session.run_batch(rows))[1]

    def _margins(self, scores: NDArray[Any]) -> tuple[Numbers, Numbers]:
        """Return the margin behind each score, and its uncertainty: infinite where it is not told."""
        target = self.bundle.positive_score
        numbers = scores.astype(np.float64)
        own = numbers[:, target]
        scale = self.bundle.session.scale if self.link == "identity" else 1.0
        with np.errstate(divide="ignore", invalid="ignore"):
            match self.link:
                case "identity":
                    margins = own.copy()
                    error = SCORE_ERROR * np.maximum(np.abs(own), scale)
                    error += self.trees * TREE_ERROR * np.abs(own)
                case "logistic":
                    margins = np.log(own) - np.log1p(-own)
                    error = SCORE_ERROR / (own * (1 - own))
                case "softmax" | "softmax_zero":
                    logs = np.log(numbers)
                    margins = logs[:, target] - logs.mean(axis=1)
                    least = numbers.min(axis=1)
                    # An exponential over a sum keeps its digits however small it is.
                    error = SCORE_ERROR / np.maximum(least, LEAST_SHARE)
                    error += MARGIN_ERROR * np.abs(logs).max(axis=1)
                    error[least < LEAST_NORMAL] = np.inf
                case _:
                    raise NotComparableError(
                        f"cross-check: got the link {self.link}, want one that can be turned round"
                    )
            error += MARGIN_ERROR * np.maximum(np.abs(margins), scale)
        untold = ~np.isfinite(error)
        # Not infinite themselves: what is added up with them must not be their scale.
        margins[untold] = 0.0
        error[untold] = np.inf
        return margins, error


def check_installed() -> None:
    """Raise CrossCheckMissingError without shap."""
    try:
        import shap  # noqa: F401 - only asked whether it is there
    except ImportError as err:
        raise CrossCheckMissingError from err


def enumerated(game: FieldGame, case: Feeds) -> Answer | None:
    """Return shap's exact answer, None when float32 does not tell the margins well enough."""
    from shap.explainers import Exact

    asked = _Asked(game, case)
    values = _ask(Exact(asked, asked.masker()), asked.fields, max_evals=1 << asked.fields)
    return asked.answer(values, np.zeros(asked.fields))


def permuted(game: FieldGame, case: Feeds) -> Answer | None:
    """Return the mean of REPEATS sampled answers of shap, None as for ``enumerated``."""
    from shap.explainers import Permutation

    asked = _Asked(game, case)
    answers = np.array(
        [
            _ask(
                Permutation(asked, asked.masker(), seed=repeat),
                asked.fields,
                max_evals=2 * asked.fields + 1,
            )
            for repeat in range(REPEATS)
        ]
    )
    errors = answers.std(axis=0, ddof=1) / np.sqrt(REPEATS)
    # A field that few orders show at work may look certain by chance: the others vouch for it.
    least = np.sqrt((errors**2).mean())
    return asked.answer(answers.mean(axis=0), STANDARD_ERRORS * np.maximum(errors, least))


class _Shap(Protocol):
    def __call__(self, rows: Numbers, /, *, max_evals: int, silent: bool) -> Any: ...


class _Asked:
    """The game of one case as shap sees it: a model of rows of zeros and ones."""

    def __init__(self, game: FieldGame, case: Feeds) -> None:
        self._game = game
        self._case = case
        self.fields = len(game.players)
        self._largest_error = 0.0

    def __call__(self, rows: NDArray[Any]) -> Numbers:
        worth, error = self._game.worth(self._case, np.asarray(rows) > 0)
        self._largest_error = max(self._largest_error, float(error.max()))
        return worth

    def masker(self) -> Any:
        """Return the masker whose one row has no field of the case.

        The game itself goes through its background: shap 0.51 would cut one to 100 rows unasked.
        """
        from shap.maskers import Independent

        masker = Independent(np.zeros((1, self.fields)), max_samples=1)
        if masker.data.shape != (1, self.fields):
            raise NotComparableError(
                f"cross-check: shap holds a background of shape {masker.data.shape}, want "
                f"(1, {self.fields})"
            )
        return masker

    def answer(self, values: Numbers, error: Numbers) -> Answer | None:
        # A value is a weighted mean of differences between two worths.
        from_scores = 2 * self._largest_error
        # A score without a link is as certain as its own float32, however small the values beside it.
        scale = max(1.0, float(np.abs(values).max())) if self._game.link != "identity" else np.inf
        if from_scores > COARSEST * scale:
            return None
        return Answer(values, error + from_scores, from_scores <= FINE * scale)


def _ask(explainer: _Shap, fields: int, *, max_evals: int) -> Numbers:
    explained = explainer(np.ones((1, fields)), max_evals=max_evals, silent=True)
    return np.asarray(explained.values, dtype=np.float64).reshape(fields)
