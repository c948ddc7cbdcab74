"""The straight line of one decision: score, explain, apply the policy, make the record.

It is a generator that yields after every stage, so that a group of cases can go along it in step:
one stage of all of them before the next, which leaves each stage's code and tables in the processor's
caches (decision 0032). Each case is scored and explained by itself all the same.

Two invariants hold here and nowhere else needs to know them. No answer without an explanation:
``explain`` raises unless its numbers add up to the model's own output. No answer without a receipt:
what ``recommend`` returns is only prepared, and the engine lets it go after the commit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from app import records
from app.alternatives import Alternatives, find_alternatives
from app.answers import NOT_FINISHED, Assessment, answer_body, answer_steps
from app.domain import Advice, Caller, Circumstances, Clock
from app.in_step import Steps, in_step, timed, to_the_end
from app.metrics import Metrics
from app.monitoring.decided import WITHHELD, Decided
from app.served import ServedModel
from app.stops import Stops
from app.work import Made, Prepared, Unfinished, Work, alone
from audit.records import Idempotency, NewRecord
from audit.replay import Item
from explainers.errors import TimeBudgetError
from explainers.explanation import Explanation
from explainers.familiarity import Familiarity
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
    circumstances: Circumstances = Circumstances()  # noqa: RUF009  # frozen, and empty
    """For what, on what ground, and where the inputs come from."""
    trace: str | None = None
    """The caller's trace (W3C), so that the record and their own logs can be joined."""
    assessment: Assessment | None = None
    """Made beforehand, on another thread, where making it is slow."""
    shadows: tuple[ServedModel, ...] = ()
    """Versions that look at the case once it is recorded."""

    def prepare(self) -> Prepared | Unfinished:
        """Return the recommendation for the engine to record, or what it needs first."""
        return to_the_end(self.service.recommend(self))

    def recorded(self, prepared: Prepared) -> None:
        """Count the recommendation."""
        self.service.count(self, prepared)


class Service:
    """Turns applications into prepared recommendations."""

    def __init__(
        self, *, clock: Clock, metrics: Metrics, runtime: Mapping[str, str], stops: Stops
    ) -> None:
        """``runtime`` is what a replay must know of this machine."""
        self._stops = stops
        self._clock = clock
        self._metrics = metrics
        self._runtime = runtime

    def warm_up(self, served: ServedModel) -> None:
        """Do everything that a decision needs once, recording nothing.

        In a fresh installation this compiles the kernels: the first caller must not wait for that.
        Raises what advising on the bundle's first sample raises: then it cannot advise on others.
        """
        case = served.bundle.schema.encode(served.bundle.samples[0].case)
        scored = served.bundle.session.run_row(case.feeds)
        explanation = explain(served, case, scored, decision_id="warm-up")
        familiarity = served.sureness.familiarity.check(case.values)
        circumstances, created = Circumstances(), self._clock()
        advice = advise(served, case, scored, familiarity, circumstances, created=created)
        assessment = Assessment(
            scored, explanation, familiarity, advice, None, circumstances, created
        )
        if served.policy.what_would_change != "never":
            found = find_changes(served, case, assessment)
            assessment = replace(assessment, alternatives=found)
        answer_body(served, case, assessment, decision_id="warm-up")

    def count(self, application: Application, prepared: Prepared) -> None:
        """Count a recommendation that is durable, whether or not its caller still waits."""
        if prepared.assessment is not None:
            self._metrics.decided(
                Decided(
                    id=application.id,
                    served=application.served,
                    case=application.case,
                    assessment=prepared.assessment,
                    result=prepared.result,
                )
            )

    def prepare(self, works: Sequence[Work]) -> list[Made]:
        """Return what the engine is to record, in order: recommendations in step, all else alone."""
        made = alone([work for work in works if not isinstance(work, Application)])
        told = in_step([self.recommend(work) for work in works if isinstance(work, Application)])
        return [told.pop(0) if isinstance(work, Application) else made.pop(0) for work in works]

    def assess(self, application: Application) -> Steps[Assessment]:
        """Return the model's output for a case with its explanation and what the policy says.

        Raises ScoringError, ExplanationError when there is no explanation that adds up, or
        PolicyError.
        """
        served, case = application.served, application.case
        stages = self._metrics.stages
        start = perf_counter()
        scored = served.bundle.session.run_row(case.feeds)
        stages["infer"].observe(perf_counter() - start)
        yield
        start = perf_counter()
        explanation = explain(served, case, scored, decision_id=application.id)
        stages["explain"].observe(perf_counter() - start)
        yield
        familiarity = served.sureness.familiarity.check(case.values)
        yield
        circumstances, created = application.circumstances, self._clock()
        advice = advise(served, case, scored, familiarity, circumstances, created=created)
        return Assessment(scored, explanation, familiarity, advice, None, circumstances, created)

    def finish(self, application: Application, assessment: Assessment | None) -> Application:
        """Return the application with everything that is slow done. Not for the event loop's thread."""
        if assessment is None:
            assessment = to_the_end(self.assess(application))
        return replace(application, assessment=self._searched(application, assessment))

    def _searched(self, application: Application, assessment: Assessment) -> Assessment:
        """Return the assessment with what would have changed it."""
        start = perf_counter()
        alternatives = alternatives_for(application.served, application.case, assessment)
        self._metrics.stages["alternatives"].observe(perf_counter() - start)
        return replace(assessment, alternatives=alternatives)

    def _encoded(
        self, application: Application, assessment: Assessment
    ) -> Steps[tuple[bytes, bytes]]:
        """Return the answer, and the payload that keeps it."""
        served, case = application.served, application.case
        answer = yield from answer_steps(served, case, assessment, decision_id=application.id)
        yield
        bits = bits_of(assessment.scored, assessment.explanation, assessment.advice)
        yield
        payload = records.recommendation_payload(
            caller=application.caller.key_id,
            subject=application.subject,
            case=case.values,
            circumstances=application.circumstances,
            terms=served.terms,
            answer=answer,
            bits=bits,
            runtime=self._runtime,
            trace=application.trace,
        )
        return answer, payload

    def recommend(self, application: Application) -> Steps[Prepared | Unfinished]:
        """Return the explained recommendation for a case, ready to be recorded.

        Unfinished when something slow is needed first. Raises ScoringError, ExplanationError or
        PolicyError; then nothing is advised.
        """
        served, assessment = application.served, application.assessment
        if assessment is None:
            if served.is_slow:
                return Unfinished(partial(self.finish, application, None))
            assessment = yield from self.assess(application)
            yield
            if served.policy.asks_what_would_change(assessment.advice):
                if not served.changeable.is_quick:
                    return Unfinished(partial(self.finish, application, assessment))
                assessment = self._searched(application, assessment)
                yield
        advice = assessment.advice
        encoded = self._encoded(application, assessment)
        answer, payload = yield from timed(encoded, self._metrics.stages["encode"].observe)
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
            # Where the advice is kept back, no counter may tell it either.
            result=WITHHELD if is_kept_back(served, advice) else advice.outcome,
            assessment=assessment,
            # Whatever waits while somebody stops the advice is stopped too.
            check=partial(self._stops.check, served.name, manual_route=served.policy.manual_route),
        )


