"""The rows of a CSV or Parquet file as cases, in the file's order and a few at a time.

Cells are read as the model's published schema says. A cell that cannot be is sent as it is: the
service refuses that row alone, and says why. Only columns that do not fit stop everything.
"""

import csv
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from app.errors import AppError

BATCH_ROWS = 1_000
"""Rows of a Parquet file that are read at a time."""


class FileRefusedError(AppError):
    """The file cannot be scored; the text says why."""


@dataclass(frozen=True, slots=True)
class RowFile:
    """A file of cases."""

    path: Path
    rows: int
    digest: str
    """SHA-256 of its bytes: what makes a row's key the same when it is sent again."""
    columns: Sequence[str]

    def records(self) -> Iterator[Mapping[str, Any]]:
        """Yield each row by column. Raises FileRefusedError."""
        return _parquet(self.path) if _is_parquet(self.path) else _csv(self.path)


def open_rows(path: Path) -> RowFile:
    """Return a file, counted. Raises FileRefusedError."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if _is_parquet(path):
            described = pq.ParquetFile(path)
            return RowFile(path, described.metadata.num_rows, digest, described.schema_arrow.names)
    except OSError as err:
        raise FileRefusedError(f"{path}: {err.strerror or err}") from err
    except pa.ArrowException as err:
        raise FileRefusedError(f"{path}: {err}") from err
    columns, count = _counted(path)
    return RowFile(path, count, digest, columns)


def case_of(record: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, object]:
    """Return a row as a case of a model's published schema."""
    return {name: _value(record[name], told) for name, told in schema["properties"].items()}


def check_columns(
    file: RowFile, schema: Mapping[str, Any], *, subject: str | None, ignored: Sequence[str]
) -> None:
    """Raise FileRefusedError unless every column is a field, the subject or named as ignored."""
    fields = list(schema["properties"])
    others = [*([] if subject is None else [subject]), *ignored]
    twice = sorted({name for name in file.columns if list(file.columns).count(name) > 1})
    missing = [name for name in (*fields, *others) if name not in file.columns]
    strange = [name for name in file.columns if name not in fields and name not in others]
    for what, names in (
        ("columns that appear twice", twice),
        ("columns that are missing", missing),
        ("columns that are no fields of the model (--ignore leaves one out)", strange),
    ):
        if names:
            raise FileRefusedError(f"{file.path}: {what}: {', '.join(names)}")


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def _counted(path: Path) -> tuple[list[str], int]:
    with _csv_reader(path) as lines:
        columns = next(lines, [])
        return columns, sum(1 for cells in lines if cells)


def _csv(path: Path) -> Iterator[Mapping[str, Any]]:
    with _csv_reader(path) as lines:
        columns = next(lines, [])
        for cells in filter(None, lines):  # an empty line has no cells
            if len(cells) != len(columns):
                raise FileRefusedError(
                    f"{path}, line {lines.line}: got {len(cells)} cells, want {len(columns)}"
                )
            yield dict(zip(columns, cells, strict=True))


class _csv_reader:  # noqa: N801  # a context manager, used as a function
    """The lines of a CSV file; what is wrong with the file is a FileRefusedError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> "_csv_reader":
        try:
            # Spreadsheets put a mark before the first name.
            self._file = self._path.open(encoding="utf-8-sig", newline="")
        except OSError as err:
            raise FileRefusedError(f"{self._path}: {err}") from err
        self._lines = csv.reader(self._file, strict=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> "_csv_reader":
        return self

    def __next__(self) -> list[str]:
        try:
            return next(self._lines)
        except (csv.Error, UnicodeDecodeError) as err:
            raise FileRefusedError(f"{self._path}, line {self.line}: {err}") from err

    @property
    def line(self) -> int:
        """The line that was read last."""
        return self._lines.line_num


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS):
            yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as err:
        raise FileRefusedError(f"{path}: {err}") from err


def _value(cell: object, told: Mapping[str, Any]) -> object:
    kinds = told["type"] if isinstance(told["type"], list) else [told["type"]]
    if isinstance(cell, str):
        return _from_text(cell, kinds)
    if isinstance(cell, float) and math.isnan(cell):
        return None
    if isinstance(cell, float) and "integer" in kinds and cell.is_integer():
        return int(cell)  # whole numbers with gaps are kept as decimals
    return cell if isinstance(cell, int | float | None) else str(cell)


def _from_text(cell: str, kinds: Sequence[str]) -> object:
    if cell == "":
        return None
    if "boolean" in kinds:
        return {"true": True, "false": False}.get(cell.lower(), cell)
    try:
        if "integer" in kinds:
            return int(cell)
        if "number" in kinds:
            number = float(cell)
            return number if math.isfinite(number) else cell
    except ValueError:
        pass
    return cell
