"""Published records fit their official schemas, say only what is known, and list what is not."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from app.publish.atrs import FILLED, atrs_markdown, atrs_record, schema
from app.publish.cyclonedx import cyclonedx_bom
from app.publish.huggingface import huggingface_card, huggingface_metadata
from app.publish.register import eu_register_entry
from app.publish.subject import Subject, read_deployment, read_live
from models.build import write_bundle
from models.bundle import read
from models.errors import CardRefusedError
from tests.app import tiny
from tests.models.graphs import ROW, SAMPLE, card, logistic_model
from tests.started import Started

VERIFIED = {
    "0.1", "0.2", "0.3", "0.4", "0.5", "1.1", "1.2", "1.3", "1.4", "2.1.1", "2.1.2", "2.1.3", "2.1.4",
    "2.1.4.1", "2.1.4.2", "2.1.4.3", "2.1.4.4", "2.1.4.5", "2.2.1", "2.3.2", "2.3.5", "2.4.1.1",
    "2.4.1.2", "2.4.1.3", "2.4.1.5", "2.4.2", "2.4.2.2", "2.4.2.7", "2.4.3.1", "2.4.3.4", "2.4.4.1",
    "2.4.4.2", "2.5.1", "2.5.2",
}  # fmt: skip
"""The numbers that were read in a source."""

DEPLOYMENT = """\
organisation: Northmoor Borough Council
team: Housing options
senior_responsible_owner: Head of Housing Options
contact_email: housing.options@northmoor.example
phase: Pilot
region: England
human_review: A caseworker decides each case.
appeals: {tool_output: Ask the team., wider_process: Ask for a review within a month.}
operational_data: {sources: The application form.}
"""
LIVE = {
    "window": {"start": "2026-10-01", "end": "2026-10-31"},
    "decisions": 1234,
    "metrics": [{"type": "override_rate", "value": 0.12}],
}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    files = write_bundle(
        tmp_path_factory.mktemp("bare") / "b",
        model=logistic_model(), card=card(), background=[ROW], samples=[SAMPLE],
    )  # fmt: skip
    return Subject(files)


@pytest.fixture(scope="module")
def full(demo_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    directory = tmp_path_factory.mktemp("full")
    (directory / "deployment.yaml").write_text(DEPLOYMENT)
    (directory / "live.json").write_text(json.dumps(LIVE))
    return Subject(
        read(demo_models / "housing-support" / "bundle"),
        read_deployment(directory / "deployment.yaml"),
        read_live(directory / "live.json"),
    )


def ids(told: object) -> set[str]:
    if isinstance(told, dict):
        own = {told["x-atrs-id"]} if "x-atrs-id" in told else set()
        return own.union(*(ids(each) for each in told.values()))
    return set()


def test_the_schema_has_every_number_that_was_read() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert ids(schema()) >= VERIFIED
    properties = schema()["properties"]
    assert isinstance(properties, dict)
    assert {name for name, told in properties.items() if "x-atrs-id" in told} == set(FILLED)


@pytest.mark.parametrize("which", ["bare", "full"])
def test_a_record_fits_the_schema(which: str, request: pytest.FixtureRequest) -> None:
    record = json.loads(json.dumps(atrs_record(request.getfixturevalue(which))))
    jsonschema.validate(record, schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**record, "colour": "blue"}, schema())


def test_what_nobody_said_is_a_gap_and_no_text(bare: Subject, full: Subject) -> None:
    record = atrs_record(bare)
    gaps = {gap["id"] for gap in record["gaps"]}  # type: ignore[attr-defined]
    assert {"0.2", "2.1.4", "2.3.3", "2.3.5", "2.4.2.7", "2.5.1"} <= gaps
    properties = schema()["properties"]
    assert isinstance(properties, dict)
    for name, told in properties.items():
        if "x-atrs-id" in told and record[name] in (None, []):
            assert told["x-atrs-id"] in gaps, name
    filled = {gap["id"] for gap in atrs_record(full)["gaps"]}  # type: ignore[attr-defined]
    assert filled - {"2.1.4.2"} < gaps
    assert "2.1.4.2" in filled, "the demonstration's supplier has no company number"
    assert "2.3.3" not in filled


def test_live_figures_carry_their_window(full: Subject) -> None:
    text = atrs_markdown(atrs_record(full))
    assert "1,234 recommendations from 2026-10-01 to 2026-10-31." in text
    assert "override_rate: 0.12 (in use, 2026-10-01 to 2026-10-31)" in text
    without = atrs_markdown(atrs_record(replace(full, live=None)))
    assert "1,234" not in without
    assert "2.3.3 Frequency and scale of usage: a live figure: none was given" in without


def test_every_text_of_the_record_was_said_by_somebody(full: Subject) -> None:
    """Appeals keep the tool's output and the wider process apart, as version 4.0 asks."""
    record = atrs_record(full)
    assert record["appeals_and_review"] == (
        "The tool's output: Ask the team. The decision and the wider process: "
        "Ask for a review within a month."
    )
    assert record["human_review"] == "A caseworker decides each case."


