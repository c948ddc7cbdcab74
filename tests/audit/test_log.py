"""The log as its users meet it: appending, reading, proving, refusing."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import merkle
from audit.errors import (
    DamagedLogError,
    DuplicateIdempotencyError,
    DuplicateIdError,
    KeyFileError,
    LogLockedError,
    LogMissingError,
    LogRolledBackError,
    LogStateError,
    ProofError,
    RecordRejectedError,
    SchemaVersionError,
    UnknownRecordError,
)
from audit.log import Log
from audit.note import SigningKey, VerifierKey
from audit.proof import parse_proof, verify_proof
from audit.reader import LogReader
from audit.records import Idempotency, NewRecord
from audit.schema import VERSION
from tests.audit.check_log import check_log, check_open_log
from tests.audit.conftest import ORIGIN, Clock, MakeRecord, OpenLog, on_both_stores

ROOT = Path(__file__).parents[2]


@on_both_stores
def test_appended_records_are_read_back_after_reopening(
    directory: Path, open_log: OpenLog, record: MakeRecord
) -> None:
    log = open_log()
    records = [record(b"one", subject="s"), record(b""), record(None), record(b"x" * 100_000)]
    receipts = log.append(records)
    assert [receipt.index for receipt in receipts] == [1, 2, 3, 4]
    check_open_log(log, acknowledged=receipts)
    log.close()
    check_log(directory, acknowledged=receipts, store=log.store)
    again = open_log(create=False)
    for made, receipt in zip(records, receipts, strict=True):
        stored = again.read(made.id)
        assert (stored.index, stored.type, stored.payload, stored.facts) == (
            receipt.index,
            made.type,
            made.payload,
            made.facts,
        )
        assert not stored.erased
        assert again.read_index(receipt.index) == stored
        assert again.receipt(made.id) == receipt
    check_open_log(again, acknowledged=receipts)


@on_both_stores
def test_the_first_entry_names_the_log_and_its_keys(open_log: OpenLog, directory: Path) -> None:
    log = open_log()
    genesis = log.read_index(0)
    key = SigningKey.parse((directory / "keys" / "log.key").read_text().strip())
    assert genesis.type == "genesis"
    assert genesis.facts["origin"] == ORIGIN
    assert genesis.facts["vkey"] == key.verifier.format()


def test_secrets_are_readable_by_their_owner_alone(open_log: OpenLog, directory: Path) -> None:
    open_log()
    assert stat.S_IMODE((directory / "keys").stat().st_mode) == 0o700
    for name in ("log.key", "master.key", "digest.key"):
        assert stat.S_IMODE((directory / "keys" / name).stat().st_mode) == 0o600


def test_nothing_personal_is_stored_in_the_clear(
    open_log: OpenLog, directory: Path, record: MakeRecord
) -> None:
    log = open_log()
    log.append([record(b"the payload in plain words", subject="subject-4711", key="request-0815")])
    log.close()
    content = b"".join(path.read_bytes() for path in directory.iterdir() if path.is_file())
    for secret in (b"plain words", b"subject-4711", b"request-0815", b"fingerprint"):
        assert secret not in content


@on_both_stores
def test_a_group_is_all_or_nothing(open_log: OpenLog, record: MakeRecord) -> None:
    log = open_log()
    taken = record(key="k1")
    receipts = log.append([taken])
    root = log.root()
    fresh = record(subject="new", key="k2")
    with pytest.raises(DuplicateIdError) as by_id:
        log.append([fresh, record(record_id=taken.id)])
    assert (by_id.value.position, by_id.value.record_id) == (1, taken.id)
    with pytest.raises(DuplicateIdempotencyError) as by_key:
        log.append([fresh, record(), record(key="k1")])
    assert (by_key.value.position, by_key.value.index) == (2, 1)
    assert (log.size, log.root()) == (2, root)
    receipts += log.append([fresh])
    check_open_log(log, acknowledged=receipts)


@on_both_stores
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"record_id": "first"}, DuplicateIdError),
        ({"key": "k"}, DuplicateIdempotencyError),
        ({"record_id": "with space"}, RecordRejectedError),
        ({"record_id": "x" * 65}, RecordRejectedError),
        ({"record_id": ""}, RecordRejectedError),
        ({"record_id": "new\nline"}, RecordRejectedError),
        ({"payload": None, "key": "other"}, RecordRejectedError),
        ({"payload": None, "subject": "s"}, RecordRejectedError),
        ({"subject": "\ud800"}, RecordRejectedError),
        ({"record_type": "genesis"}, RecordRejectedError),
        ({"record_type": "erasure"}, RecordRejectedError),
        ({"record_type": "Type"}, RecordRejectedError),
        ({"facts": {"x": 0.5}}, RecordRejectedError),
        ({"facts": {"x": "y" * 1000}}, RecordRejectedError),
    ],
    ids=repr,
)
def test_a_record_at_fault_is_named(
    open_log: OpenLog,
    record: MakeRecord,
    arguments: dict[str, object],
    error: type[RecordRejectedError],
) -> None:
    log = open_log()
    first = record(record_id="first", key="k")
    with pytest.raises(error) as caught:
        log.append([first, record(**arguments)])
    assert caught.value.position == 1
    assert log.size == 1
    check_open_log(log, acknowledged=log.append([first]))


@on_both_stores
def test_an_empty_group_is_nothing(open_log: OpenLog) -> None:
    log = open_log()
    assert log.append([]) == []
    assert log.size == 1


@on_both_stores
def test_a_repeated_request_finds_its_first_answer(open_log: OpenLog, record: MakeRecord) -> None:
    log = open_log()
    made = record(key="k", fingerprint=b"body")
    log.append([made])
    same = log.find_idempotent(Idempotency("caller", "k", b"body"))
    assert same is not None
    assert (same.index, same.id, same.same_request) == (1, made.id, True)
    other = log.find_idempotent(Idempotency("caller", "k", b"another body"))
    assert other is not None
    assert other.same_request is False
    assert log.find_idempotent(Idempotency("caller", "l", b"body")) is None
    assert log.find_idempotent(Idempotency("another", "k", b"body")) is None
    # Scope and key do not run together.
    assert log.find_idempotent(Idempotency("calle", "rk", b"body")) is None


@on_both_stores
def test_what_is_not_there_is_an_error(open_log: OpenLog) -> None:
    log = open_log()
    for look in (lambda: log.read("no"), lambda: log.read_index(1), lambda: log.receipt("no")):
        with pytest.raises(UnknownRecordError):
            look()
    with pytest.raises(UnknownRecordError):
        log.proof("no")
    with pytest.raises(ProofError):
        log.inclusion_proof(0, 2)
    with pytest.raises(ProofError):
        log.root(2)


@on_both_stores
def test_proofs_verify_across_tile_borders(open_log: OpenLog, record: MakeRecord) -> None:
    log = open_log()
    while log.size < 600:
        log.append([record(None) for _ in range(min(37, 600 - log.size))])
    entries = log.entries(0, 600)
    hashes = [entry.leaf_hash for entry in entries]
    roots = {size: merkle.root_of(hashes[:size]) for size in (1, 255, 256, 257, 511, 512, 513, 600)}
    for size, root in roots.items():
        assert log.root(size) == root
        for index in {0, size // 2, size - 1, max(0, size - 2)}:
            proof = log.inclusion_proof(index, size)
            merkle.verify_inclusion(hashes[index], proof, index=index, size=size, root=root)
        for first, first_root in roots.items():
            if first <= size:
                proof = log.consistency_proof(first, size)
                merkle.verify_consistency(
                    proof, first=first, second=size, first_root=first_root, second_root=root
                )
    check_open_log(log)


@on_both_stores
def test_a_proof_file_is_checkable_with_the_public_key_alone(
    open_log: OpenLog, record: MakeRecord
) -> None:
    log = open_log()
    vkey = str(log.read_index(0).facts["vkey"])
    first = record()
    receipt = log.append([first])[0]
    proof = log.proof(first.id)
    log.append([record()])  # the proof stays one of its own checkpoint's size
    for content in (proof, log.proof(first.id)):
        checkpoint = verify_proof(
            parse_proof(content.format()),
            leaf_hash=receipt.leaf_hash,
            origin=ORIGIN,
            trusted=[VerifierKey.parse(vkey)],
        )
        assert checkpoint.size == 2


@on_both_stores
def test_closing_waits_for_whoever_is_signing(
    open_log: OpenLog, record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that ends cannot call a signing thread back."""
    log = open_log()
    log.append([record() for _ in range(200)])
    signing, going_on = threading.Event(), threading.Event()

    def rest(_seconds: float) -> None:
        signing.set()
        assert going_on.wait(10)

    monkeypatch.setattr("audit.signer.sleep", rest)
    with ThreadPoolExecutor() as threads:
        note = threads.submit(log.checkpoint)
        assert signing.wait(10)
        closed = threads.submit(log.close)
        with pytest.raises(TimeoutError):
            closed.result(0.2)
        going_on.set()
        closed.result(10)
        assert note.result(10) == (log.directory / "checkpoint").read_bytes()
    open_log(create=False)


