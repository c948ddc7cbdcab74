"""What a SQLite log finds from memory and tables is what a plain dictionary would, whatever happened.

At the level of the writer's transactions, so that digests that begin alike can be had, and with so
short a tail that something is being moved nearly all the time.
"""

import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import pytest

from audit.digest_pages import CAPACITY, ROW_BYTES, DigestPages, entry, indexes_in, pack, unpack
from audit.envelope import subject_row_digest, unlinked_handle
from audit.errors import DamagedLogError, LogFullError
from audit.lookup_checks import lookup_faults
from audit.rows import Group, Head
from audit.sqlite import SqliteConnection, SqliteStore, SqliteWriter
from audit.sqlite_scan import SqliteSource
from audit.store import ConstraintViolationError
from tests.audit.faulty_vfs import NAME, FaultyDisk

MOST_RECENT = 40
PREFIXES = [bytes([at * 16]) * 4 for at in range(1, 9)]
"""Few, so that digests of different subjects begin alike all the time."""


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    disk = FaultyDisk()
    yield disk
    disk.remove()


@dataclass
class Model:
    """The same, as dictionaries."""

    size: int = 0
    root: bytes = bytes(32)
    subjects: dict[bytes, int] = field(default_factory=dict)
    requests: dict[bytes, int] = field(default_factory=dict)
    records: dict[int, list[int]] = field(default_factory=dict)

    def after(self, group: Group) -> "Model":
        """What holds once the group is stored."""
        then = Model(
            self.size + len(group.entries),
            random.randbytes(32),  # noqa: S311 - any other than before
            dict(self.subjects),
            dict(self.requests),
            {subject: [*seqs] for subject, seqs in self.records.items()},
        )
        then.subjects |= {handle: subject for subject, handle, _, _ in group.subject_keys}
        then.requests |= dict(group.idempotency)
        for seq, subject, _ in group.record_keys:
            then.records.setdefault(subject, []).append(seq)
        for seq, _, subject in group.erased:
            then.records[subject].remove(seq)
            if not then.records[subject]:
                then.subjects = {h: s for h, s in then.subjects.items() if s != subject}
        return then

    @property
    def head(self) -> Head:
        return Head(self.size, b"", self.root)


