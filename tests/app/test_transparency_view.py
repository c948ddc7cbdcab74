"""What the public reads of a model's figures."""

from pathlib import Path

import pytest

from app.web.language import Language, texts_in
from app.web.transparency_view import _how_well
from models.card_sections import PerformanceMetric
from tests.app import tiny
from tests.app.governed import governed


@pytest.mark.parametrize(("error", "points"), [(0.0, 1), (0.02, 2), (0.0201, 3), (0.034, 4)])
def test_no_more_than_is_never_rounded_down(error: float, points: int) -> None:
    metric = PerformanceMetric(type="expected_calibration_error", value=error)
    (said,) = _how_well([metric], texts_in(Language.ENGLISH))
    assert f"no more than {points} away" in said


def test_where_no_advice_is_given_more_care_is_not_what_is_asked_for(tmp_path: Path) -> None:
    rules = [
        {"rule": "ill", "when": "unfamiliar", "requires": "no_advice", "description": "Many."},
        {"rule": "few", "when": "near_threshold", "requires": "person", "description": "None."},
    ]
    with governed(tmp_path, rules=rules) as service:
        page = service.started.client.get(f"/transparency/{tiny.NAME}").text
    care, _, without = page.partition("No advice is given when:")
    assert "<li>None.</li>" in care.partition("More care is asked for when:")[2]
    assert "<li>Many.</li>" in without
    assert "<li>Many.</li>" not in care
