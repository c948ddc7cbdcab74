"""The demonstration's card in Welsh, for the letters to applicants.

Written for this demonstration by its makers, and read by no translator: a body that writes to people
has its own words made by one.
"""

from models.translations import CardWords, FieldWords


def _field(label: str, wording: str, unit: str | None = None, **values: str) -> FieldWords:
    return FieldWords(label=label, wording=wording, unit=unit, value_wording=values)


_WEEKLY = "£ yr wythnos"

WELSH = CardWords(
    title="Blaenoriaeth ar gyfer cymorth tai dewisol",
    fields={
        "weekly_rent": _field("Rhent wythnosol", "rhent o {value}", _WEEKLY),
        "weekly_help_with_rent": _field(
            "Help wythnosol gyda rhent", "help gyda rhent o {value}", _WEEKLY
        ),
        "weekly_income": _field(
            "Incwm wythnosol", "incwm o {value}", _WEEKLY, missing="dim ffigur ar gyfer incwm"
        ),
        "savings": _field("Cynilion", "cynilion o {value}", missing="dim ffigur ar gyfer cynilion"),
        "weekly_debt_repayments": _field(
            "Ad-daliadau dyled wythnosol",
            "ad-daliadau dyled o {value}",
            _WEEKLY,
            missing="dim ffigur ar gyfer ad-daliadau dyled",
        ),
        "rent_arrears": _field("Ôl-ddyledion rhent", "ôl-ddyledion rhent o {value}"),
        "adults": _field("Oedolion yn y cartref", "{value} yn y cartref", "oedolyn"),
        "children": _field("Plant yn y cartref", "{value} yn y cartref", "plentyn"),
        "spare_bedrooms": _field("Ystafelloedd gwely sbâr", "{value} sbâr", "ystafell wely"),
        "months_at_address": _field(
            "Misoedd yn y cyfeiriad hwn", "{value} yn y cyfeiriad hwn", "mis"
        ),
        "weeks_since_income_change": _field(
            "Wythnosau ers i incwm newid ddiwethaf",
            "{value} ers i incwm newid ddiwethaf",
            "wythnos",
            missing="dim dyddiad ar gyfer y newid incwm diwethaf",
        ),
        "previous_awards": _field(
            "Dyfarniadau yn y tair blynedd diwethaf",
            "{value} yn y tair blynedd diwethaf",
            "dyfarniad",
        ),
        "home_adapted": _field(
            "Cartref wedi ei addasu",
            "cartref wedi ei addasu: {value}",
            true="cartref ag addasiadau",
            false="cartref heb addasiadau",
        ),
        "plan_agreed": _field(
            "Cynllun wedi ei gytuno",
            "cynllun wedi ei gytuno gyda chynghorydd: {value}",
            true="cynllun wedi ei gytuno gyda chynghorydd",
            false="dim cynllun wedi ei gytuno gyda chynghorydd eto",
        ),
        "seeking_cheaper_home": _field(
            "Chwilio am gartref rhatach",
            "chwilio am gartref rhatach: {value}",
            true="yn chwilio am gartref rhatach",
            false="ddim yn chwilio am gartref rhatach",
        ),
        "tenure": FieldWords(
            label="Math o denantiaeth",
            wording="math o denantiaeth: {value}",
            value_wording={
                "Council tenant": "tenant i'r cyngor",
                "Housing association tenant": "tenant i gymdeithas dai",
                "Private tenant": "rhentu'n breifat",
                "Temporary home": "byw mewn cartref dros dro",
            },
        ),
        "notice": FieldWords(
            label="Hysbysiad i adael",
            wording="hysbysiad i adael: {value}",
            value_wording={
                "No notice": "dim hysbysiad i adael",
                "Notice served": "hysbysiad i adael",
                "Court date set": "dyddiad llys am feddiant",
                "Eviction date set": "dyddiad wedi ei bennu i droi allan",
            },
        ),
        "income_source": FieldWords(
            label="Prif ffynhonnell incwm",
            wording="prif ffynhonnell incwm: {value}",
            value_wording={
                "Benefits only": "byw ar fudd-daliadau yn unig",
                "No income": "heb incwm",
                "Pension": "byw ar bensiwn",
                "Self-employment": "incwm o hunangyflogaeth",
                "Wages": "incwm o gyflog",
                "Wages and benefits": "incwm o gyflog a budd-daliadau",
            },
        ),
        "reason": FieldWords(
            label="Prif reswm dros y diffyg",
            wording="diffyg oherwydd: {value}",
            value_wording={
                "Benefit cap": "diffyg oherwydd y cap ar fudd-daliadau",
                "Local housing allowance rate": "diffyg gan fod y rhent uwchlaw'r gyfradd leol",
                "Loss of income": "diffyg oherwydd colli incwm",
                "Rise in rent": "diffyg oherwydd cynnydd mewn rhent",
                "Spare room deduction": "diffyg oherwydd y didyniad ystafell sbâr",
                "Other": "diffyg am reswm arall",
            },
        ),
        "evidence": FieldWords(
            label="Tystiolaeth a ddaeth i law",
            wording="tystiolaeth a ddaeth i law: {value}",
            value_wording={
                "Complete": "tystiolaeth gyflawn",
                "Part received": "dim ond rhan o'r dystiolaeth",
                "None received": "dim tystiolaeth",
                "missing": "dim cofnod a ddaeth tystiolaeth i law",
            },
        ),
    },
)
