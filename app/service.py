"""The straight line of one decision: score, explain, apply the policy, make the record.

Two invariants hold here and nowhere else needs to know them. No answer without an explanation:
``explain`` raises unless its numbers add up to the model's own output. No answer without a receipt:
what ``recommend`` returns is only prepared, and the engine lets it go after the commit.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import orjson
from numpy.typing import NDArray

from app import records, words
from app.alternatives import Alternatives, find_alternatives
from app.domain import Advice, Caller, Clock, Reason
from app.engine import Prepared, Unfinished
from app.ids import timestamp
from app.metrics import Metrics
from app.served import ServedModel
from app.sureness import familiarity_body, uncertainty_body
from audit.records import Idempotency, NewRecord
from audit.replay import Item
from explainers.explanation import Explanation
from explainers.rescale import rescale
from models.schema import EncodedCase
from models.session import Scored


@dataclass(frozen=True, slots=True)
class Application:
    """One case, accepted by the model's schema and waiting for a recommendation."""

    id: str
    served: ServedModel
    caller: Caller
    case: EncodedCase
    subject: str | None
    """The caller's opaque name of the person, so that all that concerns them can be erased."""
    idempotency: Idempotency | None
    service: "Service"
    assessment: "Assessment | None" = None
    """Made beforehand, on another thread, where making it is slow."""

    def prepare(self) -> Prepared | Unfinished:
        """Return the recommendation for the engine to record, or what it needs first."""
        return self.service.recommend(self)


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the model says of a case, and why."""

    scored: Scored
    explanation: Explanation
    advice: Advice
    alternatives: Alternatives | None
    """What would have changed the recommendation; None where the policy does not ask."""


class Service:
    """Turns applications into prepared recommendations."""

    def __init__(self, *, clock: Clock, metrics: Metrics, runtime: Mapping[str, str]) -> None:
        """``runtime`` is what a replay must know of this machine."""
        self._clock = clock
        self._metrics = metrics
        self._runtime = runtime

    def assess(self, application: Application) -> Assessment:
        """Return the model's output for a case with its explanation and what the policy says.

        Raises ScoringError, ExplanationError when there is no explanation that adds up, or
        PolicyError.
        """
        served = application.served
        with self._metrics.time("infer"):
            scored = served.bundle.session.run_row(application.case.feeds)
        with self._metrics.time("explain"):
            explanation = explain(served, application.case, scored, decision_id=application.id)
        return Assessment(scored, explanation, advise(served, scored), alternatives=None)

    def finish(self, application: Application, assessment: Assessment | None) -> Application:
        """Return the application with everything that is slow done. Not for the engine's thread."""
        if assessment is None:
            assessment = self.assess(application)
        served, advice = application.served, assessment.advice
        if served.policy.asks_what_would_change(advice):
            with self._metrics.time("alternatives"):
                alternatives = find_alternatives(
                    served.bundle,
                    served.policy,
                    served.changeable,
                    case=application.case,
                    advice=advice,
                )
            assessment = replace(assessment, alternatives=alternatives)
        return replace(application, assessment=assessment)

    def recommend(self, application: Application) -> Prepared | Unfinished:
        """Return the explained recommendation for a case, ready to be recorded.

        Unfinished when something slow is needed first. Raises ScoringError, ExplanationError or
        PolicyError; then nothing is advised.
        """
        served = application.served
        assessment = application.assessment
        if assessment is None:
            if served.is_slow:
                return Unfinished(partial(self.finish, application, None))
            assessment = self.assess(application)
            if served.policy.asks_what_would_change(assessment.advice):
                return Unfinished(partial(self.finish, application, assessment))
        scored, explanation, advice = assessment.scored, assessment.explanation, assessment.advice
        with self._metrics.time("encode"):
            answer = self._answer(application, assessment)
            payload = records.recommendation_payload(
                caller=application.caller.key_id,
                case=application.case.values,
                answer=answer,
                bits=bits_of(scored, explanation, advice),
                runtime=self._runtime,
            )
        self._metrics.residuals[served.name].observe(explanation.residual)
        return Prepared(
            record=NewRecord(
                type=records.RECOMMENDATION,
                id=application.id,
                facts=served.facts,
                payload=payload,
                subject=application.subject,
                idempotency=application.idempotency,
            ),
            answer=answer,
            result=advice.outcome,
        )

    def _answer(self, application: Application, assessment: Assessment) -> bytes:
        served, case = application.served, application.case
        scored, explanation, advice = assessment.scored, assessment.explanation, assessment.advice
        card, policy, explainer = served.bundle.card, served.policy, served.explainer
        base_probability, reasons = reasons_for(served, application.case, explanation, advice)
        told = words.tell(reasons)
        return orjson.dumps(
            {
                "id": application.id,
                "created": timestamp(self._clock()),
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
                "flags": [
                    {"field": flag.field, "kind": flag.kind} for flag in application.case.flags
                ],
            }
        )


def explain(
    served: ServedModel, case: EncodedCase, scored: Scored, *, decision_id: str
) -> Explanation:
    """Return the explanation of a scored case; the record's id seeds methods that sample."""
    return served.explainer.explain(case.feeds, scored.scores, scored.taps, decision_id.encode())


def advise(served: ServedModel, scored: Scored) -> Advice:
    """Return what the policy makes of a scored case."""
    return served.policy.apply(float(scored.scores[served.target]), target=served.target)


def bits_of(scored: Scored, explanation: Explanation, advice: Advice) -> records.Bits:
    """Return what a replay must reproduce: raw little-endian numbers, and the outcome."""
    return (
        _numbers("scores", scored.scores),
        _numbers("base_values", explanation.base_values),
        _numbers("contributions", explanation.contributions),
        _numbers("margins", explanation.margins),
        Item("outcome", "bytes", f"{advice.outcome}\n{advice.rule.id}".encode()),
    )


def _numbers(name: str, values: NDArray[np.float32 | np.float64]) -> Item:
    narrow = values.dtype == np.float32
    little_endian = values.astype("<f4" if narrow else "<f8", copy=False)
    return Item(name, "float32" if narrow else "float64", little_endian.tobytes())


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
    return {
        "status": "found" if alternatives.found else "none_found",
        "statement": alternatives.statement,
        "found": [asdict(each) for each in alternatives.found],
    }
