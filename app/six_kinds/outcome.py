"""The outcome halves: what is true of this case, from its record and what happened to it since."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.case_events import CASEWORKER_DECISION, CONTEST, OWN_ASSESSMENT, REVIEW
from app.cases import CaseFile
from app.notices.facts import shown
from app.policy import Policy
from app.six_kinds import shapes
from app.six_kinds.process import not_provided
from app.sureness import TOO_FEW
from models.bundle import BundleFiles
from models.card import Card
from models.translations import CARD_LANGUAGE

NO_ADVICE = "no advice was given on this case, so there are no reasons of a model to tell"
GONE = "the version that advised is not available here, so its card cannot say"
LEAST_ASSOCIATION = 0.01
"""Below, a field tells next to nothing of an attribute."""
_STEPS = (OWN_ASSESSMENT, CASEWORKER_DECISION, REVIEW)


@dataclass(frozen=True, slots=True)
class Around:
    """What is known around a case: the version that advised, today's policy, what monitoring says."""

    files: BundleFiles | None
    """None where the version is not available here."""
    policy: Policy | None
    """Of the version that advised: what its outcomes mean."""
    today: Policy | None
    """Whom to turn to now; None where no version of the model is active."""
    limits_broken: Sequence[str]


def rationale(case: CaseFile) -> shapes.RationaleOutcome | shapes.NotProvided:
    """Return the factors, their sum, what would have changed it, and what it means for one person."""
    if case.advised_outcome is None:
        return not_provided(NO_ADVICE)
    told = case.answer["explanation"]
    change = case.answer["what_would_change"]
    material = set(case.material_factors)
    rows = sorted(told["contributions"], key=lambda row: -abs(row["contribution"]))
    sentences = dict(zip((row["field"] for row in rows), told["strongest_reasons"], strict=False))
    return shapes.RationaleOutcome(
        status="provided",
        summary=told["summary"],
        unit=told["unit"],
        reasons_for=told["reasons_for"],
        reasons_against=told["reasons_against"],
        factors=[
            shapes.Factor(
                field=row["field"],
                label=row["label"],
                value=row["value"],
                effect=row["contribution"],
                probability_change=row["probability_change"],
                material=row["field"] in material,
                sentence=sentences.get(row["field"]) if row["contribution"] else None,
            )
            for row in rows
        ],
        sum_check=shapes.SumCheck(
            base_value=told["base_value"],
            effects=sum(row["contribution"] for row in rows),
            output=told["margin"],
            residual=told["residual"],
            tolerance=told["tolerance"],
        ),
        what_would_change=shapes.WouldChange(
            status=change["status"],
            statement=change["statement"],
            sentences=[each["sentence"] for each in change["found"]],
        ),
        for_this_person=_for_this_person(case),
    )


def _for_this_person(case: CaseFile) -> str:
    uncertainty = case.answer["uncertainty"]
    similar = uncertainty["similar_cases"]
    meaning = str(case.answer["recommendation"]["score_meaning"]).rstrip(".")
    counted = (
        "There are no cases with known answers to compare this one with."
        if uncertainty["status"] == "not_available" and uncertainty["reason"] != TOO_FEW
        else "How it was in other cases with a score like this one's is not counted here."
        if similar is None
        else f"Among cases with a score like this one's it was so in {similar['wording']}."
    )
    return (
        f"The score says: {meaning}. {counted} It is a statement about many people. Nobody can tell "
        "from it which of them this person is, so somebody has to look at this case itself."
    )


def responsibility(case: CaseFile, around: Around) -> shapes.ResponsibilityOutcome:
    """Return who took part, and how a review is asked for."""
    policy = around.today or around.policy
    letter = None if policy is None else policy.notice.letters.get(CARD_LANGUAGE)
    return shapes.ResponsibilityOutcome(
        status="provided",
        case_status=case.status,
        outcome=case.outcome,
        took_part=[
            shapes.TookPart(
                step=event.type,
                at=event.at,
                actor=event.actor,
                role=event.role,
                human=event.is_human,
            )
            for event in case.events
            if event.type in _STEPS
        ],
        review=shapes.AskForReview(
            how=None if letter is None else letter.ask_for_a_person,
            contact=None if letter is None else letter.contact,
            answered_within_days=case.terms.answer_within_days,
            what_is_considered=(
                "The case itself, the advice and its reasons, and what the person says and sends."
            ),
            how_it_is_answered=(
                "By somebody who took no part before, with an outcome and a reason, in the log."
            ),
            appeal=None if letter is None else letter.appeal,
        ),
    )


