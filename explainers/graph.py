"""An ONNX graph as frozen, checked values: nodes, who makes which tensor, and constants.

The only file that reads ONNX's protobuf. Everything else in this library walks ``Graph``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import numpy_helper

from explainers.errors import GraphError
from explainers.folding import FOLDED, MAX_SIZE, fold

AttributeValue: TypeAlias = (
    int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | NDArray[Any] | None
)
"""One attribute: text is decoded, lists are tuples, tensors are arrays; None for subgraphs."""

ML_DOMAIN = "ai.onnx.ml"
_STANDARD_DOMAINS = ("", ML_DOMAIN)


@dataclass(frozen=True, slots=True)
class Node:
    """One operator of the graph."""

    op: str
    """Its name; ``domain:name`` for a function of the file, which may bear any operator's name."""
    domain: str
    """Empty for the default domain."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, AttributeValue]

    def integer(self, name: str, default: int) -> int:
        """Return an integer attribute, or ``default`` when it is absent."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise GraphError(f"{self.op}.{name}", got=type(value).__name__, want="an integer")
        return value

    def text(self, name: str, default: str) -> str:
        """Return a text attribute, or ``default`` when it is absent."""
        value = self.attributes.get(name, default)
        if not isinstance(value, str):
            raise GraphError(f"{self.op}.{name}", got=type(value).__name__, want="text")
        return value

    def sequence(self, name: str) -> tuple[Any, ...] | NDArray[Any]:
        """Return a list or tensor attribute, empty when it is absent."""
        value = self.attributes.get(name, ())
        if value is None or isinstance(value, (int, float, str)):
            raise GraphError(f"{self.op}.{name}", got=type(value).__name__, want="a list")
        return value


@dataclass(frozen=True, slots=True)
class GraphInput:
    """One input that the caller feeds."""

    name: str
    element_type: int
    """ONNX element type (1 float32, 7 int64, 8 string, ...)."""
    shape: tuple[int | None, ...] | None
    """None for a dimension that is not a fixed number; None for no declared shape."""

    @property
    def width(self) -> int | None:
        """Number of columns: 1 for rank 1, None when it is not declared."""
        if self.shape is None:
            return None
        return 1 if len(self.shape) == 1 else self.shape[1]


@dataclass(frozen=True, slots=True)
class Graph:
    """The graph of a model, nodes in their order."""

    nodes: tuple[Node, ...]
    inputs: Mapping[str, GraphInput]
    """Without the inputs that only name an initializer."""
    outputs: tuple[str, ...]
    producers: Mapping[str, Node]
    """Tensor name -> the node that makes it."""
    constants: Mapping[str, NDArray[Any]]
    """Initializers, the outputs of Constant nodes, and what is computed from them alone."""


def reduced_axes(node: Node, constants: Mapping[str, NDArray[Any]]) -> list[int]:
    """Return the axes of a Reduce operator: an attribute once, an input since opset 13 or 18.

    ArgMax and ArgMin have one.
    """
    if node.op.startswith("Arg"):
        return [node.integer("axis", 0)]
    if len(node.inputs) > 1:
        return [int(axis) for axis in constants.get(node.inputs[1], np.zeros(0)).ravel()]
    return [int(axis) for axis in node.sequence("axes")]


def read_graph(model: bytes) -> Graph:
    """Return the graph in the bytes of an ONNX file.

    Raises GraphError when the bytes are no ONNX model, when two nodes make the same tensor, when
    nodes are not in topological order (which rules out cycles), or when data lies outside.
    """
    try:
        proto = onnx.ModelProto.FromString(model)
    except DecodeError as err:
        raise GraphError("model", got="bytes that do not parse", want="an ONNX model") from err
    constants = _initializers(proto.graph)
    inputs = {
        value.name: _graph_input(value)
        for value in proto.graph.input
        if value.name not in constants
    }
    nodes = tuple(_node(node) for node in proto.graph.node)
    producers = _producers(nodes, known={"", *inputs, *constants})
    for node in nodes:
        if node.op == "Constant" and node.outputs:
            constants.update(_constant(node))
        elif node.op in FOLDED and all(name in constants for name in node.inputs):
            folded = fold(node.op, node.attributes, [constants[name] for name in node.inputs])
            if folded is not None:
                constants[node.outputs[0]] = folded
    outputs = tuple(value.name for value in proto.graph.output)
    for name in outputs:
        if name not in producers and name not in inputs and name not in constants:
            raise GraphError(f"output {name!r}", got="no maker", want="a tensor of the graph")
    return Graph(
        nodes=nodes,
        inputs=MappingProxyType(inputs),
        outputs=outputs,
        producers=MappingProxyType(producers),
        constants=MappingProxyType(constants),
    )


