"""The session gives the same bits for the same row, and refuses answers that mean nothing."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from models.bundle import open_bundle
from models.errors import ScoringError
from models.rows import Sample
from models.session import runtime_facts
from tests.models.feeds import feeds_of
from tests.models.graphs import REGRESSION, ROW, card, constant, make_model, tensor, write

ROOT = Path(__file__).resolve().parents[2]


def reciprocal_model() -> bytes:
    """Return 1 / a as a regression over a, b, c: not finite where a is 0."""
    return make_model(
        [
            helper.make_node("MatMul", ["x", "w"], ["a"]),
            helper.make_node("Reciprocal", ["a"], ["y"]),
        ],
        [tensor("x", TensorProto.FLOAT, (None, 3))],
        [tensor("y", TensorProto.FLOAT, (None, 1))],
        [constant("w", [[1], [0], [0]])],
    )


def test_a_score_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    bundle = open_bundle(
        write(
            tmp_path / "b",
            model=reciprocal_model(),
            card_=card(output=REGRESSION),
            samples=[Sample(ROW, 1.0, (1.0,))],
        )
    )
    feeds = feeds_of(bundle.schema, [ROW, {**ROW, "a": 0.0}])
    with pytest.raises(ScoringError, match=r"got \[inf\]; want 1 finite numbers"):
        bundle.session.run_rows(feeds)
    with pytest.raises(ScoringError, match="2 rows: got 1 that are not finite"):
        bundle.session.run_batch(feeds)


def test_feeds_that_do_not_fit_are_refused_without_being_quoted(tmp_path: Path) -> None:
    session = open_bundle(write(tmp_path / "b")).session
    for feeds in ({"x": np.zeros((1, 2), np.float32)}, {"x": np.zeros((1, 3))}, {}):
        with pytest.raises(ScoringError, match=r"^onnxruntime failed on a row: \w+$"):
            session.run_row(feeds)


def test_the_same_row_gives_the_same_bits_from_another_session(tmp_path: Path) -> None:
    files = write(tmp_path / "b")
    one, two = open_bundle(files), open_bundle(files)
    feeds = one.schema.encode(ROW).feeds
    want = one.session.run_row(feeds).scores.tobytes()
    assert {two.session.run_row(feeds).scores.tobytes() for _ in range(100)} == {want}


def test_the_facts_name_what_the_bits_depend_on() -> None:
    facts = runtime_facts()
    assert set(facts) == {"onnxruntime", "numpy", "python", "system", "machine", "cpu_features"}
    assert all(facts.values())
    assert facts == runtime_facts()


def test_onnxruntime_reports_nothing_and_keeps_no_identifier(tmp_path: Path) -> None:
    program = (
        "from models.session import runtime_facts\nimport time\nruntime_facts()\ntime.sleep(1)\n"
    )
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    subprocess.run(  # noqa: S603  # this very interpreter
        [sys.executable, "-c", program], env=environment, cwd=ROOT, check=True, timeout=120
    )
    assert not list(tmp_path.rglob("*deviceid*"))
