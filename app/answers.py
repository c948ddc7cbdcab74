"""The answer: everything that is said of one case, as the JSON that the caller gets and the log keeps.

The receipt is not in it: only the log can give that, once the answer is durable.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import orjson

from app import words
from app.alternatives import Alternatives
from app.domain import Advice, Arm, Circumstances, Contrast
from app.ids import timestamp
from app.in_step import Steps, to_the_end
from app.judging import BROKEN_LIMIT
from app.policy import Policy
from app.sureness import Sureness, familiarity_body, uncertainty_body, uncertainty_of
from app.trust import Vouched
from explainers.explanation import Explanation, Vector
from explainers.familiarity import Familiarity
from explainers.rescale import Rescaled, rescale
from explainers.uncertainty import PredictionSet
from models.bundle import Bundle
from models.schema import EncodedCase
from models.session import Scored, Scores

if TYPE_CHECKING:
    from app.served import ServedModel

PAIR = 2
_NO_CHANGES: list[float | None] = [None]
NO_ADVICE = "The policy gives no advice on such a case. Decide it without."
NO_ADVICE_NOW = (
    "A limit that was set for the model's fairness or fit is broken. Until somebody has looked at that, "
    "nothing is advised. Decide the case without."
)
NOT_FINISHED = Alternatives(
    (), "The search for what would have changed the recommendation did not finish in time."
)


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the model says of a case, and why."""

    scored: Scored
    explanation: Explanation
    familiarity: Familiarity
    advice: Advice
    alternatives: Alternatives | None
    """What would have changed the recommendation; None where the policy does not ask."""
    circumstances: Circumstances
    created: datetime


class AnswerForm:
    """What all answers of one served model have in common, made once."""

    def __init__(
        self,
        bundle: Bundle,
        policy: Policy,
        vouched: Vouched,
        *,
        policy_digest: str,
        arm: Arm | None,
    ) -> None:
        card = bundle.card
        self.unit = card.output.unit
        self.teller = words.Teller(card.fields, self.unit)
        self.names = tuple(field.name for field in card.fields)
        self.labels = tuple(field.label for field in card.fields)
        self.model = _fragment(
            {
                "name": card.name,
                "version": card.version,
                "digest": bundle.digest,
                "signature": vouched.body(),
                **({} if arm is None else {"arm": arm}),
            }
        )
        self.policy = _fragment(
            {"name": policy.policy, "version": policy.version, "digest": policy_digest}
        )
        self._uncertainty: dict[tuple[float | None, tuple[int, ...]], orjson.Fragment] = {}

    def uncertainty(
        self, sureness: Sureness, bundle: Bundle, scores: Scores
    ) -> orjson.Fragment | dict[str, object]:
        """Return ``uncertainty_body``; for classes it is one of a few texts, kept once made."""
        known = uncertainty_of(sureness, bundle, scores)
        if not isinstance(known.predicted, PredictionSet):
            return uncertainty_body(sureness, known)
        lowest = None if known.frequency is None else known.frequency.lowest_score
        key = (lowest, known.predicted.classes)
        found = self._uncertainty.get(key)
        if found is None:
            found = self._uncertainty[key] = _fragment(uncertainty_body(sureness, known))
        return found


def answer_body(
    served: "ServedModel",
    case: EncodedCase,
    assessment: Assessment,
    *,
    decision_id: str,
) -> bytes:
    """Return the answer's JSON without its receipt."""
    return to_the_end(answer_steps(served, case, assessment, decision_id=decision_id))


