"""Making the demonstration bundle; the same bytes on every run."""

from pathlib import Path

import numpy as np

from models.build import write_bundle
from models.bundle import BundleFiles
from models.demo.card import demo_card
from models.demo.data import Applications, make_applications
from models.demo.train import SEED, convert, fit, predict
from models.rows import Sample

N_TRAINING = 5_000
N_BACKGROUND = 1_000
N_SAMPLES = 50


def demo_applications() -> Applications:
    """Return the synthetic applications: those for training, then those held back."""
    return make_applications(np.random.default_rng(SEED), N_TRAINING + N_BACKGROUND)


def build_demo(target: Path) -> BundleFiles:
    """Write the demonstration bundle at ``target`` and return it as read back.

    The background is the first training rows, the samples are the first rows that training never
    saw. Takes a few seconds. Raises what ``write_bundle`` raises.
    """
    made = demo_applications()
    pipeline = fit(made.cases[:N_TRAINING], made.decisions[:N_TRAINING])
    held_back = made.cases[N_TRAINING : N_TRAINING + N_SAMPLES]
    return write_bundle(
        target,
        model=convert(pipeline),
        card=demo_card(),
        background=made.cases[:N_BACKGROUND],
        samples=[
            Sample(case, label, scores)
            for case, (label, scores) in zip(held_back, predict(pipeline, held_back), strict=True)
        ],
    )
