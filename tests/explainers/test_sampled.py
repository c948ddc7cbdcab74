"""Sampled values are unbiased, their stated errors are honest, and the seed decides every bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import shake_256
from itertools import count

import numpy as np
import pytest
from numpy.typing import NDArray

from explainers import black_box, exact, sampled
from explainers.errors import (
    AdditivityError,
    PrecisionError,
    TimeBudgetError,
)
from explainers.explainer import Explainer, ExplainerSettings, Feeds, Question, rows_of
from explainers.explanation import Explanation
from explainers.game import Game, open_game
from explainers.graph import Graph, Node, read_graph
from tests.explainers.ensembles import random_trees, regressor
from tests.explainers.games import Score, numpy_game, numpy_run, slots, smooth
from tests.explainers.served import oracle_set, row, serve

FIELDS = 12


def perceptron(x: NDArray[np.float64]) -> NDArray[np.float64]:
    draw = np.random.default_rng(5)
    first, second = draw.normal(size=(FIELDS, 30)) / 2, draw.normal(size=30) / 2
    found: NDArray[np.float64] = 1 / (1 + np.exp(-np.maximum(x @ first, 0) @ second))
    return found


def majority(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(x.sum(axis=1) >= 7, 1.0, 0.0)


def explain(game: Game, feeds: Feeds, seed: bytes) -> Explanation:
    return sampled.build(game, "test").explain(feeds, game.run(feeds)[0][0], (), seed)


def settings(bound: float) -> ExplainerSettings:
    return ExplainerSettings(standard_error=bound)


def test_three_stated_errors_cover_the_exact_value_and_one_does_not(
    rng: np.random.Generator,
) -> None:
    """At least 99 % within three; within a third of one, the near miss, far fewer than that."""
    game = numpy_game(perceptron, rng.normal(size=(60, FIELDS)), settings=settings(0.05))
    feeds = {"X": rng.normal(size=(1, FIELDS))}
    want = exact.build(game, "").explain(feeds, game.run(feeds)[0][0], (), b"").contributions[0]
    runs = [explain(game, feeds, bytes([seed])) for seed in range(100)]
    errors = np.array([run.contributions[0] - want for run in runs])
    stated = np.array([run.standard_errors[0] for run in runs if run.standard_errors is not None])
    distances = np.abs(errors) / stated
    assert (distances <= 3).mean() >= 0.99
    assert (distances <= 1 / 3).mean() < 0.5
    # Unbiased: the mean of 100 runs is ten times closer.
    np.testing.assert_array_less(np.abs(errors.mean(axis=0)), 0.4 * stated.mean(axis=0))


def test_a_majority_vote_gives_every_voter_the_same(rng: np.random.Generator) -> None:
    game = numpy_game(majority, np.zeros((50, FIELDS)), settings=settings(0.004))
    found = explain(game, {"X": np.ones((1, FIELDS))}, rng.bytes(16))
    assert found.standard_errors is not None
    assert 0 < found.standard_errors.max() <= 0.004
    np.testing.assert_array_less(
        np.abs(found.contributions[0] - 1 / FIELDS), 3.5 * found.standard_errors[0]
    )


def test_base_and_contributions_are_the_output(rng: np.random.Generator) -> None:
    game = numpy_game(perceptron, rng.normal(size=(40, FIELDS)))
    feeds = {"X": rng.normal(size=(1, FIELDS))}
    found = explain(game, feeds, b"seed")
    assert found.margins[0] == pytest.approx(perceptron(feeds["X"])[0], abs=1e-13)
    assert found.terms.base_values[0] == pytest.approx(
        perceptron(game.background["X"]).mean(), abs=1e-15
    )
    served = game.run(feeds)[0][0]
    with pytest.raises(AdditivityError):
        sampled.build(game, "").explain(feeds, served + 1.1e-5, (), b"seed")


def test_the_seed_decides_every_bit(rng: np.random.Generator) -> None:
    game = numpy_game(perceptron, rng.normal(size=(40, FIELDS)))
    feeds = {"X": rng.normal(size=(1, FIELDS))}
    first, again, other = (explain(game, feeds, seed) for seed in (b"one", b"one", b"two"))
    assert first.contributions.tobytes() == again.contributions.tobytes()
    assert first.contributions.tobytes() != other.contributions.tobytes()


def test_keys_are_the_words_of_shake_256() -> None:
    """Pinned: a replay years later draws the same orders, in any language."""
    message = b"\0\0\0\4seed" + b"\0\0\0\2" + b"\0\0\0\3"
    words = shake_256(message).digest(48)
    want = [int.from_bytes(words[at : at + 8], "big") for at in range(0, 48, 8)]
    keys = sampled.random_keys(b"seed", number=2, shape=(2, 3))
    assert keys.ravel().tolist() == want
    assert want[0] == 0x97E9C0C4B565D291


def test_orders_are_uniform() -> None:
    keys = sampled.random_keys(b"uniform", number=0, shape=(6000, 3))
    orders, counts = np.unique(np.argsort(keys, axis=1), axis=0, return_counts=True)
    assert len(orders) == 6
    # Chi-squared with 5 degrees of freedom: 20.5 is exceeded once in a thousand.
    assert ((counts - 1000) ** 2 / 1000).sum() < 20.5


def test_few_differing_fields_are_enumerated_without_error(rng: np.random.Generator) -> None:
    background = np.zeros((30, FIELDS))
    background[:, :5] = rng.normal(size=(30, 5))
    game = numpy_game(perceptron, background)
    feeds = {"X": np.zeros((1, FIELDS))}
    found = explain(game, feeds, b"seed")
    want = exact.build(game, "").explain(feeds, game.run(feeds)[0][0], (), b"")
    np.testing.assert_allclose(found.contributions, want.contributions, rtol=1e-9, atol=1e-12)
    assert found.standard_errors is not None
    assert found.standard_errors.max() == sampled.ARITHMETIC_ERROR * game.scale


def test_a_field_whose_effect_no_draw_met_does_not_claim_certainty() -> None:
    """Two fields, ten rows each; only the first varies in the draws, yet both get an error."""
    spread = np.array([[2.0, 0.0]])
    found = sampled.moderated_variances(spread, np.full((1, 2), 10.0), rounds=6)
    assert found[0, 1] == pytest.approx(0.5 * 0.1)  # 50 degrees of its own against 50 of the mean
    assert found[0, 0] == pytest.approx(0.5 * 0.2 + 0.5 * 0.1)
    certain = sampled.moderated_variances(spread, np.full((1, 2), 1e9), rounds=6)
    assert certain[0, 1] < 1e-9


def test_a_bound_out_of_reach_is_an_error_not_a_worse_answer(rng: np.random.Generator) -> None:
    background = rng.normal(size=(20, FIELDS))
    feeds = {"X": rng.normal(size=(1, FIELDS))}
    tight = ExplainerSettings(standard_error=1e-6, max_evaluations=20_000)
    with pytest.raises(PrecisionError) as caught:
        explain(numpy_game(perceptron, background, settings=tight), feeds, b"seed")
    assert caught.value.standard_error > caught.value.bound
    assert caught.value.evaluations <= 20_000
    loose = ExplainerSettings(standard_error=0.05, max_evaluations=20_000)
    explain(numpy_game(perceptron, background, settings=loose), feeds, b"seed")
    too_few = ExplainerSettings(standard_error=0.05, max_evaluations=1_000)
    with pytest.raises(PrecisionError, match="want fewer background rows or fields"):
        explain(numpy_game(perceptron, background, settings=too_few), feeds, b"seed")


def test_past_the_time_budget_there_is_no_explanation(rng: np.random.Generator) -> None:
    ticks = count()
    game = numpy_game(perceptron, rng.normal(size=(20, FIELDS)), clock=lambda: 6.0 * next(ticks))
    with pytest.raises(TimeBudgetError):
        explain(game, {"X": rng.normal(size=(1, FIELDS))}, b"seed")


ATTEND = Node("MatMul", "", ("z", "z"), ("a",), {})
NOTHING = Graph((), {}, ("score",), {}, {})


def question(fields: int, graph: Graph = NOTHING) -> Question:
    return Question(
        graph=graph,
        slots=slots(fields),
        score_outputs=("score",),
        targets=(0,),
        n_scores=1,
        score_columns=(0,),
    )


def black_box_explainer(score: Score, background: NDArray[np.float64]) -> object:
    plan = black_box.plan_black_box(question(background.shape[1]))
    return plan.build({"X": background}, numpy_run(score), ExplainerSettings())


def test_a_black_box_is_enumerated_while_the_budget_allows(rng: np.random.Generator) -> None:
    explainer = black_box_explainer(smooth, rng.normal(size=(100, 11)))
    assert isinstance(explainer, exact.EnumeratedExplainer)
    assert "11 fields against all 100 background rows" in explainer.reason


def test_a_larger_black_box_is_sampled_and_says_why(rng: np.random.Generator) -> None:
    explainer = black_box_explainer(smooth, rng.normal(size=(100, 15)))
    assert isinstance(explainer, sampled.SampledExplainer)
    assert "got 3276800, want at most 1048576" in explainer.reason
    assert "all 100 background rows" in explainer.reason


def neighbours(stored: int) -> Graph:
    """A graph that looks for the nearest of so many rows of nine numbers."""
    top = Node("TopK", "", ("d", "k"), ("v", "i"), {})
    return Graph((top,), {}, ("v",), {}, {"rows": np.zeros((stored, 9), np.float32)})


def trees(number: int) -> Graph:
    """A graph of so many trees of 15 nodes."""
    rng = np.random.default_rng(0)
    return read_graph(regressor(random_trees(rng, columns=9, trees=number, depth=3, full=True)))


def network(width: int) -> Graph:
    """A graph of one layer of so many by so many weights."""
    layer = Node("Gemm", "", ("h", "w", "b"), ("z",), {})
    constants = {"w": np.zeros((width, width), np.float32), "b": np.zeros(width, np.float32)}
    return Graph((layer,), {}, ("z",), {}, constants)


def attention(width: int) -> Graph:
    """A layer whose nine rows, one for each field, are multiplied by one another."""
    return replace(network(width), nodes=(*network(width).nodes, ATTEND))


def vectors(number: int) -> Graph:
    """A machine of so many support vectors of nine numbers."""
    machine = Node(
        "SVMRegressor", "ai.onnx.ml", ("X",), ("z",), {"support_vectors": (0.5,) * 9 * number}
    )
    return Graph((machine,), {}, ("z",), {}, {})


@pytest.mark.parametrize(
    ("graph", "rows_alone", "rows", "method"),
    [
        (NOTHING, False, 1000, exact.METHOD),
        (NOTHING, False, 2000, exact.METHOD),
        (NOTHING, True, 1000, sampled.METHOD),
        (NOTHING, True, 900, exact.METHOD),
        (neighbours(1500), False, 1000, sampled.METHOD),
        (neighbours(1500), False, 400, exact.METHOD),
        (trees(500), False, 1000, exact.METHOD),
        (trees(1500), False, 1000, sampled.METHOD),
        (network(200), False, 1000, exact.METHOD),
        (network(1000), False, 1000, sampled.METHOD),
        (attention(50), False, 1000, exact.METHOD),
        (attention(200), False, 1000, sampled.METHOD),
        (vectors(1000), False, 1000, exact.METHOD),
        (vectors(6000), False, 1000, sampled.METHOD),
    ],
)
def test_what_would_outlast_the_time_budget_is_not_enumerated(
    graph: Graph, rows_alone: bool, rows: int, method: str, rng: np.random.Generator
) -> None:
    """Nine fields and 2,000 rows are within the most evaluations: a dear row may still be too dear."""
    plan = black_box.plan_black_box(question(9, graph))
    settings = ExplainerSettings(rows_alone=rows_alone)
    explainer = plan.build({"X": rng.normal(size=(rows, 9))}, numpy_run(smooth), settings)
    assert explainer.method == method
    if method == sampled.METHOD:
        assert "got 512000, want at most" in explainer.reason


def test_fields_beyond_one_word_of_a_coalition_are_played(rng: np.random.Generator) -> None:
    """130 fields: a linear score with products of fields far apart, whose values are known."""
    weights = rng.normal(size=130)
    pairs = ((0, 129), (61, 62), (5, 100))

    def score(x: NDArray[np.float64]) -> NDArray[np.float64]:
        total: NDArray[np.float64] = x @ weights
        for one, other in pairs:
            total += x[:, one] * x[:, other]
        return total

    def known(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        values: NDArray[np.float64] = weights * (case - rows.mean(axis=0))
        for one, other in (*pairs, *(pair[::-1] for pair in pairs)):
            moved = case[one] - rows[:, one]
            values[one] += (moved * (case[other] + rows[:, other]) / 2).mean()
        return values

    case, background = rng.normal(size=130), rng.normal(size=(20, 130))
    found = explain(numpy_game(score, background), {"X": case[None]}, b"seed")
    assert found.standard_errors is not None
    apart = np.abs(found.contributions[0] - known(background))
    assert apart.max() <= 3 * found.standard_errors.max()
    # Few fields differ: enumerated, and exact.
    near = np.tile(case, (4, 1))
    near[:, [0, 61, 62, 129]] = background[:4][:, [0, 61, 62, 129]]
    found = explain(numpy_game(score, near), {"X": case[None]}, b"seed")
    np.testing.assert_allclose(found.contributions[0], known(near), rtol=0, atol=1e-12)


def test_a_field_that_the_model_ignores_gets_nothing(rng: np.random.Generator) -> None:
    game = numpy_game(
        lambda v: perceptron(np.where(np.arange(FIELDS) == 3, 0.5, v)),
        rng.normal(size=(40, FIELDS)),
    )
    found = explain(game, {"X": rng.normal(size=(1, FIELDS))}, b"seed").contributions[0]
    assert found[3] == 0.0
    assert (found != 0.0).sum() == FIELDS - 1


def test_a_background_too_large_to_sample_is_thinned_and_says_so(
    rng: np.random.Generator,
) -> None:
    background = rng.normal(size=(2500, 15))
    explainer = black_box_explainer(smooth, background)
    assert isinstance(explainer, sampled.SampledExplainer)
    assert explainer.background_rows == 1000
    assert "1000 evenly spaced of 2500 background rows" in explainer.reason
    kept, _phrase = sampled.thinned({"X": background}, rows=2500)
    assert rows_of(kept) == len(np.unique(kept["X"][:, 0])) == 1000
    assert explainer.base_values[0] == pytest.approx(smooth(kept["X"]).mean(), abs=1e-15)


@pytest.mark.parametrize("name", ["dutch-mlp", "compas-calibrated"])
def test_oracle_sets_agree_within_three_stated_errors(name: str) -> None:
    oracle = oracle_set(name, ["probabilities"])
    run = serve(oracle.model, oracle.score_outputs)
    game = open_game(oracle.background, run, ExplainerSettings(), slots=oracle.slots, targets=(1,))
    for index, want in enumerate(oracle.exact):
        found = explain(game, row(oracle.inputs, index), index.to_bytes(2, "big"))
        assert found.standard_errors is not None
        np.testing.assert_array_less(
            np.abs(found.contributions[0] - want), 3 * found.standard_errors[0]
        )


def test_eight_threads_give_the_same_bits() -> None:
    oracle = oracle_set("dutch-mlp", ["probabilities"])
    run = serve(oracle.model, oracle.score_outputs)
    game = open_game(oracle.background, run, settings(0.01), slots=oracle.slots, targets=(1,))
    case = row(oracle.inputs, 0)
    served = run(case)[0][0]
    explainers = (sampled.build(game, ""), exact.build(game, ""))
    for explainer in explainers:

        def once(_: int, explainer: Explainer = explainer) -> bytes:
            return explainer.explain(case, served, (), b"seed").contributions.tobytes()

        with ThreadPoolExecutor(8) as threads:
            assert len(set(threads.map(once, range(24)))) == 1
