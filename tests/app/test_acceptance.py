"""A bundle's explanations are held against shap's before it serves, and wrong ones are refused."""

import csv
import io
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper
from typer.testing import CliRunner

from app.acceptance import AcceptanceRefusedError, Make, check_repeated, cross_check
from app.checking import build_bundle, check_bundle
from app.cli import app
from app.served import explain_against, open_model
from app.settings import Settings
from app.shap_answers import (
    CrossCheckMissingError,
    FieldGame,
    NotComparableError,
    enumerated,
    permuted,
)
from explainers.errors import BackgroundError
from explainers.explainer import Explainer, Feeds
from explainers.explanation import Explanation, Vector
from models.acceptance import Acceptance, write_acceptance
from models.build import write_bundle
from models.bundle import Bundle, digest_of, read
from models.card import Output
from models.rows import Labelled, Row, Sample
from tests.app import tiny
from tests.explainers.ensembles import forest_of_stumps, regressor
from tests.explainers.served import session
from tests.models import graphs
from tests.reference.naive_shapley import naive_shapley


@pytest.fixture(scope="module")
def small(tiny_models: Path) -> tuple[Bundle, Explainer]:
    """Three fields and five background rows: everything can be enumerated."""
    return open_model(read(tiny_models / tiny.NAME / "bundle"), Settings())


@pytest.fixture(scope="module")
def large(demo_models: Path) -> tuple[Bundle, Explainer]:
    """Twenty fields and a thousand background rows: nothing can."""
    return open_model(read(demo_models / "housing-support" / "bundle"), Settings())


@dataclass(frozen=True, slots=True)
class Slanted:
    """An explainer that gives a little too much to one field and takes it from another."""

    right: Explainer
    slant: float
    fields: tuple[int, int] = (0, 1)

    @property
    def method(self) -> str:
        return self.right.method

    @property
    def reason(self) -> str:
        return self.right.reason

    @property
    def unit(self) -> str:
        return self.right.unit

    @property
    def link(self) -> str:
        return self.right.link

    @property
    def base_values(self) -> Vector:
        return self.right.base_values

    @property
    def background_rows(self) -> int:
        return self.right.background_rows

    @property
    def background_digest(self) -> str:
        return self.right.background_digest

    def explain(
        self, feeds: Feeds, scores: NDArray[Any], taps: tuple[NDArray[Any], ...], seed: bytes
    ) -> Explanation:
        explanation = self.right.explain(feeds, scores, taps, seed)
        values = explanation.values.copy()
        more, less = self.fields
        values[more, 0] += self.slant
        values[less, 0] -= self.slant
        return explanation._replace(values=values)


def maker(bundle: Bundle, slant: float = 0.0, fields: tuple[int, int] = (0, 1)) -> Make:
    make = partial(explain_against, bundle, Settings())
    return lambda background, targets: Slanted(make(background, targets), slant, fields)


def test_few_fields_are_enumerated_against_the_whole_background(
    small: tuple[Bundle, Explainer],
) -> None:
    bundle, explainer = small
    heard: list[tuple[int, int]] = []
    found = cross_check(
        bundle, explainer, maker(bundle), lambda done, total: heard.append((done, total))
    )
    assert found.rows == len(bundle.samples) + bundle.background.rows == 11
    assert found.method == explainer.method
    assert found.unit == "log-odds"
    assert "every coalition" in found.against
    assert "all 5 background rows" in found.against
    assert found.largest_difference <= 1e-6
    assert found.largest_difference <= found.allowed_difference <= 1e-4
    assert heard[0] == (0, 11)
    assert heard[-1] == (11, 11)


def test_an_explainer_that_is_a_thousandth_off_in_one_field_is_refused(
    small: tuple[Bundle, Explainer],
) -> None:
    """It adds up all the same: only an independent answer can tell."""
    bundle, explainer = small
    with pytest.raises(AcceptanceRefusedError) as refused:
        cross_check(bundle, Slanted(explainer, 1e-3), maker(bundle, 1e-3))
    assert refused.value.row == 0
    assert refused.value.field in {"amount", "count"}
    assert abs(refused.value.got - refused.value.want) == pytest.approx(1e-3, rel=0.01)
    for part in ("row 0", f"field {refused.value.field}", "got", "want", "within"):
        assert part in str(refused.value)
    # The near miss of the near miss: what float32 scores cannot tell apart is not held against it.
    assert cross_check(bundle, Slanted(explainer, 1e-7), maker(bundle, 1e-7)).rows == 11


