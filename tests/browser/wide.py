"""A model that asks a lot of a page: forty facts with long names, and nothing known of how sure it is.

Its policy shows the advice after the caseworker's own view, and never says what would have changed it.
"""

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import yaml
from onnx import TensorProto, helper

from models.build import write_bundle
from models.bundle import DATASHEET
from models.card import Card, Output
from models.rows import Row, Sample
from tests.app.told import DATASHEET as DATASHEET_TEXT
from tests.app.told import told
from tests.models.graphs import constant, field, make_model, tensor
from tests.signed import signed

NAME = "council-tax-reduction-for-households-with-long-term-care-needs"
TITLE = "Reduction of council tax for households in which somebody gives or needs long-term care"
WHAT = (
    "Money earned in the last four weeks by",
    "Benefits and pensions in the last four weeks of",
    "Savings and other things of value that belong to",
    "Weekly repayments of debts of",
    "Hours of unpaid care given each week by",
)
WHO = (
    "the person who applies",
    "the partner of the person who applies",
    "grown-up children who live in the home",
    "children under eighteen who live in the home",
    "parents or grandparents who live in the home",
    "lodgers and subtenants",
    "a carer who lives in the home",
    "a carer who lives somewhere else",
)
LABELS = [f"{what} {who}" for what, who in product(WHAT, WHO)]
NAMES = [f"fact_{number}" for number in range(1, len(LABELS) + 1)]
WEIGHTS = [(place % 7 - 3) / 256 for place in range(len(NAMES))]
"""Exact in binary."""
CASE: Row = dict(
    zip(NAMES, (float(number * 37 % 113) for number in range(len(NAMES))), strict=True)
)


def named(values: Sequence[float]) -> Row:
    return dict(zip(NAMES, values, strict=True))


CASE = named([float(place * 37 % 113) for place in range(len(NAMES))])


def probability(values: Sequence[float]) -> float:
    """Return what the model says of a case."""
    margin = sum(weight * value for weight, value in zip(WEIGHTS, values, strict=True))
    return 1 / (1 + math.exp(-margin))


def sample(values: Sequence[float]) -> Sample:
    chance = probability(values)
    return Sample(named(values), int(chance > 0.5), (1 - chance, chance))


def write(directory: Path) -> None:
    """Make ``directory`` a served model."""
    rows = [
        [float((place * 29 + row * 53) % 120) for place in range(len(NAMES))] for row in range(12)
    ]
    card = Card(
        name=NAME,
        version="2026.11-with-figures-of-october",
        title=TITLE,
        owner="Northmoor and District Joint Revenues and Benefits Service",
        purpose="To help decide whose council tax is reduced because of long-term care.",
        legal_basis="Made up: there is no such reduction.",
        output=Output(
            task="classification",
            meaning="the probability that the bill is reduced",
            classes=(0, 1),
            positive_class=1,
        ),
        fields=tuple(
            field(name, label=label, wording=f"{label}: {{value}}", input="x")
            for name, label in zip(NAMES, LABELS, strict=True)
        ),
        what_it_cannot_know=("What the care is like, and whether it is enough.",),
        limitations=("Made for looking at pages.",),
    )
    graph = make_model(
        [
            helper.make_node("MatMul", ["x", "w"], ["margin"]),
            helper.make_node("Sigmoid", ["margin"], ["p"]),
        ],
        [tensor("x", TensorProto.FLOAT, (None, len(NAMES)))],
        [tensor("p", TensorProto.FLOAT, (None, 1))],
        [constant("w", [[weight] for weight in WEIGHTS])],
    )
    signed(
        write_bundle(
            directory / "bundle",
            model=graph,
            card=told(card),
            background=[named(row) for row in rows],
            samples=[sample(row) for row in rows],
            documents={DATASHEET: DATASHEET_TEXT},
        )
    )
    (directory / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    (directory / "monitoring.yaml").write_text(yaml.safe_dump(WATCHED))


POLICY = {
    "policy": "care-policy",
    "version": "1",
    "model": NAME,
    "description": "Two outcomes.",
    "near_threshold": 0.05,
    "what_would_change": "never",
    "reveal": "after_own_assessment",
    "manual_route": "Decide by the guidance on care in the home, and ask the care team.",
    "bands": [
        {
            "rule": "low",
            "at_least": 0.0,
            "outcome": "full-bill",
            "label": "No reduction: the household pays the bill in full until something changes",
            "supported_by": "lower",
            "adverse": True,
        },
        {
            "rule": "high",
            "at_least": 0.5,
            "outcome": "reduced-bill",
            "label": "A reduction for as long as the care goes on, looked at again each year",
            "supported_by": "higher",
            "adverse": False,
        },
    ],
}

WATCHED = {
    "protected_attributes": {
        "carers_in_the_home": [
            "nobody-cares-for-another",
            "somebody-gives-care",
            "somebody-needs-care",
        ]
    }
}
