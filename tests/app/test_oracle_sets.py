"""Real models on real data, asked over HTTP, against the source libraries' own answers.

The oracle sets are not part of the project; these tests run where they lie beside it. Expected
contributions are brute force over the original fields on the *source* model: nothing that this
project computed is on that side.
"""

import os
from collections.abc import Iterator

import numpy as np
import pytest
import yaml
from fastapi.testclient import TestClient

from app.domain import Role
from app.ids import utc_now
from app.keys import KeyStore
from app.main import create_app
from app.settings import Settings
from tests import oracle
from tests.signed import signed

PROBABILITY_TOLERANCE = 1e-6
CONTRIBUTION_TOLERANCE = 1e-6
RESIDUAL_LIMIT = 1e-6
ROWS = int(os.environ.get("GROUNDS_ORACLE_ROWS", "200"))


@pytest.fixture(scope="module", params=oracle.ORACLE_SETS)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, TestClient]]:
    """One oracle set, served by the production application."""
    name: str = request.param
    oracle.oracle_path(name)
    directory = tmp_path_factory.mktemp(name)
    model = directory / "models" / name
    signed(oracle.build_oracle_bundle(name, model / "bundle"))
    (model / "policy.yaml").write_text(yaml.safe_dump(half_policy(name)))
    settings = Settings(
        # Public data sets for comparison: their models do take age, sex and the like.
        models_dir=directory / "models",
        data_dir=directory / "data",
        profile="none",
    )
    store = KeyStore(settings.data_dir / "access.sqlite3")
    key = store.create(name="test", role=Role.CALLER, clock=utc_now)
    store.close()
    with TestClient(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        yield name, client


def half_policy(model: str) -> dict[str, object]:
    """A policy with one threshold, at one half."""
    band = {"rule": "low", "at_least": 0.0, "outcome": "low", "label": "Low"}
    return {
        "policy": "test",
        "version": "1",
        "model": model,
        "description": "Two outcomes.",
        "near_threshold": 0.05,
        "what_would_change": "never",
        "bands": [
            {**band, "supported_by": "lower", "adverse": True},
            {
                "rule": "high",
                "at_least": 0.5,
                "outcome": "high",
                "label": "High",
                "supported_by": "higher",
                "adverse": False,
            },
        ],
    }


def test_every_input_is_answered_with_the_source_models_numbers(
    served: tuple[str, TestClient],
) -> None:
    name, client = served
    cases, expected = oracle.oracle_inputs(name), oracle.oracle_expected(name)
    positive = oracle.oracle_card(name).output.positive_index
    answers = []
    for case in cases[:ROWS]:
        response = client.post(f"/v1/models/{name}/decisions", json={"case": case})
        assert response.status_code == 201, response.text
        answers.append(response.json())
    got = [answer["recommendation"]["score"] for answer in answers]
    want = [row[positive] for row in expected["proba"][:ROWS]]
    np.testing.assert_allclose(got, want, rtol=0, atol=PROBABILITY_TOLERANCE)
    assert max(answer["explanation"]["residual"] for answer in answers) <= RESIDUAL_LIMIT

    exact = expected["shap"].get("exact_field_coalitions")
    if exact is not None:
        rows = min(exact["rows"], ROWS)
        contributions = [
            [each["contribution"] for each in answer["explanation"]["contributions"]]
            for answer in answers[:rows]
        ]
        np.testing.assert_allclose(
            contributions, exact["by_field"][:rows], rtol=0, atol=CONTRIBUTION_TOLERANCE
        )
        np.testing.assert_allclose(
            answers[0]["explanation"]["base_value"],
            exact["base"],
            rtol=0,
            atol=CONTRIBUTION_TOLERANCE,
        )
        # A near-miss must fail: the contributions of another row are not these.
        with pytest.raises(AssertionError):
            np.testing.assert_allclose(
                contributions[0], exact["by_field"][1], rtol=0, atol=CONTRIBUTION_TOLERANCE
            )
