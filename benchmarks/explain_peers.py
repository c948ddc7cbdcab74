"""The other side of ``benchmarks.explain``: trains the models and times the other explainers.

Run by the harness with the Python of an environment that has the peers; imports nothing of this
project. ``train DIR`` writes each model as ONNX. ``time DIR NAME PEER...`` trains one of them again,
the same way, and times each peer on it in a process forked from there: nothing is unpickled.
"""

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

warnings.filterwarnings("ignore")

COLUMNS = 20
TREES = ("GBC 100x3", "GBC 100x6", "HistGB 100x6", "LightGBM 300x31", "XGBoost 300x6", "RF 200x8")
MODELS = (*TREES, "RF 200 unlimited", "logistic regression", "MLP 20-64-32")
BOOSTERS = ("LightGBM 300x31", "XGBoost 300x6")
SECONDS = 6.0
"""How long one peer is timed on one model."""
FIRST_ROW = 2_000
"""The background comes first, the rows that are explained from here on."""


def file_name(model: str) -> str:
    """Return what the files of a model are called, without their endings."""
    return model.lower().replace(" ", "-")


def estimators() -> dict[str, Any]:
    """Return the untrained models by name."""
    import lightgbm
    import xgboost
    from sklearn.ensemble import (
        GradientBoostingClassifier,
        HistGradientBoostingClassifier,
        RandomForestClassifier,
    )
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    made = (
        GradientBoostingClassifier(n_estimators=100, max_depth=3, random_state=0),
        GradientBoostingClassifier(n_estimators=100, max_depth=6, random_state=0),
        HistGradientBoostingClassifier(
            max_iter=100, max_depth=6, max_leaf_nodes=None, early_stopping=False, random_state=0
        ),
        lightgbm.LGBMClassifier(n_estimators=300, num_leaves=31, verbose=-1, n_jobs=1),
        xgboost.XGBClassifier(n_estimators=300, max_depth=6, n_jobs=1),
        RandomForestClassifier(200, max_depth=8, random_state=0),
        RandomForestClassifier(200, random_state=0),
        LogisticRegression(),
        MLPClassifier((64, 32), max_iter=30, random_state=0),
    )
    return dict(zip(MODELS, made, strict=True))


def rows_and_labels() -> tuple[Any, Any]:
    """Return the made rows, shape (20,000, COLUMNS), and their classes."""
    from sklearn.datasets import make_classification

    x, y = make_classification(
        20_000, COLUMNS, n_informative=12, n_redundant=4, random_state=0, flip_y=0.05
    )
    return x.astype(np.float32), y


def train(folder: Path) -> None:
    """Train every model on the same made rows and write it into ``folder``."""
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType
    from skl2onnx import to_onnx

    x, y = rows_and_labels()
    np.save(folder / "rows.npy", x)
    inputs = [("X", FloatTensorType([None, COLUMNS]))]
    for name, model in estimators().items():
        model.fit(x, y)
        if name.startswith("LightGBM"):
            graph = onnxmltools.convert_lightgbm(model, initial_types=inputs, zipmap=False)
        elif name.startswith("XGBoost"):
            graph = onnxmltools.convert_xgboost(model, initial_types=inputs)
        else:
            graph = to_onnx(model, x[:1], options={id(model): {"zipmap": False}})
        (folder / f"{file_name(name)}.onnx").write_bytes(graph.SerializeToString())
        print(f"trained {name}", file=sys.stderr, flush=True)


def explainer_of(peer: str, name: str, model: Any, x: Any) -> Callable[[Any], Any]:
    """Return what explains one row, shape (1, columns)."""
    if peer == "own":
        if name.startswith("LightGBM"):
            return lambda row: model.predict(row, pred_contrib=True, num_threads=1)
        import xgboost

        booster = model.get_booster()
        booster.set_param({"nthread": 1})
        return lambda row: booster.predict(xgboost.DMatrix(row), pred_contribs=True)
    if peer == "woodelf":
        import pandas
        from woodelf import WoodelfExplainer

        columns = [f"f{i}" for i in range(COLUMNS)]
        background = pandas.DataFrame(x[:1_000], columns=columns)
        woodelf = WoodelfExplainer(model, background, feature_perturbation="interventional")
        frames = {
            i: pandas.DataFrame(x[i : i + 1], columns=columns) for i in range(FIRST_ROW, 5_000)
        }
        of_row = {x[i].tobytes(): frame for i, frame in frames.items()}
        return lambda row: woodelf.shap_values(of_row[row.tobytes()], verbose=False)
    if peer == "fasttreeshap":
        import fasttreeshap

        fast = fasttreeshap.TreeExplainer(model, algorithm="v2", n_jobs=1)
        return lambda row: fast.shap_values(row, check_additivity=False)
    import shap

    if peer == "path-dependent":
        explainer = shap.TreeExplainer(model)
        return lambda row: explainer.shap_values(row, check_additivity=False)
    rows = int(peer.removeprefix("interventional-"))
    masker = shap.maskers.Independent(x[:rows], max_samples=rows)
    if name.startswith("logistic"):
        linear = shap.LinearExplainer(model, masker)
        return linear.shap_values  # type: ignore[no-any-return, unused-ignore]
    trees = shap.TreeExplainer(model, data=masker, feature_perturbation="interventional")
    if trees.data.shape[0] != rows:
        raise SystemExit(f"shap holds {trees.data.shape[0]} background rows, want {rows}")
    return lambda row: trees.shap_values(row, check_additivity=False)


def time_peer(name: str, peer: str, model: Any, x: Any) -> None:
    """Print, as one line of JSON, how long the peer takes for a row."""
    explain = explainer_of(peer, name, model, x)
    explain(x[FIRST_ROW : FIRST_ROW + 1])
    times: list[float] = []
    start = time.perf_counter()
    for row in range(FIRST_ROW, 5_000):
        begin = time.perf_counter()
        explain(x[row : row + 1])
        times.append(time.perf_counter() - begin)
        if time.perf_counter() - start > SECONDS and len(times) >= 3:
            break
    found = {"peer": peer, "median": float(np.median(times)), "rows": len(times)}
    print(json.dumps(found), flush=True)


def main() -> None:
    """Train all models, or time peers on one."""
    command, folder = sys.argv[1], Path(sys.argv[2])
    if command == "train":
        train(folder)
        return
    name, peers = sys.argv[3], sys.argv[4:]
    x, y = rows_and_labels()
    model = estimators()[name].fit(x, y)
    for peer in peers:
        child = os.fork()
        if child == 0:
            try:
                time_peer(name, peer, model, x)
            except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever a peer dies of
                print(f"{peer} on {name}: {type(error).__name__}: {error}", file=sys.stderr)
                os._exit(1)
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
