"""The rows that travel with a model: background rows as Parquet, sample rows as JSON."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pydantic
from pydantic import BaseModel, ConfigDict

from models.card import Card, ClassLabel, Field, Value
from models.errors import CaseRejectedError, RowsRefusedError
from models.schema import CaseSchema, EncodedCase

Row = Mapping[str, Value]

LABEL = "label"
"""The column of a calibration file that is not a field."""
MAX_ROWS = 100_000
_MAX_PARQUET_BYTES = 128 << 20
"""What a Parquet file may unpack to: compressed, it can be a thousand times smaller."""
_BATCH = 1_024
"""Rows that are unpacked at a time."""

_COLUMN_TYPES = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "string": pa.string(),
    "boolean": pa.bool_(),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A case with the trainer's own answer: the label (or number), and a score per class."""

    case: Row
    prediction: ClassLabel
    scores: tuple[float, ...]


Samples = tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Labelled:
    """A case with what turned out to be true of it: a class of the card, or a number."""

    case: Row
    label: ClassLabel


class _StoredSample(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    case: dict[str, float | int | str | bool | None]
    prediction: int | float | str
    scores: tuple[float, ...]


class _StoredSamples(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    rows: tuple[_StoredSample, ...]


def parse_background(content: bytes, card: Card) -> tuple[Row, ...]:
    """Return the rows of a Parquet file with one column per field of the card.

    Raises RowsRefusedError for other columns, other types, no rows or too many.
    """
    return tuple(
        parse_parquet("background.parquet", content, lambda _: background_layout(card.fields))
    )


def parse_calibration(content: bytes, card: Card) -> tuple[Labelled, ...]:
    """Return the cases of a Parquet file with one column per field and a last one, ``label``.

    Raises RowsRefusedError as ``parse_background``, and for labels that the card does not know.
    """
    what = "calibration.parquet"
    rows = parse_parquet(what, content, lambda _: calibration_layout(card))
    found = []
    for number, row in enumerate(rows):
        label = known_label(row[LABEL], card, what=f"label of calibration row {number}")
        case = {name: value for name, value in row.items() if name != LABEL}
        found.append(Labelled(case, label))
    return tuple(found)


def known_label(label: Value, card: Card, *, what: str) -> ClassLabel:
    """Return the label if the card knows it. Raises RowsRefusedError."""
    classes = card.output.classes
    if label is None or isinstance(label, bool) or (classes and label not in classes):
        raise RowsRefusedError(
            what, got=repr(label), want=f"one of {list(classes)[:20]}" if classes else "a number"
        )
    return label


def write_calibration(rows: Sequence[Labelled], card: Card) -> bytes:
    """Return the cases as Parquet that ``parse_calibration`` reads back equal."""
    return write_parquet([{**row.case, LABEL: row.label} for row in rows], calibration_layout(card))


def calibration_layout(card: Card) -> pa.Schema:
    """Return the columns of a calibration file: the background's, and the label.

    Raises RowsRefusedError when a field has the label's name.
    """
    if any(field.name == LABEL for field in card.fields):
        raise RowsRefusedError(
            "calibration.parquet", got=f"a field named {LABEL}", want="that name for the label"
        )
    labels = {type(label) for label in card.output.classes}
    kind = pa.string() if str in labels else pa.int64() if labels == {int} else pa.float64()
    return background_layout(card.fields).append(pa.field(LABEL, kind))


def parse_parquet(what: str, content: bytes, layout: Callable[[pa.Schema], pa.Schema]) -> list[Row]:
    """Return the rows of a Parquet file; ``layout`` says of its columns what they should be.

    Raises RowsRefusedError for other columns, other types, no rows or too many.
    """
    try:
        file = pq.ParquetFile(io.BytesIO(content))
        meta = file.metadata
        unpacked = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
        if not 1 <= meta.num_rows <= MAX_ROWS or unpacked > _MAX_PARQUET_BYTES:
            raise RowsRefusedError(
                what,
                got=f"{meta.num_rows:,} rows of {unpacked:,} bytes",
                want=f"1 to {MAX_ROWS:,} rows of at most {_MAX_PARQUET_BYTES:,} bytes",
            )
        want = layout(file.schema_arrow)
        if not file.schema_arrow.remove_metadata().equals(want):
            raise RowsRefusedError(
                what, got=_columns(file.schema_arrow), want=f"the card's fields: {_columns(want)}"
            )
        return _read(what, content, want)
    except (pa.ArrowException, OSError) as err:
        raise RowsRefusedError(what, got=str(err)[:300], want="a Parquet file") from err


def _read(what: str, content: bytes, want: pa.Schema) -> list[Row]:
    """Return the rows, counting what they unpack to as they are read.

    Of a text that comes often the file holds a number only, and its own count is of those numbers.
    """
    texts = [field.name for field in want if pa.types.is_string(field.type)]
    file = pq.ParquetFile(io.BytesIO(content), read_dictionary=texts)
    rows: list[Row] = []
    unpacked = 0
    for batch in file.iter_batches(batch_size=_BATCH):
        unpacked += sum(_size(column) for column in batch.columns)
        if unpacked > _MAX_PARQUET_BYTES:
            raise RowsRefusedError(
                what,
                got=f"rows of more than {_MAX_PARQUET_BYTES:,} bytes",
                want="fewer or shorter ones",
            )
        rows += batch.to_pylist()
    return rows


def _size(column: pa.Array) -> int:
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = pc.take(pc.binary_length(column.dictionary), column.indices)
    return int(pc.sum(lengths).as_py() or 0) + 8 * len(column)


def write_background(rows: Sequence[Row], fields: Sequence[Field]) -> bytes:
    """Return the rows as Parquet; the same rows and the same pyarrow give the same bytes.

    Raises RowsRefusedError for a value that is not of its field's type.
    """
    return write_parquet(rows, background_layout(fields))


def write_parquet(rows: Sequence[Row], want: pa.Schema) -> bytes:
    """Return the rows as Parquet with these columns; the same rows give the same bytes.

    Raises RowsRefusedError for a value that is not of its column's type.
    """
    try:
        table = pa.Table.from_pylist([dict(row) for row in rows], schema=want)
    except pa.ArrowException as err:
        raise RowsRefusedError("rows to write", got=str(err), want=_columns(want)) from err
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", store_schema=False)
    return sink.getvalue()


def background_layout(fields: Sequence[Field]) -> pa.Schema:
    """Return the columns of a background file: one per field, by the field's name."""
    return pa.schema([pa.field(field.name, _COLUMN_TYPES[field.type]) for field in fields])


def parse_samples(content: bytes, card: Card) -> Samples:
    """Return the samples of a JSON file.

    Raises RowsRefusedError unless there is at least one, each with a prediction that the card
    knows.
    """
    what = "samples.json"
    try:
        stored = _StoredSamples.model_validate_json(content)
    except pydantic.ValidationError as err:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}"
            for fault in err.errors(include_url=False, include_input=False)[:5]
        )
        raise RowsRefusedError(what, got=faults, want="rows of case, prediction, scores") from err
    if not 1 <= len(stored.rows) <= MAX_ROWS:
        raise RowsRefusedError(
            what, got=f"{len(stored.rows):,} rows", want=f"1 to {MAX_ROWS:,} rows"
        )
    classes = card.output.classes
    for number, row in enumerate(stored.rows):
        if classes and row.prediction not in classes:
            raise RowsRefusedError(
                f"prediction of sample {number}",
                got=repr(row.prediction),
                want=f"one of {list(classes)[:20]}",
            )
    return tuple(Sample(row.case, row.prediction, row.scores) for row in stored.rows)


def write_samples(samples: Sequence[Sample]) -> bytes:
    """Return the samples as JSON that ``parse_samples`` reads back equal."""
    rows = [
        {"case": dict(s.case), "prediction": s.prediction, "scores": list(s.scores)}
        for s in samples
    ]
    return (json.dumps({"rows": rows}, indent=1, ensure_ascii=False) + "\n").encode()


def encode_rows(
    schema: CaseSchema, rows: Sequence[Mapping[str, object]], *, what: str
) -> list[EncodedCase]:
    """Return every row encoded. Raises RowsRefusedError naming the first row that has faults."""
    encoded = []
    for number, row in enumerate(rows):
        try:
            encoded.append(schema.encode(row))
        except CaseRejectedError as err:
            raise RowsRefusedError(
                f"{what} row {number}", got=str(err), want="a row that the card allows"
            ) from err
    return encoded


def _columns(schema: pa.Schema) -> str:
    shown = [f"{field.name} {field.type}" for field in schema][:40]
    return ", ".join(shown) or "no columns"