@on_both_stores
def test_a_checkpoint_is_signed_once_for_each_size(open_log: OpenLog, record: MakeRecord) -> None:
    log = open_log()
    first = log.checkpoint()
    assert log.checkpoint() == first == log.stored_checkpoint()
    log.append([record()])
    assert log.checkpoint() != first
    assert (log.directory / "checkpoint").read_bytes() == log.checkpoint()
    check_open_log(log)


@on_both_stores
def test_a_reader_follows_the_writer(open_log: OpenLog, record: MakeRecord) -> None:
    log = open_log()
    reader = LogReader.open_readonly(log.directory, origin=ORIGIN, store=log.store)
    public = LogReader.open_readonly(log.directory, origin=ORIGIN, with_keys=False, store=log.store)
    try:
        made = record(b"payload")
        log.append([made])
        log.checkpoint()
        assert reader.size == public.size == 2
        assert reader.root() == public.root() == log.root()
        assert reader.read(made.id).payload == b"payload"
        assert public.proof(made.id) == reader.proof(made.id) == log.proof(made.id)
        with pytest.raises(KeyFileError):
            public.read(made.id)
        later = record(None)
        log.append([later])
        with pytest.raises(ProofError, match="not covered yet"):
            reader.proof(later.id)
    finally:
        reader.close()
        public.close()


