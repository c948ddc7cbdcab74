"""Two verifiers that share no code agree on generated logs, and both refuse every mutation.

Ours reads the database; the one that stands alone reads what was published. ``GROUNDS_LONG=1`` makes
ten thousand logs.
"""

import itertools
import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from audit import schema, standalone_verify
from audit.checkpoint import Checkpoint, parse_checkpoint, sign_checkpoint
from audit.errors import AuditError, LeafError
from audit.fsck import check_published
from audit.keys import read_keys
from audit.layout import DATABASE_FILE
from audit.leaf import Facts
from audit.log import Log
from audit.merkle import leaf_hash
from audit.note import SigningKey, parse_note
from audit.publish import prune, publish
from audit.records import NewRecord
from audit.scanned_leaf import LeafScanner
from audit.sqlite import SqliteStore
from audit.tiles import GrowingTree, bundle_path, decode_bundle, encode_bundle, tile_path
from audit.verify import verify
from tests.audit.conftest import ORIGIN, Clock

LOGS = 10_000 if os.environ.get("GROUNDS_LONG") else 120
SIZES = (1, 2, 3, 5, 8, 31, 255, 256, 257, 300, 513)
DIGEST = "A" * 43 + "="
A_LEAF = (
    '{"facts":{"n":1},"id":"id-1","idem":{"body":"' + "A" * 22 + '==","key":"' + "A" * 22 + '=="},'
    f'"payload":{{"alg":"A256GCM","kc":"{DIGEST}","len":5,"pc":"{DIGEST}","sha256":"{DIGEST}",'
    f'"wk":"{DIGEST}"}},"ts":"2026-11-23T12:00:00.000Z","type":"event","v":1}}'
).encode()


def make(directory: Path, target: Path, rng: random.Random) -> tuple[Log, int]:
    """Grow a log in groups of any size, publishing now and then; return it open, and its size."""
    numbers = itertools.count()
    log = Log.open(
        directory, origin=ORIGIN, clock=Clock(), create=True, store=SqliteStore(directory)
    )
    size = rng.choice(SIZES) if rng.random() < 0.1 else rng.randrange(1, 12)
    while log.size < size:
        count = rng.randrange(1, 1 + size - log.size)
        records = []
        for _ in range(count):
            subject = f"s{rng.randrange(4)}" if rng.random() < 0.1 else None
            payload = rng.randbytes(9) if subject or rng.random() < 0.1 else None
            facts: Facts = {"n": rng.randrange(2**53), "t": '\u00e4\u2028"\\'[: rng.randrange(5)]}
            records.append(NewRecord("event", f"id-{next(numbers)}", facts, payload, subject))
        log.append(records)
        if rng.random() < 0.5:
            log.checkpoint()
            publish(log, target)
    if rng.random() < 0.2:
        log.erase_subject("s1", basis="b", actor="a", new_id=lambda: f"id-{next(numbers)}")
    log.checkpoint()
    publish(log, target)
    if rng.random() < 0.3:
        prune(target)
    return log, log.size


def ours(directory: Path, vkey: str) -> bool:
    try:
        return verify(directory, vkeys=[vkey]).sound
    except AuditError:  # a changed first entry can name another log than the keys beside it
        return False


def alone(target: Path, vkey: str) -> bool:
    return standalone_verify.main(["log", str(target), "--vkey", vkey]) == 0


