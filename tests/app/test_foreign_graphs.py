"""Graphs that nobody here made, served and explained over HTTP by the production application."""

from pathlib import Path

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
from tests.app.test_oracle_sets import half_policy
from tests.signed import signed


@pytest.mark.parametrize("name", oracle.FOREIGN_GRAPHS)
def test_a_foreign_graph_is_answered_with_its_recorded_numbers_and_reasons_that_add_up(
    name: str, tmp_path: Path
) -> None:
    oracle.foreign_path(name)
    model = tmp_path / "models" / name
    files = signed(oracle.build_foreign_bundle(name, model / "bundle"))
    policy = half_policy(files.card.name)
    if files.card.output.task == "regression":
        policy["bands"] = [{**band, "at_least": low} for band, low in
                           zip(policy["bands"], (-np.inf, 0.5), strict=True)]  # type: ignore[call-overload]  # fmt: skip
    (model / "policy.yaml").write_text(yaml.safe_dump(policy))
    settings = Settings(models_dir=tmp_path / "models", data_dir=tmp_path / "data", profile="none")
    store = KeyStore(settings.data_dir / "access.sqlite3")
    key = store.create(name="test", role=Role.CALLER, clock=utc_now)
    store.close()
    _, scores = oracle.foreign_answers(name)
    target = files.card.output.number or files.card.output.positive_index
    with TestClient(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        for case, want in zip(oracle.foreign_rows(name), scores, strict=True):
            answer = client.post(
                f"/v1/models/{files.card.name}/decisions", json={"case": case}
            ).json()
            np.testing.assert_allclose(
                answer["recommendation"]["score"], want[target], rtol=0, atol=1e-6
            )
            explanation = answer["explanation"]
            scale = max(1.0, abs(want[target]))
            assert explanation["residual"] <= 1e-6 * scale
            total = explanation["base_value"] + sum(
                each["contribution"] for each in explanation["contributions"]
            )
            np.testing.assert_allclose(total, explanation["margin"], rtol=1e-12, atol=1e-12)
