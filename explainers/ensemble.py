"""A tree ensemble as frozen arrays, read from the three ONNX operators that carry one.

Every tree's root is the first node listed for it and its thresholds keep the file's values, as in
onnxruntime (``core/providers/cpu/ml/tree_ensemble_common.h``). Set membership stays one node.
Source: ONNX operators ``ai.onnx.ml`` TreeEnsembleClassifier, TreeEnsembleRegressor (opsets 1-5),
TreeEnsemble (opset 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explainers.aggregation import (
    Aggregation,
    Reached,
    classifier_aggregation,
    regressor_aggregation,
)
from explainers.errors import GraphError, MethodRefusedError
from explainers.explanation import Matrix, Vector
from explainers.graph import ML_DOMAIN, Node

TREE_OPERATORS = ("TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble")


class Mode(IntEnum):
    """How a node compares its column with its value; the numbers are those of ml opset 5."""

    LEQ = 0
    LT = 1
    GTE = 2
    GT = 3
    EQ = 4
    NEQ = 5
    MEMBER = 6
    LEAF = 7


_MODES = {f"BRANCH_{mode.name}": int(mode) for mode in Mode if mode < Mode.MEMBER}
_MODES |= {"LEAF": int(Mode.LEAF)}
_AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
_NOT_ARRAYS = ("members", "exact_sets", "aggregation")
_TRANSFORMS = ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT")
"""By ml opset 5's number, as onnxruntime 1.32 reads it: the operator's text has 1 and 2 the other way."""


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Trees over encoded columns, n nodes of which L are leaves, R raw sums."""

    column: NDArray[np.int32]
    """(n,) the encoded column that a node reads; 0 at leaves."""
    mode: NDArray[np.int8]
    """(n,) a ``Mode``."""
    value: Vector
    """(n,) the threshold; unused at leaves and MEMBER nodes."""
    missing_true: NDArray[np.bool_]
    """(n,) whether NaN follows the true branch whatever the mode says."""
    true_child: NDArray[np.int32]
    """(n,) index of the node taken when the condition holds; -1 at leaves."""
    false_child: NDArray[np.int32]
    """(n,) index of the other node; -1 at leaves."""
    members: tuple[Vector, ...]
    """The value sets of the MEMBER nodes, in node order."""
    exact_sets: bool
    """Whether a value must equal a member; else onnxruntime may cut its fraction off first."""
    roots: NDArray[np.int32]
    """(trees,) index of each tree's first node."""
    leaf: NDArray[np.int32]
    """(n,) row of ``leaf_values``; -1 at inner nodes."""
    leaf_values: Matrix
    """(L, R) what a leaf adds to each raw sum."""
    listed_trees: NDArray[np.int32]
    """(L,) the tree of each leaf for a classifier, empty otherwise."""
    aggregation: Aggregation
    """From raw sums to margins and outputs."""

    @property
    def n_columns(self) -> int:
        """Number of encoded columns that the trees need at least."""
        inner = self.mode != Mode.LEAF
        return int(self.column[inner].max(initial=-1)) + 1

    def used_columns(self) -> NDArray[np.int64]:
        """Return the encoded columns that some node reads, ascending."""
        return np.unique(self.column[self.mode != Mode.LEAF]).astype(np.int64)


def is_tree_ensemble(node: Node) -> bool:
    """Return whether ``node`` carries a tree ensemble."""
    return node.domain == ML_DOMAIN and node.op in TREE_OPERATORS


def read_ensemble(node: Node) -> Ensemble:
    """Return the ensemble that ``node`` carries.

    Raises GraphError for identifiers or lengths that do not agree, shared nodes and cycles;
    MethodRefusedError for MIN and MAX, which do not add up over trees.
    """
    return _read_opset5(node) if node.op == "TreeEnsemble" else _read_listed(node)