class Run:
    """A writer and its model, driven by chance."""

    def __init__(self, directory: Path, seed: int, disk: FaultyDisk) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - order, not secrets
        self.directory, self.disk = directory, disk
        directory.mkdir()
        self.writer = self.open()
        first = self.writer.connect()
        (row,) = first.query("SELECT size, root FROM head")
        first.close()
        self.model = Model(root=bytes(row[1]))  # type: ignore[arg-type]  # bytes
        group = Group(entries=[(0, "0", b"", b"")])
        self.commit(group)
        self.used: list[bytes] = []

    def open(self) -> SqliteWriter:
        store = SqliteStore(self.directory, vfs=NAME, most_recent=MOST_RECENT)
        writer = store.open_writer()
        writer.prepare_schema()
        return writer

    def commit(self, group: Group) -> None:
        then = self.model.after(group)
        self.writer.commit(group, old=self.model.head, new=then.head)
        self.model = then

    def digest(self) -> bytes:
        made = self.rng.choice(PREFIXES) + self.rng.randbytes(12)
        if self.rng.random() < 0.5:
            made = self.rng.randbytes(16)
        self.used.append(made)
        return made

    def group(self, size: int) -> Group:
        group = Group()
        fresh: dict[bytes, int] = {}
        for seq in range(self.model.size, self.model.size + size):
            group.entries.append((seq, str(seq), b"", b""))
            known = {**self.model.subjects, **fresh}
            if known and self.rng.random() < 0.5:
                subject = known[self.rng.choice(sorted(known))]
            else:
                subject = seq
                handle = self.digest() if self.rng.random() < 0.8 else unlinked_handle(seq)
                if handle != unlinked_handle(seq):
                    fresh[handle] = seq
                group.subject_keys.append(
                    (seq, handle, bytes(60), subject_row_digest(seq, handle, bytes(60)))
                )
            group.record_keys.append((seq, subject, bytes(72)))
            if self.rng.random() < 0.5:
                group.idempotency.append((self.digest(), seq))
        return group

    def append(self) -> None:
        self.commit(self.group(self.rng.choice([1, 2, 9, 9, 30])))

    def append_what_is_there(self) -> None:
        """Refused whole, however the rest of the group looks, and nothing is remembered of it."""
        group = self.group(5)
        linked = [handle for handle in self.model.subjects if not handle.startswith(bytes(8))]
        if self.rng.random() < 0.5 and linked:
            at, handle = self.model.size + 4, self.rng.choice(linked)
            group.subject_keys = [row for row in group.subject_keys if row[0] != at]
            group.subject_keys.append((at, handle, b"", b""))
        elif self.model.requests:
            group.idempotency.append((self.rng.choice([*self.model.requests]), self.model.size))
        else:
            return
        with pytest.raises(ConstraintViolationError):
            self.commit(group)

    def append_one_twice(self) -> None:
        group = self.group(2)
        group.idempotency += [(bytes(16), self.model.size), (bytes(16), self.model.size + 1)]
        with pytest.raises(ConstraintViolationError):
            self.commit(group)

    def fill_the_disk(self) -> None:
        self.disk.failing = {"write": apsw.FullError}
        with pytest.raises(LogFullError):
            self.commit(self.group(30))
        self.disk.failing = {}

    def erase(self) -> None:
        with_records = [subject for subject, seqs in self.model.records.items() if seqs]
        if with_records:
            subject = self.rng.choice(with_records)
            seqs = self.model.records[subject]
            gone = seqs if self.rng.random() < 0.7 else seqs[:1]
            seq = self.model.size
            group = Group(entries=[(seq, str(seq), b"", b"")])
            group.erased = [(index, seq, subject) for index in gone]
            self.commit(group)

    def reopen(self) -> None:
        self.writer.close()
        self.writer = self.open()

    def step(self) -> None:
        what = [self.append] * 6 + [
            self.append_what_is_there,
            self.append_one_twice,
            self.fill_the_disk,
            self.erase,
            self.reopen,
        ]
        self.rng.choice(what)()

    def check(self) -> None:
        linked = {
            handle: subject
            for handle, subject in self.model.subjects.items()
            if not handle.startswith(bytes(8))
        }
        asked = [*dict.fromkeys([*self.used, *linked])]
        for connection in (self.writer.connect(), SqliteConnection(self.directory / "log.sqlite3")):
            with closing(connection):
                rows = connection.find_subjects(asked)
                assert sorted((row[1], row[0]) for row in rows) == sorted(linked.items())
                for digest in asked:
                    index = self.model.requests.get(digest)
                    found = connection.find_requests(digest)
                    assert found == ([] if index is None else [(index,)])
                for subject, seqs in self.model.records.items():
                    assert connection.records_of(subject) == [(seq,) for seq in seqs]
        scanner = SqliteSource(self.directory).open()
        assert lookup_faults(scanner) == []
        scanner.close()


@pytest.mark.parametrize("seed", range(4))
def test_what_is_found_is_what_a_dictionary_holds(
    tmp_path: Path, disk: FaultyDisk, seed: int
) -> None:
    run = Run(tmp_path / "log", seed, disk)
    for number in range(150):
        run.step()
        if number % 10 == 9:
            run.check()
    run.check()
    pages = run.writer.connect()
    ((upto,),) = pages.query("SELECT upto FROM lookup_extent")
    assert isinstance(upto, int)
    assert upto > 100, "nothing was moved: the test tests nothing"
    pages.close()
    run.writer.close()


def test_memory_does_not_run_ahead_of_a_file_that_refused(tmp_path: Path, disk: FaultyDisk) -> None:
    """After a full disk in the middle of a move, the same group can be appended."""
    run = Run(tmp_path / "log", 5, disk)
    for _ in range(30):
        group = run.group(9)
        disk.failing = {"write": apsw.FullError}
        with pytest.raises(LogFullError):
            run.commit(group)
        disk.failing = {}
        run.commit(group)
    run.check()
    run.writer.close()


def pages_at(path: Path) -> tuple[apsw.Connection, DigestPages]:
    connection = apsw.Connection(str(path))
    connection.pragma("page_size", 8_192)
    connection.pragma("secure_delete", "ON")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS handle_page (first INTEGER PRIMARY KEY, entries BLOB NOT NULL)"
    )
    pages = DigestPages(connection, "handle_page")
    pages.load()
    return connection, pages


