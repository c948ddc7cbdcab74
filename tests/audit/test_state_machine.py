"""Whatever is done to a log in whatever order, and wherever it crashes, what it promised holds.

Hypothesis chooses the steps; the log is the production one, on both stores. A crash takes the files
as they are at that moment (SQLite), or cuts the connections (PostgreSQL); a doubtful commit is one
whose flush fails (SQLite), or that is cut off just before or just after it is done (PostgreSQL).
"""

import itertools
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import apsw
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from audit import merkle
from audit.checkpoint import unverified_checkpoint
from audit.errors import (
    DuplicateIdempotencyError,
    DuplicateIdError,
    LogStateError,
    LogUnavailableError,
    RecordRejectedError,
    UnderHoldError,
)
from audit.leaf import Facts
from audit.log import Log
from audit.postgres import PostgresStore
from audit.publish import prune, publish
from audit.records import Idempotency, NewRecord, Receipt
from audit.sqlite import SqliteStore
from tests.audit.check_log import check_log, check_open_log
from tests.audit.conftest import ORIGIN, Clock
from tests.audit.cutting_proxy import CuttingProxy
from tests.audit.faulty_vfs import NAME, FaultyDisk
from tests.postgres import Server

LONG = bool(os.environ.get("GROUNDS_LONG"))
SUBJECTS = st.sampled_from(["ann", "ben", None])
GROUPS = st.lists(st.tuples(SUBJECTS, st.booleans(), st.integers(0, 3_000)), min_size=1, max_size=9)
"""Of each record its subject, whether it has a request's key, and its payload's length."""


@dataclass
class Kept:
    """What was acknowledged of one record."""

    record: NewRecord
    receipt: Receipt
    erased: bool = False


