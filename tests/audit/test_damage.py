"""One flipped byte anywhere: verify names the entry, or nothing that is stored has changed.

The database is dumped row by row by a second reading that shares nothing with verify but SQLite. A
flip that changes what any row of an entry says must give a fault that concerns that entry.
"""

import json
import os
import random
import re
import shutil
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import apsw
import pytest

from audit import schema
from audit.errors import DamagedLogError, LogRolledBackError
from audit.log import Log
from audit.note import SigningKey
from audit.records import Idempotency, NewRecord
from audit.sqlite_scan import SqliteScanner, SqliteSource
from audit.store import SqlRow, SqlValue
from audit.verify import Report, verify
from tests.audit.conftest import ORIGIN, Clock

SIZE = 700
OUTSIDE = ("checkpoint", "checkpoint.count")
TRIALS = 8_000 if os.environ.get("GROUNDS_LONG") else 150

# Where in each table's rows the index of the entry stands that the row is about.
OWNERS: dict[str, Callable[[tuple[object, ...]], object]] = {
    "entry": lambda row: row[0],
    "payload": lambda row: row[0],
    "record_key": lambda row: row[0],
    "subject_key": lambda row: row[0],
    "idempotency": lambda row: row[1],
    "erased": lambda row: row[0],
}
"""Of the tables whose rows are about one entry."""
KEYS = {
    "entry": "seq",
    "payload": "seq",
    "record_key": "seq",
    "subject_key": "subject",
    "idempotency": "seq",
    "erased": "seq",
    "tile": "position",
    "checkpoint": "size",
    "head": "one",
}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log at rest with every kind of row: subjects, requests, tiles, checkpoints, erasures."""
    directory = tmp_path_factory.mktemp("pristine") / "log"
    log = Log.open(directory, origin=ORIGIN, clock=Clock(), create=True)
    number = 0
    while log.size < SIZE:
        records = []
        for _ in range(min(50, SIZE - log.size)):
            number += 1
            payload = os.urandom(number % 11 * 40) if number % 5 else None
            records.append(
                NewRecord(
                    "event",
                    f"id-{number:06d}",
                    {"number": number},
                    payload,
                    f"subject-{number % 60}" if payload is not None and number % 7 else None,
                    Idempotency("caller", str(number), b"body") if payload is not None else None,
                )
            )
        log.append(records)
        log.checkpoint()
        if log.size > SIZE // 2:
            erased = iter(range(1_000_000 + log.size, 2_000_000))
            log.erase_subject(
                f"subject-{log.size % 60}",
                basis="b",
                actor="a",
                new_id=lambda numbers=erased: f"erasure-{next(numbers)}",  # type: ignore[misc]  # mypy 2.4 cannot infer the default
            )
    log.checkpoint()
    log.close()
    report = verify(directory)
    assert report.sound
    assert report.erased > 20
    return directory


@pytest.fixture
def damaged(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "log"))


Dump = dict[tuple[object, ...], tuple[Any, ...]]
UNREADABLE = (apsw.Error, UnicodeDecodeError)


def dump(path: Path, before: Dump | None = None) -> Dump | None:
    """Every row of every table and the schema; None when SQLite cannot even read the schema.

    What cannot be read in one go is looked up row by row under the keys of ``before``.
    """
    connection = apsw.Connection(path.as_uri() + "?immutable=1", flags=0x01 | 0x40)
    try:
        rows: Dump = {
            ("pragma", name): (connection.pragma(name),)
            for name in ("user_version", "application_id")
        }
        for name, sql in connection.execute("SELECT name, sql FROM sqlite_schema"):
            rows["schema", name] = (sql,)
        for table, key in KEYS.items():
            # As bytes, because a flip can leave text that is not UTF-8.
            what = "seq, CAST(id AS BLOB), leaf, leaf_hash" if table == "entry" else "*"
            select = f"SELECT {key}, {what} FROM {table}"  # noqa: S608
            try:
                found = connection.execute(select).fetchall()
            except UNREADABLE:
                found = []
                for known in (known[1] for known in before or {} if known[0] == table):
                    with suppress(*UNREADABLE):
                        found += connection.execute(f"{select} WHERE {key} IS ?", (known,))
            for row in found:
                # Tiles share positions between levels; any other repeated key is damage.
                at: tuple[object, ...] = (table, row[0], row[1] if table == "tile" else 0)
                rows[at] = (*rows.get(at, ()), row[1:])
    except UNREADABLE:
        return None
    finally:
        connection.close()
    return rows


def owners_of_changes(before: Dump, after: Dump) -> set[int]:
    """Entries whose rows are not what they were."""
    owners = set()
    for key in before:
        # A flipped rowid can put another row beside this one, which is then whole itself.
        if key[0] in OWNERS and before[key][0] not in after.get(key, ()):
            owner = OWNERS[str(key[0])](before[key][0])
            if isinstance(owner, int):
                owners.add(owner)
    return owners


def assert_found(report: Report, before: Dump, after: Dump | None, what: str) -> None:
    if after == before:
        return
    assert report.faults, f"{what}: changed the database and was not found"
    if after is None or report.size == 0:
        return  # the file's first page is damaged: no entry can be told from another
    if any(key[0] == "tile" and before[key] != after.get(key) for key in before):
        assert any(fault.kind == "tile" and fault.index is not None for fault in report.faults)
    unnamed = [
        owner
        for owner in owners_of_changes(before, after)
        if not any(fault.concerns(owner) for fault in report.faults)
    ]
    assert not unnamed, f"{what}: not named: {unnamed[:5]}, found {report.faults[:3]}"


def test_a_flipped_byte_at_any_offset_is_found(damaged: Path) -> None:
    database = damaged / "log.sqlite3"
    content = database.read_bytes()
    before = dump(database)
    assert before is not None
    rng = random.Random(20261123)  # noqa: S311 - positions, not secrets
    offsets = [*range(100), *(rng.randrange(len(content)) for _ in range(TRIALS))]
    for offset in offsets:
        flipped = bytearray(content)
        flipped[offset] ^= 1 << rng.randrange(8)
        database.write_bytes(flipped)
        report = verify(damaged, use_keys=bool(offset % 2))
        assert_found(report, before, dump(database, before), f"byte {offset}")


@pytest.mark.parametrize("table", schema.TABLES)
def test_every_column_of_every_table_is_covered(damaged: Path, table: str) -> None:
    """As an attacker with SQL would: triggers dropped, one value changed, triggers restored."""
    database = damaged / "log.sqlite3"
    content = database.read_bytes()
    before = dump(database)
    assert before is not None
    connection = apsw.Connection(str(database))
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    rows = connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608
    connection.close()
    assert rows
    rng = random.Random(table)  # noqa: S311
    for column in columns:
        for row in rng.sample(rows, min(3, len(rows))):
            database.write_bytes(content)
            change(database, table, columns, row, str(column), rng)
            report = verify(damaged, use_keys=False)
            assert_found(report, before, dump(database, before), f"{table}.{column} of {row[0]!r}")
            assert report.faults


def change(
    database: Path,
    table: str,
    columns: list[object],
    row: tuple[object, ...],
    column: str,
    rng: random.Random,
) -> None:
    value = row[columns.index(column)]
    changed: object
    if isinstance(value, int):
        changed = value ^ (1 << rng.randrange(12, 40))
    elif isinstance(value, bytes):
        flipped = bytearray(value) or bytearray(1)
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        changed = bytes(flipped)
    else:
        changed = f"{value}x"
    connection = apsw.Connection(str(database))
    connection.pragma("ignore_check_constraints", "ON")
    triggers = [name for name, sql in schema.STATEMENTS.items() if "TRIGGER" in sql]
    for name in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    where = " AND ".join(f"{name} IS ?" for name in columns)
    connection.execute(
        f"UPDATE {table} SET {column} = ? WHERE {where}",  # noqa: S608
        (changed, *row),
    )
    assert connection.changes() == 1
    for name in triggers:
        connection.execute(schema.STATEMENTS[name])
    connection.close()


@pytest.mark.parametrize("keep", [0.999, 0.9, 0.5, 0.1, 0.01])
def test_a_truncated_database_is_found(damaged: Path, keep: float) -> None:
    database = damaged / "log.sqlite3"
    os.truncate(database, int(database.stat().st_size * keep))
    assert not verify(damaged).sound


@pytest.mark.parametrize(("table", "digest"), [("subject_key", "handle"), ("idempotency", "key")])
def test_a_digest_that_is_none_stops_the_start_and_is_told(
    damaged: Path, table: str, digest: str
) -> None:
    """Not read at a start, it would be found by nobody: its subject would get a second key."""
    database = damaged / "log.sqlite3"
    connection = apsw.Connection(str(database))
    (value,) = connection.execute(f"SELECT {digest} FROM {table} ORDER BY rowid DESC").fetchall()[3]  # noqa: S608
    connection.close()
    assert isinstance(value, bytes)
    content = bytearray(database.read_bytes())
    at = content.index(value)
    # What type and length the value has stands in the row's own header. 0 is NULL.
    content[content.index(12 + 2 * len(value), at - 8)] = 0
    database.write_bytes(content)
    with pytest.raises(DamagedLogError, match=r"the digest of row .* is NoneType.*run verify"):
        Log.open(damaged, origin=ORIGIN, clock=Clock())
    assert not verify(damaged).sound


def test_digests_that_cannot_be_compared_are_no_sound_log(pristine: Path) -> None:
    """As where there is no room for what SQLite sorts."""

    class Scanner(SqliteScanner):
        def rows(self, statement: str, *parameters: SqlValue) -> list[SqlRow] | None:
            return None if "count(*) > 1" in statement else super().rows(statement, *parameters)

    class Source(SqliteSource):
        def open(self) -> Scanner:
            return Scanner(self.directory / "log.sqlite3", lock=self.directory / "lock")

    faults = verify(pristine, source=Source(pristine), workers=1).faults
    assert {fault.kind for fault in faults} == {"subject_key", "idempotency"}


def without_triggers(database: Path, *statements: str) -> None:
    connection = apsw.Connection(str(database))
    triggers = [name for name, sql in schema.STATEMENTS.items() if "TRIGGER" in sql]
    for name in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    for name in triggers:
        connection.execute(schema.STATEMENTS[name])
    connection.close()


def test_damage_of_the_first_entry_is_a_fault_of_it_whatever_byte_it_is(damaged: Path) -> None:
    """Of the log's name too, by which the key files are read: that is damage, and is looked at."""
    database = damaged / "log.sqlite3"
    connection = apsw.Connection(str(database))
    ((leaf,),) = connection.execute("SELECT leaf FROM entry WHERE seq = 0").fetchall()
    connection.close()
    assert isinstance(leaf, bytes)
    names = leaf.index(b'"origin":"') + 10
    for at in {*range(names, names + len(ORIGIN), 3), *range(0, len(leaf), 40)}:
        changed = leaf[:at] + bytes([leaf[at] ^ 1]) + leaf[at + 1 :]
        without_triggers(database, f"UPDATE entry SET leaf = x'{changed.hex()}' WHERE seq = 0")  # noqa: S608
        report = verify(damaged)
        assert any(fault.concerns(0) for fault in report.faults), changed
    # Both of the names, and the key's number: another log's first entry.
    other = SigningKey.generate(f"x{ORIGIN[1:]}").verifier.format().encode()
    facts = json.loads(leaf)["facts"]
    changed = leaf.replace(facts["vkey"].encode(), other)
    changed = changed.replace(f'"{ORIGIN}"'.encode(), f'"x{ORIGIN[1:]}"'.encode())
    without_triggers(database, f"UPDATE entry SET leaf = x'{changed.hex()}' WHERE seq = 0")  # noqa: S608
    found = verify(damaged).faults
    assert any(fault.concerns(0) for fault in found)
    assert "the signing key in the key files is of another log" in {each.message for each in found}


