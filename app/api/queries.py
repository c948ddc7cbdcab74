"""A parameter of an address that comes twice is refused: of two filters only the last would count."""

from collections import Counter

from fastapi import Request
from fastapi.exceptions import RequestValidationError

REPEATED = "repeated"


async def each_once(request: Request) -> None:
    """Raise RequestValidationError for parameters given twice, where the route takes any at all.

    No route takes a list.
    """
    if not request.scope["query_string"] or not request.scope["route"].dependant.query_params:
        return
    given = Counter(name for name, _ in request.query_params.multi_items())
    twice = [name for name, count in given.items() if count > 1]
    if twice:
        raise RequestValidationError(
            [
                {"type": REPEATED, "loc": ("query", name), "msg": "Is given more than once"}
                for name in twice
            ]
        )
