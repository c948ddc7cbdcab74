"""The synthetic applications: what they hold and how one fact leads to another.

Nobody in this data exists and no real decision was used. The facts follow a causal order, so that
they hang together as real ones do:

    age, sex, disability, ethnicity          protected, returned apart, never inputs
      -> tenure, children, source of income, adaptations
      -> rent, help with rent, income, savings, debts
      -> shortfall -> arrears -> notice
      -> what the panel decided, with the panel's own noise

The panel sees need (the shortfall against what is left to live on), danger of losing the home,
and what the household has done about it. It never sees a protected attribute, but some are
echoed in what it does see: adaptations follow disability, a pension follows age, and complete
evidence is rarer among people with little time or English. A fairness check should find that.

About a tenth of the incomes, savings, debt repayments, dates of the last change in income and
records of evidence are missing, more often where evidence is poor.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.card import Value

TENURES = ("Council tenant", "Housing association tenant", "Private tenant", "Temporary home")
NOTICES = ("No notice", "Notice served", "Court date set", "Eviction date set")
INCOMES = (
    "Benefits only",
    "No income",
    "Pension",
    "Self-employment",
    "Wages",
    "Wages and benefits",
)
REASONS = (
    "Benefit cap",
    "Local housing allowance rate",
    "Loss of income",
    "Rise in rent",
    "Spare room deduction",
    "Other",
)
EVIDENCE = ("Complete", "Part received", "None received")
EVIDENCE_MISSING = "Not recorded"

NOT_PRIORITY = "not priority"
PRIORITY = "priority"

_Numbers = NDArray[np.float64]
_Texts = NDArray[np.str_]
_Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Applications:
    """Synthetic applications, row by row.

    ``cases`` hold the model's inputs, ``decisions`` what the panel decided, and ``protected`` the
    attributes that are for checking fairness and nothing else.
    """

    cases: tuple[dict[str, Value], ...]
    decisions: tuple[str, ...]
    protected: tuple[dict[str, str], ...]


def make_applications(rng: np.random.Generator, count: int) -> Applications:
    """Return ``count`` applications; the same generator state gives the same ones."""
    people = _people(rng, count)
    home = _home(rng, people)
    money = _money(rng, people, home)
    danger = _danger(rng, people, money)
    decisions = _decide(rng, home, money, danger)
    columns = {**home, **money, **danger}
    gaps = _gaps(rng, danger["evidence"])
    cases = tuple(
        {
            name: None if name in gaps and gaps[name][row] else columns[name][row].item()
            for name in FIELD_ORDER
        }
        for row in range(count)
    )
    protected = tuple(
        {name: str(column[row]) for name, column in people.items()} for row in range(count)
    )
    return Applications(cases, tuple(str(decision) for decision in decisions), protected)


FIELD_ORDER = (
    "weekly_rent",
    "weekly_help_with_rent",
    "weekly_income",
    "savings",
    "weekly_debt_repayments",
    "rent_arrears",
    "adults",
    "children",
    "spare_bedrooms",
    "months_at_address",
    "weeks_since_income_change",
    "previous_awards",
    "home_adapted",
    "plan_agreed",
    "seeking_cheaper_home",
    "tenure",
    "notice",
    "income_source",
    "reason",
    "evidence",
)
"""The model's inputs in the order of the card: numbers, then yes or no, then text."""


def _people(rng: np.random.Generator, count: int) -> dict[str, _Texts]:
    age = rng.choice(["16-24", "25-44", "45-64", "65 and over"], count, p=[0.14, 0.43, 0.30, 0.13])
    disability_rate = _by(age, {"16-24": 0.12, "25-44": 0.22, "45-64": 0.38, "65 and over": 0.45})
    return {
        "age": age,
        "sex": rng.choice(["female", "male"], count, p=[0.58, 0.42]),
        "disability": np.where(rng.random(count) < disability_rate, "yes", "no"),
        "ethnicity": rng.choice(
            ["Asian", "Black", "mixed or other", "white"], count, p=[0.14, 0.12, 0.08, 0.66]
        ),
    }


