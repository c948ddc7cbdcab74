"""Erasing: gone from every file, accounted for in the log, and all proofs still verify."""

import itertools
import random
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import apsw
import pytest

from audit import merkle, schema
from audit.errors import FollowsErasedError
from audit.log import Log
from audit.reader import LogReader
from audit.records import Erasure, Idempotency
from audit.sqlite import SqliteStore
from audit.store import Connection, SqlRow, SqlValue
from audit.verify import verify
from tests.audit.check_log import check_log, check_open_log
from tests.audit.conftest import ORIGIN, Clock, MakeRecord, OpenLog, on_both_stores
from tests.audit.crash_child import STORE_POINTS, CrashingStore, Fate

NewId = Callable[[], str]


@pytest.fixture
def new_id() -> NewId:
    numbers = itertools.count()
    return lambda: f"erasure-{next(numbers):06d}"


def erase(log: Log, subject: str, new_id: NewId) -> Erasure:
    return log.erase_subject(subject, basis="GDPR Art. 17(1)(a)", actor="dpo-1", new_id=new_id)


class Interrupted:
    """A reader's connection, before whose query for a key another process does something, once."""

    def __init__(self, inner: Connection, other: Callable[[], object]) -> None:
        self._inner, self._other = inner, [other]

    def query(self, statement: str, *parameters: SqlValue) -> Sequence[SqlRow]:
        if "wrapped FROM record_key" in statement and self._other:
            self._other.pop()()
        return self._inner.query(statement, *parameters)

    def close(self) -> None:
        self._inner.close()


@on_both_stores
def test_what_is_erased_while_it_is_read_is_erased_and_not_damaged(
    open_log: OpenLog, record: MakeRecord, new_id: NewId
) -> None:
    log = open_log()
    request = Idempotency("caller", "key", b"body")
    for name in ("a", "b"):
        log.append([replace(record(subject=name), id=name, idempotency=request)])
        request = replace(request, key="other") if name == "a" else request

    def reading(subject: str) -> LogReader:
        reader = LogReader.open_readonly(log.directory, origin=ORIGIN, store=log.store)
        reader._rows._connection = Interrupted(
            reader._rows._connection, lambda: erase(log, subject, new_id)
        )
        return reader

    with closing(reading("a")) as reader:
        found = reader.read("a")
        assert (found.erased, found.payload) == (True, None)
    with closing(reading("b")) as reader:
        match = reader.find_idempotent(request)
        assert match is not None
        assert (match.id, match.same_request) == ("b", None)


@on_both_stores
def test_what_says_more_about_an_erased_entry_is_refused(
    open_log: OpenLog, record: MakeRecord, new_id: NewId
) -> None:
    """Whenever it was drafted: else it would stay, under a key that the erasure knew nothing of."""
    log = open_log()
    (about,) = log.append([record(subject="s")])
    more = replace(record(subject="s"), follows=about.index)
    log.append([replace(more, id="in-time")])
    drafts = log.draft([record(), more])
    erase(log, "s", new_id)
    with pytest.raises(FollowsErasedError, match=f"entry {about.index}") as refused:
        log.append_drafts(drafts)
    assert refused.value.position == 1
    assert log.records_of("s") == []
    check_open_log(log, acknowledged=log.append([record(subject="s")]))


def test_an_erased_subject_cannot_be_read_and_others_can(
    open_log: OpenLog, record: MakeRecord, new_id: NewId
) -> None:
    log = open_log()
    records = [record(b"%d" % number, subject=f"s{number % 3}") for number in range(9)]
    receipts = log.append(records)
    before = log.checkpoint()
    erasure = erase(log, "s1", new_id)
    assert erasure.indexes == (2, 5, 8)
    assert erasure.purged
    for number, made in enumerate(records):
        stored = log.read(made.id)
        assert stored.erased is (number % 3 == 1)
        assert stored.payload == (None if stored.erased else b"%d" % number)
    statement = log.read_index(erasure.receipts[0].index)
    assert statement.type == "erasure"
    assert statement.facts == {"of": [2, 5, 8], "basis": "GDPR Art. 17(1)(a)", "actor": "dpo-1"}
    # The tree signed before is the beginning of the tree after.
    root_before = log.root(10)
    assert merkle.root_of([entry.leaf_hash for entry in log.entries(0, 10)]) == root_before
    merkle.verify_consistency(
        log.consistency_proof(10, log.size),
        first=10,
        second=log.size,
        first_root=root_before,
        second_root=log.root(),
    )
    assert before != log.checkpoint()
    report = check_open_log(log, acknowledged=[*receipts, *erasure.receipts])
    assert report.erased == 3


