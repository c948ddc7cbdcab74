"""Each graph gets the method that fits it, and says why."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from explainers import exact
from explainers.choose import choose
from explainers.errors import GraphError
from explainers.explainer import ExplainerSettings, Feeds, Slot
from explainers.folding import fold
from explainers.game import open_game
from explainers.graph import read_graph
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


def test_a_method_that_needs_inner_tensors_is_left_out_where_there_are_none() -> None:
    model = small([helper.make_node("Tanh", ["X"], ["h"])], {})
    asked: dict[str, Any] = {
        "slots": tuple(Slot("X", column) for column in range(3)),
        "score_outputs": ("scores",),
        "targets": (0,),
        "n_scores": 1,
    }
    assert choose(model.SerializeToString(), **asked).taps
    plan = choose(model.SerializeToString(), **asked, untapped_because="bits would change")
    assert (plan.method, plan.taps) == ("black box", ())
    assert "linear does not fit: bits would change" in plan.reason


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


def small(
    nodes: list[onnx.NodeProto],
    constants: dict[str, object],
    functions: tuple[onnx.FunctionProto, ...] = (),
) -> onnx.ModelProto:
    """Return the sigmoid of the sum of ``h``'s columns, h made of X by ``nodes``."""
    graph = helper.make_graph(
        [
            *nodes,
            helper.make_node("ReduceSum", ["h", "axis"], ["z"], keepdims=1),
            helper.make_node("Sigmoid", ["z"], ["scores"]),
        ],
        "small",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 1])],
        [
            onnx.numpy_helper.from_array(np.array(value), name)
            for name, value in ({"axis": [1]} | constants).items()
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=8)


def single(values: object) -> object:
    return np.array(values, np.float32)


def explained(
    model: onnx.ModelProto, rows: int, rng: np.random.Generator, *, finite: bool = False
) -> tuple[str, float]:
    """Return the method, and how far its contributions are from enumeration on the margin."""
    data = model.SerializeToString()
    slots = tuple(Slot("X", column, always_finite=finite) for column in range(3))
    plan = choose(data, slots=slots, score_outputs=("scores",), targets=(0,), n_scores=1)
    served = serve(data, ("scores",), plan.taps)

    def run(feeds: Feeds) -> tuple[NDArray[Any], tuple[NDArray[Any], ...]]:
        # Rows alone: some of these graphs look at the rows beside.
        found = [served(row(feeds, index)) for index in range(len(feeds["X"]))]
        taps = zip(*(taps for _, taps in found), strict=True)
        return np.concatenate([scores for scores, _ in found]), tuple(map(np.concatenate, taps))

    background = {"X": rng.normal(size=(rows, 3)).astype(np.float32)}
    explainer = plan.build(background, run, ExplainerSettings())

    def own(feeds: Feeds) -> tuple[NDArray[Any], tuple[NDArray[Any], ...]]:
        scores = run(feeds)[0].astype(np.float64)
        return (np.log(scores / (1 - scores)) if explainer.link == "logistic" else scores), ()

    game = open_game(background, own, ExplainerSettings(tolerance=1e-4), slots=slots, targets=(0,))
    case = {"X": rng.normal(size=(1, 3)).astype(np.float32)}
    scores, taps = run(case)
    found = explainer.explain(case, scores[0], taps, b"").contributions
    want = exact.build(game, "").explain(case, own(case)[0][0], (), b"").contributions
    return explainer.method, float(np.abs(found - want).max())


@pytest.mark.parametrize("name", ["Identity", "Relu", "Concat"])
def test_a_function_of_the_file_is_not_taken_for_the_operator_of_its_name(
    name: str, rng: np.random.Generator
) -> None:
    """One background row cannot disprove that its columns stay where they were."""
    turned = helper.make_function(
        "own",
        name,
        ["a"],
        ["o"],
        [
            helper.make_node("Constant", [], ["places"], value_ints=[1, 2, 0]),
            helper.make_node("Gather", ["a", "places"], ["o"], axis=1),
        ],
        [helper.make_opsetid("", 17)],
    )
    nodes = [
        helper.make_node(name, ["X"], ["t"], domain="own"),
        helper.make_node("Mul", ["t", "w"], ["h"]),
    ]
    model = small(nodes, {"w": single([[1.0, -2.0, 0.5]])}, (turned,))
    method, apart = explained(model, 1, rng)
    assert (method, apart < 1e-12) == ("exact enumeration", True)


