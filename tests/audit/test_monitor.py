"""Following a log from outside: what an honest log passes, and every way to cheat is told by name."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.log import Log
from audit.merkle import leaf_hash, root_of
from audit.monitor import Monitor
from audit.monitor_memory import STATE, MonitorStateError
from audit.note import NoteSignature, SigningKey, VerifierKey, open_note
from audit.publish import publish
from audit.published_log import MAX_RESOURCE_BYTES, DirectorySource, SourceError
from audit.records import NewRecord
from audit.tiles import bundle_path, encode_bundle, tile_path, tile_widths
from audit.trust import parse_policy

ORIGIN = "monitor.example/log"
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class Published:
    """A log of our own, and the directory it is published to."""

    def __init__(self, place: Path) -> None:
        self.clock = Clock()
        self.log = Log.open(place / "log", origin=ORIGIN, clock=self.clock, create=True)
        self.public = place / "public"
        self.public.mkdir()
        self.state = place / "state"
        self.state.mkdir()
        self.vkey = VerifierKey.parse(self.log.verifier_key)

    def grow(self, count: int) -> None:
        first = self.log.size
        self.log.append([NewRecord("event", f"e{first + at}", {"n": at}) for at in range(count)])
        self.log.checkpoint()
        publish(self.log, self.public)

    def monitor(self, **options: object) -> Monitor:
        options = {"keys": [self.vkey], **options}
        return Monitor(self.state, DirectorySource(self.public), clock=self.clock, **options)  # type: ignore[arg-type]


@pytest.fixture
def published(tmp_path: Path) -> Iterator[Published]:
    made = Published(tmp_path)
    with closing(made.log):
        yield made


class Forger:
    """Whoever holds the log's key and publishes what it likes."""

    def __init__(self, directory: Path, key: SigningKey) -> None:
        self.directory = directory
        self.key = key

    def write(self, entries: list[bytes], *, shown: list[bytes] | None = None) -> None:
        """Publish ``entries`` with a checkpoint over them; the bundles show ``shown``."""
        hashes = [leaf_hash(entry) for entry in entries]
        for level, (full, partial) in enumerate(tile_widths(len(entries))):
            span = 256**level
            roots = [root_of(hashes[at : at + span]) for at in range(0, len(hashes), span)]
            for position in range(full + bool(partial)):
                width = 256 if position < full else partial
                self._file(tile_path(level, position, width),
                           b"".join(roots[position * 256 : position * 256 + width]))  # fmt: skip
                if level == 0:
                    part = (shown or entries)[position * 256 : position * 256 + width]
                    self._file(bundle_path(position, width), encode_bundle(part))
        self.sign(len(entries), root_of(hashes))

    def sign(self, size: int, root: bytes) -> None:
        note = sign_checkpoint(Checkpoint(ORIGIN, size, root), self.key)
        self._file("checkpoint", note)

    def _file(self, path: str, content: bytes) -> None:
        target = self.directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


@pytest.fixture
def forger(published: Published) -> Forger:
    text = (published.log.directory / "keys" / "log.key").read_text().strip()
    return Forger(published.public, SigningKey.parse(text))


def entries_of(log: Log) -> list[bytes]:
    return [row.leaf for row in log.entries(0, log.size)]


def test_an_honest_log_is_followed_across_tiles_and_restarts(published: Published) -> None:
    for count in (3, 300, 1, 400):
        published.grow(count)
        seen = published.monitor().look()
        assert seen.sound, seen.findings
        assert seen.verified == seen.size == published.log.size
    again = published.monitor().look()
    assert (again.sound, again.new) == (True, 0)
    # By now it knows whose log it is, and needs no key.
    assert Monitor(published.state, DirectorySource(published.public),
                   clock=published.clock).look().sound  # fmt: skip


def test_a_checkpoint_that_is_held_spares_reading_what_came_before(published: Published) -> None:
    published.grow(300)
    held = published.log.checkpoint()
    published.grow(50)
    seen = published.monitor(start=held).look()
    assert (seen.sound, seen.new, seen.verified) == (True, 50, 351)


