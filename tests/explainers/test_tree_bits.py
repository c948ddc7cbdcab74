"""The same row has the same bits: on any thread, in any order, in a batch, after a restart."""

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from explainers.choose import choose
from explainers.explainer import ExplainerSettings, Slot
from explainers.tree import TreeExplainer
from explainers.warm import warm_up
from tests.explainers.ensembles import classifier, random_rows, random_trees
from tests.explainers.served import serve

REPEATS = 10_000
BUDGETS = (256 << 20, 0)
"""Tables, and walked trees."""


def built(budget: int, *, rows: int = 50) -> tuple[TreeExplainer, NDArray[Any], NDArray[Any]]:
    """Return an explainer, rows and their scores, all from one seed."""
    rng = np.random.default_rng(77)
    model = classifier(
        random_trees(rng, columns=8, trees=30, depth=6, targets=(0, 1, 2)),
        classes=3,
        transform="SOFTMAX",
    )
    background = random_rows(rng, 200, 8)
    plan = choose(
        model,
        slots=tuple(Slot("X", column) for column in range(8)),
        score_outputs=("scores",),
        targets=(0, 2),
        n_scores=3,
    )
    run = serve(model, ("scores",))
    settings = ExplainerSettings(memory_budget_bytes=budget)
    explainer = plan.build({"X": background}, run, settings)
    assert isinstance(explainer, TreeExplainer)
    values = random_rows(rng, rows, 8)
    scores = np.concatenate([run({"X": values[i : i + 1]})[0] for i in range(rows)])
    return explainer, values, scores


def bits(explainer: TreeExplainer, row: NDArray[Any], scores: NDArray[Any]) -> bytes:
    found = explainer.explain({"X": row[None]}, scores, (), b"")
    return (
        found.contributions.tobytes() + found.margins.tobytes() + found.terms.base_values.tobytes()
    )


@pytest.mark.parametrize("budget", BUDGETS)
def test_bits_are_equal_on_eight_threads_in_any_order(budget: int) -> None:
    explainer, rows, scores = built(budget)
    first = [bits(explainer, row, own) for row, own in zip(rows, scores, strict=True)]
    assert len(set(first)) > 40, "different rows must differ, or the test shows nothing"
    repeats = REPEATS if budget else 200
    order = np.random.default_rng(3).integers(0, len(rows), repeats)

    def again(index: int) -> bool:
        return bits(explainer, rows[index], scores[index]) == first[index]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(again, order.tolist()))


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_batch_has_the_bits_of_its_rows(budget: int) -> None:
    explainer, rows, scores = built(budget)
    batch = explainer.explain_rows({"X": rows}, scores, ())
    for row, own, found in zip(rows, scores, batch, strict=True):
        alone = explainer.explain({"X": row[None]}, own, (), b"")
        assert found.contributions.tobytes() == alone.contributions.tobytes()
        assert found.margins.tobytes() == alone.margins.tobytes()
        assert found.residual == alone.residual


def test_bits_are_equal_after_a_restart(tmp_path: Path) -> None:
    """Two new processes build and explain the same; the long version compiles one afresh."""
    found = []
    # Compiling afresh takes a minute, so by default both load what this process compiled.
    fresh = {"NUMBA_CACHE_DIR": str(tmp_path)} if os.environ.get("GROUNDS_LONG") else {}
    for extra in ({}, fresh):
        environment = dict(os.environ) | extra
        done = subprocess.run(
            [sys.executable, "-m", "tests.explainers.test_tree_bits"],
            capture_output=True,
            check=True,
            env=environment,
            cwd=Path(__file__).parents[2],
        )
        found.append(json.loads(done.stdout))
    assert found[0] == found[1] == digest()


def test_the_layout_of_the_input_does_not_matter() -> None:
    explainer, rows, scores = built(BUDGETS[0], rows=5)
    strided = np.asfortranarray(np.concatenate([rows, rows], axis=1))[:, :8]
    frozen = rows.copy()
    frozen.setflags(write=False)
    for index in range(5):
        want = bits(explainer, rows[index], scores[index])
        assert bits(explainer, strided[index], scores[index]) == want
        assert bits(explainer, frozen[index], scores[index]) == want


def test_warm_up_reports_its_progress() -> None:
    steps = list(warm_up())
    assert len(steps) >= 3
    assert all(isinstance(step, str) for step in steps)


def digest() -> str:
    explainer, rows, scores = built(BUDGETS[0])
    return hashlib.sha256(
        b"".join(bits(explainer, row, own) for row, own in zip(rows, scores, strict=True))
    ).hexdigest()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(digest()))
