"""A bundle is exactly its four files; hostile, broken or dishonest ones are refused at the door."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper

from models import bundle as bundle_module
from models.build import write_bundle
from models.bundle import SIZE_LIMITS, digest_of, open_bundle, read
from models.errors import (
    BundleExistsError,
    BundleRefusedError,
    CardRefusedError,
    FilesRefusedError,
    GraphRefusedError,
    RowsRefusedError,
)
from models.lint import lint
from models.rows import Row, Sample, parse_parquet
from tests.models.feeds import feeds_of
from tests.models.graphs import (
    BINARY,
    REGRESSION,
    ROW,
    SAMPLE,
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

FLOAT, STRING = TensorProto.FLOAT, TensorProto.STRING


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "bundle").path


def test_an_honest_bundle_opens(path: Path) -> None:
    opened = open_bundle(read(path))
    assert opened.background.rows == 1
    assert opened.background.values == {"a": (1.0,), "b": (2.0,), "c": (4.0,)}
    assert opened.card.name == "test"
    assert opened.score_outputs == ("p",)


def test_every_byte_of_every_file_changes_the_digest(path: Path) -> None:
    files = read(path)
    seen = {files.digest}
    for name, content in files.contents.items():
        for place in range(len(content)):
            flipped = bytes([*content[:place], content[place] ^ 1, *content[place + 1 :]])
            seen.add(digest_of({**files.contents, name: flipped}))
    assert len(seen) == 1 + sum(map(len, files.contents.values()))


def test_moving_a_byte_from_one_file_to_the_next_changes_the_digest() -> None:
    assert digest_of({"a": b"12", "b": b"3"}) != digest_of({"a": b"1", "b": b"23"})
    assert digest_of({"a": b"1"}) != digest_of({"b": b"1"})
    assert digest_of({"ab": b"c"}) != digest_of({"a": b"bc"})


def test_the_digest_does_not_depend_on_the_order_of_the_files() -> None:
    assert digest_of({"a": b"1", "b": b"2"}) == digest_of({"b": b"2", "a": b"1"})


def _symlink(path: Path) -> None:
    (path / "model.onnx").rename(path.parent / "elsewhere")
    (path / "model.onnx").symlink_to(path.parent / "elsewhere")


def _pipe(path: Path) -> None:
    (path / "card.yaml").unlink()
    os.mkfifo(path / "card.yaml")


def _directory(path: Path) -> None:
    (path / "card.yaml").unlink()
    (path / "card.yaml").mkdir()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda p: (p / "notes.txt").touch(), "undeclared notes.txt; want exactly"),
        (lambda p: (p / ".hidden").touch(), r"undeclared \.hidden"),
        (lambda p: (p / "sub").mkdir(), "undeclared sub"),
        (lambda p: (p / "samples.json").unlink(), r"got no samples\.json; want exactly"),
        (
            _symlink,
            r"model\.onnx of bundle .*: got Too many levels of symbolic links; want a regular file",
        ),
        (_pipe, r"card\.yaml of bundle .*: got no regular file"),
        (_directory, r"card\.yaml of bundle .*: got no regular file"),
        (lambda p: os.truncate(p / "card.yaml", (1 << 20) + 1), "more than 1,048,576 bytes"),
    ],
)
def test_a_directory_that_is_not_a_bundle_is_refused(
    harm: Callable[[Path], object], message: str, path: Path
) -> None:
    harm(path)
    with pytest.raises(FilesRefusedError, match=message):
        read(path)


def test_a_path_that_is_no_directory_is_refused(path: Path) -> None:
    for wrong in (path / "nothing", path / "card.yaml"):
        with pytest.raises(FilesRefusedError, match="want a directory that can be read"):
            read(wrong)


def test_every_file_has_a_size_limit() -> None:
    assert set(SIZE_LIMITS) == {"model.onnx", "card.yaml", "background.parquet", "samples.json"}


def parquet(columns: dict[str, object]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("background.parquet", b"", "want a Parquet file"),
        ("background.parquet", b"PAR1 nonsense PAR1", "want a Parquet file"),
        ("background.parquet", parquet({"a": [1.0]}), "got a double; want the card's fields: a"),
        (
            "background.parquet",
            parquet({"a": [1], "b": [1.0], "c": [1.0]}),
            "got a int64, b double, c double; want",
        ),
        (
            "background.parquet",
            parquet({"b": [1.0], "a": [1.0], "c": [1.0]}),
            "got b double, a double, c double; want",
        ),
        (
            "background.parquet",
            parquet({name: pa.array([], pa.float64()) for name in "abc"}),
            "got 0 rows",
        ),
        (
            "background.parquet",
            parquet({name: np.zeros(100_001) for name in "abc"}),
            "got 100,001 rows",
        ),
        ("samples.json", b"", "samples.json: got"),
        ("samples.json", b'{"rows": []}', "got 0 rows; want 1 to"),
        ("samples.json", b'{"rows": [{"case": {}, "prediction": 1}]}', "rows.0.scores: Field req"),
        ("samples.json", b'{"rows": [], "more": 1}', "more: Extra inputs"),
        (
            "samples.json",
            b'{"rows": [{"case": {"a": NaN}, "prediction": 1, "scores": [1]}]}',
            "samples.json: got",
        ),
        ("samples.json", b"[" * 100_000, "samples.json: got"),
    ],
)
def test_rows_that_cannot_be_read_are_refused(
    name: str, content: bytes, message: str, path: Path
) -> None:
    (path / name).write_bytes(content)
    with pytest.raises(RowsRefusedError) as caught:
        read(path)
    assert message in str(caught.value)


def test_a_parquet_file_that_unpacks_to_too_much_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.rows._MAX_PARQUET_BYTES", 10)
    with pytest.raises(RowsRefusedError, match="want 1 to 100,000 rows of at most 10 bytes"):
        read(path)


def test_a_text_that_a_parquet_file_repeats_counts_each_time() -> None:
    rows = pa.table({"t": ["A" * 10_000] * 50_000})
    file = pa.BufferOutputStream()
    pq.write_table(rows, file, compression="zstd", store_schema=False)
    content = file.getvalue().to_pybytes()
    assert len(content) < 10_000  # for what takes 500 MB
    with pytest.raises(RowsRefusedError, match="got rows of more than 134,217,728 bytes"):
        parse_parquet("background.parquet", content, lambda found: found.remove_metadata())


def test_a_prediction_that_the_card_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RowsRefusedError, match=r"sample 0: got 'perhaps'; want one of \['no'"):
        write(tmp_path / "b", samples=[Sample(ROW, "perhaps", (0.5, 0.5))])


@pytest.mark.parametrize("what", ["background", "sample"])
def test_a_row_that_breaks_the_schema_is_named(what: str, tmp_path: Path) -> None:
    told = card(fields=[field("a", maximum=5), field("b"), field("c")])
    wrong = {**ROW, "a": 6.0}
    with pytest.raises(RowsRefusedError, match=f"{what} row 1: got a is above the maximum, 5"):
        write(
            tmp_path / "b",
            card_=told,
            background=[ROW, wrong] if what == "background" else [ROW],
            samples=[SAMPLE, Sample(wrong, "yes", (0.5, 0.5))] if what == "sample" else [SAMPLE],
        )


def test_samples_that_the_graph_does_not_reproduce_are_refused_naming_the_worst(
    tmp_path: Path,
) -> None:
    samples = [Sample(ROW, "yes", (1 - p, p)) for p in (P, P + 2e-5, P + 3e-4, P - 1e-4)]
    with pytest.raises(
        RowsRefusedError,
        match=r"worst is row 2: got scores that differ by 0\.0003 from the trainer's; "
        r"want at most 1e-05",
    ):
        write(tmp_path / "b", samples=samples)
    write(tmp_path / "b", card_=card(sample_tolerance=4e-4), samples=samples)


def test_the_tolerance_is_a_limit_and_not_a_suggestion(tmp_path: Path) -> None:
    write(tmp_path / "near", samples=[Sample(ROW, "yes", (1 - P, P + 0.9e-5))])
    with pytest.raises(RowsRefusedError, match=r"differ by 1\.1e-05"):
        write(tmp_path / "far", samples=[Sample(ROW, "yes", (1 - P, P + 1.1e-5))])


def test_the_tolerance_of_a_large_number_is_of_its_own_size(tmp_path: Path) -> None:
    row = {"a": 1e6, "b": 0.0, "c": 0.0}
    told = card(output=REGRESSION)
    for factor, fits in ((1 + 0.9e-5, True), (1 + 1.1e-5, False)):
        sample = Sample(row, 5e5, (5e5 * factor,))
        if fits:
            write(tmp_path / "b", model=linear_model(), card_=told, samples=[sample])
        else:
            with pytest.raises(RowsRefusedError, match="worst is row 0"):
                write(tmp_path / "c", model=linear_model(), card_=told, samples=[sample])


def test_another_label_with_the_same_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RowsRefusedError, match="label of sample 0: got 'yes'; want 'no'"):
        write(tmp_path / "b", samples=[Sample(ROW, "no", (1 - P, P))])


def labelled(row: Row, line: float) -> Sample:
    """Return what ``labelling`` says of a row, its scores in the graph's order: no, yes."""
    p = float(1 / (1 + np.exp(-0.5 * float(row["a"] or 0))))
    return Sample(row, "yes" if p > line else "no", (1 - p, p))


