"""A recommendation that was made and recorded, as the engine puts it aside to be counted."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.answers import Assessment
    from app.served import ServedModel
    from models.schema import EncodedCase

WITHHELD = "withheld"
"""What is counted in place of an outcome, or a rule, that whoever asked may not see yet."""


@dataclass(frozen=True, slots=True)
class Decided:
    """One durable recommendation."""

    id: str
    served: "ServedModel"
    case: "EncodedCase"
    assessment: "Assessment"
    result: str
    """The outcome, or WITHHELD."""

    @property
    def rule(self) -> str:
        """The policy rule that led to the outcome, or WITHHELD."""
        return WITHHELD if self.result == WITHHELD else self.assessment.advice.rule.id
