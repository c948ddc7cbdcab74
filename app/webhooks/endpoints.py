"""Where events are sent: a YAML file of endpoints, each with the file that holds its secret."""

import base64
import binascii
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias
from urllib.parse import urlsplit

import yaml
from pydantic import Field, ValidationError, model_validator

from app.policy_terms import Name, Strict

EventGroup: TypeAlias = Literal["recommendation", "decision", "stage", "stop"]
MAX_BYTES = 64 * 1024
PREFIX = "whsec_"
LEAST_SECRET, MOST_SECRET = 24, 64
"""Bytes; the standard's own limits."""
MOST_SECRETS = 2
"""A new secret beside the old one, while receivers change over."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class WebhooksError(Exception):
    """The file of endpoints, or a secret, cannot be used, with what was wrong."""


class Endpoint(Strict):
    """One receiver."""

    name: Name
    """Of its own: the place in the log is kept under it."""
    url: Annotated[str, Field(max_length=2000)]
    secret_file: Path
    """Holds ``whsec_`` and Base64 of 24 to 64 random bytes; a second line while it is changed."""
    events: Annotated[tuple[EventGroup, ...], Field(min_length=1)]
    private: bool = False
    """Whether the receiver may be on this machine or a private network."""
    ca_file: Path | None = None
    """Certificates to trust besides the system's: of a body's own authority."""

    @model_validator(mode="after")
    def _goes_somewhere_sensible(self) -> Self:
        parts = urlsplit(self.url)
        try:
            port_is_sound = parts.port is None or parts.port > 0
        except ValueError:
            port_is_sound = False
        if not parts.hostname or not port_is_sound:
            raise ValueError("url: want https://host/path")
        if parts.username or parts.password or parts.fragment:
            raise ValueError("url: want no user, password or fragment")
        if parts.scheme != "https" and not (
            parts.scheme == "http" and self.private and parts.hostname in LOOPBACK
        ):
            raise ValueError("url: want https; http only to this very machine, with private: true")
        return self

    def secrets(self) -> tuple[bytes, ...]:
        """Return the secrets, the newest first. Raises WebhooksError."""
        try:
            lines = self.secret_file.read_text().split()
        except (OSError, UnicodeDecodeError) as err:
            raise WebhooksError(f"endpoint {self.name}: cannot read its secret_file") from err
        if not 1 <= len(lines) <= MOST_SECRETS:
            raise WebhooksError(
                f"endpoint {self.name}: secret_file has {len(lines)} secrets, want one or two"
            )
        return tuple(self._secret(line) for line in lines)

    def _secret(self, line: str) -> bytes:
        want = f"want {PREFIX} and Base64 of {LEAST_SECRET} to {MOST_SECRET} bytes"
        try:
            secret = base64.b64decode(line.removeprefix(PREFIX), validate=True)
        except binascii.Error:
            secret = b""
        if not line.startswith(PREFIX) or not LEAST_SECRET <= len(secret) <= MOST_SECRET:
            raise WebhooksError(f"endpoint {self.name}: its secret_file holds no secret; {want}")
        return secret


def load_endpoints(path: Path | None) -> tuple[Endpoint, ...]:
    """Return the endpoints in ``path``; none without a file. Raises WebhooksError."""
    if path is None:
        return ()
    try:
        raw = path.read_bytes()
    except OSError as err:
        raise WebhooksError(f"cannot read the webhooks {path}: {err.strerror}") from err
    if len(raw) > MAX_BYTES:
        raise WebhooksError(f"{path} has {len(raw)} bytes, want at most {MAX_BYTES}")
    try:
        content = yaml.safe_load(raw)
        if not isinstance(content, list):
            raise WebhooksError(f"{path} is not a list of endpoints")
        endpoints = tuple(Endpoint.model_validate(each) for each in content)
    except ValidationError as err:
        fault = err.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in fault["loc"]) or "endpoint"
        raise WebhooksError(f"{path}: {place}: {fault['msg']}") from err
    except (yaml.YAMLError, ValueError) as err:
        raise WebhooksError(f"{path} is not YAML: {err}") from err
    if len({each.name for each in endpoints}) != len(endpoints):
        raise WebhooksError(f"{path}: one endpoint is listed twice")
    return endpoints
