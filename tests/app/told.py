"""Everything that a card and a datasheet can say, so that a test's bundle may be made live."""

from datetime import date, timedelta

from models.card import Card
from models.card_sections import (
    Assessment,
    Considerations,
    Fairness,
    Interval,
    ModelDetails,
    ModelParameters,
    NotTested,
    PerformanceMetric,
    Period,
    QuantitativeAnalysis,
    Risk,
    Slice,
    Supplier,
)

DATASHEET = b"""\
motivation: {purpose: Tests.}
composition: {description: Rows., sensitive_attributes: None.}
collection_process: {how: Made up.}
preprocessing: {cleaning: None.}
uses: {intended: Tests.}
distribution: {access: Anybody.}
maintenance: {updates: Never.}
"""
ASSESSMENTS = (
    Assessment(kind="data_protection", title="DPIA", date=date(2020, 1, 1)),
    Assessment(kind="equality", title="EIA", date=date(2020, 1, 2)),
    Assessment(kind="algorithmic_impact", title="AIA", date=date(2020, 1, 3)),
    Assessment(
        kind="peer_review", title="One", date=date(2020, 1, 4), link="https://one.example/review"
    ),
    Assessment(
        kind="oversight_test",
        title="Noticed",
        date=date(2020, 1, 6),
        link="https://one.example/test",
    ),
    Assessment(
        kind="peer_review", title="Two", date=date(2020, 1, 5), link="https://two.example/review"
    ),
)


def reviewed(card: Card) -> Card:
    """Return the card of a numbered version as if somebody had looked again at each assessment."""
    days = timedelta(days=int(card.version) if card.version.isdigit() else 0)
    return card.model_copy(
        update={
            "assessments": tuple(
                each.model_copy(update={"date": each.date + days}) if each in ASSESSMENTS else each
                for each in card.assessments
            )
        }
    )


def told(card: Card) -> Card:
    """Return the card with every section filled in."""
    return card.model_copy(
        update={
            "contact": "owner@example.org",
            "training_data": "Made up.",
            "supplier": Supplier(name="Tests", role="Made it."),
            "protected": ("religion",),
            "model_details": ModelDetails(
                overview="A model.", benefits="Tests.", alternatives_considered="None."
            ),
            "model_parameters": ModelParameters(
                architecture="Trees.",
                training_period=Period(start=date(2019, 1, 1), end=date(2019, 12, 31)),
                maintenance="None.",
            ),
            "quantitative_analysis": QuantitativeAnalysis(
                evaluation_data="Made up.",
                performance_metrics=(
                    PerformanceMetric(
                        type="accuracy",
                        value=0.8,
                        cases=100,
                        confidence_interval=Interval(lower=0.7, upper=0.9),
                        slice=Slice(attribute="religion", value="any"),
                    ),
                ),
            ),
            "considerations": Considerations(
                users=("Caseworkers.",),
                use_cases=("Tests.",),
                out_of_scope=("Real decisions.",),
                ethical_considerations=(
                    Risk(name="Reliance", mitigation_strategy="A person decides."),
                ),
                fairness=Fairness(
                    criterion="equal_opportunity",
                    criterion_rationale="To miss a case does harm.",
                    not_tested=(NotTested(group="religion", reason="Nobody says."),),
                ),
            ),
            "assessments": ASSESSMENTS,
        }
    )
