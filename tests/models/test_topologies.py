"""Every form of input and output seen in real graphs is served, or refused with its reason."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from app.served import open_model
from app.settings import Settings
from models.bundle import Bundle, open_bundle
from models.card import Card, Field, Output
from models.errors import BundleRefusedError, CardRefusedError, GraphRefusedError
from models.rows import Row, Sample
from tests.models.feeds import feeds_of
from tests.models.graphs import (
    BINARY,
    REGRESSION,
    ROW,
    SAMPLE,
    WEIGHTS,
    P,
    card,
    constant,
    field,
    linear_model,
    logistic_model,
    make_model,
    tensor,
    write,
)

FLOAT, DOUBLE, INT32, INT64, BOOL, STRING = (
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.BOOL,
    TensorProto.STRING,
)


def opened(
    tmp_path: Path,
    model: bytes,
    card_: Card | None = None,
    sample: Sample = SAMPLE,
    background: Sequence[Row] | None = None,
) -> Bundle:
    files = write(
        tmp_path / "bundle",
        model=model,
        card_=card_,
        samples=[sample],
        background=background or [sample.case],
    )
    return open_bundle(files)


@pytest.mark.parametrize("shape", [(None, 3), ("batch", 3), (None, None), (1, 3), (1, None), None])
def test_one_tensor_is_served_whatever_it_declares(
    shape: Sequence[int | str | None] | None, tmp_path: Path
) -> None:
    bundle = opened(tmp_path, logistic_model(shape=shape))
    scored = bundle.session.run_row(bundle.schema.encode(ROW).feeds)
    np.testing.assert_allclose(scored.scores, [P], rtol=0, atol=1e-6)
    two = bundle.session.run_batch(feeds_of(bundle.schema, [ROW, ROW]))
    np.testing.assert_allclose(two, [[P], [P]], rtol=0, atol=1e-6)


def test_a_graph_that_wants_more_rows_gets_the_one_row_that_often(tmp_path: Path) -> None:
    bundle = opened(tmp_path, logistic_model(shape=(5, 3)))
    scored = bundle.session.run_row(bundle.schema.encode(ROW).feeds)
    np.testing.assert_allclose(scored.scores, [P], rtol=0, atol=1e-6)
    two = bundle.session.run_batch(feeds_of(bundle.schema, [ROW, ROW]))
    np.testing.assert_allclose(two, [[P], [P]], rtol=0, atol=1e-6)


def test_a_graph_that_wants_very_many_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphRefusedError, match=r"rows fixed at 65; want .* at most 64"):
        opened(tmp_path, logistic_model(shape=(65, 3)))


def test_a_tensor_of_three_dimensions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphRefusedError, match="got 3 dimensions"):
        opened(tmp_path, logistic_model(shape=(None, 3, 1)))


@pytest.mark.parametrize("names", ["ab", "abcd"])
def test_a_card_with_too_few_or_too_many_fields_is_refused(names: str, tmp_path: Path) -> None:
    with pytest.raises(
        CardRefusedError, match=rf"input 'x': got {len(names)} fields .*; want 3, one per column"
    ):
        opened(tmp_path, logistic_model(), card(fields=[field(n) for n in names]))


@pytest.mark.parametrize("names", ["ab", "abcd"])
def test_an_undeclared_width_is_checked_by_running(names: str, tmp_path: Path) -> None:
    fields = [field(name) for name in names]
    row = dict.fromkeys(names, 1.0)
    with pytest.raises(GraphRefusedError, match="running the graph on one row"):
        opened(
            tmp_path,
            logistic_model(shape=(None, None)),
            card(fields=fields),
            Sample(row, "yes", (0.5, 0.5)),
        )


def test_scores_of_float64_keep_every_bit(tmp_path: Path) -> None:
    bundle = opened(tmp_path, logistic_model(element=DOUBLE))
    scored = bundle.session.run_row(bundle.schema.encode(ROW).feeds)
    assert scored.scores.dtype == np.float64
    np.testing.assert_allclose(scored.scores, [P], rtol=0, atol=1e-15)


def test_one_probability_for_two_classes_is_the_positive_ones(tmp_path: Path) -> None:
    bundle = opened(tmp_path, logistic_model(score_shape=(None, 1)))
    low = bundle.schema.encode({"a": -4.0, "b": 2.0, "c": 4.0})
    assert bundle.session.n_scores == 1
    assert bundle.positive_score == 0
    assert bundle.session.run_row(bundle.schema.encode(ROW).feeds).label == "yes"
    assert bundle.session.run_row(low.feeds).label == "no"


def test_one_probability_about_the_other_class_is_refused(tmp_path: Path) -> None:
    output = BINARY.model_copy(update={"positive_class": "no"})
    with pytest.raises(BundleRefusedError, match=r"differ by 0\.245"):
        opened(tmp_path, logistic_model(), card(output=output))


def test_a_score_tensor_of_one_dimension_is_served(tmp_path: Path) -> None:
    model = make_model(
        [
            helper.make_node("MatMul", ["x", "w"], ["margin"]),
            helper.make_node("Sigmoid", ["margin"], ["p"]),
        ],
        [tensor("x", FLOAT, (None, 3))],
        [tensor("p", FLOAT, (None,))],
        [constant("w", list(WEIGHTS))],
    )
    bundle = opened(tmp_path, model)
    assert bundle.session.run_row(bundle.schema.encode(ROW).feeds).scores.shape == (1,)


def test_a_regression_has_one_score_and_no_label(tmp_path: Path) -> None:
    bundle = opened(tmp_path, linear_model(), card(output=REGRESSION), Sample(ROW, 0.5, (0.5,)))
    scored = bundle.session.run_row(bundle.schema.encode(ROW).feeds)
    assert (scored.label, scored.scores.tolist()) == (None, [0.5])


def test_a_regression_with_two_targets_is_refused(tmp_path: Path) -> None:
    model = make_model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [tensor("x", FLOAT, (None, 3))],
        [tensor("y", FLOAT, (None, 2))],
        [constant("w", [[1, 2], [3, 4], [5, 6]])],
    )
    with pytest.raises(GraphRefusedError, match="got 2 numbers for one row; want 1"):
        opened(tmp_path, model, card(output=REGRESSION), Sample(ROW, 0.5, (0.5, 0.5)))


def mixed_columns(names: Sequence[str] = ("a", "b", "c", "d", "e")) -> bytes:
    """Return a regression over one input of each type: the sum of its numbers, of ranks 1 and 2."""
    a, b, c, d, e = names
    nodes = [
        helper.make_node("Cast", [a], ["a_"], to=DOUBLE),
        helper.make_node("Cast", [b], ["b_"], to=DOUBLE),
        helper.make_node("Cast", [c], ["c_"], to=DOUBLE),
        helper.make_node("Cast", [d], ["d_"], to=DOUBLE),
        helper.make_node(
            "LabelEncoder",
            [e],
            ["e1"],
            domain="ai.onnx.ml",
            keys_strings=["small", "large"],
            values_floats=[100.0, 200.0],
            default_float=-1.0,
        ),
        helper.make_node("Cast", ["e1"], ["e_"], to=DOUBLE),
        helper.make_node("Reshape", ["d_", "column"], ["d2"]),
        helper.make_node("Sum", ["a_", "b_", "c_", "d2", "e_"], ["y"]),
    ]
    return make_model(
        nodes,
        [
            tensor(a, DOUBLE, (None, 1)),
            tensor(b, INT64, (None, 1)),
            tensor(c, INT32, (None, 1)),
            tensor(d, BOOL, (None,)),
            tensor(e, STRING, (None, 1)),
        ],
        [tensor("y", DOUBLE, (None, 1))],
        [constant("column", [-1, 1], np.int64)],
    )


MIXED_FIELDS = (
    field("e", "string", categories=["small", "large"]),
    field("d", "boolean"),
    field("b", "integer"),
    field("c", "integer"),
    field("a", "number"),
)
MIXED_ROW: Row = {"a": 0.25, "b": 2**53 + 1, "c": -7, "d": True, "e": "large"}
MIXED_SAMPLE = Sample(MIXED_ROW, 0.0, (0.25 + 2**53 + 1 - 7 + 1 + 200,))


def test_one_input_per_column_of_every_type_is_filled_by_name(tmp_path: Path) -> None:
    bundle = opened(
        tmp_path, mixed_columns(), card(fields=MIXED_FIELDS, output=REGRESSION), MIXED_SAMPLE
    )
    feeds = bundle.schema.encode(MIXED_ROW).feeds
    assert {name: (array.shape, array.dtype.kind) for name, array in feeds.items()} == {
        "a": ((1, 1), "f"),
        "b": ((1, 1), "i"),
        "c": ((1, 1), "i"),
        "d": ((1,), "b"),
        "e": ((1, 1), "O"),
    }
    assert feeds["b"].item() == 2**53 + 1


def test_foreign_input_names_need_the_card_to_say_which(tmp_path: Path) -> None:
    model = mixed_columns(("p", "q", "r", "s", "t"))
    whole = [f for f in MIXED_FIELDS if f.name in "bc"]
    rest = [f for f in MIXED_FIELDS if f.name not in "bc"]
    with pytest.raises(CardRefusedError, match=r"input 'q': got 2 fields .* want 1"):
        opened(tmp_path, model, card(fields=MIXED_FIELDS, output=REGRESSION), MIXED_SAMPLE)
    told = [f.model_copy(update={"input": name}) for f, name in zip(whole, ("q", "r"), strict=True)]
    bundle = opened(tmp_path, model, card(fields=[*rest, *told], output=REGRESSION), MIXED_SAMPLE)
    assert [slot.input for slot in bundle.slots] == ["t", "s", "p", "q", "r"]


def grouped(order: Sequence[str] = ("numbers", "texts")) -> bytes:
    """Return a regression: numbers . (1, 10) + (100 or 200 by the second text)."""
    inputs = {
        "numbers": tensor("numbers", FLOAT, (None, 2)),
        "texts": tensor("texts", STRING, (None, 2)),
    }
    return make_model(
        [
            helper.make_node("MatMul", ["numbers", "w"], ["n"]),
            helper.make_node(
                "LabelEncoder",
                ["texts"],
                ["codes"],
                domain="ai.onnx.ml",
                keys_strings=["small", "large"],
                values_floats=[100.0, 200.0],
                default_float=-1.0,
            ),
            helper.make_node("Gather", ["codes", "second"], ["code"], axis=1),
            helper.make_node("Add", ["n", "code"], ["y"]),
        ],
        [inputs[name] for name in order],
        [tensor("y", FLOAT, (None, 1))],
        [constant("w", [[1], [10]]), constant("second", [1], np.int64)],
    )


GROUPED_FIELDS = (
    field("t1", "string", categories=["small", "large"]),
    field("n1"),
    field("t2", "string", categories=["small", "large"]),
    field("n2", "integer"),
)
GROUPED_SAMPLE = Sample(
    {"t1": "small", "n1": 3.0, "t2": "large", "n2": 4}, 243.0, (3.0 + 40.0 + 200.0,)
)


@pytest.mark.parametrize("order", [("numbers", "texts"), ("texts", "numbers")])
def test_grouped_tensors_take_their_type_in_card_order(
    order: Sequence[str], tmp_path: Path
) -> None:
    bundle = opened(
        tmp_path, grouped(order), card(fields=GROUPED_FIELDS, output=REGRESSION), GROUPED_SAMPLE
    )
    assert [(slot.input, slot.column) for slot in bundle.slots] == [
        ("texts", 0),
        ("numbers", 0),
        ("texts", 1),
        ("numbers", 1),
    ]


def test_the_card_may_name_every_input_and_column(tmp_path: Path) -> None:
    places = {"t1": ("texts", 1), "n1": ("numbers", 1), "t2": ("texts", 0), "n2": ("numbers", 0)}
    fields = [
        f.model_copy(update={"input": places[f.name][0], "column": places[f.name][1]})
        for f in GROUPED_FIELDS
    ]
    sample = Sample(GROUPED_SAMPLE.case, 0.0, (30.0 + 4.0 + 100.0,))
    bundle = opened(tmp_path, grouped(), card(fields=fields, output=REGRESSION), sample)
    assert [(slot.input, slot.column) for slot in bundle.slots] == list(places.values())


@pytest.mark.parametrize("columns", [(0, 0), (1, 2), (0, None)])
def test_columns_that_overlap_or_leave_a_gap_are_refused(
    columns: tuple[int, int | None], tmp_path: Path
) -> None:
    placed = dict(zip(("n1", "n2"), columns, strict=True))
    fields = [
        f.model_copy(update={"input": "numbers", "column": placed[f.name]})
        if f.name in placed
        else f
        for f in GROUPED_FIELDS
    ]
    with pytest.raises(CardRefusedError, match="want each of 0 to 1 once, or none given"):
        opened(tmp_path, grouped(), card(fields=fields, output=REGRESSION), GROUPED_SAMPLE)


def test_two_tensors_of_one_type_leave_a_choice_that_the_card_must_make(tmp_path: Path) -> None:
    model = make_model(
        [
            helper.make_node("Concat", ["p", "q"], ["x"], axis=1),
            helper.make_node("MatMul", ["x", "w"], ["y"]),
        ],
        [tensor("p", FLOAT, (None, 1)), tensor("q", FLOAT, (None, 2))],
        [tensor("y", FLOAT, (None, 1))],
        [constant("w", [[w] for w in WEIGHTS])],
    )
    sample = Sample(ROW, 0.5, (0.5,))
    with pytest.raises(CardRefusedError, match=r"got a choice between inputs 'p'.* and column"):
        opened(tmp_path, model, card(output=REGRESSION), sample)
    told = [field("a", input="p"), field("b", input="q"), field("c", input="q")]
    opened(tmp_path, model, card(fields=told, output=REGRESSION), sample)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (field("a", input="y"), "got input 'y'; want one of 'x'"),
        (field("a", "string", categories=["1"]), "got type string for input 'x' of float32"),
    ],
)
def test_a_field_that_fits_no_input_is_refused(told: Field, message: str, tmp_path: Path) -> None:
    with pytest.raises(CardRefusedError, match=message):
        opened(
            tmp_path,
            logistic_model(),
            card(fields=[told, field("b"), field("c")]),
            Sample({**ROW, "a": 1.0 if told.type == "number" else "1"}, "yes", SAMPLE.scores),
        )


def test_a_fraction_does_not_fit_a_whole_input(tmp_path: Path) -> None:
    fields = [f if f.name != "b" else field("b", "number") for f in MIXED_FIELDS]
    with pytest.raises(CardRefusedError, match="got type number for input 'b' of int64"):
        opened(
            tmp_path,
            mixed_columns(),
            card(fields=fields, output=REGRESSION),
            Sample({**MIXED_ROW, "b": 1.5}, 0.0, (0.0,)),
        )


def classifier(
    *,
    labels: Sequence[int] | Sequence[str],
    zipmap: bool = False,
    with_label: bool = True,
    per_class: bool = False,
) -> bytes:
    """Return a three-class linear classifier over x, shape (N, 3), in the form asked for."""
    texts = isinstance(labels[0], str)
    classify = helper.make_node(
        "LinearClassifier",
        ["x"],
        ["label", "scores"],
        domain="ai.onnx.ml",
        coefficients=[1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0],
        intercepts=[0.0, 0, 0],
        post_transform="SOFTMAX",
        multi_class=1,
    )
    classify.attribute.append(
        helper.make_attribute(f"classlabels_{'strings' if texts else 'ints'}", list(labels))
    )
    nodes = [classify]
    outputs = [tensor("label", STRING if texts else INT64, (None,))]
    if zipmap:
        zip_scores = helper.make_node("ZipMap", ["scores"], ["zipped"], domain="ai.onnx.ml")
        zip_scores.attribute.append(
            helper.make_attribute(f"classlabels_{'strings' if texts else 'int64s'}", list(labels))
        )
        nodes.append(zip_scores)
        kind = helper.make_map_type_proto(
            STRING if texts else INT64, helper.make_tensor_type_proto(FLOAT, [])
        )
        outputs.append(helper.make_value_info("zipped", helper.make_sequence_type_proto(kind)))
    elif per_class:
        for i in range(3):
            nodes.append(
                helper.make_node(
                    "ArrayFeatureExtractor", ["scores", f"i{i}"], [f"s{i}"], domain="ai.onnx.ml"
                )
            )
            outputs.append(tensor(f"s{i}", FLOAT, (None, 1)))
    else:
        outputs.append(tensor("scores", FLOAT, (None, 3)))
    return make_model(
        nodes,
        [tensor("x", FLOAT, (None, 3))],
        outputs if with_label else outputs[1:],
        [constant(f"i{i}", [i], np.int64) for i in range(3)] if per_class else (),
    )


def softmax(values: Sequence[float]) -> tuple[float, ...]:
    exps = np.exp(np.array(values))
    return tuple(float(x) for x in exps / exps.sum())


def three_classes(classes: Sequence[int | float | str], **more: object) -> Output:
    return Output.model_validate_json(
        json.dumps(
            {
                "task": "classification",
                "meaning": "which",
                "classes": list(classes),
                "positive_class": classes[0],
                **more,
            }
        )
    )


FORMS = {
    "tensor": {},
    "zipmap": {"zipmap": True},
    "one output per class": {"per_class": True},
    "scores only": {"with_label": False},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("labels", [(0, 1, 2), ("x", "y", "z")])
def test_scores_and_labels_are_read_from_every_form(
    form: str, labels: Sequence[int] | Sequence[str], tmp_path: Path
) -> None:
    model = classifier(labels=labels, **FORMS[form])
    scores = softmax((1, 2, 4))
    bundle = opened(
        tmp_path,
        model,
        card(output=three_classes(labels)),
        Sample(ROW, labels[2], scores),
    )
    scored = bundle.session.run_row(bundle.schema.encode(ROW).feeds)
    assert scored.label == labels[2]
    assert scored.scores.dtype == np.float32
    np.testing.assert_allclose(scored.scores, scores, rtol=0, atol=1e-6)
    rows, _ = bundle.session.run_rows(feeds_of(bundle.schema, [ROW, ROW]))
    np.testing.assert_allclose(
        bundle.session.run_batch(feeds_of(bundle.schema, [ROW, ROW])), rows, rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("labels", [("c", "a", "b"), (7, -1, 3)])
def test_a_maps_classes_are_explained_in_the_graphs_order(
    labels: tuple[str, ...] | tuple[int, ...], tmp_path: Path
) -> None:
    scores = dict(zip(labels, softmax((1, 2, 4)), strict=True))
    files = write(
        tmp_path / "b",
        model=classifier(labels=labels, zipmap=True),
        card_=card(output=three_classes(sorted(labels))),
        samples=[Sample(ROW, labels[2], tuple(scores[label] for label in sorted(labels)))],
    )
    _, explainer = open_model(files, Settings(_env_file=None))
    assert explainer.method == "linear", explainer.reason


def test_a_trainers_float_classes_are_the_graphs_whole_ones(tmp_path: Path) -> None:
    bundle = opened(
        tmp_path,
        classifier(labels=(0, 1, 2), zipmap=True),
        card(output=three_classes((0.0, 1.0, 2.0))),
        Sample(ROW, 2.0, softmax((1, 2, 4))),
    )
    label = bundle.session.run_row(bundle.schema.encode(ROW).feeds).label
    assert isinstance(label, float)


@pytest.mark.parametrize("form", ["tensor", "scores only", "one output per class"])
def test_classes_in_another_order_than_the_graphs_are_refused(form: str, tmp_path: Path) -> None:
    with pytest.raises(BundleRefusedError, match=r"differ by 0\.\d+ from the trainer's"):
        opened(
            tmp_path,
            classifier(labels=(0, 1, 2), **FORMS[form]),
            card(output=three_classes((2, 1, 0))),
            Sample(ROW, 2, tuple(reversed(softmax((1, 2, 4))))),
        )


@pytest.mark.parametrize(
    ("classes", "form", "message"),
    [
        ((0, 1), "tensor", "got 3 numbers for one row; want 2"),
        ((0, 1, 5), "zipmap", r"got classes \[0, 1, 2\]; want the card's \[0, 1, 5\]"),
        ((0, 1), "one output per class", "choice between 's0'.* want output.score_outputs"),
    ],
)
def test_classes_that_are_not_the_graphs_are_refused(
    classes: Sequence[int], form: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(BundleRefusedError, match=message):
        opened(
            tmp_path,
            classifier(labels=(0, 1, 2), **FORMS[form]),
            card(output=three_classes(classes)),
            Sample(ROW, 1, (0.5, 0.5)),
        )


@pytest.mark.parametrize(
    ("labels", "told", "message"),
    [
        (("x", "y", "z"), ("x", "y", "w"), r"got 'z'; want one of \['x', 'y', 'w'\]$"),
        ((0, 1, 2), ("0", "1", "2"), r"got 2; want one of \['0', '1', '2'\]: .* the graph's type$"),
    ],
)
def test_a_label_that_the_card_does_not_know_is_refused(
    labels: Sequence[int] | Sequence[str], told: Sequence[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(Exception, match=f"label: {message}"):
        opened(
            tmp_path,
            classifier(labels=labels),
            card(output=three_classes(told)),
            Sample(ROW, told[-1], softmax((1, 2, 4))),
        )


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"score_outputs": ["nothing"]}, "got graph output 'nothing'; want one of 'label'"),
        ({"score_outputs": ["label"]}, "score output 'label': got int64; want float32 or"),
        ({"label_output": "scores"}, "output.label_output: got 'scores'"),
    ],
)
def test_outputs_that_the_card_names_wrongly_are_refused(
    told: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(BundleRefusedError, match=message):
        opened(
            tmp_path,
            classifier(labels=(0, 1, 2)),
            card(output=three_classes((0, 1, 2), **told)),
            Sample(ROW, 2, softmax((1, 2, 4))),
        )


def test_a_graph_with_no_scores_is_refused(tmp_path: Path) -> None:
    model = make_model(
        [helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0)],
        [tensor("x", FLOAT, (None, 3))],
        [tensor("label", INT64, (None,))],
    )
    with pytest.raises(GraphRefusedError, match=r"score output: got only 'label' \(int64\)"):
        opened(
            tmp_path, model, card(output=three_classes((0, 1, 2))), Sample(ROW, 2, (0.0, 0.0, 1.0))
        )


@pytest.mark.parametrize("element", [TensorProto.BFLOAT16, TensorProto.FLOAT16])
def test_scores_of_half_precision_are_refused(element: int, tmp_path: Path) -> None:
    model = make_model(
        [
            helper.make_node("MatMul", ["x", "w"], ["m"]),
            helper.make_node("Sigmoid", ["m"], ["s"]),
            helper.make_node("Cast", ["s"], ["p"], to=element),
        ],
        [tensor("x", FLOAT, (None, 3))],
        [tensor("p", element, (None, 1))],
        [constant("w", [[w] for w in WEIGHTS])],
    )
    with pytest.raises(GraphRefusedError, match=r"got only 'p' \((b?float16)\); want an output"):
        opened(tmp_path, model)


@pytest.mark.parametrize("score", [0.5, 0.6225])
def test_margins_where_the_card_promises_probabilities_are_refused(
    score: float, tmp_path: Path
) -> None:
    """Whether the samples hold the margin or the trainer's probability."""
    sample = Sample(ROW, "no", (score,))
    far = {"a": 9.0, "b": 0.0, "c": 0.0}
    with pytest.raises(
        GraphRefusedError, match=r"got scores from 4\.5 to 4\.5 .* want probabilities"
    ):
        opened(tmp_path, linear_model(), card(), sample, background=[far])