def test_a_second_writer_is_refused(open_log: OpenLog, directory: Path) -> None:
    log = open_log()
    with pytest.raises(LogLockedError):
        open_log()
    program = (
        "import sys, pathlib, datetime\n"
        "from audit.log import Log\n"
        "from audit.errors import LogLockedError\n"
        "try:\n"
        "    Log.open(pathlib.Path(sys.argv[1]), origin=sys.argv[2],"
        " clock=lambda: datetime.datetime.now(datetime.UTC))\n"
        "except LogLockedError:\n"
        "    sys.exit(7)\n"
    )
    other = subprocess.run(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-c", program, str(directory), ORIGIN], cwd=ROOT, check=False
    )
    assert other.returncode == 7
    log.close()
    open_log().close()


def test_no_log_is_made_unless_asked(directory: Path, open_log: OpenLog) -> None:
    with pytest.raises(LogMissingError):
        open_log(create=False)
    assert not directory.exists()
    with pytest.raises(LogMissingError):
        LogReader.open_readonly(directory, origin=ORIGIN, with_keys=False)


@pytest.mark.parametrize("name", ["log.key", "master.key", "digest.key"])
def test_keys_that_others_can_read_are_refused_with_the_cure(
    open_log: OpenLog, directory: Path, name: str
) -> None:
    open_log().close()
    path = directory / "keys" / name
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match=f"chmod 600 .*{name}"):
        open_log()
    path.chmod(0o600)
    path.parent.chmod(0o755)
    with pytest.raises(KeyFileError, match="chmod 700"):
        open_log()
    path.parent.chmod(0o700)
    open_log()


@pytest.mark.parametrize("name", ["log.key", "master.key", "digest.key"])
def test_a_lost_or_foreign_key_is_refused_and_never_made_anew(
    open_log: OpenLog, directory: Path, tmp_path: Path, name: str
) -> None:
    open_log().close()
    path = directory / "keys" / name
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(KeyFileError, match="never made anew"):
        open_log(create=True)
    assert not path.exists()
    other = tmp_path / "other"
    Log.open(other, origin=ORIGIN, clock=Clock(), create=True).close()
    path.touch(0o600)
    path.write_bytes((other / "keys" / name).read_bytes())
    with pytest.raises(KeyFileError, match="not this log's"):
        open_log()
    path.write_bytes(b"nonsense")
    with pytest.raises(KeyFileError):
        open_log()
    path.write_bytes(content)
    open_log()


@on_both_stores
def test_a_missing_key_directory_is_refused(open_log: OpenLog, directory: Path) -> None:
    open_log().close()
    (directory / "keys").rename(directory / "elsewhere")
    with pytest.raises(KeyFileError, match="restore"):
        open_log()


