"""``grounds evidence``, ``erase``, ``retention``, ``log`` and ``witness``, as an operator runs them."""

import json
import signal
import socket
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import apsw
import httpx
import pytest
from pydantic import SecretStr

from app import cli, cli_log
from app.ids import utc_now
from app.settings import Settings
from audit import standalone_verify
from audit.leaf import parse_leaf
from audit.log import Log
from audit.reader import LogReader
from tests.app import tiny
from tests.app.test_cli import ROOT, here
from tests.started import start


@dataclass(frozen=True, slots=True)
class Stopped:
    """A service that has advised twice on one person, and has been stopped."""

    data: Path
    decisions: list[str]
    vkey: str
    checkpoint: bytes


@pytest.fixture
def stopped(tiny_models: Path, tmp_path: Path) -> Stopped:
    settings = Settings(models_dir=tiny_models, data_dir=tmp_path / "data")
    with start(settings) as service:
        first = service.ask(tiny.NAME, tiny.CASE, subject="s").json()["id"]
        note = service.parts.log.checkpoint()
        decisions = [first, service.ask(tiny.NAME, tiny.CASE, subject="s").json()["id"]]
        service.parts.log.checkpoint()
        return Stopped(settings.data_dir, decisions, service.parts.log.verifier_key, note)


def test_a_pack_is_written_and_verifies(stopped: Stopped, tmp_path: Path) -> None:
    held, pack = tmp_path / "held", tmp_path / "pack.zip"
    held.write_bytes(stopped.checkpoint)
    done = here(
        "evidence", stopped.decisions[0], "--data-dir", stopped.data, "--from", held, "--out", pack
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        standalone_verify.main(
            ["pack", str(pack), "--vkey", stopped.vkey, "--checkpoint", str(held)]
        )
        == 0
    )
    size = pack.stat().st_size
    without = here(
        "evidence", stopped.decisions[0], "--data-dir", stopped.data, "--out", pack, "--no-disclose"
    )
    assert without.returncode == 0
    assert pack.stat().st_size < size


def test_what_no_log_holds_has_no_pack(stopped: Stopped) -> None:
    missing = here("evidence", "00000000-0000-0000-0000-000000000000", "--data-dir", stopped.data)
    assert (missing.returncode, missing.stdout) == (cli.CANNOT, "")
    assert "no such decision" in missing.stderr


def test_a_subject_is_erased(stopped: Stopped) -> None:
    done = here("erase", "--subject", "s", "--basis", "Art. 17", "--data-dir", stopped.data)
    assert done.returncode == 0
    assert "2 records erased, gone from every file" in done.stdout
    again = here(
        "erase", "--record", stopped.decisions[0], "--basis", "b", "--data-dir", stopped.data
    )
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout == "Nothing was there to erase: it was erased before.\n"
    wrong = here("erase", "--basis", "b", "--data-dir", stopped.data)
    assert wrong.returncode == cli.CANNOT


