"""The demonstration model's card, in the words of the people who would own it."""

from datetime import date

from models.card import Card, Field, Output
from models.card_sections import (
    Considerations,
    Fairness,
    ModelDetails,
    ModelParameters,
    NotTested,
    PerformanceMetric,
    Period,
    QuantitativeAnalysis,
    Risk,
    Supplier,
)
from models.demo.assessments import ASSESSMENTS
from models.demo.data import (
    EVIDENCE,
    EVIDENCE_MISSING,
    INCOMES,
    NOT_PRIORITY,
    NOTICES,
    PRIORITY,
    REASONS,
    TENURES,
)
from models.demo.welsh import WELSH

_FIELDS = (
    Field(
        name="weekly_rent",
        type="number",
        label="Weekly rent",
        description="Rent for the home, without heating or other services.",
        unit="£ a week",
        minimum=0,
        maximum=1000,
        actionable=True,
        direction="decrease",
        wording="rent of {value}",
    ),
    Field(
        name="weekly_help_with_rent",
        type="number",
        label="Weekly help with rent",
        description="Housing Benefit, or the housing part of Universal Credit.",
        unit="£ a week",
        minimum=0,
        maximum=1000,
        wording="help with rent of {value}",
    ),
    Field(
        name="weekly_income",
        type="number",
        label="Weekly income",
        description="All income of the household after tax, without help with rent.",
        unit="£ a week",
        minimum=0,
        maximum=5000,
        may_be_missing=True,
        wording="income of {value}",
        value_wording={"missing": "no figure for income"},
    ),
    Field(
        name="savings",
        type="number",
        label="Savings",
        description="Savings of the household, as stated or seen on bank statements.",
        unit="£",
        minimum=0,
        maximum=100_000,
        may_be_missing=True,
        wording="savings of {value}",
        value_wording={"missing": "no figure for savings"},
    ),
    Field(
        name="weekly_debt_repayments",
        type="number",
        label="Weekly debt repayments",
        description="Agreed repayments of all debts except rent arrears.",
        unit="£ a week",
        minimum=0,
        maximum=1000,
        may_be_missing=True,
        actionable=True,
        wording="debt repayments of {value}",
        value_wording={"missing": "no figure for debt repayments"},
    ),
    Field(
        name="rent_arrears",
        type="number",
        label="Rent arrears",
        description="Rent owed on the date of the application.",
        unit="£",
        minimum=0,
        maximum=50_000,
        wording="rent arrears of {value}",
    ),
    Field(
        name="adults",
        type="integer",
        label="Adults in the household",
        description="Everyone aged 18 or over who lives in the home, the applicant included.",
        unit="adults",
        unit_one="adult",
        minimum=1,
        maximum=12,
        wording="{value} in the household",
    ),
    Field(
        name="children",
        type="integer",
        label="Children in the household",
        description="Everyone under 18 who lives in the home.",
        unit="children",
        unit_one="child",
        minimum=0,
        maximum=15,
        wording="{value} in the household",
    ),
    Field(
        name="spare_bedrooms",
        type="integer",
        label="Spare bedrooms",
        description="Bedrooms beyond what the size criteria allow this household.",
        unit="bedrooms",
        unit_one="bedroom",
        minimum=0,
        maximum=8,
        wording="{value} to spare",
    ),
    Field(
        name="months_at_address",
        type="integer",
        label="Months at this address",
        unit="months",
        unit_one="month",
        minimum=0,
        maximum=1200,
        wording="{value} at this address",
    ),
    Field(
        name="weeks_since_income_change",
        type="integer",
        label="Weeks since income last changed",
        description="Weeks since the household's income last rose or fell by a tenth or more.",
        unit="weeks",
        unit_one="week",
        minimum=0,
        maximum=1040,
        may_be_missing=True,
        wording="{value} since income last changed",
        value_wording={"missing": "no date for the last change of income"},
    ),
    Field(
        name="previous_awards",
        type="integer",
        label="Awards in the last three years",
        description="Discretionary housing payments awarded to this household before.",
        unit="awards",
        unit_one="award",
        minimum=0,
        maximum=20,
        wording="{value} in the last three years",
    ),
    Field(
        name="home_adapted",
        type="boolean",
        label="Home is adapted",
        description="The home has been adapted for someone who lives there.",
        wording="an adapted home: {value}",
        value_wording={"true": "a home with adaptations", "false": "a home without adaptations"},
    ),
    Field(
        name="plan_agreed",
        type="boolean",
        label="Plan agreed",
        description="The household has agreed a plan with an adviser to close the shortfall.",
        actionable=True,
        direction="increase",
        wording="a plan agreed with an adviser: {value}",
        value_wording={
            "true": "a plan agreed with an adviser",
            "false": "no plan agreed with an adviser yet",
        },
    ),
    Field(
        name="seeking_cheaper_home",
        type="boolean",
        label="Looking for a cheaper home",
        description="The household is registered for a move, exchange or cheaper home.",
        actionable=True,
        direction="increase",
        wording="looking for a cheaper home: {value}",
        value_wording={
            "true": "looking for a cheaper home",
            "false": "not looking for a cheaper home",
        },
    ),
    Field(
        name="tenure",
        type="string",
        label="Type of tenancy",
        categories=TENURES,
        wording="type of tenancy: {value}",
        value_wording={
            "Council tenant": "being a council tenant",
            "Housing association tenant": "being a housing association tenant",
            "Private tenant": "renting privately",
            "Temporary home": "living in a temporary home",
        },
    ),
    Field(
        name="notice",
        type="string",
        label="Notice to leave",
        description="How far the landlord has gone towards ending the tenancy.",
        categories=NOTICES,
        wording="notice to leave: {value}",
        value_wording={
            "No notice": "no notice to leave",
            "Notice served": "a notice to leave",
            "Court date set": "a court date for possession",
            "Eviction date set": "a date set for eviction",
        },
    ),
    Field(
        name="income_source",
        type="string",
        label="Main source of income",
        categories=INCOMES,
        wording="main source of income: {value}",
        value_wording={
            "Benefits only": "living on benefits only",
            "No income": "having no income",
            "Pension": "living on a pension",
            "Self-employment": "income from self-employment",
            "Wages": "income from wages",
            "Wages and benefits": "income from wages and benefits",
        },
    ),
    Field(
        name="reason",
        type="string",
        label="Main reason for the shortfall",
        categories=REASONS,
        wording="a shortfall because of: {value}",
        value_wording={
            "Benefit cap": "a shortfall because of the benefit cap",
            "Local housing allowance rate": "a shortfall because rent is above the local rate",
            "Loss of income": "a shortfall because of a loss of income",
            "Rise in rent": "a shortfall because of a rise in rent",
            "Spare room deduction": "a shortfall because of the spare room deduction",
            "Other": "a shortfall for another reason",
        },
    ),
    Field(
        name="evidence",
        type="string",
        label="Evidence received",
        description="Whether the papers asked for (rent, income, bank statements) have come.",
        categories=EVIDENCE,
        may_be_missing=True,
        missing_value=EVIDENCE_MISSING,
        actionable=True,
        wording="evidence received: {value}",
        value_wording={
            "Complete": "complete evidence",
            "Part received": "only part of the evidence received",
            "None received": "no evidence received",
            "missing": "no record of whether evidence was received",
        },
    ),
)