class LogMachine(RuleBasedStateMachine):
    """The steps, and what must hold after each. A store adds how it opens, crashes and fails."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="grounds-machine-"))
        self.directory = self.place / "log0"
        self.numbers = itertools.count(1)
        self.kept: dict[str, Kept] = {}
        self.notes: list[bytes] = []
        self.log: Log

    def open(self) -> Log:
        """Open the log as it is."""
        raise NotImplementedError

    def crash(self) -> None:
        """End without a word whatever process had the log open."""
        raise NotImplementedError

    def fail(self, records: list[NewRecord], *, after: bool) -> list[Receipt] | None:
        """Append with a commit whose outcome is in doubt; return what was acknowledged, if so."""
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.log = self.open()
        self.append([("ann", True, 500), ("ben", False, 20), (None, False, 0), ("ann", False, 9)])

    @rule(group=GROUPS)
    def append(self, group: list[tuple[str | None, bool, int]]) -> None:
        records = [self.record(*each) for each in group]
        self.acknowledge(records, self.log.append(records))

    @rule(count=st.integers(200, 600))
    def append_past_a_tile(self, count: int) -> None:
        records = [self.record(None, False, 0) for _ in range(count)]
        self.acknowledge(records, self.log.append(records))

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """An id or a request's key is used once; nothing of the group is appended."""
        known = self.kept[data.draw(st.sampled_from(sorted(self.kept)))].record
        size = self.log.size
        again = NewRecord("event", known.id, {})
        with pytest.raises(DuplicateIdError):
            self.log.append([self.record("ann", False, 9), again])
        if known.idempotency is not None:
            with pytest.raises(DuplicateIdempotencyError):
                self.log.append(
                    [NewRecord("event", self.new_id(), {}, b"", None, known.idempotency)]
                )
        assert self.log.size == size

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        """A replay is an entry that names the one replayed."""
        of = self.kept[data.draw(st.sampled_from(sorted(self.kept)))].receipt
        facts: Facts = {
            "of": {"index": of.index, "leaf": of.leaf_hash.hex()},
            "verdict": "identical",
        }
        records = [self.record("ann", False, 40, record_type="replay", facts=facts)]
        self.acknowledge(records, self.log.append(records))

    @rule()
    def reject(self) -> None:
        size = self.log.size
        with pytest.raises(RecordRejectedError):
            self.log.append([self.record("ben", True, 5), NewRecord("genesis", "x", {})])
        assert self.log.size == size

    @rule()
    def checkpoint(self) -> None:
        self.notes.append(self.log.checkpoint())

    @rule(subject=st.sampled_from(["ann", "ben"]), held=st.sampled_from([False, False, True]))
    def erase_subject(self, subject: str, held: bool) -> None:
        theirs = [
            kept
            for kept in self.kept.values()
            if kept.record.subject == subject and not kept.erased
        ]

        def check(indexes: Sequence[int]) -> None:
            assert indexes == [kept.receipt.index for kept in theirs]
            if held:
                raise UnderHoldError(holds=["case-7"])

        arguments = {"basis": "law", "actor": "dpo", "new_id": self.new_id, "check": check}
        if held:
            with pytest.raises(UnderHoldError):
                self.log.erase_subject(subject, **arguments)  # type: ignore[arg-type]  # as named
            return
        erasure = self.log.erase_subject(subject, **arguments)  # type: ignore[arg-type]
        assert erasure.indexes == tuple(sorted(kept.receipt.index for kept in theirs))
        for kept in theirs:
            kept.erased = True
        self.append([(subject, False, 7)])  # who comes back is met under a new key

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def erase_record(self, data: st.DataObject) -> None:
        kept = self.kept[data.draw(st.sampled_from(sorted(self.kept)))]
        self.log.erase_records([kept.record.id], basis="law", actor="dpo", new_id=self.new_id)
        kept.erased = kept.record.payload is not None

    @rule()
    def rotate(self) -> None:
        self.log.rotate_key()
        self.notes.append(self.log.checkpoint())

    @rule()
    def retire(self) -> None:
        self.log.retire_key()

    @precondition(lambda self: self.notes)
    @rule(pruned=st.booleans())
    def publish(self, pruned: bool) -> None:
        target = self.place / "public"
        publish(self.log, target)
        if pruned:
            prune(target)
            assert not [path for path in target.rglob("*.p") if path.with_suffix("").is_file()], (
                "a partial tile beside its full one"
            )

    @rule()
    def restart(self) -> None:
        self.log.close()
        self.log = self.open()

    @rule()
    def lose_power(self) -> None:
        self.crash()
        self.log = self.open()

    @rule(group=GROUPS, after=st.booleans())
    def commit_in_doubt(self, group: list[tuple[str | None, bool, int]], after: bool) -> None:
        """All of the group or nothing of it is there, and nothing that was acknowledged is not."""
        records = [self.record(*each) for each in group]
        receipts = self.fail(records, after=after)
        if receipts is None:
            self.crash()
            self.log = self.open()
            found = [self.log.entries(0, self.log.size)[-len(records) :]]
            if [row.id for row in found[0]] == [record.id for record in records]:
                receipts = [self.log.receipt(record.id) for record in records]
        if receipts is not None:
            self.acknowledge(records, receipts)

    @invariant()
    def holds(self) -> None:
        """Contiguous; acknowledged is stored; erased is unreadable; signed is a beginning of it."""
        entries = self.log.entries(0, self.log.size + 1)
        assert [row.seq for row in entries] == list(range(self.log.size))
        hashes = [row.leaf_hash for row in entries]
        assert merkle.root_of(hashes) == self.log.root()
        for kept in self.kept.values():
            assert hashes[kept.receipt.index] == kept.receipt.leaf_hash
        for kept in list(self.kept.values())[-12:]:
            stored = self.log.read(kept.record.id)
            assert stored.erased is kept.erased
            assert stored.payload == (None if kept.erased else kept.record.payload)
        checkpoints = [unverified_checkpoint(note, origin=ORIGIN) for note in self.notes]
        for one, other in itertools.pairwise(checkpoints):
            merkle.verify_consistency(
                self.log.consistency_proof(one.size, other.size),
                first=one.size,
                second=other.size,
                first_root=one.root,
                second_root=other.root,
            )
        for checkpoint in checkpoints[-1:]:
            assert merkle.root_of(hashes[: checkpoint.size]) == checkpoint.root

    def teardown(self) -> None:
        if hasattr(self, "log"):
            acknowledged = [kept.receipt for kept in self.kept.values()]
            report = check_open_log(self.log, acknowledged=acknowledged)
            assert report.erased == sum(kept.erased for kept in self.kept.values())
            assert len(self.log.entries(0, self.log.size)) == report.size
            store = self.log.store
            self.log.close()
            check_log(self.directory, store=store)
        shutil.rmtree(self.place)

    def record(
        self,
        subject: str | None,
        has_key: bool,
        length: int,
        *,
        record_type: str = "event",
        facts: Facts | None = None,
    ) -> NewRecord:
        record_id = self.new_id()
        payload = None if length == 0 and subject is None and not has_key else bytes(length)
        request = Idempotency("caller", record_id, b"body") if has_key else None
        return NewRecord(record_type, record_id, facts or {}, payload, subject, request)

    def new_id(self) -> str:
        return f"id-{next(self.numbers):08d}"

    def acknowledge(self, records: list[NewRecord], receipts: list[Receipt]) -> None:
        for record, receipt in zip(records, receipts, strict=True):
            self.kept[record.id] = Kept(record, receipt)