def output_width(node: Node) -> int:
    """Return how many scores a tree ensemble writes per row."""
    if node.op != "TreeEnsembleClassifier":
        return node.integer("n_targets", 0)
    return max(len(node.sequence(f"classlabels_{kind}")) for kind in ("strings", "int64s"))


def truncates(ensemble: Ensemble, members: NDArray[Any]) -> bool:
    """Return whether onnxruntime cuts a value's fraction off before it looks it up in the set.

    It does when a member is negative or above 30 (observed in 1.32; small sets are exact), and
    never in a chain of equalities.
    """
    return not ensemble.exact_sets and bool(((members < 0) | (members >= 31)).any())


def _integers(node: Node, name: str, length: int | None = None) -> NDArray[np.int64]:
    values = np.asarray(node.sequence(name), dtype=np.int64).ravel()
    if length is not None and len(values) != length:
        raise GraphError(f"{node.op}.{name}", got=f"{len(values)} values", want=length)
    return values


def _numbers(node: Node, name: str, length: int | None = None) -> Vector:
    """Return a float list or its ``_as_tensor`` double variant as float64."""
    plain = np.asarray(node.sequence(name), dtype=np.float64).ravel()
    tensor = np.asarray(node.sequence(f"{name}_as_tensor"), dtype=np.float64).ravel()
    if len(plain) and len(tensor):
        raise GraphError(f"{node.op}.{name}", got="a list and a tensor", want="one of them")
    values = tensor if len(tensor) else plain
    if length is not None and len(values) != length:
        raise GraphError(f"{node.op}.{name}", got=f"{len(values)} values", want=length)
    return values


def _missing(node: Node, n: int) -> NDArray[np.bool_]:
    flags = _integers(node, "nodes_missing_value_tracks_true")
    if len(flags) not in (0, n):
        raise GraphError(f"{node.op}.nodes_missing_value_tracks_true", got=len(flags), want=n)
    return flags == 1 if len(flags) else np.zeros(n, dtype=np.bool_)


def _read_listed(node: Node) -> Ensemble:
    """Read the classifier and the regressor: nodes and weights as parallel lists."""
    classifier = node.op == "TreeEnsembleClassifier"
    prefix = "class" if classifier else "target"
    tree = _integers(node, "nodes_treeids")
    n = len(tree)
    names = node.sequence("nodes_modes")
    if len(names) != n or n == 0:
        raise GraphError(f"{node.op}.nodes_modes", got=len(names), want=max(n, 1))
    try:
        mode = np.array([_MODES[str(name)] for name in names], dtype=np.int8)
    except KeyError as err:
        raise GraphError(f"{node.op}.nodes_modes", got=err.args[0], want="a known mode") from err
    starts = np.flatnonzero(np.r_[True, tree[1:] != tree[:-1]])
    if len(np.unique(tree[starts])) != len(starts):
        raise GraphError(f"{node.op}.nodes_treeids", got="a split run", want="trees in one piece")
    index = _Index.of(node, tree, _integers(node, "nodes_nodeids", n))
    leaf = np.full(n, -1, dtype=np.int32)
    is_leaf = mode == Mode.LEAF
    leaf[is_leaf] = np.arange(int(is_leaf.sum()), dtype=np.int32)
    inner = np.flatnonzero(~is_leaf)
    children = []
    for name in ("nodes_truenodeids", "nodes_falsenodeids"):
        child = np.full(n, -1, dtype=np.int32)
        wanted = _integers(node, name, n)
        child[inner] = index.positions(tree[inner], wanted[inner], name)
        children.append(child)
    value, missing = _numbers(node, "nodes_values", n), _missing(node, n)
    column = _columns(node, n, is_leaf)
    members = _join_equalities(mode, column, value, missing, *children)

    n_raw = output_width(node)
    ids = _integers(node, f"{prefix}_ids")
    weights = _numbers(node, f"{prefix}_weights", len(ids))
    leaf_values, has = _leaf_values(node, prefix, index, leaf, ids, weights, n_raw)
    base = _numbers(node, "base_values")
    transform = node.text("post_transform", "NONE")
    tree_of_leaf = (np.searchsorted(starts, np.flatnonzero(is_leaf), side="right") - 1).astype(
        np.int32
    )
    reached = _reached(has, tree_of_leaf, len(starts))
    if classifier:
        aggregation = classifier_aggregation(
            base=base,
            transform=transform,
            reached=reached,
            all_positive=bool((weights >= 0).all()),
        )
    else:
        aggregation = regressor_aggregation(
            base=base,
            transform=transform,
            aggregate=node.text("aggregate_function", "SUM"),
            n_trees=len(starts),
            reached=reached,
        )
    return _checked(
        node,
        Ensemble(
            column=column,
            mode=mode,
            value=value,
            missing_true=missing,
            true_child=children[0],
            false_child=children[1],
            members=members,
            exact_sets=True,
            roots=starts.astype(np.int32),
            leaf=leaf,
            leaf_values=leaf_values,
            listed_trees=tree_of_leaf if classifier else np.zeros(0, np.int32),
            aggregation=aggregation,
        ),
    )


