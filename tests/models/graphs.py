"""Small ONNX graphs and bundles made to measure, one oddity each."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from models.build import write_bundle
from models.bundle import BundleFiles
from models.card import Card, Field, Output
from models.rows import Row, Sample

WEIGHTS = (0.5, -0.25, 0.125)
"""Of the linear graphs: exact in binary, so that expected scores can be written down."""


def make_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    initializers: Sequence[onnx.TensorProto] = (),
) -> bytes:
    """Return a model of those parts."""
    graph = helper.make_graph(nodes, "test", inputs, outputs, initializers)
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)],
        ir_version=8,
    )
    content: bytes = model.SerializeToString()
    return content


def tensor(
    name: str, element: int, shape: Sequence[int | str | None] | None
) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element, shape)


def constant(name: str, values: object, dtype: type[np.generic] = np.float32) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.array(values, dtype), name)


def logistic_model(
    *,
    shape: Sequence[int | str | None] | None = (None, 3),
    element: int = TensorProto.FLOAT,
    score_shape: Sequence[int | None] = (None, 1),
) -> bytes:
    """Return sigmoid(x . WEIGHTS) of one input: a single probability, no label."""
    dtype = np.float64 if element == TensorProto.DOUBLE else np.float32
    return make_model(
        [
            helper.make_node("MatMul", ["x", "w"], ["margin"]),
            helper.make_node("Sigmoid", ["margin"], ["p"]),
        ],
        [tensor("x", element, shape)],
        [tensor("p", element, score_shape)],
        [constant("w", [[w] for w in WEIGHTS], dtype)],
    )


def linear_model(shape: Sequence[int | str | None] | None = (None, 3)) -> bytes:
    """Return x . WEIGHTS of one input: a regression."""
    return make_model(
        [helper.make_node("MatMul", ["x", "w"], ["variable"])],
        [tensor("x", TensorProto.FLOAT, shape)],
        [tensor("variable", TensorProto.FLOAT, (None, 1))],
        [constant("w", [[w] for w in WEIGHTS])],
    )


def field(name: str, type_: str = "number", **more: object) -> Field:
    """Return a field with the words that a test does not care about."""
    return Field.model_validate_json(
        json.dumps({"name": name, "type": type_, "label": name, "wording": name, **more})
    )


def card(
    fields: Sequence[Field] | None = None, output: Output | None = None, **more: object
) -> Card:
    """Return a card for the logistic graphs unless told otherwise."""
    return Card(
        name="test",
        version="1",
        title="A test",
        owner="Test suite",
        purpose="Tests",
        legal_basis="None",
        output=output or BINARY,
        fields=tuple(fields or (field("a"), field("b"), field("c"))),
        what_it_cannot_know=(),
        limitations=(),
        **more,  # type: ignore[arg-type]
    )


BINARY = Output(
    task="classification",
    meaning="the probability of yes",
    classes=("no", "yes"),
    positive_class="yes",
)
REGRESSION = Output(task="regression", meaning="a number")

ROW: Row = {"a": 1.0, "b": 2.0, "c": 4.0}
P = 1 / (1 + np.exp(-0.5))
"""The logistic graphs' probability for ROW."""
SAMPLE = Sample(ROW, "yes", (1 - P, P))


def write(
    target: Path,
    *,
    model: bytes | None = None,
    card_: Card | None = None,
    background: Sequence[Row] = (ROW,),
    samples: Sequence[Sample] = (SAMPLE,),
) -> BundleFiles:
    """Write a bundle of the logistic graph, other parts where given."""
    return write_bundle(
        target,
        model=model or logistic_model(),
        card=card_ or card(),
        background=background,
        samples=samples,
    )
