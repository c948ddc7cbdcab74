"""Each graph gets the method that fits it, and says why."""

import csv
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from explainers.choose import choose
from explainers.errors import GraphError
from explainers.explainer import ExplainerSettings, Slot
from tests.explainers.ensembles import classifier, random_trees
from tests.explainers.served import SHARED, feeds_of, row, serve, slots_of

FOREIGN = SHARED.parent / "onnx"
METHODS = {
    "adult-lgbm": (("output_probability",), "tree tables"),
    "chicago-gbc": (("i0", "i1"), "tree tables"),
    "german-rf-ordinal": (("probabilities",), "tree tables"),
    "credit-xgb-tensor": (("probabilities",), "tree tables"),
    "law-logreg": (("output_probability",), "linear"),
    "compas-calibrated": (("probabilities",), "exact enumeration"),
    "dutch-mlp": (("probabilities",), "sampled"),
}


@pytest.mark.parametrize("name", METHODS)
def test_the_method_and_its_reason_are_stated(name: str) -> None:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"no oracle set {name} beside the repository")
    outputs, _ = METHODS[name]
    meta = json.loads((folder / "meta.json").read_text())
    kinds = {field["name"]: field["type"] for field in meta["fields"]}
    with (folder / "background.csv").open(newline="") as file:
        lines = [
            {k: v if kinds[k] == "string" else float(v or "nan") for k, v in line.items()}
            for line in csv.DictReader(file)
        ]
    model = (folder / "model.onnx").read_bytes()
    background = feeds_of(model, lines, list(kinds))
    slots = slots_of(background, list(kinds))
    plan = choose(model, slots=slots, score_outputs=outputs, targets=(1,), n_scores=2)
    run = serve(model, outputs, plan.taps)
    explainer = plan.build(background, run, ExplainerSettings())
    one = row(background, 0)
    scores, taps = run(one)
    explanation = explainer.explain(one, scores[0], taps, b"seed")
    assert explanation.terms.method == explainer.method
    assert len(explainer.reason) > 20
    if METHODS[name][1] in {"tree tables", "linear"}:
        assert explainer.method == METHODS[name][1]
    else:
        assert "tree tables does not fit" in explainer.reason


@pytest.mark.parametrize("folder", sorted(FOREIGN.glob("*")), ids=lambda path: path.name)
def test_foreign_graphs_are_explained(folder: Path) -> None:
    model = (folder / "model.onnx").read_bytes()
    graph = onnx.load_model_from_string(model).graph
    (name,) = [value.name for value in graph.input]
    kind = graph.input[0].type.tensor_type.elem_type
    declared = graph.input[0].type.tensor_type.shape.dim
    width = declared[1].dim_value or 20  # the one that declares none has 20
    rng = np.random.default_rng(1)
    rows = declared[0].dim_value or 40
    values = rng.normal(3, 3, (rows, width)).astype(helper.tensor_dtype_to_np_dtype(kind))
    output = graph.output[-1].name
    slots = tuple(Slot(name, column) for column in range(width))
    scores_of = serve(model, (output,))
    n_scores = scores_of({name: values})[0].shape[1]
    plan = choose(
        model,
        slots=slots,
        score_outputs=(output,),
        targets=tuple(range(n_scores)),
        n_scores=n_scores,
    )
    run = serve(model, (output,), plan.taps)
    explainer = plan.build({name: values}, run, ExplainerSettings())
    scores, taps = run({name: values})
    assert not taps
    for index in range(min(rows, 10)):
        # By position: a graph that declares six rows cannot be run on one.
        explainer.explain({name: values[index : index + 1]}, scores[index], (), b"")


def test_columns_that_mix_fields_make_a_black_box_that_says_so(rng: np.random.Generator) -> None:
    """A Normalizer divides every column by a norm of all: columns are no longer fields."""
    model = onnx.load_model_from_string(classifier(random_trees(rng, columns=3, trees=3, depth=2)))
    tree = model.graph.node[0]
    normalizer = helper.make_node("Normalizer", ["X"], ["Z"], domain="ai.onnx.ml", norm="L2")
    tree.input[0] = "Z"
    model.graph.node.insert(0, normalizer)
    data = model.SerializeToString()
    slots = tuple(Slot("X", column) for column in range(3))
    plan = choose(data, slots=slots, score_outputs=("scores",), targets=(1,), n_scores=2)
    assert plan.method == "black box"
    assert "several fields" in plan.reason
    run = serve(data, ("scores",), plan.taps)
    rows = rng.normal(size=(20, 3)).astype(np.float32)
    explainer = plan.build({"X": rows}, run, ExplainerSettings())
    assert "several fields" in explainer.reason


def test_columns_behind_an_operator_that_cannot_be_traced_make_a_black_box(
    rng: np.random.Generator,
) -> None:
    """CumSum is unknown to the walk, and no background can prove that a column has one field."""
    model = onnx.load_model_from_string(classifier(random_trees(rng, columns=3, trees=3, depth=2)))
    model.graph.initializer.append(helper.make_tensor("axis", TensorProto.INT64, [], [1]))
    model.graph.node[0].input[0] = "Z"
    model.graph.node.insert(0, helper.make_node("CumSum", ["X", "axis"], ["Z"]))
    data = model.SerializeToString()
    slots = tuple(Slot("X", column) for column in range(3))
    plan = choose(data, slots=slots, score_outputs=("scores",), targets=(1,), n_scores=2)
    assert plan.method == "black box"
    assert "cannot be traced" in plan.reason
    run = serve(data, ("scores",), plan.taps)
    rows = rng.normal(size=(20, 3)).astype(np.float32)
    explainer = plan.build({"X": rows}, run, ExplainerSettings())
    assert "cannot be traced" in explainer.reason
    scores, taps = run({"X": rows[:1]})
    explainer.explain({"X": rows[:1]}, scores[0], taps, b"")


def test_a_target_that_is_no_score_is_refused(rng: np.random.Generator) -> None:
    data = classifier(random_trees(rng, columns=2, trees=1, depth=1))
    with pytest.raises(GraphError, match="target"):
        choose(data, slots=(), score_outputs=("scores",), targets=(2,), n_scores=2)
