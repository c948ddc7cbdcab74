"""Small files that would hold the process that opens them, or end it, are refused on sight."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from models.bounds import MAX_CALLS, MAX_NODES, MAX_TREE_DEPTH
from models.errors import GraphRefusedError
from models.graph import read_graph
from tests.models.graphs import constant, logistic_model, tensor

OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]


def with_functions(*bodies: Sequence[str]) -> bytes:
    """Return a graph that calls ``f0``; ``bodies`` are the operators of ``f0``, ``f1`` and so on."""
    model = onnx.load_model_from_string(logistic_model())
    for number, body in enumerate(bodies):
        names = ["x", *(f"t{place}" for place in range(1, len(body))), "y"]
        nodes = [
            helper.make_node(op, [x], [y], domain="own" if op[0] == "f" else "")
            for op, x, y in zip(body, names, names[1:], strict=False)
        ]
        model.functions.append(
            helper.make_function("own", f"f{number}", ["x"], ["y"], nodes, OPSETS)
        )
    model.opset_import.append(OPSETS[1])
    model.graph.node.append(helper.make_node("f0", ["p"], ["q"], domain="own"))
    return bytes(model.SerializeToString())


def with_large_function(calls: int) -> bytes:
    """Return a graph that calls a function with a constant of 1 MB so often."""
    model = onnx.load_model_from_string(with_functions(["f1"] * calls, ["Abs"]))
    weights = helper.make_node(
        "Constant", [], ["w"], value=constant("w", [0.5] * 250_000, np.float32)
    )
    model.functions[1].node.append(weights)
    return bytes(model.SerializeToString())


def loop(turns: str, *inner: onnx.NodeProto, name: str = "on") -> onnx.NodeProto:
    body = helper.make_graph(
        [helper.make_node("Identity", [f"{name}_in"], [f"{name}_out"]), *inner],
        "body",
        [
            tensor(f"{name}_turn", TensorProto.INT64, []),
            tensor(f"{name}_in", TensorProto.BOOL, []),
        ],
        [tensor(f"{name}_out", TensorProto.BOOL, [])],
    )
    return helper.make_node("Loop", [turns, "always"], [], name=name, body=body)


def with_loop(node: onnx.NodeProto, *more: onnx.NodeProto, **turns: int) -> bytes:
    """Return a graph with a loop; ``turns`` are constants that it may read."""
    model = onnx.load_model_from_string(logistic_model())
    model.graph.initializer.append(constant("always", [True], np.bool_))
    for name, value in turns.items():
        model.graph.initializer.append(constant(name, [value], np.int64))
    model.graph.node.extend([*more, node])
    return bytes(model.SerializeToString())


COUNTED = helper.make_node("Size", ["x"], ["counted"])


def with_tree(true: Sequence[int], *, leaves: Sequence[int], version: int = 3) -> bytes:
    """Return a tree of one split after another: ``true`` says where each leads, and else to a leaf."""
    model = onnx.load_model_from_string(logistic_model())
    count, leaf = len(true), leaves[0]
    if version == 5:
        said: dict[str, Any] = {
            "nodes_truenodeids": [0 if at in leaves else at for at in true],
            "nodes_trueleafs": [int(at in leaves) for at in true],
            "nodes_falsenodeids": [0] * count,
            "nodes_falseleafs": [1] * count,
            "tree_roots": [0],
        }
        op = "TreeEnsemble"
    else:
        said = {
            "nodes_treeids": [7] * (count + 1),
            "nodes_nodeids": [*range(count), leaf],
            "nodes_truenodeids": [*true, 0],
            "nodes_falsenodeids": [leaf] * count + [0],
            "nodes_modes": ["BRANCH_LEQ"] * count + ["LEAF"],
        }
        op = "TreeEnsembleRegressor"
    node = helper.make_node(op, ["x"], ["margin_of_trees"], domain="ai.onnx.ml", **said)
    model.graph.node.append(node)
    return bytes(model.SerializeToString())


def chain(count: int, *, version: int = 3) -> bytes:
    return with_tree(range(1, count + 1), leaves=[count], version=version)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (with_loop(loop("")), "'on': got Loop, which may never end"),
        (with_loop(loop("counted"), COUNTED), "'on': got Loop, which may never end"),
        (with_loop(loop("counted"), COUNTED, counted=3), "'on': got Loop, which may never end"),
        (with_loop(loop("n"), n=MAX_NODES), f"more than {MAX_NODES}"),
        (with_loop(loop("n", loop("n", name="inner")), n=400), f"more than {MAX_NODES}"),
        (with_loop(loop("n", loop("on_turn", name="inner")), n=4), "'inner': got Loop, which may"),
        (with_functions(["f0"]), "one that calls itself"),
        (with_functions(["f1"], ["f0"]), "one that calls itself"),
        (with_functions(*[[f"f{n}"] for n in range(1, MAX_CALLS + 1)], ["Abs"]), "inside of one"),
        (with_functions(*[[f"f{n}"] * 2 for n in range(1, 30)], ["Abs"]), f"more than {MAX_NODES}"),
        (with_large_function(500), f"more than {MAX_NODES}"),
        (chain(MAX_TREE_DEPTH + 1), f"more than {MAX_TREE_DEPTH} nodes below"),
        (chain(MAX_TREE_DEPTH + 1, version=5), f"more than {MAX_TREE_DEPTH} nodes below"),
        (with_tree([1, 2, 0], leaves=[3]), "or a node below itself"),
        (with_tree([1, 2, 1], leaves=[3], version=5), "or a node below itself"),
    ],
    ids=[
        "loop", "counted", "twice", "long", "nested loops", "growing", "own call", "ring of calls", "nested", "doubled", "large", "deep", "deep 5", "ring", "ring 5",
    ],
)  # fmt: skip
def test_work_without_an_end_is_refused(model: bytes, message: str) -> None:
    with pytest.raises(GraphRefusedError) as caught:
        read_graph(model)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "model",
    [
        with_functions(*[[f"f{n}"] for n in range(1, MAX_CALLS)], ["Abs"]),
        with_functions(*[[f"f{n}"] * 2 for n in range(1, 10)], ["Abs"]),
        with_large_function(20),
        with_loop(loop("n"), n=1_000),
        with_loop(loop("n", loop("n", name="inner")), n=100),
        with_loop(loop("c"), helper.make_node("Constant", [], ["c"], value_int=9)),
        chain(MAX_TREE_DEPTH),
        chain(MAX_TREE_DEPTH, version=5),
        with_tree([2, 2, 3], leaves=[3]),  # two nodes with one child, as sets of categories have
    ],
    ids=[
        "nested",
        "doubled",
        "large",
        "loop",
        "nested loops",
        "constant",
        "deep",
        "deep 5",
        "shared",
    ],
)
def test_work_that_ends_is_not(model: bytes) -> None:
    assert read_graph(model).inputs