LIMITED = [
    helper.make_node("Gather", ["X", "first"], ["a"], axis=1),
    helper.make_node("Gather", ["X", "second"], ["b"], axis=1),
]


@pytest.mark.parametrize(
    "nodes",
    [
        [
            *LIMITED,
            helper.make_node("Squeeze", ["b"], ["most"]),
            helper.make_node("Clip", ["a", "", "most"], ["h"]),
        ],
        [*LIMITED, helper.make_node("Gemm", ["a", "w", "b"], ["h"])],
    ],
    ids=["a limit", "an offset"],
)
def test_a_field_that_comes_in_beside_the_first_input_is_seen(
    nodes: list[onnx.NodeProto], rng: np.random.Generator
) -> None:
    constants = {"first": [0], "second": [1], "w": single([[2.0]])}
    method, apart = explained(small(nodes, constants), 1, rng)
    assert (method, apart < 1e-12) == ("exact enumeration", True)


def test_columns_of_one_field_are_traced_through_powers_and_tables(
    rng: np.random.Generator,
) -> None:
    nodes = [
        *LIMITED,
        helper.make_node("Gather", ["X", "twice"], ["pair"], axis=1),
        helper.make_node("ReduceProd", ["pair"], ["square"], axes=[1]),
        helper.make_node("Greater", ["b", "limits"], ["over"]),
        helper.make_node("Cast", ["over"], ["step"], to=TensorProto.FLOAT),
        helper.make_node("ArgMax", ["step"], ["place"], axis=1),
        helper.make_node("Gather", ["table", "place"], ["rows"], axis=0),
        helper.make_node("Reshape", ["rows", "flat"], ["looked_up"]),
        helper.make_node("OneHot", ["place", "depth", "off_on"], ["hot"]),
        helper.make_node("Reshape", ["hot", "flat"], ["of_place"]),
        helper.make_node("GatherND", ["bins", "place"], ["binned"]),
        helper.make_node("Concat", ["square", "looked_up", "of_place", "binned"], ["all"], axis=1),
        helper.make_node("Mul", ["all", "w"], ["h"]),
    ]
    constants = {
        "first": [0],
        "second": [1],
        "twice": [0, 0],
        "limits": single([[-0.5, 0.0, 0.5]]),
        "table": single([[0.1, 0.2], [0.5, -1.0], [0.3, 0.4]]),
        "flat": np.array([0, -1]),
        "depth": np.array(3),
        "off_on": single([0.0, 1.0]),
        "bins": single([[0.25], [-0.75], [1.5]]),
        "w": single([[1.0, -2.0, 0.5, 0.25, 0.75, 1.5, -1.25]]),
    }
    method, apart = explained(small(nodes, constants), 20, rng)
    assert (method, apart < 5e-6) == ("linear", True)


OWN_COLUMN: dict[str, dict[str, Any]] = {
    "Atan": {},
    "BatchNormalization": {"epsilon": 0.1},
    "Celu": {"alpha": 0.5},
    "Cos": {},
    "Elu": {},
    "HardSigmoid": {},
    "HardSwish": {},
    "LeakyRelu": {"alpha": 0.3},
    "PRelu": {},
    "Selu": {},
    "Sin": {},
    "ThresholdedRelu": {"alpha": 0.2},
}


@pytest.mark.parametrize("name", OWN_COLUMN)
def test_an_operator_on_each_column_alone_keeps_its_field(
    name: str, rng: np.random.Generator
) -> None:
    beside = {"BatchNormalization": ["u", "u", "u", "v"], "PRelu": ["w"]}.get(name, [])
    nodes = [helper.make_node(name, ["X", *beside], ["h"], **OWN_COLUMN[name])]
    constants = {
        "u": single([0.5, -0.4, 0.3]),
        "v": single([0.5, 1.0, 2.0]),
        "w": single([1.0, -2.0, 0.5]),
    }
    method, apart = explained(small(nodes, constants), 20, rng)
    assert (method, apart < 5e-6) == ("linear", True)


