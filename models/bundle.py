"""A bundle: one model with all that is needed to serve it, as a directory of four files or more.

``read`` trusts nothing and runs nothing: it takes the bytes in and digests them. ``open_bundle``
then proves that the card fits the graph and that the graph still gives the trainer's own scores.
The digest covers every byte of every file but the signature, so a record that names it names exactly
one model.
"""

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from models import acceptance, aia, datasheet, evaluation, proxies
from models.acceptance import Acceptance, parse_acceptance
from models.aia import Impact, parse_aia
from models.card import Card, ClassLabel, Value, parse_card
from models.categories import check_categories
from models.datasheet import Datasheet, parse_datasheet
from models.errors import FilesRefusedError, GraphRefusedError
from models.evaluation import Evaluated, parse_evaluation
from models.graph import read_graph
from models.outputs import OutputMap, map_outputs
from models.proxies import Proxies, parse_proxies
from models.rows import (
    Labelled,
    Row,
    Samples,
    encode_rows,
    parse_background,
    parse_calibration,
    parse_samples,
)
from models.samples import check_samples
from models.schema import CaseSchema, stack
from models.session import Feeds, Scores, Session, split_rows
from models.slots import Slot, lay_out

MODEL = "model.onnx"
CARD = "card.yaml"
BACKGROUND = "background.parquet"
SAMPLES = "samples.json"
CALIBRATION = "calibration.parquet"
ACCEPTANCE = acceptance.FILE
AIA = aia.FILE
DATASHEET = datasheet.FILE
EVALUATION = evaluation.FILE
PROXIES = proxies.FILE
SIGNATURE = "model.sig"
"""The name that OpenSSF's tool gives it."""

_MIB = 1 << 20
SIZE_LIMITS = {MODEL: 256 * _MIB, CARD: _MIB, BACKGROUND: 64 * _MIB, SAMPLES: 16 * _MIB}
"""The files of every bundle and the most bytes each may have."""
OPTIONAL = {
    CALIBRATION: 64 * _MIB,
    EVALUATION: 64 * _MIB,
    DATASHEET: _MIB,
    AIA: _MIB,
    PROXIES: _MIB,
    ACCEPTANCE: _MIB,
    SIGNATURE: _MIB,
}
"""The files that a bundle may have besides."""


@dataclass(frozen=True, slots=True)
class BundleFiles:
    """A bundle's bytes, and the parts of it that are plain data."""

    path: Path
    called: str
    """What errors call it."""
    contents: Mapping[str, bytes]
    digest: str
    card: Card
    background: tuple[Row, ...]
    samples: Samples
    calibration: tuple[Labelled, ...]
    """Cases with known answers that the model was not trained on; none is allowed."""
    acceptance: Acceptance | None
    """What was found when the bundle was built."""
    evaluation: tuple[Evaluated, ...]
    """Cases with known answers and protected attributes; none is allowed."""
    datasheet: Datasheet | None
    impact: Impact | None
    """What the algorithmic impact assessment comes to."""
    proxies: Proxies | None
    """How well the fields stand in for protected attributes."""

    @property
    def model(self) -> bytes:
        """The ONNX file, byte for byte."""
        return self.contents[MODEL]