def _home(rng: np.random.Generator, people: dict[str, _Texts]) -> dict[str, NDArray[np.generic]]:
    count = len(people["age"])
    young = _by(people["age"], {"16-24": 0.5, "25-44": 1.0, "45-64": 0.45, "65 and over": 0.03})
    children = rng.poisson(np.where(people["sex"] == "female", 1.7, 1.0) * young).clip(0, 8)
    tenure = _choose(rng, TENURES, np.full((count, 4), [0.28, 0.27, 0.38, 0.07]))
    adapted_rate = np.where(people["disability"] == "yes", 0.32, 0.01)
    settled = _by(
        people["age"], {"16-24": 14.0, "25-44": 45.0, "45-64": 95.0, "65 and over": 150.0}
    )
    social = np.isin(tenure, TENURES[:2])
    return {
        "adults": 1 + rng.binomial(2, 0.28, count),
        "children": children,
        "spare_bedrooms": np.where(
            social, rng.binomial(3, 0.24, count), rng.binomial(2, 0.08, count)
        ),
        "months_at_address": np.minimum(rng.exponential(settled), 720).astype(np.int64),
        "home_adapted": rng.random(count) < adapted_rate,
        "tenure": tenure,
    }


def _money(
    rng: np.random.Generator, people: dict[str, _Texts], home: dict[str, NDArray[np.generic]]
) -> dict[str, NDArray[np.generic]]:
    count = len(people["age"])
    heads = home["adults"].astype(np.float64) + 0.5 * home["children"].astype(np.float64)
    old, disabled = people["age"] == "65 and over", people["disability"] == "yes"
    odds = np.full((count, 6), [0.34, 0.03, 0.02, 0.07, 0.24, 0.30])
    odds[disabled] = [0.58, 0.02, 0.03, 0.04, 0.13, 0.20]
    odds[old] = [0.14, 0.01, 0.76, 0.01, 0.03, 0.05]
    source = _choose(rng, INCOMES, odds)
    base_rent = _by(home["tenure"], dict(zip(TENURES, (98.0, 112.0, 168.0, 205.0), strict=True)))
    rent = base_rent * (0.75 + 0.16 * heads) * rng.lognormal(0, 0.16, count)
    reason = _choose(rng, REASONS, _reason_odds(home, source))
    cover = _by(reason, dict(zip(REASONS, (0.74, 0.77, 0.66, 0.83, 0.82, 0.80), strict=True)))
    help_with_rent = rent * np.clip(cover + rng.normal(0, 0.12, count), 0.0, 1.0)
    typical = _by(source, dict(zip(INCOMES, (118.0, 8.0, 186.0, 172.0, 232.0, 205.0), strict=True)))
    income = typical * (0.55 + 0.4 * heads) * rng.lognormal(0, 0.28, count)
    income *= np.where(reason == "Loss of income", 0.78, 1.0)
    savings = np.where(rng.random(count) < 0.45, 0.0, rng.lognormal(5.6, 1.5, count))
    debts = np.where(rng.random(count) < 0.4, 0.0, rng.gamma(2.0, 13.0, count))
    recent = np.where(reason == "Loss of income", 9.0, 70.0)
    return {
        "weekly_rent": _pence(rent, 600.0),
        "weekly_help_with_rent": _pence(help_with_rent, 500.0),
        "weekly_income": _pence(income, 1500.0),
        "savings": _pence(savings * np.where(old, 2.5, 1.0), 30000.0),
        "weekly_debt_repayments": _pence(debts, 300.0),
        "weeks_since_income_change": np.minimum(rng.exponential(recent), 520).astype(np.int64),
        "income_source": source,
        "reason": reason,
    }


def _reason_odds(home: dict[str, NDArray[np.generic]], source: _Texts) -> _Numbers:
    children = home["children"].astype(np.float64)
    spare = home["spare_bedrooms"].astype(np.float64)
    private = home["tenure"] == "Private tenant"
    odds = np.stack(
        [
            np.where(source == "Benefits only", 0.25 + 0.55 * children, 0.05),
            np.where(private, 2.2, 0.05),
            np.where(np.isin(source, ["Wages", "No income", "Self-employment"]), 1.1, 0.35),
            np.full(len(source), 0.6),
            np.where(private | (source == "Pension"), 0.02, 1.9 * spare),
            np.full(len(source), 0.35),
        ],
        axis=1,
    )
    shares: _Numbers = odds / odds.sum(axis=1, keepdims=True)
    return shares