def test_a_crash_around_an_erasure_leaves_all_of_it_or_nothing(
    directory: Path, tmp_path: Path, record: MakeRecord, new_id: NewId
) -> None:
    """At each named point a copy is made of what the disk holds, as it is if the process ends there."""
    copies: dict[str, Path] = {}

    @dataclass
    class Copying(Fate):
        def meet(self, point: str) -> None:
            copies[point] = Path(shutil.copytree(directory, tmp_path / f"{len(copies)}-{point}"))

    with closing(Log.open(directory, origin=ORIGIN, clock=Clock(), create=True)) as log:
        log.append([record(b"a secret of 25 characters", subject="s"), record(subject="t")])
    store = CrashingStore(SqliteStore(directory), Copying("", 0))
    with closing(Log.open(directory, origin=ORIGIN, clock=Clock(), store=store)) as log:
        copies.clear()
        erase(log, "s", new_id)
        log.checkpoint()
    assert set(copies) == set(STORE_POINTS)
    for point, copy in copies.items():
        check_log(copy)  # before anything mends what is left
        with closing(Log.open(copy, origin=ORIGIN, clock=Clock())) as again:
            assert again.read_index(1).erased is (point != "before-commit")
            assert erase(again, "s", new_id).indexes == ((1,) if point == "before-commit" else ())
            check_open_log(again)


@on_both_stores
def test_a_subject_may_come_back_under_a_new_key(
    open_log: OpenLog, record: MakeRecord, new_id: NewId
) -> None:
    log = open_log()
    log.append([record(subject="s")])
    erase(log, "s", new_id)
    again = record(b"new matter", subject="s")
    log.append([again])
    assert log.read(again.id).payload == b"new matter"
    assert erase(log, "s", new_id).indexes == (3,)
    check_open_log(log)


@on_both_stores
def test_erasing_nobody_writes_nothing(open_log: OpenLog, new_id: NewId) -> None:
    log = open_log()
    assert erase(log, "nobody", new_id) == Erasure((), (), purged=True)
    assert log.size == 1


@on_both_stores
def test_single_records_are_erased_without_their_subject(
    open_log: OpenLog, record: MakeRecord, new_id: NewId
) -> None:
    log = open_log()
    kept, gone = record(b"kept", subject="s"), record(b"gone", subject="s")
    alone, bare = record(b"alone"), record(None)
    log.append([kept, gone, alone, bare])
    arguments = {"basis": "b", "actor": "a", "new_id": new_id}
    erasure = log.erase_records([gone.id, alone.id, bare.id, gone.id], **arguments)  # type: ignore[arg-type]  # as named
    assert erasure.indexes == (2, 3)
    assert log.erase_records([gone.id], **arguments).indexes == ()  # type: ignore[arg-type]
    assert log.read(kept.id).payload == b"kept"
    assert log.read(gone.id).erased
    assert log.read(alone.id).erased
    assert not log.read(bare.id).erased
    later = record(b"later", subject="s")
    log.append([later])
    assert log.read(later.id).payload == b"later"
    check_open_log(log)


@on_both_stores
def test_many_records_take_several_erasure_entries(
    open_log: OpenLog, record: MakeRecord, new_id: NewId
) -> None:
    log = open_log()
    log.append([record(subject="s") for _ in range(100)])
    erasure = erase(log, "s", new_id)
    assert len(erasure.indexes) == 100
    assert [receipt.index for receipt in erasure.receipts] == [101, 102, 103]
    assert check_open_log(log).erased == 100


@on_both_stores
def test_an_erased_request_is_known_but_cannot_be_compared(
    open_log: OpenLog, record: MakeRecord, new_id: NewId
) -> None:
    log = open_log()
    log.append([record(subject="s", key="k", fingerprint=b"f")])
    erase(log, "s", new_id)
    match = log.find_idempotent(Idempotency("caller", "k", b"f"))
    assert match is not None
    assert (match.index, match.same_request) == (1, None)


