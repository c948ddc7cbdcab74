"""What a bundle could do better though it can be served: advice to its owner, never a refusal."""

from dataclasses import dataclass

import numpy as np

from models.bundle import Bundle
from models.card import Field

MIN_BACKGROUND_ROWS = 500
MIN_SAMPLES = 20


@dataclass(frozen=True, slots=True)
class Warn:
    """One piece of advice; ``code`` is stable, ``message`` is for the owner."""

    code: str
    message: str


def lint(bundle: Bundle) -> tuple[Warn, ...]:
    """Return what the owner of ``bundle`` should look at, the most serious kind first."""
    return (
        *_group_level_fields(bundle),
        *_small_sets(bundle),
        *_untried_values(bundle),
        *_open_ranges(bundle),
        *_thin_card(bundle),
    )


def _group_level_fields(bundle: Bundle) -> list[Warn]:
    return [
        Warn(
            "group-level",
            f"{field.name} is about a group and not about the case: what others did is held "
            "against this one",
        )
        for field in bundle.card.fields
        if field.about == "group"
    ]


def _small_sets(bundle: Bundle) -> list[Warn]:
    found = []
    if bundle.background.rows < MIN_BACKGROUND_ROWS:
        found.append(
            Warn(
                "small-background",
                f"the background has {bundle.background.rows} rows; reasons are steadier with "
                f"{MIN_BACKGROUND_ROWS} or more",
            )
        )
    if len(bundle.samples) < MIN_SAMPLES:
        found.append(
            Warn(
                "few-samples",
                f"{len(bundle.samples)} samples prove the conversion; "
                f"{MIN_SAMPLES} or more would leave less to chance",
            )
        )
    scores = np.array([sample.scores for sample in bundle.samples])
    if bundle.card.output.task == "classification" and scores.shape[1] > 1:
        apart = float(np.max(np.abs(scores.sum(axis=1) - 1)))
        if apart > 1e-3:
            found.append(
                Warn("scores-do-not-sum", f"scores of a sample sum to 1 only within {apart:.3g}")
            )
    return found


def _untried_values(bundle: Bundle) -> list[Warn]:
    """Name what no sample proves: a missing value, or categories, that could be converted wrong."""
    found = []
    for field in bundle.card.fields:
        tried = {sample.case[field.name] for sample in bundle.samples}
        if field.may_be_missing and None not in tried:
            found.append(
                Warn("missing-untried", f"no sample has {field.name} missing, though it may be")
            )
        untried = [category for category in field.categories if category not in tried]
        if untried:
            found.append(
                Warn(
                    "categories-untried",
                    f"no sample has {field.name} as {', '.join(map(str, untried[:5]))}"
                    + (f" and {len(untried) - 5} more" if len(untried) > 5 else ""),
                )
            )
    return found


def _open_ranges(bundle: Bundle) -> list[Warn]:
    return [
        Warn("open-range", f"{field.name} has no minimum or no maximum: any number is scored")
        for field in bundle.card.fields
        if _is_open(field)
    ]


def _is_open(field: Field) -> bool:
    numeric = field.type in {"number", "integer"} and not field.categories
    return numeric and (field.minimum is None or field.maximum is None)


def _thin_card(bundle: Bundle) -> list[Warn]:
    card = bundle.card
    return [
        Warn("thin-card", f"the card says nothing under {name}")
        for name, said in (
            ("contact", card.contact),
            ("training_data", card.training_data),
            ("protected", card.protected),
            ("what_it_cannot_know", card.what_it_cannot_know),
            ("limitations", card.limitations),
        )
        if not said
    ]
