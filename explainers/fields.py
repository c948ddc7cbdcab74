"""Which field each encoded column comes from.

First by walking the graph forward from its inputs, operator by operator; then, always, by
perturbation: every field is exchanged between background rows and only its own columns may
change. Perturbation can disprove a name and never prove one: a column of two fields may stay still
over a whole background when the second is exchanged. So columns that the walk cannot name are
refused, and columns that mix fields too: fields are not the players of the game on those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from explainers.columns import Columns, copied
from explainers.errors import MixedColumnsError
from explainers.explainer import Feeds, Slot, rows_of
from explainers.graph import Graph, Node, reduced_axes

Sources: TypeAlias = Columns[frozenset[int]]
"""For each column the fields that it depends on."""

MAX_PERTURBED_ROWS = 256
"""Enough to see each common category exchanged; perturbation runs fields x rows once at load."""

_SAME_COLUMNS = frozenset(
    {
        "Abs",
        "Atan",
        "BatchNormalization",
        "Binarizer",
        "Ceil",
        "Celu",
        "Clip",
        "Cos",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "Imputer",
        "IsInf",
        "IsNaN",
        "LabelEncoder",
        "LeakyRelu",
        "Log",
        "Mish",
        "Neg",
        "Not",
        "Reciprocal",
        "Relu",
        "Round",
        "Scaler",
        "Selu",
        "Sigmoid",
        "Sign",
        "Sin",
        "Sqrt",
        "Softplus",
        "Softsign",
        "Swish",
        "Tanh",
        "ThresholdedRelu",
        "CategoryMapper",
    }
)
_COLUMN_BY_COLUMN = frozenset(
    {
        "Add",
        "And",
        "Div",
        "Equal",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "Max",
        "Min",
        "Mod",
        "Mul",
        "Or",
        "PRelu",
        "Pow",
        "Sub",
        "Sum",
        "Where",
        "Xor",
    }
)
_OVER_COLUMNS = frozenset(
    {
        "ArgMax",
        "ArgMin",
        "ReduceL1",
        "ReduceL2",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "ReduceSumSquare",
    }
)
"""Make one column of all; of each row where the axis is 1."""


def trace_fields(graph: Graph, slots: Sequence[Slot]) -> dict[str, Sources]:
    """Return, for every tensor that the walk understands, the fields behind each column."""
    known: dict[str, Sources] = {}
    for name, graph_input in graph.inputs.items():
        placed = {slot.column: field for field, slot in enumerate(slots) if slot.input == name}
        width = graph_input.width or max(placed, default=-1) + 1
        known[name] = tuple(
            frozenset({placed[column]}) if column in placed else frozenset()
            for column in range(width)
        )
    finite = _finite_columns(graph, slots)
    for node in graph.nodes:
        if node.inputs and all(name in graph.constants for name in node.inputs):
            continue
        labels = copied(node, known, graph.constants) or _depending(node, known, graph.constants)
        if node.op == "ConstantOfShape":
            labels = _shaped_alike(graph.producers.get(node.inputs[0]), known)
        if node.op == "Mul" and labels is not None:
            labels = (_without_zeros(node, labels[0], finite, graph.constants),)
        if labels is not None:
            known.update(zip(node.outputs, labels, strict=False))
    return known


def _shaped_alike(shape: Node | None, known: Mapping[str, Sources]) -> tuple[Sources, ...] | None:
    """Return columns of no field, as many as the tensor has whose ``shape`` a constant fills.

    So the column of ones is converted that stands beside powers.
    """
    if shape is None or shape.op != "Shape" or shape.attributes or shape.inputs[0] not in known:
        return None
    return ((frozenset[int](),) * len(known[shape.inputs[0]]),)


def _finite_columns(graph: Graph, slots: Sequence[Slot]) -> dict[str, Columns[bool]]:
    """Return, for inputs, their copies and those with gaps filled, which columns never hold NaN or infinity.

    A float64 is left out: it may become infinite where it is cast.
    """
    finite = {(slot.input, slot.column) for slot in slots if slot.always_finite}
    known: dict[str, Columns[bool]] = {
        name: tuple((name, column) in finite for column in range(graph_input.width or 1))
        for name, graph_input in graph.inputs.items()
        if graph_input.element_type != TensorProto.DOUBLE
    }
    for node in graph.nodes:
        labels = copied(node, known, graph.constants)
        if labels is None and node.inputs and node.inputs[0] in known and _fills_gaps(node):
            labels = ((True,) * len(known[node.inputs[0]]),)
        if labels is not None:
            known.update(zip(node.outputs, labels, strict=False))
    return known


def _fills_gaps(node: Node) -> bool:
    """Return whether a node puts numbers in place of NaN, the only input that is no number."""
    if node.op != "Imputer":
        return False
    replaced = node.attributes.get("replaced_value_float")
    numbers = np.asarray(node.sequence("imputed_value_floats"))
    return isinstance(replaced, float) and bool(np.isnan(replaced) and np.isfinite(numbers).all())


def _without_zeros(
    node: Node,
    labels: Sources,
    finite: Mapping[str, Columns[bool]],
    constants: Mapping[str, NDArray[Any]],
) -> Sources:
    """Return the fields behind the products: none where a number is multiplied by nothing but 0.

    So bins are converted: their last limit is the first column times zero plus one.
    """
    for name, factor in (node.inputs, node.inputs[::-1]):
        columns, zeros = finite.get(name, ()), constants.get(factor)
        if (
            zeros is not None
            and zeros.size == 1
            and not zeros.any()
            and len(columns) == len(labels)
        ):
            return tuple(
                frozenset() if is_finite else fields
                for fields, is_finite in zip(labels, columns, strict=True)
            )
    return labels


def single_fields(sources: Sources | None, *, used: Sequence[int], method: str) -> tuple[int, ...]:
    """Return the one field of each column; -1 for columns of no field.

    Raises MixedColumnsError when a column in ``used`` depends on several fields, or when the walk
    lost its way (None) and any could.
    """
    if sources is None:
        raise MixedColumnsError(
            method,
            "the encoded columns pass through an operator that cannot be traced, so that each may "
            "depend on several fields",
            columns=(),
        )
    mixed = tuple(c for c in used if c < len(sources) and len(sources[c]) > 1)
    if mixed:
        raise MixedColumnsError(
            method,
            f"encoded columns {list(mixed[:5])} each depend on several fields",
            columns=mixed,
        )
    return tuple(next(iter(fields)) if len(fields) == 1 else -1 for fields in sources)


def verify_fields(
    encode: Callable[[Feeds], NDArray[Any]],
    background: Feeds,
    *,
    slots: Sequence[Slot],
    walked: tuple[int, ...],
    method: str,
) -> tuple[int, ...]:
    """Return the field of each encoded column, ``walked``, unless perturbation disproves it.

    ``encode`` runs the graph up to the encoded columns, shape (N, columns). Raises
    MixedColumnsError when a column changes with a field that is not its own.
    """
    rows = np.arange(min(rows_of(background), MAX_PERTURBED_ROWS))
    start = {name: column[rows] for name, column in background.items()}
    encoded = encode(start)
    found = walked
    if len(found) != encoded.shape[1]:
        raise MixedColumnsError(
            method,
            f"the walk found {len(found)} encoded columns, the graph has {encoded.shape[1]}",
            columns=(),
        )
    for field, slot in enumerate(slots):
        for column in _changed_columns(encode, start, encoded, slot):
            if found[column] != field:
                raise MixedColumnsError(
                    method,
                    f"encoded column {column} changes with field {field}, want only field "
                    f"{found[column]}",
                    columns=(column,),
                )
    return found


def _changed_columns(
    encode: Callable[[Feeds], NDArray[Any]], start: Feeds, encoded: NDArray[Any], slot: Slot
) -> list[int]:
    """Return the encoded columns that change when rows exchange their values of one field."""
    changed = np.zeros(encoded.shape[1], dtype=np.bool_)
    for shift in (1, len(encoded) // 2):
        feeds = dict(start)
        values = feeds[slot.input].copy()
        if values.ndim == 1:
            values = np.roll(values, shift)
        else:
            values[:, slot.column] = np.roll(values[:, slot.column], shift)
        feeds[slot.input] = values
        other = encode(feeds)
        same = (encoded == other) | (_missing(encoded) & _missing(other))
        changed |= ~same.all(axis=0)
    return [int(column) for column in np.flatnonzero(changed)]


def _missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, np.bool_)


def _depending(
    node: Node, known: Mapping[str, Sources], constants: Mapping[str, NDArray[Any]]
) -> tuple[Sources, ...] | None:
    """Return the fields behind each output column of an operator that computes."""
    first = known.get(node.inputs[0]) if node.inputs else None
    if node.op in _SAME_COLUMNS:
        # Limits of Clip, say, are tensors, which other fields may go into.
        alone = all(name in constants for name in node.inputs[1:] if name)
        return (first,) if first is not None and alone else None
    if node.op in _COLUMN_BY_COLUMN:
        return _column_by_column(node, known, constants)
    if node.op in ("Gather", "GatherND"):
        return _looked_up(node, known, constants)
    if first is None:
        return None
    if node.op in _OVER_COLUMNS:
        by_column = reduced_axes(node, constants) in ([1], [-1])
        return ((frozenset[int]().union(*first),),) if by_column else None
    if node.op in ("OneHot", "OneHotEncoder"):
        return _one_hot(node, first, constants)
    if node.op == "Normalizer":
        return ((frozenset[int]().union(*first),) * len(first),)
    if node.op in ("MatMul", "Gemm"):
        return _product(node, first, constants)
    return None


def _one_hot(
    node: Node, first: Sources, constants: Mapping[str, NDArray[Any]]
) -> tuple[Sources, ...] | None:
    if node.op == "OneHotEncoder":
        width = max(len(node.sequence(f"cats_{kind}")) for kind in ("strings", "int64s"))
    else:
        depth = constants.get(node.inputs[1])
        if depth is None or depth.size != 1 or node.integer("axis", -1) != -1:
            return None
        width = int(depth.ravel()[0])
    return (tuple(fields for fields in first for _ in range(width)),)


def _looked_up(
    node: Node, known: Mapping[str, Sources], constants: Mapping[str, NDArray[Any]]
) -> tuple[Sources, ...] | None:
    """Return the fields of what is looked up in a constant table.

    Gather takes a row for each index, GatherND one for all of a row's indexes together.
    """
    table, places = constants.get(node.inputs[0]), known.get(node.inputs[1])
    if table is None or places is None or node.integer("batch_dims", 0):
        return None
    if node.op == "GatherND":
        together = frozenset[int]().union(*places)
        return ((together,) * int(np.prod(table.shape[len(places) :])),)
    if table.ndim > 2 or node.integer("axis", 0):
        return None
    width = table.shape[1] if table.ndim == 2 else 1
    return (tuple(fields for fields in places for _ in range(width)),)


def _column_by_column(
    node: Node, known: Mapping[str, Sources], constants: Mapping[str, NDArray[Any]]
) -> tuple[Sources, ...] | None:
    operands: list[Sources] = []
    for name in node.inputs:
        constant = constants.get(name)
        if name in known:
            operands.append(known[name])
        elif constant is not None:
            operands.append((frozenset(),) * (constant.shape[-1] if constant.ndim else 1))
        else:
            return None
    width = max(len(operand) for operand in operands)
    if any(len(operand) not in (1, width) for operand in operands):
        return None
    wide = [operand * width if len(operand) == 1 else operand for operand in operands]
    return (tuple(frozenset[int]().union(*together) for together in zip(*wide, strict=True)),)


def _product(
    node: Node, first: Sources, constants: Mapping[str, NDArray[Any]]
) -> tuple[Sources, ...] | None:
    weights = constants.get(node.inputs[1])
    if weights is None or weights.ndim != 2 or node.integer("transA", 0):
        return None
    matrix = weights.T if node.integer("transB", 0) else weights
    offset_is_fixed = all(name in constants for name in node.inputs[2:] if name)
    if matrix.shape[0] != len(first) or not offset_is_fixed:
        return None
    return (
        tuple(
            frozenset[int]().union(*(first[row] for row in np.flatnonzero(matrix[:, column])))
            for column in range(matrix.shape[1])
        ),
    )
