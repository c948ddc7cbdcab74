"""Graphs that break their own rules, or that trees cannot explain, are refused with the reason."""

import csv
import json
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from explainers import exact
from explainers.choose import choose
from explainers.ensemble import is_tree_ensemble, read_ensemble
from explainers.errors import BackgroundError, GraphError, MethodRefusedError
from explainers.explainer import ExplainerSettings, Question, Slot
from explainers.fields import single_fields, trace_fields
from explainers.game import open_game
from explainers.graph import read_graph
from explainers.links import link_outputs
from explainers.tree import plan_trees
from tests.explainers.ensembles import (
    Listed,
    classifier,
    opset5,
    random_rows,
    random_trees,
    regressor,
)
from tests.explainers.served import SHARED, feeds_of, serve, slots_of
from tests.reference.naive_trees import raw_sums

ORACLES = (
    "adult-lgbm", "chicago-gbc", "german-rf-ordinal", "credit-xgb-tensor", "law-logreg",
    "compas-calibrated", "dutch-mlp",
)  # fmt: skip


def point_to_itself(listed: Listed) -> None:
    listed.true[0] = listed.node[0]


def share_a_child(listed: Listed) -> None:
    listed.false[0] = listed.true[0]


def point_nowhere(listed: Listed) -> None:
    listed.true[0] = 10_000


def list_twice(listed: Listed) -> None:
    listed.node[1] = listed.node[0]


def know_no_mode(listed: Listed) -> None:
    listed.mode[0] = "BRANCH_MAYBE"


def read_a_negative_column(listed: Listed) -> None:
    listed.column[0] = -1


def weigh_no_leaf(listed: Listed) -> None:
    listed.leaf_node[0] = 10_000


def weigh_no_target(listed: Listed) -> None:
    listed.leaf_target[0] = 7


def lose_a_threshold(listed: Listed) -> None:
    listed.value.pop()


@pytest.mark.parametrize(
    "damage",
    [
        point_to_itself,
        share_a_child,
        point_nowhere,
        list_twice,
        know_no_mode,
        read_a_negative_column,
        weigh_no_leaf,
        weigh_no_target,
        lose_a_threshold,
    ],
)
def test_a_damaged_ensemble_is_refused(
    damage: Callable[[Listed], None], rng: np.random.Generator
) -> None:
    listed = random_trees(rng, columns=3, trees=2, depth=2, full=True)
    read_ensemble(read_graph(regressor(listed)).nodes[0])
    damage(listed)
    with pytest.raises(GraphError):
        read_ensemble(read_graph(regressor(listed)).nodes[0])


def test_bytes_that_are_no_model_are_refused() -> None:
    with pytest.raises(GraphError, match="ONNX model"):
        read_graph(b"\xff\xff not a model")


def test_nodes_out_of_order_are_refused(rng: np.random.Generator) -> None:
    """ONNX wants topological order, so a cycle between operators shows as a tensor without maker."""
    model = onnx.load_model_from_string(regressor(random_trees(rng, columns=2, trees=1, depth=1)))
    model.graph.node[0].input[0] = "later"
    model.graph.node.append(helper.make_node("Identity", ["scores"], ["later"]))
    with pytest.raises(GraphError, match="topological order"):
        read_graph(model.SerializeToString())


@pytest.mark.parametrize("seed", range(8))
def test_the_trees_as_read_score_like_onnxruntime(seed: int) -> None:
    """The plain walk over the arrays, which no kernel shares, is the reference of both."""
    rng = np.random.default_rng(seed)
    listed = random_trees(rng, columns=4, trees=5, depth=4, targets=(0, 1, 2))
    data = (
        opset5(rng, columns=4, trees=4, depth=4, targets=3)
        if seed % 2
        else classifier(listed, classes=3, transform="SOFTMAX", base=(0.1, 0.2, 0.3))
    )
    rows = random_rows(rng, 60, 4)
    ensemble = read_ensemble(read_graph(data).nodes[0])
    margins = ensemble.aggregation.margins(raw_sums(ensemble, rows))
    own = np.array([link_outputs(ensemble.aggregation.link, row) for row in margins])
    scores = serve(data, ("scores",))({"X": rows})[0]
    np.testing.assert_allclose(own, scores, rtol=0, atol=2e-6)


