"""Real models answer as their source libraries do, through a bundle and its schema."""

from pathlib import Path

import numpy as np
import pytest

from models.bundle import open_bundle
from models.session import split_rows
from tests.models.feeds import feeds_of
from tests.oracle import (
    FOREIGN_GRAPHS,
    ORACLE_SETS,
    build_foreign_bundle,
    build_oracle_bundle,
    foreign_answers,
    foreign_rows,
    oracle_expected,
    oracle_inputs,
)


@pytest.mark.parametrize("name", ORACLE_SETS)
def test_every_case_of_a_set_gets_its_source_librarys_answer(name: str, tmp_path: Path) -> None:
    bundle = open_bundle(build_oracle_bundle(name, tmp_path / name))
    expected = oracle_expected(name)
    for number, case in enumerate(oracle_inputs(name)):
        scored = bundle.session.run_row(bundle.schema.encode(case).feeds)
        np.testing.assert_allclose(scored.scores, expected["proba"][number], rtol=0, atol=1e-6)
        assert scored.label == expected["prediction"][number]


@pytest.mark.parametrize("name", ORACLE_SETS)
def test_many_rows_get_the_bits_of_one_row(name: str, tmp_path: Path) -> None:
    bundle = open_bundle(build_oracle_bundle(name, tmp_path / name))
    feeds = feeds_of(bundle.schema, oracle_inputs(name)[:50])
    scores, _ = bundle.session.run_rows(feeds)
    for number, row in enumerate(split_rows(feeds)):
        assert scores[number].tobytes() == bundle.session.run_row(row).scores.tobytes()
    np.testing.assert_allclose(bundle.session.run_batch(feeds), scores, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", FOREIGN_GRAPHS)
def test_a_foreign_graph_reproduces_its_recorded_answers(name: str, tmp_path: Path) -> None:
    bundle = open_bundle(build_foreign_bundle(name, tmp_path / name))
    labels, scores = foreign_answers(name)
    got, _ = bundle.session.run_rows(feeds_of(bundle.schema, foreign_rows(name)))
    np.testing.assert_allclose(got, scores, rtol=0, atol=1e-6)
    if labels is not None:
        for case, label in zip(foreign_rows(name), labels, strict=True):
            assert bundle.session.run_row(bundle.schema.encode(case).feeds).label == label
