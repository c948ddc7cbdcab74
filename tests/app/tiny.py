"""A model small enough to start in no time: three trees over a number, a count and a text.

Its text field takes words it has never seen, and its card's texts hold markup: what a page must not
pass on. Its whole numbers go into a 32-bit float and have no limits of their own.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import yaml
from onnx import TensorProto, helper

from models.build import write_bundle
from models.bundle import DATASHEET, BundleFiles
from models.card import Card, Output
from models.rows import Row, Sample
from tests.app.told import DATASHEET as DATASHEET_TEXT
from tests.app.told import reviewed
from tests.app.told import told as whole
from tests.models.graphs import field, make_model, tensor
from tests.signed import signed

NAME = "tiny"
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
"""What every text of the card holds, and what a test can send as an unknown category."""

CASE: Row = {"amount": 12.5, "count": 5, "answer": "yes"}


def margin(case: Row) -> float:
    """Return the sum of the three trees' leaves, all exact in binary."""
    amount, count = case["amount"], case["count"]
    assert isinstance(amount, int | float)
    assert isinstance(count, int)
    return (
        (1.0 if amount > 10 else -1.0)
        + (0.5 if count > 3 else -0.5)
        + (0.75 if case["answer"] == "yes" else -0.25)
    )


def probability(case: Row) -> float:
    return 1 / (1 + math.exp(-margin(case)))


def model() -> bytes:
    """Return the graph: a text made into two columns, beside two numbers, under three stumps."""
    trees = (0, 1, 2)
    stumps = [(feature, threshold) for feature, threshold in ((0, 10.0), (1, 3.0), (2, 0.5))]
    leaves = ((-1.0, 1.0), (-0.5, 0.5), (-0.25, 0.75))
    return make_model(
        [
            helper.make_node(
                "OneHotEncoder",
                ["answer"],
                ["answer_columns"],
                domain="ai.onnx.ml",
                cats_strings=["yes", "no"],
                zeros=1,
            ),
            helper.make_node("Reshape", ["answer_columns", "two"], ["answer_flat"]),
            helper.make_node("Concat", ["x", "answer_flat"], ["features"], axis=1),
            helper.make_node(
                "TreeEnsembleClassifier",
                ["features"],
                ["label", "probabilities"],
                domain="ai.onnx.ml",
                nodes_treeids=[tree for tree in trees for _ in range(3)],
                nodes_nodeids=[0, 1, 2] * 3,
                nodes_featureids=[n for feature, _ in stumps for n in (feature, 0, 0)],
                nodes_values=[v for _, threshold in stumps for v in (threshold, 0.0, 0.0)],
                nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"] * 3,
                nodes_truenodeids=[1, 0, 0] * 3,
                nodes_falsenodeids=[2, 0, 0] * 3,
                class_treeids=[tree for tree in trees for _ in range(2)],
                class_nodeids=[1, 2] * 3,
                class_ids=[0] * 6,
                class_weights=[weight for pair in leaves for weight in pair],
                classlabels_int64s=[0, 1],
                post_transform="LOGISTIC",
            ),
        ],
        [
            tensor("x", TensorProto.FLOAT, (None, 2)),
            tensor("answer", TensorProto.STRING, (None, 1)),
        ],
        [
            tensor("label", TensorProto.INT64, (None,)),
            tensor("probabilities", TensorProto.FLOAT, (None, 2)),
        ],
        [helper.make_tensor("two", TensorProto.INT64, [2], [-1, 2])],
    )


def card(name: str = NAME, *, takes_unknown: bool = True) -> Card:
    """Return the card, hostile in every text that a page shows."""
    bare = Card(
        name=name,
        version="1",
        title=f"Title {HOSTILE}",
        owner=f"Owner {HOSTILE}",
        purpose=f"Purpose {HOSTILE}",
        legal_basis=f"Basis {HOSTILE}",
        output=Output(
            task="classification",
            meaning=f"the probability of yes {HOSTILE}",
            classes=(0, 1),
            positive_class=1,
        ),
        fields=(
            field("amount", label="Amount & <b>more</b>", wording="{value} of amount", input="x"),
            field("count", "integer", label="Count", wording="a count of {value}", input="x"),
            field(
                "answer",
                "string",
                label=f"Answer {HOSTILE}",
                wording="{value}",
                categories=["yes", "no"],
                may_be_unknown=takes_unknown,
                actionable=True,
                input="answer",
            ),
        ),
        what_it_cannot_know=(f"Nothing {HOSTILE}",),
        limitations=(f"Limits {HOSTILE}",),
    )
    return whole(bare)


BACKGROUND: tuple[Row, ...] = tuple(
    {"amount": float(amount), "count": count, "answer": answer}
    for amount, count, answer in (
        (4, 1, "no"),
        (8, 6, "yes"),
        (15, 2, "no"),
        (20, 9, "no"),
        (2, 4, "yes"),
    )
)


def write(
    directory: Path,
    *,
    name: str = NAME,
    takes_unknown: bool = True,
    told: Card | None = None,
    documents: Mapping[str, bytes] | None = None,
) -> BundleFiles:
    """Make ``directory`` a served model: its bundle, and a policy with one line at one half."""
    told = reviewed(told or card(name, takes_unknown=takes_unknown))
    files = write_bundle(
        directory / "bundle",
        model=model(),
        card=told,
        background=[_renamed(case, told) for case in BACKGROUND],
        samples=[
            Sample(
                _renamed(case, told),
                int(margin(case) > 0),
                (1 - probability(case), probability(case)),
            )
            for case in (*BACKGROUND, CASE)
        ],
        documents={DATASHEET: DATASHEET_TEXT, **(documents or {})},
    )
    (directory / "policy.yaml").write_text(yaml.safe_dump(policy(name)))
    return signed(files)


def _renamed(case: Row, told: Card) -> Row:
    """Return the case under the card's names, in its order."""
    return dict(zip((field.name for field in told.fields), case.values(), strict=True))


def policy(name: str = NAME) -> dict[str, object]:
    return {
        "policy": f"{name}-policy",
        "version": "1",
        "model": name,
        "description": "Two outcomes.",
        "near_threshold": 0.05,
        "what_would_change": "adverse_or_near_threshold",
        "bands": [
            {
                "rule": "low",
                "at_least": 0.0,
                "outcome": "no",
                "label": f"No {HOSTILE}",
                "supported_by": "lower",
                "adverse": True,
            },
            {
                "rule": "high",
                "at_least": 0.5,
                "outcome": "yes",
                "label": f"Yes {HOSTILE}",
                "supported_by": "higher",
                "adverse": False,
            },
        ],
    }
