"""Several processes on one log in PostgreSQL: one history, whatever breaks in between."""

import asyncio
import itertools
import os
import random
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest

from audit import postgres
from audit.checkpoint import unverified_checkpoint
from audit.errors import (
    DuplicateIdempotencyError,
    DuplicateIdError,
    KeyFileError,
    LogFullError,
    LogMissingError,
    LogRolledBackError,
    LogStateError,
    LogUnavailableError,
    OvertakenError,
    SchemaVersionError,
)
from audit.keys import create_keys
from audit.log import Log
from audit.postgres import PostgresStore, _files
from audit.postgres_scan import PostgresSource
from audit.postgres_schema import VERSION, migrate
from audit.postgres_session import Connection
from audit.records import Erasure, Idempotency, NewRecord, Receipt
from audit.verify import verify
from tests.audit.check_log import check_log, check_open_log
from tests.audit.conftest import ORIGIN, Clock
from tests.audit.cutting_proxy import Cut, CuttingProxy
from tests.authority import Authority
from tests.postgres import APPLICATION, Database, Server

ROOT = Path(__file__).parents[2]
RACES = 1_000
KILL_ROUNDS = int(os.environ.get("GROUNDS_KILL_ROUNDS", "8"))

OpenReplica = Callable[..., Log]


@pytest.fixture
def open_replica(database: Database, tmp_path: Path) -> Iterator[OpenReplica]:
    """Open the log as another process would: a directory of its own, keys and checkpoint copied."""
    opened: list[Log] = []
    numbers = itertools.count()

    def open_one(*, url: str | None = None, directory: Path | None = None) -> Log:
        here = directory or tmp_path / f"replica{next(numbers)}"
        if opened and not here.exists():
            shutil.copytree(opened[0].directory, here)
        store = PostgresStore(url or database.url)
        log = Log.open(here, origin=ORIGIN, clock=Clock(), create=True, store=store)
        opened.append(log)
        return log

    yield open_one
    for log in opened:
        log.close()


def event(name: str, subject: str | None = None, key: str | None = None) -> NewRecord:
    request = None if key is None else Idempotency("caller", key, b"body")
    return NewRecord("event", name, {}, b"payload of " + name.encode(), subject, request)


