"""Scores with a logarithmic link are products: exact by field, and compared with enumeration."""

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from explainers import exact
from explainers.choose import choose
from explainers.errors import AdditivityError, BackgroundError
from explainers.explainer import Explainer, ExplainerSettings, Run, Slot
from explainers.game import open_game
from tests.explainers.served import serve

ML = "ai.onnx.ml"
node = helper.make_node


def product_of(fields: int, nodes: list[onnx.NodeProto], weights: NDArray[Any]) -> bytes:
    """Return a graph of ``X``, and of ``w``, ``twice`` and ``half`` where they are read."""
    constants = {
        "w": weights.astype(np.float32),
        "twice": np.array([2.0], dtype=np.float32),
        "half": np.array(0.5, dtype=np.float32),
    }
    read = {name for n in nodes for name in n.input}
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, fields])],
        [onnx.ValueInfoProto(name="scores")],
        [onnx.numpy_helper.from_array(v, name) for name, v in constants.items() if name in read],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(ML, 3)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def build(model: bytes, background: NDArray[Any], n_scores: int) -> tuple[Explainer, Run]:
    plan = choose(
        model,
        slots=tuple(Slot("X", column) for column in range(background.shape[1])),
        score_outputs=("scores",),
        targets=tuple(range(n_scores)),
        n_scores=n_scores,
    )
    run = serve(model, ("scores",), plan.taps)
    return plan.build({"X": background}, run, ExplainerSettings()), run


PRODUCTS = {
    "a rate": [node("MatMul", ["X", "w"], ["z"]), node("Exp", ["z"], ["scores"])],
    "a rate twice, and times a constant": [
        node("Tanh", ["X"], ["t"]),
        node("MatMul", ["X", "w"], ["z"]),
        node("MatMul", ["t", "w"], ["u"]),
        node("Sub", ["z", "u"], ["v"]),
        node("Exp", ["v"], ["e"]),
        node("Mul", ["twice", "e"], ["f"]),
        node("Div", ["f", "half"], ["scores"]),
    ],
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize(("fields", "n_scores"), [(2, 1), (4, 2), (9, 1)])
def test_products_agree_with_enumeration(
    name: str, fields: int, n_scores: int, rng: np.random.Generator
) -> None:
    model = product_of(fields, PRODUCTS[name], rng.normal(0, 0.5, (fields, n_scores)))
    rows = rng.normal(size=(14, fields)).astype(np.float32)
    explainer, run = build(model, rows[:12], n_scores)
    assert (explainer.method, explainer.link) == ("product of parts", "identity")
    game = open_game(
        {"X": rows[:12]},
        run,
        ExplainerSettings(),
        slots=tuple(Slot("X", column) for column in range(fields)),
        targets=tuple(range(n_scores)),
    )
    oracle = exact.build(game, "")
    for row in rows[12:]:
        scores, taps = run({"X": row[None]})
        found = explainer.explain({"X": row[None]}, scores[0], taps, b"")
        want = oracle.explain({"X": row[None]}, scores[0], (), b"")
        scale = max(1.0, float(np.abs(want.contributions).max()))
        np.testing.assert_allclose(
            found.contributions, want.contributions, rtol=0, atol=2e-6 * scale
        )
        np.testing.assert_allclose(found.terms.base_values, want.terms.base_values, rtol=2e-6)


def test_twenty_fields_are_exact_and_add_up(rng: np.random.Generator) -> None:
    """More than can be enumerated: the first field doubles the score, whatever the others are."""
    weights = rng.normal(0, 0.2, (20, 1))
    weights[0] = np.log(2)
    weights[19] = 0.0
    background = rng.normal(size=(50, 20)).astype(np.float32)
    background[:, 0] = 0.0
    explainer, run = build(product_of(20, PRODUCTS["a rate"], weights), background, 1)
    case = background[:1].copy()
    case[0, 0] = 1.0
    case[0, 19] = 5.0
    alone, _ = build(product_of(20, PRODUCTS["a rate"], weights), background[:1], 1)
    scores, taps = run({"X": case})
    assert explainer.explain({"X": case}, scores[0], taps, b"").residual < 1e-6
    against_itself = alone.explain({"X": case}, scores[0], taps, b"").contributions[0]
    np.testing.assert_allclose(against_itself[0], scores[0, 0] / 2, rtol=1e-6)
    np.testing.assert_array_equal(against_itself[1:], np.zeros(19))


def test_trees_in_the_exponent_are_no_product(rng: np.random.Generator) -> None:
    trees = node(
        "TreeEnsembleRegressor",
        ["X"],
        ["z"],
        domain=ML,
        n_targets=1,
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[0, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_values=[0.0, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        target_ids=[0, 0],
        target_nodeids=[1, 2],
        target_treeids=[0, 0],
        target_weights=[0.5, -0.5],
    )
    model = product_of(2, [trees, node("Exp", ["z"], ["scores"])], np.zeros((2, 1)))
    explainer, _ = build(model, rng.normal(size=(5, 2)).astype(np.float32), 1)
    assert explainer.method == "exact enumeration"
    assert "product of parts does not fit: a tree ensemble is in the exponent" in explainer.reason


def test_products_that_are_not_the_graphs_are_found_out() -> None:
    model = product_of(2, PRODUCTS["a rate"], np.array([[1.0], [0.5]]))
    other = product_of(2, PRODUCTS["a rate"], np.array([[2.0], [0.5]]))
    plan = choose(
        model,
        slots=(Slot("X", 0), Slot("X", 1)),
        score_outputs=("scores",),
        targets=(0,),
        n_scores=1,
    )
    run = serve(other, ("scores",), plan.taps)
    explainer = plan.build({"X": np.ones((2, 2), np.float32)}, run, ExplainerSettings())
    assert "the products as read differ from the graph's own output" in explainer.reason
    assert explainer.method == "exact enumeration"


def test_a_score_beyond_all_numbers_is_refused() -> None:
    model = product_of(2, PRODUCTS["a rate"], np.array([[1000.0], [0.0]]))
    explainer, run = build(model, np.zeros((2, 2), np.float32), 1)
    case = {"X": np.ones((1, 2), np.float32)}
    scores, taps = run(case)
    with pytest.raises(AdditivityError):
        explainer.explain(case, scores[0], taps, b"")


def test_an_empty_background_is_refused() -> None:
    with pytest.raises(BackgroundError):
        build(product_of(2, PRODUCTS["a rate"], np.ones((2, 1))), np.zeros((0, 2), np.float32), 1)
