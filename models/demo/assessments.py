"""What was assessed of the demonstration model: as invented as the council that uses it."""

import json
from datetime import date

from models.card_sections import Assessment

_INVENTED = "Invented for the demonstration: nothing real has been assessed."

ASSESSMENTS = (
    Assessment(
        kind="data_protection",
        title="Data protection impact assessment",
        date=date(2026, 9, 14),
        description=_INVENTED,
        review_by=date(2099, 9, 14),
    ),
    Assessment(
        kind="equality",
        title="Equality impact assessment",
        date=date(2026, 9, 21),
        description=_INVENTED,
        review_by=date(2099, 9, 21),
    ),
    Assessment(
        kind="algorithmic_impact",
        title="Algorithmic impact assessment (Canada's method)",
        date=date(2026, 9, 28),
        description=_INVENTED,
        review_by=date(2099, 9, 28),
    ),
    Assessment(
        kind="peer_review",
        title="Review by a statistician of another council",
        date=date(2026, 10, 5),
        description=_INVENTED,
        link="https://northmoor.example/housing-support/review",
    ),
)


def aia_answers() -> bytes:
    """Return the assessment's answers as the questionnaire exports them: 55 points, level II."""
    data = {
        "projectDetailsTitle": "Priority for discretionary housing support",
        "projectDetailsPhase": "item2-0",
        "businessDrivers5": "item2-2",
        "riskProfile1": "item1-3",
        "riskProfile2": "item1-3",
        "riskProfile3": "item1-3",
        "aboutSystem3": "item1-0",
        "aboutSystem9": "item1-0",
        "aboutAlgorithm2": "item2-0",
        "aboutAlgorithm8": "item2-0",
        "decisionSector1": ["item3-1", "item2-1"],
        "impact30": "item2-2",
        "impact3": "item1-4",
        "impact6": "item2-2",
        "impact7": "item2-2",
        "impact9": "item3-3",
        "impact11": "item3-3",
        "impact13": "item3-3",
        "impact24": "item3-3",
        "impact18": "item1-1",
        "aboutDataSource1": "item1-4",
        "aboutDataSource2": "item3-3",
        "aboutDataSource4": "item1-2",
        "aboutDataSource8": "item2-1",
        "aboutDataSource9": "item2-1",
        "aboutDataSource15": "item1-0",
        "aboutDataSource16": "item1-2",
        "consultationImplementation1": "item1-1",
        "dataQualityImplementation1": "item1-2",
        "fairnessImplementation2": "item1-2",
        "fairnessImplementation3": "item1-2",
        "fairnessImplementation8": "item1-2",
        "fairnessImplementation10": "item1-2",
        "privacyImplementation1": "item1-2",
    }
    exported = {"version": "0.10.0", "currentPage": 0, "data": data, "translationsOnResult": {}}
    return (json.dumps(exported, indent=1) + "\n").encode()


DATASHEET_TEXT = """\
motivation:
  purpose: To show how a service with this model works.
  creators: The people who made Grounds.
  funding: None.
composition:
  description: One row for each invented application of a household, and an invented panel's decision.
  modality: Tabular.
  quantities: 6,000 applications; 5,000 to train, 1,000 held back.
  sensitive_attributes: Age group, sex, disability and ethnicity, invented with the rest. They are in the evaluation set and in no training row.
  completeness: About a tenth of five figures is missing, more often where evidence is poor.
  errors: None are known; the generator is models/demo/data.py.
collection_process:
  how: Drawn from a generator with a fixed seed.
  period: No real period; cards need dates, so 2025 is named.
  sampling: All rows are drawn alike.
  consent: No person is in the data.
preprocessing:
  cleaning: None.
  labelling: A made-up panel, with noise.
uses:
  intended: Demonstration and tests.
  unsuitable: Any real decision.
distribution:
  access: Anybody with the source can make them again.
  sharing_agreements: None are needed.
  licence: That of the source.
maintenance:
  maintainer: The people who maintain Grounds.
  retention: They are made anew each time.
  updates: With the demonstration.
"""
