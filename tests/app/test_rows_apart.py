"""A row's score must not depend on the rows beside it: where it does, rows are scored one by one."""

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from app.served import explain_against, is_black_box, open_model
from app.settings import Settings
from models.bundle import BundleFiles, open_bundle
from models.errors import ScoringError
from models.rows import Sample
from tests.models.feeds import feeds_of
from tests.models.graphs import REGRESSION, card, constant, make_model, tensor, write

CASE = {"a": 1.0, "b": 2.0, "c": 4.0}
ROWS = [{"a": float(a), "b": float(b), "c": float(a * b - 1)} for a in (-1, 0.5, 2) for b in (0, 3)]
WEIGHTS = constant("w", [[1], [-2], [0.5]])
MATMUL = helper.make_node("MatMul", ["z", "w"], ["y"])


def graph(nodes: Sequence[onnx.NodeProto], *constants: onnx.TensorProto) -> bytes:
    return make_model(
        [*nodes, MATMUL],
        [tensor("x", TensorProto.FLOAT, (None, 3))],
        [tensor("y", TensorProto.FLOAT, (None, 1))],
        [WEIGHTS, *constants],
    )


def node(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], **attributes)


GRAPHS = {
    "the number of rows": graph(
        [
            node("Shape", ["x"], "shape"),
            node("Gather", ["shape", "zero"], "n"),
            node("Cast", ["n"], "rows", to=TensorProto.FLOAT),
            node("Mul", ["x", "rows"], "z"),
        ],
        constant("zero", [0], np.int64),
    ),
    "the sum of the rows before": graph(
        [node("CumSum", ["x", "axis"], "z")], constant("axis", 0, np.int64)
    ),
    "the mean of all rows": graph(
        [
            node("ReduceMean", ["x"], "mean", axes=[0], keepdims=1),
            node("Sub", ["x", "mean"], "apart"),
            node("Add", ["apart", "x"], "z"),
        ]
    ),
    "the range of all rows": graph(
        [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "nought"]),
            node("DequantizeLinear", ["q", "scale", "nought"], "z"),
        ]
    ),
}
PLAIN = graph([node("Tanh", ["x"], "z")])


def files_of(model: bytes, directory: Path) -> BundleFiles:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"x": np.array([list(CASE.values())], np.float32)})
    score = float(answer[0, 0])
    return write(
        directory / "b",
        model=model,
        card_=card(output=REGRESSION),
        background=ROWS,
        samples=[Sample(CASE, score, (score,))],
    )


def shapley_values(score: Callable[[Mapping[str, float]], float]) -> list[float]:
    """Return the row's values against the background by their definition, over the orders of fields."""
    orders = list(permutations(CASE))
    found = dict.fromkeys(CASE, 0.0)
    for order in orders:
        for row in ROWS:
            hybrid = dict(row)
            before = score(hybrid)
            for field in order:
                hybrid[field] = CASE[field]
                after = score(hybrid)
                found[field] += (after - before) / len(orders) / len(ROWS)
                before = after
    return list(found.values())


@pytest.mark.parametrize("what", GRAPHS)
def test_a_graph_that_looks_at_other_rows_is_asked_row_by_row(what: str, tmp_path: Path) -> None:
    files = files_of(GRAPHS[what], tmp_path)
    bundle, explainer = open_model(files, Settings(_env_file=None))
    assert bundle.session.alone_because
    if is_black_box(explainer):
        assert bundle.session.alone_because in explainer.reason
    case = bundle.schema.encode(CASE)
    scored = bundle.session.run_row(case.feeds)
    explained = explainer.explain(case.feeds, scored.scores, scored.taps, b"seed")

    def score(row: Mapping[str, float]) -> float:
        return float(bundle.session.run_row(bundle.schema.encode(dict(row)).feeds).scores[0])

    np.testing.assert_allclose(explained.contributions[0], shapley_values(score), atol=1e-5)


