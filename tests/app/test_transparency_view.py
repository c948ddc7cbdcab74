"""What the public reads of a model's figures."""

import pytest

from app.web.language import Language, texts_in
from app.web.transparency_view import _how_well
from models.card_sections import PerformanceMetric


@pytest.mark.parametrize(("error", "points"), [(0.0, 1), (0.02, 2), (0.0201, 3), (0.034, 4)])
def test_no_more_than_is_never_rounded_down(error: float, points: int) -> None:
    metric = PerformanceMetric(type="expected_calibration_error", value=error)
    (said,) = _how_well([metric], texts_in(Language.ENGLISH))
    assert f"no more than {points} away" in said