def test_a_declared_shape_that_is_wrong_does_not_matter(tmp_path: Path) -> None:
    model = onnx.load_model_from_string(logistic_model())
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 7
    bundle = opened(tmp_path, model.SerializeToString())
    assert bundle.session.n_scores == 1


def test_an_input_of_another_type_is_refused(tmp_path: Path) -> None:
    model = make_model(
        [helper.make_node("Cast", ["x"], ["p"], to=FLOAT)],
        [tensor("x", TensorProto.UINT8, (None, 3))],
        [tensor("p", FLOAT, (None, 3))],
    )
    with pytest.raises(GraphRefusedError, match="input 'x': got uint8; want one of bool, float32"):
        opened(tmp_path, model)


def test_an_input_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info("x", FLOAT, None)
    model = make_model(
        [helper.make_node("ConcatFromSequence", ["x"], ["p"], axis=0)],
        [sequence],
        [tensor("p", FLOAT, (None, 1))],
    )
    with pytest.raises(GraphRefusedError, match="input 'x': got no tensor"):
        opened(tmp_path, model)


def two_of_each() -> bytes:
    """Return a binary classifier with two labels and three score tensors to choose from."""
    model = onnx.load_model_from_string(logistic_model())
    model.graph.node.extend(
        [
            helper.make_node("Cast", ["p"], ["l1"], to=INT64),
            helper.make_node("Identity", ["l1"], ["l2"]),
            helper.make_node("Identity", ["p"], ["q"]),
        ]
    )
    model.graph.output.extend(
        [
            tensor("q", FLOAT, (None, 1)),
            tensor("margin", FLOAT, (None, 1)),
            tensor("l1", INT64, (None, 1)),
            tensor("l2", INT64, (None, 1)),
        ]
    )
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({}, "score output: got a choice between 'p'.*, 'q'.*, 'margin'.* want output.score_out"),
        ({"score_outputs": ("p",)}, "label output: got a choice between 'l1'.*, 'l2'"),
        ({"score_outputs": ("p", "q", "margin")}, "want one output, or one of the same type for"),
    ],
)
def test_outputs_that_leave_a_choice_are_refused(
    told: dict[str, object], message: str, tmp_path: Path
) -> None:
    sample = Sample(ROW, 0, (1 - P, P))
    output = three_classes((0, 1), positive_class=1)
    with pytest.raises(CardRefusedError, match=message):
        opened(tmp_path, two_of_each(), card(output=output.model_copy(update=told)), sample)
    chosen = {"score_outputs": ("p",), "label_output": "l1"}
    opened(tmp_path, two_of_each(), card(output=output.model_copy(update=chosen)), sample)