def _join_equalities(
    mode: NDArray[np.int8],
    column: NDArray[np.int32],
    value: Vector,
    missing: NDArray[np.bool_],
    true_child: NDArray[np.int32],
    false_child: NDArray[np.int32],
) -> tuple[Vector, ...]:
    """Make one MEMBER node of each chain of equalities with one and the same true child.

    So LightGBM's categories are converted, and onnxruntime accepts the shared child. The first node
    of a chain stands for all, in place; the others are not reached any more. Returns the sets.
    """
    parents = np.bincount(np.r_[true_child, false_child] + 1, minlength=len(mode) + 1)[1:]
    equal = (mode == Mode.EQ) & ~np.isnan(value)
    at = np.flatnonzero(equal)
    after = false_child[at]
    follows = equal[after] & (parents[after] == 1) & (after != at)
    follows &= (column[after] == column[at]) & (true_child[after] == true_child[at])
    # onnxruntime looks at the first node's flag only, where it joins such a chain itself.
    follows &= missing[after] == missing[at]
    following = dict(zip(at[follows].tolist(), after[follows].tolist(), strict=True))
    members = []
    for first in sorted(following.keys() - set(following.values())):
        chain = [first]
        while chain[-1] in following:
            chain.append(following[chain[-1]])
        members.append(value[chain])
        mode[first] = Mode.MEMBER
        false_child[first] = false_child[chain[-1]]
    return tuple(members)


def _reached(has: NDArray[np.bool_], tree_of_leaf: NDArray[np.int32], n_trees: int) -> Reached:
    """Return which sums are reached; ``has``, shape (L, R): the leaf has a weight for the sum."""
    always = np.ones((n_trees, has.shape[1]), dtype=np.bool_)
    np.logical_and.at(always, tree_of_leaf, has)
    ever: NDArray[np.bool_] = np.logical_or.reduce(has, axis=0)
    return Reached(ever=ever, always=np.logical_or.reduce(always, axis=0))


