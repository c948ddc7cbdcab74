"""Random ensembles against brute force over onnxruntime, and the axioms of Shapley values.

The reference plays the field game on the served graph itself: all coalitions, every background
row, no knowledge of trees. Thresholds and rows share a small grid, so that ties are common.
"""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from explainers.choose import choose
from explainers.errors import AdditivityError
from explainers.explainer import ExplainerSettings, Run, Slot
from explainers.explanation import Explanation
from explainers.tree import TreeExplainer
from tests.explainers.ensembles import (
    MODES,
    Listed,
    classifier,
    forest_of_stumps,
    opset5,
    random_rows,
    random_trees,
    regressor,
)
from tests.explainers.served import serve
from tests.reference.field_game import brute_force

SEEDS = range(200 if os.environ.get("GROUNDS_LONG") else 6)
ATOL = 2e-6
"""onnxruntime adds leaves in float32; ten trees of unit leaves are off by no more than this."""


@dataclass(frozen=True)
class Served:
    explainer: TreeExplainer
    run: Run
    background: NDArray[Any]


def served(
    model: bytes,
    background: NDArray[Any],
    *,
    targets: tuple[int, ...] = (0,),
    n_scores: int = 1,
) -> Served:
    plan = choose(
        model,
        slots=tuple(Slot("X", column) for column in range(background.shape[1])),
        score_outputs=("scores",),
        targets=targets,
        n_scores=n_scores,
    )
    run = serve(model, ("scores",), plan.taps)
    explainer = plan.build({"X": background}, run, ExplainerSettings())
    assert isinstance(explainer, TreeExplainer), explainer.reason
    return Served(explainer, run, background)


def explain(served: Served, row: NDArray[Any]) -> Explanation:
    scores, taps = served.run({"X": row[None]})
    return served.explainer.explain({"X": row[None]}, scores[0], taps, b"")


def check(
    model: bytes,
    rng: np.random.Generator,
    columns: int,
    *,
    n: int,
    link: bool = False,
    missing: bool = True,
) -> None:
    """Compare with brute force; where a link follows, its inverse is taken of every worth."""
    background = random_rows(rng, 12, columns, missing=missing)
    it = served(model, background, targets=tuple(range(n)), n_scores=n)
    for row in random_rows(rng, 4, columns, missing=missing):
        got = explain(it, row)

        def margins(rows: NDArray[Any]) -> NDArray[np.float64]:
            scores = it.run({"X": rows})[0].astype(np.float64)
            return np.log(scores / (1 - scores)) if link else scores

        want = brute_force(margins, row, background)
        # The logit of a float32 probability near 0 or 1 has lost digits.
        np.testing.assert_allclose(got.contributions, want, rtol=0, atol=2e-5 if link else ATOL)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mode", [*[(mode,) for mode in MODES], MODES], ids="-".join)
def test_regressors_of_every_mode_are_brute_force(seed: int, mode: tuple[str, ...]) -> None:
    rng = np.random.default_rng(seed)
    columns, depth = int(rng.integers(1, 7)), int(rng.integers(1, 7))
    trees = random_trees(rng, columns=columns, trees=4, depth=depth, modes=mode)
    check(regressor(trees, base=(0.25,)), rng, columns, n=1)


@pytest.mark.parametrize("columns", [7, 8, 9, 10])
@pytest.mark.parametrize("depth", [3, 8, 20])
def test_up_to_ten_fields_are_brute_force_by_tables_and_by_walking(
    columns: int, depth: int, rng: np.random.Generator
) -> None:
    listed = random_trees(rng, columns=columns, trees=3, depth=depth)
    background = random_rows(rng, 6, columns)
    model = regressor(listed, base=(-0.5,))
    it = served(model, background)
    plan = choose(
        model,
        slots=tuple(Slot("X", column) for column in range(columns)),
        score_outputs=("scores",),
        targets=(0,),
        n_scores=1,
    )
    walker = plan.build({"X": background}, it.run, ExplainerSettings(memory_budget_bytes=0))
    assert isinstance(walker, TreeExplainer)
    (row,) = random_rows(rng, 1, columns)
    want = brute_force(lambda rows: it.run({"X": rows})[0].astype(np.float64), row, background)
    got = explain(it, row).contributions
    np.testing.assert_allclose(got, want, rtol=0, atol=ATOL)
    walked = explain(Served(walker, it.run, background), row).contributions
    np.testing.assert_allclose(walked, want, rtol=0, atol=ATOL)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(np.roll(got, 1), want, rtol=0, atol=ATOL)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE"])