IMPUTER = helper.make_node(
    "Imputer",
    ["X"],
    ["filled"],
    domain="ai.onnx.ml",
    imputed_value_floats=[0.5],
    replaced_value_float=float("nan"),
)


@pytest.mark.parametrize(
    ("source", "finite", "want"),
    [
        ("X", True, "linear"),
        ("X", False, "exact enumeration"),
        ("filled", False, "linear"),
        ("zeros filled", False, "exact enumeration"),
    ],
)
@pytest.mark.parametrize("factors", [["a", "none"], ["none", "a"]])
def test_a_number_times_zero_is_no_field_unless_it_may_be_missing(
    factors: list[str], source: str, finite: bool, want: str, rng: np.random.Generator
) -> None:
    """So the bins of other fields are converted; a missing value would be in all of them."""
    of_zeros = onnx.NodeProto()
    of_zeros.CopyFrom(IMPUTER)
    of_zeros.output[0] = "zeros filled"
    of_zeros.attribute[1].f = 0.0
    nodes = [
        IMPUTER,
        of_zeros,
        helper.make_node("Gather", [source, "first"], ["a"], axis=1),
        helper.make_node("Gather", [source, "second"], ["b"], axis=1),
        helper.make_node("Mul", factors, ["nothing"]),
        helper.make_node("Less", ["b", "limits"], ["under"]),
        helper.make_node("Cast", ["under"], ["step"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["nothing", "last"], ["end"]),
        helper.make_node("Concat", ["step", "end"], ["steps"], axis=1),
        helper.make_node("ArgMax", ["steps"], ["place"], axis=1),
        helper.make_node("OneHot", ["place", "depth", "off_on"], ["hot"]),
        helper.make_node("Reshape", ["hot", "flat"], ["bins"]),
        helper.make_node("Concat", ["bins", "a"], ["h"], axis=1),
    ]
    constants = {
        "first": [0],
        "second": [1],
        "none": single([0.0]),
        "last": single([1.0]),
        "limits": single([[-0.5, 0.5]]),
        "flat": np.array([0, -1]),
        "depth": np.array(3),
        "off_on": single([0.25, 1.0]),
    }
    method, apart = explained(small(nodes, constants), 20, rng, finite=finite)
    assert (method, apart < 5e-6) == (want, True)


@pytest.mark.parametrize(("start", "want"), [(None, "linear"), (1, "exact enumeration")])
def test_ones_beside_powers_are_of_no_field(
    start: int | None, want: str, rng: np.random.Generator
) -> None:
    """So PolynomialFeatures is converted; of a part of a shape nothing is said."""
    shape = helper.make_node("Shape", ["square"], ["shape"])
    if start is not None:
        shape.attribute.append(helper.make_attribute("start", start))
    one = onnx.numpy_helper.from_array(np.ones(1, np.float32))
    nodes = [
        helper.make_node("Gather", ["X", "first"], ["a"], axis=1),
        helper.make_node("Mul", ["a", "a"], ["square"]),
        shape,
        helper.make_node("ConstantOfShape", ["shape"], ["filled"], value=one),
        helper.make_node("Reshape", ["filled", "flat"], ["ones"]),
        helper.make_node("Concat", ["ones", "a", "square"], ["h"], axis=1),
    ]
    method, apart = explained(small(nodes, {"first": [0], "flat": [-1, 1]}), 20, rng)
    assert (method, apart < 5e-6) == (want, True)


def test_a_table_of_two_fields_is_one_of_both(rng: np.random.Generator) -> None:
    """What is looked up by the bins of two fields is no column of either."""
    nodes = [
        helper.make_node("Gather", ["X", "both"], ["pair"], axis=1),
        helper.make_node("Greater", ["pair", "zero"], ["over"]),
        helper.make_node("Cast", ["over"], ["place"], to=TensorProto.INT64),
        helper.make_node("GatherND", ["bins", "place"], ["h"]),
    ]
    constants = {
        "both": [0, 1],
        "zero": single([0.0]),
        "bins": single([[[0.25], [-0.75]], [[1.5], [-1.0]]]),
    }
    method, apart = explained(small(nodes, constants), 1, rng)
    assert (method, apart < 1e-12) == ("exact enumeration", True)


@pytest.mark.parametrize("axis", [0, 2])
def test_a_table_that_is_read_otherwise_is_not_traced(axis: int, rng: np.random.Generator) -> None:
    nodes = [
        helper.make_node("ArgMax", ["X"], ["place"], axis=0, keepdims=1),
        helper.make_node("Cast", ["place"], ["h"], to=TensorProto.FLOAT),
    ]
    hot = [
        helper.make_node("Cast", ["X"], ["whole"], to=TensorProto.INT64),
        helper.make_node("OneHot", ["whole", "depth", "off_on"], ["hot"], axis=1),
        helper.make_node("Reshape", ["hot", "flat"], ["h"]),
    ]
    constants = {"depth": np.array(2), "off_on": single([0.0, 1.0]), "flat": [-1, 6]}
    model = small(hot, constants) if axis else small(nodes, {})
    method, apart = explained(model, 1, rng)
    assert (method, apart < 1e-12) == ("exact enumeration", True)


@pytest.mark.parametrize("places", [[1, 5], [[0, 1], [2, 1]]], ids=["counted", "by dimension"])
def test_sparse_weights_are_read(places: list[object], rng: np.random.Generator) -> None:
    nodes = [helper.make_node("MatMul", ["X", "w"], ["h"])]
    model = small(nodes, {})
    weights = onnx.numpy_helper.from_array(np.array([2.0, -1.5], np.float32), "w")
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(
            weights, onnx.numpy_helper.from_array(np.array(places), "w_places"), [3, 2]
        )
    )
    method, apart = explained(model, 20, rng)
    assert (method, apart < 5e-6) == ("linear", True)