def answer_steps(
    served: "ServedModel",
    case: EncodedCase,
    assessment: Assessment,
    *,
    decision_id: str,
) -> Steps[bytes]:
    """Return what ``answer_body`` does, in steps: each part runs through other code than the last."""
    advice = assessment.advice
    head = _head(served, case, assessment, decision_id=decision_id)
    yield
    if advice.is_withheld:
        return orjson.dumps(
            {
                **head,
                "advice": {"status": "none", "reason": _why_none(advice)},
                "requirements": requirements_body(advice),
            }
        )
    explanation, explainer, form = assessment.explanation, served.explainer, served.form
    account = account_of(served, explanation)
    yield
    base_probability = None if account.rescaled is None else account.rescaled.base
    values = [case.values[name] for name in form.names]
    contributions = account.contributions.tolist()
    changes = None if account.rescaled is None else account.rescaled.contributions.tolist()
    shown_changes = _NO_CHANGES * len(values) if changes is None else changes
    told = form.teller.tell(
        words.Moved(
            values,
            contributions,
            changes,
            None if account.rescaled is not None else _worded(served, account.contrast),
            advice.supported_by,
        )
    )
    yield
    head["advice"] = {"status": "given", "reason": None}
    head["requirements"] = requirements_body(advice)
    head["recommendation"] = {
        "outcome": advice.outcome,
        "label": advice.label,
        "score": advice.score,
        "score_meaning": served.bundle.card.output.meaning,
        "rule": {"id": advice.rule.id, "description": advice.rule.description},
        "near_threshold": advice.near_threshold,
    }
    head["explanation"] = {
        "summary": words.summary(
            advice,
            is_probability=served.is_probability,
            base_probability=base_probability,
            unit=form.unit,
        ),
        "strongest_reasons": told.strongest,
        "reasons_for": told.supporting,
        "reasons_against": told.opposing,
        "method": explanation.terms.method,
        "method_reason": explainer.reason,
        "unit": account.unit,
        "link": explanation.terms.link,
        "contrast": None if account.contrast is None else asdict(account.contrast),
        "base_value": account.base_value,
        "margin": account.margin,
        "output": advice.score,
        "base_probability": base_probability,
        "contributions": [
            {
                "field": name,
                "label": label,
                "value": value,
                "contribution": contribution,
                "probability_change": change,
            }
            for name, label, value, contribution, change in zip(
                form.names, form.labels, values, contributions, shown_changes, strict=True
            )
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
    }
    yield
    head["uncertainty"] = form.uncertainty(served.sureness, served.bundle, assessment.scored.scores)
    head["familiarity"] = familiarity_body(assessment.familiarity)
    head["what_would_change"] = _alternatives_body(assessment.alternatives)
    yield
    return orjson.dumps(head)


def _fragment(body: dict[str, object]) -> orjson.Fragment:
    return orjson.Fragment(orjson.dumps(body))


def _head(
    served: "ServedModel", case: EncodedCase, assessment: Assessment, *, decision_id: str
) -> dict[str, object]:
    """Return what an answer says before any advice: nothing here depends on the score."""
    circumstances = assessment.circumstances
    stale = assessment.advice.stale
    return {
        "id": decision_id,
        "created": timestamp(assessment.created),
        "model": served.form.model,
        "policy": served.form.policy,
        "purpose": (
            None
            if circumstances.purpose is None
            else {"purpose": circumstances.purpose, "legal_basis": circumstances.legal_basis}
        ),
        "provenance": [
            {
                "field": name,
                "source": origin.source,
                "date": None if origin.date is None else origin.date.isoformat(),
                "stale": name in stale,
            }
            for name, origin in circumstances.provenance.items()
        ],
        "flags": [{"field": flag.field, "kind": flag.kind} for flag in case.flags],
    }


def _why_none(advice: Advice) -> str:
    asked = [each for each in advice.requires if each.kind == "no_advice"]
    return NO_ADVICE_NOW if asked == [BROKEN_LIMIT] else NO_ADVICE


def requirements_body(advice: Advice) -> list[dict[str, object]]:
    """Return what the policy's rules ask for, as the API says it."""
    return [
        {
            "requires": each.kind,
            "rule": {"id": each.rule.id, "description": each.rule.description},
        }
        for each in advice.requires
    ]


@dataclass(frozen=True, slots=True)
class Account:
    """The explained class' contributions as they are told."""

    base_value: float
    margin: float
    contributions: Vector
    unit: str
    contrast: Contrast | None
    """Which class is told against which, where only their difference means something."""
    rescaled: Rescaled | None
    """The same in probability, where there is an honest way."""


def account_of(served: "ServedModel", explanation: Explanation) -> Account:
    """Return what is told of the policy's score.

    With a softmax a class' own margin says little: every class' margin moves its probability. There
    the class is told against its closest rival, whose margins' difference is the log-odds between
    the two; the Shapley values of a difference are the differences.
    """
    row = explanation.terms.targets.index(served.target)
    bases, contributions = explanation.terms.base_values, explanation.contributions
    if explanation.terms.link.startswith("softmax"):
        others = [place for place in range(len(bases)) if place != row]
        rival = max(others, key=lambda place: float(explanation.outputs[place]))
        classes = served.bundle.card.output.classes
        contrast = Contrast(
            str(classes[explanation.terms.targets[row]]),
            str(classes[explanation.terms.targets[rival]]),
        )
        base = float(bases[row] - bases[rival])
        difference = contributions[row] - contributions[rival]
        return Account(
            base_value=base,
            margin=float(explanation.margins[row] - explanation.margins[rival]),
            contributions=difference,
            unit=f"log-odds of {contrast.favoured} against {contrast.rival}",
            contrast=contrast,
            rescaled=rescale(difference, base=base, link="logistic")
            if len(bases) == PAIR
            else None,
        )
    return Account(
        base_value=float(bases[row]),
        margin=float(explanation.margins[row]),
        contributions=contributions[row],
        unit=explanation.terms.unit,
        contrast=None,
        rescaled=(
            rescale(contributions[row], base=float(bases[row]), link=explanation.terms.link)
            # A number behind a logistic is a share too, and log-odds are no unit of its.
            if served.is_probability or explanation.terms.link == "logistic"
            else None
        ),
    )


def _worded(served: "ServedModel", contrast: Contrast | None) -> Contrast | None:
    """Return the two classes as people read them: a class may be called 1."""
    if contrast is None:
        return None
    output = served.bundle.card.output
    return Contrast(output.worded(contrast.favoured), output.worded(contrast.rival))


def alternatives_status(alternatives: Alternatives | None) -> str:
    """Return in one word what came of the search for what would have changed the outcome."""
    if alternatives is None:
        return "not_sought"
    if alternatives is NOT_FINISHED:
        return "not_finished"
    return "found" if alternatives.found else "none_found"


def _alternatives_body(alternatives: Alternatives | None) -> dict[str, object]:
    return {
        "status": alternatives_status(alternatives),
        "statement": None if alternatives is None else alternatives.statement,
        "found": [] if alternatives is None else [asdict(each) for each in alternatives.found],
    }