@pytest.mark.parametrize("part", range(8))
def test_both_agree_on_generated_logs(part: int, tmp_path: Path) -> None:
    for number in range(LOGS // 8):
        directory, target = tmp_path / "log", tmp_path / "public"
        rng = random.Random(8 * number + part)  # noqa: S311
        log, size = make(directory, target, rng)
        vkey = log.verifier_key
        log.close()
        report = verify(directory, vkeys=[vkey])
        assert report.sound, report.faults
        assert alone(target, vkey)
        checkpoint = parse_checkpoint(parse_note((target / "checkpoint").read_bytes()).text)
        assert (checkpoint.size, checkpoint.root) == (report.size, report.root)
        assert size == report.size
        mutate = MUTATIONS[(8 * number + part) % len(MUTATIONS)]
        if mutate(directory, target, rng, size):
            assert not ours(directory, vkey), (mutate.__name__, number)
            assert not alone(target, vkey), (mutate.__name__, number)
        shutil.rmtree(directory)
        shutil.rmtree(target)


Mutation = Callable[[Path, Path, random.Random, int], bool]


def _bundle(target: Path, index: int, size: int) -> Path:
    position = index // 256
    width = min(256, size - position * 256)
    path = target / bundle_path(position, width)
    return path if path.exists() else target / bundle_path(position)


def _change(directory: Path, *statements: tuple[str, tuple[object, ...]]) -> None:
    connection = apsw.Connection(str(directory / DATABASE_FILE))
    triggers = [name for name, sql in schema.STATEMENTS.items() if "TRIGGER" in sql]
    for name in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    for statement, values in statements:
        connection.execute(statement, values)
    for name in triggers:
        connection.execute(schema.STATEMENTS[name])
    connection.close()


def _leaf(directory: Path, index: int) -> bytes:
    connection = apsw.Connection(str(directory / DATABASE_FILE))
    (leaf,) = next(iter(connection.execute("SELECT leaf FROM entry WHERE seq = ?", (index,))))
    connection.close()
    assert isinstance(leaf, bytes)
    return leaf


def _write_leaf(directory: Path, target: Path, index: int, size: int, leaf: bytes) -> None:
    _change(directory, ("UPDATE entry SET leaf = ? WHERE seq = ?", (leaf, index)))
    path = _bundle(target, index, size)
    entries = decode_bundle(path.read_bytes())
    entries[index % 256] = leaf
    path.write_bytes(encode_bundle(entries))


def flip_a_leaf(directory: Path, target: Path, rng: random.Random, size: int) -> bool:
    index = rng.randrange(size)
    leaf = bytearray(_leaf(directory, index))
    leaf[rng.randrange(len(leaf))] ^= 1 << rng.randrange(8)
    _write_leaf(directory, target, index, size, bytes(leaf))
    return True


def shorten_a_leaf(directory: Path, target: Path, rng: random.Random, size: int) -> bool:
    index = rng.randrange(size)
    leaf = _leaf(directory, index)
    _write_leaf(directory, target, index, size, leaf[: rng.randrange(len(leaf))])
    return True


def swap_two_leaves(directory: Path, target: Path, rng: random.Random, size: int) -> bool:
    first, second = rng.randrange(size), rng.randrange(size)
    if first == second:
        return False
    one, other = _leaf(directory, first), _leaf(directory, second)
    _write_leaf(directory, target, first, size, other)
    _write_leaf(directory, target, second, size, one)
    return True


def flip_the_checkpoint(directory: Path, target: Path, rng: random.Random, _size: int) -> bool:
    note = bytearray((target / "checkpoint").read_bytes())
    note[rng.randrange(len(note))] ^= 1 << rng.randrange(8)
    (target / "checkpoint").write_bytes(note)
    (directory / "checkpoint").write_bytes(note)
    return True


def sign_another_root(directory: Path, target: Path, rng: random.Random, size: int) -> bool:
    """The log's own key, and a root that the entries do not have."""
    note = sign_checkpoint(Checkpoint(ORIGIN, size, rng.randbytes(32)), _key(directory))
    for path in (target / "checkpoint", directory / "checkpoint"):
        path.write_bytes(note)
    return True


def sign_with_another_key(directory: Path, target: Path, rng: random.Random, _size: int) -> bool:
    del rng
    text = parse_note((target / "checkpoint").read_bytes()).text
    note = sign_checkpoint(parse_checkpoint(text), _key(directory).generate(ORIGIN))
    for path in (target / "checkpoint", directory / "checkpoint"):
        path.write_bytes(note)
    return True


def flip_a_tile(directory: Path, target: Path, rng: random.Random, size: int) -> bool:
    """Only full tiles are in the database; the published ones may be partial."""
    if size < 256:
        return False
    path = target / tile_path(0, 0)
    tile = bytearray(path.read_bytes())
    tile[rng.randrange(len(tile))] ^= 1 << rng.randrange(8)
    path.write_bytes(tile)
    _change(
        directory, ("UPDATE tile SET hashes = ? WHERE level = 0 AND position = 0", (bytes(tile),))
    )
    return True


def lose_the_last_entry(directory: Path, target: Path, rng: random.Random, size: int) -> bool:
    del rng
    _change(directory, ("DELETE FROM entry WHERE seq = ?", (size - 1,)))
    path = _bundle(target, size - 1, size)
    path.write_bytes(encode_bundle(decode_bundle(path.read_bytes())[: (size - 1) % 256]))
    return True


def misspell_a_leaf(directory: Path, target: Path, rng: random.Random, size: int) -> bool:
    """An entry that the format forbids, in a log whose hashes, tiles and signature all fit it."""
    if not 1 < size < 256:
        return False
    index = rng.randrange(1, size)
    leaf = rng.choice(FORBIDDEN)(_leaf(directory, index))
    _write_leaf(directory, target, index, size, leaf)
    _change(directory, ("UPDATE entry SET leaf_hash = ? WHERE seq = ?", (leaf_hash(leaf), index)))
    hashes = [leaf_hash(entry) for entry in decode_bundle(_bundle(target, 0, size).read_bytes())]
    tree = GrowingTree()
    tree.append(hashes)
    (target / tile_path(0, 0, size)).write_bytes(b"".join(hashes))
    note = sign_checkpoint(Checkpoint(ORIGIN, size, tree.root()), _key(directory))
    (target / "checkpoint").write_bytes(note)
    assert (index, "leaf") in {(fault.index, fault.kind) for fault in verify(directory).faults}
    return True


def with_fact(member: str) -> Callable[[bytes], bytes]:
    return lambda leaf: leaf.replace(b'{"facts":{', b'{"facts":{%s,' % member.encode())


def with_end(end: str) -> Callable[[bytes], bytes]:
    return lambda leaf: leaf.replace(b'"v":1}', end.encode())


FORBIDDEN: list[Callable[[bytes], bytes]] = [
    with_fact('"A":1,"A":1'),
    with_fact('"A":1.5'),
    with_fact('"A":1e0'),
    with_fact('"A":NaN'),
    with_fact('"A":-Infinity'),
    with_fact('"A":-0'),
    with_fact('"A":9007199254740992'),
    with_fact('"A":"\\u0041"'),
    with_fact('"A":"\\ud800"'),
    with_fact('"A\u00e4":1'),
    with_fact('"z":1'),
    with_fact(f'"A":"{"x" * 2_000}"'),
    with_end('"v":1,"v":1}'),
    with_end('"v":1,"z":"Maria Muster"}'),
    with_end('"v":true}'),
    with_end('"v":2}'),
    with_end('"v":1} '),
    lambda leaf: b" " + leaf,
    lambda leaf: leaf.replace(b'"id":', b'"id": '),
    lambda leaf: leaf.decode().encode("utf-16"),
    lambda leaf: b"\xef\xbb\xbf" + leaf,
    lambda leaf: leaf.replace(b'"ts":', b'"payload":null,"ts":'),
    lambda leaf: b"[" + leaf + b"]",
]


@pytest.mark.parametrize("number", range(len(FORBIDDEN)))
def test_both_refuse_what_the_format_forbids(number: int) -> None:
    forbidden = FORBIDDEN[number](A_LEAF)
    assert forbidden != A_LEAF
    with pytest.raises(LeafError):
        LeafScanner().scan(forbidden)
    with pytest.raises(standalone_verify.Wrong):
        standalone_verify.parse_leaf(forbidden)


def test_both_read_a_leaf_alike_and_refuse_other_commitments() -> None:
    assert LeafScanner().scan(A_LEAF).leaf().id == standalone_verify.parse_leaf(A_LEAF)["id"]
    for old, new in (
        ('"len":5', '"len":true'),
        ('"len":5', '"len":-1'),
        ('"len":5', '"len":"5"'),
        ("A256GCM", "none"),
        ('"kc":', '"kd":'),
        (DIGEST, DIGEST[:-2] + "B="),
        (DIGEST, "AAAA"),
        ('"body":"AAAA', '"body":"'),
        ('"idem":{', '"idem":{"a":1,'),
    ):
        changed = A_LEAF.replace(old.encode(), new.encode())
        assert changed != A_LEAF
        with pytest.raises(LeafError):
            LeafScanner().scan(changed)
        with pytest.raises(standalone_verify.Wrong):
            standalone_verify.parse_leaf(changed)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("id", value) for value in ('""', '"a b"', '"a/b"', f'"{"a" * 65}"', "1", '"\u00e4"')),
        *(("type", value) for value in ('"Event"', '""', f'"{"a" * 49}"', "null", '"1"')),
        *(("ts", value) for value in ('"2026-11-23"', '"2026-11-23T12:00:00Z"', "0")),
        *(("facts", value) for value in ("[]", "null", '"a"')),
    ],
)
def test_identifier_type_time_and_facts_are_of_their_form(name: str, value: str) -> None:
    forbidden = re.sub(rf'"{name}":("[^"]*"|\{{.*?\}})', f'"{name}":{value}', A_LEAF.decode())
    assert forbidden != A_LEAF.decode()
    with pytest.raises(standalone_verify.Wrong, match=r"form|facts"):
        standalone_verify.parse_leaf(forbidden.encode())


