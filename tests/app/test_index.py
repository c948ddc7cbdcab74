"""The index of decisions says what the log says, keeps nothing that it must not, and stays flat."""

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from app.domain import Caller, Role
from app.errors import ErasedDecisionError
from app.index.follower import Follower
from app.index.query import COLUMNS, Row
from app.index.store import IndexNotReadyError, IndexStore, Position
from app.reveal import open_case
from tests.app import tiny
from tests.app.governed import REASON, Governed, governed

PEOPLE = ("ann", "bob", "cy")
STEPS = (
    "take", "release", "own-assessment", "caseworker-decision", "contest", "review", "correction",
    "erasure", "read",
)  # fmt: skip


@pytest.fixture(scope="module", params=["concurrent", "after_own_assessment"])
def lived(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Governed]:
    """A service in which much has happened to some cases, in an order of chance."""
    rng = random.Random(7)  # noqa: S311
    with governed(tmp_path_factory.mktemp("lived"), reveal=request.param) as service:
        cases = [service.ask().json()["id"] for _ in range(12)]
        for _ in range(260):
            decision, person = rng.choice(cases), rng.choice(PEOPLE)
            made = _happen(
                service, rng.choices(STEPS, [4, 2, 4, 4, 4, 5, 1, 0.3, 3])[0], decision, person, rng
            )
            cases += made
        # One that nothing happens to, and one that somebody looks at, assesses and decides.
        service.ask()
        seen = service.ask().json()["id"]
        service.assess(seen, "ann")
        service.get(f"/v1/decisions/{seen}", service.person("ann"))
        assert service.decide(seen, "ann").status_code == 201
        service.started.parts.index.catch_up()
        yield service


def _happen(
    service: Governed, step: str, decision: str, person: str, rng: random.Random
) -> list[str]:
    """Try one step; many are refused, which changes nothing. Return new cases."""
    outcome = rng.choice(("yes", "no"))
    path, key = f"/v1/decisions/{decision}", service.person(person)
    if step == "read":
        service.get(f"/decisions/{decision}", key)
    elif step == "own-assessment":
        service.assess(decision, person, outcome)
    elif step == "caseworker-decision":
        service.decide(decision, person, outcome)
    elif step == "contest":
        service.step(decision, step, key, text="It is wrong.", on_behalf_of="person")
    elif step == "review":
        service.step(
            decision, step, service.person(person, Role.REVIEWER), outcome=outcome, reason=REASON
        )
    elif step == "erasure":
        service.post(f"{path}/erasure", {"basis": "a test"}, service.person("root", Role.ADMIN))
    elif step == "correction":
        corrected = service.step(
            decision, step, key, fields={"count": rng.randrange(9)}, reason="R"
        )
        if corrected.status_code == 201:
            return [corrected.json()["decision"]]
    else:
        service.step(decision, step, key)
    return []


def rows_of(store: IndexStore) -> list[Row]:
    with store.reading() as query:
        return [
            Row(*each)  # type: ignore[arg-type]
            for each in query(f"SELECT {', '.join(COLUMNS)} FROM decision ORDER BY seq")  # noqa: S608
        ]


def test_a_row_says_what_the_case_file_says(lived: Governed) -> None:
    log = lived.started.parts.log
    reader = Caller("auditor", Role.AUDITOR)
    rows = rows_of(lived.started.parts.index.store)
    assert len(rows) == lived.started.recommendations()
    for row in rows:
        try:
            case = open_case(log, row.id, reader=reader)
        except ErasedDecisionError:
            assert row == Row(
                row.seq, row.id, row.created, tiny.NAME, "1", None, None, None, "erased",
                *(None,) * 10,
            )  # fmt: skip
            continue
        final = case.final
        assert row.status == case.status
        assert row.holder == case.holder
        assert row.outcome == case.outcome
        assert row.corrects == case.corrects
        assert row.corrected_as == case.corrected_as
        assert row.decided == (None if final is None else final.at)
        assert row.departed == (None if final is None else int(not final.content["agrees"]))
        assert row.due == (None if case.contest is None else case.contest.content["due"])
        assert row.caller == case.decision.content.caller
        shown = case.terms.reveal == "concurrent" or final is not None
        assert row.advised == (case.advised_outcome if shown else None)
    statuses = {row.status for row in rows}
    assert statuses >= {"open", "final", "contested", "reviewed", "corrected", "erased"}
    assert any(row.dwell_ms is not None for row in rows)


def test_an_index_made_anew_is_the_same(lived: Governed, tmp_path: Path) -> None:
    """Also when the process dies after any batch: another follower goes on from the file."""
    parts = lived.started.parts
    with closing(IndexStore(tmp_path / "index")) as store:
        with pytest.raises(IndexNotReadyError), store.reading():
            pass
        while Follower(parts.log, store).step():
            pass
        assert rows_of(store) == rows_of(parts.index.store)


def test_two_that_keep_one_file_take_in_each_entry_once(lived: Governed, tmp_path: Path) -> None:
    parts = lived.started.parts
    with (
        closing(IndexStore(tmp_path / "index")) as one,
        closing(IndexStore(tmp_path / "index")) as two,
    ):
        first, second = Follower(parts.log, one), Follower(parts.log, two)
        first.step()
        second.step()  # of the same batch: refused, and the position read again
        second.step()
        first.rebuild()
        second.catch_up()
        first.catch_up()
        assert rows_of(one) == rows_of(parts.index.store)


def test_an_index_of_another_log_is_made_anew(lived: Governed, tmp_path: Path) -> None:
    parts = lived.started.parts
    with closing(IndexStore(tmp_path / "index")) as store:
        store.write((), old=store.position(), new=Position(2, bytes(32), complete=True))
        follower = Follower(parts.log, store)
        assert store.position() == Position(0, None, complete=False)
        follower.catch_up()
        assert rows_of(store) == rows_of(parts.index.store)


@pytest.mark.parametrize("content", [b"not a database" * 100, b""])
def test_a_file_that_is_no_index_is_replaced(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "index"
    path.write_bytes(content)
    with closing(IndexStore(path)) as store:
        assert store.position() == Position(0, None, complete=False)
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_of_an_earlier_version_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "index"
    with closing(IndexStore(path)) as store:
        store.write((), old=store.position(), new=Position(5, bytes(32), complete=True))
    with closing(IndexStore(path)) as store:
        assert store.position().next == 5  # the near miss: the same version goes on
    with closing(apsw.Connection(str(path))) as connection:
        connection.pragma("user_version", 0)
    with closing(IndexStore(path)) as store:
        assert store.position().next == 0
