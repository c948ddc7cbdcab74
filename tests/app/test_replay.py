"""Replay: a recorded decision comes out bit for bit the same, or it is said how or why not."""

import dataclasses
import hashlib
import itertools
import json
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import yaml
from fastapi.testclient import TestClient

from app import words
from app.bundle_store import store_of
from app.demo.asking import request_body
from app.domain import OPERATOR, Role
from app.environment import environment
from app.first_start import find_models
from app.ids import new_id, utc_now
from app.library import Library
from app.main import create_app
from app.reading import read_decision
from app.replay import VERDICTS, replay, verdict_name
from app.replay_recorder import record_here, writable
from app.replay_report import RunReport
from app.replay_run import Run, run_replay
from app.served import join
from app.settings import Settings
from app.trust import vouched
from audit.errors import LogLockedError
from audit.log import Log
from audit.replay import Differs
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


def replayed(settings: Settings, **options: Any) -> RunReport:
    return run_replay(Run(settings), clock=utc_now, **options)


def test_a_thousand_decisions_replay_to_the_same_bits(
    settings: Settings, keys: dict[Role, str]
) -> None:
    ids = recorded(settings, keys[Role.CALLER], COUNT)
    lines: list[bytes] = []
    with writable(Run(settings), clock=utc_now) as log:
        report = replayed(settings, workers=2, on_lines=lines.append)
        entry = record_here(log, report, clock=utc_now, new_id=new_id)
        told = b"".join(lines).decode().splitlines()
        assert told == [
            f"{row.seq} {row.leaf_hash.hex()} identical" for row in log.entries(3, 3 + COUNT)
        ]
        assert [row.id for row in log.entries(3, 3 + COUNT)] == ids
        stored = log.read(entry)
    assert report.body()["verdicts"] == {
        name: COUNT if name == "identical" else 0 for name in VERDICTS
    }
    assert report.results_sha256 == hashlib.sha256(b"".join(lines)).hexdigest()
    # One process comes to the same report, whatever the split.
    assert replayed(settings, workers=1).results_sha256 == report.results_sha256
    # The leaf commits to every verdict, and to the report, which the payload holds whole.
    assert stored.facts["results"] == report.results_sha256
    assert stored.facts["report"] == hashlib.sha256(report.encode()).hexdigest()
    assert stored.payload is not None
    assert json.loads(stored.payload)["report"] == json.loads(report.encode())
    found = verify(settings.data_dir / "log")
    assert found.sound
    # Genesis, the registration, one start, the decisions, and one entry for the run.
    assert found.size == 3 + COUNT + 1


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
    found = find_models(settings, store_of(settings))["housing-support"]
    trusted = vouched(found.files, settings)
    model = join(
        found.files, found.policy, settings, vouched_for=trusted, directory=found.directory
    )
    served = {"housing-support": model}
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
        row = log.entries(3, 4)[0]
        stored = read_decision(log, row.id, reader=OPERATOR)
    library = Library(settings, served=tampered.values())
    verdict = replay(stored, library, {**environment(settings), "onnxruntime": "0.0.0"})
    assert isinstance(verdict, Differs)
    # The number itself, and the answer that says it.
    assert [(each.name, each.positions) for each in verdict.differences] == [
        ("contributions", (3,)),
        ("answer", ()),
    ]
    assert verdict.differences[0].max_ulps == 1
    # The answer says the number itself, and sums it: what follows is no difference of its own.
    assert verdict.differences[1].follows
    assert verdict.max_ulps == 1
    assert verdict_name(verdict) == "within_ulps"
    assert verdict_name(verdict, max_ulps=0) == "different"
    assert [change.name for change in verdict.environment] == ["onnxruntime"]


def test_other_words_are_a_difference(
    settings: Settings, keys: dict[Role, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(settings, keys[Role.CALLER], 1)
    assert set(replayed(settings).sums.verdicts) == {"identical"}
    monkeypatch.setattr(words, "MOST_REASONS", 3)
    report = replayed(settings)
    assert set(report.sums.verdicts) == {"different"}
    (found,) = report.sums.exceptions
    assert found.verdict == "different"
    (difference,) = found.differences
    assert difference.name == "answer"
    assert difference.places
    assert all(place.startswith("explanation.") for place in difference.places)


def only_the_bundle(settings: Settings, models: Path) -> Settings:
    """Settings with the same bundle under a later policy."""
    other = models / "housing-support"
    other.mkdir(parents=True)
    here = settings.models_dir / "housing-support"
    (other / "bundle").symlink_to(here / "bundle")
    policy = yaml.safe_load((here / "policy.yaml").read_text())
    (other / "policy.yaml").write_text(yaml.safe_dump({**policy, "version": "2027-01"}))
    return settings.model_copy(update={"models_dir": models})


def test_a_decision_under_a_policy_that_is_gone_is_replayed_from_the_logs_own_record_of_it(
    settings: Settings, keys: dict[Role, str], tmp_path: Path
) -> None:
    recorded(settings, keys[Role.CALLER], 1)
    assert set(replayed(only_the_bundle(settings, tmp_path / "models")).sums.verdicts) == {
        "identical"
    }


def test_a_model_is_found_in_the_store_or_in_a_directory_that_is_named_and_else_missing(
    settings: Settings, keys: dict[Role, str], tmp_path: Path
) -> None:
    recorded(settings, keys[Role.CALLER], 1)
    (tmp_path / "models").mkdir()
    stored = settings.model_copy(update={"models_dir": tmp_path / "models"})
    assert set(replayed(stored).sums.verdicts) == {"identical"}  # its first start has put it there
    without = stored.model_copy(update={"store_dir": tmp_path / "none"})
    report = replayed(without)
    (found,) = report.sums.exceptions
    assert found.verdict == "model_missing"
    reason = found.reason or ""
    assert "is in the store or the models' directory" in reason
    assert str(tmp_path) not in reason
    named = Run(without, directories=(tmp_path / "models",))
    (found,) = run_replay(named, clock=utc_now).sums.exceptions
    assert f"or under {tmp_path / 'models'}" in (found.reason or "")
    run = Run(without, directories=(settings.models_dir,))
    assert set(run_replay(run, clock=utc_now).sums.verdicts) == {"identical"}


def test_replaying_with_the_service_running_is_refused_unless_nothing_is_recorded(
    client: TestClient, settings: Settings, keys: dict[Role, str]
) -> None:
    client.post(
        PATH,
        json=request_body(DEMO_CASES["close-call"]),
        headers={"Authorization": f"Bearer {keys[Role.CALLER]}"},
    )
    assert set(replayed(settings).sums.verdicts) == {"identical"}
    with pytest.raises(LogLockedError), writable(Run(settings), clock=utc_now):
        pass