def test_a_thousand_races_of_two_sequencers_make_no_fork(open_replica: OpenReplica) -> None:
    logs = [open_replica(), open_replica()]
    receipts: list[list[Receipt]] = [[], []]
    together = threading.Barrier(2)

    def race(which: int) -> None:
        for number in range(RACES):
            together.wait()
            receipts[which] += logs[which].append([event(f"{which}-{number:05d}")])
            if number % 100 == 50:
                logs[which].checkpoint()

    threads = [threading.Thread(target=race, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    indexes = [receipt.index for each in receipts for receipt in each]
    assert sorted(indexes) == list(range(1, 2 * RACES + 1))
    for log in logs:
        log.append([])
        log.checkpoint()
        assert log.root() == logs[0].root()
    for which in range(2):
        for number, receipt in enumerate(receipts[which]):
            assert logs[1 - which].receipt(f"{which}-{number:05d}") == receipt
    check_log(logs[0].directory, acknowledged=receipts[0], store=logs[0].store)
    check_log(logs[1].directory, acknowledged=receipts[1], store=logs[1].store)


def test_one_replica_signs_for_all_and_another_takes_its_place(open_replica: OpenReplica) -> None:
    first, second = open_replica(), open_replica()
    first.append([event("a")])
    signed = first.checkpoint_in_turn()
    second.append([event("b")])
    assert second.checkpoint_in_turn() == signed  # though the log has grown: next time
    again = second.checkpoint_in_turn()  # for the first has not signed meanwhile
    assert unverified_checkpoint(again, origin=ORIGIN).size == 3
    first.append([event("c")])
    assert first.checkpoint_in_turn() == again == first.stored_checkpoint()
    assert unverified_checkpoint(first.checkpoint(), origin=ORIGIN).size == 4
    check_log(first.directory, acknowledged=(), store=first.store)
    check_log(second.directory, acknowledged=(), store=second.store)


def test_many_writers_share_subjects_keys_and_a_contiguous_log(open_replica: OpenReplica) -> None:
    logs = [open_replica() for _ in range(3)]
    rng = random.Random(4)  # noqa: S311  # no secret
    plans = [
        [
            [
                event(f"{which}-{group}-{at}", f"s{rng.randrange(9)}")
                for at in range(rng.randrange(9))
            ]
            for group in range(40)
        ]
        for which in range(3)
    ]
    receipts: list[list[Receipt]] = [[], [], []]

    def work(which: int) -> None:
        for group in plans[which]:
            receipts[which] += logs[which].append(group)

    threads = [threading.Thread(target=work, args=(which,)) for which in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [receipt for each in receipts for receipt in each]
    assert sorted(receipt.index for receipt in everything) == list(range(1, len(everything) + 1))
    for which, plan in enumerate(plans):
        for record in itertools.chain.from_iterable(plan):
            assert logs[which - 1].read(record.id).payload == record.payload
    check_log(logs[0].directory, acknowledged=everything, store=logs[0].store)


def test_only_the_record_that_another_replica_has_is_refused(open_replica: OpenReplica) -> None:
    first, second = open_replica(), open_replica()
    first.append([event("a", key="k"), event("b")])
    with pytest.raises(DuplicateIdError) as by_id:
        second.append([event("c"), event("b")])
    assert (by_id.value.position, by_id.value.record_id) == (1, "b")
    with pytest.raises(DuplicateIdempotencyError) as by_key:
        second.append([event("c"), event("d"), event("e", key="k")])
    assert (by_key.value.position, by_key.value.index) == (2, 1)
    receipts = second.append([event("c"), event("d")])
    assert [receipt.index for receipt in receipts] == [3, 4]
    found = second.find_idempotent(Idempotency("caller", "k", b"body"))
    assert found is not None
    assert (found.id, found.same_request) == ("a", True)
    check_open_log(second, acknowledged=receipts)


def test_a_request_sent_to_every_replica_at_once_is_recorded_once(
    open_replica: OpenReplica,
) -> None:
    logs = [open_replica() for _ in range(3)]
    keys = [f"key-{number}" for number in range(150)]
    won: list[dict[str, Receipt]] = [{}, {}, {}]

    def work(which: int) -> None:
        todo = random.Random(which).sample(keys, len(keys))  # noqa: S311  # no secret
        while todo:
            size = 1 + len(todo) % 7
            names, todo = todo[:size], todo[size:]
            while names:
                group = [event(f"{name}-{which}", f"s{len(name)}", name) for name in names]
                try:
                    receipts = logs[which].append(group)
                except DuplicateIdempotencyError as err:
                    names.pop(err.position)  # another replica has it
                    continue
                won[which].update(zip(names, receipts, strict=True))
                break

    threads = [threading.Thread(target=work, args=(which,)) for which in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(itertools.chain.from_iterable(won)) == sorted(keys)
    for which in range(3):
        for name, receipt in won[which].items():
            for log in logs:
                found = log.find_idempotent(Idempotency("caller", name, b"body"))
                assert found is not None
                assert (found.index, found.id) == (receipt.index, f"{name}-{which}")
    everything = [receipt for each in won for receipt in each.values()]
    check_log(logs[0].directory, acknowledged=everything, store=logs[0].store)


def test_no_erased_byte_is_left_in_any_file_of_the_server(
    open_replica: OpenReplica,
) -> None:
    """After the steps that the operator's guide tells, in tables, indexes and write-ahead log."""
    server = Server()
    try:
        with server.database() as database:
            log = open_replica(url=database.url)
            log.append([event(f"{at}-{'x' * 40}", f"s{at % 5}", f"k{at}") for at in range(60)])
            secrets = [
                bytes(secret)
                for row in database.execute(
                    "SELECT envelope, k.wrapped, s.wrapped, s.handle FROM payload"
                    " JOIN record_key k USING (seq) JOIN subject_key s USING (subject)"
                    " WHERE subject = (SELECT subject FROM record_key WHERE seq = 2)"
                )
                for secret in row
            ]
            assert len(secrets) == 4 * 12
            assert left(server, secrets), "the search finds nothing even before"
            numbers = itertools.count()
            erasure = log.erase_subject(
                "s1", basis="law", actor="dpo", new_id=lambda: f"erasure-{next(numbers)}"
            )
            assert not erasure.purged
            for statement in CLEANING:
                database.execute(statement)
            assert log.purge()
            assert left(server, secrets) == set()
            check_open_log(log)
            log.close()
    finally:
        server.remove()


CLEANING = [
    "VACUUM (FULL) grounds.payload, grounds.record_key, grounds.subject_key",
    "ALTER SYSTEM SET wal_recycle = off",
    "SELECT pg_reload_conf()",
    "SELECT pg_switch_wal()",
    "CHECKPOINT",
    "SELECT pg_switch_wal()",
    "CHECKPOINT",
]


def left(server: Server, secrets: list[bytes]) -> set[str]:
    """Return the server's files that hold twelve bytes of a secret."""
    pieces = [secret[at : at + 12] for secret in secrets for at in range(0, len(secret) - 11, 12)]
    found = set()
    for path in Path(server.data).rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if any(piece in content for piece in pieces):
                found.add(str(path.relative_to(server.data)))
    return found


def test_a_subject_erased_by_one_replica_gets_a_new_key_from_the_others(
    open_replica: OpenReplica,
) -> None:
    first, second = open_replica(), open_replica()
    second.append([event("before", "person")])  # now its key is known here
    numbers = itertools.count()
    done = first.erase_subject(
        "person", basis="law", actor="dpo", new_id=lambda: f"erasure-{next(numbers)}"
    )
    assert done.indexes == (1,)
    first.append([event("unrelated")])
    second.append([event("also-unrelated")])  # takes the news in, asks of no one
    second.append([event("after", "person")])
    assert first.read("before").erased
    assert first.read("after").payload == b"payload of after"
    again = first.erase_subject(
        "person", basis="law", actor="dpo", new_id=lambda: f"erasure-{next(numbers)}"
    )
    assert len(again.indexes) == 1
    check_open_log(first)


def test_a_draft_from_before_an_erasure_by_another_replica_brings_no_key_back(
    open_replica: OpenReplica,
) -> None:
    first, second = open_replica(), open_replica()
    second.append([event("before", "person")])
    drafts = second.draft([event("after", "person")])  # under the key that is about to go
    first.erase_subject("person", basis="law", actor="dpo", new_id=lambda: "erasure")
    second.append_drafts(drafts, lambda: second.draft([event("late", "person")]))
    assert first.read("before").erased
    assert first.read("after").payload == b"payload of after"
    assert first.read("late").payload == b"payload of late"
    done = first.erase_subject("person", basis="law", actor="dpo", new_id=lambda: "erasure-2")
    assert done.indexes == (3, 4)
    check_open_log(first)


@pytest.mark.parametrize("look", [1, 2])
def test_an_erasure_is_told_as_failed_only_if_nothing_is_erased(
    open_replica: OpenReplica, monkeypatch: pytest.MonkeyPatch, look: int
) -> None:
    """The server goes away as the tables' files are looked at: within the transaction, and after."""
    log = open_replica()
    log.append([event("before", "person")])
    looks = itertools.count(1)

    async def lost(connection: asyncpg.Connection) -> tuple[int, ...]:
        if next(looks) == look:
            raise asyncpg.ConnectionDoesNotExistError("the server is killed")
        return await _files(connection)

    def erase() -> Erasure:
        return log.erase_subject("person", basis="law", actor="dpo", new_id=lambda: "erasure")

    monkeypatch.setattr("audit.postgres._files", lost)
    if look == 1:
        with pytest.raises(LogUnavailableError):
            erase()
        assert log.read("before").payload == b"payload of before"
    done = erase()
    assert (done.indexes, done.purged) == ((1,), False)
    assert log.read("before").erased
    assert not log.purge()
    check_open_log(log)


def test_a_replica_far_behind_reads_the_tree_anew(
    open_replica: OpenReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.postgres._MOST_NEWS", 300)
    first, second = open_replica(), open_replica()
    for start in range(0, 900, 100):
        first.append([event(f"{start + at:04d}", f"s{at}") for at in range(100)])
    receipts = second.append([event("late", "s7")])
    assert [receipt.index for receipt in receipts] == [901]
    assert first.read("late").payload == b"payload of late"
    check_log(second.directory, acknowledged=receipts, store=second.store)


def test_replicas_sign_in_turn_and_never_differently(open_replica: OpenReplica) -> None:
    logs = [open_replica(), open_replica()]
    for number in range(6):
        logs[number % 2].append([event(f"e{number}")])
        note = logs[1 - number % 2].checkpoint()
        assert logs[number % 2].checkpoint() == note
        for log in logs:
            assert (log.directory / "checkpoint").read_bytes() == note
    for log in logs:
        check_log(log.directory, store=log.store)


def test_a_replica_without_the_keys_or_with_others_is_refused(
    open_replica: OpenReplica, tmp_path: Path
) -> None:
    open_replica()
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    with pytest.raises(KeyFileError, match="restore them"):
        open_replica(directory=stranger)
    create_keys(stranger / "keys", origin=ORIGIN)
    with pytest.raises(KeyFileError, match="not this log's"):
        open_replica(directory=stranger)


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_commit_without_an_answer_is_looked_up_before_anyone_hears_of_it(
    open_replica: OpenReplica, database: Database, cut: Cut
) -> None:
    proxy = CuttingProxy(database.server.directory)
    url = database.url.replace(quote(str(database.server.directory)), quote(str(proxy.directory)))
    log = open_replica(url=url)
    receipts = log.append([event("first", "s")])
    proxy.cut = cut
    doubtful = event("doubtful", "new", "key")
    if cut == "after":
        receipts += log.append([doubtful])
    else:
        with pytest.raises(LogUnavailableError, match="nothing of the group was stored"):
            log.append([doubtful])
        assert log.find_idempotent(Idempotency("caller", "key", b"body")) is None
        assert log.size == 2
        receipts += log.append([doubtful])
    assert log.broken is None
    receipts += log.append([event("last", "new")])
    assert [receipt.index for receipt in receipts] == [1, 2, 3]
    check_open_log(log, acknowledged=receipts)
    log.close()
    proxy.close()


def test_a_group_whose_connection_is_lost_before_commit_is_not_committed_on_another(
    open_replica: OpenReplica, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """COMMIT succeeds on a connection that has begun nothing, and would acknowledge what is lost."""
    log = open_replica()
    receipts = log.append([event("first")])
    commit = postgres._commit

    async def lose_and_commit(connection: Connection) -> None:
        await asyncio.to_thread(
            database.execute,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE state = 'idle in transaction'",
        )
        # The connection's end is heard before COMMIT is sent.
        await asyncio.sleep(0.2)
        await commit(connection)

    with monkeypatch.context() as patched:
        patched.setattr(postgres, "_commit", lose_and_commit)
        with pytest.raises(LogUnavailableError, match="nothing of the group was stored"):
            log.append([event("second", key="key")])
    assert log.size == 2
    receipts += log.append([event("second", key="key")])
    assert [receipt.index for receipt in receipts] == [1, 2]
    check_open_log(log, acknowledged=receipts)


def test_an_idle_connection_that_was_lost_costs_nothing(
    open_replica: OpenReplica, database: Database
) -> None:
    log = open_replica()
    database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    receipts = log.append([event("a")])
    log.checkpoint()
    check_open_log(log, acknowledged=receipts)


def test_a_server_that_is_down_acknowledges_nothing_and_is_forgiven(
    open_replica: OpenReplica,
) -> None:
    server = Server()
    try:
        with server.database() as database:
            log = open_replica(url=database.url)
            receipts = log.append([event("a")])
            server.kill()
            with pytest.raises(LogUnavailableError):
                log.append([event("b")])
            with pytest.raises(LogUnavailableError):
                log.checkpoint()
            with pytest.raises(LogUnavailableError):
                log.read("a")
            assert (log.size, log.broken) == (2, None)
            server.start()
            receipts += log.append([event("b")])
            assert [receipt.index for receipt in receipts] == [1, 2]
            check_open_log(log, acknowledged=receipts)
            log.close()
    finally:
        server.remove()


def test_a_server_that_goes_away_while_it_is_verified_is_no_fault_of_the_log(
    open_replica: OpenReplica,
) -> None:
    server = Server()
    try:
        with server.database() as database:
            log = open_replica(url=database.url)
            log.append([event("a")])
            log.checkpoint()
            with pytest.raises(LogUnavailableError):
                verify(
                    log.directory,
                    source=PostgresSource(database.url),
                    progress=lambda _done, _total: server.kill(),
                )
            server.start()
            check_open_log(log)
            log.close()
    finally:
        server.remove()


def test_a_full_disk_stores_nothing_and_appending_goes_on_later(
    open_replica: OpenReplica, database: Database
) -> None:
    log = open_replica()
    receipts = log.append([event("a", "s")])
    database.execute(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = 'disk_full'; END $$;"
        "CREATE TRIGGER full_disk BEFORE INSERT ON payload EXECUTE FUNCTION full_disk();"
    )
    for _ in range(2):
        with pytest.raises(LogFullError):
            log.append([event("b", "new", "k")])
    assert (log.size, log.broken) == (2, None)
    database.execute("DROP TRIGGER full_disk ON payload;")
    receipts += log.append([event("b", "new", "k")])
    check_open_log(log, acknowledged=receipts)


def test_a_replica_that_hangs_with_the_lock_holds_nobody_up_for_ever(
    open_replica: OpenReplica, database: Database
) -> None:
    log, other = open_replica(), open_replica()
    log._writer.begin(log.size, list, None)
    with pytest.raises(LogUnavailableError, match="LockNotAvailable"):
        other.append([event("waits")])
    database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"
    )
    receipts = other.append([event("waits")])
    log._writer.roll_back()
    receipts += log.append([event("comes-late")])
    assert [receipt.index for receipt in receipts] == [1, 2]
    check_open_log(log, acknowledged=receipts)


@contextmanager
def copied(database: Database) -> Iterator[Callable[[], None]]:
    """Copy a database as it is now; yields what sets it back to that. In the end it is as it was."""
    admin = Database(database.server, "postgres")
    old, new = f"{database.name}_old", f"{database.name}_new"

    def end_connections() -> None:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"
            " AND pid <> pg_backend_pid()",
            database.name,
        )

    def set_back() -> None:
        end_connections()
        admin.execute(f"ALTER DATABASE {database.name} RENAME TO {new}")
        admin.execute(f"ALTER DATABASE {old} RENAME TO {database.name}")

    end_connections()
    admin.execute(f"CREATE DATABASE {old} TEMPLATE {database.name}")
    yield set_back
    admin.execute(f"DROP DATABASE {database.name} WITH (FORCE)")
    admin.execute(f"ALTER DATABASE {new} RENAME TO {database.name}")


def test_a_database_set_back_is_refused_by_running_and_starting_replicas(
    open_replica: OpenReplica, database: Database
) -> None:
    log = open_replica()
    log.append([event("a")])
    log.checkpoint()
    with copied(database) as set_back:
        log.append([event("b")])
        log.checkpoint()
        set_back()
        with pytest.raises(LogRolledBackError):
            log.checkpoint()
        assert isinstance(log.broken, LogRolledBackError)
        with pytest.raises(LogStateError):
            log.append([event("c")])
        with pytest.raises(LogRolledBackError, match="older than what others have seen"):
            open_replica(directory=log.directory)
        log.close()
    check_open_log(open_replica(directory=log.directory))


def test_a_replica_whose_entries_are_gone_says_so_though_another_signs(
    open_replica: OpenReplica, database: Database
) -> None:
    first, second = open_replica(), open_replica()
    first.append([event("a")])
    first.checkpoint()
    second.checkpoint()
    with copied(database) as set_back:
        first.append([event("b"), event("c")])  # signed by nobody, and unknown to the other
        set_back()
        second.append([event("d")])
        second.checkpoint()
        with pytest.raises(LogRolledBackError, match="not signing"):
            first.checkpoint_in_turn()
        assert first.broken
        first.close()
        second.close()


CHANGES = [
    "UPDATE entry SET leaf = '' WHERE seq = 1",
    "DELETE FROM entry",
    "TRUNCATE entry",
    "UPDATE payload SET envelope = ''",
    "UPDATE payload SET envelope = zeros(length(envelope))",
    "DELETE FROM payload",
    "UPDATE record_key SET wrapped = zeros(72)",
    "DELETE FROM record_key",
    "UPDATE subject_key SET handle = '', wrapped = zeros(60)",
    "DELETE FROM subject_key",
    "UPDATE idempotency SET seq = 0",
    "DELETE FROM idempotency",
    "UPDATE tile SET root = ''",
    "TRUNCATE tile",
    "UPDATE checkpoint SET note = ''",
    "DELETE FROM checkpoint",
    "UPDATE head SET size = 0",
    "UPDATE head SET root = ''",
    "DELETE FROM head",
    "TRUNCATE head",
]


def test_what_was_written_cannot_be_changed_by_the_service_nor_by_the_owner(
    open_replica: OpenReplica, database: Database
) -> None:
    log = open_replica()
    log.append([event(f"e{number}", "s", f"k{number}") for number in range(300)])
    log.checkpoint()
    for statement in CHANGES:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            database.execute(statement, url=database.url)
        with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="append-only"):
            database.execute(statement)
    for statement in ("INSERT INTO erased VALUES (1, 2, 1)", "CREATE TABLE mine (x integer)"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            database.execute(statement, url=database.url)
    check_open_log(log)


def test_a_trigger_switched_off_is_a_fault(open_replica: OpenReplica, database: Database) -> None:
    log = open_replica()
    database.execute("ALTER TABLE entry DISABLE TRIGGER entry_no_change")
    with pytest.raises(AssertionError):
        check_open_log(log)
    database.execute("ALTER TABLE entry ENABLE TRIGGER entry_no_change")
    check_open_log(log)


def test_migrating_again_changes_nothing_and_a_newer_schema_is_refused(
    open_replica: OpenReplica, database: Database
) -> None:
    log = open_replica()
    assert migrate(database.owner_url) == (VERSION, VERSION)
    check_open_log(log)
    database.execute("INSERT INTO migration (number, name) VALUES ($1, 'later')", VERSION + 1)
    with pytest.raises(SchemaVersionError) as caught:
        open_replica()
    assert (caught.value.got, caught.value.want) == (VERSION + 1, VERSION)
    with pytest.raises(SchemaVersionError):
        migrate(database.owner_url)


def test_a_database_without_tables_names_the_command(
    postgres_server: Server, open_replica: OpenReplica
) -> None:
    with pytest.raises(LogMissingError, match="grounds log migrate"):
        open_replica(url=postgres_server.url("postgres", "postgres"))


def test_a_role_without_rights_is_told_which_command_gives_them(
    open_replica: OpenReplica, database: Database
) -> None:
    database.execute("REVOKE USAGE ON SCHEMA grounds FROM grounds_app")
    with pytest.raises(LogMissingError, match=r"grounds log migrate.*--role"):
        open_replica()


def test_the_databases_own_settings_change_nothing_of_the_log(
    open_replica: OpenReplica, database: Database
) -> None:
    database.execute("DROP SCHEMA grounds CASCADE")
    for setting in ("standard_conforming_strings = off", "bytea_output = escape"):
        database.execute(f"ALTER DATABASE {database.name} SET {setting}")
    migrate(database.owner_url, role=APPLICATION)
    log = open_replica()
    log.append([event("a")])
    log.checkpoint()
    check_open_log(log)


def test_a_server_that_may_lose_commits_is_refused(
    open_replica: OpenReplica, database: Database
) -> None:
    database.execute("ALTER SYSTEM SET full_page_writes = off")
    database.execute("SELECT pg_reload_conf()")
    try:
        time.sleep(0.3)  # until the server has read it
        with pytest.raises(LogStateError, match="full_page_writes off"):
            open_replica()
    finally:
        database.execute("ALTER SYSTEM RESET full_page_writes")
        database.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:s3cret@127.0.0.1:1/log",
        "postgresql://user:s3cret@127.0.0.1:1/log?sslmode=nonsense",
        "postgresql://user:s3cret@[::1/log",
        "mysql://user:s3cret@host/log",
        "postgresql:/user:s3cret@host/log",
        "postgresql://user:12/s3cret@127.0.0.1:1/log",
        "postgresql://user:12#s3cret@127.0.0.1:1/log",
        "postgresql://user:12@s3cret@127.0.0.1:1/log",
        "user:s3cret@host",
    ],
)
def test_no_message_holds_the_password(tmp_path: Path, url: str) -> None:
    store = PostgresStore(url)
    assert "s3cret" not in repr(store)
    with pytest.raises(LogStateError) as caught:
        Log.open(tmp_path / "log", origin=ORIGIN, clock=Clock(), create=True, store=store)
    error: BaseException | None = caught.value
    while error is not None:
        assert "s3cret" not in str(error)
        error = error.__cause__


def test_a_server_whose_certificate_nobody_trusts_is_named_for_that(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    other = Authority(tmp_path / "other")
    (tmp_path / "root.pem").write_bytes(other.root)
    with tls_server(authority.directory / "root.pem", authority.directory / "root.key") as port:
        address = f"postgresql://user:s3cret@127.0.0.1:{port}/log"
        store = PostgresStore(f"{address}?sslmode=verify-ca&sslrootcert={tmp_path / 'root.pem'}")
        with pytest.raises(LogUnavailableError, match="certificate verify failed"):
            Log.open(tmp_path / "log", origin=ORIGIN, clock=Clock(), create=True, store=store)


@contextmanager
def tls_server(certificate: Path, key: Path) -> Iterator[int]:
    """Take connections as PostgreSQL does that speaks TLS, and go no further; yield the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection, suppress(OSError):
                    connection.recv(8)  # SSLRequest
                    connection.sendall(b"S")
                    context.wrap_socket(connection, server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


WRITER = """
import datetime, os, pathlib, sys, time
from audit.errors import LogUnavailableError
from audit.keys import create_keys
from audit.log import Log
from audit.postgres import PostgresStore, _files
from audit.records import NewRecord
log = Log.open(pathlib.Path(sys.argv[1]), origin=sys.argv[2], create=True,
    clock=lambda: datetime.datetime.now(datetime.UTC), store=PostgresStore(sys.argv[3]))
number = 0
while True:
    group = [NewRecord("event", f"{sys.argv[4]}-{number + i}", {}, b"x" * 500, f"s{i}")
        for i in range(1 + number % 5)]
    number += len(group)
    try:
        receipts = log.append(group)
        if number % 7 == 0:
            log.checkpoint()
    except LogUnavailableError:
        time.sleep(0.02)
        continue
    sys.stdout.write("".join(f"{r.index} {r.leaf_hash.hex()}\\n" for r in receipts))
    sys.stdout.flush()
"""


def test_killing_replicas_and_the_server_loses_nothing_acknowledged(tmp_path: Path) -> None:
    server = Server()
    rng = random.Random(20261124)  # noqa: S311  # when to kill is no secret
    acknowledged: dict[int, str] = {}
    try:
        with server.database() as database:
            first = tmp_path / "replica0"
            store = PostgresStore(database.url)
            Log.open(first, origin=ORIGIN, clock=Clock(), create=True, store=store).close()
            shutil.copytree(first, tmp_path / "replica1")
            for number in range(KILL_ROUNDS):
                for said in _killed_round(server, database, first, number, rng):
                    index, leaf_hash = int(said[0]), said[1]
                    assert acknowledged.setdefault(index, leaf_hash) == leaf_hash, "two answers"
            log = Log.open(first, origin=ORIGIN, clock=Clock(), store=store)
            entries = log.entries(0, log.size)
            assert {at: entries[at].leaf_hash.hex() for at in acknowledged} == acknowledged
            assert len({entry.id for entry in entries}) == len(entries)
            log.close()
            check_log(first, store=store)
            check_log(tmp_path / "replica1", store=store)  # as it was killed
    finally:
        server.remove()
    assert len(acknowledged) > 10 * KILL_ROUNDS


def _killed_round(
    server: Server, database: Database, first: Path, number: int, rng: random.Random
) -> list[list[str]]:
    """Let two replicas write, kill the server in every second round, then one after the other."""
    outputs = [first.parent / f"said-{number}-{which}" for which in range(2)]
    writers = []
    for which, output in enumerate(outputs):
        directory = first.parent / f"replica{which}"
        with output.open("wb") as said:
            writers.append(
                subprocess.Popen(  # noqa: S603 - our own interpreter and program
                    [sys.executable, "-c", WRITER, str(directory), ORIGIN, database.url,
                     f"{number}-{which}"],
                    cwd=ROOT, stdout=said,
                )
            )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not all(output.stat().st_size for output in outputs):
            assert time.monotonic() < deadline, "the writers say nothing"
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        if number % 2:
            server.kill()
            server.start()
            time.sleep(rng.uniform(0, 0.5))
        assert [writer.poll() for writer in writers] == [None, None], "a writer gave up"
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    # What it said before it died counts; a line cut off was not heard.
    return [
        line.split()
        for output in outputs
        for line in output.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]


def test_nothing_is_appended_once_another_replica_has_used_an_identifier(
    open_replica: OpenReplica,
) -> None:
    first, second = open_replica(), open_replica()
    second.append_drafts(second.draft([event("a")]), unless="stop.1")
    first.append([event("stop.1")])
    with pytest.raises(OvertakenError, match=r"stop\.1"):
        second.append_drafts(second.draft([event("b")]), unless="stop.1")
    assert second.size == 3, "what the other appended is taken in, and nothing more"
    receipts = second.append_drafts(second.draft([event("b")]), unless="stop.2")
    check_open_log(second, acknowledged=receipts)