@dataclass(frozen=True, slots=True)
class _Index:
    """Where a node is listed, by tree and identifier."""

    op: str
    trees: NDArray[np.int64]
    keys: NDArray[np.int64]
    order: NDArray[np.int64]
    span: int

    @classmethod
    def of(cls, node: Node, tree: NDArray[np.int64], identifier: NDArray[np.int64]) -> _Index:
        if int(identifier.min()) < 0 or int(identifier.max()) >= 2**31:
            raise GraphError(
                f"{node.op}.nodes_nodeids", got=int(identifier.min()), want="0 or more"
            )
        trees, number = np.unique(tree, return_inverse=True)
        span = int(identifier.max()) + 1
        keys = number.astype(np.int64) * span + identifier
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        twice = np.flatnonzero(keys[1:] == keys[:-1])
        if len(twice):
            at = int(order[twice[0]])
            raise GraphError(
                f"{node.op} node {int(identifier[at])} of tree {int(tree[at])}",
                got="two",
                want="one",
            )
        return cls(node.op, trees, keys, order, span)

    def positions(
        self, tree: NDArray[np.int64], identifier: NDArray[np.int64], name: str
    ) -> NDArray[np.int64]:
        """Return where each node is listed; raise GraphError when one is not."""
        number = np.minimum(np.searchsorted(self.trees, tree), len(self.trees) - 1)
        key = number * self.span + identifier
        found = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
        good = (self.trees[number] == tree) & (self.keys[found] == key)
        good &= (identifier >= 0) & (identifier < self.span)
        if not good.all():
            at = int(np.argmin(good))
            raise GraphError(
                f"{self.op}.{name}",
                got=f"node {int(identifier[at])} of tree {int(tree[at])}",
                want="a node that is listed",
            )
        return self.order[found]


def _leaf_values(
    node: Node,
    prefix: str,
    index: _Index,
    leaf: NDArray[np.int32],
    ids: NDArray[np.int64],
    weights: Vector,
    n_raw: int,
) -> tuple[Matrix, NDArray[np.bool_]]:
    if n_raw < 1:
        raise GraphError(f"{node.op}: number of {prefix}s", got=n_raw, want="at least 1")
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < n_raw:
        raise GraphError(f"{node.op}.{prefix}_ids", got=int(ids.max()), want=f"0 to {n_raw - 1}")
    trees = _integers(node, f"{prefix}_treeids", len(ids))
    nodes = _integers(node, f"{prefix}_nodeids", len(ids))
    values = np.zeros((int((leaf >= 0).sum()), n_raw))
    has = np.zeros(values.shape, dtype=np.bool_)
    own = leaf[index.positions(trees, nodes, f"{prefix}_nodeids")]
    # Weights on inner nodes: old converters wrote them, onnxruntime ignores them.
    at_leaf = own >= 0
    own, ids, weights = own[at_leaf], ids[at_leaf], weights[at_leaf]
    if n_raw == 1 and len(np.unique(own)) != len(own):
        raise GraphError(f"{node.op}.{prefix}_nodeids", got="two weights", want="one per leaf")
    np.add.at(values, (own, ids), weights)
    has[own, ids] = True
    return values, has


def _columns(node: Node, n: int, is_leaf: NDArray[np.bool_]) -> NDArray[np.int32]:
    columns = _integers(node, "nodes_featureids", n)
    inner = columns[~is_leaf]
    if len(inner) and not 0 <= int(inner.min()) <= int(inner.max()) < 2**24:
        raise GraphError(f"{node.op}.nodes_featureids", got=int(inner.min()), want="0 or more")
    return np.where(is_leaf, 0, columns).astype(np.int32)


