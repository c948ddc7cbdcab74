"""Lists over HTTP: who finds what, taking cases on, and corrected cases."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app.domain import Role
from app.engine import Engine
from app.errors import EngineStoppedError
from app.index.follower import Follower
from app.index.store import IndexStore
from app.service import Application
from app.work import Outcome, Work
from tests.app import tiny
from tests.app.governed import Governed, governed
from tests.problems import assert_problem


@pytest.fixture(scope="module")
def concurrent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Governed]:
    with governed(tmp_path_factory.mktemp("concurrent")) as service:
        yield service


def listed(service: Governed, query: str, who: Mapping[str, str]) -> list[str]:
    """Return the ids that a list has, of everything recorded so far."""
    service.started.parts.index.catch_up()
    found = service.get(f"/v1/decisions{query}", who)
    assert found.status_code == 200, found.text
    return [each["id"] for each in found.json()["decisions"]]


def test_advice_that_is_kept_back_is_found_by_no_filter(tmp_path: Path) -> None:
    with governed(tmp_path, reveal="after_own_assessment") as service:
        decision = service.ask().json()["id"]
        service.assess(decision, "ann", "no")
        parts = service.started.parts
        parts.index.catch_up()
        readers = [service.machine] + [
            service.person("reader", role)
            for role in (Role.CASEWORKER, Role.REVIEWER, Role.AUDITOR, Role.ADMIN)
        ]
        for reader in (*readers, service.person("ann")):
            for query in ("advised=yes", "advised=no", "outcome=yes", "departed=true"):
                found = service.get(f"/v1/decisions?{query}", reader)
                assert found.json()["decisions"] == []
            listed = service.get("/v1/decisions", reader).json()["decisions"]
            assert [each["advised"] for each in listed] == [None]
        with parts.index.store.reading() as query_rows:
            assert query_rows("SELECT advised FROM decision") == [(None,)]
        service.decide(decision, "ann", "no")
        parts.index.catch_up()
        for reader in readers:
            found = service.get("/v1/decisions?advised=yes&departed=true", reader)
            assert [each["id"] for each in found.json()["decisions"]] == [decision]


def test_an_erased_decision_leaves_nothing_of_its_content_in_the_files(tmp_path: Path) -> None:
    with governed(tmp_path) as service:
        decision = service.ask(subject="person-77").json()["id"]
        service.step(decision, "take", service.person("worker-81"))
        service.decide(decision, "worker-81")
        index = service.started.parts.index
        index.catch_up()

        def files() -> bytes:
            found = (tmp_path / "data").glob("decision-index*")
            return b"".join(each.read_bytes() for each in found)

        admin = service.person("root", Role.ADMIN)
        found = service.post("/v1/subjects/decisions", {"subject": "person-77"}, admin)
        assert [each["id"] for each in found.json()["decisions"]] == [decision]
        assert b"worker-81" in files()
        service.post("/v1/subjects/erasure", {"subject": "person-77", "basis": "a test"}, admin)
        index.catch_up()
        index.step()
        assert b"worker-81" not in files()
        assert b"person-77" not in files()
        assert service.get("/v1/decisions", service.person("worker-81")).json()["decisions"] == []
        (left,) = service.get("/v1/decisions?status=erased", admin).json()["decisions"]
        assert (left["id"], left["outcome"], left["holder"]) == (decision, None, None)
        found = service.post("/v1/subjects/decisions", {"subject": "person-77"}, admin)
        assert found.json()["decisions"] == []


def test_a_caller_finds_only_its_own(tmp_path: Path) -> None:
    with governed(tmp_path) as service:
        own = service.ask().json()["id"]
        other = service.post(
            f"/v1/models/{tiny.NAME}/decisions", {"case": tiny.CASE}, service.person("ann")
        ).json()["id"]
        service.started.parts.index.catch_up()
        assert listed(service, "", service.machine) == [own]
        assert listed(service, "", service.person("ann")) == [other, own]
        for role in (Role.EQUALITY, Role.MODEL_OWNER):
            assert_problem(
                service.get("/v1/decisions", service.person("x", role)),
                slug="forbidden",
                status=403,
            )


def test_taking_keeps_a_case_for_one_until_it_is_handed_back(tmp_path: Path) -> None:
    with governed(tmp_path) as service:
        decision = service.ask().json()["id"]
        ann, bob = service.person("ann"), service.person("bob")
        assert service.step(decision, "take", ann).status_code == 201
        assert_problem(service.step(decision, "take", bob), slug="case-taken", status=409)
        assert_problem(service.step(decision, "release", bob), slug="case-taken", status=409)
        assert_problem(service.step(decision, "take", ann), slug="step-missing", status=409)
        assert_problem(
            service.step(decision, "take", service.machine), slug="forbidden", status=403
        )
        service.started.parts.index.catch_up()
        mine = service.get("/v1/decisions?mine=true", ann).json()["decisions"]
        assert [each["holder"] for each in mine] == ["ann"]
        assert (
            service.get("/v1/decisions?unassigned=true&status=open", bob).json()["decisions"] == []
        )
        # Somebody who is away is helped out by a reviewer.
        assert (
            service.step(decision, "release", service.person("r", Role.REVIEWER)).status_code == 201
        )
        assert_problem(service.step(decision, "release", ann), slug="step-missing", status=409)
        assert service.step(decision, "take", bob).status_code == 201
        # It is an arrangement, not a right: whoever has the role may decide.
        assert service.decide(decision, "ann").status_code == 201
        assert_problem(service.step(decision, "take", bob), slug="already-decided", status=409)


def test_a_correction_is_a_new_case_and_each_names_the_other(tmp_path: Path) -> None:
    with governed(tmp_path) as service:
        old = service.ask(subject="person-1").json()
        ann = service.person("ann")
        body = {"fields": {"amount": 3.0}, "reason": "Read wrongly."}
        strange = service.step(old["id"], "correction", ann, **{**body, "fields": {"age": 1}})
        assert_problem(strange, slug="invalid-request", status=422)
        wrong = service.step(old["id"], "correction", ann, **{**body, "fields": {"amount": "x"}})
        assert_problem(wrong, slug="invalid-case", status=422)
        assert service.get(f"/v1/decisions/{old['id']}/history", ann).json()["status"] == "open"
        made = service.step(old["id"], "correction", ann, **body)
        assert made.status_code == 201
        new_id = made.json()["decision"]
        new = service.get(f"/v1/decisions/{new_id}", ann).json()
        values = {each["field"]: each["value"] for each in new["explanation"]["contributions"]}
        assert values == {**tiny.CASE, "amount": 3.0}
        # It is the asking system's case, as the old one was.
        assert service.get(f"/v1/decisions/{new_id}", service.machine).json() == new
        histories = [
            service.get(f"/v1/decisions/{each}/history", ann).json() for each in (old["id"], new_id)
        ]
        assert [each["status"] for each in histories] == ["corrected", "open"]
        assert histories[0]["steps"][0]["content"]["decision"] == new_id
        assert histories[1]["steps"][0]["content"]["decision"] == old["id"]
        for refused in (
            service.decide(old["id"], "ann"),
            service.step(old["id"], "correction", ann, **body),
            service.step(old["id"], "take", ann),
        ):
            assert_problem(refused, slug="case-corrected", status=409)
        assert service.decide(new_id, "ann").status_code == 201
        assert_problem(
            service.step(new_id, "correction", ann, **body), slug="already-decided", status=409
        )


class NothingIsAdvised:
    """An engine that records all but recommendations: the service stops between the two."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def submit(self, work: Work) -> asyncio.Future[Outcome]:
        if isinstance(work, Application):
            raise EngineStoppedError
        return self._engine.submit(work)