def labelling(line: float) -> bytes:
    """Return the logistic graph with both classes' scores, and "yes" beyond a line."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["margin"]),
        helper.make_node("Sigmoid", ["margin"], ["p"]),
        helper.make_node("Sub", ["one", "p"], ["q"]),
        helper.make_node("Concat", ["q", "p"], ["scores"], axis=1),
        helper.make_node("Greater", ["p", "line"], ["over"]),
        helper.make_node("Where", ["over", "yes", "no"], ["label"]),
    ]
    values = [
        constant("w", [[0.5], [-0.25], [0.125]]),
        constant("one", [1]),
        constant("line", [line]),
    ]
    texts = [constant(name, [name], np.object_) for name in ("yes", "no")]
    return make_model(
        nodes,
        [tensor("x", FLOAT, (None, 3))],
        [tensor("label", STRING, (None, 1)), tensor("scores", FLOAT, (None, 2))],
        [*values, *texts],
    )


@pytest.mark.parametrize("line", [0.2, 0.5, 0.9])
def test_classes_in_another_order_than_the_graphs_are_refused(tmp_path: Path, line: float) -> None:
    """Scores as the trainer's program gives them agree with the graph, and would tell the opposite."""
    rows: list[Row] = [{"a": float(a), "b": 0.0, "c": 0.0} for a in (-8, -4, -2, 1, 2, 8)]
    samples = [labelled(row, line) for row in rows]
    write(tmp_path / "a", model=labelling(line), samples=samples)
    turned = card(output=BINARY.model_copy(update={"classes": ("yes", "no")}))
    with pytest.raises(RowsRefusedError, match=r"scores of 'yes': got .* in the graph's order"):
        write(tmp_path / "b", model=labelling(line), card_=turned, samples=samples)


