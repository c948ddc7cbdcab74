"""A regression's numbers may be of any size: what is checked of them is checked in proportion.

Against a fixed limit, a model of millionths could say anything, and one of millions was refused where
its numbers are near 0: there float32 rounds them as it does the far larger ones that they are sums of.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from app.served import open_model
from app.settings import Settings
from explainers.errors import AdditivityError
from explainers.explainer import Explainer
from models.build import write_bundle
from models.bundle import Bundle, BundleFiles, open_bundle
from models.errors import RowsRefusedError
from models.rows import Row, Sample
from tests.models.graphs import REGRESSION, card, constant, make_model, tensor

SIZES = (1e-6, 1.0, 1e6)
WEIGHTS = [[1.7], [-2.3], [0.9]]


def linear(size: float, *before: onnx.NodeProto, reads: str = "x") -> bytes:
    """Return the graph of a weighted sum, of numbers of this size."""
    weights = size * np.array(WEIGHTS)
    return make_model(
        [*before, helper.make_node("MatMul", [reads, "w"], ["y"])],
        [tensor("x", TensorProto.FLOAT, (None, 3))],
        [tensor("y", TensorProto.FLOAT, (None, 1))],
        [constant("w", weights.tolist())],
    )


def trees(size: float) -> bytes:
    """Return the graph of forty stumps whose leaves cancel one another."""
    rng = np.random.default_rng(5)
    stumps = [
        (int(rng.integers(3)), float(rng.normal()), *(size * rng.normal(size=2)).tolist())
        for _ in range(40)
    ]
    every = range(len(stumps))
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=[tree for tree in every for _ in range(3)],
        nodes_nodeids=[0, 1, 2] * len(stumps),
        nodes_featureids=[at for feature, *_ in stumps for at in (feature, 0, 0)],
        nodes_values=[at for _, threshold, *_ in stumps for at in (threshold, 0.0, 0.0)],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"] * len(stumps),
        nodes_truenodeids=[1, 0, 0] * len(stumps),
        nodes_falsenodeids=[2, 0, 0] * len(stumps),
        target_treeids=[tree for tree in every for _ in range(2)],
        target_nodeids=[1, 2] * len(stumps),
        target_ids=[0] * 2 * len(stumps),
        target_weights=[leaf for *_, low, high in stumps for leaf in (low, high)],
    )
    return make_model(
        [node],
        [tensor("x", TensorProto.FLOAT, (None, 3))],
        [tensor("y", TensorProto.FLOAT, (None, 1))],
    )


GRAPHS: dict[str, Callable[[float], bytes]] = {
    "linear": linear,
    "tree tables": trees,
    "exact enumeration": lambda size: linear(
        size, helper.make_node("Softmax", ["x"], ["z"]), reads="z"
    ),
}


def cases(count: int) -> list[Row]:
    """Return cases whose weighted sums lie on both sides of 0, some near it."""
    rows = np.random.default_rng(3).normal(size=(count, 3)).astype(np.float32)
    rows[::2, 2] = -(rows[::2, :2] @ np.array(WEIGHTS[:2], np.float32)).ravel() / WEIGHTS[2][0]
    return [dict(zip("abc", map(float, row), strict=True)) for row in rows]


def scores_of(model: bytes, rows: Sequence[Row]) -> list[float]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    feeds = np.array([list(row.values()) for row in rows], dtype=np.float32)
    return [float(session.run(None, {"x": row[None]})[0].item()) for row in feeds]


def write(directory: Path, model: bytes, *, off_by: float = 0.0) -> BundleFiles:
    """Write a bundle; its trainer said something else by this share of each number."""
    rows = cases(40)
    said = [score * (1 + off_by) for score in scores_of(model, rows)]
    return write_bundle(
        directory / "bundle",
        model=model,
        card=card(output=REGRESSION),
        background=cases(60),
        samples=[Sample(row, score, (score,)) for row, score in zip(rows, said, strict=True)],
    )


@pytest.fixture
def opened(method: str, size: float, tmp_path: Path) -> tuple[Bundle, Explainer]:
    """A model whose numbers are of this size, and what explains it."""
    return open_model(write(tmp_path, GRAPHS[method](size)), Settings(_env_file=None))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", GRAPHS)
def test_a_model_of_any_size_is_explained_also_near_nought(
    method: str, opened: tuple[Bundle, Explainer]
) -> None:
    bundle, explainer = opened
    assert explainer.method == method
    for row in cases(400):
        case = bundle.schema.encode(row)
        scored = bundle.session.run_row(case.feeds)
        explainer.explain(case.feeds, scored.scores, scored.taps, b"seed")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", GRAPHS)
def test_an_explanation_that_misses_a_thousandth_of_the_number_is_refused(
    opened: tuple[Bundle, Explainer],
) -> None:
    bundle, explainer = opened
    case = bundle.schema.encode({"a": 1.5, "b": -0.5, "c": 1.0})
    scored = bundle.session.run_row(case.feeds)
    with pytest.raises(AdditivityError):
        explainer.explain(case.feeds, scored.scores * np.float32(1.001), scored.taps, b"seed")


@pytest.mark.parametrize("size", SIZES)
def test_samples_prove_a_model_of_any_size(size: float, tmp_path: Path) -> None:
    open_bundle(write(tmp_path / "sound", linear(size), off_by=1e-6))
    with pytest.raises(RowsRefusedError, match=r"scores that differ by 0\.00\d+ of their size"):
        write(tmp_path / "another", linear(size), off_by=1e-3)


@pytest.mark.parametrize("size", SIZES)
def test_rows_that_look_at_each_other_are_found_out_whatever_their_size(
    size: float, tmp_path: Path
) -> None:
    model = linear(size, helper.make_node("CumSum", ["x", "axis"], ["z"]), reads="z")
    proto = onnx.load_model_from_string(model)
    proto.graph.initializer.append(constant("axis", 0, np.int64))
    files = write(tmp_path, proto.SerializeToString())
    assert open_bundle(files).session.alone_because