def test_a_second_genesis_entry_is_none(damaged: Path) -> None:
    database = damaged / "log.sqlite3"
    connection = apsw.Connection(str(database))
    ((index, leaf),) = connection.execute(
        "SELECT seq, leaf FROM entry WHERE seq > 0 AND seq NOT IN (SELECT seq FROM payload) LIMIT 1"
    ).fetchall()
    connection.close()
    assert isinstance(leaf, bytes)
    changed = re.sub(rb'"type":"[a-z]+"', b'"type":"genesis"', leaf)
    without_triggers(
        database, f"UPDATE entry SET leaf = x'{changed.hex()}' WHERE seq = {index}"  # noqa: S608
    )  # fmt: skip
    assert any(fault.kind == "genesis" and fault.index == index for fault in verify(damaged).faults)


def test_a_deleted_entry_is_named_and_does_not_hide_another(damaged: Path) -> None:
    connection = apsw.Connection(str(damaged / "log.sqlite3"))
    kept = [
        int(str(seq))
        for (seq,) in connection.execute(
            "SELECT seq FROM payload WHERE seq > 400 AND seq NOT IN (SELECT seq FROM erased)"
        )
    ]
    connection.close()
    without_triggers(
        damaged / "log.sqlite3",
        "DELETE FROM entry WHERE seq = 300",
        f"UPDATE payload SET envelope = zeroblob(40) WHERE seq = {kept[0]}",  # noqa: S608
        f"DELETE FROM record_key WHERE seq = {kept[1]}",  # noqa: S608
        f"DELETE FROM payload WHERE seq = {kept[2]}",  # noqa: S608
    )
    named = {fault.index: fault.kind for fault in verify(damaged).faults if fault.index is not None}
    assert named[300] == "missing"
    assert named[kept[0]] == "payload"
    assert named[kept[1]] == "key"
    assert named[kept[2]] == "payload"


