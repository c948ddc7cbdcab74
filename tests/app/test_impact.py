"""What another bundle or policy would change: the sums, and the whole way there."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.ids import utc_now
from app.impact import EXAMPLES, NO_ADVICE, Comparison, Judgement, Tally
from app.policy import PolicyError
from app.replay_run import Run, run_replay
from app.selection import Selection
from app.settings import Settings
from models.rows import Row
from tests.app import tiny
from tests.started import start

CASES: list[Row] = [
    {"amount": amount, "count": count, "answer": answer}
    for amount in (1.0, 20.0)
    for count in (1, 5)
    for answer in ("yes", "no")
]
OUTCOMES = ("no", "yes", NO_ADVICE)


def judgement(outcome: str, score: float | None) -> Judgement:
    adverse = None if outcome == NO_ADVICE else outcome == "no"
    requires = ("person",) if outcome == "no" else ()
    return Judgement(outcome, adverse, score, f"rule-{outcome}", requires)


def comparisons(count: int, seed: int) -> list[Comparison]:
    rng = random.Random(seed)  # noqa: S311  # made-up cases, no secret
    made = []
    for number in range(count):
        before = judgement(rng.choice(OUTCOMES), rng.random())
        instead = None if rng.random() < 0.1 else judgement(rng.choice(OUTCOMES), rng.random())
        refused = () if instead else ("amount",)
        made.append(Comparison(f"d{number}", "m", str(number % 3), before, instead, refused))
    return made


def tallied(cases: list[Comparison]) -> Tally:
    tally = Tally()
    for case in cases:
        tally.add(case)
    return tally


def test_the_sums_are_those_of_counting_one_by_one() -> None:
    cases = comparisons(500, 1)
    report = tallied(cases).report()
    both = [(each, each.instead) for each in cases if each.instead is not None]
    pairs = Counter((each.recorded.outcome, other.outcome) for each, other in both)
    assert {(each.recorded, each.instead): each.count for each in report.transitions} == pairs
    assert (report.cases, report.compared) == (500, len(both))
    assert report.refused == 500 - len(both) == report.refused_fields[0].count
    changed = [each for each, other in both if each.recorded.outcome != other.outcome]
    assert report.changed == len(changed)
    assert report.share_changed == len(changed) / len(both)
    assert sum(each.changed for each in report.by_version) == len(changed)
    assert sum(each.compared for each in report.by_outcome) == len(both)
    assert report.became_adverse == pairs["yes", "no"]
    assert report.no_longer_adverse == pairs["no", "yes"]
    assert report.scores is not None
    assert sum(each.recorded for each in report.scores.bins) == len(both)
    moved = next(
        each for each in report.transitions if (each.recorded, each.instead) == ("no", "yes")
    )
    named = [each.decision for each, other in both
             if (each.recorded.outcome, other.outcome) == ("no", "yes")]  # fmt: skip
    assert list(moved.examples) == named[:EXAMPLES]


def test_parts_put_together_are_the_whole() -> None:
    cases = comparisons(300, 2)
    whole = tallied(cases).report()
    merged = Tally()
    for at in range(0, 300, 70):
        merged.merge(tallied(cases[at : at + 70]))
    report = merged.report()
    assert report.transitions == whole.transitions
    assert report.by_version == whole.by_version
    assert report.refused_fields == whole.refused_fields
    assert report.scores is not None
    assert whole.scores is not None
    assert report.scores.bins == whole.scores.bins
    assert report.scores.mean_difference == pytest.approx(whole.scores.mean_difference)


def test_a_score_beyond_the_unit_interval_leaves_no_bins() -> None:
    case = Comparison("d", "m", "1", judgement("yes", 0.5), judgement("yes", 1.5))
    scores = tallied([case]).report().scores
    assert scores is not None
    assert scores.bins == ()
    assert scores.highest_difference == 1.0


def test_nothing_compared_is_nothing_changed() -> None:
    report = Tally().report()
    assert (report.cases, report.share_changed, report.scores) == (0, 0.0, None)


@pytest.fixture(scope="module")
def recorded(
    tiny_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Settings, list[str]]:
    """Eight decisions: four advised no, four yes."""
    data = tmp_path_factory.mktemp("impact") / "data"
    settings = Settings(models_dir=tiny_models, data_dir=data)
    with start(settings) as service:
        ids = [service.ask(tiny.NAME, case).json()["id"] for case in CASES]
    return settings, ids


def written(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump({**tiny.policy(), **changes}))
    return path


def test_a_stricter_policy_turns_those_between_the_lines_and_no_others(
    recorded: tuple[Settings, list[str]], tmp_path: Path
) -> None:
    settings, ids = recorded
    bands = tiny.policy()["bands"]
    assert isinstance(bands, list)
    bands[1]["at_least"] = 0.8
    policy = written(tmp_path / "policy.yaml", version="2", bands=bands)
    report = run_replay(Run(settings, with_policy=policy), clock=utc_now)
    impact = report.impact
    assert impact is not None
    assert impact.compared == len(ids)
    turned = [
        decision
        for case, decision in zip(CASES, ids, strict=True)
        if 0.5 <= tiny.probability(case) < 0.8
    ]
    assert turned
    assert impact.changed == impact.became_adverse == len(turned)
    moved = next(each for each in impact.transitions if each.recorded != each.instead)
    assert (moved.recorded, moved.instead) == ("yes", "no")
    assert sorted(moved.examples) == sorted(turned)
    assert impact.scores is not None
    assert impact.scores.lowest_difference == impact.scores.highest_difference == 0
    # Nothing of a case is in the report, and the log is as it was.
    body = report.encode().decode()
    assert tiny.HOSTILE not in body
    assert json.loads(body)["instead"]["bundle"] is None


def test_a_bundle_that_refuses_cases_is_told_by_field(
    recorded: tuple[Settings, list[str]], tmp_path: Path
) -> None:
    settings, _ = recorded
    card = tiny.card()
    amount = card.fields[0].model_copy(update={"minimum": 2.0, "maximum": 25.0})
    narrow = card.model_copy(update={"version": "2", "fields": (amount, *card.fields[1:])})
    tiny.write(tmp_path / "other", told=narrow)
    run = Run(settings, with_bundle=tmp_path / "other" / "bundle")
    report = run_replay(run, clock=utc_now)
    impact = report.impact
    assert impact is not None
    assert (impact.compared, impact.refused) == (4, 4)
    assert [each.field for each in impact.refused_fields] == ["amount"]
    assert report.instead is not None
    assert report.instead.bundle is not None


def test_the_same_bundle_and_policy_change_nothing(recorded: tuple[Settings, list[str]]) -> None:
    settings, ids = recorded
    place = settings.models_dir / tiny.NAME
    run = Run(settings, Selection(model=tiny.NAME), with_bundle=place / "bundle")
    impact = run_replay(run, clock=utc_now).impact
    assert impact is not None
    assert (impact.compared, impact.changed, impact.rule_changed) == (len(ids), 0, 0)


def test_a_policy_for_another_model_is_refused(
    recorded: tuple[Settings, list[str]], tmp_path: Path
) -> None:
    settings, _ = recorded
    policy = written(tmp_path / "policy.yaml", model="another")
    bundle = settings.models_dir / tiny.NAME / "bundle"
    with pytest.raises(PolicyError, match="for the model another"):
        run_replay(Run(settings, with_bundle=bundle, with_policy=policy), clock=utc_now)
