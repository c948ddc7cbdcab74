"""An MLflow pyfunc that answers with the probability and the shap values of each row."""

import joblib
import mlflow
import pandas as pd
import shap


class Explained(mlflow.pyfunc.PythonModel):
    """The model with its explainer."""

    def load_context(self, context: mlflow.pyfunc.PythonModelContext) -> None:
        """Load both once."""
        self.model = joblib.load(context.artifacts["model"])
        self.explainer = shap.TreeExplainer(self.model)

    def predict(self, context, model_input, params=None):  # noqa: ARG002
        """Return one row of output for each row of input."""
        rows = model_input.to_numpy()
        answer = pd.DataFrame(self.explainer.shap_values(rows), columns=model_input.columns)
        answer.insert(0, "probability", self.model.predict_proba(rows)[:, 1])
        return answer


mlflow.models.set_model(Explained())
