"""Replay: a recorded decision comes out bit for bit the same, or it is said how or why not."""

import dataclasses
import itertools
from contextlib import closing
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import yaml
from fastapi.testclient import TestClient

from app import words
from app.checking import OPERATOR, replay_log
from app.demo.asking import request_body
from app.domain import Role
from app.environment import environment
from app.ids import new_id, utc_now
from app.main import create_app
from app.reading import read_decision
from app.replay import replay, verdict_name
from app.served import open_all
from app.settings import Settings
from audit.errors import LogLockedError
from audit.log import Log
from audit.replay import Differs, Identical, NotReplayable, Verdict
from audit.verify import verify
from explainers.explainer import Explainer
from models.demo.build import demo_applications
from models.demo.cases import DEMO_CASES

PATH = "/v1/models/housing-support/decisions"
COUNT = 1000


def recorded(settings: Settings, key: str, count: int) -> list[str]:
    """Ask a started service for ``count`` decisions and return their ids."""
    cases = itertools.islice(itertools.cycle(demo_applications().cases), count)
    with TestClient(create_app(settings)) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        return [client.post(PATH, json=request_body(case)).json()["id"] for case in cases]


def replayed(settings: Settings, *, record: bool = False) -> list[tuple[str, Verdict]]:
    return replay_log(
        settings,
        decision=None,
        limit=None,
        record=record,
        clock=utc_now,
        new_id=new_id,
        advance=lambda _done, _total: None,
    )


def test_a_thousand_decisions_replay_to_the_same_bits(
    settings: Settings, keys: dict[Role, str]
) -> None:
    ids = recorded(settings, keys[Role.CALLER], COUNT)
    results = replayed(settings, record=True)
    assert [decision_id for decision_id, _ in results] == ids
    assert all(isinstance(verdict, Identical) for _, verdict in results)
    report = verify(settings.data_dir / "log")
    assert report.sound
    # Genesis, one start, the decisions, and an entry for each replay.
    assert report.size == 2 + 2 * COUNT


def test_a_replay_over_http_is_itself_recorded(client: TestClient, keys: dict[Role, str]) -> None:
    caller = {"Authorization": f"Bearer {keys[Role.CALLER]}"}
    auditor = {"Authorization": f"Bearer {keys[Role.AUDITOR]}"}
    answer = client.post(PATH, json=request_body(DEMO_CASES["close-call"]), headers=caller).json()
    verdict = client.post(f"/v1/decisions/{answer['id']}/replay", headers=auditor).json()
    assert verdict["verdict"] == "identical"
    assert verdict["receipt"]["index"] == answer["receipt"]["index"] + 1


def test_one_bit_less_is_a_difference_with_its_distance(
    settings: Settings, keys: dict[Role, str]
) -> None:
    recorded(settings, keys[Role.CALLER], 1)
    served = open_all(settings, lambda _: None)
    explainer = served["housing-support"].explainer

    class OffByOne:
        """The model's own explainer, with the last bit of one contribution turned."""

        def __getattr__(self, name: str) -> object:
            return getattr(explainer, name)

        def explain(self, *arguments: object) -> object:
            explanation = explainer.explain(*arguments)  # type: ignore[arg-type]
            values = explanation.values.copy()
            values[3, 0] = np.nextafter(values[3, 0], np.inf)
            return explanation._replace(values=values)

    tampered = {
        "housing-support": dataclasses.replace(
            served["housing-support"], explainer=cast("Explainer", OffByOne())
        )
    }
    with closing(
        Log.open(settings.data_dir / "log", origin=settings.log_origin, clock=utc_now)
    ) as log:
        row = log.entries(2, 3)[0]
        stored = read_decision(log, row.id, reader=OPERATOR)
    verdict = replay(stored, tampered, environment(settings))
    assert isinstance(verdict, Differs)
    # The number itself, and the answer that says it.
    assert [(each.name, each.positions) for each in verdict.differences] == [
        ("contributions", (3,)),
        ("answer", ()),
    ]
    assert verdict.differences[0].max_ulps == 1


def test_other_words_are_a_difference(
    settings: Settings, keys: dict[Role, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(settings, keys[Role.CALLER], 1)
    assert [verdict_name(verdict) for _, verdict in replayed(settings)] == ["identical"]
    monkeypatch.setattr(words, "MOST_REASONS", 3)
    ((_, verdict),) = replayed(settings)
    assert isinstance(verdict, Differs)
    assert [each.name for each in verdict.differences] == ["answer"]


def test_a_decision_under_another_policy_is_not_replayable_and_says_why(
    settings: Settings, keys: dict[Role, str], tmp_path: Path
) -> None:
    recorded(settings, keys[Role.CALLER], 1)
    other = tmp_path / "models" / "housing-support"
    other.mkdir(parents=True)
    here = settings.models_dir / "housing-support"
    (other / "bundle").symlink_to(here / "bundle")
    policy = yaml.safe_load((here / "policy.yaml").read_text())
    (other / "policy.yaml").write_text(yaml.safe_dump({**policy, "version": "2027-01"}))
    ((_, verdict),) = replayed(settings.model_copy(update={"models_dir": tmp_path / "models"}))
    assert isinstance(verdict, NotReplayable)
    assert "policy" in verdict.detail
    assert verdict_name(verdict) == "not_replayable"


def test_replaying_with_the_service_running_is_refused_unless_nothing_is_recorded(
    client: TestClient, settings: Settings, keys: dict[Role, str]
) -> None:
    client.post(
        PATH,
        json=request_body(DEMO_CASES["close-call"]),
        headers={"Authorization": f"Bearer {keys[Role.CALLER]}"},
    )
    assert [verdict_name(verdict) for _, verdict in replayed(settings)] == ["identical"]
    with pytest.raises(LogLockedError):
        replayed(settings, record=True)