def test_damage_before_the_last_checkpoint_is_for_verify_and_after_it_is_never_signed_for(
    damaged: Path,
) -> None:
    """As docs/log.md says of checkpoints."""
    without_triggers(damaged / "log.sqlite3", "UPDATE entry SET leaf = x'7b7d' WHERE seq = 300")
    with closing(Log.open(damaged, origin=ORIGIN, clock=Clock())) as log:
        log.append([NewRecord("note", "later", {}, b"x")])
        log.checkpoint()
        with pytest.raises(DamagedLogError):
            log.read_index(300)
        log.append([NewRecord("note", "last", {}, b"x")])
        at = log.size - 1
        damage = "UPDATE entry SET leaf = x'7b7d' WHERE seq = (SELECT max(seq) FROM entry)"
        without_triggers(damaged / "log.sqlite3", damage)
        with pytest.raises(DamagedLogError, match="not signing"):
            log.checkpoint()
    assert {fault.index for fault in verify(damaged).faults if fault.kind == "leaf"} == {300, at}


def test_a_tail_cut_off_with_its_head_is_found_through_the_outside_checkpoint(
    pristine: Path, damaged: Path
) -> None:
    """The log before its last group: sound in itself, but a longer one was signed."""
    shorter = Log.open(damaged, origin=ORIGIN, clock=Clock())
    before = {name: (damaged / name).read_bytes() for name in OUTSIDE}
    shorter.append([NewRecord("event", "later", {}, b"payload")])
    shorter.checkpoint()
    shorter.close()
    assert verify(damaged).sound
    shutil.copy(pristine / "log.sqlite3", damaged / "log.sqlite3")
    report = verify(damaged)
    assert [fault.kind for fault in report.faults] == ["checkpoint", "rolled-back"]
    assert report.faults[1].index == report.size >= SIZE
    # Without what is outside, the older database is indistinguishable from an honest one.
    (damaged / "checkpoint").write_bytes(before["checkpoint"])
    assert [fault.kind for fault in verify(damaged).faults] == ["checkpoint"]
    (damaged / "checkpoint.count").write_bytes(before["checkpoint.count"])
    assert verify(damaged).sound


