"""Who is calling, and may they: every route names the roles it admits.

A key comes as ``Authorization: Bearer <key>``. People on the pages have a session instead:
``app/web/session.py``.
"""

from collections.abc import Sequence
from typing import Annotated, TypedDict

from fastapi import Depends, Request
from fastapi.params import Depends as DependsParam
from fastapi.security import HTTPBearer

from app.api.parts import parts_of
from app.api.queries import named_once
from app.domain import Caller, Role
from app.errors import NOT_A_VALID_KEY, ForbiddenError, UnauthenticatedError
from app.keys import TurnKeys

EVERY_ROLE = tuple(Role)

bearer_scheme = HTTPBearer(
    scheme_name="key", description="A key made with `grounds key create`.", auto_error=False
)


class Access(TypedDict):
    """What a route says about access, for ``@router.get(path, **admits(...))``."""

    dependencies: list[DependsParam]
    openapi_extra: dict[str, object]


def admits(*roles: Role) -> Access:
    """Return the route arguments that let in these roles only and say so in the OpenAPI document."""

    async def check(request: Request) -> None:
        request.state.caller = authorise(request, roles)

    return {
        "dependencies": [Depends(bearer_scheme), Depends(check), Depends(named_once)],
        "openapi_extra": {"x-roles": [role.value for role in roles]},
    }


def open_to_all() -> Access:
    """Return the route arguments of a route that anybody may call."""
    return {"dependencies": [], "openapi_extra": {"x-roles": ["public"]}}


def authorise(request: Request, roles: Sequence[Role]) -> Caller:
    """Return the caller. Raises UnauthenticatedError or ForbiddenError."""
    header = request.headers.get("authorization")
    return admitted(parts_of(request).callers, header, roles)


def admitted(callers: TurnKeys, header: str | None, roles: Sequence[Role]) -> Caller:
    """Return the caller whose key an ``Authorization`` header brings; raise as ``authorise``."""
    if header is None:
        raise UnauthenticatedError("no key came with the request")
    scheme, _, key = header.partition(" ")
    caller = None
    if scheme.lower() == "bearer":
        caller = callers.authenticate(key.strip())
    if caller is None:
        raise UnauthenticatedError(NOT_A_VALID_KEY)
    if caller.role not in roles:
        raise ForbiddenError(got=caller.role.value, want=[role.value for role in roles])
    return caller


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


CurrentCaller = Annotated[Caller, Depends(_caller)]
"""The caller that the route's ``admits`` let in."""
