"""What the command line checks of bundles, away from the service."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from app.acceptance import check_repeated, cross_check
from app.csv_rows import evaluated_of_csv, labelled_of_csv, rows_of_csv
from app.served import explain_against, open_model
from app.settings import Settings
from app.shap_answers import CrossCheckMissingError
from app.sureness import learn_sureness
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
    learn_sureness(bundle)
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
    warnings = [warning.message for warning in lint(bundle)]
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