@pytest.mark.parametrize("double", [False, True])
def test_many_targets_are_brute_force(seed: int, aggregate: str, double: bool) -> None:
    rng = np.random.default_rng(seed)
    trees = random_trees(rng, columns=5, trees=5, depth=4, targets=(0, 2))
    model = regressor(trees, targets=3, aggregate=aggregate, base=(0.1, 0.2, 0.3), double=double)
    if double:
        background = random_rows(rng, 12, 5).astype(np.float64)
        it = served(model, background, targets=(0, 1, 2), n_scores=3)
        row = random_rows(rng, 1, 5).astype(np.float64)[0]
        got = explain(it, row)
        want = brute_force(lambda rows: it.run({"X": rows})[0].astype(np.float64), row, background)
        np.testing.assert_allclose(got.contributions, want, rtol=0, atol=ATOL)
    else:
        check(model, rng, 5, n=3)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("aggregate", [0, 1])
def test_opset5_with_set_membership_is_brute_force(seed: int, double: bool, aggregate: int) -> None:
    rng = np.random.default_rng(seed)
    model = opset5(rng, columns=5, trees=4, depth=4, targets=2, double=double, aggregate=aggregate)
    kind = np.float64 if double else np.float32
    background = random_rows(rng, 12, 5).astype(kind)
    it = served(model, background, targets=(0, 1), n_scores=2)
    for row in random_rows(rng, 4, 5).astype(kind):
        got = explain(it, row)
        want = brute_force(lambda rows: it.run({"X": rows})[0].astype(np.float64), row, background)
        np.testing.assert_allclose(got.contributions, want, rtol=0, atol=ATOL)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("base", [(), (0.5,)])
def test_binary_classifiers_with_one_weight_column_are_brute_force(
    seed: int, base: tuple[float, ...]
) -> None:
    rng = np.random.default_rng(seed)
    trees = random_trees(rng, columns=5, trees=5, depth=4)
    check(classifier(trees, base=base), rng, 5, n=2, link=True)


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("targets", [(0,), (1,), (0, 1), (0, 1, 2)])
@pytest.mark.parametrize("n_base", [0, 1, 2])
@pytest.mark.parametrize("labels", ["int64s", "strings"])
def test_every_classifier_rule_adds_up_to_onnxruntimes_scores(
    transform: str, positive: bool, targets: tuple[int, ...], n_base: int, labels: str
) -> None:
    """The residual is checked inside ``explain``; a wrong rule raises or is refused at load."""
    rng = np.random.default_rng(5)
    classes = 3 if 2 in targets else 2
    base = tuple(np.round(rng.normal(size=classes if n_base == 2 else n_base), 2).tolist())
    if classes == 3 and n_base == 1:
        pytest.skip("onnxruntime reads beyond one base value for three classes")
    trees = random_trees(rng, columns=4, trees=4, depth=3, targets=targets, positive=positive)
    model = classifier(trees, classes=classes, transform=transform, base=base, labels=labels)
    background = random_rows(rng, 12, 4)
    it = served(model, background, targets=tuple(range(classes)), n_scores=classes)
    for row in random_rows(rng, 20, 4):
        assert explain(it, row).residual <= 1e-6


@pytest.mark.parametrize("targets", [1, 2, 3])
@pytest.mark.parametrize("transform", [0, 1, 2, 3])
def test_opset5s_transforms_are_those_of_onnxruntime(
    transform: int, targets: int, rng: np.random.Generator
) -> None:
    model = opset5(rng, columns=4, trees=4, depth=3, targets=targets, transform=transform)
    it = served(model, random_rows(rng, 12, 4), targets=tuple(range(targets)), n_scores=targets)
    for row in random_rows(rng, 20, 4):
        assert explain(it, row).residual <= 1e-6


def test_many_fields_and_deep_trees_add_up(rng: np.random.Generator) -> None:
    """30 fields, depth 20: the leaves beyond the tables are walked."""
    listed = deep_trees(rng, columns=30, trees=5, depth=20)
    background = random_rows(rng, 50, 30)
    it = served(regressor(listed), background)
    assert it.explainer.game.walked_leaves > 0
    for row in random_rows(rng, 5, 30):
        got = explain(it, row)
        assert got.residual <= 1e-5
        assert abs(got.margins[0] - it.explainer.game.sums(row[None])[0, 0]) < 1e-12


