"""The advice on a page: what, how sure, why and why not, and what would have changed it.

Sentences about the case come from the record as they were written when the advice was given, in
English. Everything else is in the reader's language.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.served import ServedModel
from app.web.charts import Bar, signed_bars
from app.web.language import Texts
from app.words import EVERY_SCORE, LEAST_SHOWN, MOST_REASONS, figure, percent, points_number, rank
from explainers.uncertainty import tenths
from models.wording import formatter

ONE_IN_TWENTY = 0.05
MOST_ERRORS = 3
"""Standard errors of a sampled contribution within which hardly any exact one is not."""


@dataclass(frozen=True, slots=True)
class FactorRow:
    """One field in the table beside the chart."""

    label: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class Advice:
    """What is advised on one case."""

    label: str
    summary: str
    near_threshold: bool
    how_sure: list[str]
    reasons_for: list[str]
    reasons_against: list[str]
    alternatives: list[str]
    alternatives_statement: str | None
    base: str | None
    """None where the starting point is in no unit that people read."""
    score: str
    score_meaning: str
    background_rows: int
    chart: str
    rows: list[FactorRow]
    unit_note: str
    is_share: bool
    """Whether the estimate is how often something happens, and not a number of its own."""
    chart_title: str
    sides: str
    """What bars to the right and to the left say."""
    sampling: str
    """How far a sampled effect can be off; empty where effects are exact."""

    @property
    def table(self) -> list[list[str]]:
        """The rows of the table beside the chart."""
        return [[row.label, row.value, row.effect] for row in self.rows]


def advice_of(body: Mapping[str, Any], served: ServedModel | None, texts: Texts) -> Advice:
    """Return what a recorded answer advises.

    ``served`` is today's model of that name when it is the same one by digest: its card has the
    words for values. Without it the recorded values are shown as they are.
    """
    _ = texts.gettext
    explanation, recommendation = body["explanation"], body["recommendation"]
    factors = sorted(explanation["contributions"], key=lambda row: -abs(row["contribution"]))
    moving = len(rank([row["contribution"] for row in factors]))
    factors[moving:] = [{**row, "contribution": 0.0} for row in factors[moving:]]
    in_probability = explanation["base_probability"] is not None
    contrast = None if in_probability else explanation["contrast"]
    if contrast is not None and served is not None:  # a class may be called 1
        contrast = {side: served.bundle.card.output.worded(name) for side, name in contrast.items()}
    title, sides = _title(contrast, texts), _sides(contrast, texts)
    within = (
        served.policy.ends(recommendation["rule"]["id"])
        if served is not None and served.policy_digest == body["policy"]["digest"]
        else EVERY_SCORE
    )
    return Advice(
        label=recommendation["label"],
        summary=explanation["summary"],
        near_threshold=recommendation["near_threshold"],
        how_sure=_how_sure(
            body["uncertainty"],
            body["familiarity"],
            texts,
            # Without its card what is counted is told by the estimate's meaning, on the same page.
            positive=_("what the estimate counts")
            if served is None
            else served.bundle.card.output.worded(served.bundle.card.output.positive_class),
        ),
        reasons_for=explanation["reasons_for"],
        reasons_against=explanation["reasons_against"],
        alternatives=[each["sentence"] for each in body["what_would_change"]["found"]],
        alternatives_statement=body["what_would_change"]["statement"],
        base=_base(explanation, texts),
        score=_percent(recommendation["score"], texts, within=within)
        if in_probability or contrast is not None
        else figure(recommendation["score"], digits=4, within=within),
        score_meaning=recommendation["score_meaning"],
        background_rows=explanation["background"]["rows"],
        chart=_chart(factors, contrast, texts, title=title),
        rows=[
            FactorRow(row["label"], shown_value(row["field"], row["value"], served, texts),
                      _effect(row, contrast, texts))
            for row in factors
        ],
        unit_note=(
            _("in percentage points of the estimate")
            if in_probability
            else _("which way each factor counted")
            if contrast is not None
            else _own_unit(served, texts)
        ),
        is_share=(in_probability or contrast is not None)
        and (served is None or served.is_probability),
        chart_title=title,
        sides=sides,
        sampling=_sampling(explanation, factors, texts),
    )  # fmt: skip


def shown_value(field: str, value: object, served: ServedModel | None, texts: Texts) -> str:
    """Return a field's value as people read it: in the card's unit, where the card is there."""
    _ = texts.gettext
    if value is None:
        return _("not known")
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if served is None:
        return str(value)
    return formatter(served.bundle.card.field(field))(value)  # type: ignore[arg-type]  # as recorded


def _base(explanation: Mapping[str, Any], texts: Texts) -> str | None:
    if explanation["base_probability"] is not None:
        return _percent(explanation["base_probability"], texts)
    return (
        None if explanation["contrast"] is not None else figure(explanation["base_value"], digits=4)
    )


def _title(contrast: Mapping[str, str] | None, texts: Texts) -> str:
    _ = texts.gettext
    if contrast is not None:  # a factor for one class of three may lower the estimate of it
        return _("Which way each factor counted")
    return _("How each factor moved the estimate")


def _sides(contrast: Mapping[str, str] | None, texts: Texts) -> str:
    _ = texts.gettext
    if contrast is None:
        return _("Bars to the right raised the estimate, striped bars to the left lowered it.")
    return (
        _("Bars to the right counted for “%(favoured)s”, striped bars to the left for “%(rival)s”.")
        % contrast
    )


def _sampling(
    explanation: Mapping[str, Any], factors: Sequence[Mapping[str, Any]], texts: Texts
) -> str:
    _ = texts.gettext
    error = explanation["largest_standard_error"]
    if not error:
        return ""
    largest = factors[0]
    if largest["probability_change"] is None or not largest["contribution"]:
        size = figure(MOST_ERRORS * error)
    else:  # all of them are rescaled alike
        rescaled = MOST_ERRORS * error * largest["probability_change"] / largest["contribution"]
        size = _points(rescaled, texts)
    return _(
        "The effects were worked out from samples. Each can be off by about this much: %(size)s."
    ) % {"size": size}


def _own_unit(served: ServedModel | None, texts: Texts) -> str:
    _ = texts.gettext
    unit = None if served is None else served.bundle.card.output.unit
    return _("in the estimate's own unit") if unit is None else unit


def _share(share: float, texts: Texts) -> str:
    """Return a share as people count: in tens, and at either end in twenties."""
    _ = texts.gettext
    if share < ONE_IN_TWENTY:
        return _("Fewer than 1 in 20")
    if share > 1 - ONE_IN_TWENTY:
        return _("More than 19 in 20")
    return _("About %(tenths)s in 10") % {"tenths": tenths(share)}


def _how_sure(
    uncertainty: Mapping[str, Any],
    familiarity: Mapping[str, Any],
    texts: Texts,
    *,
    positive: str,
) -> list[str]:
    """Return how sure the advice is. ``positive``: the outcome whose frequency the estimate is."""
    _ = texts.gettext
    lines = []
    similar = uncertainty["similar_cases"]
    if similar is not None:
        lines.append(
            _(
                "%(share)s similar cases turned out as “%(outcome)s”: %(positives)s of %(cases)s"
                " past cases with a similar estimate."
            )
            % {
                "share": _share(similar["positives"] / max(similar["cases"], 1), texts),
                "outcome": positive,
                "positives": similar["positives"],
                "cases": similar["cases"],
            }
        )
    kept = uncertainty["prediction_set"]
    if kept is not None and len(kept["classes"]) > 1:
        lines.append(
            _("More than one outcome is possible for this case, going by the past cases we have.")
        )
    interval = uncertainty["prediction_interval"]
    has_no_end = interval is not None and interval["low"] is None  # as it was recorded once
    if interval is not None and not has_no_end:
        lines.append(
            _(
                "In at least %(coverage)s of 100 past cases the true number was this close to the"
                " estimate. Here that is from %(low)s to %(high)s."
            )
            % {
                "coverage": round(interval["coverage"] * 100),
                "low": figure(interval["low"], digits=4),
                "high": figure(interval["high"], digits=4),
            }
        )
    if uncertainty["status"] == "not_available" or has_no_end:
        lines.append(_("How often this model is right for such cases is not known here."))
    if familiarity["unfamiliar"]:
        lines.append(
            _(
                "This case is unlike nearly all the cases the model knows. Treat its advice with"
                " more care."
            )
        )
    return lines


def _chart(
    factors: Sequence[Mapping[str, Any]],
    contrast: Mapping[str, str] | None,
    texts: Texts,
    *,
    title: str,
) -> str:
    _ = texts.gettext
    named, rest = factors[:MOST_REASONS], factors[MOST_REASONS:]
    bars = [Bar(row["label"], _size(row), _effect(row, contrast, texts)) for row in named]
    if rest:
        total = sum(_size(row) for row in rest)
        summed = {
            "contribution": total,
            "probability_change": None if rest[0]["probability_change"] is None else total,
        }
        others = texts.ngettext("%(num)d other factor", "%(num)d other factors", len(rest))
        bars.append(Bar(others % {"num": len(rest)}, total, _effect(summed, contrast, texts)))
    return signed_bars(
        bars,
        title=title,
        description=_("The table below has the same figures."),
    )


def _size(row: Mapping[str, Any]) -> float:
    change = row["probability_change"]
    return float(row["contribution"] if change is None else change)


def _effect(row: Mapping[str, Any], contrast: Mapping[str, str] | None, texts: Texts) -> str:
    _ = texts.gettext
    size = _size(row)
    if row["contribution"] == 0:
        return _("no change")
    if contrast is not None:
        return _("for %(outcome)s") % {"outcome": contrast["favoured" if size > 0 else "rival"]}
    sign = "+" if size > 0 else "\N{MINUS SIGN}"
    if row["probability_change"] is None:
        return f"{sign}{figure(abs(size))}"
    return _points(size, texts) if abs(size) < LEAST_SHOWN else sign + _points(size, texts)


def _points(change: float, texts: Texts) -> str:
    """Return a change of probability as ``points`` does, in the reader's language."""
    _ = texts.gettext
    if abs(change) < LEAST_SHOWN:
        return _("less than 0.1 points")
    number = points_number(change)
    unit = _("point") if number == "1" else _("points")
    return f"{number} {unit}"


def _percent(probability: float, texts: Texts, *, within: tuple[float, float] = EVERY_SCORE) -> str:
    """Return a probability as ``percent`` does, in the reader's language."""
    _ = texts.gettext
    said = percent(probability, within=within)
    edges = {"less than 1%": _("less than 1%"), "more than 99%": _("more than 99%")}
    return edges.get(said, said)