def explain(
    served: ServedModel, case: EncodedCase, scored: Scored, *, decision_id: str
) -> Explanation:
    """Return the explanation of a scored case; the record's id seeds methods that sample."""
    return served.explainer.explain(case.feeds, scored.scores, scored.taps, decision_id.encode())


def advise(
    served: ServedModel,
    case: EncodedCase,
    scored: Scored,
    familiarity: Familiarity,
    circumstances: Circumstances,
    *,
    created: datetime,
) -> Advice:
    """Return what the policy makes of a scored case."""
    return served.judge.judge(
        served.policy,
        scored.scores[served.target],
        target=served.target,
        case=case,
        circumstances=circumstances,
        is_unfamiliar=familiarity.is_unfamiliar,
        on=created.date(),
    )


def is_kept_back(served: ServedModel, advice: Advice) -> bool:
    """Return whether the advice is not for whoever asked for it to see, or not yet."""
    return advice.is_withheld or served.policy.reveal != "concurrent"


def alternatives_for(
    served: ServedModel, case: EncodedCase, assessment: Assessment
) -> Alternatives | None:
    """Return what would have changed the recommendation, None where the policy does not ask."""
    if not served.policy.asks_what_would_change(assessment.advice):
        return None
    try:
        return find_changes(served, case, assessment)
    except TimeBudgetError:
        # The advice and its reasons are sound without it; the answer says that it is missing.
        return NOT_FINISHED


def find_changes(served: ServedModel, case: EncodedCase, assessment: Assessment) -> Alternatives:
    """Return what would have changed the recommendation, whether or not the policy asks.

    Raises TimeBudgetError.
    """

    def advise_on(changed: EncodedCase, scored: Scored) -> Advice:
        familiarity = served.sureness.familiarity.check(changed.values)
        return advise(
            served,
            changed,
            scored,
            familiarity,
            assessment.circumstances,
            created=assessment.created,
        )

    return find_alternatives(
        served.bundle,
        served.policy,
        served.changeable,
        case=case,
        scored=assessment.scored,
        advice=assessment.advice,
        advise=advise_on,
    )


def bits_of(scored: Scored, explanation: Explanation, advice: Advice) -> records.Bits:
    """Return what a replay must reproduce: raw little-endian numbers, and the outcome."""
    return (
        _numbers("scores", scored.scores),
        _numbers("base_values", explanation.terms.base_values),
        _numbers("contributions", explanation.contributions),
        _numbers("margins", explanation.margins),
        Item("outcome", "bytes", f"{advice.outcome}\n{advice.rule.id}".encode()),
    )


def _numbers(name: str, values: NDArray[np.float32 | np.float64]) -> Item:
    narrow = values.dtype == np.float32
    little_endian = values.astype("<f4" if narrow else "<f8", copy=False)
    return Item(name, "float32" if narrow else "float64", little_endian.tobytes())