def test_a_tie_may_go_either_way(tmp_path: Path) -> None:
    tie = {"a": 0.0, "b": 0.0, "c": 0.0}
    for name, label, scores in (
        ("b", "no", (0.5, 0.5)),
        ("c", "yes", (0.5, 0.5)),
        ("d", "yes", (0.5,)),
    ):
        write(tmp_path / name, samples=[Sample(tie, label, scores)])


def test_next_to_a_tie_the_label_counts(tmp_path: Path) -> None:
    near = {"a": 0.001, "b": 0.0, "c": 0.0}
    p = 1 / (1 + np.exp(-0.0005))
    for scores in ((1 - p, p), (p,)):
        with pytest.raises(RowsRefusedError, match="label of sample 0"):
            write(tmp_path / "b", samples=[Sample(near, "no", scores)])


def test_samples_with_the_wrong_number_of_scores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RowsRefusedError, match="scores of sample 0: got 3 numbers; want 1"):
        write(tmp_path / "b", samples=[Sample(ROW, "yes", (0.2, 0.2, 0.6))])
    number = card(output=REGRESSION)
    for scores in ((), (1.0, 2.0)):
        with pytest.raises(RowsRefusedError, match=r"scores of sample 0: got \d numbers; want 1"):
            write(
                tmp_path / "c",
                model=linear_model(),
                card_=number,
                samples=[Sample(ROW, 1.0, scores)],
            )


def with_node(op: str, domain: str = "") -> bytes:
    model = onnx.load_model_from_string(logistic_model())
    model.graph.node.append(helper.make_node(op, ["p"], ["q"], name="odd", domain=domain))
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    return bytes(model.SerializeToString())


def in_subgraph() -> bytes:
    model = onnx.load_model_from_string(logistic_model())
    inner = helper.make_graph(
        [helper.make_node("Secret", [], ["s"], domain="evil")], "g", [], [tensor("s", FLOAT, [1])]
    )
    model.graph.node.append(
        helper.make_node("If", ["p"], ["q"], then_branch=inner, else_branch=inner)
    )
    return bytes(model.SerializeToString())


