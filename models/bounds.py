"""What lets a small ONNX file mean work without an end, found without running it.

onnxruntime copies a function's nodes to each place that calls it, follows a tree's nodes by calling
itself, and leaves it to a loop when to stop: a file can so hold the process that opens it for good, or
end it by overrunning its stack, where no exception says why.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

import numpy as np
import onnx
from numpy.typing import NDArray

from models.errors import GraphRefusedError

MAX_NODES = 100_000
"""Of a graph with functions in place of their calls, and a loop's body as often as it runs."""
NODE_BYTES = 4_096
"""What a function holds counts for a further node each time, at every call: constants are copied too."""
MAX_CALLS = 64
"""Functions that may be inside of one another: exporters nest a handful."""
MAX_TREE_DEPTH = 2_000
"""onnxruntime 1.32 takes 3,000 on a stack of 8 MiB and not 10,000. A set of categories can be a chain of
hundreds."""

Numbers = NDArray[np.int64]
Name = tuple[str, str]
"""A function's domain and name."""


def check_bounds(model: onnx.ModelProto) -> None:
    """Raise GraphRefusedError for too many nodes, loops that may go on, and trees too deep or in rings."""
    _Expansion(model).check()
    for node in walk(chain(model.graph.node, *(each.node for each in model.functions))):
        if node.op_type.startswith("TreeEnsemble"):
            _check_depth(node)


