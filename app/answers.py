"""The answer: everything that is said of one case, as the JSON that the caller gets and the log keeps.

The receipt is not in it: only the log can give that, once the answer is durable.
"""

from dataclasses import asdict, dataclass
from datetime import datetime

import orjson

from app import words
from app.alternatives import Alternatives
from app.domain import Advice, Reason
from app.ids import timestamp
from app.served import ServedModel
from app.sureness import familiarity_body, uncertainty_body
from explainers.explanation import Explanation
from explainers.rescale import rescale
from models.schema import EncodedCase
from models.session import Scored

NOT_FINISHED = Alternatives(
    (), "The search for what would have changed the recommendation did not finish in time."
)


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the model says of a case, and why."""

    scored: Scored
    explanation: Explanation
    advice: Advice
    alternatives: Alternatives | None
    """What would have changed the recommendation; None where the policy does not ask."""


def answer_body(
    served: ServedModel,
    case: EncodedCase,
    assessment: Assessment,
    *,
    decision_id: str,
    created: datetime,
) -> bytes:
    """Return the answer's JSON without its receipt."""
    scored, explanation, advice = assessment.scored, assessment.explanation, assessment.advice
    card, policy, explainer = served.bundle.card, served.policy, served.explainer
    base_probability, reasons = reasons_for(served, case, explanation, advice)
    told = words.tell(reasons)
    return orjson.dumps(
        {
            "id": decision_id,
            "created": timestamp(created),
            "model": {
                "name": card.name,
                "version": card.version,
                "digest": served.bundle.digest,
            },
            "policy": {
                "name": policy.policy,
                "version": policy.version,
                "digest": served.policy_digest,
            },
            "recommendation": {
                "outcome": advice.outcome,
                "label": advice.label,
                "score": advice.score,
                "score_meaning": card.output.meaning,
                "rule": {"id": advice.rule.id, "description": advice.rule.description},
                "near_threshold": advice.near_threshold,
            },
            "explanation": {
                "summary": words.summary(advice, base_probability=base_probability),
                "strongest_reasons": told.strongest,
                "reasons_for": told.supporting,
                "reasons_against": told.opposing,
                "method": explanation.method,
                "method_reason": explainer.reason,
                "unit": explanation.unit,
                "link": explanation.link,
                "base_value": float(explanation.base_values[0]),
                "margin": float(explanation.margins[0]),
                "output": float(explanation.outputs[0]),
                "base_probability": base_probability,
                "contributions": [
                    {
                        "field": reason.field.name,
                        "label": reason.field.label,
                        "value": reason.value,
                        "contribution": reason.contribution,
                        "probability_change": reason.probability_change,
                    }
                    for reason in reasons
                ],
                "residual": explanation.residual,
                "tolerance": explanation.tolerance,
                "largest_standard_error": (
                    None
                    if explanation.standard_errors is None
                    else float(explanation.standard_errors.max())
                ),
                "evaluations": explanation.evaluations,
                "background": {
                    "rows": explainer.background_rows,
                    "digest": explainer.background_digest,
                },
            },
            "uncertainty": uncertainty_body(served.sureness, served.bundle, scored.scores),
            "familiarity": familiarity_body(served.sureness, case),
            "what_would_change": _alternatives_body(assessment.alternatives),
            "flags": [{"field": flag.field, "kind": flag.kind} for flag in case.flags],
        }
    )


def reasons_for(
    served: ServedModel, case: EncodedCase, explanation: Explanation, advice: Advice
) -> tuple[float | None, list[Reason]]:
    """Return the probability that contributions start from, and each field's part, in card order.

    Both are None in probability where the unit has no honest rescaling to it.
    """
    contributions = explanation.contributions[0].tolist()
    rescaled = (
        rescale(
            explanation.contributions[0],
            base=float(explanation.base_values[0]),
            link=explanation.link,
        )
        if served.is_probability
        else None
    )
    changes = [None] * len(contributions) if rescaled is None else rescaled.contributions.tolist()
    reasons = [
        Reason(
            field=field,
            value=case.values[field.name],
            contribution=contribution,
            probability_change=change,
            supports=None if contribution == 0 else (contribution > 0) == (advice.supported_by > 0),
        )
        for field, contribution, change in zip(
            served.bundle.card.fields, contributions, changes, strict=True
        )
    ]
    return (None if rescaled is None else rescaled.base), reasons


def _alternatives_body(alternatives: Alternatives | None) -> dict[str, object]:
    if alternatives is None:
        return {"status": "not_sought", "statement": None, "found": []}
    if alternatives is NOT_FINISHED:
        return {"status": "not_finished", "statement": alternatives.statement, "found": []}
    return {
        "status": "found" if alternatives.found else "none_found",
        "statement": alternatives.statement,
        "found": [asdict(each) for each in alternatives.found],
    }