def test_both_refuse_what_follows_the_entries_or_hashes_of_a_file(tmp_path: Path) -> None:
    directory, target = tmp_path / "log", tmp_path / "public"
    log = Log.open(
        directory, origin=ORIGIN, clock=Clock(), create=True, store=SqliteStore(directory)
    )
    notes = []
    for size in (255, 300):
        log.append([NewRecord("event", f"id-{at}", {}) for at in range(log.size, size)])
        notes.append(log.checkpoint())
        publish(log, target)
    assert prune(target)
    behind = tmp_path / "behind"
    shutil.copytree(target, behind)
    (behind / "checkpoint").write_bytes(notes[0])
    vkey = log.verifier_key
    assert check_published(log, target).sound
    # Where 255 entries are signed, the files of 256 stand for the pruned ones.
    for place, read in ((target, "*/*"), (behind, "*/000")):
        files = [path for path in (place / "tile").rglob(read) if path.is_file()]
        assert len(files) >= 2
        assert alone(place, vkey)
        for path in files:
            content = path.read_bytes()
            for changed in (content + bytes(13), content + bytes(32), content[:-1]):
                path.write_bytes(changed)
                assert not alone(place, vkey), path
                assert place == behind or not check_published(log, place).sound
            path.write_bytes(content)
    log.close()


def _key(directory: Path) -> SigningKey:
    return read_keys(directory / "keys", origin=ORIGIN).signing


MUTATIONS: list[Mutation] = [
    flip_a_leaf,
    shorten_a_leaf,
    swap_two_leaves,
    flip_the_checkpoint,
    sign_another_root,
    sign_with_another_key,
    flip_a_tile,
    lose_the_last_entry,
    misspell_a_leaf,
]