@pytest.mark.parametrize(
    ("places", "dims", "message"),
    [
        ([9], [3, 2], "places within"),
        ([[7, 0]], [3, 2], "places within"),
        ([0, 1], [3, 2], "one for"),
        ([0], [1 << 20, 1 << 20], "at most"),  # nobody makes a terabyte of a few bytes
        ([0], [-3, 2], "places within"),
    ],
)
def test_sparse_weights_out_of_place_are_refused(
    places: list[object], dims: list[int], message: str
) -> None:
    model = small([helper.make_node("MatMul", ["X", "w"], ["h"])], {})
    weights = onnx.numpy_helper.from_array(np.array([2.0], np.float32), "w")
    sparse = onnx.SparseTensorProto(values=weights, dims=dims)
    sparse.indices.CopyFrom(onnx.numpy_helper.from_array(np.array(places), "w_places"))
    model.graph.sparse_initializer.append(sparse)
    with pytest.raises(GraphError, match=message):
        read_graph(model.SerializeToString())


def test_what_numpy_cannot_make_of_constants_is_left_alone() -> None:
    """Whole numbers are divided otherwise, shapes do not fit, and nobody asks for a terabyte."""
    wide, high = np.ones((1, 100_000), np.float32), np.ones((100_000, 1), np.float32)
    assert fold("Mul", {}, [wide, high]) is None
    assert fold("Div", {}, [np.array([3]), np.array([2])]) is None
    assert fold("Add", {}, [wide, np.ones(3, np.float32)]) is None
    assert fold("Transpose", {"perm": (0, 3)}, [wide]) is None
    assert fold("Identity", {}, [np.array(["a"], dtype=object)]) is None


def test_a_target_that_is_no_score_is_refused(rng: np.random.Generator) -> None:
    data = classifier(random_trees(rng, columns=2, trees=1, depth=1))
    with pytest.raises(GraphError, match="target"):
        choose(data, slots=(), score_outputs=("scores",), targets=(2,), n_scores=2)