def deep_trees(rng: np.random.Generator, *, columns: int, trees: int, depth: int) -> Listed:
    """Return trees with one long path each: at every node one child is a leaf."""
    listed = Listed(columns=columns)
    for tree in range(trees):
        for level in range(depth + 1):
            inner, leaf = 2 * level, 2 * level + 1
            last = level == depth
            for node, is_leaf in ((inner, last), (leaf, True)):
                if last and node == leaf:
                    continue
                listed.tree.append(tree)
                listed.node.append(node)
                listed.column.append(0 if is_leaf else int(rng.integers(columns)))
                listed.mode.append("LEAF" if is_leaf else "BRANCH_LEQ")
                listed.value.append(0.0 if is_leaf else float(rng.normal(1.5, 0.5)))
                listed.missing.append(0)
                listed.true.append(0 if is_leaf else inner + 2)
                listed.false.append(0 if is_leaf else leaf)
                if is_leaf:
                    listed.leaf_tree.append(tree)
                    listed.leaf_node.append(node)
                    listed.leaf_target.append(0)
                    listed.leaf_weight.append(float(np.float32(rng.normal())))
    return listed


@pytest.mark.parametrize("seed", SEEDS)
def test_walked_leaves_and_tables_say_the_same(seed: int) -> None:
    """No budget means no tables: the same game by the other algorithm, and by brute force."""
    rng = np.random.default_rng(seed)
    listed = random_trees(rng, columns=7, trees=6, depth=6)
    background = random_rows(rng, 20, 7)
    model = regressor(listed)
    it = served(model, background)
    plan = choose(
        model,
        slots=tuple(Slot("X", column) for column in range(7)),
        score_outputs=("scores",),
        targets=(0,),
        n_scores=1,
    )
    walker = plan.build({"X": background}, it.run, ExplainerSettings(memory_budget_bytes=0))
    assert isinstance(walker, TreeExplainer)
    assert walker.game.walked_leaves > 0
    assert it.explainer.game.walked_leaves == 0
    for row in random_rows(rng, 10, 7):
        walked = explain(Served(walker, it.run, background), row).contributions
        np.testing.assert_allclose(explain(it, row).contributions, walked, rtol=0, atol=1e-12)


def test_a_field_that_no_tree_reads_gets_exactly_zero(rng: np.random.Generator) -> None:
    listed = random_trees(rng, columns=4, trees=6, depth=4)
    listed.columns = 5
    it = served(regressor(listed), random_rows(rng, 20, 5))
    for row in random_rows(rng, 10, 5):
        contributions = explain(it, row).contributions[0]
        assert contributions[4] == 0.0
        assert np.abs(contributions[:4]).max() > 0.0


def test_trees_without_a_split_explain_nothing(rng: np.random.Generator) -> None:
    listed = random_trees(rng, columns=2, trees=3, depth=0)
    it = served(regressor(listed), random_rows(rng, 20, 2))
    explanation = explain(it, random_rows(rng, 1, 2)[0])
    np.testing.assert_array_equal(explanation.contributions, np.zeros((1, 2)))
    np.testing.assert_allclose(it.explainer.base_values, [sum(listed.leaf_weight)])


@pytest.mark.parametrize("seed", range(5))
def test_a_column_of_no_field_changes_nothing(seed: int) -> None:
    """Trees may split on a constant; nobody's column used to be written beside the table."""
    rng = np.random.default_rng(seed)
    model = onnx.load_model_from_string(
        regressor(random_trees(rng, columns=3, trees=4, depth=3, missing=False))
    )
    weights = np.array([[1, 0, 0], [0, 1, 0]], dtype=np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "weights"))
    model.graph.node[0].input[0] = "encoded"
    model.graph.node.insert(0, helper.make_node("MatMul", ["X", "weights"], ["encoded"]))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2
    check(model.SerializeToString(), rng, 2, n=1, missing=False)


def test_fields_that_play_the_same_part_get_the_same(rng: np.random.Generator) -> None:
    """Each tree is there twice, with columns 0 and 1 exchanged; so are the background's rows."""
    one = random_trees(rng, columns=4, trees=5, depth=4)
    both = exchanged(one, 0, 1)
    rows = random_rows(rng, 20, 4)
    swapped = rows[:, [1, 0, 2, 3]]
    it = served(regressor(both), np.concatenate([rows, swapped]))
    for row in random_rows(rng, 10, 4):
        row[1] = row[0]
        contributions = explain(it, row).contributions[0]
        assert contributions[0] == pytest.approx(contributions[1], abs=1e-12)
    row = np.array([-1.0, 2.0, 0.3, 0.3], dtype=np.float32)
    contributions = explain(it, row).contributions[0]
    assert abs(contributions[0] - contributions[1]) > 1e-6


