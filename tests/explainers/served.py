"""Graphs as they are served: onnxruntime behind the ``Run`` that explainers are given."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from explainers.explainer import Feeds, Run, Slot

SHARED = Path(__file__).resolve().parents[3] / "shared" / "oracle"
DTYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}


def session(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def with_outputs(model: bytes, names: Sequence[str]) -> bytes:
    """Return the model with the tensors ``names`` as further outputs."""
    proto = onnx.load_model_from_string(model)
    have = {output.name for output in proto.graph.output}
    for name in dict.fromkeys(names):
        if name not in have:
            proto.graph.output.append(onnx.ValueInfoProto(name=name))
    return bytes(proto.SerializeToString())


def serve(model: bytes, score_outputs: Sequence[str], taps: Sequence[str] = ()) -> Run:
    """Return a run of the graph; the batch is one call of onnxruntime."""
    served = session(with_outputs(model, [*score_outputs, *taps]))

    def run(feeds: Feeds) -> tuple[NDArray[Any], tuple[NDArray[Any], ...]]:
        found = served.run([*score_outputs, *taps], dict(feeds))
        columns = [score_columns(output) for output in found[: len(score_outputs)]]
        tapped = tuple(np.asarray(tap) for tap in found[len(score_outputs) :])
        return np.concatenate(columns, axis=1), tapped

    return run


def score_columns(output: Any) -> NDArray[Any]:
    if isinstance(output, list):  # a ZipMap's sequence of maps
        return np.array([list(row.values()) for row in output], dtype=np.float32)
    array = np.asarray(output)
    return array.reshape(len(array), -1)


def feeds_of(model: bytes, rows: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> Feeds:
    """Return the rows as the graph's inputs; fields fill the inputs in order."""
    feeds: dict[str, NDArray[Any]] = {}
    taken = 0
    for declared in session(model).get_inputs():
        width = declared.shape[1] if isinstance(declared.shape[1], int) else len(fields)
        names = [declared.name] if declared.name in fields else fields[taken : taken + width]
        taken += len(names)
        values = [[row[name] for name in names] for row in rows]
        if declared.type == "tensor(string)":
            feeds[declared.name] = np.array(values, dtype=object)
        else:
            feeds[declared.name] = np.array(values, dtype=DTYPES[declared.type])
    return feeds


def slots_of(feeds: Feeds, fields: Sequence[str]) -> tuple[Slot, ...]:
    if set(fields) == set(feeds):
        return tuple(Slot(name, 0) for name in fields)
    return tuple(
        Slot(name, column) for name, values in feeds.items() for column in range(values.shape[1])
    )


def row(feeds: Feeds, index: int) -> Feeds:
    return {name: values[index : index + 1] for name, values in feeds.items()}


@dataclass(frozen=True)
class OracleSet:
    """One set of the oracle folder: the graph, its rows, and the source library's answers."""

    model: bytes
    background: Feeds
    inputs: Feeds
    slots: tuple[Slot, ...]
    score_outputs: tuple[str, ...]
    fields: tuple[str, ...]
    exact: NDArray[np.float64]
    """Shape (rows, fields): brute force over field coalitions, on the source model."""
    exact_base: float


def oracle_set(name: str, score_outputs: Sequence[str]) -> OracleSet:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"no oracle set {name} beside the repository")
    meta = json.loads((folder / "meta.json").read_text())
    kinds = {field["name"]: field["type"] for field in meta["fields"]}
    fields = tuple(kinds)
    with (folder / "background.csv").open(newline="") as file:
        background = [
            {k: v if kinds[k] == "string" else float(v or "nan") for k, v in row.items()}
            for row in csv.DictReader(file)
        ]
    inputs = json.loads((folder / "inputs.json").read_text())
    model = (folder / "model.onnx").read_bytes()
    expected = json.loads((folder / "expected.json").read_text())["shap"]["exact_field_coalitions"]
    background_feeds = feeds_of(model, background, fields)
    return OracleSet(
        model=model,
        background=background_feeds,
        inputs=feeds_of(model, inputs, fields),
        slots=slots_of(background_feeds, fields),
        score_outputs=tuple(score_outputs),
        fields=fields,
        exact=np.array(expected["by_field"]),
        exact_base=expected["base"],
    )