def test_no_erased_byte_is_left_in_any_file(
    open_log: OpenLog, directory: Path, record: MakeRecord, new_id: NewId
) -> None:
    """Every 12-byte piece of envelopes and wrapped keys is searched for, after every erasure."""
    log = open_log()
    rng = random.Random(4)  # noqa: S311 - order, not secrets
    subjects = [f"subject-{number}" for number in range(24)]
    for _ in range(18):
        log.append(
            [
                record(rng.randbytes(rng.choice([10, 300, 3_000, 20_000])), subject=subject)
                for subject in rng.sample(subjects, 12)
            ]
        )
    rng.shuffle(subjects)
    for subject in subjects:
        secrets = secrets_of(directory)
        erasure = erase(log, subject, new_id)
        assert erasure.purged
        contents = {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}
        for index in erasure.indexes:
            for kind, secret in zip(SECRETS, secrets[index], strict=True):
                for at in range(0, len(secret) - 12, max(12, len(secret) // 20)):
                    piece = secret[at : at + 12]
                    for name, content in contents.items():
                        assert piece not in content, f"{kind} of entry {index}: left in {name}"
        log.append([record(rng.randbytes(200), subject="new")])
    log.close()
    check_log(directory)


SECRETS = ("envelope", "wrapped key", "wrapped subject key", "handle")


def secrets_of(directory: Path) -> dict[int, list[bytes]]:
    """By entry: its envelope, its wrapped key and its subject's."""
    connection = apsw.Connection(str(directory / "log.sqlite3"), flags=apsw.SQLITE_OPEN_READONLY)
    rows = connection.execute(
        "SELECT seq, envelope, k.wrapped, s.wrapped, s.handle FROM payload"
        " JOIN record_key k USING (seq) JOIN subject_key s USING (subject)"
    ).fetchall()
    connection.close()
    return {
        int(str(seq)): [secret for secret in secrets if isinstance(secret, bytes)]
        for seq, *secrets in rows
    }


def test_an_erasure_waits_for_a_reader_of_another_process(
    open_log: OpenLog, directory: Path, record: MakeRecord, new_id: NewId
) -> None:
    log = open_log()
    log.append([record(subject="s")])
    other = apsw.Connection(str(directory / "log.sqlite3"), flags=apsw.SQLITE_OPEN_READONLY)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM payload").fetchall()
    erasure = erase(log, "s", new_id)
    assert not erasure.purged
    assert log.read_index(1).erased
    other.close()
    assert log.purge()


def tamper(directory: Path, *statements: str) -> None:
    connection = apsw.Connection(str(directory / "log.sqlite3"))
    triggers = [name for name, sql in schema.STATEMENTS.items() if "TRIGGER" in sql]
    for name in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    for name in triggers:
        connection.execute(schema.STATEMENTS[name])
    connection.close()


@pytest.mark.parametrize(
    ("statements", "index"),
    [
        (["DELETE FROM payload WHERE seq = 3"], 3),
        (["DELETE FROM record_key WHERE seq = 3"], 3),
        (["INSERT INTO erased VALUES (3, 5, 2)", "DELETE FROM payload WHERE seq = 3"], 3),
        (
            [
                "INSERT INTO erased VALUES (3, 2, 2)",
                "DELETE FROM payload WHERE seq = 3",
                "DELETE FROM record_key WHERE seq = 3",
            ],
            3,
        ),
        (["UPDATE erased SET erasure = 3 WHERE seq = 1"], 1),
        (["DELETE FROM erased WHERE seq = 1"], 1),
        (["UPDATE erased SET subject = 2 WHERE seq = 1"], 1),
        (["UPDATE record_key SET subject = 2 WHERE seq = 1"], 1),
        (["UPDATE payload SET envelope = x'00' WHERE seq = 1"], 1),
        (["UPDATE subject_key SET wrapped = zeroblob(60) WHERE subject = 2"], 2),
    ],
    ids=map(str, itertools.count()),
)
def test_gone_without_an_erasure_is_tampering(
    open_log: OpenLog,
    directory: Path,
    record: MakeRecord,
    new_id: NewId,
    statements: list[str],
    index: int,
) -> None:
    log = open_log()
    log.append([record(subject="gone"), record(subject="kept"), record(subject="kept")])
    erase(log, "gone", new_id)
    log.close()
    assert check_log(directory).erased == 1
    tamper(directory, *statements)
    report = verify(directory)
    assert any(fault.concerns(index) for fault in report.faults)


def test_a_reader_sees_the_erasure(open_log: OpenLog, record: MakeRecord, new_id: NewId) -> None:
    log = open_log()
    log.append([record(subject="s")])
    reader = LogReader.open_readonly(log.directory, origin=ORIGIN)
    assert reader.read_index(1).payload == b"payload"
    erase(log, "s", new_id)
    assert reader.read_index(1).erased
    reader.close()
