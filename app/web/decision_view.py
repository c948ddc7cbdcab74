"""View models: exactly what each template may use, and no more."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson

from app.reading import StoredDecision
from app.served import ServedModel
from app.web.charts import Bar, signed_bars
from app.words import LEAST_SHOWN, MOST_REASONS, percent, points
from models.wording import format_value


@dataclass(frozen=True, slots=True)
class FactorRow:
    """One field in the table beside the chart."""

    label: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class DecisionView:
    """What the decision page shows."""

    template: ClassVar[str] = "decision/decision.html"

    id: str
    created: str
    model_title: str
    model_name: str
    model_version: str
    label: str
    summary: str
    rule: str
    near_threshold: bool
    score: str
    score_meaning: str
    base: str | None
    """None where the starting point is in no unit that people read."""
    reasons_for: list[str]
    reasons_against: list[str]
    flags: list[str]
    how_sure: list[str]
    alternatives: list[str]
    alternatives_statement: str | None
    chart: str
    rows: list[FactorRow]
    unit_note: str
    what_it_cannot_know: list[str]
    method: str
    background_rows: int
    log: str
    index: int
    leaf_hash: str


FLAG_WORDS: Mapping[str, str] = {
    "missing": "{label} is missing from this case. The model worked without it.",
    "unknown": "{label} has a value that the model has not seen before. Treat the advice with "
    "more care.",
}


def decision_view(stored: StoredDecision, served: ServedModel | None) -> DecisionView:
    """Return what the page of one decision shows.

    ``served`` is today's model of that name when it is the same one by digest: its card has the
    words for values. Without it the recorded values are shown as they are.
    """
    body: dict[str, Any] = orjson.loads(stored.body)
    explanation, recommendation = body["explanation"], body["recommendation"]
    factors = sorted(explanation["contributions"], key=lambda row: -abs(row["contribution"]))
    in_probability = explanation["base_probability"] is not None
    contrast = None if in_probability else explanation["contrast"]
    labels = {row["field"]: row["label"] for row in factors}
    return DecisionView(
        id=body["id"],
        created=body["created"],
        model_title=body["model"]["name"] if served is None else served.bundle.card.title,
        model_name=body["model"]["name"],
        model_version=body["model"]["version"],
        label=recommendation["label"],
        summary=explanation["summary"],
        rule=recommendation["rule"]["description"],
        near_threshold=recommendation["near_threshold"],
        score=percent(recommendation["score"])
        if in_probability or contrast is not None
        else f"{recommendation['score']:,.4g}",
        score_meaning=recommendation["score_meaning"],
        base=_base(explanation),
        reasons_for=explanation["reasons_for"],
        reasons_against=explanation["reasons_against"],
        flags=[
            FLAG_WORDS[flag["kind"]].format(label=labels[flag["field"]]) for flag in body["flags"]
        ],
        how_sure=_how_sure(body["uncertainty"], body["familiarity"]),
        alternatives=[each["sentence"] for each in body["what_would_change"]["found"]],
        alternatives_statement=body["what_would_change"]["statement"],
        chart=_chart(factors, contrast),
        rows=[
            FactorRow(label=row["label"], value=_shown(row, served), effect=_effect(row, contrast))
            for row in factors
        ],
        unit_note=(
            "in percentage points of the estimate"
            if in_probability
            else "which way each factor counted"
            if contrast is not None
            else explanation["unit"]
        ),
        what_it_cannot_know=[] if served is None else list(served.bundle.card.what_it_cannot_know),
        method=explanation["method"],
        background_rows=explanation["background"]["rows"],
        log=body["receipt"]["log"],
        index=body["receipt"]["index"],
        leaf_hash=body["receipt"]["leaf_hash"],
    )


def _base(explanation: Mapping[str, Any]) -> str | None:
    if explanation["base_probability"] is not None:
        return percent(explanation["base_probability"])
    return None if explanation["contrast"] is not None else f"{explanation['base_value']:,.4g}"


def _how_sure(uncertainty: Mapping[str, Any], familiarity: Mapping[str, Any]) -> list[str]:
    lines = []
    similar = uncertainty["similar_cases"]
    if similar is not None:
        wording = similar["wording"]
        lines.append(
            f"{wording[0].upper()}{wording[1:]} turned out that way "
            f"({similar['positives']} of {similar['cases']} past cases with a similar estimate)."
        )
    kept = uncertainty["prediction_set"]
    if kept is not None and len(kept["classes"]) > 1:
        lines.append(
            "More than one outcome is possible for this case, going by the past cases we have."
        )
    interval = uncertainty["prediction_interval"]
    if interval is not None:
        lines.append(
            f"In {round(interval['coverage'] * 100)} of 100 past cases the true number was as near "
            f"as {interval['low']:,.4g} to {interval['high']:,.4g}."
        )
    if uncertainty["status"] == "not_available":
        lines.append("How often this model is right for such cases is not known here.")
    if familiarity["unfamiliar"]:
        lines.append(
            "This case is unlike nearly all the cases the model knows. Treat its advice with "
            "more care."
        )
    return lines


def _chart(factors: list[dict[str, Any]], contrast: Mapping[str, str] | None) -> str:
    named, rest = factors[:MOST_REASONS], factors[MOST_REASONS:]
    bars = [Bar(row["label"], _size(row), _effect(row, contrast)) for row in named]
    if rest:
        total = sum(_size(row) for row in rest)
        summed = {
            "contribution": total,
            "probability_change": None if rest[0]["probability_change"] is None else total,
        }
        bars.append(Bar(_others(len(rest)), total, _effect(summed, contrast)))
    return signed_bars(
        bars,
        title="How each factor moved the estimate",
        description="The table below has the same figures.",
    )


def _size(row: Mapping[str, Any]) -> float:
    change = row["probability_change"]
    return float(row["contribution"] if change is None else change)


def _others(count: int) -> str:
    return "1 other factor" if count == 1 else f"{count} other factors"


def _effect(row: Mapping[str, Any], contrast: Mapping[str, str] | None) -> str:
    size = _size(row)
    if size == 0:
        return "no change"
    if contrast is not None:
        return f"for {contrast['favoured' if size > 0 else 'rival']}"
    sign = "+" if size > 0 else "\N{MINUS SIGN}"
    if row["probability_change"] is None:
        return f"{sign}{abs(size):.3g}"
    return points(size) if abs(size) < LEAST_SHOWN else sign + points(size)


def _shown(row: Mapping[str, Any], served: ServedModel | None) -> str:
    if served is None:
        return "not known" if row["value"] is None else str(row["value"])
    return format_value(served.bundle.card.field(row["field"]), row["value"])
