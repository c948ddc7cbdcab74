"""The evaluation set: cases with known answers and the protected attributes of those concerned.

It is for checking a model and for nothing else. The attributes stand beside the fields, never among
them, and only the commands that check fairness look at them; a service that advises does not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from models.card import Card, ClassLabel
from models.errors import RowsRefusedError
from models.rows import LABEL, Row, calibration_layout, known_label, parse_parquet, write_parquet

FILE = "evaluation.parquet"


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One case, what turned out to be true of it, and to which groups the person belongs."""

    case: Row
    label: ClassLabel
    groups: Mapping[str, str | None]
    """By protected attribute; None where it is not known."""


def parse_evaluation(content: bytes, card: Card) -> tuple[Evaluated, ...]:
    """Return the cases of a Parquet file: a calibration file's columns, then protected attributes.

    Those have to be among the card's ``protected``, as text. Raises RowsRefusedError.
    """
    rows = parse_parquet(FILE, content, lambda found: _layout(card, found))
    return tuple(_evaluated(row, card, number) for number, row in enumerate(rows))


def write_evaluation(rows: Sequence[Evaluated], card: Card) -> bytes:
    """Return the cases as Parquet that ``parse_evaluation`` reads back equal."""
    attributes = list(rows[0].groups) if rows else []
    return write_parquet(
        [{**row.case, LABEL: row.label, **row.groups} for row in rows],
        _with_attributes(card, attributes),
    )


def _evaluated(row: Row, card: Card, number: int) -> Evaluated:
    label = known_label(row[LABEL], card, what=f"label of evaluation row {number}")
    fields = {field.name for field in card.fields}
    groups = {
        name: None if value is None else str(value)
        for name, value in row.items()
        if name not in fields and name != LABEL
    }
    return Evaluated({name: row[name] for name in row if name in fields}, label, groups)


def _layout(card: Card, found: pa.Schema) -> pa.Schema:
    attributes = found.names[len(card.fields) + 1 :]
    unknown = [name for name in attributes if name not in card.protected]
    if unknown or not attributes:
        raise RowsRefusedError(
            FILE,
            got=f"columns {', '.join(unknown)[:200]}" if unknown else "no protected attribute",
            want=f"some of the card's protected attributes: {', '.join(card.protected) or 'none'}",
        )
    return _with_attributes(card, attributes)


def _with_attributes(card: Card, attributes: Sequence[str]) -> pa.Schema:
    layout = calibration_layout(card)
    for name in attributes:
        layout = layout.append(pa.field(name, pa.string()))
    return layout
