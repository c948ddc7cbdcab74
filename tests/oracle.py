"""Bundles made from the shared oracle sets and foreign graphs, which are not part of the project.

They lie beside the repository, in ``../shared``; where they are absent the tests that need them
are skipped. A card is generated from what each set says about itself.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from models.build import write_bundle
from models.bundle import BundleFiles
from models.card import Card, Field, FieldType, Output, Value
from models.rows import Sample

SHARED = Path(__file__).resolve().parents[2] / "shared"
ORACLE_SETS = (
    "adult-lgbm",
    "chicago-gbc",
    "compas-calibrated",
    "credit-xgb-tensor",
    "dutch-mlp",
    "german-rf-ordinal",
    "law-logreg",
)
FOREIGN_GRAPHS = (
    "go_sklearn_randomforest",
    "onnx_tree_ensemble_set_membership",
    "onnx_tree_ensemble_single_tree",
    "sklonnx_treecl",
    "tribuo_oci_iris_lr",
)
N_SAMPLES = 20

_TYPES: dict[str, FieldType] = {"int64": "integer", "float": "number", "string": "string"}


def oracle_path(name: str) -> Path:
    """Return the folder of an oracle set; skip the test when it is not there."""
    path = SHARED / "oracle" / name
    if not path.is_dir():
        pytest.skip(f"the oracle sets are not beside this repository: no {path}")
    return path


def foreign_path(name: str) -> Path:
    """Return the folder of a foreign graph; skip the test when it is not there."""
    path = SHARED / "onnx" / name
    if not path.is_dir():
        pytest.skip(f"the foreign graphs are not beside this repository: no {path}")
    return path


def load_json(path: Path) -> Any:
    return json.loads(path.read_text())


def oracle_inputs(name: str) -> list[dict[str, Value]]:
    """Return the 200 cases of a set, in the types of its fields."""
    path = oracle_path(name)
    fields = load_json(path / "meta.json")["fields"]
    return [_typed(row, fields) for row in load_json(path / "inputs.json")]


def oracle_expected(name: str) -> dict[str, Any]:
    """Return the source library's own answers for those cases."""
    expected: dict[str, Any] = load_json(oracle_path(name) / "expected.json")
    return expected


def oracle_card(name: str) -> Card:
    """Return a card that says what ``meta.json`` says."""
    meta = load_json(oracle_path(name) / "meta.json")
    fields = tuple(
        Field(
            name=entry["name"],
            type=_TYPES[entry["type"]],
            label=entry["name"].replace("_", " "),
            wording=f"{entry['name'].replace('_', ' ')} of {{value}}",
            categories=tuple(entry["categories"] or ()),
            may_be_missing=entry["has_missing"],
        )
        for entry in meta["fields"]
    )
    return Card(
        name=name,
        version="1",
        title=f"{meta['model']} on {meta['dataset']}",
        owner="Test suite",
        purpose="Comparison with independent answers",
        legal_basis="None: never used for a decision",
        output=Output(
            task="classification",
            meaning=f"the probability of {meta['label']}",
            classes=tuple(meta["classes"]),
            positive_class=meta["positive_class"],
        ),
        fields=fields,
        what_it_cannot_know=("Anything outside its fields",),
        limitations=("A test set",),
    )


def build_oracle_bundle(name: str, target: Path) -> BundleFiles:
    """Write the bundle of an oracle set at ``target``."""
    path = oracle_path(name)
    meta = load_json(path / "meta.json")
    inputs, expected = oracle_inputs(name), oracle_expected(name)
    with (path / "background.csv").open(newline="") as file:
        background = [_typed(row, meta["fields"]) for row in csv.DictReader(file)]
    return write_bundle(
        target,
        model=(path / "model.onnx").read_bytes(),
        card=oracle_card(name),
        background=background,
        samples=[
            Sample(inputs[i], expected["prediction"][i], tuple(expected["proba"][i]))
            for i in range(N_SAMPLES)
        ],
    )


def foreign_rows(name: str) -> list[dict[str, Value]]:
    """Return the rows that a foreign graph's ``io.json`` feeds, as cases with fields x0, x1..."""
    (feed,) = load_json(foreign_path(name) / "io.json")["feeds"].values()
    width = feed["shape"][1]
    return [
        {f"x{i}": value for i, value in enumerate(feed["data"][start : start + width])}
        for start in range(0, len(feed["data"]), width)
    ]


def foreign_answers(name: str) -> tuple[list[int] | None, list[tuple[float, ...]]]:
    """Return the labels (where the graph has them) and the scores of those rows."""
    outputs = load_json(foreign_path(name) / "io.json")["outputs"]
    labels = outputs[0]["data"] if len(outputs) > 1 else None
    scores = outputs[-1]
    if isinstance(scores, list):
        return labels, [tuple(row[key] for key in sorted(row, key=int)) for row in scores]
    width = scores["shape"][1]
    return labels, [
        tuple(scores["data"][start : start + width])
        for start in range(0, len(scores["data"]), width)
    ]


def build_foreign_bundle(name: str, target: Path) -> BundleFiles:
    """Write the bundle of a foreign graph at ``target``; raises when the graph is refused."""
    rows = foreign_rows(name)
    labels, scores = foreign_answers(name)
    classification = not name.startswith("onnx_tree_ensemble")
    classes = tuple(range(len(scores[0])))
    card = Card(
        name=name.replace("_", "-"),
        version="1",
        title=name,
        owner="Test suite",
        purpose="Files that nobody here made",
        legal_basis="None: never used for a decision",
        output=Output(
            task="classification",
            meaning="the probability of the last class",
            classes=classes,
            positive_class=classes[-1],
        )
        if classification
        else Output(
            task="regression", meaning="a number", number=0 if len(scores[0]) > 1 else None
        ),
        fields=tuple(
            Field(
                name=field,
                type="number",
                label=field,
                wording=field,
                may_be_missing=any(row[field] is None for row in rows),
            )
            for field in rows[0]
        ),
        what_it_cannot_know=(),
        limitations=(),
    )
    if labels is None:
        labels = [row.index(max(row)) for row in scores]
    return write_bundle(
        target,
        model=(foreign_path(name) / "model.onnx").read_bytes(),
        card=card,
        background=rows,
        samples=[Sample(*parts) for parts in zip(rows, labels, scores, strict=True)],
    )


def _typed(row: Mapping[str, Any], fields: Sequence[Mapping[str, Any]]) -> dict[str, Value]:
    """Return the row in the types of its fields; a CSV has only text, and empty is missing."""
    convert = {"int64": int, "float": float, "string": str}
    return {
        field["name"]: None
        if row[field["name"]] in {None, ""}
        else convert[field["type"]](row[field["name"]])
        for field in fields
    }