def _danger(
    rng: np.random.Generator, people: dict[str, _Texts], money: dict[str, NDArray[np.generic]]
) -> dict[str, NDArray[np.generic]]:
    count = len(people["age"])
    weeks = rng.gamma(1.6, 7.0, count)
    arrears = np.where(rng.random(count) < 0.3, 0.0, _shortfall(money) * weeks)
    stage = arrears / 900 + rng.normal(0, 0.7, count)
    notice = np.array(NOTICES)[np.digitize(stage, [0.9, 1.9, 2.7])]
    stretched = people["ethnicity"] != "white"
    evidence_odds = np.where(
        stretched[:, None], np.array([0.50, 0.36, 0.14]), np.array([0.62, 0.28, 0.10])
    )
    return {
        "rent_arrears": _pence(arrears, 20000.0),
        "notice": notice,
        "evidence": _choose(rng, EVIDENCE, evidence_odds),
        "previous_awards": rng.poisson(0.5, count).clip(0, 6),
        "plan_agreed": rng.random(count) < 0.42,
        "seeking_cheaper_home": rng.random(count) < 0.30,
    }


def _decide(
    rng: np.random.Generator,
    home: dict[str, NDArray[np.generic]],
    money: dict[str, NDArray[np.generic]],
    danger: dict[str, NDArray[np.generic]],
) -> _Texts:
    heads = home["adults"].astype(np.float64) + 0.5 * home["children"].astype(np.float64)
    shortfall = _shortfall(money)
    income = money["weekly_income"].astype(np.float64)
    left = (income - shortfall - money["weekly_debt_repayments"].astype(np.float64)) / heads
    need = (
        -2.9
        + 0.85 * np.log1p(shortfall / 12)
        - 1.5 * np.tanh((left - 105) / 70)
        - 0.55 * np.log1p(money["savings"].astype(np.float64) / 400)
        + 0.45 * np.minimum(danger["rent_arrears"].astype(np.float64) / 800, 3)
        + _by(danger["notice"], dict(zip(NOTICES, (0.0, 0.5, 1.2, 1.9), strict=True)))
        + _by(danger["evidence"], dict(zip(EVIDENCE, (0.6, -0.4, -1.6), strict=True)))
        + 0.22 * np.minimum(home["children"].astype(np.float64), 4)
        + 0.75 * danger["plan_agreed"].astype(np.float64)
        + 0.35 * danger["seeking_cheaper_home"].astype(np.float64)
        - 0.45 * danger["previous_awards"].astype(np.float64)
        + 0.5 * ((money["reason"] == "Benefit cap") & (home["children"].astype(np.int64) >= 2))
        + 1.3
        * ((money["reason"] == "Spare room deduction") & home["home_adapted"].astype(np.bool_))
        + 0.4 * (money["weeks_since_income_change"].astype(np.int64) < 13)
        + 0.3 * (home["months_at_address"].astype(np.int64) > 60)
    )
    chance = 1 / (1 + np.exp(-(1.5 * need + rng.normal(0, 0.4, len(need)))))
    return np.where(rng.random(len(need)) < chance, PRIORITY, NOT_PRIORITY)


def _gaps(rng: np.random.Generator, evidence: NDArray[np.generic]) -> dict[str, _Bools]:
    rate = _by(evidence, dict(zip(EVIDENCE, (0.04, 0.12, 0.30), strict=True)))
    gaps: dict[str, _Bools] = {
        name: rng.random(len(rate)) < rate
        for name in (
            "weekly_income",
            "savings",
            "weekly_debt_repayments",
            "weeks_since_income_change",
        )
    }
    return {**gaps, "evidence": rng.random(len(rate)) < 0.06}


def _shortfall(money: dict[str, NDArray[np.generic]]) -> _Numbers:
    rent = money["weekly_rent"].astype(np.float64)
    return np.maximum(rent - money["weekly_help_with_rent"].astype(np.float64), 0.0)


def _pence(amounts: _Numbers, most: float) -> _Numbers:
    return amounts.clip(max=most).round(2)


def _by(keys: NDArray[np.generic], values: dict[str, float]) -> _Numbers:
    """Return the value of each key."""
    return np.array([values[str(key)] for key in keys])


def _choose(rng: np.random.Generator, options: tuple[str, ...], odds: _Numbers) -> _Texts:
    """Return one option per row, by that row's odds."""
    picks = (rng.random((len(odds), 1)) > odds.cumsum(axis=1)).sum(axis=1)
    chosen: _Texts = np.array(options)[np.minimum(picks, len(options) - 1)]
    return chosen