def test_another_origin_is_refused(open_log: OpenLog, directory: Path) -> None:
    open_log().close()
    with pytest.raises(KeyFileError, match=r"want 'example\.com/other'"):
        Log.open(directory, origin="example.com/other", clock=Clock())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET leaf = x'00' WHERE seq = 1",
        "DELETE FROM entry WHERE seq = 1",
        "INSERT OR REPLACE INTO entry VALUES (1, 'x', x'00', x'00')",
        "UPDATE payload SET envelope = x'00'",
        "DELETE FROM payload",
        "UPDATE record_key SET wrapped = x'00'",
        "DELETE FROM record_key",
        "UPDATE subject_key SET handle = x'00'",
        "DELETE FROM subject_key",
        "UPDATE idempotency SET seq = 0",
        "DELETE FROM idempotency",
        "UPDATE checkpoint SET note = x'00'",
        "DELETE FROM checkpoint",
        "UPDATE tile SET root = x'00'",
        "DELETE FROM tile",
        "DELETE FROM head",
        "UPDATE payload SET envelope = zeroblob(length(envelope))",
        "UPDATE record_key SET wrapped = zeroblob(72)",
        "UPDATE subject_key SET handle = x'00', wrapped = zeroblob(60)",
    ],
)
def test_what_was_written_cannot_be_changed(
    open_log: OpenLog, directory: Path, record: MakeRecord, statement: str
) -> None:
    log = open_log()
    log.append([record(key=str(number), subject="s") for number in range(300)])
    log.checkpoint()
    connection = apsw.Connection(str(directory / "log.sqlite3"))
    connection.pragma("recursive_triggers", "ON")
    with pytest.raises(apsw.ConstraintError, match="append-only"):
        connection.execute(statement)
    connection.close()


def test_a_newer_schema_is_refused(open_log: OpenLog, directory: Path) -> None:
    open_log().close()
    connection = apsw.Connection(str(directory / "log.sqlite3"))
    connection.pragma("user_version", VERSION + 1)
    connection.close()
    with pytest.raises(SchemaVersionError) as caught:
        open_log()
    assert (caught.value.got, caught.value.want) == (VERSION + 1, VERSION)


def test_a_foreign_database_is_refused(directory: Path, open_log: OpenLog) -> None:
    open_log().close()
    connection = apsw.Connection(str(directory / "log.sqlite3"))
    connection.pragma("application_id", 0)
    connection.close()
    with pytest.raises(LogStateError, match="not a log"):
        open_log()
    (directory / "log.sqlite3").write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(LogStateError):
        open_log()


def test_yesterdays_database_is_refused(
    open_log: OpenLog, directory: Path, record: MakeRecord
) -> None:
    log = open_log()
    log.append([record()])
    log.close()
    yesterday = (directory / "log.sqlite3").read_bytes()
    log = open_log()
    log.append([record()])
    log.checkpoint()
    log.close()
    today = (directory / "log.sqlite3").read_bytes()
    (directory / "log.sqlite3").write_bytes(yesterday)
    with pytest.raises(LogRolledBackError, match="older than what others have seen"):
        open_log()
    (directory / "log.sqlite3").unlink()
    with pytest.raises(LogRolledBackError, match="restore"):
        open_log(create=True)
    (directory / "log.sqlite3").write_bytes(today)
    open_log()


def test_another_history_of_the_same_size_is_refused(
    open_log: OpenLog, directory: Path, record: MakeRecord
) -> None:
    log = open_log()
    log.close()
    fork = (directory / "log.sqlite3").read_bytes()
    log = open_log()
    log.append([record()])
    signed = log.checkpoint()
    log.close()
    before = (directory / "checkpoint").read_bytes()
    # The operator forks the log: another second entry, then puts the true checkpoint back.
    (directory / "log.sqlite3").write_bytes(fork)
    (directory / "checkpoint").unlink()
    (directory / "checkpoint.count").unlink()
    forked = open_log()
    forked.append([record(), record()])
    forked.close()
    (directory / "checkpoint").write_bytes(before)
    with pytest.raises(LogRolledBackError, match="does not know"):
        open_log()
    assert signed == before