def walk(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield nodes and those of their sub-graphs."""
    pending = [*nodes]
    while pending:
        node = pending.pop()
        yield node
        for graph in _subgraphs(node):
            pending.extend(graph.node)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


class _Expansion:
    """How many nodes a graph has once functions stand in place of calls, and bodies of loops in each turn."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._functions: dict[Name, list[onnx.FunctionProto]] = {}
        for function in model.functions:
            name = (_domain(function.domain), function.name)
            self._functions.setdefault(name, []).append(function)
        self._sizes: dict[Name, int] = {}

    def check(self) -> None:
        """Raise GraphRefusedError where there are more than ``MAX_NODES``."""
        self._size(self._graph.node, _integers(self._graph.node, self._graph), depth=0)

    def _size(
        self, nodes: Iterable[onnx.NodeProto], integers: Mapping[str, int], *, depth: int
    ) -> int:
        if depth > MAX_CALLS:
            raise GraphRefusedError(
                "functions in model.onnx",
                got=f"more than {MAX_CALLS} inside of one another, or one that calls itself",
                want="functions that can be put in place of their calls",
            )
        count = 0
        for node in nodes:
            name = (_domain(node.domain), node.op_type)
            for function in self._functions.get(name, ()):  # several: its overloads
                if name not in self._sizes:
                    own = _integers(function.node)
                    size = self._size(function.node, own, depth=depth + 1)
                    self._sizes[name] = size + function.ByteSize() // NODE_BYTES
                count += self._sizes[name]
            bodies = [self._size(body.node, integers, depth=depth) for body in _subgraphs(node)]
            turns = _turns(node, integers) if node.op_type == "Loop" else 1
            count += turns * (1 + sum(bodies))
            if count > MAX_NODES:
                raise GraphRefusedError(
                    "model.onnx",
                    got=f"more than {MAX_NODES} nodes, functions and loops written out",
                    want="a smaller graph",
                )
        return count


def _turns(node: onnx.NodeProto, integers: Mapping[str, int]) -> int:
    """Return how often a loop's body runs at most. Raises GraphRefusedError where only a run tells."""
    turns = integers.get(node.input[0]) if node.input else None
    if turns is None:
        raise GraphRefusedError(
            f"operator of node {node.name!r}",
            got="Loop, which may never end",
            want="one whose number of turns is a constant of the graph",
        )
    return max(turns, 1)


def _integers(
    nodes: Sequence[onnx.NodeProto], graph: onnx.GraphProto | None = None
) -> Mapping[str, int]:
    """Return the whole numbers that names stand for, wherever they are read: of constants alone."""
    every = list(walk(nodes))
    bodies = [body for node in every for body in _subgraphs(node)]
    constants = [
        (node.output[0], attribute)
        for node in every
        if node.op_type == "Constant"
        for attribute in node.attribute
    ]
    said = [(name, attribute.i) for name, attribute in constants if attribute.name == "value_int"]
    tensors = [(name, attribute.t) for name, attribute in constants if attribute.name == "value"]
    for holder in (*bodies, *([] if graph is None else [graph])):
        tensors += [(tensor.name, tensor) for tensor in holder.initializer]
    said += [(name, value) for name, tensor in tensors for value in _integer(tensor)]
    # A name may be told twice, in a body and around it: what else it may stand for counts.
    other = {name for node in every if node.op_type != "Constant" for name in node.output}
    other |= {told.name for body in bodies for told in body.input}
    found: dict[str, int] = {}
    for name, value in said:
        if name not in other:
            found[name] = max(value, found.get(name, value))
    return found


def _integer(tensor: onnx.TensorProto) -> Iterator[int]:
    """Yield the whole number of a tensor of one, if it is one and stands in the file."""
    if tensor.data_type != onnx.TensorProto.INT64 or [*tensor.dims] not in ([], [1]):
        return
    if len(tensor.raw_data) == 8:
        yield int.from_bytes(tensor.raw_data, "little", signed=True)
    elif len(tensor.int64_data) == 1:
        yield tensor.int64_data[0]


def _check_depth(node: onnx.NodeProto) -> None:
    """Raise GraphRefusedError for a tree whose nodes lead on and on.

    What does not fit together in another way is onnxruntime's to refuse.
    """
    children = np.stack(_children(node))
    above = np.bincount(children[children >= 0], minlength=children.shape[1])
    ready = np.flatnonzero(above == 0)
    taken = len(ready)
    # Each node once, when all above it were taken: those of a ring never are.
    for _ in range(MAX_TREE_DEPTH - 1):
        below = children[:, ready]
        below, count = np.unique(below[below >= 0], return_counts=True)
        above[below] -= count
        ready = below[above[below] == 0]
        taken += len(ready)
        if not len(ready):
            break
    if taken == len(above):
        return
    raise GraphRefusedError(
        f"trees of node {node.name!r}",
        got=f"more than {MAX_TREE_DEPTH} nodes below one another, or a node below itself",
        want="trees that are less deep",
    )


def _children(node: onnx.NodeProto) -> tuple[Numbers, Numbers]:
    """Return the place of each node's two children, -1 where that is a leaf or nowhere."""
    said = {attribute.name: attribute for attribute in node.attribute}

    def ints(name: str) -> Numbers:
        return np.array(said[name].ints if name in said else (), np.int64)

    true, false = ints("nodes_truenodeids"), ints("nodes_falsenodeids")
    if node.op_type == "TreeEnsemble":
        is_leaf = ints("nodes_trueleafs"), ints("nodes_falseleafs")
        if not len(true) == len(false) == len(is_leaf[0]) == len(is_leaf[1]):
            return _NONE
        found = [np.where(leaf, -1, at) for leaf, at in zip(is_leaf, (true, false), strict=True)]
        return tuple(np.where(at < len(true), at, -1) for at in found)  # type: ignore[return-value]  # two
    trees, numbers = ints("nodes_treeids"), ints("nodes_nodeids")
    modes = said["nodes_modes"].strings if "nodes_modes" in said else ()
    if not len(true) == len(false) == len(trees) == len(numbers) == len(modes) or not len(true):
        return _NONE
    is_inner = np.array([mode != b"LEAF" for mode in modes])
    # Numbers can be any: by their ranks a tree's and a node's fit into one.
    known, rank = np.unique(numbers, return_inverse=True)
    first = np.unique(trees, return_inverse=True)[1] * len(known)
    keys = first + rank
    order = np.argsort(keys, kind="stable")

    def places(child: Numbers) -> Numbers:
        at = np.minimum(np.searchsorted(known, child), len(known) - 1)
        key = first + at
        place = np.minimum(np.searchsorted(keys[order], key), len(keys) - 1)
        found = order[place]
        is_there = (known[at] == child) & (keys[found] == key) & is_inner & is_inner[found]
        return np.where(is_there, found, -1)

    return places(true), places(false)


_NONE: tuple[Numbers, Numbers] = (np.empty(0, np.int64), np.empty(0, np.int64))


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain
