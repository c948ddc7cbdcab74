"""The datasheet: where the training data came from, and what they are fit for.

Its sections are those of Gebru et al., "Datasheets for datasets" (2021). Every answer is optional for
serving; each section that stays empty is a gap.
"""

from models.card_sections import Part, Text
from models.plain_yaml import parse_plain

FILE = "datasheet.yaml"


class Motivation(Part):
    """Why the data were gathered."""

    purpose: Text | None = None
    creators: Text | None = None
    funding: Text | None = None


class Composition(Part):
    """What is in them."""

    description: Text | None = None
    modality: Text | None = None
    quantities: Text | None = None
    sensitive_attributes: Text | None = None
    completeness: Text | None = None
    """How complete they are, and how well they stand for those the model is used on."""
    errors: Text | None = None


class CollectionProcess(Part):
    """How they came about."""

    how: Text | None = None
    period: Text | None = None
    sampling: Text | None = None
    consent: Text | None = None


class Preprocessing(Part):
    """What was done to them before training."""

    cleaning: Text | None = None
    labelling: Text | None = None


class Uses(Part):
    """What they are fit for."""

    intended: Text | None = None
    unsuitable: Text | None = None


class Distribution(Part):
    """Who may have them."""

    access: Text | None = None
    sharing_agreements: Text | None = None
    licence: Text | None = None


class Maintenance(Part):
    """Who keeps them, and how long."""

    maintainer: Text | None = None
    retention: Text | None = None
    updates: Text | None = None


class Datasheet(Part):
    """The data that a model was made from, as their owner describes them."""

    motivation: Motivation | None = None
    composition: Composition | None = None
    collection_process: CollectionProcess | None = None
    preprocessing: Preprocessing | None = None
    uses: Uses | None = None
    distribution: Distribution | None = None
    maintenance: Maintenance | None = None

    @property
    def empty_sections(self) -> tuple[str, ...]:
        """The sections without a single answer."""
        return tuple(
            name
            for name in type(self).model_fields
            if not any((getattr(self, name) or Motivation()).model_dump().values())
        )


def parse_datasheet(content: bytes) -> Datasheet:
    """Return what the file says. Raises CardRefusedError."""
    return parse_plain(content, Datasheet, what=FILE, whole="datasheet")
