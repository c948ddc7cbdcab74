"""A BentoML service that answers with the probability and the shap values of a case."""

import os

import bentoml
import joblib
import numpy as np
import shap


@bentoml.service(workers=1)
class Explained:
    """The model with its explainer."""

    def __init__(self) -> None:
        """Load both once."""
        self.model = joblib.load(os.environ["MODEL_FOLDER"] + "/model.joblib")
        self.explainer = shap.TreeExplainer(self.model)

    @bentoml.api
    def predict(self, case: dict[str, float]) -> dict[str, object]:
        """Score one case and explain the score."""
        row = np.array([list(case.values())])
        values = self.explainer.shap_values(row)[0]
        return {
            "probability": float(self.model.predict_proba(row)[0, 1]),
            "contributions": dict(zip(case, values.tolist(), strict=True)),
        }