@on_both_stores
def test_a_vanished_checkpoint_file_is_refused(
    open_log: OpenLog, directory: Path, record: MakeRecord
) -> None:
    log = open_log()
    log.append([record()])
    log.checkpoint()
    log.close()
    (directory / "checkpoint").unlink()
    with pytest.raises(LogRolledBackError, match="missing"):
        open_log()


@on_both_stores
def test_a_checkpoint_file_left_behind_by_a_crash_is_brought_up_to_date(
    open_log: OpenLog, directory: Path, record: MakeRecord
) -> None:
    log = open_log()
    behind = (directory / "checkpoint").read_bytes()
    log.append([record()])
    newest = log.checkpoint()
    log.close()
    (directory / "checkpoint").write_bytes(behind)
    open_log()
    assert (directory / "checkpoint").read_bytes() == newest


@pytest.mark.parametrize("content", [b"", b"nonsense\n", b"\xff"])
def test_a_checkpoint_file_that_is_none_is_refused(
    open_log: OpenLog, directory: Path, content: bytes
) -> None:
    open_log().close()
    (directory / "checkpoint").write_bytes(content)
    with pytest.raises(LogRolledBackError, match="not a checkpoint"):
        open_log()


def test_a_leaf_changed_before_signing_is_not_signed(
    open_log: OpenLog, directory: Path, record: MakeRecord
) -> None:
    """One flipped bit in a stored leaf ended a public log in 2022: its root was signed all the same."""
    log = open_log()
    log.append([record()])
    connection = apsw.Connection(str(directory / "log.sqlite3"))
    connection.execute("DROP TRIGGER entry_no_update")
    connection.execute(
        "UPDATE entry SET leaf = CAST(replace(leaf, 'demo', 'dem0') AS BLOB) WHERE seq = 1"
    )
    connection.close()
    before = log.stored_checkpoint()
    with pytest.raises(DamagedLogError, match="not signing"):
        log.checkpoint()
    assert log.stored_checkpoint() == before
    with pytest.raises(DamagedLogError, match="stored hash"):
        log.read_index(1)


@on_both_stores
def test_a_closed_log_refuses(open_log: OpenLog, record: MakeRecord) -> None:
    log = open_log()
    log.close()
    log.close()
    with pytest.raises(LogStateError, match="closed"):
        log.append([record()])


@settings(max_examples=20)
@given(
    st.lists(
        st.lists(
            st.tuples(st.none() | st.binary(max_size=50), st.sampled_from(["a", "b", None])),
            max_size=9,
        ),
        max_size=5,
    )
)
def test_any_sequence_of_groups_reads_back_in_order(
    groups: list[list[tuple[bytes | None, str | None]]],
) -> None:
    with tempfile.TemporaryDirectory() as parent:
        directory = Path(parent) / "log"
        log = Log.open(directory, origin=ORIGIN, clock=Clock(), create=True)
        acknowledged = []
        wanted = []
        for group in groups:
            records = [
                NewRecord(
                    "event",
                    f"{os.urandom(8).hex()}",
                    {},
                    payload,
                    subject if payload is not None else None,
                )
                for payload, subject in group
            ]
            acknowledged += log.append(records)
            wanted += records
        assert [log.read_index(receipt.index).payload for receipt in acknowledged] == [
            record.payload for record in wanted
        ]
        log.close()
        check_log(directory, acknowledged=acknowledged)


def test_a_copy_on_a_medium_that_cannot_be_written_is_read(
    open_log: OpenLog, record: MakeRecord, tmp_path: Path
) -> None:
    log = open_log()
    made = record(b"payload")
    log.append([made])
    log.close()
    medium = tmp_path / "medium"
    shutil.copytree(log.directory, medium / "log")
    program = (
        "import sys; from pathlib import Path; from audit.reader import LogReader\n"
        f"log = LogReader.open_readonly(Path({str(medium / 'log')!r}), origin={ORIGIN!r})\n"
        f"print(log.read({made.id!r}).payload)"
    )
    # Mounted for these processes alone, so that nothing is left whatever happens.
    alone = ["unshare", "--mount", "sh", "-c"]
    mount = f"mount --bind -o ro {medium} {medium}"
    if (
        shutil.which("unshare") is None
        or subprocess.run(  # noqa: S603  # the paths are ours
            [*alone, mount], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("this user may not mount")
    done = subprocess.run(  # noqa: S603
        [*alone, f'{mount} && exec {sys.executable} -c "$0"', program],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stdout) == (0, f"{b'payload'!r}\n"), done.stderr