def test_a_long_forest_is_compared_within_its_own_rounding(tmp_path: Path) -> None:
    """Onnxruntime's float32 sum of 1,000 votes is off by more than hundreds of leaves are."""
    model = regressor(forest_of_stumps(np.random.default_rng(1), trees=1000))
    bundle, explainer = opened(tmp_path, model, graphs.REGRESSION)
    assert explainer.method == "tree tables"
    make = partial(explain_against, bundle, Settings())
    found = cross_check(bundle, explainer, make)
    assert found.rows == 21
    assert 2.5e-6 < found.largest_difference < found.allowed_difference < 1e-4
    with pytest.raises(AcceptanceRefusedError):
        cross_check(bundle, Slanted(explainer, 1e-3), make)


def weighted(weights: list[list[float]], offsets: list[float], *more: NodeProto) -> bytes:
    """Return a graph of numbers: a linear form for each offset, and what ``more`` makes of them."""
    first = helper.make_node("Gemm", ["X", "w", "b"], ["z" if more else "scores"])
    return graphs.make_model(
        [first, *more],
        [graphs.tensor("X", TensorProto.FLOAT, (None, len(weights)))],
        [graphs.tensor("scores", TensorProto.FLOAT, (None, None))],
        [graphs.constant("w", weights), graphs.constant("b", offsets)],
    )


TWO = Output(task="classification", meaning="a class", classes=(0, 1), positive_class=1)


def sigmoid_of(weights: list[float], offset: float = 0.0) -> bytes:
    """Return a graph with the probabilities of two classes, of which a linear form is the log-odds."""
    sigmoid = helper.make_node("Sigmoid", ["z"], ["scores"])
    return weighted([[-each, each] for each in weights], [-offset, offset], sigmoid)


def test_a_large_number_with_small_contributions_is_compared_as_float32_tells_it(
    tmp_path: Path,
) -> None:
    """Of three million, float32 tells a quarter: contributions of a hundred are told well enough."""
    model = weighted([[90.0], [-50.0], [20.0]], [3e6])
    bundle, explainer = opened(tmp_path, model, graphs.REGRESSION)
    make = partial(explain_against, bundle, Settings())
    found = cross_check(bundle, explainer, make)
    assert found.rows == 21
    assert found.largest_difference < 0.5 < found.allowed_difference < 10
    with pytest.raises(AcceptanceRefusedError):
        cross_check(bundle, Slanted(explainer, 20.0), make)


def test_where_no_row_is_told_finely_those_that_are_told_coarsely_count(tmp_path: Path) -> None:
    """A class that is always rare leaves every row's log-odds uncertain by more than 1e-4."""
    bundle, explainer = opened(tmp_path, sigmoid_of([0.5, 0.2, 0.3], -6.0), TWO)
    found = cross_check(bundle, explainer, maker(bundle))
    assert found.rows == 21
    assert found.largest_difference < 1e-3 < found.allowed_difference < 1e-2
    slanted = maker(bundle, 0.05)
    with pytest.raises(AcceptanceRefusedError):
        cross_check(bundle, Slanted(explainer, 0.05), slanted)


def test_where_no_row_is_told_two_fields_at_a_time_are(tmp_path: Path) -> None:
    """Some background rows score 0 or 1, and are in every row's base value."""
    bundle, explainer = opened(tmp_path, sigmoid_of([16.0, -12.0, 9.0]), TWO)
    scores = bundle.session.run_batch(bundle.background.feeds)
    assert np.any(scores == 1.0)
    found = cross_check(bundle, explainer, maker(bundle))
    assert "2 fields at a time" in found.against
    assert found.rows > 5
    assert found.largest_difference < found.allowed_difference < 0.1
    for fields in ((0, 1), (1, 2), (2, 0)):
        with pytest.raises(AcceptanceRefusedError):
            cross_check(bundle, explainer, maker(bundle, 0.2, fields))


def test_a_class_that_is_all_but_impossible_leaves_a_softmax_comparable(tmp_path: Path) -> None:
    """Its scores of 1e-15 have as many digits as all others."""
    softmax = helper.make_node("Softmax", ["z"], ["scores"], axis=1)
    model = weighted(
        [[0.5, -0.5, 0.1], [0.2, 0.1, -0.3], [0.3, 0.3, 0.0]], [0.0, 0.0, -35.0], softmax
    )
    three = Output(task="classification", meaning="a class", classes=(0, 1, 2), positive_class=1)
    bundle, explainer = opened(tmp_path, model, three)
    targets = (0, 1, 2)
    found = cross_check(bundle, explainer, maker(bundle))
    assert found.rows == 21
    assert found.largest_difference < found.allowed_difference < 2e-4
    slanted = maker(bundle, 1e-3)
    with pytest.raises(AcceptanceRefusedError):
        cross_check(bundle, slanted(bundle.background.feeds, targets), slanted)


