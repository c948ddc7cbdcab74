"""What the scores are made of, read backwards from them: affine forms over tensors, and one link.

Atoms are encoded columns that depend on one field, and outputs of tree ensembles before their
link. Only what the scores need is read, so a deep network costs no more than its last layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from explainers.columns import Columns, copied
from explainers.ensemble import is_tree_ensemble, read_ensemble
from explainers.errors import MethodRefusedError
from explainers.explainer import Question
from explainers.fields import Sources, trace_fields
from explainers.forms import Atom, Column, Form, Linked, Opaque, linked
from explainers.graph import Graph, Node, reduced_axes
from explainers.rules import RULES

COPIES = frozenset(
    {
        "ArrayFeatureExtractor",
        "Cast",
        "Concat",
        "Dropout",
        "FeatureVectorizer",
        "Flatten",
        "Gather",
        "Identity",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "Unsqueeze",
        "ZipMap",
    }
)
"""Operators that ``columns.copied`` follows."""
FLOATS = frozenset({1, 10, 11, 16})
"""ONNX element types that a Cast may go to and still carry a sum."""


@dataclass(frozen=True, slots=True)
class Reading:
    """scores of the targets = link(margins), margins affine in the atoms."""

    margins: tuple[Form, ...]
    link: str
    """identity, logistic or exp (one margin for each target), or softmax (one for each class)."""
    explained: tuple[int, ...]
    """Which of the margins is each target's."""


def read_scores(question: Question, *, method: str) -> Reading:
    """Return the margins of the targets' scores.

    Raises MethodRefusedError, naming the operator, when there is no common margin.
    """
    reader = Reader(question.graph, trace_fields(question.graph, question.slots))
    columns: list[Form | Linked] = []
    for target in question.targets:
        column = question.score_columns[target]
        name = question.score_outputs[0]
        if len(question.score_outputs) > 1:
            name, column = question.score_outputs[column], 0
        found = reader.read(name)
        if found is None or column >= len(found):
            stop = f" at {reader.stopped}" if reader.stopped else ""
            raise MethodRefusedError(method, f"reading back from score {target} stops{stop}")
        score = found[column]
        if isinstance(score, Opaque):
            raise MethodRefusedError(method, f"score {target}: {score.reason}")
        columns.append(score)
    return _common_link(columns, method=method)


def _common_link(columns: list[Form | Linked], *, method: str) -> Reading:
    forms = tuple(column for column in columns if isinstance(column, Form))
    links = [column for column in columns if isinstance(column, Linked)]
    if len(forms) == len(columns):
        return Reading(margins=forms, link="identity", explained=tuple(range(len(forms))))
    kinds = {column.link for column in links}
    if forms or len(kinds) > 1:
        raise MethodRefusedError(method, "the scores have different links")
    link = kinds.pop()
    if link in ("logistic", "exp"):
        margins = tuple(column.forms[0] for column in links)
        return Reading(margins=margins, link=link, explained=tuple(range(len(margins))))
    if link.startswith("softmax") and all(column.forms == links[0].forms for column in links):
        explained = tuple(column.index for column in links)
        return Reading(margins=links[0].forms, link=link, explained=explained)
    if link.startswith("softmax"):
        raise MethodRefusedError(method, f"the scores are {link} of several sums")
    raise MethodRefusedError(
        method, f"the scores are {link} of a sum, which is no link that is known"
    )