@pytest.mark.parametrize("which", ["bare", "full"])
def test_the_bill_of_materials_fits_the_official_schema(
    which: str, request: pytest.FixtureRequest
) -> None:
    bom = cyclonedx_bom(request.getfixturevalue(which))
    validator = JsonStrictValidator(SchemaVersion.V1_7)
    assert validator.validate_str(json.dumps(bom)) is None
    assert bom == cyclonedx_bom(request.getfixturevalue(which))
    bom["colour"] = "blue"
    assert validator.validate_str(json.dumps(bom)) is not None


def test_the_bill_names_the_model_by_its_bytes(full: Subject) -> None:
    component = cyclonedx_bom(full)["metadata"]["component"]  # type: ignore[index]
    told = json.dumps(component)
    assert full.files.digest in told
    assert '"slice": "sex=female"' in told
    assert "Not tested: The data do not say." in told
    assert '"grounds:impact-level", "value": "II"' in told


def test_the_hugging_face_card_has_readable_front_matter(full: Subject, bare: Subject) -> None:
    _, front, body = huggingface_card(full).split("---\n", 2)
    assert yaml.safe_load(front) == json.loads(json.dumps(huggingface_metadata(full)))
    assert yaml.safe_load(front)["pipeline_tag"] == "tabular-classification"
    assert body.strip().startswith("# Priority for discretionary housing support")
    assert "model-index" not in huggingface_metadata(bare)


def test_the_eu_entry_lists_what_is_missing(full: Subject, bare: Subject) -> None:
    entry = eu_register_entry(full)
    missing = {gap["id"] for gap in entry["gaps"]}  # type: ignore[attr-defined]
    assert missing == {"C.1 address", "C.3", "C.4"}
    assert str(entry["C.5"]).startswith("Data protection impact assessment, 2026-09-14")
    assert {gap["id"] for gap in eu_register_entry(bare)["gaps"]} == {  # type: ignore[attr-defined]
        "C.1", "C.2", "C.3", "C.4", "C.5",
    }  # fmt: skip


@pytest.mark.parametrize(
    "content", ["", "organisation: 3", "organisation: a\ncolour: b", "team: a"]
)
def test_a_deployment_that_does_not_fit_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "deployment.yaml"
    path.write_text(content)
    with pytest.raises(CardRefusedError, match=r"deployment\.yaml"):
        read_deployment(path)
    assert read_deployment(tmp_path / "none.yaml") is None


def test_a_served_models_records_are_read_with_any_key(service: Started) -> None:
    address = f"/v1/models/{tiny.NAME}/transparency"
    for role in service.keys:
        answer = service.client.get(address, headers=service.key(role))
        assert answer.status_code == 200
        jsonschema.validate(answer.json()["atrs"], schema())
        assert answer.json()["impact_level"] is None
    assert service.client.get(address).status_code == 401


def test_live_figures_without_a_window_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "live.json"
    path.write_text('{"decisions": 3}')
    with pytest.raises(CardRefusedError, match="want figures with their window"):
        read_live(path)
