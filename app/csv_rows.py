"""Rows as people have them, in CSV files: each cell read as the card says, with its place if wrong.

An empty cell is a missing value. Spreadsheets' byte-order marks and line ends are accepted.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

from models.card import Card, ClassLabel, Field, Value
from models.errors import RowsRefusedError
from models.evaluation import Evaluated
from models.rows import LABEL, Labelled, Row


def rows_of_csv(content: bytes, card: Card) -> list[Row]:
    """Return background rows: one column per field of the card, in any order.

    Raises RowsRefusedError for columns or cells that do not fit.
    """
    names = [field.name for field in card.fields]
    return [_row(card, cells, place) for place, cells in _lines(content, names, what="background")]


def labelled_of_csv(content: bytes, card: Card) -> list[Labelled]:
    """Return calibration rows: as ``rows_of_csv``, with one more column, ``label``.

    Raises RowsRefusedError for columns or cells that do not fit.
    """
    names = [*(field.name for field in card.fields), LABEL]
    return [
        Labelled(_row(card, cells, place), _label(card, cells[LABEL], place))
        for place, cells in _lines(content, names, what="calibration")
    ]


def evaluated_of_csv(content: bytes, card: Card) -> list[Evaluated]:
    """Return evaluation rows: as ``labelled_of_csv``, with a column for each protected attribute.

    Which of the card's protected attributes there are, the file says. Raises RowsRefusedError for
    columns or cells that do not fit.
    """
    heading = content[: content.find(b"\n")].decode("utf-8-sig", errors="replace")
    columns = next(csv.reader([heading]), [])
    attributes = [name for name in card.protected if name in columns]
    names = [*(field.name for field in card.fields), LABEL, *attributes]
    return [
        Evaluated(
            _row(card, cells, place),
            _label(card, cells[LABEL], place),
            {name: cells[name] or None for name in attributes},
        )
        for place, cells in _lines(content, names, what="evaluation")
    ]


def _lines(
    content: bytes, names: Sequence[str], *, what: str
) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield each line's place and its cells by column."""
    try:
        text = content.decode("utf-8-sig")  # spreadsheets put a mark before the first name
    except UnicodeDecodeError as err:
        raise RowsRefusedError(what, got=str(err), want="UTF-8") from err
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = next(lines, [])
        if sorted(columns) != sorted(names):
            raise RowsRefusedError(what, got=f"columns {', '.join(columns)}", want=", ".join(names))
        for cells in filter(None, lines):  # an empty line has no cells
            place = f"{what}, line {lines.line_num}"
            if len(cells) != len(columns):
                raise RowsRefusedError(place, got=f"{len(cells)} cells", want=str(len(columns)))
            yield place, dict(zip(columns, cells, strict=True))
    except csv.Error as err:
        place = f"{what}, line {lines.line_num}"
        raise RowsRefusedError(place, got=str(err), want="a CSV file") from err


def _row(card: Card, cells: Mapping[str, str], place: str) -> Row:
    return {field.name: _cell(field, cells[field.name], place) for field in card.fields}


def _cell(field: Field, text: str, place: str) -> Value:
    if text == "":
        return None
    try:
        match field.type:
            case "number":
                return float(text)
            case "integer":
                return int(text)
            case "boolean":
                return {"true": True, "false": False}[text.lower()]
            case "string":
                return text
    except (ValueError, KeyError) as err:
        raise RowsRefusedError(
            f"{place}, {field.name}", got="another kind of value", want=field.type
        ) from err


def _label(card: Card, text: str, place: str) -> ClassLabel:
    """Return the class of the card that is written so, or the number."""
    for label in card.output.classes:
        if str(label) == text:
            return label
    if not card.output.classes:
        try:
            return float(text)
        except ValueError:
            pass
    raise RowsRefusedError(
        f"{place}, {LABEL}",
        got="another value",
        want=f"one of {list(card.output.classes)[:20]}" if card.output.classes else "a number",
    )