def _read_opset5(node: Node) -> Ensemble:
    """Read TreeEnsemble: inner nodes and leaves are numbered apart."""
    mode = _integers(node, "nodes_modes").astype(np.int8)
    n = len(mode)
    targets = _integers(node, "leaf_targetids")
    weights = _numbers(node, "leaf_weights", len(targets))
    n_raw = node.integer("n_targets", 0)
    if n_raw < 1 or (len(targets) and not 0 <= targets.min() <= targets.max() < n_raw):
        raise GraphError("TreeEnsemble.leaf_targetids", got=targets.tolist()[:5], want=n_raw)
    if n and not 0 <= int(mode.min()) <= int(mode.max()) <= int(Mode.MEMBER):
        raise GraphError("TreeEnsemble.nodes_modes", got=int(mode.max()), want="0 to 6")
    total = n + len(targets)
    children = []
    for side in ("true", "false"):
        wanted = _integers(node, f"nodes_{side}nodeids", n)
        to_leaf = _integers(node, f"nodes_{side}leafs", n) != 0
        limit = np.where(to_leaf, len(targets), n)
        if n and not ((wanted >= 0) & (wanted < limit)).all():
            raise GraphError(f"TreeEnsemble.nodes_{side}nodeids", got="out of range", want="a node")
        child = np.full(total, -1, dtype=np.int32)
        child[:n] = wanted + n * to_leaf
        children.append(child)
    roots = _integers(node, "tree_roots")
    if not len(roots) or not 0 <= int(roots.min()) <= int(roots.max()) < max(n, 1):
        raise GraphError("TreeEnsemble.tree_roots", got=roots.tolist()[:5], want="nodes")
    # A root whose two children are the same entry stands for a tree that is one leaf.
    lone = children[0][roots] == children[1][roots]
    values = np.zeros((len(targets), n_raw))
    values[np.arange(len(targets)), targets] = weights
    leaf = np.full(total, -1, dtype=np.int32)
    leaf[n:] = np.arange(len(targets), dtype=np.int32)
    aggregate = node.integer("aggregate_function", 1)
    transform = node.integer("post_transform", 0)
    if not (0 <= aggregate < len(_AGGREGATES) and 0 <= transform < len(_TRANSFORMS)):
        raise GraphError("TreeEnsemble", got=(aggregate, transform), want="known functions")
    return _checked(
        node,
        Ensemble(
            column=np.r_[
                _columns(node, n, np.zeros(n, np.bool_)), np.zeros(len(targets), np.int32)
            ],
            mode=np.r_[mode, np.full(len(targets), Mode.LEAF, np.int8)],
            value=np.r_[_numbers(node, "nodes_splits", n), np.zeros(len(targets))],
            missing_true=np.r_[_missing(node, n), np.zeros(len(targets), np.bool_)],
            true_child=children[0],
            false_child=children[1],
            members=_member_sets(node, int((mode == Mode.MEMBER).sum())),
            exact_sets=False,
            roots=np.where(lone, children[0][roots], roots).astype(np.int32),
            leaf=leaf,
            leaf_values=values,
            listed_trees=np.zeros(0, np.int32),
            aggregation=regressor_aggregation(
                base=np.zeros(0),
                transform=_TRANSFORMS[transform],
                aggregate=_AGGREGATES[aggregate],
                n_trees=len(roots),
                reached=Reached(np.ones(n_raw, np.bool_), np.ones(n_raw, np.bool_)),
            ),
        ),
    )


def _member_sets(node: Node, count: int) -> tuple[Vector, ...]:
    """Split ``membership_values`` at its NaNs, one set per MEMBER node."""
    values = _numbers(node, "membership_values")
    stops = np.flatnonzero(np.isnan(values))
    sets = [part[~np.isnan(part)] for part in np.split(values, stops)]
    if count == 0:
        return ()
    if len(sets) < count:
        raise GraphError("TreeEnsemble.membership_values", got=f"{len(sets)} sets", want=count)
    return tuple(sets[:count])


def _checked(node: Node, ensemble: Ensemble) -> Ensemble:
    """Return ``ensemble`` frozen; raise unless every node is reached at most once."""
    seen = np.zeros(len(ensemble.mode), dtype=np.bool_)
    frontier = ensemble.roots.astype(np.int64)
    while len(frontier):
        if len(np.unique(frontier)) != len(frontier) or seen[frontier].any():
            raise GraphError(node.op, got="a node with two parents or a cycle", want="trees")
        seen[frontier] = True
        inner = frontier[ensemble.leaf[frontier] < 0]
        frontier = np.r_[ensemble.true_child[inner], ensemble.false_child[inner]].astype(np.int64)
    if not np.isfinite(ensemble.leaf_values).all():
        raise MethodRefusedError("tree tables", "a leaf holds infinity or NaN")
    frozen: list[NDArray[Any]] = [
        getattr(ensemble, name) for name in Ensemble.__slots__ if name not in _NOT_ARRAYS
    ]
    for array in [*frozen, *ensemble.members]:
        array.setflags(write=False)
    return ensemble
