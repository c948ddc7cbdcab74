"""Random tree ensembles written straight into ONNX: every mode, ties, missing-value tracks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

MODES = ("LEQ", "LT", "GTE", "GT", "EQ", "NEQ")
GRID = np.array([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
"""Few values, so that rows lie exactly on thresholds."""


@dataclass
class Listed:
    """The parallel lists of the opset 1-3 operators."""

    tree: list[int] = field(default_factory=list)
    node: list[int] = field(default_factory=list)
    column: list[int] = field(default_factory=list)
    mode: list[str] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    true: list[int] = field(default_factory=list)
    false: list[int] = field(default_factory=list)
    leaf_tree: list[int] = field(default_factory=list)
    leaf_node: list[int] = field(default_factory=list)
    leaf_target: list[int] = field(default_factory=list)
    leaf_weight: list[float] = field(default_factory=list)
    columns: int = 0


def random_trees(
    rng: np.random.Generator,
    *,
    columns: int,
    trees: int,
    depth: int,
    modes: tuple[str, ...] = MODES,
    targets: tuple[int, ...] = (0,),
    missing: bool = True,
    positive: bool = False,
    full: bool = False,
) -> Listed:
    """Return random trees; ``full`` ones have all their leaves at ``depth``."""
    listed = Listed(columns=columns)
    for tree in range(trees):
        count = 0
        frontier = [(0, 0)]
        count = 1
        while frontier:
            node, level = frontier.pop(0)
            leaf = level == depth or (not full and level > 0 and rng.random() < 0.25)
            listed.tree.append(tree)
            listed.node.append(node)
            listed.column.append(0 if leaf else int(rng.integers(columns)))
            listed.mode.append("LEAF" if leaf else f"BRANCH_{rng.choice(modes)}")
            listed.value.append(0.0 if leaf else float(rng.choice(GRID)))
            listed.missing.append(int(not leaf and missing and rng.random() < 0.4))
            if leaf:
                listed.true.append(0)
                listed.false.append(0)
                for target in targets:
                    weight = float(np.float32(rng.normal()))
                    listed.leaf_tree.append(tree)
                    listed.leaf_node.append(node)
                    listed.leaf_target.append(target)
                    listed.leaf_weight.append(abs(weight) / trees if positive else weight)
            else:
                listed.true.append(count)
                listed.false.append(count + 1)
                frontier += [(count, level + 1), (count + 1, level + 1)]
                count += 2
    return listed


def forest_of_stumps(rng: np.random.Generator, *, trees: int) -> Listed:
    """Return trees over 3 columns that vote with the same weight, which a float32 sum rounds alike."""
    listed = Listed(columns=3)
    for tree in range(trees):
        listed.tree += [tree] * 3
        listed.node += [0, 1, 2]
        listed.column += [int(rng.integers(3)), 0, 0]
        listed.mode += ["BRANCH_LEQ", "LEAF", "LEAF"]
        listed.value += [float(rng.choice(GRID)), 0.0, 0.0]
        listed.missing += [0, 0, 0]
        listed.true += [1, 0, 0]
        listed.false += [2, 0, 0]
        listed.leaf_tree += [tree] * 2
        listed.leaf_node += [1, 2]
        listed.leaf_target += [0] * 2
        listed.leaf_weight += [float(np.float32(vote / trees)) for vote in (0.2, 1.0)]
    return listed


def random_rows(
    rng: np.random.Generator, rows: int, columns: int, *, missing: bool = True
) -> NDArray[np.float32]:
    """Return rows on the grid, between it and beyond it, one value in ten missing."""
    on = rng.choice(GRID, (rows, columns))
    values = np.where(rng.random((rows, columns)) < 0.5, on, rng.normal(0, 1.5, (rows, columns)))
    if missing:
        values[rng.random((rows, columns)) < 0.1] = np.nan
    return values.astype(np.float32)


def classifier(
    listed: Listed,
    *,
    classes: int = 2,
    transform: str = "LOGISTIC",
    base: tuple[float, ...] = (),
    labels: str = "int64s",
) -> bytes:
    names: list[Any] = list(range(classes)) if labels == "int64s" else [*"abcdefgh"[:classes]]
    node = helper.make_node(
        "TreeEnsembleClassifier",
        ["X"],
        ["label", "scores"],
        domain="ai.onnx.ml",
        class_ids=listed.leaf_target,
        class_nodeids=listed.leaf_node,
        class_treeids=listed.leaf_tree,
        class_weights=listed.leaf_weight,
        post_transform=transform,
        **_nodes(listed, {f"classlabels_{labels}": names}, base),
    )
    label = helper.make_tensor_value_info(
        "label", TensorProto.INT64 if labels == "int64s" else TensorProto.STRING, [None]
    )
    return _model(node, listed.columns, classes, [label])


def regressor(
    listed: Listed,
    *,
    targets: int = 1,
    transform: str = "NONE",
    aggregate: str = "SUM",
    base: tuple[float, ...] = (),
    double: bool = False,
) -> bytes:
    nodes = _nodes(listed, {"target_weights": listed.leaf_weight}, base)
    if double:
        for name in ("nodes_values", "target_weights"):
            values = nodes.pop(name)
            nodes[f"{name}_as_tensor"] = helper.make_tensor(
                name, TensorProto.DOUBLE, [len(values)], values
            )
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["X"],
        ["scores"],
        domain="ai.onnx.ml",
        n_targets=targets,
        target_ids=listed.leaf_target,
        target_nodeids=listed.leaf_node,
        target_treeids=listed.leaf_tree,
        post_transform=transform,
        aggregate_function=aggregate,
        **nodes,
    )
    return _model(node, listed.columns, targets, [], double=double)


def _nodes(listed: Listed, extra: dict[str, Any], base: tuple[float, ...]) -> dict[str, Any]:
    return (
        extra
        | ({"base_values": base} if base else {})
        | {
            "nodes_treeids": listed.tree,
            "nodes_nodeids": listed.node,
            "nodes_featureids": listed.column,
            "nodes_modes": listed.mode,
            "nodes_values": listed.value,
            "nodes_missing_value_tracks_true": listed.missing,
            "nodes_truenodeids": listed.true,
            "nodes_falsenodeids": listed.false,
        }
    )


def opset5(
    rng: np.random.Generator,
    *,
    columns: int,
    trees: int,
    depth: int,
    targets: int = 1,
    double: bool = False,
    members: bool = True,
    aggregate: int = 1,
    transform: int = 0,
) -> bytes:
    """Return a TreeEnsemble with set membership among its modes."""
    modes: list[int] = []
    splits: list[float] = []
    column: list[int] = []
    missing: list[int] = []
    members_of: list[float] = []
    children: list[list[int]] = []
    leaf_target: list[int] = []
    leaf_weight: list[float] = []

    def grow(level: int) -> tuple[int, int]:
        """Return (is leaf, index) of a new subtree, nodes before their children."""
        if level == depth or (level > 0 and rng.random() < 0.2):
            leaf_target.append(int(rng.integers(targets)))
            leaf_weight.append(float(np.float32(rng.normal())))
            return 1, len(leaf_target) - 1
        index = len(modes)
        mode = int(rng.integers(7 if members else 6))
        modes.append(mode)
        splits.append(float(rng.choice(GRID)))
        column.append(int(rng.integers(columns)))
        missing.append(int(mode != 6 and rng.random() < 0.4))
        if mode == 6:
            # onnxruntime compares small sets exactly, and cuts fractions off for the others,
            # which it takes integers for only.
            pool = GRID[GRID >= 0] if rng.random() < 0.5 else GRID[np.trunc(GRID) == GRID]
            members_of.extend(rng.choice(pool, int(rng.integers(1, 4)), replace=False).tolist())
            members_of.append(float("nan"))
        children.append([])
        (true_leaf, true), (false_leaf, false) = grow(level + 1), grow(level + 1)
        children[index] = [true, true_leaf, false, false_leaf]
        return 0, index

    roots = [grow(0)[1] for _ in range(trees)]
    kind = TensorProto.DOUBLE if double else TensorProto.FLOAT
    extra = (
        {"membership_values": helper.make_tensor("m", kind, [len(members_of)], members_of)}
        if members_of
        else {}
    )
    node = helper.make_node(
        "TreeEnsemble",
        ["X"],
        ["scores"],
        domain="ai.onnx.ml",
        n_targets=targets,
        aggregate_function=aggregate,
        post_transform=transform,
        tree_roots=roots,
        nodes_modes=helper.make_tensor("modes", TensorProto.UINT8, [len(modes)], modes),
        nodes_splits=helper.make_tensor("splits", kind, [len(splits)], splits),
        nodes_featureids=column,
        nodes_missing_value_tracks_true=missing,
        nodes_truenodeids=[c[0] for c in children],
        nodes_trueleafs=[c[1] for c in children],
        nodes_falsenodeids=[c[2] for c in children],
        nodes_falseleafs=[c[3] for c in children],
        leaf_targetids=leaf_target,
        leaf_weights=helper.make_tensor("w", kind, [len(leaf_weight)], leaf_weight),
        **extra,
    )
    return _model(node, columns, targets, [], double=double, ml=5)


def _model(
    node: onnx.NodeProto,
    columns: int,
    outputs: int,
    before: list[onnx.ValueInfoProto],
    *,
    double: bool = False,
    ml: int = 3,
) -> bytes:
    kind = TensorProto.DOUBLE if double else TensorProto.FLOAT
    # The regressor's output is float32 even for doubles; TreeEnsemble keeps its input's type.
    out = kind if ml == 5 else TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "trees",
        [helper.make_tensor_value_info("X", kind, [None, columns])],
        [*before, helper.make_tensor_value_info("scores", out, [None, outputs])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", ml)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return bytes(model.SerializeToString())
