"""Models are opened as their graphs allow, and what the background disproves is not served so."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from app.served import is_black_box, open_model
from app.settings import Settings
from models.build import write_bundle
from models.bundle import BundleFiles, read
from models.card import Card, Output
from models.errors import CardRefusedError
from models.rows import Row, Sample
from models.session import split_rows
from tests.app import tiny
from tests.models.graphs import REGRESSION, card, constant, field, make_model, tensor, write


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model with its two numbers added up on the way to the trees.

    CumSum is an operator of which only trying shows that its columns mix fields.
    """
    model = onnx.load_model_from_string(tiny.model())
    model.graph.initializer.append(helper.make_tensor("axis", TensorProto.INT64, [], [1]))
    concat = next(node for node in model.graph.node if node.op_type == "Concat")
    concat.input[0] = "z"
    model.graph.node.insert(0, helper.make_node("CumSum", ["x", "axis"], ["z"]))
    card = Card(
        name="mixed",
        version="1",
        title="Mixed",
        owner="Nobody",
        purpose="A test",
        legal_basis="None",
        output=Output(task="classification", meaning="yes", classes=(0, 1), positive_class=1),
        fields=(
            field("amount", input="x"),
            field("count", "integer", input="x"),
            field("answer", "string", categories=["yes", "no"], input="answer"),
        ),
        what_it_cannot_know=("Nothing",),
        limitations=("All",),
    )

    def summed(case: Row) -> Row:
        return {**case, "count": int(float(case["amount"] or 0)) + int(case["count"] or 0)}

    probabilities = [tiny.probability(summed(case)) for case in tiny.BACKGROUND]
    directory = tmp_path_factory.mktemp("mixed") / "bundle"
    write_bundle(
        directory,
        model=model.SerializeToString(),
        card=card,
        background=tiny.BACKGROUND,
        samples=[
            Sample(case, int(p > 0.5), (1 - p, p))
            for case, p in zip(tiny.BACKGROUND, probabilities, strict=True)
        ],
    )
    return directory


def test_a_graph_that_cannot_be_traced_leaves_a_black_box_run_in_batches(
    mixed: Path,
) -> None:
    bundle, explainer = open_model(read(mixed), Settings())
    assert is_black_box(explainer)
    assert explainer.method == "exact enumeration"
    assert "cannot be traced" in explainer.reason
    feeds = bundle.background.feeds
    scores, taps = explainer.game.run(feeds)
    assert taps == ()
    assert scores.tobytes() == bundle.session.run_batch(feeds).tobytes()
    # Nothing is tapped any more: the session is that of the file as it is.
    row = split_rows(feeds)[0]
    scored = bundle.session.run_row(row)
    assert scored.taps == ()
    explanation = explainer.explain(row, scored.scores, (), b"")
    np.testing.assert_allclose(explanation.margins, scored.scores[[1]], rtol=0, atol=1e-6)


def test_a_plan_that_holds_keeps_its_taps(tiny_models: Path) -> None:
    """The near miss: the same model without the operator that mixes."""
    bundle, explainer = open_model(read(tiny_models / tiny.NAME / "bundle"), Settings())
    assert not is_black_box(explainer)
    assert explainer.method == "tree tables"
    assert len(bundle.session.run_row(split_rows(bundle.background.feeds)[0]).taps) == 1


def in_a_function() -> bytes:
    """Return the small model with all its nodes in a function of the file."""
    model = onnx.load_model_from_string(tiny.model())
    inputs, outputs = ["x", "answer", "two"], ["label", "probabilities"]
    opsets = [*model.opset_import]
    whole = helper.make_function("own", "Whole", inputs, outputs, [*model.graph.node], opsets)
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("Whole", inputs, outputs, domain="own"))
    model.functions.append(whole)
    model.opset_import.append(helper.make_opsetid("own", 1))
    return bytes(model.SerializeToString())


def written(target: Path, card: Card, source: BundleFiles) -> BundleFiles:
    """Write the bundle of the small model in a function."""
    return write_bundle(
        target,
        model=in_a_function(),
        card=card,
        background=source.background,
        samples=source.samples,
    )


def test_what_is_in_a_function_is_explained_as_without_it(
    tiny_models: Path, tmp_path: Path
) -> None:
    source = read(tiny_models / tiny.NAME / "bundle")
    files = written(tmp_path / "bundle", source.card, source)
    (bundle, explainer), (_, want) = (open_model(each, Settings()) for each in (files, source))
    assert (explainer.method, explainer.unit) == (want.method, want.unit)
    for row in split_rows(bundle.background.feeds):
        scored = bundle.session.run_row(row)
        found, wanted = (
            each.explain(row, scored.scores, scored.taps, b"") for each in (explainer, want)
        )
        np.testing.assert_array_equal(found.contributions, wanted.contributions)


def test_an_encoder_in_a_function_tells_a_misspelt_category(
    tiny_models: Path, tmp_path: Path
) -> None:
    source = read(tiny_models / tiny.NAME / "bundle")
    *others, answer = source.card.fields
    misspelt = answer.model_copy(
        update={"categories": ("yes", "no", "Yes"), "may_be_unknown": False}
    )
    told = source.card.model_copy(update={"fields": (*others, misspelt)})
    with pytest.raises(CardRefusedError, match="does not know: 'Yes'"):
        written(tmp_path / "bundle", told, source)


@pytest.mark.parametrize(
    ("last", "method"), [("Clip", "exact enumeration"), ("Identity", "linear")]
)
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_one_number_is_a_probability_if_it_is_a_classifiers(
    last: str, method: str, task: str, tmp_path: Path
) -> None:
    """The graph does not tell: a regression may have numbers from 0 to 1 too."""
    limits = ["low", "high"] if last == "Clip" else []
    model = make_model(
        [
            helper.make_node("Gemm", ["x", "w", "b"], ["y"]),
            helper.make_node(last, ["y", *limits], ["score"]),
        ],
        [tensor("x", TensorProto.FLOAT, (None, 3))],
        [tensor("score", TensorProto.FLOAT, (None, 1))],
        [
            constant("w", [[0.25], [-0.25], [0.125]]),
            constant("b", [0.5]),
            constant("low", 0.0),
            constant("high", 1.0),
        ],
    )
    case: Row = {"a": 0.5, "b": 0.25, "c": 0.5}
    answer: Sample = Sample(case, "yes" if task == "classification" else 0.625, (0.625,))
    files = write(
        tmp_path / "bundle",
        model=model,
        card_=card(output=None if task == "classification" else REGRESSION),
        background=[case, {"a": 0.0, "b": 1.0, "c": -0.5}],
        samples=[answer],
    )
    _, explainer = open_model(files, Settings(_env_file=None))
    unit = "probability" if task == "classification" else "model output"
    assert (explainer.method, explainer.unit) == (method, unit)
