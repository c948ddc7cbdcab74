"""How long the content of decisions is kept: a floor and a ceiling for each model, from one file.

Below the floor nothing is erased, whoever asks: a law says that it is needed. Past the ceiling
``grounds retention run`` erases it. What must be decided by people is in the file, not in code.
"""

from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.problem_type import AppError

MAX_FILE_BYTES = 64 * 1024


class RetentionError(AppError):
    """The file of retention periods cannot be used."""


class Period(BaseModel):
    """How long the decisions of one model are kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep_days: Annotated[int, Field(ge=0)]
    """At least so long."""
    erase_after_days: Annotated[int, Field(ge=0)] | None
    """At most so long; None for no end."""
    basis: Annotated[str, Field(min_length=1, max_length=500)]
    """The law or rule that says so."""

    @model_validator(mode="after")
    def _floor_below_ceiling(self) -> Self:
        if self.erase_after_days is not None and self.erase_after_days < self.keep_days:
            raise ValueError("erase_after_days is below keep_days")
        return self


class Retention(BaseModel):
    """The periods of all models; a model that is not named has none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: dict[str, Period] = {}
    backups_kept_days: Annotated[int, Field(ge=0)] | None = None
    """How long backups are kept: what was erased lives on in them. None: nobody has said."""

    def of(self, model: str) -> Period | None:
        """Return the period of a model, None where none is set."""
        return self.models.get(model)


def load_retention(path: Path | None) -> Retention:
    """Return the periods in a file; without one there are none. Raises RetentionError."""
    if path is None:
        return Retention()
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_FILE_BYTES:
            raise RetentionError(f"{path} has {len(raw)} bytes, want at most {MAX_FILE_BYTES}")
        return Retention.model_validate(yaml.safe_load(raw))
    except OSError as err:
        raise RetentionError(f"cannot read {path}: {err.strerror}") from err
    except ValidationError as err:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in err.errors()
        )
        raise RetentionError(f"{path} does not say how long to keep what: {faults}") from err
    except yaml.YAMLError as err:
        raise RetentionError(f"{path} is not YAML: {err}") from err
