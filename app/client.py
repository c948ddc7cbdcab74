"""What the commands that ask a running service share: the key, and where it may be sent."""

import os

from app.addresses import is_protected
from app.errors import AppError

KEY_VARIABLE = "GROUNDS_KEY"
HERE = "http://127.0.0.1:8080"
"""Where a service on this machine listens unless it is told otherwise."""


class ServiceRefusedError(AppError):
    """The service that was asked did not do it, or must not be asked; the text says why."""


def auth_header(address: str) -> dict[str, str]:
    """Return the header with the key in ``GROUNDS_KEY``, none without one.

    Raises ServiceRefusedError for an address that a key must not be sent to.
    """
    key = os.environ.get(KEY_VARIABLE)
    if not key:
        return {}
    if not is_protected(address):
        raise ServiceRefusedError(
            f"{address}: want https, or this machine itself: the key in {KEY_VARIABLE} would go "
            "out unencrypted"
        )
    return {"Authorization": f"Bearer {key}"}


def needed_auth_header(address: str, *, role: str) -> dict[str, str]:
    """Return the header with the key; ``role`` says whose it must be.

    Raises ServiceRefusedError as ``auth_header``, and without a key.
    """
    header = auth_header(address)
    if not header:
        raise ServiceRefusedError(f"no key: set {KEY_VARIABLE} to one with the role {role}")
    return header