def test_a_case_whose_score_alone_is_as_good_as_1_has_no_answer(tmp_path: Path) -> None:
    """Every contribution is then infinite, which is no scale for an error as large."""
    bundle, _ = opened(tmp_path, sigmoid_of([1.0] * 3), TWO)
    game = FieldGame(bundle, bundle.background.feeds, (0, 1, 2), "logistic")
    far = bundle.schema.encode(dict.fromkeys("abc", 6.0)).feeds
    assert bundle.session.run_row(far).scores[1] == 1.0
    assert enumerated(game, far) is None
    near = bundle.schema.encode(dict.fromkeys("abc", 1.0)).feeds
    assert enumerated(game, near) is not None


@pytest.mark.parametrize(("rows", "method"), [(20, "enumeration"), (600, "permutations")])
def test_a_black_box_of_many_fields_is_compared_a_few_at_a_time(
    rows: int, method: str, tmp_path: Path
) -> None:
    relu = helper.make_node("Relu", ["z"], ["kept"])
    total = helper.make_node("ReduceMean", ["kept"], ["scores"], axes=[1])
    weights = np.random.default_rng(0).normal(size=(11, 4))
    model = weighted(weights.tolist(), [0.5] * 4, relu, total)
    bundle, explainer = opened(tmp_path, model, graphs.REGRESSION, names="abcdefghijk", rows=rows)
    assert method in explainer.method
    make = partial(explain_against, bundle, Settings())
    found = cross_check(bundle, explainer, make)
    assert found.rows == min(rows + 1, 100)
    assert "8 fields at a time" in found.against
    assert found.largest_difference <= (1e-5 if rows == 20 else found.allowed_difference)


def opened(
    tmp_path: Path, model: bytes, output: Output, *, names: str = "abc", rows: int = 20
) -> tuple[Bundle, Explainer]:
    rng = np.random.default_rng(1)
    cases = [
        dict(zip(names, map(float, row), strict=True))
        for row in rng.normal(size=(rows, len(names)))
    ]
    scores = scored(model, cases[0])
    files = graphs.write(
        tmp_path / "bundle",
        model=model,
        card_=graphs.card([graphs.field(name) for name in names], output),
        background=cases,
        samples=[Sample(cases[0], int(np.argmax(scores)) if output.classes else scores[0], scores)],
    )
    return open_model(files, Settings())


def scored(model: bytes, row: Row) -> tuple[float, ...]:
    feeds = {"X": np.array([list(row.values())], dtype=np.float32)}
    return tuple(session(model).run(None, feeds)[0].ravel().tolist())


def test_an_answer_that_is_no_number_is_refused(small: tuple[Bundle, Explainer]) -> None:
    bundle, explainer = small
    with pytest.raises(AcceptanceRefusedError):
        cross_check(bundle, Slanted(explainer, np.nan), maker(bundle))


def test_many_fields_are_enumerated_a_few_at_a_time(large: tuple[Bundle, Explainer]) -> None:
    bundle, explainer = large
    found = cross_check(bundle, explainer, maker(bundle))
    assert found.rows == 100
    assert "8 fields at a time" in found.against
    assert found.largest_difference <= 1e-6
    assert found.allowed_difference <= 1e-4
    with pytest.raises(AcceptanceRefusedError):
        cross_check(bundle, explainer, maker(bundle, 1e-3))


def test_shaps_answer_is_the_shapley_value_of_the_game_of_fields(
    small: tuple[Bundle, Explainer],
) -> None:
    """By a plain sum over coalitions, of margins known by heart; sampling comes near it."""
    bundle, _ = small
    game = FieldGame(bundle, bundle.background.feeds, (0, 1, 2), "logistic")
    names = [field.name for field in bundle.card.fields]

    def worth(coalition: frozenset[int]) -> float:
        taken = {name: tiny.CASE[name] for at, name in enumerate(names) if at in coalition}
        return float(np.mean([tiny.margin({**row, **taken}) for row in tiny.BACKGROUND]))

    want = naive_shapley(worth, 3)
    found = permuted(game, bundle.schema.encode(tiny.CASE).feeds)
    assert found is not None
    np.testing.assert_allclose(found.values, want, rtol=0, atol=found.uncertainty.max())
    assert found.uncertainty.max() < 1e-4  # the margin is a sum: every order gives the same


def test_what_is_built_carries_its_cross_check_in_its_digest(
    tiny_models: Path, tmp_path: Path
) -> None:
    built = built_at(tmp_path / "built", tiny_models)
    files = read(tmp_path / "built")
    assert files.acceptance is not None
    assert files.digest == built.digest
    without = {name: each for name, each in files.contents.items() if name != "acceptance.json"}
    assert digest_of(without) != files.digest
    checked = check_bundle(tmp_path / "built")
    assert checked.acceptance == files.acceptance
    assert any(finding.startswith("cross-check: 11 rows") for finding in checked.findings)
    assert not any("acceptance" in warning for warning in checked.warnings)
    shown = CliRunner().invoke(app, ["bundle", "show", str(tmp_path / "built")])
    assert "Cross-check: 11 rows explained by tree tables differ by at most" in shown.output
    assert "Calibration cases: 40" in shown.output


