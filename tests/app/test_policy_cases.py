"""A policy is tried on a table of cases: what differs is named, and so is what no case meets."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from app.cli import app as grounds
from app.policy import PolicyError
from app.policy_cases import load_cases
from app.policy_diff import policy_diff
from app.settings import Settings
from tests.app import tiny
from tests.conftest import POLICY
from tests.started import start

CASES = POLICY.parent / "policy-cases.yaml"
RULES = [
    {"rule": "guessed", "when": "adverse && size(estimated) > 0", "requires": "evidence",
     "description": "Guessed."},
    {"rule": "close", "when": "near_threshold", "requires": "person", "description": "Close."},
    {"rule": "strange", "when": "unfamiliar", "requires": "no_advice", "description": "Strange."},
    {"rule": "old", "when": "size(stale) > 0", "requires": "evidence", "description": "Old."},
    {"rule": "few", "when": "small_group", "requires": "second_person", "description": "Few."},
]  # fmt: skip


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(grounds, ["policy", "test", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


@pytest.fixture
def files(tiny_models: Path, tmp_path: Path) -> tuple[Path, Path, Path]:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        yaml.safe_dump(
            {
                **tiny.policy(),
                "rules": RULES,
                "provenance": {"stale_after_days": {"amount": 30}},
                "small_group": {"fields": ["answer"], "fewer_than": 3},
            }
        )
    )
    return tmp_path / "cases.yaml", policy, tiny_models / tiny.NAME / "bundle"


def table(*cases: dict[str, Any]) -> str:
    return yaml.safe_dump(
        {"day": "2026-11-23", "base": {"amount": 12.5, "count": 5, "answer": "no"}, "cases": cases}
    )


EACH = [
    {"name": "guessed", "score": 0.2, "unfamiliar": False, "provenance": {"amount": {"source": "estimated"}},
     "expect": {"outcome": "no", "asked_by": ["guessed"], "requires": ["evidence"]}},
    {"name": "close", "score": 0.52, "unfamiliar": False,
     "expect": {"near_threshold": True, "requires": ["person"]}},
    {"name": "strange", "score": 0.9, "unfamiliar": True,
     "expect": {"advice": "none", "requires": ["no_advice"]}},
    {"name": "old", "score": 0.9, "unfamiliar": False,
     "provenance": {"amount": {"source": "verified", "date": "2026-10-23"}},
     "expect": {"stale": ["amount"], "asked_by": ["old"]}},
    {"name": "few", "score": 0.9, "unfamiliar": False, "case": {"answer": "yes"},
     "expect": {"asked_by": ["few"], "requires": ["second_person"]}},
]  # fmt: skip


def test_the_demonstrations_table_covers_its_policy(demo_models: Path) -> None:
    bundle = demo_models / "housing-support" / "bundle"
    code, told = run(CASES, "--policy", POLICY, "--bundle", bundle, "--cover")
    assert (code, told) == (0, "11 of 11 cases as expected\n")


def test_each_rule_of_care_is_met_by_its_case_and_by_no_near_miss(
    files: tuple[Path, Path, Path],
) -> None:
    cases, policy, bundle = files
    near_misses = [
        {**EACH[0], "score": 0.9, "expect": {"requires": []}},
        {**EACH[1], "score": 0.551, "expect": {"requires": []}},
        {**EACH[2], "unfamiliar": False, "expect": {"requires": [], "advice": "given"}},
        {**EACH[3], "provenance": {"amount": {"source": "verified", "date": "2026-10-24"}},
         "expect": {"requires": [], "stale": []}},
        {**EACH[4], "case": {}, "expect": {"requires": []}},
    ]  # fmt: skip
    cases.write_text(table(*EACH, *near_misses))
    code, told = run(cases, "--policy", policy, "--bundle", bundle, "--cover")
    assert (code, told) == (0, "10 of 10 cases as expected\n")


@pytest.mark.parametrize(
    "wrong",
    [
        {"outcome": "yes"}, {"rule": "high"}, {"requires": []}, {"asked_by": ["close"]},
        {"advice": "none"}, {"adverse": False}, {"near_threshold": True}, {"stale": ["amount"]},
        {"refused": True},
    ],
)  # fmt: skip
def test_what_differs_is_named_and_fails(
    files: tuple[Path, Path, Path], wrong: dict[str, object]
) -> None:
    cases, policy, bundle = files
    cases.write_text(table({**EACH[0], "expect": wrong}))
    code, told = run(cases, "--policy", policy, "--bundle", bundle)
    assert code == 1
    assert f"guessed: {next(iter(wrong))}: got " in told
    assert "0 of 1 cases as expected" in told


def test_what_no_case_meets_is_said_and_fails_only_where_asked(
    files: tuple[Path, Path, Path],
) -> None:
    cases, policy, bundle = files
    cases.write_text(table(*EACH[:2]))
    code, told = run(cases, "--policy", policy, "--bundle", bundle)
    assert code == 0
    assert "met by no case: strange, old, few" in told
    assert run(cases, "--policy", policy, "--bundle", bundle, "--cover")[0] == 1


def test_without_a_score_the_model_gives_it(files: tuple[Path, Path, Path]) -> None:
    cases, policy, bundle = files
    cases.write_text(
        table(
            {"name": "high", "expect": {"outcome": "yes"}},
            {"name": "low", "case": {"amount": 1.0, "count": 1}, "expect": {"outcome": "no"}},
            {"name": "misfit", "case": {"amount": "much"}, "expect": {"refused": True}},
            {"name": "unknown field", "case": {"age": 3}, "expect": {"outcome": "yes"}},
        )
    )
    code, told = run(cases, "--policy", policy, "--bundle", bundle)
    assert code == 1
    assert told.startswith("unknown field: refused: got age, want a case that fits\n")
    assert "3 of 4" in told


@pytest.mark.parametrize(
    "content", ["[", "3", "day: 2026-01-01\nbase: {}\ncases: []", "day: x\nbase: {}\ncases: [1]",
                table({"name": "a", "expect": {"outcom": "yes"}})],
)  # fmt: skip
def test_a_table_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "cases.yaml").write_text(content)
    with pytest.raises(PolicyError, match=r"cases\.yaml"):
        load_cases(tmp_path / "cases.yaml")


def test_two_policies_are_compared_over_what_is_in_the_log(
    tiny_models: Path, tmp_path: Path
) -> None:
    settings = Settings(models_dir=tiny_models, data_dir=tmp_path / "data")
    with start(settings) as started:
        asked = [
            started.ask(tiny.NAME, {"amount": amount, "count": count, "answer": "no"}).json()
            for amount in (1.0, 12.5)
            for count in (1, 5)
        ]
    scores = [each["recommendation"]["score"] for each in asked]
    bands = tiny.policy()["bands"]
    assert isinstance(bands, list)
    paths = []
    for line in (0.5, 0.3):
        paths.append(tmp_path / f"policy-{line}.yaml")
        moved = [bands[0], {**bands[1], "at_least": line}]
        paths[-1].write_text(
            yaml.safe_dump({**tiny.policy(), "bands": moved, "version": str(line)})
        )
    arguments = ["policy", "diff", *map(str, paths), "--json",
                 "--data-dir", str(settings.data_dir), "--models-dir", str(tiny_models)]  # fmt: skip
    result = CliRunner().invoke(grounds, arguments)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    turned = [score for score in scores if 0.3 <= score < 0.5]
    assert turned
    assert (told["cases"], told["compared"], told["left_out"]) == (4, 4, 0)
    assert told["changed"] == told["no_longer_adverse"] == len(turned)
    assert told["became_adverse"] == 0
    # The other way round it is the other way round.
    arguments[2:4] = arguments[3:1:-1]
    back = json.loads(CliRunner().invoke(grounds, arguments).stdout)
    assert (back["became_adverse"], back["no_longer_adverse"]) == (len(turned), 0)
    # And a policy against itself changes nothing.
    arguments[3] = arguments[2]
    assert json.loads(CliRunner().invoke(grounds, arguments).stdout)["changed"] == 0


def test_two_policies_of_different_models_are_not_compared(
    tiny_models: Path, tmp_path: Path
) -> None:
    settings = Settings(models_dir=tiny_models, data_dir=tmp_path / "data")
    with start(settings):
        pass
    paths = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for path, model in zip(paths, (tiny.NAME, "other"), strict=True):
        path.write_text(yaml.safe_dump({**tiny.policy(), "model": model}))
    with pytest.raises(PolicyError, match="want two policies of one model"):
        policy_diff(settings, *paths)