def test_no_byte_of_a_digest_taken_out_is_left_in_the_file(tmp_path: Path) -> None:
    """Through many cuttings of rows, after which a table of single digests keeps copies."""
    rng = random.Random(7)  # noqa: S311
    connection, pages = pages_at(tmp_path / "pages")
    made: list[tuple[bytes, int]] = []
    for start in range(1, 20_000, 500):
        new = [(rng.randbytes(16), index) for index in range(start, start + 500)]
        pages.add(sorted(entry(digest, index) for digest, index in new))
        made += new
        for digest, index in rng.sample(made, 20):
            pages.remove(digest, index)
            made.remove((digest, index))
            content = (tmp_path / "pages").read_bytes()
            assert digest[:4] not in content, f"{index} is left"
    content = (tmp_path / "pages").read_bytes()
    assert all(entry(*each) in content for each in made), "the search finds nothing at all"
    ((rows, longest),) = connection.execute(
        "SELECT count(*), max(length(entries)) FROM handle_page"
    ).fetchall()
    assert isinstance(rows, int)
    assert rows > 20
    assert longest == ROW_BYTES
    assert len(content) < (rows + 10) * 8_192, "a row takes more than a page"
    connection.close()


def test_rows_begin_with_no_more_of_a_digest_than_tells_them_apart(tmp_path: Path) -> None:
    rng = random.Random(8)  # noqa: S311
    connection, pages = pages_at(tmp_path / "pages")
    pages.add(sorted(entry(rng.randbytes(16), index) for index in range(1, 20_000)))
    firsts = [int(str(first)) for (first,) in connection.execute("SELECT first FROM handle_page")]
    assert len(firsts) > 25
    assert all(first % (1 << 4) == 0 for first in firsts)
    connection.close()


def test_digests_that_begin_alike_are_told_apart_by_their_rows(tmp_path: Path) -> None:
    connection, pages = pages_at(tmp_path / "pages")
    digests = [b"like" + bytes([at]) * 12 for at in range(200)]
    others = [bytes([at]) * 16 for at in range(256)]
    both = list(enumerate([*digests, *others], start=1))
    for chunk in (both[::3], both[1::3], both[2::3], both):
        pages.add(
            sorted(entry(digest, index) for index, digest in chunk), may_be_there=chunk is both
        )
    found = pages.find([digests[0], b"lika" + bytes(12), others[9], b"like"])
    assert {digest: sorted(indexes) for digest, indexes in found.items()} == {
        digests[0]: list(range(1, 201)),
        b"like": list(range(1, 201)),
        others[9]: [210],
    }
    many = sorted(entry(b"many", index) for index in range(1, CAPACITY + 2))
    with pytest.raises(DamagedLogError, match="begin alike"):
        pages.add(many)
    connection.close()