class SqliteMachine(LogMachine):
    disk: ClassVar[FaultyDisk]

    def __init__(self) -> None:
        super().__init__()
        self.copies = itertools.count(1)

    def open(self) -> Log:
        store = SqliteStore(self.directory, vfs=NAME)
        return Log.open(self.directory, origin=ORIGIN, clock=Clock(), create=True, store=store)

    def crash(self) -> None:
        copy = self.place / f"log{next(self.copies)}"
        shutil.copytree(self.directory, copy)
        self.log.close()
        shutil.rmtree(self.directory)
        self.directory = copy

    def fail(self, records: list[NewRecord], *, after: bool) -> list[Receipt] | None:
        self.disk.failing = {"sync" if after else "write": apsw.IOError}
        try:
            with pytest.raises(LogStateError):
                self.log.append(records)
            assert self.log.broken
        finally:
            self.disk.failing = {}
        return None


class PostgresMachine(LogMachine):
    server: ClassVar[Server]

    def __init__(self) -> None:
        super().__init__()
        self.made = self.server.database()
        behind = self.server.directory
        self.proxy = CuttingProxy(behind)
        self.url = self.made.__enter__().url.replace(
            quote(str(behind)), quote(str(self.proxy.directory))
        )

    def open(self) -> Log:
        store = PostgresStore(self.url)
        return Log.open(self.directory, origin=ORIGIN, clock=Clock(), create=True, store=store)

    def crash(self) -> None:
        self.proxy.cut_all()
        self.log.close()

    def fail(self, records: list[NewRecord], *, after: bool) -> list[Receipt] | None:
        self.proxy.cut = "after" if after else "before"
        if after:
            return self.log.append(records)  # looked up, and found
        with pytest.raises(LogUnavailableError):
            self.log.append(records)
        assert self.log.broken is None
        return self.log.append(records)

    def teardown(self) -> None:
        super().teardown()
        self.proxy.close()
        self.made.__exit__(None, None, None)


def steps(examples: int) -> settings:
    return settings(
        max_examples=examples * 25 if LONG else examples,
        stateful_step_count=60 if LONG else 25,
        suppress_health_check=list(HealthCheck),
        derandomize=not LONG,
    )


def test_any_history_of_a_log_in_sqlite_keeps_its_promises() -> None:
    SqliteMachine.disk = FaultyDisk()
    try:
        run_state_machine_as_test(SqliteMachine, settings=steps(40))
    finally:
        SqliteMachine.disk.remove()


def test_any_history_of_a_log_in_postgresql_keeps_its_promises(postgres_server: Server) -> None:
    PostgresMachine.server = postgres_server
    run_state_machine_as_test(PostgresMachine, settings=steps(12))
