"""What is watched of a model and what happens when it goes too far: ``monitoring.yaml``.

The file lies beside the model's ``policy.yaml``: which groups are compared, and how large a gap is
too large, is the public body's to say. Without it nothing is compared by group and nothing trips;
drift and calibration are still shown.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import orjson
import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from app.policy import Policy, PolicyError
from models.card import Card

FILE = "monitoring.yaml"
MOST_BYTES = 64 * 1024
MOST_ATTRIBUTES = 16
MOST_GROUPS = 16

Action = Literal["report", "unaided", "stop"]
"""Only say so; advise on nothing until a person resets it; or stop the model as its stop button does.

Of the active version. A canary that breaks any limit is ended."""

LimitName = Literal[
    "selection_rate_difference",
    "selection_rate_ratio",
    "true_positive_rate_difference",
    "false_positive_rate_difference",
    "field_stability",
    "output_stability",
    "calibration_gap",
]
Word = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,47}$")]
"""Becomes a label of a metric: short, and never free text."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Limit(_Strict):
    """How far is too far."""

    limit: Annotated[float, Field(gt=0, le=10)]
    """The largest difference, gap or index; the smallest ratio."""
    action: Action = "report"


class Monitoring(_Strict):
    """What is watched of one model."""

    window: Annotated[int, Field(ge=100, le=100_000)] = 10_000
    """How many of the latest decisions figures are taken over, and after how many tests begin anew."""
    false_alarms: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """The greatest chance that any limit of a version is ever reported broken without being so; of a
    canary, each time that it is one."""
    smallest_group: Annotated[int, Field(ge=5)] = 10
    """Nothing is said of fewer people."""
    keep_attributes_days: Annotated[int, Field(ge=1, le=3660)] = 400
    selected: tuple[Word, ...] = ()
    """Outcomes that count as being selected; empty: those that a higher score supports."""
    protected_attributes: Annotated[
        dict[Word, Annotated[tuple[Word, ...], Field(min_length=2, max_length=MOST_GROUPS)]],
        Field(max_length=MOST_ATTRIBUTES),
    ] = {}
    """The groups of each attribute that is compared."""
    limits: dict[LimitName, Limit] = {}

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        for attribute, groups in self.protected_attributes.items():
            if len(set(groups)) != len(groups):
                raise ValueError(f"a group of {attribute} appears twice")
        ratio = self.limits.get("selection_rate_ratio")
        if ratio is not None and ratio.limit > 1:
            raise ValueError("selection_rate_ratio is the smaller rate over the larger: at most 1")
        return self

    @property
    def digest(self) -> str:
        """``sha256:<hex>`` of the canonical form."""
        content = orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
        return "sha256:" + hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, slots=True)
class Watched:
    """What monitoring must know of one served model."""

    monitoring: Monitoring
    selected: frozenset[str]
    """Outcomes that count as being selected."""
    not_tested: tuple[str, ...]
    """Protected attributes that the card names and that nobody compares."""


def load_monitoring(path: Path) -> Monitoring:
    """Return what ``path`` says, or the defaults where there is no such file.

    Raises PolicyError saying what is wrong in which member.
    """
    if not path.exists():
        return Monitoring()
    try:
        raw = path.read_bytes()
        if len(raw) > MOST_BYTES:
            raise PolicyError(f"{path} has {len(raw)} bytes, want at most {MOST_BYTES}")
        return Monitoring.model_validate(yaml.safe_load(raw) or {})
    except OSError as err:
        raise PolicyError(f"cannot read {path}: {err.strerror}") from err
    except ValidationError as err:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or FILE}: {fault['msg']}" for fault in err.errors()
        )
        raise PolicyError(f"{path} does not say what to watch: {faults}") from err
    except (yaml.YAMLError, ValueError) as err:
        raise PolicyError(f"{path} is not YAML: {err}") from err


def watched(monitoring: Monitoring, policy: Policy, card: Card) -> Watched:
    """Return what is watched of a model. Raises PolicyError for an outcome that its policy lacks."""
    outcomes = {band.outcome for band in policy.bands}
    unknown = sorted(set(monitoring.selected) - outcomes)
    if unknown:
        raise PolicyError(
            f"{FILE} of {card.name}: selected names {unknown[0]}, "
            f"want outcomes of the policy: {', '.join(sorted(outcomes))}"
        )
    compared = set(monitoring.protected_attributes)
    return Watched(
        monitoring=monitoring,
        selected=frozenset(monitoring.selected)
        or frozenset(band.outcome for band in policy.bands if band.supported_by == "higher"),
        not_tested=tuple(name for name in card.protected if name not in compared),
    )