def data(case: CaseFile, around: Around) -> shapes.DataOutcome | shapes.NotProvided:
    """Return every input with its source, date and flags, and what the category means."""
    if around.files is None:
        return not_provided(GONE)
    content, answer = case.decision.content, case.answer
    origins = {each["field"]: each for each in answer["provenance"]}
    flags: dict[str, list[str]] = {}
    for flag in answer["flags"]:
        flags.setdefault(flag["field"], []).append(flag["kind"])
    advised = answer.get("recommendation")
    return shapes.DataOutcome(
        status="provided",
        inputs=[
            shapes.InputUsed(
                field=field.name,
                label=field.label,
                value=content.case.get(field.name),
                in_words=shown(field, content.case.get(field.name)),
                source=origins[field.name]["source"] if field.name in origins else None,
                date=origins[field.name]["date"] if field.name in origins else None,
                stale=field.name in origins and origins[field.name]["stale"],
                flags=flags.get(field.name, []),
            )
            for field in around.files.card.fields
        ],
        purpose=content.circumstances.purpose,
        legal_basis=content.circumstances.legal_basis,
        category=None if advised is None else advised["label"],
        category_meaning=None if advised is None else advised["rule"]["description"],
    )


def fairness(case: CaseFile, around: Around) -> shapes.FairnessOutcome | shapes.NotProvided:
    """Return what is known of fair treatment: stand-ins that weighed, and how similar people fared."""
    if case.advised_outcome is None:
        return not_provided(NO_ADVICE)
    if around.files is None:
        return not_provided(GONE)
    similar = case.answer["uncertainty"]["similar_cases"]
    return shapes.FairnessOutcome(
        status="provided",
        protected_attribute=_protected(around.files.card),
        stand_ins=_stand_ins(case, around.files),
        similar_people=None if similar is None else similar["wording"],
        limits_broken_now=list(around.limits_broken),
    )


def _protected(card: Card) -> str:
    considered = ", ".join(card.protected) or "none was named in the card"
    return (
        f"No protected attribute is an input ({considered}), so another one by itself changes "
        "nothing. Fields that tell something of one are stand_ins."
    )


def _stand_ins(case: CaseFile, files: BundleFiles) -> list[shapes.StandsFor] | None:
    if files.proxies is None:
        return None
    weighed = set(case.material_factors)
    return [
        shapes.StandsFor(
            field=strength.field, attribute=found.attribute, association=strength.association
        )
        for found in files.proxies.attributes
        for strength in found.fields
        if strength.field in weighed and strength.association >= LEAST_ASSOCIATION
    ]


def safety(case: CaseFile) -> shapes.SafetyOutcome | shapes.NotProvided:
    """Return how sure the model is of this case, and what ran."""
    if case.advised_outcome is None:
        return not_provided(NO_ADVICE)
    answer = case.answer
    return shapes.SafetyOutcome(
        status="provided",
        uncertainty=answer["uncertainty"],
        familiarity=answer["familiarity"],
        near_threshold=answer["recommendation"]["near_threshold"],
        requirements=[each["rule"]["description"] for each in answer["requirements"]],
        model_digest=answer["model"]["digest"],
        policy_digest=answer["policy"]["digest"],
        runtime=dict(case.decision.content.runtime),
    )


def impact(case: CaseFile, around: Around) -> shapes.ImpactOutcome:
    """Return what each outcome means for the person, and what could still change it."""
    letter = None if around.policy is None else around.policy.notice.letters.get(CARD_LANGUAGE)
    said = {} if letter is None else letter.outcomes
    changes = [
        each["sentence"] for each in case.answer.get("what_would_change", {}).get("found", [])
    ]
    if case.final is None:
        changes.append("Nothing is decided: whoever decides may depart from any advice.")
    elif case.of_type(CONTEST) and case.contest is not None:
        changes.append("The decision is contested, and another person reviews it.")
    else:
        changes.append("The decision can be contested; another person then reviews it.")
    return shapes.ImpactOutcome(
        status="provided",
        outcome=case.outcome,
        outcomes=[
            shapes.Consequence(outcome=name, adverse=adverse, meaning=said.get(name))
            for name, adverse in case.terms.outcomes.items()
        ],
        what_could_change_it=changes,
    )
