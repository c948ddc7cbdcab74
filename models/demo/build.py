"""Making the demonstration bundle; the same bytes on every run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.build import write_bundle
from models.bundle import AIA, DATASHEET, PROXIES, BundleFiles
from models.demo.assessments import DATASHEET_TEXT, aia_answers
from models.demo.card import demo_card
from models.demo.data import PRIORITY, Applications, make_applications
from models.demo.measured import measure
from models.demo.train import SEED, convert, fit, predict
from models.evaluation import Evaluated
from models.proxies import measure_proxies, write_proxies
from models.rows import Labelled, Row, Sample

N_TRAINING = 5_000
N_BACKGROUND = 1_000
N_SAMPLES = 50
N_HELD_BACK = 1_000


def demo_applications() -> Applications:
    """Return the synthetic applications: those for training, then those held back."""
    return make_applications(np.random.default_rng(SEED), N_TRAINING + N_HELD_BACK)


def build_demo(target: Path) -> BundleFiles:
    """Write the demonstration bundle at ``target`` and return it as read back.

    The background is the first training rows. Samples and calibration are rows that training never
    saw; every category and every missing value is among the samples. Takes a few seconds. Raises
    what ``write_bundle`` raises.
    """
    made = demo_applications()
    pipeline = fit(made.cases[:N_TRAINING], made.decisions[:N_TRAINING])
    held_back = _with_every_category(made.cases[N_TRAINING:], N_SAMPLES)
    evaluation = [
        Evaluated(case, decision, groups)
        for case, decision, groups in zip(
            made.cases[N_TRAINING:],
            made.decisions[N_TRAINING:],
            made.protected[N_TRAINING:],
            strict=True,
        )
    ]
    told = np.array([scores[1] for _, scores in predict(pipeline, made.cases[N_TRAINING:])])
    card = demo_card(measure(evaluation, told, positive=PRIORITY))
    return write_bundle(
        target,
        model=convert(pipeline),
        card=card,
        evaluation=evaluation,
        documents={
            DATASHEET: DATASHEET_TEXT.encode(),
            AIA: aia_answers(),
            PROXIES: write_proxies(measure_proxies(evaluation, card)),
        },
        background=made.cases[:N_BACKGROUND],
        samples=[
            Sample(case, label, scores)
            for case, (label, scores) in zip(held_back, predict(pipeline, held_back), strict=True)
        ],
        calibration=[
            Labelled(case, decision)
            for case, decision in zip(
                made.cases[N_TRAINING:], made.decisions[N_TRAINING:], strict=True
            )
        ],
    )


def _with_every_category(cases: Sequence[Row], count: int) -> list[Row]:
    """Return ``count`` cases: first those that show a value not shown before, then the next."""
    shown: set[tuple[str, object]] = set()
    novel: list[Row] = []
    rest: list[Row] = []
    for case in cases:
        values = {
            (name, value) for name, value in case.items() if value is None or isinstance(value, str)
        }
        (rest if values <= shown else novel).append(case)
        shown |= values
    return [*novel, *rest][:count]
