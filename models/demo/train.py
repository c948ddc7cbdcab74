"""Fitting the demonstration model and converting it to ONNX; nothing here is needed to serve it.

The categories are encoded inside the pipeline, so the graph takes a case as people know it: one
tensor of numbers and one of text. A missing number becomes -1, below every real one, so that a
tree can tell it from all of them; a missing text becomes a category of its own.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from models.card import Value
from models.demo.data import EVIDENCE_MISSING, FIELD_ORDER
from models.rows import Row

SEED = 20_260_301
MISSING_NUMBER = -1.0
N_TEXTS = 5
"""The last fields of FIELD_ORDER are text; all before them are numbers or yes and no."""

_N_NUMBERS = len(FIELD_ORDER) - N_TEXTS


def fit(cases: Sequence[Row], decisions: Sequence[str]) -> Pipeline:
    """Return the fitted pipeline: gradient boosting, 100 trees of depth 4."""
    numbers, texts = list(range(_N_NUMBERS)), list(range(_N_NUMBERS, len(FIELD_ORDER)))
    pipeline = Pipeline(
        [
            (
                "columns",
                ColumnTransformer(
                    [
                        (
                            "numbers",
                            SimpleImputer(strategy="constant", fill_value=MISSING_NUMBER),
                            numbers,
                        ),
                        (
                            "texts",
                            OneHotEncoder(handle_unknown="ignore", sparse_output=False),
                            texts,
                        ),
                    ]
                ),
            ),
            (
                "trees",
                GradientBoostingClassifier(
                    n_estimators=100,
                    max_depth=4,
                    learning_rate=0.08,
                    subsample=0.7,
                    min_samples_leaf=20,
                    random_state=SEED,
                ),
            ),
        ]
    )
    return pipeline.fit(table(cases), np.array(decisions))


def predict(pipeline: Pipeline, cases: Sequence[Row]) -> list[tuple[str, tuple[float, ...]]]:
    """Return the label and the probability of each class for every case, as scikit-learn says."""
    rows = table(cases)
    labels = [str(label) for label in pipeline.predict(rows)]
    return [
        (label, tuple(float(p) for p in row))
        for label, row in zip(labels, pipeline.predict_proba(rows), strict=True)
    ]


def convert(pipeline: Pipeline) -> bytes:
    """Return the pipeline as an ONNX file with inputs ``numbers`` and ``texts``."""
    model = to_onnx(
        pipeline,
        initial_types=[
            ("numbers", FloatTensorType([None, _N_NUMBERS])),
            ("texts", StringTensorType([None, N_TEXTS])),
        ],
        options={id(pipeline): {"zipmap": False}},
        target_opset={"": 17, "ai.onnx.ml": 3},
        name="housing-support",
    )
    # The converter keeps its operator sets in a Python set, so their order follows the hash seed.
    opsets = sorted(model.opset_import, key=lambda opset: opset.domain)
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def table(cases: Sequence[Row]) -> NDArray[np.object_]:
    """Return the cases as the trainer's table, shape (N, 20): missing as NaN or a category."""
    return np.array([[_cell(name, case[name]) for name in FIELD_ORDER] for case in cases], object)


def _cell(name: str, value: Value) -> float | str:
    if isinstance(value, str):
        return value
    if value is None:
        return EVIDENCE_MISSING if name == "evidence" else np.nan
    return float(value)
