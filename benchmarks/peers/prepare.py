"""Train the model in a peer's own environment and save it the way that peer loads it.

``python prepare.py PEER ROWS FOLDER``, run by the harness; imports nothing of this project.
"""

import json
import shutil
import sys
from pathlib import Path

import joblib

sys.path.insert(0, str(Path(__file__).parent))

from estimator import FIELDS, trained


def main() -> None:
    """Save the model for one peer."""
    peer, rows, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model = trained(rows)
    joblib.dump(model, folder / "model.joblib")
    if peer == "mlflow":
        _mlflow(folder)
    elif peer == "mlserver":
        _mlserver(model, folder)


def _mlflow(folder: Path) -> None:
    import mlflow

    mlflow.pyfunc.save_model(
        folder / "pyfunc",
        python_model=str(Path(__file__).with_name("mlflow_model.py")),
        artifacts={"model": str(folder / "model.joblib")},
        signature=mlflow.models.ModelSignature(
            inputs=mlflow.types.Schema([mlflow.types.ColSpec("double", name) for name in FIELDS])
        ),
        pip_requirements=[],
    )


def _mlserver(model: object, folder: Path) -> None:
    """MLServer's scikit-learn runtime for the model, its alibi runtime for the explanation."""
    from alibi.explainers import TreeShap

    explainer = TreeShap(model, model_output="raw")
    explainer.fit()
    explainer.save(folder / "explainer" / "saved")
    (folder / "predictor").mkdir()
    settings = {
        "name": "gbc",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(folder / "model.joblib")},
    }
    (folder / "predictor" / "model-settings.json").write_text(json.dumps(settings))
    settings = {
        "name": "gbc-explainer",
        "implementation": "mlserver_alibi_explain.AlibiExplainRuntime",
        "parameters": {
            "uri": str(folder / "explainer" / "saved"),
            "extra": {
                "explainer_type": "tree_shap",
                "infer_uri": str(folder / "model.joblib"),
            },
        },
    }
    (folder / "explainer" / "model-settings.json").write_text(json.dumps(settings))


if __name__ == "__main__":
    main()
