"""The model that advised on a case: the very version, whatever its stage is by now."""

import structlog

from app.api.parts import Parts
from app.domain import Arm
from app.library import MissingModelError
from app.policy import PolicyError
from app.reading import StoredDecision
from app.served import ServedModel
from explainers.errors import ExplanationError
from models.errors import ModelError

_log = structlog.get_logger("grounds.versions")


def model_of(parts: Parts, decision: StoredDecision) -> ServedModel | None:
    """Return the version that advised on a case, or None where it is not available here.

    It is found by the digests of bundle and policy in the case's record, never by its name: by that
    one finds the active version, whose words and thresholds are not this case's. Opening one that is
    not in use takes a while: not for the event loop.
    """
    content = decision.content
    try:
        return parts.library.find(
            content.model_digest, content.policy_digest, among=parts.served.versions
        )
    except MissingModelError:
        return None
    except (ModelError, ExplanationError, PolicyError) as err:
        _log.error("version", error=type(err).__name__, bundle=content.model_digest)
        return None


def arm_of(parts: Parts, model: str, decision: StoredDecision) -> Arm | None:
    """Return whose figures a decision counts to: the active version's, the canary's, or neither's."""
    content, index = decision.content, decision.receipt.index
    return parts.served.arm_of(model, content.model_digest, content.policy_digest, index)