def equalities(
    rng: np.random.Generator, sets: list[list[float]], *, missing: tuple[int, ...] = (0,)
) -> Listed:
    """Return trees that ask, value by value, whether a column is in a set, as LightGBM's are.

    The true child of all the equalities of a set is one and the same node: another such chain about
    the next column, or a leaf.
    """
    listed = Listed(columns=3)
    total = sum(len(chosen) for chosen in sets)
    ends = list(range(total, total + 1 + len(sets)))
    for tree in range(4):
        count = 0
        for level, chosen in enumerate(sets):
            last = count + len(chosen)
            for place, value in enumerate(chosen):
                count += 1
                listed.mode.append("BRANCH_EQ")
                listed.value.append(value)
                listed.column.append((tree + level) % 3)
                listed.missing.append(missing[place % len(missing)])
                listed.true.append(last)
                listed.false.append(count if count < last else ends[1 + level])
        for _ in ends:
            listed.mode.append("LEAF")
            listed.value.append(0.0)
            listed.column.append(0)
            listed.missing.append(0)
            listed.true.append(0)
            listed.false.append(0)
        listed.node += range(total + len(ends))
        listed.tree += [tree] * (total + len(ends))
        listed.leaf_tree += [tree] * len(ends)
        listed.leaf_node += ends
        listed.leaf_target += [0] * len(ends)
        listed.leaf_weight += rng.normal(size=len(ends)).astype(np.float32).tolist()
    return listed


@pytest.mark.parametrize("missing", [(0,), (1,)])
@pytest.mark.parametrize(
    "sets", [[[1.0]], [[1.0, 3.0], [2.0]], [[40.0, 1.5, -2.0], [0.0, 31.0], [7.0, 8.0, 9.0]]]
)
def test_equalities_that_share_their_true_child_are_a_set(
    sets: list[list[float]], missing: tuple[int, ...], rng: np.random.Generator
) -> None:
    data = regressor(equalities(rng, sets, missing=missing))
    drawn = [value + shift for chosen in sets for value in chosen for shift in (0.0, 0.5)]
    rows = rng.choice([*drawn, np.nan], size=(80, 3)).astype(np.float32)
    ensemble = read_ensemble(read_graph(data).nodes[0])
    run = serve(data, ("scores",))
    scores = run({"X": rows})[0]
    np.testing.assert_allclose(raw_sums(ensemble, rows), scores, rtol=0, atol=2e-6)

    slots = tuple(Slot("X", column) for column in range(3))
    plan = choose(data, slots=slots, score_outputs=("scores",), targets=(0,), n_scores=1)
    assert plan.method == "tree tables"
    background = {"X": rows[:30]}
    explainer = plan.build(background, run, ExplainerSettings())
    game = open_game(background, run, ExplainerSettings(), slots=slots, targets=(0,))
    enumerated = exact.build(game, "the reference")
    for index in range(30, 50):
        case = {"X": rows[index : index + 1]}
        np.testing.assert_allclose(
            explainer.explain(case, scores[index], (), b"").contributions,
            enumerated.explain(case, scores[index], (), b"").contributions,
            rtol=0,
            atol=2e-6,
        )


def test_equalities_that_treat_missing_values_differently_are_no_set(
    rng: np.random.Generator,
) -> None:
    """What is shared otherwise stays refused: only the true child of a whole set may be."""
    listed = equalities(rng, [[1.0, 3.0], [2.0]], missing=(0, 1))
    with pytest.raises(GraphError, match="two parents"):
        read_ensemble(read_graph(regressor(listed)).nodes[0])


@pytest.mark.parametrize("aggregate", ["MIN", "MAX"])
def test_minimum_and_maximum_do_not_add_up(aggregate: str, rng: np.random.Generator) -> None:
    listed = random_trees(rng, columns=2, trees=3, depth=2)
    with pytest.raises(MethodRefusedError, match="does not add up"):
        read_ensemble(read_graph(regressor(listed, aggregate=aggregate)).nodes[0])


def test_a_score_computed_after_the_trees_is_not_theirs(rng: np.random.Generator) -> None:
    model = onnx.load_model_from_string(regressor(random_trees(rng, columns=2, trees=2, depth=2)))
    model.graph.node[0].output[0] = "raw"
    model.graph.node.append(helper.make_node("Exp", ["raw"], ["scores"]))
    plan = choose(
        model.SerializeToString(),
        slots=(Slot("X", 0), Slot("X", 1)),
        score_outputs=("scores",),
        targets=(0,),
        n_scores=1,
    )
    assert plan.method == "black box"
    assert "computed after the ensemble" in plan.reason