def dropping(*, on: bool, within: bool = False) -> bytes:
    """Return the logistic graph behind a Dropout; ``within`` a function, where nobody looks."""
    model = onnx.load_model_from_string(logistic_model())
    model.graph.initializer.extend([constant("ratio", 0.5), constant("on", on, np.bool_)])
    names = ("x", "ratio", "on")
    drop = helper.make_node("Dropout", names, ["kept"])
    if within:
        opset = [helper.make_opsetid("", 17)]
        model.functions.append(helper.make_function("own", "Drop", names, ["kept"], [drop], opset))
        model.opset_import.append(helper.make_opsetid("own", 1))
        drop = helper.make_node("Drop", names, ["kept"], domain="own")
    model.graph.node.insert(0, drop)
    model.graph.node[1].input[0] = "kept"
    return bytes(model.SerializeToString())


def external(place: str) -> bytes:
    model = onnx.load_model_from_string(logistic_model())
    if place == "initializer":
        held = model.graph.initializer[0]
    else:
        node = helper.make_node("Constant", [], ["k"], value=constant("k", [1.0]))
        model.graph.node.append(node)
        held = model.graph.node[-1].attribute[0].t
    held.data_location = TensorProto.EXTERNAL
    held.external_data.add(key="location", value="../../../etc/passwd")
    held.ClearField("raw_data")
    return bytes(model.SerializeToString())


def no_inputs() -> bytes:
    return make_model(
        [helper.make_node("Identity", ["w"], ["p"])],
        [],
        [tensor("p", FLOAT, (1,))],
        [constant("w", [0.5])],
    )


