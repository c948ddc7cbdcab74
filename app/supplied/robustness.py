"""Hostile inputs: whatever a caller sends, it is refused, or scored with finite numbers; never a crash."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from app.supplied.report import Check
from explainers.errors import ExplanationError
from explainers.explainer import Explainer
from models.bundle import Bundle
from models.card import Field
from models.errors import CaseRejectedError, ModelError

BASES = 5
"""Samples that one value at a time is changed in."""

_NOT_VALUES: tuple[object, ...] = ({}, [], [1.0], {"$": 1})
_NUMBERS: tuple[object, ...] = (
    math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, -0.0, 2**24 + 1, 2**53 + 1, 2**63, -(2**70),
)  # fmt: skip
_TEXTS: tuple[object, ...] = ("", " ", "\x00", "no such category", "x" * 100_000, "ÿ\U0001f600")


def check_robustness(bundle: Bundle, explainer: Explainer) -> Check:
    """Change every field of a few samples to every awkward value, and look what comes of it."""
    counts: Counter[str] = Counter()
    faults: list[str] = []
    for sample in bundle.samples[:BASES]:
        for field in bundle.card.fields:
            for kind, value in _awkward(field):
                case = {**sample.case, field.name: value}
                fault = _try(bundle, explainer, case, kind, counts)
                if fault is not None:
                    faults.append(f"{field.name}, {kind}: {fault}")
        without = dict(sample.case)
        without.pop(bundle.card.fields[0].name)
        _try(bundle, explainer, without, "field left out", counts)
        _try(bundle, explainer, {**sample.case, "no_such_field": 1}, "field too many", counts)
    if counts["field left out: scored"] or counts["field too many: scored"]:
        faults.append("a case with other fields was scored")
    tried = sum(counts.values())
    summary = (
        f"{tried:,} cases with a missing, extreme, unknown or malformed value were refused, or "
        "flagged and scored with finite numbers"
        if not faults
        else f"{len(faults)} of {tried:,} cases went wrong, the first: {faults[0]}"
    )
    return Check(
        name="robustness",
        status="failed" if faults else "passed",
        summary=summary,
        details={"outcomes": dict(sorted(counts.items())), "faults": faults[:20]},
    )


def _awkward(field: Field) -> Iterator[tuple[str, object]]:
    yield "missing", None
    for limit in (field.minimum, field.maximum):
        if limit is not None:
            number = int(limit) if field.type == "integer" else limit
            yield "at its limit", number
            yield "past its limit", number + (1 if limit == field.maximum else -1)
    yield from (("number", value) for value in _NUMBERS)
    yield from (("text", value) for value in _TEXTS)
    yield from (("truth value", value) for value in (True, False))
    yield from (("no value", value) for value in _NOT_VALUES)


def _try(
    bundle: Bundle,
    explainer: Explainer,
    case: Mapping[str, object],
    kind: str,
    counts: "Counter[str]",
) -> str | None:
    try:
        encoded = bundle.schema.encode(case)
    except CaseRejectedError:
        counts[f"{kind}: refused"] += 1
        return None
    except Exception as err:  # noqa: BLE001  finding what else it raises is the test
        counts[f"{kind}: crashed"] += 1
        return f"{type(err).__name__} instead of a refusal"
    try:
        scored = bundle.session.run_row(encoded.feeds)
        explanation = explainer.explain(encoded.feeds, scored.scores, scored.taps, b"robustness")
    except (ModelError, ExplanationError) as err:
        counts[f"{kind}: no advice"] += 1
        return f"accepted, and then {type(err).__name__}"
    counts[f"{kind}: {'flagged' if encoded.flags else 'scored'}"] += 1
    numbers = (scored.scores, explanation.contributions, explanation.terms.base_values)
    if not all(bool(np.isfinite(array).all()) for array in numbers):
        return "numbers that are not finite"
    return None
