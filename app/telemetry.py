"""W3C Trace Context: which trace a request belongs to, taken in, recorded and returned.

A trace identifier is a random number of the caller's: it is about a request and not about a person.
Nothing else of the header is kept. ``app.spans`` exports spans where that is asked for.
"""

import re
import secrets
from dataclasses import dataclass

from starlette.types import Scope

_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?").fullmatch
_FUTURE = b"ff"
_NOTHING = (b"0" * 32, b"0" * 16)


@dataclass(frozen=True, slots=True)
class Trace:
    """The trace that a request belongs to, and our part of it."""

    id: str
    parent: str
    span: str
    """Our own span's identifier: what ``traceresponse`` names."""
    flags: str

    @property
    def answer(self) -> bytes:
        """The ``traceresponse`` header (Trace Context level 2)."""
        return f"00-{self.id}-{self.span}-{self.flags}".encode()


def trace_of(scope: Scope) -> Trace | None:
    """Return the trace a request names, None where it names none or one that is malformed.

    As the recommendation says, a header that is not valid is ignored, and so are two.
    """
    found = [value for name, value in scope["headers"] if name == b"traceparent"]
    if len(found) != 1:
        return None
    match = _PARENT(found[0])
    if match is None:
        return None
    version, trace, parent, flags, rest = match.groups()
    if version == _FUTURE or (version == b"00" and rest is not None):
        return None
    if trace == _NOTHING[0] or parent == _NOTHING[1]:
        return None
    sampled = int(flags, 16) & 1
    return Trace(trace.decode(), parent.decode(), secrets.token_hex(8), f"{sampled:02x}")