@pytest.mark.parametrize(
    "command", [("erase", "--subject", "s", "--basis", "Art. 17"), ("retention", "run")]
)
def test_what_an_erasure_leaves_in_files_is_told(
    stopped: Stopped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    rules = tmp_path / "retention.yaml"
    period = {"keep_days": 0, "erase_after_days": 0, "basis": "b"}
    rules.write_text(json.dumps({"models": {tiny.NAME: period}}))
    monkeypatch.setenv("GROUNDS_RETENTION_FILE", str(rules))
    reader = apsw.Connection(str(stopped.data / "log" / "log.sqlite3"))
    with closing(reader):
        reader.execute("BEGIN").execute("SELECT count(*) FROM entry").fetchall()
        done = here(*command, "--data-dir", stopped.data)
    assert done.returncode == 0
    assert "2 records erased" in done.stdout
    assert "still in files" in done.stdout


def test_a_subject_that_nobody_knows_ends_with_a_code_that_scripts_see(stopped: Stopped) -> None:
    for option, name, code in (
        ("--subject", "misspelt", cli_log.NOTHING_ERASED),
        ("--record", "misspelt", cli.CANNOT),
    ):
        done = here("erase", option, name, "--basis", "Art. 17", "--data-dir", stopped.data)
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr


def test_a_retention_run_erases_what_is_past_its_ceiling(
    stopped: Stopped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = tmp_path / "retention.yaml"
    monkeypatch.setenv("GROUNDS_RETENTION_FILE", str(rules))
    for days, told in ((1, "0 records erased"), (0, "2 records erased")):
        period = {"keep_days": 0, "erase_after_days": days, "basis": "b"}
        rules.write_text(json.dumps({"backups_kept_days": 7, "models": {tiny.NAME: period}}))
        done = here("retention", "run", "--data-dir", stopped.data)
        assert told in done.stdout
        assert "7 days" in done.stdout


def test_the_signing_key_is_rotated_and_the_old_one_retired(stopped: Stopped) -> None:
    rotated = here("log", "rotate-key", "--data-dir", stopped.data)
    assert rotated.returncode == 0
    new = rotated.stdout.strip()
    assert new != stopped.vkey
    with closing(
        LogReader.open_readonly(stopped.data / "log", origin=Settings().log_origin)
    ) as log:
        assert log.verifier_key == new
    assert "signs no more" in here("log", "retire-key", "--data-dir", stopped.data).stdout
    assert "no earlier key" in here("log", "retire-key", "--data-dir", stopped.data).stdout


def test_with_the_service_running_the_log_is_not_touched(stopped: Stopped) -> None:
    with closing(Log.open(stopped.data / "log", origin=Settings().log_origin, clock=utc_now)):
        done = here("log", "rotate-key", "--data-dir", stopped.data)
    assert (done.returncode, done.stdout) == (cli.CANNOT, "")
    assert "locked" in done.stderr


def test_a_witness_runs_prints_its_key_and_cosigns(stopped: Stopped, tmp_path: Path) -> None:
    directory = tmp_path / "witness"
    nameless = here("witness", "--directory", directory)
    assert nameless.returncode == cli.CANNOT
    assert "give a name" in nameless.stderr
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "app", "witness", "--name", "w.example", "--port", "0",
         "--directory", str(directory)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        vkey = process.stdout.readline().strip()
        address = process.stdout.readline().strip()
        assert vkey.startswith("w.example+")
        assert here("witness", "add-log", stopped.vkey, "--directory", directory).returncode == 0
        answer = httpx.post(
            f"{address}/add-checkpoint",
            content=b"old 0\n\n" + stopped.checkpoint,
            trust_env=False,
            timeout=60,
        )
        assert answer.status_code == httpx.codes.OK
        digest = sha256(Settings().log_origin.encode()).hexdigest()
        shown = httpx.get(f"{address}/{digest}/checkpoint", trust_env=False, timeout=60)
        assert shown.content == stopped.checkpoint + answer.content
        port = int(address.rpartition(":")[2])
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as endless,
            pytest.raises(ConnectionError),
        ):
            endless.sendall(b"GET /key HTTP/1.1\r\nA: " + bytes([97]) * 2**25)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
        process.stdout.close()
    assert (directory / "key").stat().st_mode & 0o777 == 0o600


def test_with_a_program_that_gives_the_master_key_the_service_and_every_command_ask_it(
    tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "unwrap.py"
    program.write_text(f"import sys\nassert sys.argv[1] == 'a word'\nprint({'A' * 43 + '='!r})\n")
    words = f"{sys.executable} {program} 'a word'"
    settings = Settings(
        models_dir=tiny_models, data_dir=tmp_path / "data", master_key_command=SecretStr(words)
    )
    with start(settings) as service:
        decision = service.ask(tiny.NAME, tiny.CASE, subject="s").json()["id"]
        assert service.parts.log.read(decision).payload
        started = next(
            each
            for each in service.parts.log.entries(0, service.parts.log.size)
            if parse_leaf(each.leaf).type == "started"
        )
        told = service.parts.log.read(started.id).payload or b""
    assert b"unwrap.py" not in told, "there may be a password among its words"
    assert not (settings.data_dir / "log" / "keys" / "master.key").exists()
    without = here("erase", "--subject", "s", "--basis", "law", "--data-dir", settings.data_dir)
    assert (without.returncode, "master.key is missing" in without.stderr) == (2, True)
    monkeypatch.setenv("GROUNDS_MASTER_KEY_COMMAND", words)
    verified = here("verify", "--data-dir", settings.data_dir)
    assert (verified.returncode, verified.stderr) == (0, "")
    erased = here("erase", "--subject", "s", "--basis", "law", "--data-dir", settings.data_dir)
    assert "1 records erased" in erased.stdout, erased.stderr