class Reader:
    """Reads columns of tensors of one graph, each tensor once."""

    def __init__(self, graph: Graph, sources: Mapping[str, Sources]) -> None:
        self._graph = graph
        self._sources = sources
        self._known: dict[str, Columns[Column] | None] = {}
        self._places = {name: at for at, node in enumerate(graph.nodes) for name in node.outputs}
        self.stopped: str | None = None
        """The first operator of which not even the columns are known."""

    def read(self, tensor: str) -> Columns[Column] | None:
        """Return the columns of ``tensor``, None when not even their number is known."""
        # In the graph's own order, not by recursion: a sum may be a chain of a thousand Adds.
        for name in sorted(self._needed(tensor), key=lambda name: self._places.get(name, -1)):
            self._known[name] = self._read(name)
        return self._known[tensor]

    def _needed(self, tensor: str) -> set[str]:
        """Return the unread tensors behind ``tensor``, as far as operators can be read."""
        needed: set[str] = set()
        waiting = [tensor]
        while waiting:
            name = waiting.pop()
            if name in needed or name in self._known:
                continue
            needed.add(name)
            node = self._graph.producers.get(name)
            if node is not None and (node.op in RULES or node.op in COPIES):
                waiting.extend(i for i in node.inputs if i and not self._is_atomic(i))
        return needed

    def _is_atomic(self, tensor: str) -> bool:
        """Return whether each column has one field at most, so that it is taken as it is."""
        sources = self._sources.get(tensor)
        is_constant = tensor in self._graph.constants
        return sources is not None and not is_constant and all(len(f) <= 1 for f in sources)

    def _read(self, tensor: str) -> Columns[Column] | None:
        constant = self._graph.constants.get(tensor)
        if constant is not None:
            one_row = constant.size == (constant.shape[-1] if constant.ndim else 1)
            if constant.dtype.kind not in "fiu" or not one_row:
                # A matrix: its rule takes it from the constants, it has no columns of its own.
                return ()
            return tuple(Form({}, float(value)) for value in constant.ravel())
        node = self._graph.producers.get(tensor)
        if node is None:
            return self._as_atoms(tensor)
        if is_tree_ensemble(node) and tensor == node.outputs[-1]:
            return ensemble_columns(node)
        columns = self._computed(node, tensor)
        return self._as_atoms(tensor) if columns is None else columns

    def _operand(self, tensor: str) -> Columns[Column] | None:
        """Return what an operator reads: atoms where each column has one field, else the sum."""
        return self._as_atoms(tensor) if self._is_atomic(tensor) else self._known.get(tensor)

    def _as_atoms(self, tensor: str) -> Columns[Column] | None:
        sources = self._sources.get(tensor)
        node = self._graph.producers.get(tensor)
        name = node.op if node else "an input"
        if sources is None:
            self.stopped = self.stopped or name
            return None
        return tuple(
            Form({Atom(tensor, column): 1.0})
            if len(fields) <= 1
            else Opaque(f"{name} mixes {len(fields)} fields")
            for column, fields in enumerate(sources)
        )

    def _computed(self, node: Node, tensor: str) -> Columns[Column] | None:
        stacked = self._stacked(node)
        if stacked is not None:
            return stacked
        inputs = {name: self._operand(name) for name in node.inputs if name}
        known = {name: columns for name, columns in inputs.items() if columns is not None}
        if len(known) < len(inputs):
            return None
        if node.op == "Cast" and node.integer("to", 1) not in FLOATS:
            return None
        labels = copied(node, known, self._graph.constants)
        if labels is not None:
            place = node.outputs.index(tensor)
            return labels[place] if place < len(labels) else None
        rule = RULES.get(node.op)
        if rule is None:
            return None
        operands = [known[name] for name in node.inputs if name]
        return rule(node, operands, self._graph.constants)

    def _stacked(self, node: Node) -> Columns[Column] | None:
        """Return the sum or mean over tensors that were stacked on a new first axis (bagging)."""
        if node.op not in ("ReduceSum", "ReduceMean") or node.integer("keepdims", 1):
            return None
        stack = self._graph.producers.get(node.inputs[0])
        if stack is None or stack.op != "Concat" or stack.integer("axis", 0) != 0:
            return None
        layers = [self._graph.producers.get(name) for name in stack.inputs]
        if reduced_axes(node, self._graph.constants) != [0] or not all(
            layer is not None and self._adds_first_axis(layer) for layer in layers
        ):
            return None
        operands = [self._operand(name) for name in stack.inputs]
        known = [columns for columns in operands if columns is not None]
        if len(known) < len(operands):
            return None
        return RULES["Mean" if node.op == "ReduceMean" else "Sum"](
            Node("Mean" if node.op == "ReduceMean" else "Sum", "", stack.inputs, (), {}),
            known,
            self._graph.constants,
        )

    def _adds_first_axis(self, node: Node) -> bool:
        shape = self._graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
        axis = shape is not None and shape.ravel()[:1].tolist()
        return (node.op == "Reshape" and axis == [1] and shape is not None and shape.size == 3) or (
            node.op == "Unsqueeze" and axis == [0]
        )


def ensemble_columns(node: Node) -> Columns[Column] | None:
    """Return a tree ensemble's outputs over its margins."""
    try:
        aggregation = read_ensemble(node).aggregation
    except MethodRefusedError as refusal:
        return (Opaque(refusal.reason),)
    margins = tuple(
        Form({Atom(node.outputs[-1], column, is_margin=True): 1.0})
        for column in range(len(aggregation.offsets))
    )
    return linked(margins, aggregation.link)