def test_a_graph_whose_rows_stand_alone_is_asked_for_many_at_once(tmp_path: Path) -> None:
    bundle = open_bundle(files_of(PLAIN, tmp_path))
    assert not bundle.session.alone_because
    feeds = feeds_of(bundle.schema, ROWS)
    np.testing.assert_allclose(
        bundle.session.run_batch(feeds), bundle.session.run_rows(feeds)[0], rtol=0, atol=1e-6
    )


def test_a_graph_that_was_not_found_out_is_found_out_when_it_is_asked(tmp_path: Path) -> None:
    bundle = open_bundle(files_of(GRAPHS["the number of rows"], tmp_path))
    bundle.session.alone_because = ""
    with pytest.raises(ScoringError, match="got others among many rows than alone"):
        bundle.session.run_batch(feeds_of(bundle.schema, ROWS))


def test_one_number_for_all_rows_is_no_batch(tmp_path: Path) -> None:
    model = make_model(
        [node("MatMul", ["x", "w"], "each"), node("ReduceSum", ["each"], "y", keepdims=1)],
        [tensor("x", TensorProto.FLOAT, (None, 3))],
        [tensor("y", TensorProto.FLOAT, (None, 1))],
        [WEIGHTS],
    )
    assert open_bundle(files_of(model, tmp_path)).session.alone_because


def test_a_linear_graph_in_half_precision_is_explained(tmp_path: Path) -> None:
    half = make_model(
        [
            node("Cast", ["x"], "half", to=TensorProto.FLOAT16),
            node("MatMul", ["half", "weights"], "sum"),
            node("Cast", ["sum"], "y", to=TensorProto.FLOAT),
        ],
        [tensor("x", TensorProto.FLOAT, (None, 3))],
        [tensor("y", TensorProto.FLOAT, (None, 1))],
        [constant("weights", [[1], [-2], [0.5]], np.float16)],
    )
    files = files_of(half, tmp_path)
    bundle, explainer = open_model(files, Settings(_env_file=None))
    case = bundle.schema.encode(CASE)
    scored = bundle.session.run_row(case.feeds)
    explained = explainer.explain(case.feeds, scored.scores, scored.taps, b"seed")
    means = {name: np.mean([row[name] for row in ROWS]) for name in CASE}
    want = [
        weight * (value - means[name])
        for weight, (name, value) in zip((1, -2, 0.5), CASE.items(), strict=True)
    ]
    np.testing.assert_allclose(explained.contributions[0], want, atol=1e-3)


def test_a_graph_that_extra_outputs_would_change_is_explained_without_them(tmp_path: Path) -> None:
    """Onnxruntime leaves roundings to half precision out, unless somebody wants to see the tensor."""
    half = make_model(
        [
            node("Cast", ["x"], "half", to=TensorProto.FLOAT16),
            node("Sub", ["half", "scale"], "moved"),
            node("Div", ["moved", "scale"], "scaled"),
            helper.make_node("Concat", ["scaled", "half"], ["both"], axis=1),
            node("MatMul", ["both", "weights"], "sum"),
            node("Cast", ["sum"], "y", to=TensorProto.FLOAT),
        ],
        [tensor("x", TensorProto.FLOAT, (None, 3))],
        [tensor("y", TensorProto.FLOAT, (None, 1))],
        [
            constant("scale", [0.1, 0.3, 0.7], np.float16),
            constant("weights", [[1], [-2], [0.5]] * 2, np.float16),
        ],
    )
    bundle, explainer = open_model(files_of(half, tmp_path), Settings(_env_file=None))
    assert explainer.method == "exact enumeration"
    assert "linear does not fit: taps, on background row" in explainer.reason
    case = bundle.schema.encode(CASE)
    scored = bundle.session.run_row(case.feeds)
    assert scored.taps == ()
    explained = explainer.explain(case.feeds, scored.scores, scored.taps, b"seed")

    def score(row: Mapping[str, float]) -> float:
        return float(bundle.session.run_row(bundle.schema.encode(dict(row)).feeds).scores[0])

    np.testing.assert_allclose(explained.contributions[0], shapley_values(score), atol=1e-5)
    again = explain_against(bundle, Settings(_env_file=None), bundle.background.feeds, (0,))
    assert again.method == "exact enumeration"
