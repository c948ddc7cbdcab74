"""The demonstration is the same bytes on every run and says what it is meant to say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.bundle import BundleFiles, open_bundle, read
from models.card import Value
from models.demo.build import N_BACKGROUND, N_SAMPLES, N_TRAINING, demo_applications
from models.demo.cases import DEMO_CASES
from models.demo.data import FIELD_ORDER, PRIORITY
from models.demo.train import fit, predict
from models.lint import lint
from models.wording import phrase
from tests.models.feeds import feeds_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def files(demo_bundle: BundleFiles) -> BundleFiles:
    return demo_bundle


def test_another_process_with_another_hash_seed_makes_the_same_bytes(
    files: BundleFiles, tmp_path: Path
) -> None:
    script = "import sys; from models.demo.build import *; build_demo(Path(sys.argv[1]))"
    subprocess.run(  # noqa: S603  our own interpreter on our own code
        [sys.executable, "-c", script, str(tmp_path / "bundle")],
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "12345"},
    )
    again = read(tmp_path / "bundle")
    assert again.contents == files.contents
    assert again.digest == files.digest


def test_the_graph_agrees_with_scikit_learn_on_rows_it_never_saw(files: BundleFiles) -> None:
    made = demo_applications()
    pipeline = fit(made.cases[:N_TRAINING], made.decisions[:N_TRAINING])
    held_back = made.cases[N_TRAINING:]
    bundle = open_bundle(files)
    scores, _ = bundle.session.run_rows(feeds_of(bundle.schema, held_back))
    want = np.array([row for _, row in predict(pipeline, held_back)])
    np.testing.assert_allclose(scores, want, rtol=0, atol=1e-6)
    gaps = np.array([None in case.values() for case in held_back])
    assert gaps.sum() > 200
    priority = np.array([decision == PRIORITY for decision in made.decisions[N_TRAINING:]])
    assert np.mean((scores[:, 1] > 0.5) == priority) > 0.75


def test_serving_the_demonstration_needs_no_training_library(files: BundleFiles) -> None:
    script = (
        "import sys; from pathlib import Path; from models.bundle import open_bundle, read;"
        "open_bundle(read(Path(sys.argv[1])));"
        "print(sorted({'sklearn', 'skl2onnx', 'pandas', 'shap'} & set(sys.modules)))"
    )
    done = subprocess.run(  # noqa: S603  our own interpreter on our own code
        [sys.executable, "-c", script, str(files.path)],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "[]"


def test_the_bundle_is_whole_and_lint_has_nothing_to_say(files: BundleFiles) -> None:
    bundle = open_bundle(files)
    assert lint(bundle) == ()
    assert bundle.background.rows == N_BACKGROUND
    assert len(bundle.samples) == N_SAMPLES
    assert any(None in sample.case.values() for sample in bundle.samples)
    assert tuple(field.name for field in bundle.card.fields) == FIELD_ORDER


def test_protected_attributes_are_made_but_are_no_inputs(files: BundleFiles) -> None:
    made = demo_applications()
    assert set(made.protected[0]) == set(files.card.protected)
    assert not set(files.card.protected) & {field.name for field in files.card.fields}
    assert all(not set(files.card.protected) & set(case) for case in made.cases)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("eviction-date-set", 0.8, 1.0),
        ("savings-and-steady-wages", 0.0, 0.2),
        ("close-call", 0.4, 0.6),
        ("figures-missing", 0.1, 0.9),
        ("large-household-adapted-home", 0.0, 1.0),
    ],
)
def test_the_sample_cases_are_what_their_names_say(
    name: str, low: float, high: float, files: BundleFiles
) -> None:
    bundle = open_bundle(files)
    case: dict[str, Value] = json.loads(json.dumps(DEMO_CASES[name]))
    encoded = bundle.schema.encode(case)
    chance = bundle.session.run_row(encoded.feeds).scores[bundle.positive_score]
    assert low <= chance <= high
    assert bool(encoded.flags) == (name == "figures-missing")
    assert all(phrase(field, encoded.values[field.name]) for field in bundle.card.fields)


def test_every_demonstration_case_is_tried() -> None:
    assert len(DEMO_CASES) == 5
