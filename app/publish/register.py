"""What a public body enters in the EU's database of high-risk systems (AI Act, Annex VIII, section C)."""

from app.publish.subject import Subject
from models.card_sections import Assessment, AssessmentKind

_MISSING = "nothing in the bundle or the deployment says so"


def eu_register_entry(subject: Subject) -> dict[str, object]:
    """Return C.1 to C.5, null where nothing is known, and the gaps."""
    deployment = subject.deployment
    deployer = None
    if deployment is not None:
        deployer = {
            "name": deployment.organisation,
            "address": deployment.address,
            "contact": deployment.contact_email,
        }
    entry: dict[str, object] = {
        "C.1": deployer,
        "C.2": None if deployment is None else deployment.senior_responsible_owner,
        "C.3": None if deployment is None else deployment.eu_database_entry,
        "C.4": _summary(subject, "fundamental_rights"),
        "C.5": _summary(subject, "data_protection"),
    }
    gaps = [{"id": name, "reason": _MISSING} for name, told in entry.items() if told is None]
    for member, told in (deployer or {}).items():
        if told is None:
            gaps.append({"id": f"C.1 {member}", "reason": _MISSING})
    return {"register": "AI Act, Annex VIII, section C", **entry, "gaps": gaps}


def _summary(subject: Subject, kind: AssessmentKind) -> str | None:
    found = [each for each in subject.files.card.assessments if each.kind == kind]
    return "; ".join(map(_told, found)) or None


def _told(assessment: Assessment) -> str:
    said = f": {assessment.description}" if assessment.description else ""
    return f"{assessment.title}, {assessment.date}{said}"
