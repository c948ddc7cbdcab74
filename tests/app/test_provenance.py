"""Where a decision came from, as PROV-JSON: whole, readable elsewhere, and nothing that anybody said."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import prov.model
import pytest

from app.domain import Role
from app.index.follower import Follower
from app.index.store import IndexStore
from audit.leaf import parse_leaf
from tests.app import tiny
from tests.app.governed import Governed, governed
from tests.app.test_case_erasure import MARK, live_through
from tests.app.test_cli import here
from tests.app.test_notices import LETTER
from tests.problems import assert_problem

STORY = [
    "inference", "taken", "released", "own_assessment", "notice", "caseworker_decision", "contest",
    "representation", "review", "outcome", "replay",
]  # fmt: skip


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Governed]:
    directory = tmp_path_factory.mktemp("provenance")
    with governed(directory, notice={"letters": {"en": LETTER}}) as service:
        yield service


def asked(service: Governed, decision: str, role: Role = Role.AUDITOR) -> dict[str, Any]:
    answer = service.get(f"/v1/decisions/{decision}/prov", service.person("reader", role))
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def from_the_log(service: Governed, decision: str) -> dict[str, Any]:
    command = here("publish", "prov", decision, "--data-dir", service.started.settings.data_dir)
    assert command.returncode == 0, command.stderr
    told: dict[str, Any] = json.loads(command.stdout)
    return told


def test_the_whole_story_is_told_and_the_prov_library_reads_it(lived: Governed) -> None:
    decision = live_through(lived)
    told = asked(lived, decision)
    document = prov.model.ProvDocument.deserialize(content=json.dumps(told), format="json")
    again = prov.model.ProvDocument.deserialize(
        content=document.serialize(format="json"), format="json"
    )
    assert again == document
    assert [each["prov:type"] for each in told["activity"].values()] == STORY
    informed = [r for r in document.get_records() if isinstance(r, prov.model.ProvCommunication)]
    assert len(informed) == len(STORY) - 1
    acted = {
        (each["prov:activity"].partition("/")[0], each["prov:agent"])
        for each in told["wasAssociatedWith"].values()
    }
    ann, bob = f"grounds:actor/{MARK}-ann", f"grounds:actor/{MARK}-bob"
    assert {("grounds:caseworker_decision", ann), ("grounds:review", bob)} <= acted
    person, software = ({"$": f"prov:{kind}", "type": "prov:QUALIFIED_NAME"}
                        for kind in ("Person", "SoftwareAgent"))  # fmt: skip
    assert told["agent"][ann] == {"prov:type": person}
    assert told["agent"]["grounds:software/grounds"] == {"prov:type": software}


def test_every_record_of_it_is_found_in_the_log(lived: Governed) -> None:
    decision = live_through(lived)
    told = asked(lived, decision)
    entries = [each for each in told["entity"].values() if "grounds:index" in each]
    assert len(entries) == len(STORY)
    log = lived.started.parts.log
    for each in entries:
        assert log.read_index(each["grounds:index"]).type == each["prov:type"]
    served = lived.started.parts.served[tiny.NAME]
    assert f"grounds:model/{served.bundle.digest}" in told["entity"]
    assert f"grounds:policy/{served.policy_digest}" in told["entity"]


def test_the_log_alone_tells_the_same(lived: Governed) -> None:
    decision = live_through(lived)
    assert from_the_log(lived, decision) == asked(lived, decision)


def test_nothing_of_the_case_the_advice_or_anybodys_words_is_in_it(lived: Governed) -> None:
    decision = live_through(lived, subject=f"{MARK}-person")
    text = json.dumps(asked(lived, decision))
    names = (f"{MARK}-ann", f"{MARK}-bob")
    for name in names:
        assert name in text
        text = text.replace(name, "")
    for word in (MARK, "12.5", "amount", '"yes"', '"no"', "Yes ", 'outcome":', "score", "reason"):
        assert word not in text, word


def test_it_is_kept_back_with_the_advice(tmp_path: Path) -> None:
    with governed(tmp_path, reveal="after_own_assessment") as after:
        decision = after.ask().json()["id"]
        path = f"/v1/decisions/{decision}/prov"
        for who in (after.machine, after.person("reader", Role.AUDITOR), after.person("ann")):
            assert_problem(after.get(path, who), slug="advice-withheld", status=409)
        assert after.assess(decision, "ann").status_code == 201
        assert after.get(path, after.person("ann")).status_code == 200
        assert_problem(after.get(path, after.person("bob")), slug="advice-withheld", status=409)


def test_reading_it_is_on_record(lived: Governed) -> None:
    decision = live_through(lived)
    asked(lived, decision)
    log = lived.started.parts.log
    (newest,) = log.entries(log.size - 1, log.size)
    leaf = parse_leaf(newest.leaf)
    assert leaf.type == "read"
    assert (leaf.facts["what"], leaf.facts["reader"]) == ("provenance", "reader")


def test_of_an_erased_decision_the_log_still_tells_that_it_was_and_who_erased_it(
    lived: Governed,
) -> None:
    decision = live_through(lived)
    admin = lived.person("admin", Role.ADMIN)
    erased = lived.step(decision, "erasure", admin, basis="A test.")
    assert erased.status_code == 200, erased.text
    refused = lived.get(f"/v1/decisions/{decision}/prov", admin)
    assert_problem(refused, slug="erased", status=410)
    told = from_the_log(lived, decision)
    prov.model.ProvDocument.deserialize(content=json.dumps(told), format="json")
    gone = {each["prov:entity"] for each in told["wasInvalidatedBy"].values()}
    assert gone == {name for name, each in told["entity"].items() if "grounds:index" in each}
    assert set(told["agent"]) == {"grounds:software/grounds", "grounds:actor/admin"}
    assert MARK not in json.dumps(told)


def test_what_the_index_does_not_know_yet_is_not_left_out(lived: Governed, tmp_path: Path) -> None:
    decision = live_through(lived)
    with closing(IndexStore(tmp_path / "index.sqlite3")) as store:
        asleep = Follower(lived.started.parts.log, store)
        with lived.started.replaced(index=asleep):
            refused = lived.get(
                f"/v1/decisions/{decision}/prov", lived.person("reader", Role.AUDITOR)
            )
    assert_problem(refused, slug="index-not-ready", status=503)


def test_a_decision_that_never_was_is_refused(lived: Governed) -> None:
    nowhere = "00000000-0000-7000-8000-000000000000"
    data = lived.started.settings.data_dir
    command = here("publish", "prov", nowhere, "--data-dir", data)
    assert (command.returncode, command.stdout) == (2, "")
    assert "no such decision" in command.stderr