def test_a_flipped_byte_in_the_checkpoint_file_is_found(damaged: Path) -> None:
    path = damaged / "checkpoint"
    content = path.read_bytes()
    for offset in range(0, len(content), 5):
        flipped = bytearray(content)
        flipped[offset] ^= 4
        path.write_bytes(flipped)
        assert {fault.kind for fault in verify(damaged, use_keys=False).faults} == {"checkpoint"}
    path.unlink()
    assert [fault.kind for fault in verify(damaged).faults] == ["checkpoint-file"]


def test_a_log_rewritten_with_another_key_is_found_by_the_true_key(damaged: Path) -> None:
    vkey = str(verify_key(damaged))
    shutil.rmtree(damaged)
    Log.open(damaged, origin=ORIGIN, clock=Clock(), create=True).close()
    assert verify(damaged).sound
    assert {fault.kind for fault in verify(damaged, vkeys=[vkey]).faults} == {"checkpoint"}


def verify_key(directory: Path) -> object:
    log = Log.open(directory, origin=ORIGIN, clock=Clock())
    vkey = log.read_index(0).facts["vkey"]
    log.close()
    return vkey


def test_a_checkpoint_file_put_back_to_an_older_one_is_found(tmp_path: Path) -> None:
    """It is what remembers the last signature when the database is rolled back."""
    with closing(Log.open(tmp_path, origin=ORIGIN, clock=Clock(), create=True)) as log:
        notes = []
        for number in range(4):
            log.append([NewRecord("note", f"n{number}", {}, b"x")])
            notes.append(log.checkpoint())
    assert verify(tmp_path).sound
    (tmp_path / "checkpoint").write_bytes(notes[2])
    assert verify(tmp_path).sound  # one behind: a crash between the two writes leaves that
    (tmp_path / "checkpoint").write_bytes(notes[1])
    assert [fault.kind for fault in verify(tmp_path).faults] == ["checkpoint-file"]