def test_inputs_that_are_handed_on_are_neither_label_nor_scores(tmp_path: Path) -> None:
    """So ML.NET exports, with a label that is true or false, which no card can name."""
    model = make_model(
        [
            helper.make_node("Cast", ["whole"], ["cast"], to=FLOAT),
            helper.make_node("Concat", ["part", "cast"], ["x"], axis=1),
            helper.make_node("MatMul", ["x", "w"], ["margin"]),
            helper.make_node("Sigmoid", ["margin"], ["p"]),
            helper.make_node("Identity", ["whole"], ["whole.output"]),
            helper.make_node("Identity", ["part"], ["part.copy"]),
            helper.make_node("Identity", ["part.copy"], ["part.output"]),
        ],
        [tensor("whole", INT64, (None, 1)), tensor("part", FLOAT, (None, 1))],
        [
            tensor("whole.output", INT64, (None, 1)),
            tensor("part.output", FLOAT, (None, 1)),
            tensor("p", FLOAT, (None, 1)),
        ],
        [constant("w", [[0.0], [0.0]])],
    )
    told = card(fields=(field("whole", "integer"), field("part")))
    bundle = opened(tmp_path, model, told, Sample({"whole": 3, "part": 0.5}, "no", (0.5,)))
    assert (bundle.output.label, bundle.output.scores) == (None, ("p",))


def test_a_margin_beside_a_probability_is_refused_with_the_way_to_choose(tmp_path: Path) -> None:
    model = onnx.load_model_from_string(logistic_model())
    model.graph.output.append(tensor("margin", FLOAT, (None, 1)))
    far = {"a": 9.0, "b": 0.0, "c": 0.0}
    with pytest.raises(GraphRefusedError, match=r"to 4\.5 .* output.score_outputs .* name one"):
        opened(tmp_path, model.SerializeToString(), card(), background=[far])


def test_a_map_for_a_regression_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CardRefusedError, match="ZipMap output 'zipped'; want a classification"):
        opened(
            tmp_path,
            classifier(labels=(0, 1, 2), zipmap=True),
            card(output=REGRESSION),
            Sample(ROW, 1.0, (1.0,)),
        )
