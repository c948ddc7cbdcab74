"""Who is trained to decide: attestations in a file, looked at before a decision is recorded.

From impact level III on nobody decides without one. At lower levels one is asked for where the body
keeps the file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError

from app.policy_terms import Strict
from app.refusals import TrainingError
from models.aia import requirements

ALWAYS_FROM_LEVEL = 3


class AttestationsError(Exception):
    """The file of attestations cannot be used, with what was wrong."""


class Attestation(Strict):
    """One person's training."""

    actor: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    training: Literal["general", "override"]
    """``override`` covers how to depart from the advice, and everything general."""
    until: date
    """The last day on which it counts."""


@dataclass(frozen=True, slots=True)
class Training:
    """The attestations; None where the body keeps no file of them."""

    attested: Mapping[str, tuple[Attestation, ...]] | None

    def check(self, actor: str, *, level: int | None, on: date) -> None:
        """Raise TrainingError unless this person may decide at this impact level on this day."""
        if level is None or (self.attested is None and level < ALWAYS_FROM_LEVEL):
            return
        wanted = requirements(level).training
        held = [
            each
            for each in (self.attested or {}).get(actor, ())
            if each.training in {wanted, "override"}
        ]
        if not held:
            raise TrainingError(f"impact level {level} needs the training {wanted!r}")
        last = max(each.until for each in held)
        if last < on:
            raise TrainingError(f"the training {wanted!r} has expired on {last}")


def load_training(path: Path | None) -> Training:
    """Return the attestations in ``path``. Raises AttestationsError."""
    if path is None:
        return Training(None)
    try:
        content = yaml.safe_load(path.read_bytes())
        if not isinstance(content, list):
            raise AttestationsError(f"{path} is not a list of attestations")
        listed = [Attestation.model_validate(each) for each in content]
    except OSError as err:
        raise AttestationsError(f"cannot read the attestations {path}: {err.strerror}") from err
    except ValidationError as err:
        fault = err.errors()[0]
        place = ".".join(str(part) for part in fault["loc"]) or "attestation"
        raise AttestationsError(f"{path}: {place}: {fault['msg']}") from err
    except (yaml.YAMLError, ValueError) as err:
        raise AttestationsError(f"{path} is not YAML: {err}") from err
    attested: dict[str, tuple[Attestation, ...]] = {}
    for each in listed:
        attested[each.actor] = (*attested.get(each.actor, ()), each)
    return Training(attested)