def needing_locale() -> bytes:
    model = onnx.load_model_from_string(logistic_model())
    model.graph.node.append(
        helper.make_node(
            "StringNormalizer", ["t"], ["u"], locale="xx_NOWHERE", case_change_action="LOWER"
        )
    )
    model.graph.initializer.append(
        onnx.TensorProto(name="t", data_type=STRING, dims=[1], string_data=[b"A"])
    )
    model.graph.output.append(tensor("u", STRING, [1]))
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (b"not a model at all", "want an ONNX model"),
        (b"\x00", "want an ONNX model"),
        (onnx.ModelProto(ir_version=8).SerializeToString(), "a file with no graph"),
        (no_inputs(), "got no inputs; want at least one"),
        (with_node("Magic", "com.acme"), "node 'odd': got custom operator com.acme:Magic; want"),
        (with_node("FusedGemm", "com.microsoft"), "custom operator com.microsoft:FusedGemm"),
        (in_subgraph(), "custom operator evil:Secret"),
        (with_node("RandomUniformLike"), "RandomUniformLike, which answers differently each time"),
        (dropping(on=True), "Dropout: got one that is on, or may be, and answers differently"),
        (dropping(on=False, within=True), "want a graph exported for inference"),
        (external("initializer"), "tensor 'w': got data kept in another file"),
        (external("attribute"), "got data kept in another file"),
        (with_node("NoSuchOperator"), "want a graph that onnxruntime"),
        (needing_locale(), "locale"),
    ],
)
def test_a_graph_that_is_not_safe_to_serve_is_refused(
    model: bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(GraphRefusedError) as caught:
        write(tmp_path / "b", model=model)
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_dropout_that_is_off_is_served(tmp_path: Path) -> None:
    bundle = open_bundle(write(tmp_path / "b", model=dropping(on=False)))
    assert bundle.session.run_row(bundle.schema.encode(ROW).feeds).scores.tolist() == [
        pytest.approx(P, abs=1e-6)
    ]


def test_a_graph_of_too_many_nodes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.bounds.MAX_NODES", 1)
    with pytest.raises(
        GraphRefusedError, match="more than 1 nodes, functions and loops written out; want"
    ):
        write(tmp_path / "b")


def test_a_function_that_the_file_defines_is_no_custom_operator(tmp_path: Path) -> None:
    model = onnx.load_model_from_string(logistic_model())
    model.functions.append(
        helper.make_function(
            "own",
            "Same",
            ["i"],
            ["o"],
            [helper.make_node("Identity", ["i"], ["o"])],
            [helper.make_opsetid("", 17)],
        )
    )
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node[-1].output[0] = "inner"
    model.graph.node.append(helper.make_node("Same", ["inner"], ["p"], domain="own"))
    write(tmp_path / "b", model=model.SerializeToString())


def encoder_model(**known: list[str] | list[int]) -> bytes:
    """Return a regression over t, u: 1 or 2 by the place of t in its list, and likewise for u."""
    nodes, inputs = [], []
    for name, values in known.items():
        texts = isinstance(values[0], str)
        encoder = helper.make_node(
            "OneHotEncoder", [name], [f"{name}_hot"], domain="ai.onnx.ml", zeros=1
        )
        encoder.attribute.append(
            helper.make_attribute("cats_strings" if texts else "cats_int64s", values)
        )
        nodes += [
            encoder,
            helper.make_node("Reshape", [f"{name}_hot", "flat"], [f"{name}_row"]),
            helper.make_node("MatMul", [f"{name}_row", "w"], [f"{name}_y"]),
        ]
        inputs.append(tensor(name, STRING if texts else TensorProto.INT64, (None, 1)))
    nodes.append(helper.make_node("Sum", [f"{name}_y" for name in known], ["y"]))
    return make_model(
        nodes,
        inputs,
        [tensor("y", FLOAT, (None, 1))],
        [constant("flat", [-1, 2], np.int64), constant("w", [[1], [2]])],
    )


ENCODED = Sample({"t": "small", "u": 3}, 3.0, (3.0,))


def write_encoded(target: Path, t: dict[str, object], u: dict[str, object]) -> None:
    fields = [field("t", "string", **t), field("u", "integer", **u)]
    write(
        target,
        model=encoder_model(t=["small", "large"], u=[1, 3]),
        card_=card(fields=fields, output=REGRESSION),
        background=[ENCODED.case],
        samples=[ENCODED],
    )


@pytest.mark.parametrize(
    ("t", "u", "strange"),
    [
        (["small", "Large"], [1, 3], "'Large'"),
        (["small", "large"], [1, 3, 4], "4"),
        (["small", "medium", "large", "huge"], [1, 3], "'medium', 'huge'"),
    ],
)
def test_a_category_that_the_graph_does_not_know_is_refused(
    t: list[str], u: list[int], strange: str, tmp_path: Path
) -> None:
    with pytest.raises(CardRefusedError, match=f"that the graph does not know: {strange}; want"):
        write_encoded(tmp_path / "b", {"categories": t}, {"categories": u})


@pytest.mark.parametrize("compared", ["u", "zero"])
def test_numbers_that_are_compared_leave_categories_to_be_checked(
    compared: str, tmp_path: Path
) -> None:
    """Where texts are compared, encoders are not all that tells them apart; numbers are no texts."""
    model = onnx.load_model_from_string(encoder_model(t=["small", "large"], u=[1, 3]))
    model.graph.initializer.append(constant("zero", [[0]], np.int64))
    model.graph.node.append(helper.make_node("Equal", ["u", "zero"], ["is_zero"]))
    told = [
        field("t", "string", categories=["small", "Large"]),
        field("u", "integer", categories=[1, 3]),
    ]
    if compared == "u":
        model.graph.node[-1].input[1] = "u"
    with pytest.raises(CardRefusedError, match="that the graph does not know: 'Large'"):
        write(
            tmp_path / "b",
            model=model.SerializeToString(),
            card_=card(fields=told, output=REGRESSION),
            background=[ENCODED.case],
            samples=[ENCODED],
        )


def test_known_categories_and_declared_unknown_ones_are_served(tmp_path: Path) -> None:
    write_encoded(tmp_path / "a", {"categories": ["large", "small"]}, {"categories": [1, 3]})
    write_encoded(
        tmp_path / "b",
        {"categories": ["small", "Large"], "may_be_unknown": True},
        {"categories": [1, 3, 4], "may_be_unknown": True},
    )


def test_a_missing_value_that_the_graph_does_not_know_is_refused(tmp_path: Path) -> None:
    missing = {"categories": ["small"], "may_be_missing": True, "missing_value": "none given"}
    with pytest.raises(CardRefusedError, match="does not know: 'none given'"):
        write_encoded(tmp_path / "b", missing, {"categories": [1, 3]})
    write_encoded(tmp_path / "b", {**missing, "missing_value": "large"}, {"categories": [1, 3]})


def test_whole_categories_that_are_used_as_numbers_pass(tmp_path: Path) -> None:
    told = [field("a", "integer", categories=[1, 2]), field("b"), field("c")]
    row = {**ROW, "a": 1}
    write(
        tmp_path / "b",
        card_=card(fields=told),
        background=[row],
        samples=[Sample(row, "yes", (1 - P, P))],
    )


def test_taps_are_returned_and_leave_the_bits_alone(path: Path) -> None:
    files = read(path)
    plain, tapped = open_bundle(files), open_bundle(files, taps=("margin",))
    feeds = feeds_of(plain.schema, [ROW, {"a": -1.0, "b": 3.0, "c": 0.5}])
    want, none = plain.session.run_rows(feeds)
    got, (margins,) = tapped.session.run_rows(feeds)
    assert none == ()
    assert got.tobytes() == want.tobytes()
    np.testing.assert_array_equal(margins, np.array([[0.5], [-1.1875]], np.float32))
    np.testing.assert_allclose(tapped.session.run_batch(feeds), want, rtol=0, atol=1e-6)


def test_a_tap_that_the_graph_does_not_compute_is_refused(path: Path) -> None:
    for name in ("nothing", "x", "w"):
        with pytest.raises(GraphRefusedError, match=f"tap: got '{name}'"):
            open_bundle(read(path), taps=(name,))


def test_taps_that_change_a_score_are_refused(path: Path) -> None:
    files = read(path)
    plain = open_bundle(files)
    feeds = plain.background.feeds
    other = open_bundle(write(path.parent / "other", model=shifted(), samples=[shifted_sample()]))
    with pytest.raises(GraphRefusedError, match="taps, on background row 0: got scores that diff"):
        bundle_module._check_taps(plain.session, other.session, feeds)
    bundle_module._check_taps(plain.session, plain.session, feeds)


def shifted() -> bytes:
    model = onnx.load_model_from_string(logistic_model())
    model.graph.initializer[0].CopyFrom(constant("w", [[0.5], [-0.25], [0.1250005]]))
    return bytes(model.SerializeToString())


def shifted_sample() -> Sample:
    return Sample(ROW, "yes", (1 - P, P))


def test_writing_the_same_bundle_again_changes_nothing(path: Path) -> None:
    before = {entry.name: entry.stat().st_mtime_ns for entry in path.iterdir()}
    assert write(path).digest == read(path).digest
    assert {entry.name: entry.stat().st_mtime_ns for entry in path.iterdir()} == before
    assert [entry.name for entry in path.parent.iterdir()] == ["bundle"]


def test_another_bundle_is_never_overwritten(path: Path) -> None:
    digest = read(path).digest
    with pytest.raises(BundleExistsError, match=digest):
        write(path, card_=card(sample_tolerance=2e-5))
    assert read(path).digest == digest
    (path / "card.yaml").write_text("broken")
    with pytest.raises(BundleExistsError, match="something else"):
        write(path)
    assert [entry.name for entry in path.parent.iterdir()] == ["bundle"]


def test_a_bundle_that_would_not_open_is_never_put_in_place(tmp_path: Path) -> None:
    with pytest.raises(BundleRefusedError):
        write(tmp_path / "b", samples=[Sample(ROW, "yes", (0.0, 1.0))])
    assert not list(tmp_path.iterdir())


def test_rows_of_the_wrong_type_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(RowsRefusedError, match="rows to write: got"):
        write_bundle(
            tmp_path / "b",
            model=logistic_model(),
            card=card(),
            background=[{**ROW, "a": "text"}],
            samples=[SAMPLE],
        )


def test_lint_names_what_the_owner_should_look_at(path: Path) -> None:
    found = {warn.code: warn.message for warn in lint(open_bundle(read(path)))}
    assert found.keys() == {"small-background", "few-samples", "open-range", "thin-card"}
    assert "has 1 rows" in found["small-background"]


def test_lint_names_group_level_fields_and_what_no_sample_tried(tmp_path: Path) -> None:
    told = card(
        fields=[
            field("a", about="group", may_be_missing=True),
            field("b", "integer", categories=[2, 3]),
            field("c"),
        ],
    )
    rows = [{**ROW, "b": 2}]
    files = write(
        tmp_path / "b", card_=told, background=rows, samples=[Sample(rows[0], "yes", (1 - P, P))]
    )
    codes = [warn.code for warn in lint(open_bundle(files))]
    assert codes[0] == "group-level"
    assert {"missing-untried", "categories-untried"} <= set(codes)


def test_a_sample_file_is_plain_json(path: Path) -> None:
    stored = json.loads((path / "samples.json").read_text())
    assert stored == {"rows": [{"case": dict(ROW), "prediction": "yes", "scores": [1 - P, P]}]}
