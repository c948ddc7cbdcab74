"""Whatever erases a case erases all of it: the advice, every later step, letters, outcomes, replays."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from app.case_entries import FOLLOWING, case_of
from app.domain import Role
from app.engine import Engine
from app.ids import new_id
from app.retention import Period
from app.work import Work
from audit.errors import UnderHoldError
from audit.leaf import parse_leaf
from audit.log import Log
from audit.reader import LogReader
from audit.records import ERASURE, NewRecord
from audit.verify import verify
from tests.app import tiny
from tests.app.governed import Governed, governed
from tests.app.test_cli import here
from tests.app.test_custody import Clock, clock, custody_of, log  # noqa: F401 (fixtures)
from tests.app.test_notices import LETTER
from tests.problems import assert_problem
from tests.started import Started, start

MARK = "Xyzzy"
REASON = {"code": "facts_support", "text": f"{MARK} reason"}


def live_through(service: Governed, **asked: Any) -> str:
    """Let everything happen to a case that can; each step says the mark. Return its identifier."""
    decision: str = service.ask(**asked).json()["id"]
    ann, bob = service.person(f"{MARK}-ann"), service.person(f"{MARK}-bob", Role.REVIEWER)
    letter = service.get(f"/v1/decisions/{decision}/notice", ann).json()["text"]
    for step, who, body in (
        ("take", ann, {}),
        ("release", ann, {}),
        ("own-assessment", ann, {"outcome": "yes", "confidence": "high", "reason": REASON}),
        ("notice", ann, {"outcome": "yes", "text": f"{letter}\n\n{MARK}."}),
        ("caseworker-decision", ann, {"outcome": "yes", "reason": REASON}),
        ("contest", service.machine, {"text": f"{MARK} is wrong."}),
        ("representation", service.machine, {"text": f"{MARK} more."}),
        ("review", bob, {"outcome": "no", "reason": REASON}),
        ("outcome", service.machine, {"outcome": 1}),
        ("replay", service.started.key(Role.AUDITOR), {}),
    ):
        made = service.step(decision, step, who, **body)
        assert made.is_success, (step, made.text)
    return decision


def correct(service: Governed) -> tuple[str, str]:
    """Return a case that was corrected and the one that corrects it."""
    old: str = service.ask().json()["id"]
    ann = service.person(f"{MARK}-ann")
    made = service.step(old, "correction", ann, fields={"count": 3}, reason=f"{MARK} typo")
    assert made.status_code == 201, made.text
    return old, made.json()["decision"]


def contents(reader: LogReader) -> dict[int, str]:
    """Return the content of every entry that has one still, whatever it is about."""
    found = {}
    for index in range(reader.size):
        payload = reader.read_index(index).payload
        if payload is not None:
            found[index] = payload.decode()
    return found


def of_cases(reader: LogReader, *recommendations: int) -> set[int]:
    """Return the entries with content, erased or not, that name one of these, and these."""
    found = set(recommendations)
    for row in reader.entries(0, reader.size):
        leaf = parse_leaf(row.leaf)
        if leaf.payload is not None and leaf.facts.get("of") in recommendations:
            found.add(row.seq)
    return found


def erased_by_entries(reader: LogReader) -> list[list[int]]:
    leaves = [parse_leaf(row.leaf) for row in reader.entries(0, reader.size)]
    return [leaf.facts["of"] for leaf in leaves if leaf.type == ERASURE]  # type: ignore[misc]


def statuses(service: Started) -> dict[object, object]:
    with service.parts.index.store.reading() as query:
        return {row[0]: row[1] for row in query("SELECT id, status FROM decision")}


@pytest.mark.parametrize("subject", [None, f"{MARK}-person"])
def test_nothing_of_a_case_survives_a_retention_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subject: str | None
) -> None:
    asked: dict[str, Any] = {} if subject is None else {"subject": subject}
    with governed(tmp_path, notice={"letters": {"en": LETTER}}) as service:
        settings = service.started.settings
        held = live_through(service)
        service.post(f"/v1/decisions/{held}/hold", {"basis": "b"}, service.person("r", Role.ADMIN))
        gone = [live_through(service, **asked), *correct(service)]
        log_ = service.started.parts.log
        kept, *recommendations = (log_.receipt(each).index for each in (held, *gone))
        mine, theirs = of_cases(log_, kept), of_cases(log_, *recommendations)
        types = {parse_leaf(log_.entries(each, each + 1)[0].leaf).type for each in theirs}
        # Every way in which a case can be followed, but a shadow version, which has its own test,
        # and the advice that is asked for where it is kept back.
        assert FOLLOWING - types == {"shadow", "advice_requested"}
        assert sum(MARK in said for at, said in contents(log_).items() if at in theirs) >= 10
    rules = tmp_path / "retention.yaml"
    period = {"keep_days": 0, "erase_after_days": 0, "basis": "b"}
    rules.write_text(json.dumps({"models": {tiny.NAME: period}}))
    monkeypatch.setenv("GROUNDS_RETENTION_FILE", str(rules))
    done = here("retention", "run", "--data-dir", settings.data_dir)
    told = f"{len(theirs)} records erased, {len(mine)} kept by a hold"
    assert told in done.stdout, done.stderr
    directory = settings.data_dir / "log"
    with closing(LogReader.open_readonly(directory, origin=settings.log_origin)) as reader:
        left = contents(reader)
        assert {at for at, said in left.items() if MARK in said or at in theirs} <= mine
        assert mine <= left.keys()
        named = erased_by_entries(reader)
        assert sorted(chain.from_iterable(named)) == sorted(theirs)
        assert all(len(each) <= 40 for each in named)
    assert verify(directory).sound
    assert (
        f"0 records erased, {len(mine)}"
        in here("retention", "run", "--data-dir", settings.data_dir).stdout
    )
    with start(settings) as again:
        again.parts.index.catch_up()
        status = statuses(again)
        assert status == {held: "reviewed", **dict.fromkeys(gone, "erased")}
        for each in gone:
            shown = again.client.get(
                f"/v1/decisions/{each}/history", headers=again.key(Role.AUDITOR)
            )
            assert shown.status_code == 410
        page = again.client.get(f"/decisions/{held}", headers=again.session(Role.AUDITOR))
        assert page.status_code == 200
        again.parts.index.rebuild()
        again.parts.index.catch_up()
        assert statuses(again) == status


def test_erasing_one_decision_takes_everything_about_it_and_nothing_else(tmp_path: Path) -> None:
    with governed(tmp_path, notice={"letters": {"en": LETTER}}) as service:
        other, decision = live_through(service), live_through(service)
        reader = service.started.parts.log
        root = service.person("root", Role.ADMIN)
        ours = of_cases(reader, reader.receipt(decision).index)
        theirs = of_cases(reader, reader.receipt(other).index)
        done = service.post(f"/v1/decisions/{decision}/erasure", {"basis": "b"}, root)
        assert done.json()["erased"] == sorted(ours)
        assert theirs <= contents(reader).keys()


def test_erasing_a_subject_takes_outcomes_and_replays_too(tmp_path: Path) -> None:
    with governed(tmp_path, notice={"letters": {"en": LETTER}}) as service:
        decision = live_through(service, subject=MARK)
        reader = service.started.parts.log
        done = service.post(
            "/v1/subjects/erasure", {"subject": MARK, "basis": "b"},
            service.person("root", Role.ADMIN),
        )  # fmt: skip
        index = reader.receipt(decision).index
        assert done.json()["erased"] == sorted(of_cases(reader, index))


def advised(log: Log, subject: str | None = None) -> tuple[str, int]:  # noqa: F811
    made = new_id()
    record = NewRecord("recommendation", made, {"model": {"name": "m"}}, b"payload", subject)
    return made, log.append([record])[0].index


def follow(log: Log, of: int, type_: str, subject: str | None = None) -> int:  # noqa: F811
    return log.append([NewRecord(type_, new_id(), {"of": of}, b"payload", subject)])[0].index


def everything(log: Log, of: int) -> Iterator[int]:  # noqa: F811
    yield of
    for type_ in sorted(FOLLOWING) * 4:
        yield follow(log, of, type_)


def test_more_than_one_entry_of_erasure_is_needed_for_much(log: Log, clock: Clock) -> None:  # noqa: F811
    custody = custody_of(log, clock, m=Period(keep_days=1, erase_after_days=2, basis="b"))
    _, index = advised(log)
    mine = list(everything(log, index))
    clock.now = clock.now.replace(day=3)
    # What follows late is as old as its case.
    mine.append(follow(log, index, "review"))
    assert len(mine) > 40
    assert custody.expire(log, actor="a", new_id=new_id).erased == tuple(mine)
    assert [len(each) for each in erased_by_entries(log)] == [40, len(mine) - 40]
    # A step that was recorded while the run went, or that an earlier form of it had left.
    late = follow(log, index, "notice")
    assert custody.expire(log, actor="a", new_id=new_id).erased == (late,)


@pytest.mark.parametrize("on", ["subject", "decision"])
def test_a_hold_on_a_case_is_a_hold_on_all_that_follows(
    log: Log, clock: Clock, on: str  # noqa: F811
) -> None:  # fmt: skip
    custody = custody_of(log, clock, m=Period(keep_days=0, erase_after_days=1, basis="b"))
    decision, index = advised(log, "s")
    log.append(
        [
            custody.hold_record(
                hold_id="h1", basis="b", actor="a",
                **({"subject": "s"} if on == "subject" else {"record_id": decision}),
            )
        ]
    )  # fmt: skip
    held = [index, follow(log, index, "notice", "s"), follow(log, index, "outcome")]
    _, free = advised(log)
    clock.now = clock.now.replace(day=3)
    done = custody.expire(log, actor="a", new_id=new_id)
    assert (done.erased, done.held) == ((free,), len(held))
    for each in held[1:]:
        with pytest.raises(UnderHoldError):
            custody.check_erasable([each])


def test_what_names_another_kind_of_entry_is_of_no_case(log: Log) -> None:  # noqa: F811
    log.append([NewRecord("read", "r", {"of": 1}), NewRecord("notice", "n", {"of": [1]})])
    leaves = [parse_leaf(row.leaf) for row in log.entries(0, log.size)]
    assert [case_of(at, leaf) for at, leaf in enumerate(leaves)] == [None] * 3


class Erasing:
    """The engine, before whose next record somebody else erases something."""

    def __init__(self, engine: Engine, erase: Callable[[], object]) -> None:
        self._engine, self._erase = engine, [erase]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def submit(self, work: Work) -> Any:
        while self._erase:
            self._erase.pop()()
        return self._engine.submit(work)


@pytest.mark.parametrize(
    ("step", "body"),
    [
        ("caseworker-decision", {"outcome": "yes", "reason": REASON}),
        ("outcome", {"outcome": 1}),
        ("replay", {}),
    ],
)
def test_a_step_that_was_checked_before_its_case_was_erased_is_not_recorded(
    tmp_path: Path, step: str, body: dict[str, Any]
) -> None:
    """Else its content stayed, and no page or answer would have told of it."""
    with governed(tmp_path) as service:
        decision = service.ask(subject="person-1").json()["id"]
        parts = service.started.parts

        def erase() -> None:
            parts.custody.erase(
                parts.log, basis="b", actor="a", new_id=new_id, record_ids=[decision]
            )

        who = {
            "caseworker-decision": service.person("ann"),
            "outcome": service.machine,
            "replay": service.started.key(Role.AUDITOR),
        }[step]
        with service.started.replaced(engine=Erasing(parts.engine, erase)):
            refused = service.step(decision, step, who, **body)
        assert_problem(refused, slug="erased", status=410)
        index = parts.log.receipt(decision).index
        assert of_cases(parts.log, index) == {index}