def test_a_recorded_figure_that_does_not_hold_is_refused(tiny_models: Path, tmp_path: Path) -> None:
    source = read(tiny_models / tiny.NAME / "bundle")
    _, explainer = open_model(source, Settings())
    told = Acceptance(
        method=explainer.method,
        against="nothing",
        rows=1,
        largest_difference=0.0,
        allowed_difference=0.0,
        unit="log-odds",
        largest_residual=0.0,
    )
    write_bundle(
        tmp_path / "bundle",
        model=source.model,
        card=source.card,
        background=source.background,
        samples=source.samples,
        acceptance=told,
    )
    with pytest.raises(NotComparableError, match=r"got a difference of .* want at most 0,"):
        check_bundle(tmp_path / "bundle")
    other = told.model_copy(update={"method": "sampled permutations"})
    with pytest.raises(NotComparableError, match="got tree tables, want sampled permutations"):
        check_repeated(other, told)
    with pytest.raises(NotComparableError, match="unit: got log-odds, want probability"):
        check_repeated(told.model_copy(update={"unit": "probability"}), told)
    check_repeated(told, told)


def test_a_bundle_without_a_cross_check_is_warned_about(tiny_models: Path) -> None:
    checked = check_bundle(tiny_models / tiny.NAME / "bundle")
    assert any("acceptance.json: got none" in warning for warning in checked.warnings)


def test_a_background_that_no_service_could_start_with_is_refused(
    tiny_models: Path, tmp_path: Path
) -> None:
    source = read(tiny_models / tiny.NAME / "bundle")
    write_bundle(
        tmp_path / "bundle",
        model=source.model,
        card=source.card,
        background=source.background[:1],
        samples=source.samples,
    )
    with pytest.raises(BackgroundError, match=r"rows: got \[1\], want .* at least 2"):
        check_bundle(tmp_path / "bundle")


def test_without_shap_building_says_what_to_install_and_keeps_nothing(
    tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "shap", None)
    with pytest.raises(CrossCheckMissingError, match="extra `train`"):
        built_at(tmp_path / "built", tiny_models)
    assert not (tmp_path / "built").exists()
    checked = check_bundle(tiny_models / tiny.NAME / "bundle")
    assert checked.acceptance is None
    assert any("shap" in warning for warning in checked.warnings)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("12.5,5,yes,2", "line 42, label"),
        ("12.5,five,yes,1", "line 42, count"),
        ("12.5,5,yes", "line 42: got 3 cells; want 4"),
    ],
)
def test_a_calibration_file_that_does_not_fit_is_refused_with_the_place(
    tiny_models: Path, tmp_path: Path, line: str, message: str
) -> None:
    with pytest.raises(Exception, match=message):
        built_at(tmp_path / "built", tiny_models, extra=line)
    assert not (tmp_path / "built").exists()


def test_calibration_rows_are_read_with_their_labels(tiny_models: Path, tmp_path: Path) -> None:
    built_at(tmp_path / "built", tiny_models)
    calibration = read(tmp_path / "built").calibration
    assert len(calibration) == 40
    assert calibration[0] == Labelled({"amount": 0.0, "count": 0, "answer": "yes"}, 1)
    assert calibration[1] == Labelled({"amount": 1.0, "count": 1, "answer": "no"}, 0)


def test_an_acceptance_file_reads_back_equal(small: tuple[Bundle, Explainer]) -> None:
    bundle, explainer = small
    found = cross_check(bundle, explainer, maker(bundle))
    assert Acceptance.model_validate_json(write_acceptance(found)) == found


def built_at(target: Path, models: Path, *, extra: str | None = None) -> Any:
    source = models / tiny.NAME / "bundle"
    calibration = target.parent / "calibration.csv"
    written = io.StringIO()
    table = csv.writer(written, lineterminator="\n")
    table.writerow(["amount", "count", "answer", "label"])
    table.writerows([float(n), n % 10, ("yes", "no")[n % 2], (1, 0)[n % 2]] for n in range(40))
    calibration.write_text(written.getvalue() + (f"{extra}\n" if extra else ""))
    return build_bundle(
        target,
        model=source / "model.onnx",
        card=source / "card.yaml",
        background=source / "background.parquet",
        samples=source / "samples.json",
        calibration=calibration,
    )
