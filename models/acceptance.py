"""What was found when a bundle was built: its explanations against an independent answer."""

from typing import Annotated

import pydantic
from pydantic import BaseModel, ConfigDict

from models.errors import FilesRefusedError

FILE = "acceptance.json"


class Acceptance(BaseModel):
    """The cross-check of ``grounds bundle build``, which ``bundle check`` repeats."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    method: str
    """The explainer's method."""
    against: str
    """The independent answer it was compared with."""
    rows: Annotated[int, pydantic.Field(ge=1)]
    largest_difference: Annotated[float, pydantic.Field(ge=0)]
    """Over all rows and fields, in ``unit``."""
    allowed_difference: Annotated[float, pydantic.Field(ge=0)]
    unit: str
    largest_residual: Annotated[float, pydantic.Field(ge=0)]

    @property
    def sentence(self) -> str:
        """What was found, for people."""
        return (
            f"{self.rows} rows explained by {self.method} differ by at most "
            f"{self.largest_difference:.2g} {self.unit} (allowed: {self.allowed_difference:.2g}) "
            f"from {self.against}"
        )


def parse_acceptance(content: bytes) -> Acceptance:
    """Return what the file says. Raises FilesRefusedError."""
    try:
        return Acceptance.model_validate_json(content)
    except pydantic.ValidationError as err:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            for fault in err.errors(include_url=False, include_input=False)[:5]
        )
        raise FilesRefusedError(FILE, got=faults, want="what `bundle build` writes") from err


def write_acceptance(acceptance: Acceptance) -> bytes:
    """Return the file that ``parse_acceptance`` reads back equal."""
    return (acceptance.model_dump_json(indent=1) + "\n").encode()
