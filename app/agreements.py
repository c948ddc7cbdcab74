"""Data-sharing agreements: who may send what, for which purpose, until when.

One YAML file lists them all; a key names the agreement that it was made under. The file is read at
start. An agreement that has ended refuses from the next day on, without a restart.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from app.policy_terms import Name, Strict, Words

MAX_BYTES = 1024 * 1024


class AgreementsError(Exception):
    """The file of agreements cannot be used, with what was wrong."""


class Agreement(Strict):
    """What one party may send."""

    agreement: Name
    party: Words
    """Whose agreement it is."""
    models: Annotated[tuple[str, ...], Field(min_length=1)]
    purposes: Annotated[tuple[Name, ...], Field(min_length=1)]
    fields: tuple[str, ...] | None = None
    """The fields that may be sent with a value; None for all."""
    since: date
    until: date
    """The last day on which it holds."""

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.until < self.since:
            raise ValueError("until is before since")
        return self

    def objection(
        self, *, model: str, purpose: str | None, fields: Iterable[str], on: date
    ) -> str | None:
        """Return why a call is outside the agreement, or None when it is inside."""
        if not self.since <= on <= self.until:
            return f"the agreement {self.agreement} holds from {self.since} to {self.until}"
        if model not in self.models:
            return f"the agreement {self.agreement} is not for the model {model}"
        if purpose not in self.purposes:
            return (
                f"the agreement {self.agreement} is for {', '.join(self.purposes)}, "
                f"got {purpose or 'no purpose'}"
            )
        if self.fields is not None:
            outside = sorted(set(fields) - set(self.fields))
            if outside:
                return f"the agreement {self.agreement} does not cover {', '.join(outside)}"
        return None


def load_agreements(path: Path) -> Mapping[str, Agreement]:
    """Return the agreements in ``path`` by name. Raises AgreementsError."""
    try:
        raw = path.read_bytes()
    except OSError as err:
        raise AgreementsError(f"cannot read the agreements {path}: {err.strerror}") from err
    if len(raw) > MAX_BYTES:
        raise AgreementsError(f"{path} has {len(raw)} bytes, want at most {MAX_BYTES}")
    try:
        content = yaml.safe_load(raw)
        if not isinstance(content, list):
            raise AgreementsError(f"{path} is not a list of agreements")
        agreements = [Agreement.model_validate(each) for each in content]
    except ValidationError as err:
        fault = err.errors()[0]
        place = ".".join(str(part) for part in fault["loc"]) or "agreement"
        raise AgreementsError(f"{path}: {place}: {fault['msg']}") from err
    except (yaml.YAMLError, ValueError) as err:
        raise AgreementsError(f"{path} is not YAML: {err}") from err
    named = {each.agreement: each for each in agreements}
    if len(named) != len(agreements):
        raise AgreementsError(f"{path}: one agreement is listed twice")
    return named
