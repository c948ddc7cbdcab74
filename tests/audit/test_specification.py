"""docs/audit-log.md is enough: a verifier written from it alone agrees with the service's own."""

import random
import re
import shutil
import sqlite3
from base64 import b64decode
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest

from audit.fsck import check_published
from audit.log import Log
from audit.publish import prune, publish
from audit.records import Idempotency, NewRecord
from tests.reference.naive_verifier import BrokenRule, open_payload, parse_leaf, verify_log

ORIGIN = "specification.example/log"
SPECIFICATION = Path(__file__).parents[2] / "docs" / "audit-log.md"


@dataclass
class Made:
    """A log with something of everything, published."""

    log: Log
    public: Path
    first_key: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    place = tmp_path_factory.mktemp("specification")
    log = Log.open(
        place / "log", origin=ORIGIN, clock=lambda: datetime(2026, 11, 26, tzinfo=UTC), create=True
    )
    first_key = log.verifier_key
    public = place / "public"
    public.mkdir()
    for at in range(300):
        log.append(
            [
                NewRecord(
                    "recommendation",
                    f"d{at}",
                    {"n": at, "text": 'ünïcode \u2028 "quoted"'},
                    payload=b'{"case": %d}' % at + b" " * (at % 7),
                    subject=f"person-{at % 5}",
                    idempotency=Idempotency("caller", f"key-{at}", b"body") if at % 3 else None,
                )
            ]
        )
        if at in (3, 250):
            log.checkpoint()
            publish(log, public)
    log.rotate_key()
    log.erase_records(["d7", "d9"], basis="A test.", actor="tester", new_id=lambda: "erasure-1")
    log.checkpoint()
    publish(log, public)
    return Made(log, public, first_key)


def test_a_verifier_written_from_the_document_alone_accepts_the_log(made: Made) -> None:
    leaves = verify_log(made.public, made.first_key)
    assert len(leaves) == made.log.size
    assert verify_log(made.public, made.log.verifier_key) == leaves
    assert {leaf["type"] for leaf in leaves} == {
        "genesis", "recommendation", "key_rotated", "erasure",
    }  # fmt: skip


def test_it_opens_a_disclosed_payload_and_refuses_another(made: Made) -> None:
    row = made.log.entries(5, 6)[0]
    envelope, secret = made.log.envelope(5), made.log.record_key(5)
    assert envelope is not None
    leaf = parse_leaf(row.leaf)
    assert open_payload(leaf, envelope, secret.key, secret.salt) == made.log.read_index(5).payload
    with pytest.raises(BrokenRule, match="kc"):
        open_payload(leaf, envelope, bytes(32), secret.salt)
    with pytest.raises(BrokenRule, match="pc"):
        open_payload(leaf, envelope, secret.key, bytes(32))


def test_pruned_tiles_are_read_from_the_full_ones(made: Made, tmp_path: Path) -> None:
    copy = tmp_path / "public"
    shutil.copytree(made.public, copy)
    assert prune(copy) > 0
    assert len(verify_log(copy, made.first_key)) == made.log.size
    assert check_published(made.log, copy).sound


def test_the_stores_tables_and_columns_are_those_of_the_document(made: Made) -> None:
    store = (SPECIFICATION.read_text()).partition("## 13. The store")[2]
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", store, re.MULTILINE)
    documented = {table: set(re.findall(r"`([a-z_]+)`", columns)) for table, columns in rows}
    with closing(sqlite3.connect(made.log.directory / "log.sqlite3")) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        columns = {
            table: {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
            for (table,) in tables
        }
    assert columns.keys() == documented.keys()
    for table in columns:
        assert columns[table] <= documented[table] <= columns[table] | {"record_key"}, table


def test_what_the_store_keeps_beside_the_entries_is_as_the_document_says(made: Made) -> None:
    directory = made.log.directory
    genesis = parse_leaf(made.log.entries(0, 1)[0].leaf)
    for name in ("master", "digest"):
        key = b64decode((directory / "keys" / f"{name}.key").read_bytes().removesuffix(b"\n"))
        check = sha256(b"grounds/key-check/v1\n" + name.encode() + b"\n" + key).digest()
        assert b64decode(genesis["facts"][f"{name}_check"]) == check
    with closing(sqlite3.connect(directory / "log.sqlite3")) as database:
        subjects = database.execute("SELECT subject, handle, wrapped, digest FROM subject_key")
        for subject, handle, wrapped, digest in subjects.fetchall():
            told = b"grounds/subject/v1\n%d\n" % subject + handle + wrapped
            assert (len(wrapped), digest) == (60, sha256(told).digest()[:16])
            assert any(wrapped) or int.from_bytes(handle, "big") == subject
        ((count, size),) = database.execute("SELECT count(*), max(size) FROM checkpoint")
        (erased,) = zip(*database.execute("SELECT seq FROM erased ORDER BY seq"), strict=True)
        for index in erased:
            ((envelope, wrapped),) = database.execute(
                "SELECT envelope, wrapped FROM payload JOIN record_key USING (seq) WHERE seq = ?",
                (index,),
            )
            assert not any(envelope + wrapped)
            length = parse_leaf(made.log.entries(index, index + 1)[0].leaf)["payload"]["len"]
            assert (len(envelope), len(wrapped)) == (length + 28, 72)
    assert (directory / "checkpoint.count").read_bytes() == b"%d %d\n" % (count, size)


def test_both_refuse_every_flipped_byte_and_missing_file(made: Made, tmp_path: Path) -> None:
    rng = random.Random(4)  # noqa: S311  # places to damage, no secret
    copy = tmp_path / "public"
    shutil.copytree(made.public, copy)
    prune(copy)
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    assert check_published(made.log, copy).sound
    for path in files:
        content = path.read_bytes()
        for at in {0, len(content) - 1, *(rng.randrange(len(content)) for _ in range(3))}:
            path.write_bytes(content[:at] + bytes([content[at] ^ 0x20]) + content[at + 1 :])
            report = check_published(made.log, copy)
            assert not report.sound, (path, at)
            assert path.name == "checkpoint" or report.faults[0].index is not None
            with pytest.raises((BrokenRule, ValueError)):
                verify_log(copy, made.first_key)
        path.unlink()
        assert not check_published(made.log, copy).sound, path
        with pytest.raises(OSError, match="No such file"):
            verify_log(copy, made.first_key)
        path.write_bytes(content)