def test_a_multiplication_by_one_is_a_copy(rng: np.random.Generator) -> None:
    """LightGBM's converter writes it; by two it is another score (the near-miss)."""
    data = classifier(random_trees(rng, columns=2, trees=2, depth=2))
    for factor, method in ((1.0, "tree tables"), (2.0, "sum of parts")):
        model = onnx.load_model_from_string(data)
        model.graph.node[0].output[1] = "raw"
        model.graph.initializer.append(
            helper.make_tensor("factor", TensorProto.FLOAT, [], [factor])
        )
        model.graph.node.append(helper.make_node("Mul", ["raw", "factor"], ["scores"]))
        plan = choose(
            model.SerializeToString(),
            slots=(Slot("X", 0), Slot("X", 1)),
            score_outputs=("scores",),
            targets=(1,),
            n_scores=2,
        )
        assert (plan.method == "tree tables") == (method == "tree tables")


def test_an_empty_background_is_refused(rng: np.random.Generator) -> None:
    data = regressor(random_trees(rng, columns=2, trees=2, depth=2))
    plan = choose(
        data,
        slots=(Slot("X", 0), Slot("X", 1)),
        score_outputs=("scores",),
        targets=(0,),
        n_scores=1,
    )
    with pytest.raises(BackgroundError, match="rows"):
        plan.build(
            {"X": np.zeros((0, 2), np.float32)}, serve(data, ("scores",)), ExplainerSettings()
        )


def test_trees_that_the_graph_does_not_score_by_are_found_out(rng: np.random.Generator) -> None:
    """Serve another forest than was read: the outputs on the background differ."""
    one, other = (random_trees(rng, columns=2, trees=2, depth=2) for _ in range(2))
    data = regressor(one)
    slots = (Slot("X", 0), Slot("X", 1))
    plan = choose(data, slots=slots, score_outputs=("scores",), targets=(0,), n_scores=1)
    rows = random_rows(rng, 30, 2)
    run = serve(regressor(other), ("scores",))
    explainer = plan.build({"X": rows}, run, ExplainerSettings())
    assert explainer.method != plan.method
    assert "differ from the graph's own output" in explainer.reason


@pytest.mark.parametrize("name", ORACLES)
def test_columns_are_traced_to_the_fields_of_the_answer_key(name: str) -> None:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"no oracle set {name} beside the repository")
    meta = json.loads((folder / "meta.json").read_text())
    fields = [field["name"] for field in meta["fields"]]
    kinds = {field["name"]: field["type"] for field in meta["fields"]}
    with (folder / "background.csv").open(newline="") as file:
        line = next(csv.DictReader(file))
    typed = {k: v if kinds[k] == "string" else float(v or "nan") for k, v in line.items()}
    model = (folder / "model.onnx").read_bytes()
    slots = slots_of(feeds_of(model, [typed], fields), fields)
    graph = read_graph(model)
    reader = next(
        node
        for node in graph.nodes
        if is_tree_ensemble(node) or node.op in {"LinearClassifier", "MatMul"}
    )
    sources = trace_fields(graph, slots)[reader.inputs[0]]
    found = single_fields(sources, used=range(len(sources)), method="test")
    assert [fields[field] for field in found] == meta["encoded_to_field"]


def test_one_output_per_class_keeps_its_order(rng: np.random.Generator) -> None:
    """``score_columns``: score 0 of the card is the graph's second column."""
    data = classifier(random_trees(rng, columns=2, trees=3, depth=2))
    slots = (Slot("X", 0), Slot("X", 1))
    rows = random_rows(rng, 30, 2)
    plain = serve(data, ("scores",))

    def swapped(feeds: object) -> object:
        scores, taps = plain(feeds)  # type: ignore[arg-type]
        return scores[:, ::-1].copy(), taps

    plan = choose(
        data,
        slots=slots,
        score_outputs=("scores",),
        targets=(0,),
        n_scores=2,
        score_columns=(1, 0),
    )
    explainer = plan.build({"X": rows}, swapped, ExplainerSettings())  # type: ignore[arg-type]
    scores = plain({"X": rows[:1]})[0][0]
    explanation = explainer.explain({"X": rows[:1]}, scores[::-1].copy(), (), b"")
    assert explanation.outputs[0] == scores[1]


def test_refusals_carry_their_method() -> None:
    with pytest.raises(MethodRefusedError) as refused:
        plan_trees(_question_without_trees())
    assert refused.value.method == "tree tables"
    assert refused.value.reason == "the graph has no tree ensemble"


def _question_without_trees() -> Question:
    node = helper.make_node("Identity", ["X"], ["scores"])
    graph = helper.make_graph(
        [node],
        "none",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    return Question(
        graph=read_graph(model.SerializeToString()),
        slots=(Slot("X", 0),),
        score_outputs=("scores",),
        targets=(0,),
        n_scores=1,
        score_columns=(0,),
    )
