"""Evidence packs: verified by a program that shares no code with ours, on a machine without us."""

import base64
import io
import json
import random
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import cryptography
import pytest
from cryptography import x509

from audit import standalone_verify
from audit.checkpoint import Checkpoint, parse_checkpoint, sign_checkpoint
from audit.errors import LogRolledBackError, NoteError, ProofError
from audit.evidence import StampedCheckpoint, Surroundings, build_pack
from audit.log import Log
from audit.merkle import leaf_hash
from audit.note import Note, SigningKey, encode_base64, parse_note
from audit.proof import LogProof
from audit.publish import publish
from audit.timestamp import request_for, verify_timestamp
from audit.witness import Witness, add_log
from tests.audit.conftest import Clock, MakeRecord, OpenLog
from tests.authority import Authority

PAYLOAD = json.dumps({"answer": {"recommendation": {"outcome": "priority"}}}).encode()
POLICY = b'{"rules":[]}'
ANSWER = b"Maria Muster, 41, two children"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


class Case:
    """A log with a decision, a witness and everything a pack may hold."""

    def __init__(
        self,
        log: Log,
        record: MakeRecord,
        tmp_path: Path,
        authority: Authority,
        said: bytes = PAYLOAD,
    ) -> None:
        self.log = log
        self.tmp_path = tmp_path
        self.authority = authority
        digest = standalone_verify.sha256(POLICY).hex()
        facts = {
            "model": {"name": "demo", "version": "1", "sha256": "ab" * 32},
            "policy": {"sha256": digest},
        }
        payload = said + b" " * 50 + b"\n" * 3
        self.made = record(payload, facts=facts, subject="s")
        log.append([record(), record(ANSWER)])
        self.held = log.checkpoint()
        log.append([self.made, *(record() for _ in range(5))])
        self.witness = Witness.open(
            tmp_path / "witness", name="w.example/1", clock=lambda: datetime.now(UTC)  # noqa: TID251
        )  # fmt: skip
        add_log(tmp_path / "witness", log.verifier_key)
        self.note = self.cosigned(log.checkpoint())
        self.trust = f"log {log.verifier_key}\nwitness w1 {self.witness.vkey}\nquorum w1\n".encode()

    def cosigned(self, note: bytes, *, old: bytes | None = None) -> bytes:
        """Return the note as the witness cosigns it, which knows ``old`` and nothing later."""
        proof = b"old 0\n"
        if old is not None:
            first, second = (parse_checkpoint(parse_note(each).text).size for each in (old, note))
            hashes = self.log.consistency_proof(first, second)
            lines = [f"old {first}", *map(encode_base64, hashes)]
            proof = "".join(f"{line}\n" for line in lines).encode()
        answer = self.witness.add_checkpoint(proof + b"\n" + note)
        assert answer.status == 200
        parsed = parse_note(note + answer.body)
        return Note(parsed.text, parsed.signatures).format()

    def pack(self, *, disclose: bool = True, held: bytes | None = None) -> bytes:
        stamped_note = self.log.stored_checkpoint()
        assert stamped_note is not None
        response = self.authority.reply(request_for(stamped_note).content)
        surroundings = Surroundings(
            self.trust,
            stamped=StampedCheckpoint(stamped_note, response, self.authority.root),
            files={"policy.json": POLICY, "card.json": b"{}\n"},
        )
        return build_pack(
            self.log,
            self.made.id,
            note=self.note,
            surroundings=surroundings,
            disclose=disclose,
            held=held,
        )


@pytest.fixture
def case(open_log: OpenLog, record: MakeRecord, tmp_path: Path, authority: Authority) -> Case:
    return Case(open_log(), record, tmp_path, authority)


def verdict(path: Path, *options: str) -> int:
    return standalone_verify.main(["pack", str(path), *options])


