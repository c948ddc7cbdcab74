"""What the command line checks away from the service: bundles, and replays of the log."""

import csv
import io
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from app import records
from app.domain import Caller, Clock, NewId, Role
from app.errors import ErasedDecisionError
from app.reading import StoredDecision, read_decision
from app.replay import replay, replay_record
from app.served import open_all, open_model
from app.settings import Settings
from audit.leaf import parse_leaf
from audit.log import Log
from audit.reader import LogReader
from audit.replay import NotReplayable, Verdict
from explainers.errors import ExplanationError
from models.build import write_bundle
from models.bundle import read
from models.card import Card, Field, Value, parse_card
from models.errors import FilesRefusedError, ModelError, RowsRefusedError
from models.lint import lint
from models.rows import Row, parse_background, parse_samples
from models.session import runtime_facts

Advance = Callable[[int, int], None]
"""Hears how much of how much is done."""

OPERATOR = Caller(key_id="operator", role=Role.ADMIN)
"""Whoever can run the command on the service's machine."""

_CHUNK = 1024


@dataclass(frozen=True, slots=True)
class CheckedBundle:
    """What opening a bundle as the service would has shown."""

    digest: str
    findings: tuple[str, ...]
    warnings: tuple[str, ...]


def check_bundle(path: Path) -> CheckedBundle:
    """Open the bundle, explain every sample, and return what was found.

    Raises ModelError or ExplanationError with the reason when the service would refuse it.
    """
    files = read(path)
    bundle, explainer = open_model(files, Settings())
    largest = 0.0
    for sample in files.samples:
        case = bundle.schema.encode(sample.case)
        scored = bundle.session.run_row(case.feeds)
        explanation = explainer.explain(case.feeds, scored.scores, scored.taps, b"check")
        largest = max(largest, explanation.residual)
    return CheckedBundle(
        digest=bundle.digest,
        findings=(
            f"{len(files.samples)} samples are reproduced within {files.card.sample_tolerance:g}",
            f"explained by {explainer.method}, in {explainer.unit}: {explainer.reason}",
            f"largest residual over the samples: {largest:.2g}",
        ),
        warnings=tuple(str(warning) for warning in lint(bundle)),
    )


def replay_log(
    settings: Settings,
    *,
    decision: str | None,
    limit: int | None,
    record: bool,
    clock: Clock,
    new_id: NewId,
    advance: Advance,
) -> list[tuple[str, Verdict]]:
    """Replay one decision, or the latest ``limit``, or all; record each unless told not to.

    Raises UnknownDecisionError, AuditError, ModelError, ExplanationError.
    """
    served = open_all(settings, lambda _: None)
    runtime = runtime_facts()
    directory = settings.data_dir / "log"
    log: LogReader = (
        Log.open(directory, origin=settings.log_origin, clock=clock)
        if record
        else LogReader.open_readonly(directory, origin=settings.log_origin)
    )
    results: list[tuple[str, Verdict]] = []
    with closing(log):
        decisions = [decision] if decision is not None else _recommendations(log, limit)
        for done, decision_id in enumerate(decisions):
            advance(done, len(decisions))
            stored = _read(log, decision_id)
            if isinstance(stored, NotReplayable):
                results.append((decision_id, stored))
                continue
            verdict = replay(stored, served, runtime)
            if isinstance(log, Log):
                prepared = replay_record(
                    stored, verdict, actor=OPERATOR.key_id, clock=clock, new_id=new_id
                )
                log.append([prepared.record])
            results.append((decision_id, verdict))
        advance(len(decisions), len(decisions))
    return results


def _recommendations(log: LogReader, limit: int | None) -> list[str]:
    """Return the ids of the latest recommendations, oldest first."""
    ids: list[str] = []
    stop = log.size
    while stop > 0 and (limit is None or len(ids) < limit):
        start = max(0, stop - _CHUNK)
        ids += [
            row.id
            for row in reversed(log.entries(start, stop))
            if parse_leaf(row.leaf).type == records.RECOMMENDATION
        ]
        stop = start
    return ids[:limit][::-1]


def _read(log: LogReader, decision_id: str) -> StoredDecision | NotReplayable:
    try:
        return read_decision(log, decision_id, reader=OPERATOR)
    except ErasedDecisionError:
        return NotReplayable("erased", "its content was erased")


def build_bundle(target: Path, *, model: Path, card: Path, background: Path, samples: Path) -> str:
    """Put a bundle together at ``target`` and return its digest.

    Nothing is kept unless the service would serve it. Raises ModelError or ExplanationError.
    """
    described = parse_card(_content(card))
    rows = (
        rows_of_csv(_content(background), described)
        if background.suffix == ".csv"
        else parse_background(_content(background), described)
    )
    existed = target.exists()
    files = write_bundle(
        target,
        model=_content(model),
        card=described,
        background=rows,
        samples=parse_samples(_content(samples), described),
    )
    try:
        check_bundle(target)
    except (ModelError, ExplanationError):
        if not existed:
            shutil.rmtree(target)
        raise
    return files.digest


def rows_of_csv(content: bytes, card: Card) -> list[Row]:
    """Return a CSV file's rows, each value in the type its field says; an empty cell is missing.

    Raises RowsRefusedError for columns or cells that do not fit.
    """
    try:
        text = content.decode("utf-8-sig")  # spreadsheets put a mark before the first name
    except UnicodeDecodeError as err:
        raise RowsRefusedError("background", got=str(err), want="UTF-8") from err
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    names = [field.name for field in card.fields]
    rows: list[Row] = []
    try:
        columns = next(lines, [])
        if sorted(columns) != sorted(names):
            raise RowsRefusedError(
                "background", got=f"columns {', '.join(columns)}", want=", ".join(names)
            )
        for cells in filter(None, lines):  # an empty line has no cells
            line = lines.line_num
            if len(cells) != len(columns):
                raise RowsRefusedError(
                    f"background, line {line}", got=f"{len(cells)} cells", want=str(len(columns))
                )
            row = dict(zip(columns, cells, strict=True))
            rows.append({field.name: _cell(field, row[field.name], line) for field in card.fields})
    except csv.Error as err:
        place = f"background, line {lines.line_num}"
        raise RowsRefusedError(place, got=str(err), want="a CSV file") from err
    return rows


def _cell(field: Field, text: str, line: int) -> Value:
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
            f"background, line {line}, {field.name}", got="another kind of value", want=field.type
        ) from err


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise FilesRefusedError(
            f"file {path}", got=err.strerror or str(err), want="a file that can be read"
        ) from err
