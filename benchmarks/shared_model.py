"""The rows and the bundle of the one model that everything in the comparison serves.

20 numbers, gradient boosting of 100 trees of depth 4: trained here for Grounds and, from the same
rows, in each peer's own environment.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from skl2onnx import to_onnx
from sklearn.datasets import make_classification

from benchmarks.peers.estimator import FIELDS, N_TRAINING, rows_of, trained
from models.build import write_bundle
from models.card import Card, Field, Output
from models.rows import Labelled, Row, Sample
from models.signing import sign_bundle

N_ROWS = 6_000
N_BACKGROUND = 1_000
N_SAMPLES = 50
N_BODIES = 500
"""How many different cases a load cycles through; training never saw them."""


def write_rows(path: Path) -> None:
    """Make the rows: three decimals, so that every environment reads the same numbers."""
    x, y = make_classification(
        N_ROWS, len(FIELDS), n_informative=12, n_redundant=4, random_state=0, flip_y=0.05
    )
    np.savez(path, x=np.round(x, 3), y=y)


def cases(rows: Path) -> list[dict[str, float]]:
    """Return the cases to ask about."""
    x, _ = rows_of(rows)
    return [_case(row) for row in x[N_TRAINING : N_TRAINING + N_BODIES]]


def write_models(rows: Path, directory: Path, *, names: Sequence[str], key: Path) -> None:
    """Write one served model for each name, all of the same graph, signed."""
    x, y = rows_of(rows)
    model = trained(rows)
    graph = to_onnx(
        model, x[:1].astype(np.float32), options={id(model): {"zipmap": False}}, target_opset=17
    )
    content = graph.SerializeToString()
    held_back = x[N_TRAINING:]
    scores = model.predict_proba(held_back)
    samples = [
        Sample(_case(row), int(score[1] > 0.5), (float(score[0]), float(score[1])))
        for row, score in zip(held_back[:N_SAMPLES], scores[:N_SAMPLES], strict=True)
    ]
    for name in names:
        bundle = directory / name / "bundle"
        write_bundle(
            bundle,
            model=content,
            card=_card(name),
            background=[_case(row) for row in x[:N_BACKGROUND]],
            samples=samples,
            calibration=[
                Labelled(_case(row), int(label))
                for row, label in zip(held_back, y[N_TRAINING:], strict=True)
            ],
        )
        sign_bundle(bundle, key=key)
        policy = yaml.safe_dump(_policy(name))
        (directory / name / "policy.yaml").write_text(policy)


def _case(row: Sequence[float]) -> Row:
    return dict(zip(FIELDS, (float(value) for value in row), strict=True))


def _card(name: str) -> Card:
    return Card(
        name=name,
        version="1",
        title="Benchmark",
        owner="Benchmark",
        purpose="Measuring the service.",
        legal_basis="None: made rows.",
        output=Output(
            task="classification",
            meaning="the probability of class 1",
            classes=(0, 1),
            positive_class=1,
        ),
        fields=tuple(
            Field.model_validate_json(
                json.dumps(
                    {
                        "name": field,
                        "type": "number",
                        "label": f"Measured quantity {number}",
                        "wording": f"measured quantity {number} of {{value}}",
                        "actionable": number % 3 == 0,
                    }
                )
            )
            for number, field in enumerate(FIELDS)
        ),
        what_it_cannot_know=("Anything: its rows are made.",),
        limitations=("For measuring alone.",),
    )


def _policy(name: str) -> dict[str, object]:
    lower = {"rule": "below-half", "at_least": 0.0, "outcome": "no", "label": "No"}
    higher = {"rule": "half-or-more", "at_least": 0.5, "outcome": "yes", "label": "Yes"}
    return {
        "policy": f"{name}-policy",
        "version": "1",
        "model": name,
        "description": "Two outcomes.",
        "near_threshold": 0.05,
        "what_would_change": "adverse_or_near_threshold" if name.endswith("-change") else "never",
        "bands": [
            {**lower, "supported_by": "lower", "adverse": True},
            {**higher, "supported_by": "higher", "adverse": False},
        ],
    }
