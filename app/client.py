"""What the commands that ask a running service share: the key, and where it may be sent."""

import os
from urllib.parse import urlsplit

from app.errors import AppError

KEY_VARIABLE = "GROUNDS_KEY"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class ServiceRefusedError(AppError):
    """The service that was asked did not do it, or must not be asked; the text says why."""


def auth_header(address: str) -> dict[str, str]:
    """Return the header with the key in ``GROUNDS_KEY``, none without one.

    Raises ServiceRefusedError for an address that a key must not be sent to.
    """
    key = os.environ.get(KEY_VARIABLE)
    if not key:
        return {}
    parts = urlsplit(address)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise ServiceRefusedError(
            f"{address}: want https, or this machine itself: the key in {KEY_VARIABLE} would go "
            "out unencrypted"
        )
    return {"Authorization": f"Bearer {key}"}
