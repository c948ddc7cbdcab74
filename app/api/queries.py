"""Parameters of an address: one that comes twice, or that the route does not take, is refused.

Of two filters only the last would count, and a misspelt ``disclose=false`` would disclose.
"""

from collections import Counter

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BaseModel

from app.api.rules import faults_of_validation
from app.errors import InvalidRequestError

REPEATED = "repeated"
UNKNOWN = "extra_forbidden"
"""As pydantic names it: some routes take their parameters as one model, which refuses others itself."""


async def named_once(request: Request) -> None:
    """Raise InvalidRequestError for parameters given twice or unknown. No route takes a list."""
    if not request.scope["query_string"]:
        return
    route = request.scope["route"]
    given = Counter(name for name, _ in request.query_params.multi_items())
    known = _names(route)
    faults = [
        {"type": REPEATED, "loc": ("query", name), "msg": "Is given more than once"}
        for name, count in given.items()
        if count > 1
    ]
    if known is not None:
        faults += [
            {"type": UNKNOWN, "loc": ("query", name), "msg": "Extra inputs are not permitted"}
            for name in given
            if name not in known
        ]
    if faults:
        raise InvalidRequestError(
            "the request is not of the documented form", faults_of_validation(faults)
        )


def _names(route: APIRoute) -> set[str] | None:
    """Return the parameters that a route takes; None where a model says which, and refuses others."""
    names = set()
    for parameter in route.dependant.query_params:
        kind = parameter.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return None
        names.add(parameter.alias)
    return names
