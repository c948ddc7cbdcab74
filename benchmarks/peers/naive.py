"""What one writes from the two tutorials: FastAPI, a pydantic body, shap.TreeExplainer. Records nothing."""

import os

import joblib
import numpy as np
import shap
from fastapi import FastAPI
from pydantic import create_model

FIELDS = [f"f{number:02}" for number in range(20)]
Case = create_model("Case", **dict.fromkeys(FIELDS, (float, ...)))

model = joblib.load(os.environ["MODEL_FOLDER"] + "/model.joblib")
explainer = shap.TreeExplainer(model)
app = FastAPI()


@app.post("/predict")
async def predict(case: Case) -> dict[str, object]:
    """Score one case and explain the score."""
    row = np.array([[getattr(case, name) for name in FIELDS]])
    probability = float(model.predict_proba(row)[0, 1])
    values = explainer.shap_values(row)[0]
    return {
        "probability": probability,
        "base_value": float(np.ravel(explainer.expected_value)[0]),
        "contributions": dict(zip(FIELDS, values.tolist(), strict=True)),
    }
