"""Which columns an operator copies, and from where: the structural half of an ONNX graph.

``copied`` follows labels through operators that move columns without changing their values.
Labels are opaque: fields.py walks with sets of fields, choosing an output walks with positions.
A tensor of rank 1 counts as one column.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from explainers.graph import Graph, Node

L = TypeVar("L")
Columns: TypeAlias = tuple[L, ...]
"""One label per column of a tensor."""

_UNCHANGED = frozenset({"Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "ZipMap"})


def copied(
    node: Node, known: Mapping[str, Columns[L]], constants: Mapping[str, NDArray[Any]]
) -> tuple[Columns[L], ...] | None:
    """Return the labels of each output of ``node``, or None when it does more than copy.

    ``known``: tensor name -> labels of its columns. Also None when an index is not a constant.
    """
    sources = [known.get(name) for name in node.inputs]
    first = sources[0] if sources else None
    if node.op in ("Concat", "FeatureVectorizer"):
        return _concatenated(node, sources)
    if first is None:
        return None
    if node.op in _UNCHANGED:
        return (first,) if _keeps_width(node, len(first), constants) else None
    if node.op == "Dropout":
        # The third input turns it on, which is for training.
        off = [constants.get(name) for name in node.inputs[2:] if name]
        return (first,) if all(flag is not None and not flag.any() for flag in off) else None
    if node.op in ("Mul", "Div", "Add", "Sub"):
        # LightGBM's converter multiplies its probabilities by one.
        neutral = 1 if node.op in ("Mul", "Div") else 0
        other = constants.get(node.inputs[1])
        same = other is not None and other.size == 1 and bool((other == neutral).all())
        return (first,) if same else None
    if node.op == "Split":
        return _split(node, first, constants)
    chosen = _chosen(node, len(first), constants)
    return None if chosen is None else (tuple(first[column] for column in chosen),)


def trace_copies(graph: Graph, seeds: Mapping[str, Columns[L]]) -> dict[str, Columns[L]]:
    """Return the labels of every tensor that only copies columns of ``seeds``."""
    known: dict[str, Columns[L]] = dict(seeds)
    for node in graph.nodes:
        labels = copied(node, known, graph.constants)
        if labels is not None:
            known.update(zip(node.outputs, labels, strict=False))
    return known


def _concatenated(node: Node, sources: list[Columns[L] | None]) -> tuple[Columns[L], ...] | None:
    if node.op == "Concat" and node.integer("axis", 1) == 0:
        return None
    labels: list[L] = []
    for source in sources:
        if source is None:
            return None
        labels.extend(source)
    return (tuple(labels),)


def _keeps_width(node: Node, width: int, constants: Mapping[str, NDArray[Any]]) -> bool:
    if node.op != "Reshape":
        return True
    shape = constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
    if shape is None:
        return False
    sizes = [int(size) for size in shape.ravel()]
    if len(sizes) == 1:
        return width == 1
    # One row a call, so the columns survive any shape whose last sizes multiply to the width.
    tail = [size for size in sizes[1:] if size > 0]
    return -1 in sizes[1:] or int(np.prod(tail)) == width or sizes[1:] == [0]


def _split(
    node: Node, first: Columns[L], constants: Mapping[str, NDArray[Any]]
) -> tuple[Columns[L], ...] | None:
    if node.integer("axis", 0) not in (1, -1):
        return None
    sizes = node.sequence("split")
    if len(node.inputs) > 1 and node.inputs[1]:
        sizes = constants.get(node.inputs[1], np.zeros(0)).ravel()
    parts = [int(size) for size in sizes]
    if not parts:
        share = -(-len(first) // len(node.outputs))
        parts = [share] * (len(node.outputs) - 1)
        parts.append(len(first) - sum(parts))
    if sum(parts) != len(first):
        return None
    stops = np.cumsum(parts).tolist()
    return tuple(first[stop - size : stop] for stop, size in zip(stops, parts, strict=True))


def _chosen(node: Node, width: int, constants: Mapping[str, NDArray[Any]]) -> list[int] | None:
    if node.op == "Slice":
        return _sliced(node, width, constants)
    if node.op not in ("Gather", "ArrayFeatureExtractor") or len(node.inputs) != 2:
        return None
    if node.op == "Gather" and node.integer("axis", 0) not in (1, -1):
        return None
    index = constants.get(node.inputs[1])
    if index is None or index.dtype.kind not in "iu":
        return None
    chosen = [int(column) for column in index.ravel()]
    if any(not -width <= column < width for column in chosen):
        return None
    return chosen


def _sliced(node: Node, width: int, constants: Mapping[str, NDArray[Any]]) -> list[int] | None:
    if len(node.inputs) == 1:
        parts = [list(node.sequence(name)) for name in ("starts", "ends", "axes")]
        parts.append([1] * len(parts[0]))
    else:
        arrays = [constants.get(name) for name in node.inputs[1:] if name]
        if any(array is None for array in arrays):
            return None
        parts = [array.ravel().tolist() for array in arrays if array is not None]
    starts, ends = parts[0], parts[1]
    axes = parts[2] if len(parts) > 2 and parts[2] else list(range(len(starts)))
    steps = parts[3] if len(parts) > 3 else [1] * len(starts)
    chosen = list(range(width))
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if axis not in (1, -1):
            return None
        chosen = chosen[int(start) : int(end) : int(step)]
    return chosen
