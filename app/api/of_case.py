"""The model that advised on a case: the active version, or one that was."""

from app.api.parts import Parts
from app.cases import CaseFile
from app.library import MissingModelError
from app.served import ServedModel


def model_of(parts: Parts, case: CaseFile) -> ServedModel | None:
    """Return the bundle that advised on a case; None where it is nowhere to be found.

    Where it is active its policy is today's, otherwise that of the case. Opening one that is not
    active takes a while: not for the event loop.
    """
    content = case.decision.content
    active = parts.served.get(case.answer["model"]["name"])
    if active is not None and active.bundle.digest == content.model_digest:
        return active
    try:
        return parts.library.find(content.model_digest, content.policy_digest)
    except MissingModelError:
        return None