def test_a_backup_in_the_documented_order_is_sound_and_can_be_opened(tmp_path: Path) -> None:
    """docs/log.md: the two files, then the database, while the service goes on."""
    copy = tmp_path / "copy"
    copy.mkdir()
    with closing(Log.open(tmp_path / "log", origin=ORIGIN, clock=Clock(), create=True)) as log:
        log.append([NewRecord("note", "n0", {}, b"x")])
        log.checkpoint()
        for name in ("checkpoint.count", "checkpoint"):
            shutil.copy(tmp_path / "log" / name, copy)
        for number in range(1, 5):
            log.append([NewRecord("note", f"n{number}", {}, b"x")])
            log.checkpoint()
        source = apsw.Connection(str(tmp_path / "log" / "log.sqlite3"))
        target = apsw.Connection(str(copy / "log.sqlite3"))
        with target.backup("main", source, "main") as backup:
            backup.step()
        source.close()
        target.close()
    shutil.copytree(tmp_path / "log" / "keys", copy / "keys")
    report = verify(copy)
    assert report.sound, report.faults
    assert "of size 2, the database has signed 6" in report.notices[0]

    # What does not agree with the rows is a fault in a copy too.
    (copy / "checkpoint.count").write_bytes(b"3 2\n")
    assert [fault.kind for fault in verify(copy).faults] == ["checkpoint"]
    shutil.copy(tmp_path / "log" / "checkpoint.count", copy)
    assert [fault.kind for fault in verify(copy).faults] == ["checkpoint-file"]
    shutil.copy(tmp_path / "log" / "checkpoint", copy)
    assert verify(copy).notices == ()

    Log.open(copy, origin=ORIGIN, clock=Clock()).close()
    assert (copy / "checkpoint").read_bytes() == (tmp_path / "log" / "checkpoint").read_bytes()
    assert verify(copy).notices == ()