def test_a_row_is_read_as_it_was_written_and_any_other_byte_is_refused() -> None:
    rng = random.Random(9)  # noqa: S311
    for count in (0, 1, 2, 300, CAPACITY):
        # Beginning with zero bytes and ending with them, as the filling does.
        entries = sorted(
            {entry(bytes(at % 7) + rng.randbytes(16), 256 * (at + 1)) for at in range(count)}
        )
        row = pack(77, entries)
        assert unpack(77, row) == entries
        for each in entries[:: max(1, count // 9)]:
            assert int.from_bytes(each[4:], "big") in indexes_in(row, each[:4])
        for at in rng.sample(range(ROW_BYTES), 50):
            flipped = bytearray(row)
            flipped[at] ^= 1 << rng.randrange(8)
            with pytest.raises(DamagedLogError):
                unpack(77, bytes(flipped))
        with pytest.raises(DamagedLogError):
            unpack(78, row)


def damage(path: Path, *statements: str) -> None:
    connection = apsw.Connection(str(path))
    for (name,) in connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'trigger'"
    ).fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    connection.close()


def faults_of(directory: Path) -> list[tuple[int | None, str]]:
    scanner = SqliteSource(directory).open()
    try:
        return lookup_faults(scanner)
    finally:
        scanner.close()


@pytest.mark.parametrize("table", ["handle_page", "request_page"])
def test_an_entry_missing_wrong_or_extra_in_a_page_is_named(
    tmp_path: Path, disk: FaultyDisk, table: str
) -> None:
    directory = tmp_path / "log"
    run = Run(directory, 3, disk)
    for _ in range(40):
        run.append()
    run.writer.close()
    path = directory / "log.sqlite3"
    connection = apsw.Connection(str(path))
    ((first, row),) = connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608
    ((upto,),) = connection.execute("SELECT upto FROM lookup_extent").fetchall()
    connection.close()
    assert isinstance(row, bytes)
    assert isinstance(upto, int)
    entries = unpack(0, row)
    moved = [each for each in entries if int.from_bytes(each[4:], "big") < upto]
    rng = random.Random(4)  # noqa: S311
    for _ in range(20):
        each = rng.choice(moved)
        index = int.from_bytes(each[4:], "big")
        others = [other for other in entries if other != each]
        cases = {
            "missing": (others, {index}),
            "wrong digest": (sorted([*others, rng.randbytes(4) + each[4:]]), {index}),
            "wrong index": (sorted([*others, entry(each, 10**9)]), {index, 10**9}),
            "extra": (sorted([*entries, entry(rng.randbytes(4), 5)]), {5}),
            "twice": (sorted([*entries, each]), {index}),
        }
        for what, (changed, named) in cases.items():
            damage(path, f"UPDATE {table} SET entries = x'{pack(0, changed).hex()}'")  # noqa: S608
            assert named <= {at for at, _ in faults_of(directory)}, what
            damage(path, f"UPDATE {table} SET entries = x'{row.hex()}'")  # noqa: S608
    assert faults_of(directory) == []
    damage(path, f"DELETE FROM {table}")  # noqa: S608
    assert {at for at, _ in faults_of(directory)} == {
        int.from_bytes(each[4:], "big") for each in moved
    }
    assert first == 0


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM later_record WHERE seq = {}",
        "UPDATE later_record SET part = (part + 1) % 256 WHERE seq = {}",
        "UPDATE later_record SET subject = subject + 256 WHERE seq = {}",
        "UPDATE later_record SET seq = 100000 WHERE seq = {}",
    ],
)
def test_a_record_not_found_among_its_subjects_is_named(
    tmp_path: Path, disk: FaultyDisk, statement: str
) -> None:
    directory = tmp_path / "log"
    run = Run(directory, 3, disk)
    for _ in range(40):
        run.append()
    run.writer.close()
    path = directory / "log.sqlite3"
    connection = apsw.Connection(str(path))
    ((seq,),) = connection.execute("SELECT seq FROM later_record LIMIT 1 OFFSET 20").fetchall()
    connection.close()
    damage(path, statement.format(seq))
    assert seq in {at for at, _ in faults_of(directory)}


def test_two_subjects_with_one_handle_are_named(tmp_path: Path, disk: FaultyDisk) -> None:
    directory = tmp_path / "log"
    run = Run(directory, 3, disk)
    for _ in range(40):
        run.append()
    linked = sorted(
        subject for handle, subject in run.model.subjects.items() if handle[:8] != bytes(8)
    )
    run.writer.close()
    one, other = linked[-2:]  # not moved yet: no page tells them apart
    damage(
        directory / "log.sqlite3",
        f"UPDATE subject_key SET handle = (SELECT handle FROM subject_key WHERE subject = {one})"  # noqa: S608
        f" WHERE subject = {other}",
    )
    assert other in {at for at, _ in faults_of(directory)}


def test_a_damaged_extent_stops_the_writer(tmp_path: Path, disk: FaultyDisk) -> None:
    run = Run(tmp_path / "log", 3, disk)
    run.writer.close()
    damage(tmp_path / "log" / "log.sqlite3", "UPDATE lookup_extent SET upto = 1")
    assert next(what for _, what in faults_of(tmp_path / "log")).startswith("lookup_extent")
    with pytest.raises(DamagedLogError, match="how far lookups go"):
        run.open()


def test_nothing_of_an_erased_handle_is_in_any_file(tmp_path: Path, disk: FaultyDisk) -> None:
    run = Run(tmp_path / "log", 11, disk)
    were_moved = 0
    for _ in range(60):
        run.append()
        before = dict(run.model.subjects)
        files = contents(run.directory)
        run.erase()
        assert run.writer.purge()
        for handle in before.keys() - run.model.subjects.keys():
            if not handle.startswith(bytes(8)):
                # In the table before, so that the search itself is known to find.
                were_moved += entry(handle, before[handle]) in files
                left = contents(run.directory)
                assert handle[4:] not in left
                assert entry(handle, before[handle]) not in left
    assert were_moved > 10
    run.check()
    run.writer.close()
    for handle, subject in run.model.subjects.items():
        assert handle in contents(run.directory), subject


def contents(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.iterdir() if path.is_file())
