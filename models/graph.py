"""What an ONNX file says about itself, read without running it, and what is refused on sight.

Everything here reads hostile bytes: nothing is executed, nothing outside the given bytes is opened.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import onnx
import onnx.inliner
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from models.bounds import check_bounds, walk
from models.errors import GraphRefusedError

_STANDARD_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}
_RANDOM_OPERATORS = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}
_ENCODERS = {"CategoryMapper", "LabelEncoder", "OneHotEncoder"}
# With these in a graph, the encoders are not all that tells one text from another.
_TEXT_OPERATORS = {
    "RegexFullMatch",
    "StringConcat",
    "StringNormalizer",
    "StringSplit",
    "TfIdfVectorizer",
    "Tokenizer",
}
MAX_FIXED_ROWS = 64
"""A graph whose number of rows is fixed gets the one row that often; more would only cost time."""
_INPUT_TYPES = {"float32", "float64", "int32", "int64", "bool", "string"}


@dataclass(frozen=True, slots=True)
class GraphInput:
    """One input: ``rank`` 1 is ``(N,)``, 2 is ``(N, width)``; ``width`` None is not declared."""

    name: str
    dtype: str
    rank: int
    width: int | None


@dataclass(frozen=True, slots=True)
class GraphOutput:
    """One output: ``dtype`` of its elements; a ZipMap's are those of its scores.

    ``keys`` is the type of a ZipMap's keys, None for a tensor; ``labels`` are the keys in the order of the
    scores that it was made of.
    """

    name: str
    dtype: str
    keys: str | None
    labels: tuple[int | str, ...] = ()


@dataclass(frozen=True, slots=True)
class Graph:
    """The parsed file with its inputs and outputs in the graph's order.

    Inputs that are handed on as outputs, as some converters do, are not among the outputs.
    ``encoders`` are the tensors that its category encoders make; empty when it has none, or has
    other operators that read text as well.
    """

    content: bytes
    """The file, with the nodes of its functions in place of their calls: what can be read and tapped."""
    inputs: tuple[GraphInput, ...]
    outputs: tuple[GraphOutput, ...]
    encoders: tuple[str, ...]


def read_graph(content: bytes) -> Graph:
    """Return the graph that ``content`` holds.

    Raises GraphRefusedError for bytes that are no ONNX model, custom or random operators, work
    without an end, data kept outside the file, and inputs that no case could fill.
    """
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as err:
        raise GraphRefusedError("model.onnx", got=str(err), want="an ONNX model") from err
    if not model.graph.node or not model.graph.output:
        raise GraphRefusedError("model.onnx", got="a file with no graph", want="an ONNX model")
    check_bounds(model)
    nodes = list(walk(chain(model.graph.node, *(each.node for each in model.functions))))
    _check_operators(model, nodes)
    _check_data_is_inside(model, nodes)
    _check_dropout(model, nodes)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
        content, nodes = model.SerializeToString(), list(walk(model.graph.node))
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_input(info) for info in model.graph.input if info.name not in constants)
    if not inputs:
        raise GraphRefusedError("model.onnx", got="no inputs", want="at least one input")
    outputs = tuple(_output(info, model.graph.node) for info in _made(model.graph))
    return Graph(content, inputs, outputs, _encoders(model, nodes))


def count_trees(content: bytes) -> int:
    """Return how many trees the ensembles of a graph have."""
    model = onnx.load_model_from_string(content)
    return sum(
        len(set(attribute.ints))
        for node in model.graph.node
        for attribute in node.attribute
        if node.op_type.startswith("TreeEnsemble")
        and attribute.name in {"nodes_treeids", "tree_roots"}
    )


def _check_operators(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    own = {(function.domain, function.name) for function in model.functions}
    for node in nodes:
        if node.domain not in _STANDARD_DOMAINS and (node.domain, node.op_type) not in own:
            raise GraphRefusedError(
                f"operator of node {node.name!r}",
                got=f"custom operator {node.domain}:{node.op_type}",
                want="operators of ai.onnx and ai.onnx.ml only",
            )
        if node.op_type in _RANDOM_OPERATORS:
            raise GraphRefusedError(
                f"operator of node {node.name!r}",
                got=f"{node.op_type}, which answers differently each time",
                want="a graph that gives the same row the same scores",
            )


def _check_dropout(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    """Refuse a Dropout that is on: only a constant of the graph itself says that one is off."""
    flags = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute:
            flags[node.output[0]] = node.attribute[0].t
    off = {
        name
        for name, flag in flags.items()
        if flag.data_type == onnx.TensorProto.BOOL
        and not any(flag.raw_data)
        and not any(flag.int32_data)
    }
    switched = sum(node.op_type == "Dropout" and any(node.input[2:]) for node in nodes)
    known = sum(
        node.op_type == "Dropout" and any(node.input[2:]) and node.input[2] in off
        for node in model.graph.node
    )
    if switched > known:
        raise GraphRefusedError(
            "operator Dropout",
            got="one that is on, or may be, and answers differently each time",
            want="a graph exported for inference",
        )


def _check_data_is_inside(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    for tensor in _tensors(model, nodes):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise GraphRefusedError(
                f"tensor {tensor.name!r}",
                got="data kept in another file",
                want="all data inside model.onnx",
            )


def _tensors(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    graphs = [model.graph]
    for node in nodes:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield sparse.values
                yield sparse.indices
            graphs.extend((attribute.g, *attribute.graphs))
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield sparse.values
            yield sparse.indices


def _input(info: onnx.ValueInfoProto) -> GraphInput:
    what = f"graph input {info.name!r}"
    if info.type.WhichOneof("value") != "tensor_type":
        raise GraphRefusedError(what, got="no tensor", want="a tensor with one row per case")
    tensor = info.type.tensor_type
    dtype = _dtype(tensor.elem_type)
    if dtype not in _INPUT_TYPES:
        raise GraphRefusedError(what, got=dtype, want=f"one of {', '.join(sorted(_INPUT_TYPES))}")
    if not tensor.HasField("shape"):
        return GraphInput(info.name, dtype, rank=2, width=None)
    sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    if len(sizes) not in {1, 2}:
        raise GraphRefusedError(what, got=f"{len(sizes)} dimensions", want="[N] or [N, width]")
    if sizes[0] is not None and sizes[0] > MAX_FIXED_ROWS:
        raise GraphRefusedError(
            what,
            got=f"its number of rows fixed at {sizes[0]}",
            want=f"a number of rows that is free, or at most {MAX_FIXED_ROWS}",
        )
    # Some converters write an unknown size as 0 or -1.
    width = 1 if len(sizes) == 1 else sizes[1] if sizes[1] and sizes[1] > 0 else None
    return GraphInput(info.name, dtype, rank=len(sizes), width=width)


def _made(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """Return the outputs that are more than an input handed on."""
    handed_on = {info.name for info in graph.input}
    for node in graph.node:
        is_copy = node.op_type == "Identity" and node.domain in ("", "ai.onnx")
        if is_copy and handed_on.issuperset(node.input):
            handed_on.update(node.output)
    return [info for info in graph.output if info.name not in handed_on]


def _output(info: onnx.ValueInfoProto, nodes: Iterable[onnx.NodeProto]) -> GraphOutput:
    kind = info.type.WhichOneof("value")
    if kind == "tensor_type":
        return GraphOutput(info.name, _dtype(info.type.tensor_type.elem_type), keys=None)
    entry = info.type.sequence_type.elem_type if kind == "sequence_type" else info.type
    if entry.WhichOneof("value") == "map_type":
        scores = entry.map_type.value_type.tensor_type.elem_type
        labels = next((_labels(node) for node in nodes if info.name in node.output), ())
        return GraphOutput(info.name, _dtype(scores), _dtype(entry.map_type.key_type), labels)
    return GraphOutput(info.name, kind or "nothing", keys=None)


def _labels(node: onnx.NodeProto) -> tuple[int | str, ...]:
    """Return the labels of a ZipMap."""
    found: list[int | str] = []
    for attribute in node.attribute:
        if node.op_type == "ZipMap" and attribute.name.startswith("classlabels_"):
            found += attribute.ints
            found += [label.decode(errors="replace") for label in attribute.strings]
    return tuple(found)


def _dtype(element: int) -> str:
    """Return the numpy-style name of an ONNX element type."""
    name = onnx.TensorProto.DataType.Name(element) if element in _elements() else str(element)
    return {"FLOAT": "float32", "DOUBLE": "float64"}.get(name, name.lower())


def _elements() -> frozenset[int]:
    return frozenset(onnx.TensorProto.DataType.values())


def _encoders(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> tuple[str, ...]:
    numbers = _numbers(model, nodes)
    for node in nodes:
        compares_text = node.op_type == "Equal" and not numbers.intersection(node.input)
        if node.op_type in _TEXT_OPERATORS or compares_text:
            return ()
    return tuple(
        node.output[0] for node in model.graph.node if node.op_type in _ENCODERS and node.output
    )


def _numbers(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> set[str]:
    """Return tensors that surely hold numbers: those of which the file says the type itself."""
    text = onnx.TensorProto.STRING
    stored = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    declared = {info.name: info.type.tensor_type.elem_type for info in model.graph.input}
    made = {
        node.output[0]: attribute.t.data_type if attribute.name == "value" else attribute.i
        for node in nodes
        for attribute in node.attribute
        if (node.op_type, attribute.name) in {("Constant", "value"), ("Cast", "to")}
    }
    return {name for name, kind in (stored | declared | made).items() if kind not in (0, text)}