@dataclass(frozen=True, slots=True)
class Background:
    """The rows that an explanation compares a case with.

    ``feeds`` holds N rows for the graph, ``values`` each field's N values as people know them.
    """

    feeds: Feeds
    values: Mapping[str, tuple[Value, ...]]
    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the graph says of cases whose answers are known."""

    scores: Scores
    """Shape (N, n_scores)."""
    labels: tuple[ClassLabel, ...]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A model that is fit to be served."""

    card: Card
    digest: str
    model: bytes
    model_digest: str
    schema: CaseSchema
    output: OutputMap
    session: Session
    background: Background
    samples: Samples
    calibration: Calibration | None
    path: Path
    impact: Impact | None
    untapped_because: str = ""
    """Why inner tensors may not be extra outputs; empty if they may."""

    @property
    def impact_level(self) -> int | None:
        """The impact level, 1 to 4, by its assessment's answers; None where there is none."""
        return None if self.impact is None else self.impact.level

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Where each field sits in the graph's inputs, in the card's order."""
        return self.schema.slots

    @property
    def score_outputs(self) -> tuple[str, ...]:
        """The graph outputs that hold the scores."""
        return self.output.scores

    @property
    def positive_score(self) -> int:
        """Which of the scores is about the positive class (or is the number of a regression)."""
        if self.output.number is not None:
            return self.output.number
        return self.output.positive_index if self.session.n_scores > 1 else 0


def read(path: Path, *, called: str | None = None) -> BundleFiles:
    """Return the files of the bundle at ``path``, which errors name unless they call it otherwise.

    Raises FilesRefusedError unless the directory holds exactly the four files, regular and within
    their size limits; CardRefusedError or RowsRefusedError when one of them cannot be parsed.
    """
    called = called or str(path)
    contents = _read_files(path, called)
    card = parse_card(contents[CARD])
    return BundleFiles(
        path=path,
        called=called,
        contents=contents,
        digest=digest_of(contents),
        card=card,
        background=parse_background(contents[BACKGROUND], card),
        samples=parse_samples(contents[SAMPLES], card),
        calibration=(
            parse_calibration(contents[CALIBRATION], card) if CALIBRATION in contents else ()
        ),
        acceptance=(parse_acceptance(contents[ACCEPTANCE]) if ACCEPTANCE in contents else None),
        evaluation=(parse_evaluation(contents[EVALUATION], card) if EVALUATION in contents else ()),
        datasheet=parse_datasheet(contents[DATASHEET]) if DATASHEET in contents else None,
        impact=parse_aia(contents[AIA]) if AIA in contents else None,
        proxies=parse_proxies(contents[PROXIES]) if PROXIES in contents else None,
    )


def digest_of(contents: Mapping[str, bytes]) -> str:
    """Return ``sha256:<hex>`` over every name and every byte, each with its length before it.

    Without the signature, which is about the rest: signing a bundle again does not make it another.
    """
    digest = hashlib.sha256(b"grounds bundle 1\n")
    for name in sorted(contents.keys() - {SIGNATURE}):
        for part in (name.encode(), contents[name]):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return f"sha256:{digest.hexdigest()}"


def digest_at(path: Path) -> str:
    """Return the digest of the bundle at ``path`` without parsing it. Raises FilesRefusedError."""
    return digest_of(_read_files(path, str(path)))


def open_bundle(files: BundleFiles, *, taps: Sequence[str] = ()) -> Bundle:
    """Return the bundle ready to score, with ``taps`` as extra outputs of its one session.

    Raises BundleRefusedError (one of its leaves) when the graph is unsafe, the card does not fit
    it, a background or sample row breaks the schema, the samples are not reproduced within the
    card's tolerance, or the taps would change the bits of a score.
    """
    graph = read_graph(files.model)
    layout = lay_out(files.card, graph.inputs)
    output = map_outputs(files.card, graph)
    schema = CaseSchema(files.card, layout)
    samples = encode_rows(schema, [sample.case for sample in files.samples], what="sample")
    background = encode_rows(schema, files.background, what="background")
    session = Session(files.model, output, probe=samples[0].feeds)
    if graph.encoders:
        encoding = Session(graph.content, output, probe=samples[0].feeds, taps=graph.encoders)
        check_categories(files.card, schema.slots, encoding, samples[0].feeds)
    feeds = stack([row.feeds for row in background])
    scores = session.settle_batches(stack([row.feeds for row in (*background, *samples)]))
    # Before the samples: of a graph that ends too early they would only say that it differs.
    _check_probabilities(output, scores[: len(background)])
    check_samples(files.card, output, session, files.samples, [row.feeds for row in samples])
    bundle = Bundle(
        card=files.card,
        digest=files.digest,
        model=graph.content,
        model_digest=_sha256(files.model),
        schema=schema,
        output=output,
        session=session,
        background=Background(
            feeds=feeds,
            values={
                field.name: tuple(row.values[field.name] for row in background)
                for field in files.card.fields
            },
            rows=len(background),
            digest=_sha256(files.contents[BACKGROUND]),
        ),
        samples=files.samples,
        calibration=_calibration(files, schema, session),
        path=files.path,
        impact=files.impact,
    )
    return with_taps(bundle, taps) if taps else bundle


def with_taps(bundle: Bundle, taps: Sequence[str]) -> Bundle:
    """Return the same bundle with ``taps`` as extra outputs of its one session.

    Raises GraphRefusedError when the graph computes no such tensor, or when the taps would change
    the bits of a score of a background row.
    """
    feeds = bundle.background.feeds
    tapped = Session(
        bundle.model,
        bundle.output,
        probe=split_rows(feeds)[0],
        taps=taps,
        alone_because=bundle.session.alone_because,
        scale=bundle.session.scale,
    )
    _check_taps(bundle.session, tapped, feeds)
    return replace(bundle, session=tapped)


def _calibration(files: BundleFiles, schema: CaseSchema, session: Session) -> Calibration | None:
    if not files.calibration:
        return None
    rows = encode_rows(schema, [row.case for row in files.calibration], what="calibration")
    scores, _ = session.run_rows(stack([row.feeds for row in rows]))
    return Calibration(scores, tuple(row.label for row in files.calibration))


def _read_files(path: Path, called: str) -> dict[str, bytes]:
    try:
        names = sorted(entry.name for entry in os.scandir(path))
    except OSError as err:
        raise FilesRefusedError(
            f"bundle {called}", got=err.strerror or str(err), want="a directory that can be read"
        ) from err
    limits = {**SIZE_LIMITS, **OPTIONAL}
    undeclared = [name for name in names if name not in limits]
    missing = [name for name in SIZE_LIMITS if name not in names]
    if undeclared or missing:
        raise FilesRefusedError(
            f"bundle {called}",
            got="; ".join(
                f"{kind} {', '.join(listed[:8])}"
                for kind, listed in (("undeclared", undeclared), ("no", missing))
                if listed
            ),
            want=f"exactly {', '.join(SIZE_LIMITS)}, and if need be {', '.join(OPTIONAL)}",
        )
    return {
        name: _read_file(path / name, limits[name], f"{name} of bundle {called}") for name in names
    }


def _read_file(path: Path, limit: int, called: str) -> bytes:
    try:
        # Not blocking, or a named pipe in place of a file would hold the process for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as err:
        raise FilesRefusedError(
            called, got=err.strerror or str(err), want="a regular file, not a link"
        ) from err
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise FilesRefusedError(called, got="no regular file", want="a regular file")
        with os.fdopen(handle, "rb", closefd=False) as file:
            content = file.read(limit + 1)
    finally:
        os.close(handle)
    if len(content) > limit:
        raise FilesRefusedError(called, got=f"more than {limit:,} bytes", want=f"at most {limit:,}")
    return content


def _check_probabilities(output: OutputMap, scores: Scores) -> None:
    if output.task != "classification":
        return
    low, high = float(scores.min()), float(scores.max())
    if low < -1e-6 or high > 1 + 1e-6:
        raise GraphRefusedError(
            f"score output {', '.join(map(repr, output.scores))}",
            got=f"scores from {low:.6g} to {high:.6g} over the background",
            want="probabilities, from 0 to 1: the graph has to end with its softmax or logistic function"
            + ("; output.score_outputs in the card can name one output" * (len(output.scores) > 1)),
        )


def _check_taps(plain: Session, tapped: Session, feeds: Feeds) -> None:
    for number, row in enumerate(split_rows(feeds)):
        want, got = plain.run_row(row), tapped.run_row(row)
        if want.scores.tobytes() != got.scores.tobytes() or want.label != got.label:
            difference = float(np.max(np.abs(want.scores - got.scores)))
            raise GraphRefusedError(
                f"taps, on background row {number}",
                got=f"scores that differ by {difference:.3g} from the file's own",
                want="the same bits",
            )


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