def test_a_correction_that_was_cut_off_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with governed(tmp_path) as service:
        decision = service.ask().json()["id"]
        ann = service.person("ann")
        body = {"fields": {"count": 1}, "reason": "Read wrongly."}
        with service.started.replaced(engine=NothingIsAdvised(service.started.parts.engine)):
            cut_off = service.step(decision, "correction", ann, **body)
            assert_problem(cut_off, slug="not-ready", status=503)
        other = service.step(decision, "correction", ann, **{**body, "fields": {"count": 2}})
        assert_problem(other, slug="case-corrected", status=409)
        again = service.step(decision, "correction", ann, **body)
        assert again.status_code == 201
        history = service.get(f"/v1/decisions/{decision}/history", ann).json()
        assert [step["type"] for step in history["steps"]] == ["corrected"]
        assert history["steps"][0]["content"]["decision"] == again.json()["decision"]


def test_lists_say_that_they_are_not_ready_and_decisions_go_on(tmp_path: Path) -> None:
    with governed(tmp_path) as service:
        parts = service.started.parts
        with closing(IndexStore(tmp_path / "other")) as empty:
            stuck = Follower(parts.log, empty)
            with service.started.replaced(index=stuck):
                refused = service.get("/v1/decisions", service.machine)
                assert_problem(refused, slug="index-not-ready", status=503)
                assert int(refused.headers["retry-after"]) > 0
                assert service.ask().status_code == 201
        with service.started.replaced(index=stuck):
            assert_problem(
                service.get("/v1/decisions", service.machine), slug="index-unavailable", status=503
            )


@pytest.mark.parametrize(
    "query", ["cursor=abc", "cursor=WyJuZXdlc3QiLG51bGwsLTFd", "limit=0", "limit=201", "order=size",
              "created_from=2026-13-01", "status=lost", "colour=red"],
)  # fmt: skip
def test_a_query_that_makes_no_sense_is_refused(concurrent: Governed, query: str) -> None:
    refused = concurrent.get(f"/v1/decisions?{query}", concurrent.machine)
    assert_problem(refused, slug="invalid-request", status=422)