@pytest.mark.parametrize("size", [34, 300])
def test_a_log_that_was_set_back_is_rolled_back_at_the_first_look_too(
    published: Published, forger: Forger, size: int
) -> None:
    published.grow(size - 1)
    older = entries_of(published.log)
    published.grow(7)
    held = published.log.checkpoint()
    for path in sorted(published.public.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    forger.write(older)
    (finding,) = published.monitor(start=held).look().findings
    assert finding.kind == "rolled-back"
    assert f"{size + 7} entries, and the log shows {size}" in finding.message
    assert "it may not be published yet" in finding.message
    assert_proved(finding.evidence, published)
    assert not (published.state / STATE).exists()


@pytest.mark.parametrize(("behind", "kind"), [(11, "inconsistent"), (0, "split-view")])
def test_another_history_than_the_one_held_is_told_at_the_first_look_too(
    published: Published, forger: Forger, behind: int, kind: str
) -> None:
    published.grow(300)
    other = Checkpoint(ORIGIN, published.log.size - behind, sha256(b"another history").digest())
    held = sign_checkpoint(other, forger.key)
    (finding,) = published.monitor(start=held).look().findings
    assert finding.kind == kind
    assert_proved(finding.evidence, published)


def test_an_older_log_than_the_one_held_which_still_has_it_is_behind(published: Published) -> None:
    published.grow(5)
    older = (published.public / "checkpoint").read_bytes()
    published.grow(5)
    held = published.log.checkpoint()
    (published.public / "checkpoint").write_bytes(older)
    (finding,) = published.monitor(start=held).look().findings
    assert (finding.kind, finding.evidence) == ("behind", None)


def test_tiles_that_do_not_lead_to_the_checkpoint_held_prove_nothing(published: Published) -> None:
    published.grow(5)
    held = published.log.checkpoint()
    published.grow(5)
    (published.public / tile_path(0, 0, 11)).write_bytes(bytes(32 * 10 + 1))
    (finding,) = published.monitor(start=held).look().findings
    assert (finding.kind, finding.evidence) == ("tile", None)


def test_what_a_stranger_signed_proves_nothing_against_the_log(
    published: Published, forger: Forger
) -> None:
    published.grow(5)
    other = Checkpoint(ORIGIN, 3, sha256(b"another history").digest())
    held = sign_checkpoint(other, forger.key)
    forger.key = SigningKey.generate(ORIGIN)
    forger.write(entries_of(published.log))
    (finding,) = published.monitor(start=held).look().findings
    assert (finding.kind, finding.evidence) == ("signature", None)
    with pytest.raises(MonitorStateError, match="the checkpoint given"):
        published.monitor(start=sign_checkpoint(other, forger.key)).look()


def test_a_log_is_followed_from_the_very_checkpoint_that_it_shows(published: Published) -> None:
    published.grow(300)
    assert published.monitor(start=published.log.checkpoint()).look().sound
    published.grow(1)
    seen = published.monitor().look()
    assert (seen.sound, seen.new) == (True, 1)


def test_a_change_of_keys_after_the_checkpoint_held_is_followed(published: Published) -> None:
    published.grow(5)
    held = published.log.checkpoint()
    published.log.rotate_key()
    published.log.retire_key()
    published.grow(1)
    assert published.monitor(start=held).look().sound


def test_a_change_of_keys_is_followed_even_when_the_overlap_was_missed(
    published: Published,
) -> None:
    published.grow(2)
    assert published.monitor().look().sound
    published.log.rotate_key()
    published.grow(1)
    published.log.retire_key()
    published.grow(1)
    monitor = published.monitor()
    assert monitor.look().sound
    assert monitor.state is not None
    assert [key.format() for key in monitor.state.keys][-1] == published.log.verifier_key


def assert_proved(found: Path | None, published: Published) -> None:
    """Both notes are in the evidence, and the log's own key verifies both."""
    assert found is not None
    told = json.loads(found.read_bytes())
    texts = {open_note(told[name].encode(), [published.vkey])[0].text for name in ("held", "shown")}
    assert len(texts) == 2


def test_two_roots_of_one_size_are_a_split_view(published: Published, forger: Forger) -> None:
    published.grow(5)
    assert published.monitor().look().sound
    forger.sign(published.log.size, sha256(b"another history").digest())
    before = (published.state / STATE).read_bytes()
    (finding,) = published.monitor().look().findings
    assert finding.kind == "split-view"
    assert_proved(finding.evidence, published)
    # It is told again until somebody acts, and what was verified stays.
    assert published.monitor().look().findings[0].kind == "split-view"
    assert (published.state / STATE).read_bytes() == before


@pytest.mark.parametrize("size", [6, 300, 600])
def test_a_log_that_rewrote_an_entry_is_inconsistent(
    published: Published, forger: Forger, size: int
) -> None:
    published.grow(size)
    assert published.monitor().look().sound
    published.grow(10)
    entries = entries_of(published.log)
    entries[2] = entries[3]
    forger.write(entries)
    (finding,) = published.monitor().look().findings
    assert finding.kind == "inconsistent"
    assert_proved(finding.evidence, published)


def test_a_log_that_was_set_back_is_rolled_back(published: Published, forger: Forger) -> None:
    published.grow(300)
    older = entries_of(published.log)
    published.grow(300)
    assert published.monitor().look().sound
    for path in sorted(published.public.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    forger.write(older)
    (finding,) = published.monitor().look().findings
    assert finding.kind == "rolled-back"
    assert_proved(finding.evidence, published)


def test_an_older_checkpoint_of_the_same_log_is_behind_and_proves_nothing(
    published: Published,
) -> None:
    published.grow(5)
    older = (published.public / "checkpoint").read_bytes()
    published.grow(5)
    assert published.monitor().look().sound
    (published.public / "checkpoint").write_bytes(older)
    (finding,) = published.monitor().look().findings
    assert (finding.kind, finding.evidence) == ("behind", None)


def test_entries_that_are_not_those_of_the_signed_tree_are_told(
    published: Published, forger: Forger
) -> None:
    published.grow(5)
    assert published.monitor().look().sound
    published.grow(5)
    entries = entries_of(published.log)
    forger.write(entries, shown=[*entries[:-1], entries[0]])
    (finding,) = published.monitor().look().findings
    assert finding.kind == "entry"


def test_tiles_that_lead_nowhere_are_told_apart_from_a_second_history(
    published: Published, forger: Forger
) -> None:
    published.grow(5)
    assert published.monitor().look().sound
    published.grow(5)
    forger.sign(published.log.size, sha256(b"no tree").digest())
    (finding,) = published.monitor().look().findings
    assert (finding.kind, finding.evidence) == ("tile", None)


def test_an_entry_that_is_no_leaf_is_named(published: Published, forger: Forger) -> None:
    published.grow(5)
    forger.write([*entries_of(published.log), b'{"v": 1}'])
    (finding,) = published.monitor().look().findings
    assert finding.kind == "entry"
    assert "entry 6" in finding.message


def test_a_strangers_checkpoint_is_not_the_logs(published: Published, forger: Forger) -> None:
    published.grow(5)
    assert published.monitor().look().sound
    forger.key = SigningKey.generate(ORIGIN)
    forger.write(entries_of(published.log))
    (finding,) = published.monitor().look().findings
    assert finding.kind == "signature"


def test_a_quorum_that_is_missing_and_a_checkpoint_too_old_are_told(published: Published) -> None:
    published.grow(2)
    witness = SigningKey.generate("witness.example/1")
    cosigner = VerifierKey(witness.verifier.name, 4, witness.verifier.public_key)
    policy = parse_policy(
        f"log {published.vkey.format()}\nwitness w {cosigner.format()}\nquorum w\n".encode()
    )
    monitor = published.monitor(keys=(), policy=policy, stale_seconds=60.0)
    assert [each.kind for each in monitor.look().findings] == ["quorum"]
    published.clock.now = NOW + timedelta(seconds=61)
    assert [each.kind for each in monitor.look().findings] == ["quorum", "stale"]


def test_nothing_to_read_is_no_finding_but_cannot_be_passed(published: Published) -> None:
    with pytest.raises(SourceError):
        published.monitor().look()
    published.grow(300)
    (published.public / tile_path(0, 0)).unlink()
    assert published.monitor().look().sound  # tiles are asked for only in doubt
    (published.public / bundle_path(1, 45)).unlink()
    published.grow(1)
    (published.public / bundle_path(1, 46)).unlink()
    with pytest.raises(SourceError, match="does not publish"):
        published.monitor().look()


def test_whose_log_it_is_must_come_from_outside_and_a_damaged_state_is_refused(
    published: Published,
) -> None:
    published.grow(2)
    with pytest.raises(MonitorStateError, match="must come from you"):
        published.monitor(keys=())
    assert published.monitor().look().sound
    other = SigningKey.generate("other.example/log").verifier
    with pytest.raises(MonitorStateError, match="is of the log"):
        published.monitor(keys=[other])
    path = published.state / STATE
    told = json.loads(path.read_bytes())
    told["frontier"] = told["frontier"][::-1] + told["frontier"]
    path.write_text(json.dumps(told))
    with pytest.raises(MonitorStateError, match="damaged"):
        published.monitor()


def test_a_page_of_a_proxy_in_the_checkpoints_place_is_survived(published: Published) -> None:
    published.grow(2)
    monitor = published.monitor()
    path = published.public / "checkpoint"
    content = path.read_bytes()
    for page in (b"<html>Bad gateway</html>\n", b"", b"\xff", b"one\n\n" + content[-100:]):
        path.write_bytes(page)
        with pytest.raises(SourceError, match="no checkpoint"):
            monitor.look()
    path.write_bytes(content)
    assert monitor.look().sound


@pytest.mark.parametrize(
    "change",
    [
        lambda bundle: bundle[:-1],
        lambda bundle: bundle + b"\x00\x01x",
        lambda bundle: bundle + b"\x00",
        lambda _bundle: b"",
        lambda _bundle: b"<html>Bad gateway</html>",
        lambda _bundle: bytes(MAX_RESOURCE_BYTES + 1),
    ],
    ids=["truncated", "one-more", "a-byte-more", "empty", "page", "too-large"],
)
def test_a_bundle_of_another_length_is_told_and_survived(
    published: Published, change: Callable[[bytes], bytes]
) -> None:
    published.grow(300)
    monitor = published.monitor()
    path = published.public / bundle_path(1, published.log.size - 256)
    content = path.read_bytes()
    path.write_bytes(change(content))
    seen = monitor.look()
    assert [each.kind for each in seen.findings] == ["entry"]
    assert (seen.verified, monitor.state) == (0, None)
    path.write_bytes(content)
    assert monitor.look().sound


def test_a_partial_bundle_that_is_gone_is_read_from_the_full_one(published: Published) -> None:
    published.grow(10)
    older = (published.public / "checkpoint").read_bytes()
    published.grow(300)
    (published.public / "checkpoint").write_bytes(older)
    (published.public / bundle_path(0, 11)).unlink(missing_ok=True)
    assert published.monitor().look().sound


def test_a_wrong_cosignature_is_told_and_survived(published: Published) -> None:
    published.grow(2)
    witness = SigningKey.generate("witness.example/1")
    cosigner = VerifierKey(witness.verifier.name, 4, witness.verifier.public_key)
    policy = parse_policy(
        f"log {published.vkey.format()}\nwitness w {cosigner.format()}\nquorum w\n".encode()
    )
    path = published.public / "checkpoint"
    forged = NoteSignature(cosigner.name, cosigner.key_id, bytes(72))
    path.write_bytes(path.read_bytes() + forged.line().encode())
    seen = published.monitor(keys=(), policy=policy, stale_seconds=60.0).look()
    assert [each.kind for each in seen.findings] == ["quorum"]
