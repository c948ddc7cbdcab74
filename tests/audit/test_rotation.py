"""A new signing key: the entry that both signed, crashes in between, and who can follow."""

import os
from pathlib import Path

import pytest

from audit import standalone_verify
from audit.errors import KeyFileError, NoteError, SignatureError
from audit.evidence import Surroundings, build_pack
from audit.leaf import Leaf, parse_leaf
from audit.log import Log
from audit.note import VerifierKey, open_note
from audit.publish import publish
from audit.reader import LogReader
from audit.records import KEY_ROTATED
from audit.rotation import parse_rotation
from tests.audit.check_log import check_log, check_open_log
from tests.audit.conftest import ORIGIN, Clock, MakeRecord, OpenLog, on_both_stores


def alone(target: Path, *vkeys: str) -> bool:
    options = [part for vkey in vkeys for part in ("--vkey", vkey)]
    return standalone_verify.main(["log", str(target), *options]) == 0


@on_both_stores
def test_both_keys_sign_until_the_old_one_retires(
    open_log: OpenLog, record: MakeRecord, tmp_path: Path
) -> None:
    log = open_log()
    first = log.verifier_key
    log.append([record()])
    second = log.rotate_key()
    assert (log.verifier_key, second != first) == (second, True)
    log.append([record()])
    both = [VerifierKey.parse(first), VerifierKey.parse(second)]
    for vkey in both:
        open_note(log.checkpoint(), [vkey])
    publish(log, tmp_path / "public")
    assert alone(tmp_path / "public", first)
    assert alone(tmp_path / "public", second)
    note = log.checkpoint()
    for line in note.splitlines()[4:]:
        wrong = line[:-20] + (b"A" if line[-20:-19] != b"A" else b"B") + line[-19:]
        (tmp_path / "public" / "checkpoint").write_bytes(note.replace(line, wrong))
        assert not alone(tmp_path / "public", first), "a wrong line by either is a wrong note"
    publish(log, tmp_path / "public")
    assert log.retire_key()
    assert not log.retire_key()
    log.append([record()])
    note = log.checkpoint()
    open_note(note, both[1:])
    with pytest.raises(SignatureError):
        open_note(note, both[:1])
    publish(log, tmp_path / "public")
    # Whoever kept only the first key follows the entry to the second.
    assert alone(tmp_path / "public", first)
    log.close()
    reader = LogReader.open_readonly(log.directory, origin=ORIGIN, with_keys=False, store=log.store)
    assert reader.verifier_key == second
    reader.close()
    again = open_log()
    third = again.rotate_key()
    publish(again, tmp_path / "public")
    assert [rotation.new.format() for rotation in again.rotations()] == [second, third]
    assert alone(tmp_path / "public", first, second, third)


def test_a_pack_of_before_is_followed_from_the_first_key(
    open_log: OpenLog, record: MakeRecord, tmp_path: Path
) -> None:
    log = open_log()
    first = log.verifier_key
    made = record(
        b'{"answer":{"recommendation":{"outcome":"x"}}}', facts={"model": {"name": "m", "version": "1", "sha256": "00"}}
    )  # fmt: skip
    log.append([made])
    held = log.checkpoint()
    log.rotate_key()
    log.retire_key()
    log.append([record()])
    leaves = [entry.leaf for entry in log.entries(0, log.size) if b"key_rotated" in entry.leaf]
    policy = f"log {log.verifier_key}\nquorum none\n".encode()
    for rotations, followed in ((leaves, True), ([], False)):
        pack = build_pack(
            log,
            made.id,
            note=log.checkpoint(),
            surroundings=Surroundings(policy, rotations),
            disclose=True,
            held=held,
        )
        (tmp_path / "pack.zip").write_bytes(pack)
        # Neither the checkpoint signed by the new key nor the held one by the old is then known.
        for vkey in (first, log.verifier_key):
            code = standalone_verify.main(["pack", str(tmp_path / "pack.zip"), "--vkey", vkey])
            assert (code == 0) is followed


@pytest.mark.parametrize("crash", range(1, 12))
def test_a_crash_anywhere_leaves_one_key_that_can_go_on(
    open_log: OpenLog, record: MakeRecord, monkeypatch: pytest.MonkeyPatch, crash: int
) -> None:
    """The process ends at the n-th rename or fsync of a rotation; the log opens again."""
    log = open_log()
    first = log.verifier_key
    log.append([record()])
    calls = 0

    def counted(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: object, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls == crash:
                raise KeyboardInterrupt
            return real(*arguments, **options)

        monkeypatch.setattr(os, name, call)

    with monkeypatch.context():
        for name in ("fsync", "replace", "rename"):
            counted(name)
        try:
            log.rotate_key()
        except KeyboardInterrupt:
            ended = True
        else:
            ended = False
        monkeypatch.undo()
    assert ended is (calls >= crash)
    log.close()
    check_log(log.directory)  # before anything goes on from what the crash left
    again = open_log(create=False)
    assert again.verifier_key in {first, *(each.new.format() for each in again.rotations())}
    again.append([record()])
    open_note(again.checkpoint(), [VerifierKey.parse(again.verifier_key)])
    again.rotate_key()
    again.close()
    last = open_log(create=False)
    last.append([record()])
    check_open_log(last)


def test_a_key_that_no_entry_hands_over_to_is_refused(
    open_log: OpenLog, directory: Path, tmp_path: Path
) -> None:
    log = open_log()
    log.close()
    other = Log.open(tmp_path / "other", origin=ORIGIN, clock=Clock(), create=True)
    other.close()
    (directory / "keys" / "log.key").write_bytes((tmp_path / "other/keys/log.key").read_bytes())
    with pytest.raises(KeyFileError, match="signing key"):
        open_log(create=False)


@on_both_stores
def test_a_changed_handing_over_is_refused(open_log: OpenLog) -> None:
    log = open_log()
    log.rotate_key()
    entry = next(row for row in log.entries(0, log.size) if b"key_rotated" in row.leaf)
    leaf = parse_leaf(entry.leaf)
    assert parse_rotation(leaf).new.format() == log.verifier_key
    facts = dict(leaf.facts)
    stranger = VerifierKey(ORIGIN, 1, bytes(32)).format()
    for change in (
        {"by_old": facts["by_new"]},
        {"by_new": facts["by_old"]},
        {"old": stranger},
        {"new": stranger},
        {"by_old": None},
        {"new": facts["new"], "old": "x"},
    ):
        with pytest.raises(NoteError):
            parse_rotation(
                Leaf(KEY_ROTATED, leaf.id, leaf.timestamp, {**facts, **change}, None, None)
            )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_key_that_root_rotates_stays_the_services(open_log: OpenLog, record: MakeRecord) -> None:
    log = open_log()
    log.append([record()])
    nobody = 65_534
    for path in (log.directory, *log.directory.rglob("*")):
        os.chown(path, nobody, nobody)
    log.rotate_key()
    log.checkpoint()
    log.close()
    owners = {path.name: path.stat().st_uid for path in log.directory.rglob("*")}
    assert set(owners.values()) == {nobody}, owners