def files_of(pack: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(pack)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_decision_on_which_nothing_was_advised_verifies_too(
    open_log: OpenLog,
    record: MakeRecord,
    tmp_path: Path,
    authority: Authority,
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = json.dumps({"answer": {"advice": {"status": "none"}}}).encode()
    case = Case(open_log(), record, tmp_path, authority, said)
    path = tmp_path / "pack.zip"
    path.write_bytes(case.pack())
    assert verdict(path, "--vkey", case.log.verifier_key) == 0
    assert "nothing was advised" in capsys.readouterr().out


def zipped(path: Path, files: dict[str, bytes], *, relist: bool) -> Path:
    """Write files as a pack; with ``relist`` the forger mends the manifest too."""
    if relist:
        manifest = json.loads(files["manifest.json"])
        manifest["files"] = {
            name: standalone_verify.sha256(content).hex()
            for name, content in files.items()
            if name != "manifest.json"
        }
        files = {**files, "manifest.json": json.dumps(manifest).encode()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def elsewhere(tmp_path: Path, script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script with the standard library and ``cryptography``, and nothing else, importable."""
    libraries = tmp_path / "libraries"
    libraries.mkdir(exist_ok=True)
    site = Path(cryptography.__file__).parents[1]
    wanted = [site / "cryptography", site / "cffi", *site.glob("_cffi_backend*")]
    for part in wanted:
        link = libraries / part.name
        if not link.exists():
            link.symlink_to(part)
    start = (
        "import runpy, sys; sys.path.append(sys.argv[1]); sys.argv = sys.argv[2:];"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    return subprocess.run(  # noqa: S603
        [sys.executable, "-I", "-S", "-c", start, str(libraries), str(script), *arguments],
        cwd=tmp_path,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )


def unpacked(case: Case) -> Path:
    folder = case.tmp_path / "pack"
    folder.mkdir()
    for name, content in files_of(case.pack(held=case.held)).items():
        (folder / name).write_bytes(content)
    return folder


def test_a_pack_verifies_offline_where_nothing_of_ours_is(case: Case) -> None:
    folder = unpacked(case)
    done = elsewhere(case.tmp_path, folder / "verify.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert "FAILED" not in done.stdout
    assert "THE PACK'S OWN WORD" in done.stdout
    for told in ("w1 at", "not after", "sizes 3 and 9", "outcome 'priority'", "all checks are OK"):
        assert told in done.stdout
    trusted = elsewhere(
        case.tmp_path, folder / "verify.py", "pack", str(folder), "--vkey", case.log.verifier_key
    )
    assert trusted.returncode == 0
    assert "as you gave it" in trusted.stdout
    (folder / "leaf.json").write_bytes(b"{}")
    assert elsewhere(case.tmp_path, folder / "verify.py").returncode == 1


def test_whoever_stops_reading_along_gets_no_verdict_and_no_traceback(case: Case) -> None:
    script = unpacked(case) / "verify.py"
    with subprocess.Popen(  # noqa: S603
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
    assert (process.returncode, said) == (1, b"")


@pytest.mark.parametrize(
    ("page", "inside", "written"),
    [
        ("auditors.md", True, r"`(python3 verify\.py [^`]+)`"),
        ("log.md", False, r"&& (python3 pack/verify\.py .+)"),
    ],
)
def test_what_the_pages_tell_auditors_to_type_works(
    case: Case,
    page: str,
    inside: bool,
    written: str,
) -> None:
    folder = unpacked(case)
    (command,) = re.findall(written, (Path("docs") / page).read_text())
    key = case.log.verifier_key
    words = shlex.split(command.replace("$VKEY", key).replace("KEY", key))
    place = folder if inside else case.tmp_path
    done = elsewhere(case.tmp_path, place / words[1], *words[2:])
    assert (done.returncode, done.stderr) == (0, "")
    assert key in done.stdout
    assert "as you gave it" in done.stdout


def test_a_command_that_is_not_understood_is_exit_code_2_and_the_help_is_0(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "2: the command line is not" in str(standalone_verify.__doc__)
    for arguments, code in ((["--unknown"], 2), (["log"], 2), (["--vkey"], 2), (["--help"], 0)):
        with pytest.raises(SystemExit) as ended:
            standalone_verify.main(arguments)
        assert ended.value.code == code
    assert "log" in capsys.readouterr().out


def test_another_key_root_or_checkpoint_of_yours_fails(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pack.zip"
    path.write_bytes(case.pack(held=case.held))
    mine = tmp_path / "mine"
    mine.write_bytes(case.held)
    assert verdict(path, "--checkpoint", str(mine)) == 0
    stranger = SigningKey.from_seed(case.log.origin, bytes(32)).verifier.format()
    other = Authority(tmp_path / "other")
    mine.write_bytes(case.note)
    (tmp_path / "root").write_bytes(other.root)
    for options, told in (
        (["--vkey", stranger], "no known key of the log has signed it"),
        (["--tsa-root", str(tmp_path / "root")], "does not lead to the given root"),
        (["--checkpoint", str(mine)], "another checkpoint than yours"),
    ):
        capsys.readouterr()
        assert verdict(path, *options) == 1
        assert told in capsys.readouterr().out


def test_what_only_the_pack_says_is_marked_until_you_give_your_own(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A witness that the operator made up, and a checkpoint that the operator chose."""
    files = files_of(case.pack(held=case.held))
    files["trust-policy.txt"] = case.trust.replace(b" w1", b" supreme-court")
    path = zipped(tmp_path / "p.zip", files, relist=True)
    policy, held, root = (tmp_path / name for name in ("policy", "held", "root"))
    policy.write_bytes(case.trust)
    held.write_bytes(case.held)
    root.write_bytes(case.authority.root)
    for options, marked in (
        ([], {"the log's key", "the pack's own policy", "that the pack names", "timestamp"}),
        (
            ["--vkey", case.log.verifier_key],
            {"the pack's own policy", "that the pack names", "timestamp"},
        ),
        (["--policy", policy, "--tsa-root", root], {"that the pack names"}),
        (["--policy", policy, "--tsa-root", root, "--checkpoint", held], set()),
    ):
        assert verdict(path, *map(str, options)) == 0
        told = capsys.readouterr().out
        own = [line for line in told.splitlines() if line[:2] == "OK" and "OWN WORD" in line]
        assert len(own) == len(marked), own
        assert all(any(mark in line for line in own) for mark in marked), own
        assert ("supreme-court" in told) is (policy not in options)
        assert ("your own checkpoint" in told) is (held in options)


def test_the_same_bytes_twice(case: Case) -> None:
    surroundings = Surroundings(case.trust, files={"policy.json": POLICY})
    packs = {
        build_pack(case.log, case.made.id, note=case.note, surroundings=surroundings, disclose=True)
        for _ in range(3)
    }
    assert len(packs) == 1


def test_without_disclosure_nothing_opens_the_payload(case: Case, tmp_path: Path) -> None:
    files = files_of(case.pack(disclose=False))
    assert {"payload.json", "disclosure.json"} & files.keys() == set()
    secret = case.log.record_key(3)
    everything = b"".join(files.values())
    assert PAYLOAD not in everything
    for value in (secret.key, secret.salt):
        assert value not in everything
        assert base64.b64encode(value) not in everything
    assert verdict(zipped(tmp_path / "p.zip", files, relist=False)) == 0


def test_every_changed_file_is_noticed(case: Case, tmp_path: Path) -> None:
    """A byte of any file: by the manifest; and by what it means when the manifest is mended too."""
    files = files_of(case.pack(held=case.held))
    rng = random.Random(8)  # noqa: S311
    free = {"manifest.json", *standalone_verify.NOT_VOUCHED_FOR}
    for name, content in files.items():
        for _ in range(6):
            changed = bytearray(content)
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
            mended = {**files, name: bytes(changed)}
            if name != "manifest.json":
                assert verdict(zipped(tmp_path / "p.zip", mended, relist=False)) == 1, name
            if name in free:
                continue
            assert verdict(zipped(tmp_path / "p.zip", mended, relist=True)) == 1, (name, changed)
        without = {other: value for other, value in files.items() if other != name}
        if name != "manifest.json":
            assert verdict(zipped(tmp_path / "p.zip", without, relist=False)) == 1, name


def test_an_erased_record_is_proved_to_be_erased(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case.log.erase_subject("s", basis="GDPR Art. 17", actor="dpo", new_id=lambda: "erasure-1")
    with pytest.raises(NoteError, match="older than the erasure"):
        case.pack()
    case.note = case.log.checkpoint()
    case.trust = f"log {case.log.verifier_key}\nquorum none\n".encode()
    files = files_of(case.pack())
    assert {"payload.json", "disclosure.json", "envelope.bin"} & files.keys() == set()
    assert verdict(zipped(tmp_path / "p.zip", files, relist=False)) == 0
    assert "on the ground 'GDPR Art. 17'" in capsys.readouterr().out
    leaf = json.loads(files["erasure-leaf.json"])
    leaf["facts"]["of"] = [1]
    files["erasure-leaf.json"] = json.dumps(leaf).encode()
    assert verdict(zipped(tmp_path / "p.zip", files, relist=True)) == 1


def test_an_erasure_under_a_checkpoint_that_no_witness_has_seen_is_none(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who holds the signing key could show an erasure that only a history of their own has."""
    case.log.erase_subject("s", basis="Article 17", actor="dpo", new_id=lambda: "erasure-1")
    alone = case.log.checkpoint()
    case.note = case.cosigned(alone, old=case.note)
    files = files_of(case.pack())
    assert verdict(zipped(tmp_path / "p.zip", files, relist=False)) == 0
    proof = files["erasure.tlog-proof"]
    files["erasure.tlog-proof"] = proof.partition(b"\n\n")[0] + b"\n\n" + alone
    capsys.readouterr()
    assert verdict(zipped(tmp_path / "p.zip", files, relist=True)) == 1
    assert "it is not under the decision's checkpoint" in capsys.readouterr().out


def test_a_key_of_a_log_is_none_of_a_witness_nor_the_other_way_round(
    case: Case, tmp_path: Path
) -> None:
    path, policy = tmp_path / "p.zip", tmp_path / "policy"
    path.write_bytes(case.pack())
    log, witness = case.log.verifier_key, case.witness.vkey
    for text, code in (
        (f"log {log}\nwitness w {witness}\nquorum w\n", 0),
        (f"log {log}\nwitness w {log}\nquorum w\n", 1),
        (f"log {log}\nlog {witness}\nquorum none\n", 1),
    ):
        policy.write_text(text)
        assert verdict(path, "--policy", str(policy)) == code, text


def test_a_record_beyond_the_checkpoint_and_a_foreign_checkpoint_are_refused(case: Case) -> None:
    surroundings = Surroundings(case.trust)
    arguments = {"surroundings": surroundings, "disclose": False}
    with pytest.raises(ProofError):
        build_pack(case.log, case.made.id, note=case.held, **arguments)  # type: ignore[arg-type]
    stranger = SigningKey.from_seed(case.log.origin, bytes(32))
    forged = Note(parse_note(case.held).text, (stranger.sign(parse_note(case.held).text),))
    with pytest.raises(NoteError):
        case.pack(held=forged.format())


def test_a_checkpoint_that_the_log_does_not_continue_is_said_to_be_evidence(case: Case) -> None:
    """The operator signs another history, or more than there is: whoever holds that can show it."""
    own = case.log._signer.keys[0]
    text = parse_note(case.held).text
    origin, size, root, _ = text.split("\n")
    for lie in (
        f"{origin}\n{size}\n{base64.b64encode(bytes(32)).decode()}\n",
        f"{origin}\n999\n{root}\n",
    ):
        with pytest.raises(LogRolledBackError, match="keep it"):
            case.pack(held=Note(lie, (own.sign(lie),)).format())


def test_timestamps_agree_with_openssl_and_no_changed_byte_passes(
    authority: Authority, tmp_path: Path
) -> None:
    """Three verifiers that share nothing: rfc3161-client, openssl, and the one-file reader."""
    message = b"a checkpoint"
    request = request_for(message)
    response = authority.reply(request.content)
    roots = x509.load_pem_x509_certificates(authority.root)
    stated = verify_timestamp(response, message, roots=roots, nonce=request.nonce)
    assert stated == standalone_verify.check_timestamp(response, message, roots)
    assert authority.openssl_verifies(response, message)
    strangers = x509.load_pem_x509_certificates(Authority(tmp_path / "stranger").root)
    rng = random.Random(3)  # noqa: S311
    cases = [(response, b"another", roots), (response, message, strangers), (b"", message, roots)]
    for at in rng.sample(range(len(response)), 150):
        changed = bytearray(response)
        changed[at] ^= 1 << rng.randrange(8)
        cases.append((bytes(changed), message, roots))
    passed = [
        (content, said)
        for content, said, trusted in cases
        if independently(content, said, trusted) and (content, said) != (response, message)
    ]
    # What is outside the signature (tags that no verifier reads) may change and pass in all three.
    assert all(authority.openssl_verifies(content, said) for content, said in passed)
    assert len(passed) < 5
    with pytest.raises(standalone_verify.Wrong, match="root"):
        standalone_verify.check_timestamp(response, message, strangers)


def independently(response: bytes, message: bytes, roots: list[x509.Certificate]) -> bool:
    try:
        standalone_verify.check_timestamp(response, message, roots)
    except Exception:  # noqa: BLE001  # as the program itself: whatever is raised, it is not passed
        return False
    return True


def test_a_published_log_verifies_where_nothing_of_ours_is(case: Case, tmp_path: Path) -> None:
    target = tmp_path / "public"
    publish(case.log, target, case.note)
    script = Path(standalone_verify.__file__)
    done = elsewhere(tmp_path, script, "log", str(target), "--vkey", case.log.verifier_key)
    assert (done.returncode, done.stderr) == (0, "")
    stranger = SigningKey.from_seed(case.log.origin, bytes(32)).verifier.format()
    assert elsewhere(tmp_path, script, "log", str(target), "--vkey", stranger).returncode == 1


FORGED = b'{"answer":{"recommendation":{"outcome":"FORGED"}}}'


def stating(files: dict[str, bytes], **said: object) -> dict[str, bytes]:
    """The files with another statement in the manifest."""
    manifest = json.loads(files["manifest.json"]) | said
    return {**files, "manifest.json": json.dumps(manifest).encode()}


def test_no_file_is_passed_that_nothing_vouches_for(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = files_of(case.pack(disclose=False))
    disclosed = files_of(case.pack())
    for name, pack in (
        ("payload.json", {**files, "payload.json": FORGED}),
        ("payload.json", stating({**disclosed, "payload.json": FORGED}, disclosed=False)),
        ("disclosure.json", {**files, "disclosure.json": disclosed["disclosure.json"]}),
        ("erasure-leaf.json", {**files, "erasure-leaf.json": b"{}"}),
        ("erasure.tlog-proof", {**files, "erasure.tlog-proof": b""}),
        *((name, {**files, name: b"x"}) for name in ("../../evil", "/etc/passwd", "README.md")),
        *((name, {**files, name: FORGED}) for name in ("Payload.json", "folder/payload.json")),
    ):
        assert verdict(zipped(tmp_path / "p.zip", pack, relist=True)) == 1, name
        told = capsys.readouterr().out
        assert "FAILED  the files are those that the manifest lists: nothing vouches for" in told
        assert name in told
    case.log.erase_subject("s", basis="Art. 17", actor="dpo", new_id=lambda: "erasure-1")
    case.note = case.log.checkpoint()
    case.trust = f"log {case.log.verifier_key}\nquorum none\n".encode()
    erased = files_of(case.pack())
    assert verdict(zipped(tmp_path / "p.zip", erased, relist=True)) == 0
    for name in ("payload.json", "disclosure.json", "envelope.bin"):
        capsys.readouterr()
        pack = {**erased, name: FORGED}
        assert verdict(zipped(tmp_path / "p.zip", pack, relist=True)) == 1
        assert f"nothing vouches for ['{name}']" in capsys.readouterr().out
    assert verdict(zipped(tmp_path / "p.zip", stating(erased, disclosed=True), relist=True)) == 1


def test_the_manifest_says_what_is_proved(case: Case, tmp_path: Path) -> None:
    files = files_of(case.pack())
    assert verdict(zipped(tmp_path / "p.zip", stating(files), relist=True)) == 0
    for said in (
        {"v": 2},
        {"v": True},
        {"log": "other"},
        {"decision": "other"},
        {"index": 4},
        {"size": 999},
        {"erased": True},
        {"erased": 0},
        {"disclosed": None},
        {"note": "paid in full"},
    ):
        assert verdict(zipped(tmp_path / "p.zip", stating(files, **said), relist=True)) == 1, said
    twice = files["manifest.json"].replace(b'"size": ', b'"size": 999,\n "size": ')
    pack = {**files, "manifest.json": twice}
    assert verdict(zipped(tmp_path / "p.zip", pack, relist=False)) == 1


def test_no_file_holds_anything_beside_what_is_proved(case: Case, tmp_path: Path) -> None:
    stranger = Log.open(tmp_path / "other", origin=case.log.origin, clock=Clock(), create=True)
    leaves = []
    for log in (case.log, stranger):
        log.rotate_key()
        leaves.append(base64.b64encode(log.entries(log.size - 1, log.size)[0].leaf).decode())
    stranger.close()
    case.note = case.log.checkpoint()
    case.trust = f"log {case.log.verifier_key}\nquorum none\n".encode()
    files = files_of(case.pack(held=case.held))
    files["rotations.json"] = json.dumps(leaves[:1]).encode()
    assert verdict(zipped(tmp_path / "p.zip", files, relist=True)) == 0
    proof = files["decision.tlog-proof"]
    consistency = json.loads(files["consistency.json"])
    for name, content in (
        ("disclosure.json", b'{"paid": "in full",' + files["disclosure.json"].lstrip()[1:]),
        ("consistency.json", json.dumps({**consistency, "paid": "in full"}).encode()),
        ("consistency.json", json.dumps({**consistency, "proof": {}}).encode()),
        ("rotations.json", json.dumps(leaves).encode()),
        ("decision.tlog-proof", proof.replace(b"\nindex", b"\nextra cGFpZA==\nindex")),
    ):
        pack = {**files, name: content}
        assert verdict(zipped(tmp_path / "p.zip", pack, relist=True)) == 1, (name, content)
    for name in ("timestamp.tsr", "timestamp.tlog-proof", "timestamp-roots.pem"):
        pack = {other: content for other, content in files.items() if other != name}
        assert verdict(zipped(tmp_path / "p.zip", pack, relist=True)) == 1, name


def test_what_nothing_vouches_for_is_named_as_the_packs_own_word(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.zip"
    path.write_bytes(case.pack())
    assert verdict(path, "--vkey", case.log.verifier_key) == 0
    (told,) = (line for line in capsys.readouterr().out.splitlines() if "card.json" in line)
    assert "THE PACK'S OWN WORD" in told
    assert all(name in told for name in standalone_verify.NOT_VOUCHED_FOR)


def about_another_leaf(case: Case, leaf: bytes) -> dict[str, bytes]:
    """A pack about a leaf that the log's own key has signed as the only one of its tree."""
    files = files_of(case.pack())
    for name in ("timestamp.tsr", "timestamp.tlog-proof", "timestamp-roots.pem"):
        del files[name]
    checkpoint = Checkpoint(case.log.origin, 1, leaf_hash(leaf))
    note = sign_checkpoint(checkpoint, case.log._signer.keys[0])
    manifest = json.loads(files["manifest.json"]) | {"index": 0, "size": 1}
    return {
        **files,
        "manifest.json": json.dumps(manifest).encode(),
        "leaf.json": leaf,
        "decision.tlog-proof": LogProof(0, (), note).format(),
        "trust-policy.txt": f"log {case.log.verifier_key}\nquorum none\n".encode(),
    }


def test_a_leaf_that_could_be_read_in_two_ways_is_none_in_a_pack(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leaf = case.log.read(case.made.id).leaf
    path = tmp_path / "p.zip"
    assert verdict(zipped(path, about_another_leaf(case, leaf), relist=True)) == 0
    for changed in (
        leaf.replace(b'"v":1}', b'"v":1,"v":1}'),
        leaf.replace(b'"v":1}', b'"v":1,"z":"Maria Muster"}'),
        leaf.replace(b'{"facts":{', b'{"facts":{"a":1.5,'),
        leaf.replace(b'{"facts":{', b'{"facts":{"a":"%s",' % (b"x" * 1_000)),
        leaf.decode().encode("utf-16"),
        leaf + b"\n",
    ):
        capsys.readouterr()
        assert verdict(zipped(path, about_another_leaf(case, changed), relist=True)) == 1
        told = capsys.readouterr().out
        assert "FAILED  the decision is in the log under its checkpoint: " in told
        assert "is not where the proof says" not in told


def hostile_zips(files: dict[str, bytes], path: Path) -> Iterator[str]:
    """Write one zip after the other that a careless reader stops at with a traceback, or worse."""
    leaf = files["leaf.json"]
    for compression in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("leaf.json", leaf)
        yield f"compressed by method {compression}"
    zipped(path, files, relist=False)
    sound = path.read_bytes()
    central = sound.rindex(b"PK\x01\x02")
    local = int.from_bytes(sound[central + 42 : central + 46], "little")
    for what, offset, value in (
        ("encrypted", 8, b"\x01"),
        ("patched data", 8, b"\x20"),
        ("strong encryption", 8, b"\x41"),
        ("method 99", 10, b"\x63"),
        ("deflate that is none", 10, b"\x08"),
        ("larger than the file", 22, b"\xff"),
        ("an entry beyond the file", 45, b"\x7f"),
    ):
        changed = bytearray(sound)
        changed[central + offset : central + offset + 1] = value
        if offset in (8, 10):
            changed[local + offset - 2 : local + offset - 1] = value
        path.write_bytes(changed)
        yield what
    for what, offset in (
        ("deflate, read from the beginning", 8),
        ("another size, read from the beginning", 18),
        ("another name, read from the beginning", 30),
    ):
        changed = bytearray(sound)
        changed[local + offset] ^= 8
        path.write_bytes(changed)
        yield what
    listed = sound.index(b"PK\x01\x02")
    for what, content in (
        ("bytes after its end", sound + b"\n"),
        ("bytes before its beginning", b"\n" + sound),
        ("another zip before it", sound + sound),
        ("bytes before its directory", sound[:listed] + b"\n" + sound[listed:]),
        ("a comment", sound[:-2] + b"\x01\x00x"),
        ("another count", sound[:-12] + b"\x01" + sound[-11:]),
    ):
        path.write_bytes(content)
        yield what
    path.write_bytes(b"no zip")
    yield "no zip"
    path.write_bytes(sound[:-30])
    yield "cut short"
    path.unlink()
    yield "not there"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("leaf.json", leaf)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("leaf.json", leaf)
    yield "one name twice"
    path.unlink()
    path.mkdir()
    (path / "folder").mkdir()
    yield "a folder in a folder"


def test_a_hostile_zip_is_a_pack_that_cannot_be_read(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for what in hostile_zips(files_of(case.pack()), tmp_path / "p.zip"):
        assert verdict(tmp_path / "p.zip") == 1, what
        told = capsys.readouterr().out
        assert "FAILED  the pack can be read: " in told, what
        assert "1 check FAILED" in told


def test_a_pack_is_limited_as_a_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sixteen entries of 250 MB that are the same few bytes; and a folder of files with holes."""
    path, folder = tmp_path / "p.zip", tmp_path / "folder"
    folder.mkdir()
    size = 250_000_000
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(16):
            archive.writestr(str(number), b"")
            archive.filelist[-1].file_size = size
            with (folder / str(number)).open("wb") as file:
                file.truncate(size)
    for pack in (path, folder):
        assert verdict(pack) == 1
        assert f"too large: {16 * size} bytes" in capsys.readouterr().out


def test_a_key_or_policy_that_cannot_be_read_ends_it_with_one_line(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, policy = tmp_path / "p.zip", tmp_path / "policy"
    path.write_bytes(case.pack(held=case.held))
    policy.write_text("nonsense\n")
    missing = tmp_path / "missing"
    for option, value in (("--vkey", "x"), ("--policy", policy), ("--policy", missing)):
        assert verdict(path, option, str(value)) == 1
        told = capsys.readouterr().out.splitlines()
        assert told[-3].startswith("FAILED  the log's key: ")
        assert told[-2:] == ["", "1 check FAILED"]


def test_what_a_pack_says_cannot_write_lines_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(tmp_path / "p.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x\nOK      all is well\x1b[2K\x85", b"")
    assert verdict(tmp_path / "p.zip") == 1
    told = capsys.readouterr().out
    assert "x\\nOK      all is well\\x1b[2K\\x85" in told
    assert "\x1b" not in told
    assert "\x85" not in told


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_what_a_pack_says_is_told_in_any_terminals_encoding(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    standalone_verify.Steps().note("witness \u4e2d\u6587 \ud800")
    sys.stdout.flush()
    told = written.getvalue().decode(encoding)
    assert told.startswith("NOTE    witness ")
    assert told.rstrip().endswith("\\ud800")
