"""What a body asks for: checked, admitted, and made into an application for the engine.

The same for a request of its own and for a line of a batch.
"""

import hashlib
import re
from typing import Any

import orjson
from pydantic import ValidationError

from app.api import examples, schemas
from app.api.parts import Parts
from app.api.rules import faults_of_validation
from app.domain import Caller
from app.errors import InvalidRequestError
from app.in_step import Steps
from app.lineup import Lineup
from app.monitoring.breaker import unaided
from app.refusals import AdviceStoppedError
from app.service import Application
from audit.records import Idempotency

MAX_KEY_LENGTH = 255
KEY_PATTERN = "[!-~]+"
KEY_HEADER = "header.Idempotency-Key"


def parameters(*, new: str, longest_key: int) -> list[dict[str, Any]]:
    """Return the parameters for the API's document; ``new`` is what takes a key of its own."""
    return [
        {
            "name": "model",
            "in": "path",
            "required": True,
            "description": "The model's name, as in `GET /v1/models`.",
            "schema": {"type": "string"},
            "example": examples.MODEL_NAME,
        },
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": f"Any text of yours that is new for each new {new}.",
            "schema": {
                "type": "string",
                "minLength": 1,
                "maxLength": longest_key,
                "pattern": f"^{KEY_PATTERN}$",
            },
        },
    ]


def application_steps(
    parts: Parts,
    lineup: Lineup,
    caller: Caller,
    body: object,
    *,
    idempotency: Idempotency | None,
    trace: str | None,
) -> Steps[Application]:
    """Return what a parsed body asks for, ready for the engine: in steps, so that many can go together.

    Raises InvalidRequestError, CaseRejectedError, AdviceStoppedError, and what admission raises.
    """
    try:
        asked = schemas.DecisionRequest.model_validate(body)
    except ValidationError as err:
        raise InvalidRequestError(
            "the body is not of the documented form",
            faults_of_validation(err.errors(include_input=False, include_url=False)),
        ) from err
    yield
    served = lineup.choose(asked.case)
    case = served.bundle.schema.encode(asked.case)
    yield
    stance = parts.monitor.stance(served.name)
    if stance == "stop":
        raise AdviceStoppedError(manual_route=served.policy.manual_route)
    circumstances = parts.admission.admit(
        served, asked, case.values, caller=caller, on=parts.clock().date()
    )
    return Application(
        id=parts.new_id(),
        served=served,
        caller=caller,
        case=case,
        subject=asked.subject,
        idempotency=idempotency,
        service=parts.service,
        circumstances=unaided(circumstances) if stance == "unaided" else circumstances,
        trace=trace,
        shadows=lineup.shadows,
    )


def idempotency_of(key: str | None, caller: Caller, model: str, body: object) -> Idempotency | None:
    """Return the caller's promise about a body; None without a key. Raises InvalidRequestError."""
    if key is None:
        return None
    check_key(key)
    try:
        canonical = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as err:  # it reads deeper nesting than it writes
        raise InvalidRequestError("the body is nested deeper than any case is") from err
    return Idempotency(
        scope=caller.key_id,
        key=key,
        fingerprint=hashlib.sha256(model.encode() + b"\0" + canonical).digest(),
    )


def check_key(key: object, *, longest: int = MAX_KEY_LENGTH, place: str = KEY_HEADER) -> str:
    """Return an Idempotency-Key that came at ``place``. Raises InvalidRequestError if it is none."""
    if isinstance(key, str) and len(key) <= longest and re.fullmatch(KEY_PATTERN, key):
        return key
    wanted = f"1 to {longest} printable ASCII characters without spaces"
    fault = {"field": place, "code": "invalid_key", "message": f"Want {wanted}", "allowed": wanted}
    raise InvalidRequestError(f"{place.removeprefix('header.')}: want {wanted}", [fault])