def exchanged(listed: Listed, a: int, b: int) -> Listed:
    offset = max(listed.tree) + 1
    other = {a: b, b: a}
    return Listed(
        tree=listed.tree + [tree + offset for tree in listed.tree],
        node=listed.node * 2,
        column=listed.column + [other.get(column, column) for column in listed.column],
        mode=listed.mode * 2,
        value=listed.value * 2,
        missing=listed.missing * 2,
        true=listed.true * 2,
        false=listed.false * 2,
        leaf_tree=listed.leaf_tree + [tree + offset for tree in listed.leaf_tree],
        leaf_node=listed.leaf_node * 2,
        leaf_target=listed.leaf_target * 2,
        leaf_weight=listed.leaf_weight * 2,
        columns=listed.columns,
    )


def test_contributions_are_linear_in_the_trees(rng: np.random.Generator) -> None:
    one = random_trees(rng, columns=5, trees=3, depth=4)
    two = random_trees(rng, columns=5, trees=4, depth=3)
    background = random_rows(rng, 20, 5)
    parts = [served(regressor(part), background) for part in (one, two)]
    offset = max(one.tree) + 1
    joined = Listed(
        tree=one.tree + [tree + offset for tree in two.tree],
        node=one.node + two.node,
        column=one.column + two.column,
        mode=one.mode + two.mode,
        value=one.value + two.value,
        missing=one.missing + two.missing,
        true=one.true + two.true,
        false=one.false + two.false,
        leaf_tree=one.leaf_tree + [tree + offset for tree in two.leaf_tree],
        leaf_node=one.leaf_node + two.leaf_node,
        leaf_target=one.leaf_target + two.leaf_target,
        leaf_weight=one.leaf_weight + two.leaf_weight,
        columns=5,
    )
    whole = served(regressor(joined), background)
    for row in random_rows(rng, 10, 5):
        added = sum(explain(part, row).contributions for part in parts)
        np.testing.assert_allclose(explain(whole, row).contributions, added, rtol=0, atol=1e-12)


def test_a_forest_of_thousands_adds_up_within_its_own_rounding(rng: np.random.Generator) -> None:
    """Onnxruntime's float32 sum of 3,000 votes is off by more than 1e-5 on some rows."""
    trees = 3000
    it = served(
        regressor(forest_of_stumps(rng, trees=trees)), random_rows(rng, 20, 3, missing=False)
    )
    residuals = []
    for row in random_rows(rng, 40, 3, missing=False):
        got = explain(it, row)
        residuals.append(got.residual)
        scores, taps = it.run({"X": row[None]})
        size = max(it.explainer.lookup.scale, abs(float(scores[0, 0])))
        assert got.tolerance == trees * 2.0**-25 * size
        with pytest.raises(AdditivityError):
            it.explainer.explain({"X": row[None]}, scores[0] + np.float32(3e-4), taps, b"")
    assert 1e-5 < max(residuals) < trees * 2.0**-25 / 2


def test_another_rows_score_is_refused(rng: np.random.Generator) -> None:
    """The near-miss of efficiency: an output off by a hundred-thousandth of its scale."""
    listed = random_trees(rng, columns=4, trees=6, depth=4, modes=("LEQ",))
    it = served(regressor(listed), random_rows(rng, 20, 4))
    row = random_rows(rng, 1, 4)
    scores, taps = it.run({"X": row})
    it.explainer.explain({"X": row}, scores[0], taps, b"")
    off = 3e-5 * max(1.0, abs(float(scores[0, 0])))
    with pytest.raises(AdditivityError, match="does not add up"):
        it.explainer.explain({"X": row}, scores[0] + np.float32(off), taps, b"")
    with pytest.raises(AdditivityError):
        it.explainer.explain({"X": row}, scores[0] * np.nan, taps, b"")


def test_a_threshold_moved_by_one_ulp_is_another_game(rng: np.random.Generator) -> None:
    """The near-miss of ties: rows lie on thresholds, so < and <= must differ."""
    listed = random_trees(rng, columns=3, trees=5, depth=3, modes=("LEQ",), missing=False)
    background = random_rows(rng, 20, 3, missing=False)
    on = np.array([listed.value[i] for i in range(3)], dtype=np.float32)
    same = served(regressor(listed), background)
    listed.mode = [mode.replace("LEQ", "LT") for mode in listed.mode]
    other = served(regressor(listed), background)
    row = np.where(np.isin(on, background), on, on).astype(np.float32)
    assert not np.allclose(explain(same, row).contributions, explain(other, row).contributions)
    listed.value = [
        float(np.nextafter(np.float32(value), np.float32(np.inf))) for value in listed.value
    ]
    back = served(regressor(listed), background)
    np.testing.assert_array_equal(
        explain(same, row).contributions, explain(back, row).contributions
    )
