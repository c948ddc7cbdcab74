"""The one model that everything in the comparison serves: gradient boosting, 100 trees of depth 4.

Imported in every environment, so it needs numpy and scikit-learn alone. The rows come from a file
that the harness writes once; training is deterministic, and the harness compares what each served
model says of the same rows.
"""

from pathlib import Path
from typing import Any

import numpy as np

FIELDS = tuple(f"f{number:02}" for number in range(20))
N_TRAINING = 5_000


def rows_of(path: Path) -> tuple[Any, Any]:
    """Return the rows, shape (N, 20), and their classes, 0 or 1."""
    with np.load(path, allow_pickle=False) as file:
        return file["x"], file["y"]


def trained(path: Path) -> Any:
    """Return the model, trained on the first rows of the file."""
    from sklearn.ensemble import GradientBoostingClassifier

    x, y = rows_of(path)
    model = GradientBoostingClassifier(n_estimators=100, max_depth=4, random_state=0)
    return model.fit(x[:N_TRAINING], y[:N_TRAINING])
