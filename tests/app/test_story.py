"""The whole story of a model over HTTP, with real keys, and then read back from the log alone.

A supplier signs a bundle, a buyer accepts it, it runs in shadow, goes live, two caseworkers of different
habits decide, a contested case is reviewed by another person, advice is stopped and goes on, a new
policy comes and is rolled back. The cases of the shadow are those of a public data set where it lies
beside the repository (``../shared/data/adult``), and made up elsewhere.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import numpy as np
import pytest

from app.case_events import read_events
from app.domain import Kind, Role
from app.ids import utc_now
from app.keys import KeyStore
from app.lifecycle import RegistryState
from app.records import RECOMMENDATION, SHADOW, parse_recommendation
from app.registry_entries import changes
from app.settings import Settings
from app.stops import StopState
from app.supplied.report import sign_report
from app.supplied.suite import accept
from audit.leaf import parse_leaf
from audit.reader import LogReader
from audit.verify import verify
from models.rows import Row
from models.signing import sign_bundle
from tests.app import tiny
from tests.app.test_supplied import honest_bundle
from tests.app.versions import Owner, Submitted
from tests.oracle import SHARED
from tests.problems import assert_problem
from tests.service import ServiceProcess
from tests.signed import acceptor_key, supplier_key

SHADOWED, DECIDED = 500, 200
OVERRIDES = {"ann": 0.02, "bob": 0.3}
"""How often each caseworker departs from the advice."""
SECONDS = 60
ADULT = SHARED / "data" / "adult" / "adult.csv"
PATH = f"/v1/models/{tiny.NAME}/decisions"


@dataclass(frozen=True, slots=True)
class People:
    """The service as each of them reaches it."""

    client: httpx.Client
    keys: dict[str, str]

    def post(self, who: str, path: str, body: object) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.keys[who]}"}
        return self.client.post(path, json=body, headers=headers, timeout=60)

    def done(self, who: str, path: str, body: object) -> dict[str, Any]:
        answer = self.post(who, path, body)
        assert answer.is_success, answer.text
        said: dict[str, Any] = answer.json()
        return said


def cases() -> Iterator[Row]:
    """Return cases without end: hours worked, schooling and gains of the census, or made up."""
    if ADULT.is_file():
        with ADULT.open(newline="") as file:
            for row in csv.DictReader(file):
                yield {
                    "amount": float(row["hours_per_week"]) / 4,
                    "count": int(row["education_num"]) // 2,
                    "answer": "yes" if int(row["capital_gain"]) > 0 else "no",
                }
    rng = np.random.default_rng(20261126)
    while True:
        yield {
            "amount": float(rng.uniform(0, 20)),
            "count": int(rng.integers(0, 8)),
            "answer": str(rng.choice(["yes", "no"])),
        }


def test_the_story_of_a_model_is_lived_and_can_be_read_back_from_the_log(tmp_path: Path) -> None:
    settings = Settings(models_dir=tmp_path / "models", data_dir=tmp_path / "data")
    tiny.write(settings.models_dir / tiny.NAME)
    keys = make_keys(settings)
    with (
        ServiceProcess(settings) as service,
        httpx.Client(base_url=service.address, timeout=60) as client,
    ):
        people = People(client, keys)
        owner = Owner(settings, client, tiny.NAME, name="olga")
        version = supplied_and_accepted(owner, settings, tmp_path)
        in_shadow(people, owner, version)
        assert owner.move(version, "live").status_code == 200
        decided = decide(people, version)
        reviewed = contest(people, decided)
        stop_and_resume(people)
        policy = change_policy_and_roll_back(people, owner, version, tmp_path)
        assert service.stop() == 0
    report = verify(settings.data_dir / "log")
    assert report.sound, report.faults
    with closing(
        LogReader.open_readonly(settings.data_dir / "log", origin=settings.log_origin)
    ) as log:
        told_by_the_log(log, version, decided, reviewed, policy)


def make_keys(settings: Settings) -> dict[str, str]:
    with closing(KeyStore(settings.data_dir / "access.sqlite3")) as store:
        keys = {"system": store.create(name="system", role=Role.CALLER, clock=utc_now)}
        for name, role in (
            ("ann", Role.CASEWORKER),
            ("bob", Role.CASEWORKER),
            ("rita", Role.REVIEWER),
            ("olga", Role.MODEL_OWNER),
            ("omar", Role.MODEL_OWNER),
            ("ann-r", Role.REVIEWER),
        ):
            actor = name.removesuffix("-r")  # ann has a reviewer's key too, and is still ann
            keys[name] = store.create(
                name=name, role=role, clock=utc_now, kind=Kind.HUMAN, actor=actor
            )
    return keys


def supplied_and_accepted(owner: Owner, settings: Settings, tmp_path: Path) -> Submitted:
    """The supplier signs; the buyer tries it for real and signs the report; the owner hands both in."""
    directory = tmp_path / "supplied"
    honest_bundle(directory, version="2")
    sign_bundle(directory / "bundle", key=supplier_key())
    version = owner.submit(directory)
    owner.bring(version)
    found = accept(
        directory / "bundle",
        policy=directory / "policy.yaml",
        settings=settings,
        clock=utc_now,
    )
    assert found.is_accepted
    report = json.loads(sign_report(found, acceptor_key().read_bytes()))
    accepted = owner.move(version, "accepted", report=report)
    assert accepted.status_code == 200, accepted.text
    return version


def in_shadow(people: People, owner: Owner, version: Submitted) -> None:
    assert owner.move(version, "shadow").status_code == 200
    asked = list(islice(cases(), SHADOWED))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda case: people.done("system", PATH, {"case": case}), asked))
    assert version.bundle not in {answer["model"]["digest"] for answer in answers}
    deadline = monotonic() + SECONDS
    while True:
        found = owner.get("comparison", bundle=version.bundle, policy=version.policy).json()
        if found["left_out"] == 0 or monotonic() > deadline:
            break
        sleep(0.05)
    assert (found["cases"], found["compared"], found["failed"]) == (SHADOWED, SHADOWED, 0)
    assert found["agreement"]["value"] == 1  # the same graph under the same lines


def decide(people: People, version: Submitted) -> dict[str, dict[str, str]]:
    """Two caseworkers decide; return by decision who, what was advised and what was decided."""
    rng = np.random.default_rng(20261126)
    decided: dict[str, dict[str, str]] = {}
    letter = ", ".join(field.label for field in tiny.card().fields)
    for number, case in enumerate(islice(cases(), SHADOWED, SHADOWED + DECIDED)):
        who = ("ann", "bob")[number % 2]
        answer = people.done("system", PATH, {"case": case, "subject": f"person-{number}"})
        assert answer["model"]["digest"] == version.bundle
        advised = outcome = answer["recommendation"]["outcome"]
        if rng.random() < OVERRIDES[who]:
            outcome = "no" if advised == "yes" else "yes"
        decision = f"/v1/decisions/{answer['id']}"
        reason = {"code": "facts_support", "text": "Looked at everything."}
        body = {"outcome": outcome, "reason": reason}
        if outcome == "no":
            # At impact level II nobody is denied anything without a letter.
            refused = people.post(who, f"{decision}/caseworker-decision", body)
            assert_problem(refused, slug="notice-needed", status=409)
            people.done(who, f"{decision}/notice", {"outcome": outcome, "text": letter})
        step = people.done(who, f"{decision}/caseworker-decision", body)
        assert step["content"]["agrees"] is (advised == outcome)
        decided[answer["id"]] = {"by": who, "advised": advised, "outcome": outcome}
    return decided


def contest(people: People, decided: dict[str, dict[str, str]]) -> str:
    identifier = next(
        i for i, each in decided.items() if each["by"] == "ann" and each["outcome"] == "no"
    )
    decision = f"/v1/decisions/{identifier}"
    people.done(
        "system", f"{decision}/contest", {"text": "I had more hours.", "on_behalf_of": "person"}
    )
    review = {"outcome": "yes", "reason": {"code": "data_wrong", "text": "The payslip shows it."}}
    assert_problem(
        people.post("ann-r", f"{decision}/review", review), slug="another-person-needed", status=409
    )
    assert people.done("rita", f"{decision}/review", review)["content"]["changed"] is True
    return identifier


def stop_and_resume(people: People) -> None:
    case = {"case": tiny.CASE}
    stops = people.done("olga", "/v1/stop", {"model": tiny.NAME, "reason": "Odd figures."})["stops"]
    assert_problem(people.post("system", PATH, case), slug="advice-stopped", status=503)
    resume = f"/v1/stops/{stops[-1]['number']}/resume"
    people.done("olga", resume, {"reason": "Looked into it."})
    again = people.post("olga", resume, {"reason": "Once more."})
    assert_problem(again, slug="another-person-needed", status=409)
    people.done("omar", resume, {"reason": "So did I."})
    people.done("system", PATH, case)


def change_policy_and_roll_back(
    people: People, owner: Owner, version: Submitted, tmp_path: Path
) -> str:
    policy = owner.submit_policy(tmp_path, {**tiny.policy(), "version": "2"})
    assert owner.post("policy", {"policy": policy, "reason": "New guidance."}).status_code == 200
    answer = people.done("system", PATH, {"case": tiny.CASE})
    assert (answer["policy"]["digest"], answer["model"]["digest"]) == (policy, version.bundle)
    assert owner.post("rollback", {"reason": "It was not in force."}).status_code == 200
    answer = people.done("system", PATH, {"case": tiny.CASE})
    assert answer["policy"]["digest"] == version.policy
    return policy


def told_by_the_log(
    log: LogReader,
    version: Submitted,
    decided: dict[str, dict[str, str]],
    reviewed: str,
    policy: str,
) -> None:
    leaves = [parse_leaf(row.leaf) for row in log.entries(0, log.size)]
    types = Counter(leaf.type for leaf in leaves)
    assert types[RECOMMENDATION] == SHADOWED + DECIDED + 3
    assert types[SHADOW] == SHADOWED
    _registry(log, version, policy)
    _stops(log)
    # What each caseworker decided, beside what each was advised, under which version.
    departures: Counter[str] = Counter()
    for identifier, said in decided.items():
        stored = log.read(identifier)
        content = parse_recommendation(stored.payload or b"")
        assert (content.model_digest, content.policy_digest) == (version.bundle, version.policy)
        advised = json.loads(content.answer)["recommendation"]["outcome"]
        events = read_events(log, identifier).known
        (decision,) = [each for each in events if each.type == "caseworker_decision"]
        assert (decision.actor, decision.is_human) == (said["by"], True)
        assert (advised, decision.content["outcome"]) == (said["advised"], said["outcome"])
        departures[decision.actor] += advised != decision.content["outcome"]
    assert departures["bob"] > 5 * max(1, departures["ann"])
    steps = [(each.type, each.actor) for each in read_events(log, reviewed).known]
    assert [kind for kind, _ in steps] == ["notice", "caseworker_decision", "contest", "review"]
    assert (steps[1][1], steps[3][1]) == ("ann", "rita")


def _registry(log: LogReader, version: Submitted, policy: str) -> None:
    state = RegistryState()
    for number in range(1, 8):
        state = state.after(log.read(f"registry.{number}"))
    told = changes(log, state, tiny.NAME)
    assert [(each.type, each.stage, each.actor) for each in told] == [
        ("model_registered", "live", "operator"),
        ("model_registered", "submitted", "olga"),
        ("stage_changed", "accepted", "olga"),
        ("stage_changed", "shadow", "olga"),
        ("stage_changed", "live", "olga"),
        ("policy_changed", "live", "olga"),
        ("stage_changed", "live", "olga"),
    ]
    assert told[2].accepted_by == "test-buyer"
    assert (told[5].id.policy, told[5].reason) == (policy, "New guidance.")
    assert told[6].rollback
    active = state.model(tiny.NAME).active
    assert active is not None
    assert (active.bundle, active.policy) == (version.bundle, version.policy)
    # The report that let it be accepted, and the policy, are in the log whole.
    accepted = json.loads(log.read("registry.3").payload or b"")
    assert accepted["acceptance"]["report"]["payloadType"].endswith("acceptance+json")
    assert json.loads(log.read("registry.6").payload or b"")["policy"]["version"] == "2"


def _stops(log: LogReader) -> None:
    state, who = StopState(), []
    for number in range(1, 4):
        entry = log.read(f"control.{number}")
        state = state.after(entry)
        who.append((entry.type, json.loads(entry.payload or b"")["actor"]))
    assert who == [("stopped", "olga"), ("resume_asked", "olga"), ("resumed", "omar")]
    assert not state.stops


def test_the_cases_are_enough_and_of_both_kinds() -> None:
    """The story needs advice of both kinds; where the public data set is missing, it says so."""
    asked: Sequence[Row] = list(islice(cases(), SHADOWED + DECIDED))
    kinds = Counter(tiny.probability(case) >= 0.5 for case in asked)
    assert min(kinds.values()) > 50
    if not ADULT.is_file():
        pytest.skip("the census data are not beside the repository: the cases are made up")