def _producers(nodes: tuple[Node, ...], *, known: set[str]) -> dict[str, Node]:
    producers: dict[str, Node] = {}
    for node in nodes:
        for name in node.inputs:
            if name not in known:
                raise GraphError(
                    f"{node.op} reads {name!r}", got="no earlier maker", want="topological order"
                )
        for name in node.outputs:
            if name == "":
                continue
            if name in known:
                raise GraphError(f"tensor {name!r}", got="two makers", want="one")
            known.add(name)
            producers[name] = node
    return producers


def _initializers(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    constants: dict[str, NDArray[Any]] = {}
    for tensor in graph.initializer:
        if tensor.name in constants:
            raise GraphError(f"initializer {tensor.name!r}", got="two", want="one")
        constants[tensor.name] = _array(tensor)
    for sparse in graph.sparse_initializer:
        constants[sparse.values.name] = _dense(sparse)
    return constants


def _dense(sparse: onnx.SparseTensorProto) -> NDArray[Any]:
    """Return a sparse tensor in full; its places are counted from 0 or given by dimension."""
    values, places = _array(sparse.values), _array(sparse.indices).astype(np.int64)
    sizes = tuple(sparse.dims)
    what = f"sparse tensor {sparse.values.name!r}"
    if not values.ndim == 1 <= places.ndim <= 2 or len(places) != len(values):
        raise GraphError(what, got=f"{places.shape} places", want=f"one for each of {len(values)}")
    if prod(sizes) > MAX_SIZE:  # a file of few bytes can ask for any number
        raise GraphError(what, got=f"{prod(sizes)} values", want=f"at most {MAX_SIZE}")
    try:
        flat = places if places.ndim == 1 else np.ravel_multi_index(tuple(places.T), sizes)
        dense = np.zeros(sizes, dtype=values.dtype)
        dense.ravel()[flat] = values
    except (IndexError, MemoryError, ValueError) as err:
        raise GraphError(what, got=str(err), want=f"places within {sizes}") from err
    dense.setflags(write=False)
    return dense


def _array(tensor: onnx.TensorProto) -> NDArray[Any]:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise GraphError(f"tensor {tensor.name!r}", got="external data", want="data in the file")
    try:
        array = numpy_helper.to_array(tensor)
    except (TypeError, ValueError) as err:
        raise GraphError(f"tensor {tensor.name!r}", got=str(err), want="readable data") from err
    if array.dtype.kind in "OS":
        array = array.astype(object)
        flat = [v.decode() if isinstance(v, bytes) else v for v in array.ravel().tolist()]
        array.ravel()[:] = flat
    array.setflags(write=False)
    return array


def _graph_input(value: onnx.ValueInfoProto) -> GraphInput:
    tensor = value.type.tensor_type
    shape: tuple[int | None, ...] | None = None
    if tensor.HasField("shape"):
        shape = tuple(
            d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None
            for d in tensor.shape.dim
        )
    return GraphInput(name=value.name, element_type=tensor.elem_type, shape=shape)


def _node(proto: onnx.NodeProto) -> Node:
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    attributes = {attribute.name: _attribute(attribute) for attribute in proto.attribute}
    return Node(
        op=proto.op_type if domain in _STANDARD_DOMAINS else f"{domain}:{proto.op_type}",
        domain=domain,
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes=MappingProxyType(attributes),
    )


def _attribute(proto: onnx.AttributeProto) -> AttributeValue:
    kinds = onnx.AttributeProto
    match proto.type:
        case kinds.INT:
            return proto.i
        case kinds.FLOAT:
            return proto.f
        case kinds.STRING:
            return proto.s.decode("utf-8", errors="replace")
        case kinds.INTS:
            return tuple(proto.ints)
        case kinds.FLOATS:
            return tuple(proto.floats)
        case kinds.STRINGS:
            return tuple(text.decode("utf-8", errors="replace") for text in proto.strings)
        case kinds.TENSOR:
            return _array(proto.t)
        case _:
            return None


def _constant(node: Node) -> dict[str, NDArray[Any]]:
    for name, value in node.attributes.items():
        if (
            name == "value"
            and not isinstance(value, (int, float, str, tuple))
            and value is not None
        ):
            return {node.outputs[0]: value}
        if name.startswith("value_") and value is not None:
            kind = np.float32 if "float" in name else np.int64 if "int" in name else object
            return {node.outputs[0]: np.asarray(value, dtype=kind)}
    return {}
