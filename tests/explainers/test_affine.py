"""Every operator rule reads what onnxruntime computes, or refuses and names the operator."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from explainers import exact
from explainers.affine import read_scores
from explainers.errors import MethodRefusedError
from explainers.explainer import ExplainerSettings, Feeds, Question, Run, Slot
from explainers.game import open_game
from explainers.graph import read_graph
from explainers.sums import plan_sums
from tests.explainers.served import serve

ML = "ai.onnx.ml"
FIELDS = 4
node = helper.make_node


def graph_of(nodes: list[onnx.NodeProto], rng: np.random.Generator) -> bytes:
    constants: dict[str, NDArray[Any]] = {
        "w1": rng.normal(size=(FIELDS, 1)).astype(np.float32),
        "w3": rng.normal(size=(FIELDS, 3)).astype(np.float32),
        "mix": rng.normal(size=(3, 2)).astype(np.float32),
        "flat": rng.normal(size=FIELDS).astype(np.float32),
        "three": np.array([0.5, -1.5, 2.0], dtype=np.float32),
        "positive": np.array([0.5, 1.5, 2.0], dtype=np.float32),
        "one": np.array([1.0], dtype=np.float32),
        "half": np.array(0.5, dtype=np.float32),
        "half64": np.array(0.5, dtype=np.float64),
        "zero_index": np.array([0], dtype=np.int64),
        "one_index": np.array([1], dtype=np.int64),
        "two_index": np.array([2], dtype=np.int64),
        "column": np.array([-1, 1], dtype=np.int64),
        "layer": np.array([1, -1, 3], dtype=np.int64),
    }
    read = {name for n in nodes for name in n.input}
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, FIELDS])],
        [onnx.ValueInfoProto(name="scores")],
        [onnx.numpy_helper.from_array(v, name) for name, v in constants.items() if name in read],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(ML, 3)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return bytes(made.SerializeToString())


def ask(model: bytes, n_scores: int) -> Question:
    return Question(
        graph=read_graph(model),
        slots=tuple(Slot("X", column) for column in range(FIELDS)),
        score_outputs=("scores",),
        targets=tuple(range(n_scores)),
        n_scores=n_scores,
        score_columns=tuple(range(n_scores)),
    )


def on_margins(run: Run, link: str) -> Run:
    """Return the run with its scores turned back into margins."""

    def unlinked(feeds: Feeds) -> tuple[NDArray[Any], tuple[NDArray[Any], ...]]:
        scores = np.asarray(run(feeds)[0], dtype=np.float64)
        if link == "softmax":
            logarithms = np.log(scores)
            return logarithms - logarithms.mean(axis=1, keepdims=True), ()
        return (np.log(scores / (1 - scores)) if link == "logistic" else scores), ()

    return unlinked


def linear(op: str = "LinearClassifier", rows: int = 2, **attributes: Any) -> onnx.NodeProto:
    coefficients = np.sin(np.arange(1, rows * FIELDS + 1)).tolist()
    intercepts = np.cos(np.arange(rows)).tolist()
    if op == "LinearRegressor":
        return node(
            op,
            ["X"],
            ["z"],
            domain=ML,
            coefficients=coefficients,
            intercepts=intercepts,
            targets=rows,
            **attributes,
        )
    return node(
        op,
        ["X"],
        ["label", "z"],
        domain=ML,
        coefficients=coefficients,
        intercepts=intercepts,
        classlabels_ints=list(range(max(rows, 2))),
        **attributes,
    )


Z1 = node("MatMul", ["X", "w1"], ["z"])
Z3 = node("MatMul", ["X", "w3"], ["z"])
P = node("Sigmoid", ["z"], ["p"])

NORMALIZED = ["three", "three", "three", "positive"]
READABLE: dict[str, tuple[list[onnx.NodeProto], str]] = {
    "sums normalised as in training": (
        [
            Z3,
            node("BatchNormalization", ["z", *NORMALIZED], ["n"], epsilon=0.01),
            node("Softmax", ["n"], ["scores"], axis=1),
        ],
        "softmax",
    ),
    "mean and difference": (
        [
            Z1,
            node("Mul", ["z", "half"], ["a"]),
            node("Neg", ["a"], ["b"]),
            node("Mean", ["z", "b", "one"], ["m"]),
            node("Sub", ["m", "a"], ["scores"]),
        ],
        "identity",
    ),
    "columns taken and summed": (
        [
            Z3,
            node("Split", ["z"], ["s0", "s1", "s2"], axis=1),
            node("Gather", ["z", "two_index"], ["g"], axis=1),
            node("Slice", ["z", "zero_index", "one_index", "one_index"], ["t"]),
            node("Sum", ["s1", "g", "t"], ["u"]),
            node("Div", ["u", "half"], ["scores"]),
        ],
        "identity",
    ),
    "sum over columns": (
        [
            Z3,
            node("Mul", ["z", "three"], ["m"]),
            node("ReduceSum", ["m", "one_index"], ["scores"], keepdims=1),
        ],
        "identity",
    ),
    "mean over columns": ([Z3, node("ReduceMean", ["z"], ["scores"], axes=[1])], "identity"),
    "mean over a stack of layers": (
        [
            Z3,
            node("Neg", ["z"], ["n"]),
            node("Mul", ["n", "three"], ["m"]),
            node("Reshape", ["z", "layer"], ["a"]),
            node("Reshape", ["m", "layer"], ["b"]),
            node("Concat", ["a", "b"], ["stack"], axis=0),
            node("ReduceMean", ["stack"], ["scores"], axes=[0], keepdims=0),
        ],
        "identity",
    ),
    "sum over a stack of layers": (
        [
            Z3,
            node("Unsqueeze", ["z", "zero_index"], ["a"]),
            node("Concat", ["a", "a"], ["stack"], axis=0),
            node("ReduceSum", ["stack", "zero_index"], ["scores"], keepdims=0),
        ],
        "identity",
    ),
    "a product with a vector": (
        [
            node("MatMul", ["X", "flat"], ["z"]),
            node("Reshape", ["z", "column"], ["scores"]),
        ],
        "identity",
    ),
    "two layers without activation": (
        [Z3, node("Gemm", ["z", "mix"], ["scores"], alpha=0.5)],
        "identity",
    ),
    "double arithmetic": (
        [
            Z1,
            node("Cast", ["z"], ["d"], to=TensorProto.DOUBLE),
            node("Mul", ["d", "half64"], ["scores"]),
        ],
        "identity",
    ),
    "a regressor of two targets": (
        [linear("LinearRegressor"), node("Identity", ["z"], ["scores"])],
        "identity",
    ),
    "a classifier's margins": (
        [linear(), node("Identity", ["z"], ["scores"])],
        "identity",
    ),
    "both classes of a sigmoid, normalized": (
        [
            Z1,
            P,
            node("Sub", ["one", "p"], ["q"]),
            node("Concat", ["q", "p"], ["pair"], axis=1),
            node("Normalizer", ["pair"], ["scores"], domain=ML, norm="L1"),
        ],
        "logistic",
    ),
    "a logistic written out": (
        [
            Z1,
            node("Exp", ["z"], ["e"]),
            node("Add", ["one", "e"], ["d"]),
            node("Div", ["one", "d"], ["p"]),
            node("Sum", ["p"], ["s"]),
            node("Div", ["s", "one"], ["scores"]),
        ],
        "logistic",
    ),
    "a dropout of training": (
        [
            Z1,
            node("Dropout", ["z", "half"], ["kept"]),
            node("Sigmoid", ["kept"], ["scores"]),
        ],
        "logistic",
    ),
    "a logistic of its exponential": (
        [
            Z1,
            node("Exp", ["z"], ["e"]),
            node("Add", ["e", "one"], ["d"]),
            node("Div", ["e", "d"], ["scores"]),
        ],
        "logistic",
    ),
    "a logistic by its reciprocal": (
        [
            Z1,
            node("Exp", ["z"], ["e"]),
            node("Add", ["e", "one"], ["d"]),
            node("Reciprocal", ["d"], ["scores"]),
        ],
        "logistic",
    ),
    "a classifier's logistic": (
        [linear(rows=1, post_transform="LOGISTIC"), node("Identity", ["z"], ["scores"])],
        "logistic",
    ),
    "a logistic times the identity": (
        [linear(rows=3, post_transform="LOGISTIC"), node("Identity", ["z"], ["scores"])],
        "logistic",
    ),
    "softmax": ([Z3, node("Softmax", ["z"], ["scores"], axis=1)], "softmax"),
    "a softmax written out": (
        [
            Z3,
            node("Exp", ["z"], ["e"]),
            node("ReduceSum", ["e", "one_index"], ["total"]),
            node("Div", ["e", "total"], ["scores"]),
        ],
        "softmax",
    ),
    "a softmax written out, less the greatest": (
        [
            Z3,
            node("ReduceMax", ["z"], ["most"], axes=[1]),
            node("Sub", ["z", "most"], ["below"]),
            node("Exp", ["below"], ["e"]),
            node("ReduceSum", ["e", "one_index"], ["total"]),
            node("Div", ["e", "total"], ["scores"]),
        ],
        "softmax",
    ),
    "a softmax of logarithms": (
        [
            Z3,
            node("ReduceLogSumExp", ["z"], ["total"], axes=[1], keepdims=0),
            node("Reshape", ["total", "column"], ["totals"]),
            node("Sub", ["z", "totals"], ["l"]),
            node("Exp", ["l"], ["scores"]),
        ],
        "softmax",
    ),
    "a softmax from its logarithm": (
        [Z3, node("LogSoftmax", ["z"], ["l"], axis=1), node("Exp", ["l"], ["scores"])],
        "softmax",
    ),
    "both classes over their own sum": (
        [
            Z1,
            node("Neg", ["z"], ["n"]),
            node("Concat", ["n", "z"], ["both"], axis=1),
            node("Sigmoid", ["both"], ["p"]),
            node("Abs", ["p"], ["a"]),
            node("ReduceSum", ["a", "one_index"], ["total"]),
            node("Div", ["p", "total"], ["scores"]),
        ],
        "logistic",
    ),
    "weights made of constants": (
        [
            node("Transpose", ["w3"], ["turned"], perm=[1, 0]),
            node("Exp", ["turned"], ["grown"]),
            node("Div", ["grown", "half"], ["weights"]),
            node("Gemm", ["X", "weights"], ["z"], transB=1),
            node("ReduceSum", ["w3", "zero_index"], ["shift"], keepdims=0),
            node("Add", ["z", "shift"], ["scores"]),
        ],
        "identity",
    ),
    "a softmax, normalized": (
        [
            linear(rows=3, post_transform="SOFTMAX"),
            node("LpNormalization", ["z"], ["scores"], axis=1, p=1),
        ],
        "softmax",
    ),
}


@pytest.mark.parametrize("name", READABLE)
def test_readable_graphs_agree_with_running_them(name: str, rng: np.random.Generator) -> None:
    """The oracle knows nothing of operators: it runs every coalition through onnxruntime."""
    nodes, link = READABLE[name]
    model = graph_of(nodes, rng)
    background = {"X": rng.normal(size=(15, FIELDS)).astype(np.float32)}
    run = serve(model, ("scores",))
    n_scores = run(background)[0].shape[1]
    question = ask(model, n_scores)
    assert read_scores(question, method="test").link == link
    plan = plan_sums(question)
    explainer = plan.build(background, serve(model, ("scores",), plan.taps), ExplainerSettings())
    case = {"X": rng.normal(size=(1, FIELDS)).astype(np.float32)}
    scores, taps = serve(model, ("scores",), plan.taps)(case)
    found = explainer.explain(case, scores[0], taps, b"")
    assert found.residual <= 1e-6 * max(1.0, np.abs(found.outputs).max())
    margins = on_margins(run, link)
    game = open_game(
        background,
        margins,
        ExplainerSettings(tolerance=1e-4),
        slots=question.slots,
        targets=question.targets,
    )
    oracle = exact.build(game, "").explain(case, margins(case)[0][0], (), b"")
    contributions, bases = found.contributions, found.terms.base_values
    if link == "softmax":  # what all classes share is nobody's
        contributions, bases = contributions - contributions.mean(axis=0), bases - bases.mean()
    np.testing.assert_allclose(contributions, oracle.contributions, rtol=0, atol=2e-5)
    np.testing.assert_allclose(bases, oracle.terms.base_values, rtol=0, atol=2e-5)


REFUSED: dict[str, tuple[list[onnx.NodeProto], int, str]] = {
    "probit": (
        [linear(post_transform="PROBIT"), node("Identity", ["z"], ["scores"])],
        2,
        "probit is not explained",
    ),
    "probit of one row": (
        [linear(rows=1, post_transform="PROBIT"), node("Identity", ["z"], ["scores"])],
        2,
        "probit is not explained",
    ),
    "a regressor's softmax": (
        [
            linear("LinearRegressor", post_transform="SOFTMAX"),
            node("Identity", ["z"], ["scores"]),
        ],
        2,
        "LinearRegressor with softmax",
    ),
    "softmax over rows": ([Z3, node("Softmax", ["z"], ["scores"], axis=0)], 3, "stops at Softmax"),
    "sums normalised by the other rows": (
        [
            Z3,
            node("BatchNormalization", ["z", *NORMALIZED], ["scores", "m", "v"], training_mode=1),
        ],
        3,
        "BatchNormalization mixes",
    ),
    "sum over rows": (
        [Z3, node("ReduceSum", ["z", "zero_index"], ["scores"], keepdims=1)],
        3,
        "stops at ReduceSum",
    ),
    "normalized logistics": (
        [
            linear(rows=3, post_transform="LOGISTIC"),
            node("Normalizer", ["z"], ["scores"], domain=ML, norm="L1"),
        ],
        3,
        "Normalizer of logistic terms",
    ),
    "euclidean length": (
        [Z3, node("Normalizer", ["z"], ["scores"], domain=ML, norm="L2")],
        3,
        "Normalizer",
    ),
    "a sigmoid of a sigmoid": (
        [Z1, P, node("Sigmoid", ["p"], ["scores"])],
        1,
        "Sigmoid of logistic",
    ),
    "a linear model of a sigmoid": (
        [Z3, node("Sigmoid", ["z"], ["p"]), node("MatMul", ["p", "mix"], ["scores"])],
        2,
        "MatMul of logistic terms",
    ),
    "different links": (
        [Z1, P, node("Concat", ["z", "p"], ["scores"], axis=1)],
        2,
        "different links",
    ),
    "two softmaxes": (
        [
            Z3,
            node("Softmax", ["z"], ["a"], axis=1),
            node("Neg", ["z"], ["n"]),
            node("Softmax", ["n"], ["b"], axis=1),
            node("Concat", ["a", "b"], ["scores"], axis=1),
        ],
        6,
        "softmax of several sums",
    ),
    "exponentials over those of others": (
        [
            Z3,
            node("Exp", ["z"], ["e"]),
            node("Neg", ["z"], ["n"]),
            node("Exp", ["n"], ["f"]),
            node("ReduceSum", ["f", "one_index"], ["total"]),
            node("Div", ["e", "total"], ["scores"]),
        ],
        3,
        "Div of exp and sum_of_exp",
    ),
    "a sum of some classes": (
        [
            Z3,
            node("Softmax", ["z"], ["p"], axis=1),
            node("Gather", ["p", "zero_index"], ["g"], axis=1),
            node("ReduceSum", ["g", "one_index"], ["t"]),
            node("Div", ["p", "t"], ["scores"]),
        ],
        3,
        "Div of softmax terms",
    ),
    "an absolute sum": ([Z1, node("Abs", ["z"], ["scores"])], 1, "Abs mixes 4 fields"),
    "an absolute exponential": (
        [Z1, node("Exp", ["z"], ["e"]), node("Abs", ["e"], ["scores"])],
        1,
        "Abs of exp",
    ),
    "the greatest of probabilities": (
        [Z3, node("Sigmoid", ["z"], ["p"]), node("ReduceMax", ["p"], ["scores"], axes=[1])],
        1,
        "ReduceMax of logistic",
    ),
    "absolute values, summed": (
        [Z3, node("ReduceL1", ["z"], ["scores"], axes=[1])],
        1,
        "ReduceL1 of terms",
    ),
    "a logarithmic link": (
        [Z1, node("Exp", ["z"], ["e"]), node("Add", ["e", "one"], ["scores"])],
        1,
        r"the scores are 1\+exp of a sum, which is no link",
    ),
    "an exponential less one": (
        [Z1, node("Exp", ["z"], ["e"]), node("Sub", ["e", "one"], ["scores"])],
        1,
        "Sub of exp terms",
    ),
    "a reciprocal": (
        [Z1, node("Reciprocal", ["z"], ["scores"])],
        1,
        "Reciprocal mixes",
    ),
    "an exponential of a probability": (
        [Z1, P, node("Exp", ["p"], ["scores"])],
        1,
        "Exp of logistic",
    ),
    "a ratio of sums": ([Z3, node("Div", ["z", "z"], ["scores"])], 3, "Div of terms"),
    "a scaled logistic": ([Z1, P, node("Neg", ["p"], ["scores"])], 1, "Neg of logistic"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_graphs_are_refused_and_the_operator_is_named(
    name: str, rng: np.random.Generator
) -> None:
    nodes, n_scores, reason = REFUSED[name]
    with pytest.raises(MethodRefusedError, match=reason):
        plan_sums(ask(graph_of(nodes, rng), n_scores))


def test_one_output_for_each_class_is_read_output_by_output(rng: np.random.Generator) -> None:
    nodes = [
        Z1,
        P,
        node("Sub", ["one", "p"], ["q"]),
        node("Concat", ["q", "p"], ["scores"], axis=1),
    ]
    model = graph_of(nodes, rng)
    both = read_scores(ask(model, 2), method="test")
    apart = replace(ask(model, 2), score_outputs=("q", "p"))
    assert read_scores(apart, method="test") == both
    swapped = replace(ask(model, 2), score_columns=(1, 0))
    assert read_scores(swapped, method="test").margins == both.margins[::-1]


def test_a_score_column_that_is_not_there_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(MethodRefusedError, match="score 1"):
        plan_sums(ask(graph_of([Z1, node("Identity", ["z"], ["scores"])], rng), 2))


def test_a_sum_may_be_a_chain_of_a_thousand_operators(rng: np.random.Generator) -> None:
    names = ["z", *(f"t{i}" for i in range(1000))]
    chain = [node("Add", [a, "half"], [b]) for a, b in pairwise(names)]
    model = graph_of([Z1, *chain, node("Identity", [names[-1]], ["scores"])], rng)
    reading = read_scores(ask(model, 1), method="test")
    assert reading.margins[0].constant == 500.0
    assert len(reading.margins[0].weights) == FIELDS


def test_only_what_the_score_needs_is_read(rng: np.random.Generator) -> None:
    """A hidden layer is met, named, and not read through."""
    nodes = [
        Z3,
        node("Relu", ["z"], ["r"]),
        node("MatMul", ["r", "mix"], ["scores"]),
    ]
    with pytest.raises(MethodRefusedError, match="Relu mixes 4 fields"):
        read_scores(ask(graph_of(nodes, rng), 2), method="test")
