"""The impact level is added up from the answers; published vectors, and what a file cannot do."""

import json

import pytest

from models.aia import method, parse_aia, requirements, total_and_level
from models.errors import CardRefusedError


@pytest.mark.parametrize(
    ("raw", "mitigation", "total", "level"),
    [
        (3, 0, 3, 1),
        (41, 0, 41, 1),
        (42, 0, 42, 2),
        (83, 0, 83, 2),
        (84, 0, 84, 3),
        (125, 0, 125, 3),
        (126, 0, 126, 4),
        (126, 61, 126, 4),
        (126, 62, 107, 3),
        (147, 62, 125, 3),
        (148, 62, 126, 4),
        (98, 62, 83, 2),
        (99, 62, 84, 3),
        (90, 62, 77, 2),
        (167, 77, 142, 4),
        (48, 62, 41, 1),
        (49, 62, 42, 2),
    ],
)
def test_the_golden_vectors(raw: int, mitigation: int, total: int, level: int) -> None:
    assert total_and_level(raw, mitigation) == (total, level)


def test_the_vectors_would_notice_pythons_rounding() -> None:
    assert round(0.85 * 90) != total_and_level(90, 62)[0]


def test_the_areas_add_up_to_the_maxima() -> None:
    how = method()
    most = {
        kind: sum(area.maximum for area in how.areas if area.kind == kind)
        for kind in ("raw", "mitigation")
    }
    assert most == {"raw": how.raw_maximum, "mitigation": how.mitigation_maximum // 2}


def exported(data: dict[str, object], **more: object) -> bytes:
    return json.dumps(
        {"version": "0.10.0", "currentPage": 3, "data": data, "translationsOnResult": {}, **more}
    ).encode()


ANSWERS: dict[str, object] = {
    "projectDetailsPhase": "item2-0",
    "projectDetailsDepartment-NS": "item9-9",
    "businessDrivers5": "item1-2",
    "businessDrivers6": "It would clear the backlog within 2-3",
    "riskProfile1": "item1-3",
    "impact30": "item1-2",
    "impact31": 4,
    "decisionSector1": ["item1-1", "item3-1"],
    "aboutDataSource1": "item1-4",
    "aboutDataType2": ["item1-2", "item2-4", "other"],
    "aboutSystem1": ["item6-1", "item2-1"],
    "fairnessImplementation2": "item1-2",
    "fairnessDesign2": "item1-2",
    "consultationImplementation1": "item1-1",
}


def test_choices_count_and_what_people_typed_does_not() -> None:
    impact = parse_aia(exported(ANSWERS))
    assert impact.areas["reasons for automation"] == 2
    assert impact.areas["about the data"] == 10
    assert impact.areas["about the system"] == 1, "a retired choice counts nothing"
    assert impact.areas["impact assessment"] == 2
    assert impact.raw == 2 + 3 + 2 + 2 + 10 + 1
    assert impact.mitigation == 3, "only the page of the project's phase"
    assert (impact.level, impact.roman, impact.version) == (1, "I", "0.10.0")


def test_a_stated_level_is_not_looked_at() -> None:
    high: dict[str, object] = {
        "riskProfile1": "item1-15",
        "impact1": "item1-52",
        "aboutDataSource1": "item1-53",
        "aboutSystem3": "item1-17",
    }
    said = parse_aia(exported(high, level=1, impactLevel="I"))
    assert (said.raw, said.level) == (137, 4)
    assert parse_aia(exported(high)) == said


def test_each_answer_moves_the_score_by_its_weight() -> None:
    for area in method().areas:
        page = "Implementation" if area.kind == "mitigation" else ""
        impact = parse_aia(exported({f"{area.prefix}{page}7": f"item1-{area.maximum}"}))
        assert impact.areas == {
            **dict.fromkeys((each.name for each in method().areas), 0),
            area.name: area.maximum,
        }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "want the file that the questionnaire exports"),
        (b"[]", "want the file that the questionnaire exports"),
        (b'{"data": {}}', "got 0 answers"),
        (b'{"level": 1}', "Field required"),
        (exported({"riskProfile1": "item1-16"}), "risk profile: got 16 points; want at most 15"),
        (exported({"fairnessDesign1": ["item1-45", "item2-44"]}), "want at most 88"),
        (
            exported({"projectDetailsPhase": "item1", "fairnessDesign1": "item1-45"}),
            "got 45 points; want at most 44",
        ),
    ],
    ids=[f"file-{number}" for number in range(7)],
)
def test_a_file_that_cannot_be_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(CardRefusedError, match=message):
        parse_aia(content)


def test_what_each_level_asks_for() -> None:
    asked = [requirements(level) for level in (1, 2, 3, 4)]
    assert [each.human_final_decision for each in asked] == [False, False, True, True]
    assert [each.individual_explanation for each in asked] == [False, True, True, True]
    assert [each.peer_reviews for each in asked] == [0, 1, 1, 2]
    assert [each.training_recurs for each in asked] == [False, False, True, True]
    assert asked[3].approval == "Treasury Board"
    with pytest.raises(KeyError):
        requirements(5)
