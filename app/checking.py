"""What the command line checks away from the service: bundles, and replays of the log."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from app import records
from app.acceptance import check_repeated, cross_check
from app.csv_rows import evaluated_of_csv, labelled_of_csv, rows_of_csv
from app.domain import Caller, Clock, NewId, Role
from app.environment import environment
from app.errors import ErasedDecisionError
from app.log_store import log_directory, log_store
from app.reading import StoredDecision, read_decision
from app.replay import replay, replay_record
from app.served import explain_against, open_all, open_model
from app.settings import Settings
from app.shap_answers import CrossCheckMissingError
from audit.leaf import parse_leaf
from audit.log import Log
from audit.reader import LogReader
from audit.replay import NotReplayable, Verdict
from models.acceptance import Acceptance
from models.build import write_bundle
from models.bundle import PROXIES, read
from models.card import Card, parse_card
from models.errors import FilesRefusedError
from models.evaluation import Evaluated, parse_evaluation
from models.lint import lint
from models.proxies import measure_proxies, write_proxies
from models.rows import Labelled, Row, parse_background, parse_calibration, parse_samples

Advance = Callable[[int, int], None]
"""Hears how much of how much is done."""

OPERATOR = Caller(key_id="operator", role=Role.ADMIN)
"""Whoever can run the command on the service's machine."""

_CHUNK = 1024


@dataclass(frozen=True, slots=True)
class CheckedBundle:
    """What opening a bundle as the service would has shown."""

    digest: str
    acceptance: Acceptance | None
    """The cross-check of its explanations; None where the extra ``train`` is not installed."""
    findings: tuple[str, ...]
    warnings: tuple[str, ...]


def check_bundle(path: Path, advance: Advance = lambda _done, _total: None) -> CheckedBundle:
    """Open the bundle, explain every sample, repeat its cross-check, and return what was found.

    Raises ModelError or ExplanationError with the reason when the service would refuse it, or when
    its explanations are not what an independent answer says.
    """
    files, settings = read(path), Settings()
    bundle, explainer = open_model(files, settings)
    largest = 0.0
    for sample in files.samples:
        case = bundle.schema.encode(sample.case)
        scored = bundle.session.run_row(case.feeds)
        explanation = explainer.explain(case.feeds, scored.scores, scored.taps, b"check")
        largest = max(largest, explanation.residual)
    findings = [
        f"{len(files.samples)} samples are reproduced within {files.card.sample_tolerance:g}",
        f"explained by {explainer.method}, in {explainer.unit}: {explainer.reason}",
        f"largest residual over the samples: {largest:.2g}",
    ]
    warnings = [str(warning) for warning in lint(bundle)]
    acceptance = None
    try:
        acceptance = cross_check(
            bundle, explainer, partial(explain_against, bundle, settings), advance
        )
    except CrossCheckMissingError as missing:
        warnings.append(str(missing))
    else:
        findings.append(f"cross-check: {acceptance.sentence}")
        if files.acceptance is None:
            warnings.append("acceptance.json: got none; want what `grounds bundle build` writes")
        else:
            check_repeated(files.acceptance, acceptance)
    return CheckedBundle(
        digest=bundle.digest,
        acceptance=acceptance,
        findings=tuple(findings),
        warnings=tuple(warnings),
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
    runtime = environment(settings)
    directory, store = log_directory(settings), log_store(settings)
    log: LogReader = (
        Log.open(directory, origin=settings.log_origin, clock=clock, store=store)
        if record
        else LogReader.open_readonly(directory, origin=settings.log_origin, store=store)
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


def build_bundle(
    target: Path,
    *,
    model: Path,
    card: Path,
    background: Path,
    samples: Path,
    calibration: Path | None = None,
    evaluation: Path | None = None,
    documents: Sequence[Path] = (),
    advance: Advance = lambda _done, _total: None,
) -> CheckedBundle:
    """Put a bundle together at ``target``, cross-checked, and return what was found.

    ``documents`` go in as they are, by name: a datasheet, an impact assessment. With an evaluation
    set, proxies are measured. Nothing is kept unless the service would serve it and its explanations
    are what an independent answer says. Raises ModelError or ExplanationError.
    """
    described = parse_card(_content(card))
    evaluated = () if evaluation is None else read_evaluation(evaluation, described)
    extra = {path.name: _content(path) for path in documents}
    if evaluated:
        extra[PROXIES] = write_proxies(measure_proxies(evaluated, described))
    write = partial(
        write_bundle,
        model=_content(model),
        card=described,
        background=_rows(background, described),
        samples=parse_samples(_content(samples), described),
        calibration=() if calibration is None else _labelled(calibration, described),
        evaluation=evaluated,
        documents=extra,
    )
    with TemporaryDirectory() as directory:
        draft = Path(directory) / "bundle"
        write(draft)
        checked = check_bundle(draft, advance)
    if checked.acceptance is None:
        raise CrossCheckMissingError
    files = write(target, acceptance=checked.acceptance)
    return replace(checked, digest=files.digest)


def read_evaluation(path: Path, card: Card) -> Sequence[Evaluated]:
    """Return an evaluation set from a Parquet or CSV file. Raises ModelError."""
    read_rows = evaluated_of_csv if path.suffix == ".csv" else parse_evaluation
    return read_rows(_content(path), card)


def _rows(path: Path, card: Card) -> Sequence[Row]:
    read_rows = rows_of_csv if path.suffix == ".csv" else parse_background
    return read_rows(_content(path), card)


def _labelled(path: Path, card: Card) -> Sequence[Labelled]:
    read_rows = labelled_of_csv if path.suffix == ".csv" else parse_calibration
    return read_rows(_content(path), card)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise FilesRefusedError(
            f"file {path}", got=err.strerror or str(err), want="a file that can be read"
        ) from err
