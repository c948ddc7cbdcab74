"""What a published record is made from: a bundle, its deployment at one body, and live figures."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from models.bundle import BundleFiles
from models.card_sections import Day, Part, Text
from models.errors import CardRefusedError
from models.plain_yaml import parse_plain

FILE = "deployment.yaml"


class OperationalData(Part):
    """The data that the model is used on, as the body handles them."""

    sources: Text | None = None
    sensitive_attributes: Text | None = None
    processing: Text | None = None
    access: Text | None = None
    sharing: Text | None = None


class Appeals(Part):
    """How to question the tool's output, and the decision that it was part of."""

    tool_output: Text
    wider_process: Text


class Deployment(Part):
    """How one body uses a model: what the bundle's maker cannot know."""

    organisation: Text
    team: Text | None = None
    senior_responsible_owner: Text | None = None
    contact_email: Text | None = None
    address: Text | None = None
    website: Text | None = None
    phase: Text | None = None
    region: Text | None = None
    previous_process: Text | None = None
    integration: Text | None = None
    human_review: Text | None = None
    required_training: Text | None = None
    appeals: Appeals | None = None
    system_architecture: Text | None = None
    operational_data: OperationalData | None = None
    eu_database_entry: Text | None = None


class Window(Part):
    """The days that live figures are about, both included."""

    start: Day
    end: Day


class LiveMetric(Part):
    """One figure from the running service."""

    type: Text
    value: float
    cases: int | None = None


class LiveFigures(Part):
    """Figures from the running service, with the window that they are about."""

    window: Window
    decisions: int
    metrics: tuple[LiveMetric, ...] = ()


@dataclass(frozen=True, slots=True)
class Subject:
    """Everything that a record may say of one model."""

    files: BundleFiles
    deployment: Deployment | None = None
    live: LiveFigures | None = None


def read_deployment(path: Path) -> Deployment | None:
    """Return what the file says, None where there is none. Raises CardRefusedError."""
    if not path.exists():
        return None
    return parse_plain(_content(path), Deployment, what=path.name, whole="deployment")


def read_live(path: Path) -> LiveFigures:
    """Return live figures from a JSON file. Raises CardRefusedError."""
    try:
        return LiveFigures.model_validate_json(_content(path))
    except ValidationError as err:
        fault = err.errors(include_url=False, include_input=False)[0]
        raise CardRefusedError(
            path.name,
            got=f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}",
            want="figures with their window",
        ) from err


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise CardRefusedError(
            path.name, got=err.strerror or str(err), want="a file that can be read"
        ) from err