def demo_card(metrics: tuple[PerformanceMetric, ...] = ()) -> Card:
    """Return the card of the demonstration model, with what was measured of it."""
    return Card(
        name="housing-support",
        version="1.0.0",
        title="Priority for discretionary housing support",
        owner="Head of Housing Options, Northmoor Borough Council (an invented council)",
        contact="housing.options@northmoor.example",
        purpose=(
            "Helps a caseworker to see quickly which applications for a discretionary housing "
            "payment may need priority, and why. It recommends; a caseworker decides."
        ),
        legal_basis=(
            "Discretionary Financial Assistance Regulations 2001 (SI 2001/1167), which leave the "
            "decision to the council; personal data: UK GDPR Article 6(1)(e), public task. "
            "A demonstration: no lawful use of this model with real people has been assessed."
        ),
        training_data=(
            "5,000 invented applications with invented decisions of a panel, made by "
            "models/demo/data.py. No real person, council or decision is in them."
        ),
        output=Output(
            task="classification",
            meaning=(
                "How likely it is that the panel would have given an application with these "
                "facts priority."
            ),
            classes=(NOT_PRIORITY, PRIORITY),
            positive_class=PRIORITY,
            class_wording={
                PRIORITY: "award priority housing support",
                NOT_PRIORITY: "do not award priority housing support",
            },
        ),
        fields=_FIELDS,
        protected=("age", "sex", "disability", "ethnicity"),
        what_it_cannot_know=(
            "What the applicant said in person, or would say if asked.",
            "Violence or abuse in the home, illness, pregnancy, bereavement or caring duties.",
            "Whether the papers are genuine and the figures up to date.",
            "What a move would mean for schools, work, care or support near the home.",
            "Help that the household has from family, charities or other funds.",
            "How much of this year's budget is left.",
        ),
        limitations=(
            (
                "It repeats what the panel used to decide, mistakes included; it does not know what "
                "the right decision was."
            ),
            (
                "Adaptations follow disability and a pension follows age, so it can treat groups "
                "differently without being told who belongs to them."
            ),
            (
                "Missing figures and missing evidence lower the priority. That may say more about the "
                "help people had with the form than about their need."
            ),
            (
                "It has seen few households with a date set for eviction, none with more than eight "
                "children, and no rent above £600 a week."
            ),
            (
                "It was made from invented data to show how this service works. Do not use it for "
                "real decisions."
            ),
        ),
        supplier=Supplier(
            name="Northmoor Borough Council, analysis team (invented)",
            role="Made and trained the model; keeps it up.",
            procurement="None: made by the council itself.",
            data_access="Invented data only.",
        ),
        model_details=ModelDetails(
            overview=(
                "It compares an application with 5,000 earlier ones and says how likely the panel "
                "would have been to give it priority. Each answer says which facts counted, and "
                "how much."
            ),
            benefits="The most urgent applications are seen first.",
            alternatives_considered=(
                "Order of arrival, which lets urgent cases wait; a points table, which the panel "
                "found too coarse."
            ),
            documentation="https://northmoor.example/housing-support",
            licence="That of the source of Grounds.",
        ),
        model_parameters=ModelParameters(
            architecture="Gradient boosting of 100 decision trees of depth 4 (scikit-learn), as ONNX.",
            training_period=Period(start=date(2025, 1, 1), end=date(2025, 12, 31)),
            training_cases=5_000,
            input_format="20 facts of an application, by name.",
            output_format="One probability.",
            maintenance=(
                "Looked at every six months, and whenever the scheme's rules or rents change. A new "
                "model is a new version with its own card."
            ),
        ),
        quantitative_analysis=QuantitativeAnalysis(
            evaluation_data="1,000 invented applications that training never saw.",
            performance_metrics=metrics,
        ),
        considerations=Considerations(
            users=("Caseworkers of the housing options team, trained in reading its reasons.",),
            use_cases=("Choosing which applications to look at first.",),
            out_of_scope=(
                "Deciding an application.",
                "Anything but discretionary housing payments.",
            ),
            tradeoffs=("Trees of depth 4 are exact to explain; deeper ones were little better.",),
            ethical_considerations=(
                Risk(
                    name="People rely on it without looking",
                    mitigation_strategy="A caseworker decides, and says why, each time.",
                    owner="Head of Housing Options",
                ),
                Risk(
                    name="Missing evidence counts against people who had no help with the form",
                    mitigation_strategy="Missing figures are flagged in the answer.",
                    owner="Head of Housing Options",
                ),
            ),
            fairness=Fairness(
                criterion="equal_opportunity",
                criterion_rationale=(
                    "To miss an urgent case does the most harm, so urgent cases should be found "
                    "equally often in every group. Other figures are reported all the same."
                ),
                tolerance=0.1,
                not_tested=(
                    NotTested(
                        group="religion, sexual orientation, pregnancy, gender reassignment",
                        reason="The data do not say.",
                    ),
                ),
            ),
        ),
        assessments=ASSESSMENTS,
        translations={"cy": WELSH},
    )
