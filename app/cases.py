"""One case from recommendation to review: who may see the advice, and which step may come next.

Pure: everything is worked out from the recommendation and the events since, so that any process, and
anyone with the log, comes to the same state. The rules are those that were in force when the advice
was given; they are in its record.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import orjson

from app.case_events import (
    ADVICE_REQUESTED,
    CASEWORKER_DECISION,
    CONTEST,
    CORRECTED,
    CORRECTS,
    NOTICE,
    OWN_ASSESSMENT,
    RELEASED,
    REVIEW,
    TAKEN,
    CaseEvent,
    Events,
    is_machine_role,
)
from app.domain import Caller, CaseTerms, Kind, Role
from app.errors import InvalidRequestError
from app.reading import StoredDecision
from app.refusals import (
    AdviceWithheldError,
    AlreadyDecidedError,
    AnotherPersonError,
    CaseCorrectedError,
    CaseTakenError,
    EvidenceNeededError,
    HumanNeededError,
    NoticeNeededError,
    StepMissingError,
)
from app.visible import is_visible
from models.aia import requirements

Status = Literal["open", "waiting_for_second_person", "final", "contested", "reviewed", "corrected"]
LAST_MACHINE_LEVEL = 2
"""From the next impact level on, whatever the policy says, only a person decides."""


@dataclass(frozen=True)
class CaseFile:
    """A recommendation and everything since."""

    decision: StoredDecision
    recorded: Events

    @property
    def events(self) -> tuple[CaseEvent, ...]:
        """What happened, in order, as far as it is not erased."""
        return self.recorded.known

    @cached_property
    def answer(self) -> Mapping[str, Any]:
        """The answer as it was recorded."""
        content: Mapping[str, Any] = orjson.loads(self.decision.content.answer)
        return content

    @property
    def terms(self) -> CaseTerms:
        """The rules in force when the advice was given."""
        return self.decision.content.terms

    @property
    def advised_outcome(self) -> str | None:
        """The outcome that was advised; None where the policy gave no advice."""
        recommendation = self.answer.get("recommendation")
        return None if recommendation is None else str(recommendation["outcome"])

    @property
    def requires(self) -> frozenset[str]:
        """What the policy's rules asked for."""
        return frozenset(each["requires"] for each in self.answer["requirements"])

    @property
    def final(self) -> CaseEvent | None:
        """The event that made the decision final, or None while it is open."""
        return next((e for e in self.of_type(CASEWORKER_DECISION) if e.content["final"]), None)

    @property
    def outcome(self) -> str | None:
        """The outcome in force: the last review's, else the final decision's."""
        last = self.in_force
        return None if last is None else str(last.content["outcome"])

    @property
    def in_force(self) -> CaseEvent | None:
        """The event that made the decision in force: the last review, else the final decision."""
        reviews = self.of_type(REVIEW)
        return reviews[-1] if reviews else self.final

    @property
    def contest(self) -> CaseEvent | None:
        """The contest that nobody has reviewed yet, or None."""
        reviews = self.of_type(REVIEW)
        contests = self.of_type(CONTEST)
        return contests[-1] if len(contests) > len(reviews) else None

    @property
    def status(self) -> Status:
        """Where the case stands."""
        if self.contest is not None:
            return "contested"
        if self.of_type(REVIEW):
            return "reviewed"
        if self.final is not None:
            return "final"
        if self.corrected_as is not None:
            return "corrected"
        return "waiting_for_second_person" if self.of_type(CASEWORKER_DECISION) else "open"

    @property
    def took_part(self) -> frozenset[str]:
        """Everybody who decided or reviewed."""
        parts = (*self.of_type(CASEWORKER_DECISION), *self.of_type(REVIEW))
        return frozenset(event.actor for event in parts)

    @property
    def holder(self) -> str | None:
        """Who has taken the case: the one who decided it, once it is decided; None while nobody has."""
        if self.final is not None:
            return self.final.actor
        steps = [event for event in self.events if event.type in (TAKEN, RELEASED, CORRECTS)]
        return steps[-1].actor if steps and steps[-1].type != RELEASED else None

    @property
    def corrected_as(self) -> str | None:
        """The case that took this one's place once its inputs were corrected, or None."""
        found = self.of_type(CORRECTED)
        return str(found[-1].content["decision"]) if found else None

    @property
    def corrects(self) -> str | None:
        """The case whose inputs this one corrects, or None."""
        found = self.of_type(CORRECTS)
        return str(found[-1].content["decision"]) if found else None

    def of_type(self, type_: str) -> tuple[CaseEvent, ...]:
        """Return the events of one type, in order."""
        return tuple(event for event in self.events if event.type == type_)

    def last_said(self, type_: str, actor: Caller, said: Mapping[str, object]) -> CaseEvent | None:
        """Return the latest event of a type where this person said just this; else None."""
        last = next(iter(self.of_type(type_)[-1:]), None)
        if last is None or last.actor != actor.name or not said.items() <= last.content.items():
            return None
        return last

    def check_visible(self, reader: Caller) -> None:
        """Raise AdviceWithheldError unless the reader may see the advice by now.

        A person sees it after their own step; a case-management system, which shows what it reads to
        people, after anybody's. Once a decision is final it is there for all to check.
        """
        reveal = self.terms.reveal
        if reveal == "concurrent" or self.advised_outcome is None or self.final is not None:
            return
        step = OWN_ASSESSMENT if reveal == "after_own_assessment" else ADVICE_REQUESTED
        done = {event.actor for event in self.of_type(step)}
        if reader.name in done or (is_machine_role(reader.role) and done):
            return
        raise AdviceWithheldError(
            "record your own assessment first: POST /v1/decisions/{id}/own-assessment"
            if step == OWN_ASSESSMENT
            else "ask for the advice first: POST /v1/decisions/{id}/advice-request"
        )

    def is_visible(self, reader: Caller) -> bool:
        """Return whether the reader may see the advice by now."""
        try:
            self.check_visible(reader)
        except AdviceWithheldError:
            return False
        return True

    def check_taking(self, actor: Caller) -> None:
        """Raise unless this person may take the case on now."""
        _check_human(actor)
        self._check_undecided()
        if self.holder == actor.name:
            raise StepMissingError("you have taken this case already; decide next")
        if self.holder is not None:
            raise CaseTakenError("somebody else has taken this case: they hand it back first")

    def check_releasing(self, actor: Caller) -> None:
        """Raise unless this person may hand the case back: the holder, or a reviewer for them."""
        _check_human(actor)
        self._check_undecided()
        if self.holder is None:
            raise StepMissingError("nobody has taken this case")
        if self.holder != actor.name and actor.role not in (Role.REVIEWER, Role.ADMIN):
            raise CaseTakenError("only the one who took a case, or a reviewer, hands it back")

    def check_correcting(self) -> None:
        """Raise unless the case's inputs can be corrected now."""
        self._check_undecided()

    def check_assessing(self, actor: Caller, outcome: str) -> None:
        """Raise unless this person may record a view of their own now."""
        _check_human(actor)
        self._check_outcome(outcome)
        self._check_undecided()
        if any(event.actor == actor.name for event in self.of_type(OWN_ASSESSMENT)):
            raise StepMissingError("your own assessment is recorded already; decide next")

    def check_requesting(self, actor: Caller) -> None:
        """Raise unless this person may ask for the advice now."""
        _check_human(actor)
        if self.terms.reveal == "after_own_assessment":
            raise StepMissingError("this policy shows the advice after your own assessment")

    def decide(self, actor: Caller, *, outcome: str, evidence: str | None) -> bool:
        """Return whether this decision would be final.

        Checks the same whether the advice is followed or not: departing from it is never harder.
        Raises HumanNeededError, StepMissingError, EvidenceNeededError, NoticeNeededError,
        AlreadyDecidedError, CaseCorrectedError, AnotherPersonError or InvalidRequestError.
        """
        self._check_outcome(outcome)
        self._check_undecided()
        if actor.kind is not Kind.HUMAN:
            self._check_machine(outcome)
        elif self.terms.reveal == "after_own_assessment" and not any(
            event.actor == actor.name for event in self.of_type(OWN_ASSESSMENT)
        ):
            raise StepMissingError("record your own assessment first")
        if "evidence" in self.requires and not is_visible(evidence or ""):
            raise EvidenceNeededError("this decision needs evidence of the inputs it rests on")
        self._check_notice(outcome)
        if "second_person" not in self.requires:
            return True
        proposed = {
            event.actor: event.content["outcome"] for event in self.of_type(CASEWORKER_DECISION)
        }
        if proposed.get(actor.name) == outcome:
            raise AnotherPersonError("a second person has to come to the same outcome")
        return any(other == outcome for name, other in proposed.items() if name != actor.name)

    def check_notifying(self, actor: Caller, *, outcome: str) -> None:
        """Raise unless this person may tell the person affected of this outcome now."""
        _check_human(actor)
        self.check_writing(actor, outcome=outcome)

    def check_writing(self, reader: Caller, *, outcome: str) -> None:
        """Raise unless a letter about this outcome may be shown to the reader: it tells the advice."""
        self.check_visible(reader)
        self._check_outcome(outcome)

    @property
    def contributions(self) -> Mapping[str, float]:
        """What each field added to the score, by name; empty where nothing was advised."""
        rows = self.answer.get("explanation", {}).get("contributions", [])
        return {row["field"]: row["contribution"] for row in rows}

    @property
    def material_factors(self) -> tuple[str, ...]:
        """The fields that weighed in the advice, heaviest first.

        None where there was no advice: then no model's reasons are to be told.
        """
        size = {name: abs(effect) for name, effect in self.contributions.items()}
        least = self.terms.material_share * sum(size.values())
        heavy = [name for name in size if size[name] and size[name] >= least]
        return tuple(sorted(heavy, key=lambda name: -size[name]))

    @property
    def material_labels(self) -> tuple[str, ...]:
        """What the answer called the fields that weighed, heaviest first."""
        rows = self.answer.get("explanation", {}).get("contributions", [])
        labels = {row["field"]: row["label"] for row in rows}
        return tuple(labels[name] for name in self.material_factors)

    def check_contesting(self) -> None:
        """Raise unless the case can be contested now."""
        if self.final is None:
            raise StepMissingError("there is no final decision to contest yet")
        if self.contest is not None:
            raise StepMissingError("the decision is contested already: add a representation")

    def check_representing(self) -> None:
        """Raise unless something can be added to a contest now."""
        if self.contest is None:
            raise StepMissingError("the decision is not contested")

    def check_reviewing(self, actor: Caller, outcome: str) -> None:
        """Raise unless this person may review the contested decision now."""
        _check_human(actor)
        self._check_outcome(outcome)
        if self.contest is None:
            raise StepMissingError("the decision is not contested")
        if actor.name in self.took_part:
            raise AnotherPersonError("whoever decided or reviewed this case does not review it")
        self._check_notice(outcome)

    def is_adverse(self, outcome: str) -> bool:
        """Return whether an outcome is to the person's disadvantage."""
        return self.terms.outcomes[outcome]

    def _check_undecided(self) -> None:
        if self.final is not None:
            raise AlreadyDecidedError
        if self.corrected_as is not None:
            raise CaseCorrectedError(replaced_by=self.corrected_as)

    def _check_outcome(self, outcome: str) -> None:
        if outcome not in self.terms.outcomes:
            raise InvalidRequestError(
                f"outcome: want one of the policy's: {', '.join(self.terms.outcomes)}"
            )

    def _check_machine(self, outcome: str) -> None:
        level = self.terms.impact_level
        if (
            self.terms.final_decision != "machine_where_favourable"
            or (level is not None and level > LAST_MACHINE_LEVEL)
            or self.requires
            or outcome != self.advised_outcome
            or self.is_adverse(outcome)
        ):
            raise HumanNeededError("a person has to take the final decision in this case")

    def needs_letter_first(self, outcome: str) -> bool:
        """Return whether a letter that tells this outcome has to be on record before it is decided."""
        level = self.terms.impact_level
        if level is None or not self.is_adverse(outcome):
            return False
        return requirements(level).individual_explanation and not any(
            event.content["outcome"] == outcome for event in self.of_type(NOTICE)
        )

    def _check_notice(self, outcome: str) -> None:
        if self.needs_letter_first(outcome):
            raise NoticeNeededError(
                f"at impact level {self.terms.impact_level} an adverse decision needs a notice of its"
                " reasons first"
            )


def _check_human(actor: Caller) -> None:
    if actor.kind is not Kind.HUMAN:
        raise HumanNeededError("only a person may do this, and this key is a machine's")
