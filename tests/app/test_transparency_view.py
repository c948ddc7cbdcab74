"""What the public reads of a model's figures."""

from pathlib import Path

import pytest
import yaml

from app.settings import Settings
from app.web.language import Language, texts_in
from app.web.transparency_view import _how_well
from models.card_sections import PerformanceMetric
from tests.app import tiny
from tests.app.governed import governed
from tests.started import start


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


@pytest.mark.parametrize(
    ("content", "said", "unsaid"),
    [
        (
            {},
            ["Nobody has said how long it is kept.", "Nobody has said how long backups keep"],
            ["The rule that says so"],
        ),
        (
            {
                "backups_kept_days": 1,
                "models": {
                    tiny.NAME: {"keep_days": 365, "erase_after_days": 2190, "basis": "Act, 12"}
                },
            },
            [
                "It is erased once 2,190 days have passed, unless the law needs it for longer.",
                "It is not erased before 365 days have passed.",
                "What was erased stays in backups for up to 1 day more.",
                "Act, 12",
            ],
            ["Nobody has said how long"],
        ),
        (
            {
                "backups_kept_days": 0,
                "models": {tiny.NAME: {"keep_days": 0, "erase_after_days": None, "basis": "Act"}},
            },
            ["It is kept without a set end."],
            ["It is not erased before", "backups"],
        ),
    ],
    ids=["nothing", "periods", "no end"],
)
def test_how_long_a_case_is_kept_and_erased_bytes_stay_is_published(
    tmp_path: Path, content: dict[str, object], said: list[str], unsaid: list[str]
) -> None:
    file = tmp_path / "retention.yaml"
    file.write_text(yaml.safe_dump(content))
    tiny.write(tmp_path / "models" / tiny.NAME)
    settings = Settings(
        models_dir=tmp_path / "models", data_dir=tmp_path / "data", retention_file=file
    )
    with start(settings) as service:
        page = service.client.get(f"/transparency/{tiny.NAME}").text
        record = service.client.get(f"/transparency/{tiny.NAME}/record.json").json()
    kept = page.partition('id="kept"')[2].partition("<h2")[0]
    for words in said:
        assert words in kept
    for words in unsaid:
        assert words not in kept
    assert "A mark stays that there was advice and a decision." in kept
    models = content.get("models", {tiny.NAME: {}})
    assert isinstance(models, dict)
    wanted = {"keep_days": None, "erase_after_days": None, "basis": None, **models[tiny.NAME]}
    assert record["retention"] == {**wanted, "backups_kept_days": content.get("backups_kept_days")}
