"""Tree explanations of real models against answers made without this library.

``exact_field_coalitions``: brute force over fields on the source model; ``interventional_raw``:
shap's TreeExplainer on the source model, comparable where each field is one column.
"""

import csv
import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from explainers.choose import choose
from explainers.explainer import Explainer, ExplainerSettings, Feeds
from explainers.explanation import Explanation
from tests.explainers.served import SHARED, feeds_of, row, serve, slots_of

SETS = {
    "adult-lgbm": ("output_probability",),
    "chicago-gbc": ("i0", "i1"),
    "german-rf-ordinal": ("probabilities",),
    "credit-xgb-tensor": ("probabilities",),
}


def explained(
    name: str, targets: tuple[int, ...] = (1,), rows: int = 200
) -> tuple[Explainer, list[Explanation], dict[str, Any], NDArray[np.generic]]:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"no oracle set {name} beside the repository")
    model = (folder / "model.onnx").read_bytes()
    meta = json.loads((folder / "meta.json").read_text())
    kinds = {field["name"]: field["type"] for field in meta["fields"]}
    with (folder / "background.csv").open(newline="") as file:
        lines = [
            {k: v if kinds[k] == "string" else float(v) for k, v in line.items()}
            for line in csv.DictReader(file)
        ]
    background = feeds_of(model, lines, list(kinds))
    inputs = feeds_of(model, json.loads((folder / "inputs.json").read_text()), list(kinds))
    plan = choose(
        model,
        slots=slots_of(background, list(kinds)),
        score_outputs=SETS[name],
        targets=targets,
        n_scores=2,
    )
    run = serve(model, SETS[name], plan.taps)
    explainer = plan.build(background, run, ExplainerSettings())
    found = []
    for index in range(rows):
        one: Feeds = row(inputs, index)
        scores, taps = run(one)
        found.append(explainer.explain(one, scores[0], taps, b""))
    expected = json.loads((folder / "expected.json").read_text())
    return explainer, found, expected, np.array(meta["encoded_to_field"])


@pytest.mark.parametrize("name", ["adult-lgbm", "chicago-gbc"])
def test_contributions_are_those_of_brute_force_over_fields(name: str) -> None:
    explainer, found, expected, _ = explained(name)
    truth = expected["shap"]["exact_field_coalitions"]
    assert explainer.base_values[0] == pytest.approx(truth["base"], abs=1e-6)
    for explanation, want in zip(found, truth["by_field"], strict=False):
        np.testing.assert_allclose(explanation.contributions[0], want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["german-rf-ordinal", "credit-xgb-tensor"])
def test_contributions_are_shaps_where_fields_are_columns(name: str) -> None:
    _, found, expected, _ = explained(name)
    truth = np.array(expected["shap"]["interventional_raw"]["by_field"])
    ours = np.array([explanation.contributions[0] for explanation in found])
    np.testing.assert_allclose(ours, truth, rtol=0, atol=1e-4)


def test_a_field_of_one_hot_columns_is_one_player_and_not_their_sum() -> None:
    """The near-miss: shap's summed one-hot columns are off by more than our tolerance."""
    _, found, expected, _ = explained("adult-lgbm", rows=10)
    summed = np.array(expected["shap"]["interventional_raw"]["by_field"])[:10]
    ours = np.array([explanation.contributions[0] for explanation in found])
    assert np.max(np.abs(ours - summed)) > 1e-3


@pytest.mark.parametrize("name", SETS)
def test_every_row_adds_up_to_the_graphs_own_output(name: str) -> None:
    explainer, found, expected, _ = explained(name)
    assert explainer.method == "tree tables"
    assert explainer.unit == ("probability" if "rf" in name else "log-odds")
    for explanation, own in zip(found, expected["onnx_output_here"]["score"], strict=True):
        assert explanation.residual <= 1e-6
        assert explanation.outputs[0] == pytest.approx(own[1], abs=1e-6)


def test_two_targets_of_a_binary_model_mirror_each_other() -> None:
    explainer, found, _, _ = explained("chicago-gbc", (0, 1), rows=5)
    for explanation in found:
        np.testing.assert_array_equal(explanation.contributions[0], -explanation.contributions[1])
    assert explainer.base_values[0] == -explainer.base_values[1]