def test_keys_of_another_log_are_found(tmp_path: Path) -> None:
    for name in ("one", "other"):
        Log.open(tmp_path / name, origin=ORIGIN, clock=Clock(), create=True).close()
    for key in ("log.key", "digest.key", "master.key"):
        mine = tmp_path / "one" / "keys" / key
        own = mine.read_bytes()
        mine.write_bytes((tmp_path / "other" / "keys" / key).read_bytes())
        assert {fault.kind for fault in verify(tmp_path / "one").faults} == {"key-file"}
        mine.write_bytes(own)
    assert verify(tmp_path / "one").sound


def test_bytes_beyond_the_last_page_are_found(tmp_path: Path) -> None:
    Log.open(tmp_path, origin=ORIGIN, clock=Clock(), create=True).close()
    with (tmp_path / "log.sqlite3").open("ab") as file:
        file.write(bytes(8192))
    assert any("beyond the last page" in fault.message for fault in verify(tmp_path).faults)


def test_an_older_stored_checkpoint_that_was_deleted_is_found(damaged: Path) -> None:
    """The newest is there, and the log is sound in itself; only the count outside knows."""
    database = damaged / "log.sqlite3"
    without_triggers(
        database, "DELETE FROM checkpoint WHERE size = (SELECT min(size) FROM checkpoint)"
    )
    (fault,) = verify(damaged).faults
    assert fault.kind == "checkpoint"
    assert "stored are" in fault.message
    # Opening the log and going on does not make it good.
    with closing(Log.open(damaged, origin=ORIGIN, clock=Clock())) as log:
        log.append([NewRecord("note", "later", {}, b"x")])
        log.checkpoint()
    assert [fault.kind for fault in verify(damaged).faults] == ["checkpoint"]


def test_a_count_of_checkpoints_that_is_gone_or_changed_is_found(damaged: Path) -> None:
    path = damaged / "checkpoint.count"
    content = path.read_bytes()
    for offset in range(len(content)):
        flipped = bytearray(content)
        flipped[offset] ^= 1
        path.write_bytes(flipped)
        assert verify(damaged, use_keys=False).faults, f"byte {offset}"
    path.unlink()
    assert [fault.kind for fault in verify(damaged).faults] == ["checkpoint-file"]
    Log.open(damaged, origin=ORIGIN, clock=Clock()).close()
    assert path.read_bytes() == content, "made anew from what is stored"
    path.write_bytes(b"%d %d\n" % (2, 10**6))
    with pytest.raises(LogRolledBackError):
        Log.open(damaged, origin=ORIGIN, clock=Clock())


OUTSIDERS = {
    "entry": "INSERT INTO entry SELECT {at}, 'planted', leaf, leaf_hash FROM entry WHERE seq = 3",
    "payload": "INSERT INTO payload SELECT {at}, envelope FROM payload WHERE seq = 3",
    "record_key": "INSERT INTO record_key SELECT {at}, subject, wrapped FROM record_key WHERE seq = 3",
    "subject_key": "INSERT INTO subject_key VALUES ({at}, x'00', x'00', x'00')",
    "idempotency": "INSERT INTO idempotency VALUES (x'00', {at})",
    "erased": "INSERT INTO erased VALUES ({at}, 3, 3)",
    "tile": "INSERT INTO tile SELECT {at}, position, root, hashes FROM tile WHERE level = 0 LIMIT 1",
    "checkpoint": "INSERT INTO checkpoint SELECT {at}, note FROM checkpoint LIMIT 1",
}
"""A row that the log does not contain, for each table but the head."""


@pytest.mark.parametrize("at", [-1, -1_000_000, 10**12])
@pytest.mark.parametrize("table", OUTSIDERS)
def test_a_row_outside_the_log_is_told_by_its_table_and_number(
    damaged: Path, table: str, at: int
) -> None:
    connection = apsw.Connection(str(damaged / "log.sqlite3"))
    connection.execute(OUTSIDERS[table].format(at=at))
    connection.close()
    told = [fault.message for fault in verify(damaged).faults if fault.kind == table]
    assert any(str(at) in message or (table == "tile" and at > 0) for message in told), told
    if table == "entry":
        assert any("planted" in message for message in told)
