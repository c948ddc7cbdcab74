"""Shadows look at every case and nobody sees them; canaries get their share, always of the same cases."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from math import sqrt
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from zipfile import ZipFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import shadows as shadows_module
from app.domain import Role
from app.lineup import Lineup, share_of
from app.records import SHADOW
from app.settings import Settings
from audit.errors import LogUnavailableError
from audit.leaf import parse_leaf
from models.card import Card
from tests.app import tiny
from tests.app.test_lifecycle import ask, second, submitted
from tests.app.versions import Owner, Submitted
from tests.problems import assert_problem
from tests.started import Started, start

SECONDS = 60


@pytest.fixture(scope="module")
def service(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    data = tmp_path_factory.mktemp("shadows") / "data"
    with start(Settings(models_dir=tiny_models, data_dir=data)) as started:
        yield started


@pytest.fixture(scope="module")
def owner(service: Started) -> Owner:
    return Owner(service.settings, service.client, tiny.NAME)


@pytest.fixture(scope="module")
def shadow(owner: Owner, tmp_path_factory: pytest.TempPathFactory) -> Submitted:
    """A version in shadow whose policy advises against more cases."""
    directory = tmp_path_factory.mktemp("shadow") / "second"
    tiny.write(directory, told=second())
    policy = tiny.policy()
    bands = policy["bands"]
    assert isinstance(bands, list)
    bands[1]["at_least"] = 0.9
    version = replace(owner.submit(directory), policy=owner.submit_policy(directory, policy))
    owner.bring(version, "accepted", "shadow")
    return version


def compared(owner: Owner, version: Submitted, *, left_out: int = 0) -> dict[str, Any]:
    """Return the comparison once nothing waits any more."""
    deadline = monotonic() + SECONDS
    while True:
        answer = owner.get("comparison", bundle=version.bundle, policy=version.policy)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        if found["left_out"] == left_out or monotonic() > deadline:
            return found
        sleep(0.02)


CASES = [{"amount": n / 4, "count": n % 10, "answer": "yes" if n % 3 else "no"} for n in range(80)]


def test_a_shadow_looks_at_every_case_and_its_figures_are_those_of_scoring_again(
    service: Started, owner: Owner, shadow: Submitted
) -> None:
    answers = [ask(service, **case) for case in CASES]
    assert {answer["model"]["digest"] for answer in answers} == {
        service.parts.served[tiny.NAME].bundle.digest
    }
    found = compared(owner, shadow)
    assert (found["cases"], found["compared"], found["failed"]) == (len(CASES), len(CASES), 0)
    # The oracle: the same scores (it is the same graph), and the shadow's own line.
    pairs = Counter(
        (
            answer["recommendation"]["outcome"],
            "yes" if answer["recommendation"]["score"] >= 0.9 else "no",
        )
        for answer in answers
    )
    assert {(e["given"], e["shadow"]): e["cases"] for e in found["outcomes"]} == pairs
    assert len(pairs) == 3
    same = sum(n for (given_, made), n in pairs.items() if given_ == made)
    assert found["agreement"]["value"] == pytest.approx(same / len(CASES))
    assert found["more_adverse"] == pairs["yes", "no"]
    assert found["mean_score_difference"] == 0
    assert found["largest_score_difference"] == 0


def in_pack(service: Started, decision: str, role: Role) -> list[str]:
    """Return what evidence says of a decision; its verifier knows every type of entry there is."""
    given = service.client.get(f"/v1/decisions/{decision}/evidence", headers=service.key(role))
    if given.status_code != 200:
        return [given.text]
    with ZipFile(BytesIO(given.content)) as pack:
        return [
            pack.read(name).decode(errors="replace")
            for name in pack.namelist()
            if name != "verify.py"
        ]


def test_what_a_shadow_says_is_shown_to_nobody(
    service: Started, owner: Owner, shadow: Submitted
) -> None:
    answer = ask(service)
    compared(owner, shadow)
    log = service.parts.log
    stored = log.read(f"{answer['id']}.shadow.1")
    assert stored.type == SHADOW
    assert stored.facts["of"] == answer["receipt"]["index"]
    assert stored.payload is not None
    assert json.loads(stored.payload)["shadow"]["outcome"] in {"yes", "no"}
    assert b"yes" not in stored.leaf
    for role in Role:
        for path in (stored.id, f"{answer['id']}/shadow/1"):
            read = service.client.get(f"/v1/decisions/{path}", headers=service.key(role))
            assert read.status_code in (403, 404, 422)
        told = [
            service.client.get(address, headers=service.key(role)).text
            for address in (
                f"/v1/decisions/{answer['id']}",
                f"/v1/decisions/{answer['id']}/history",
                f"/decisions/{answer['id']}",
            )
        ]
        told += in_pack(service, answer["id"], role)
        assert not any(shadow.policy in text or "shadow" in text for text in told)
        if role not in (Role.MODEL_OWNER, Role.AUDITOR, Role.ADMIN):
            figures = service.client.get(
                f"/v1/models/{tiny.NAME}/comparison",
                params={"bundle": shadow.bundle, "policy": shadow.policy},
                headers=service.key(role),
            )
            assert_problem(figures, slug="forbidden", status=403)


def test_a_shadows_record_is_erased_with_the_decision(
    service: Started, owner: Owner, shadow: Submitted
) -> None:
    answer = ask(service)
    compared(owner, shadow)
    erased = service.client.post(
        f"/v1/decisions/{answer['id']}/erasure",
        json={"basis": "A test."},
        headers=service.key(Role.ADMIN),
    )
    assert erased.status_code in (200, 201), erased.text
    assert service.parts.log.read(f"{answer['id']}.shadow.1").erased


@pytest.mark.usefixtures("shadow")
def test_what_a_shadow_cannot_judge_is_counted(
    service: Started, owner: Owner, tmp_path: Path
) -> None:
    """A version that takes no unknown answer, beside one that does."""
    tiny.write(tmp_path / "strict", told=_strict())
    version = owner.submit(tmp_path / "strict")
    owner.bring(version, "accepted", "shadow")
    for answer in ("yes", "perhaps", "no"):
        ask(service, answer=answer)
    found = compared(owner, version)
    assert (found["cases"], found["compared"], found["failed"]) == (3, 2, 1)
    # Fewer than ten: nothing is said of them.
    assert found["agreement"] is None
    assert found["outcomes"] == []
    assert found["more_adverse"] is None
    assert owner.move(version, "retired").status_code == 200


def _strict() -> Card:
    card = tiny.card(takes_unknown=False)
    return card.model_copy(update={"version": "3"})


@pytest.mark.usefixtures("shadow")
def test_a_fourth_shadow_is_refused(owner: Owner, tmp_path: Path) -> None:
    made = []
    for number in range(2, 5):
        card = second(version=f"{number}0")
        made.append(submitted(owner, tmp_path / str(number), card))
        owner.bring(made[-1], "accepted")
    assert owner.move(made[0], "shadow").status_code == 200
    assert owner.move(made[1], "shadow").status_code == 200
    assert_problem(owner.move(made[2], "shadow"), slug="stage-not-allowed", status=409)
    for version in made:
        assert owner.move(version, "retired").status_code == 200


def test_a_canary_gets_its_share_and_the_same_case_always_the_same_arm(
    service: Started, owner: Owner, tmp_path: Path
) -> None:
    version = submitted(owner, tmp_path / "canary", second(version="4"))
    owner.bring(version, "accepted", "shadow")
    active = service.parts.served[tiny.NAME].bundle.digest
    assert owner.move(version, "live", percent=30).status_code == 200
    assert owner.shown(version)["percent"] == 30
    public = service.client.get(f"/transparency/{tiny.NAME}").text
    assert "It advises on about 30 of 100 cases, and this page is not about it: version 4" in public
    cases = [{"amount": number / 100} for number in range(300)]
    answers = [ask(service, **case) for case in cases]
    arms = Counter(answer["model"]["arm"] for answer in answers)
    expected, spread = 300 * 0.3, sqrt(300 * 0.3 * 0.7)
    assert abs(arms["canary"] - expected) < 4.5 * spread
    for answer in answers:
        arm = answer["model"]["arm"]
        assert answer["model"]["digest"] == (version.bundle if arm == "canary" else active)
    again = [ask(service, **case) for case in cases[:40]]
    assert [each["model"]["arm"] for each in again] == [
        each["model"]["arm"] for each in answers[:40]
    ]
    # The record says it, a replay too.
    canary = next(each for each in answers if each["model"]["arm"] == "canary")
    stored = json.loads(service.parts.log.read(canary["id"]).payload or b"")
    assert stored["answer"]["model"]["arm"] == "canary"
    # A second canary has to wait; a rollback ends this one at once.
    other = submitted(owner, tmp_path / "other", second(version="5"))
    owner.bring(other, "accepted", "shadow")
    assert_problem(owner.move(other, "live", percent=5), slug="stage-not-allowed", status=409)
    assert owner.post("rollback", {"reason": "Too many."}).status_code == 200
    assert owner.shown(version)["stage"] == "shadow"
    assert {ask(service, **case)["model"]["arm"] for case in cases[:40]} == {"live"}
    assert "on trial" not in service.client.get(f"/transparency/{tiny.NAME}").text
    for each in (version, other):
        assert owner.move(each, "retired").status_code == 200


@given(
    case=st.dictionaries(st.text(max_size=5), st.none() | st.integers(0, 9) | st.text(max_size=5)),
    salt=st.text(max_size=5),
)
def test_a_cases_place_is_the_same_in_any_order_of_its_fields(
    case: dict[str, object], salt: str
) -> None:
    place = share_of(case, salt)
    assert 0 <= place < 1
    assert share_of(dict(reversed(case.items())), salt) == place


def test_places_are_even_and_another_canary_meets_others() -> None:
    one = [share_of({"n": n}, "one") < 0.1 for n in range(20_000)]
    two = [share_of({"n": n}, "two") < 0.1 for n in range(20_000)]
    for drawn in (one, two):
        assert abs(sum(drawn) - 2000) < 4.5 * sqrt(20_000 * 0.1 * 0.9)
    both = sum(a and b for a, b in zip(one, two, strict=True))
    assert abs(both - 200) < 4.5 * sqrt(20_000 * 0.01 * 0.99)


def test_a_lineup_without_a_canary_hashes_nothing(service: Started) -> None:
    lineup = Lineup(service.parts.served[tiny.NAME])
    assert lineup.choose(object()) is lineup.live  # what could not be hashed is not


def test_leaves_of_shadows_have_one_length_whatever_they_say(
    service: Started, owner: Owner, shadow: Submitted
) -> None:
    for case in CASES[:10]:
        ask(service, **case)
    compared(owner, shadow)
    log = service.parts.log
    lengths = {
        leaf.payload.length
        for row in log.entries(0, log.size)
        if (leaf := parse_leaf(row.leaf)).type == SHADOW and leaf.payload is not None
    }
    assert len(lengths) == 1


def test_where_too_many_wait_a_case_is_left_out_and_counted(
    service: Started, owner: Owner, shadow: Submitted
) -> None:
    parts = service.parts
    before = compared(owner, shadow)
    idle = shadows_module.Shadows(parts.log, parts.engine, parts.metrics, clock=parts.clock)
    idle._queue.maxsize = 2
    with service.replaced(shadows=idle):
        answers = [ask(service) for _ in range(5)]
    assert len(answers) == 5
    counted = parts.metrics.registry.get_sample_value(
        "grounds_shadow_cases_total", {"model": tiny.NAME, "result": "left_out"}
    )
    assert counted == 3
    after = compared(owner, shadow, left_out=5)
    assert after["cases"] == before["cases"] + 5
    assert after["left_out"] == before["left_out"] + 5


class Gone:
    """A log whose database does not answer."""

    def erasure_of(self, index: int) -> None:
        raise LogUnavailableError(f"asked for {index}")


def test_a_database_that_is_gone_for_a_while_costs_the_cases_meanwhile_and_no_later_ones(
    tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start(Settings(models_dir=tiny_models, data_dir=tmp_path / "data")) as service:
        owner = Owner(service.settings, service.client, tiny.NAME)
        tiny.write(tmp_path / "second", told=second())
        version = owner.submit(tmp_path / "second")
        owner.bring(version, "accepted", "shadow")
        counted = service.parts.metrics.shadows
        with monkeypatch.context() as gone:
            gone.setattr(service.parts.shadows, "_log", Gone())
            ask(service)
            deadline = monotonic() + SECONDS
            while not counted.labels(tiny.NAME, "left_out")._value.get():
                assert monotonic() < deadline
                sleep(0.02)
        ask(service)
        found = compared(owner, version, left_out=1)
        assert (found["cases"], found["left_out"]) == (2, 1)
        deadline = monotonic() + SECONDS
        while not counted.labels(tiny.NAME, "compared")._value.get():
            assert monotonic() < deadline
            sleep(0.02)
