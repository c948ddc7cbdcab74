"""The command line: what it says, and exit codes that a script can go by (0, 1 faults, 2 could not)."""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, redirect_stderr, redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any

import apsw
import httpx
import pytest
import yaml

from app import cli
from app.domain import Role
from app.keys import KeyStore
from app.server import STARTUP_FAILED
from app.settings import Settings, misspelt
from app.terminal import say
from audit.reader import LogReader
from models.bundle import read
from tests.app import tiny
from tests.started import start

ROOT = Path(__file__).resolve().parents[2]
FILES = ("model.onnx", "card.yaml", "background.parquet", "samples.json")


def run(*arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run ``grounds`` as a shell would."""
    return subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-m", "app", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def here(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run ``grounds`` in this process, which spares loading it again."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["grounds", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    code = ended.value.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def recorded(
    tiny_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Settings, list[str]]:
    """A stopped service's files, and the three decisions in its log."""
    settings = Settings(
        models_dir=tiny_models, data_dir=tmp_path_factory.mktemp("recorded") / "data"
    )
    with start(settings) as service:
        ids = [
            service.ask(tiny.NAME, {**tiny.CASE, "amount": amount}).json()["id"]
            for amount in (1.0, 10.0, 20.0)
        ]
    return settings, ids


@pytest.fixture
def copy(recorded: tuple[Settings, list[str]], tmp_path: Path) -> Settings:
    """The same, to be changed."""
    settings, _ = recorded
    shutil.copytree(settings.data_dir, tmp_path / "data")
    return settings.model_copy(update={"data_dir": tmp_path / "data"})


def replay(settings: Settings, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return here(
        "replay", *arguments, "--data-dir", settings.data_dir, "--models-dir", settings.models_dir
    )


def size(settings: Settings) -> int:
    with closing(
        LogReader.open_readonly(settings.data_dir / "log", origin=settings.log_origin)
    ) as log:
        return log.size


def test_the_version_is_said() -> None:
    done = here("--version")
    assert (done.returncode, done.stdout) == (0, f"grounds {version('grounds-decision-support')}\n")


def without(
    library: str, *arguments: str, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run ``grounds`` where a library is not installed."""
    code = f"import sys; sys.modules[{library!r}] = None; from app.cli import main; main()"
    return subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_service_says_what_tracing_lacks(tmp_path: Path) -> None:
    done = without(
        "opentelemetry.exporter",
        "serve",
        GROUNDS_PORT="0",
        GROUNDS_DATA_DIR=str(tmp_path),
        GROUNDS_OTLP_ENDPOINT="http://127.0.0.1:1",
    )
    assert done.returncode == STARTUP_FAILED
    assert json.loads(done.stderr)["reason"] == (
        "GROUNDS_OTLP_ENDPOINT is set, and the extra telemetry is not installed"
    )


def test_the_demonstration_says_what_training_lacks() -> None:
    done = without("sklearn", "demo")
    assert done.returncode == cli.CANNOT
    assert done.stderr == (
        "grounds: the demonstration: got no scikit-learn; want the extra `train` installed\n"
    )


def test_a_key_is_shown_once_listed_and_revoked(tmp_path: Path) -> None:
    made = run("key", "create", "--name", "Desk [7]", "--role", "caller", "--data-dir", tmp_path)
    assert made.returncode == 0, made.stderr
    (text,) = made.stdout.splitlines()  # nothing else, so that a script can keep it
    assert "shown only now" in made.stderr
    with closing(KeyStore(tmp_path / "access.sqlite3")) as store:
        caller = store.authenticate(text)
    assert caller is not None
    assert caller.role is Role.CALLER
    narrow = run("key", "list", "--data-dir", tmp_path, COLUMNS="40")
    assert caller.key_id in narrow.stdout
    piped = run("key", "list", "--data-dir", tmp_path, COLUMNS="")
    (row,) = [line for line in piped.stdout.splitlines() if caller.key_id in line]
    assert re.search(r"Desk \[7\] .+ caller .+ \d{4}-\d\d-\d\dT[\d:.]+Z ", row)
    listed = run("key", "list", "--data-dir", tmp_path)
    assert listed.returncode == 0
    assert caller.key_id in listed.stdout
    assert "Desk [7]" in listed.stdout
    assert text.split("_", 2)[2] not in listed.stdout + listed.stderr
    revoked = run("key", "revoke", caller.key_id, "--data-dir", tmp_path)
    assert (revoked.returncode, revoked.stdout) == (0, f"{caller.key_id} is revoked\n")
    again = run("key", "revoke", caller.key_id, "--data-dir", tmp_path)
    assert again.returncode == 2
    assert again.stderr == f"grounds: no key in use has the id {caller.key_id}\n"


def test_a_key_under_an_agreement_that_is_not_there_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = ("key", "create", "--name", "Desk", "--role", "caller", "--data-dir", tmp_path)
    warned = "There is no agreement housing-2026 in GROUNDS_AGREEMENTS_FILE: until there is, "
    assert here(*make, "--agreement", "housing-2026").stderr.startswith(warned)
    agreement = {
        "agreement": "housing-2026",
        "party": "A council",
        "purposes": ["housing-support"],
        "models": ["housing-support"],
        "fields": ["rent"],
        "since": "2026-01-01",
        "until": "2026-12-31",
    }
    (tmp_path / "agreements.yaml").write_text(yaml.safe_dump([agreement]))
    monkeypatch.setenv("GROUNDS_AGREEMENTS_FILE", str(tmp_path / "agreements.yaml"))
    assert here(*make, "--agreement", "housing-2025").stderr.startswith("There is no agreement")
    assert here(*make, "--agreement", "housing-2026").stderr.startswith("This key is shown")
    (tmp_path / "agreements.yaml").write_text("[{}]")
    assert here(*make, "--agreement", "housing-2026").returncode == cli.CANNOT


def test_what_is_told_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    say("sound\x1b[2K\rforged: £2\u00a0000\u202e\x9b\n  two lines")
    assert capsys.readouterr().out == (
        "sound\\x1b[2K\\rforged: £2\u00a0000\\u202e\\x9b\n  two lines\n"
    )


def test_a_role_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    result = here("key", "create", "--name", "x", "--role", "king", "--data-dir", tmp_path)
    assert result.returncode == 2
    assert not (tmp_path / "access.sqlite3").exists()


def test_a_store_that_cannot_be_opened_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "access.sqlite3").write_bytes(b"[/red] not a database" * 100)
    done = run("key", "list", "--data-dir", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("grounds: cannot open the access keys in ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("monitor", "{place}", "--state", "{place}/file"),
        ("monitor", "{place}", "--vkey", "v", "--state", "{place}/s", "--policy", "{place}/none"),
        ("monitor", "{place}", "--vkey", "v", "--state", "{place}/s", "--from", "{place}/none"),
        ("replay", "--out", "{place}/none/report.json"),
        ("replay", "--results", "{place}/none/results"),
        ("replay", "--from-index", "99999999999999999999999"),
        ("replay", "--digest", "junk"),
        ("replay", "--bundles", "{place}/none"),
        ("witness", "--name", "w.example/1", "--directory", "{place}/file"),
        ("witness", "--directory", "{place}/w", "--port", "99999"),
        ("key", "list", "--data-dir", "{place}/none"),
        ("erase", "--subject", "s", "--basis", "two\nlines", "--data-dir", "{place}"),
        ("erase", "--subject", "s", "--basis", "b" * 201, "--data-dir", "{place}"),
        ("erase", "--subject", "s", "--basis", " ", "--data-dir", "{place}"),
    ],
    ids=lambda arguments: " ".join(arguments).encode("ascii", "replace").decode()[:60],
)
def test_what_cannot_be_done_ends_in_words_and_code_2(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    done = here(*(each.format(place=tmp_path) for each in arguments))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr
    assert not (tmp_path / "none").exists()


def test_a_name_that_is_no_text_ends_in_words_and_code_2(tmp_path: Path) -> None:
    done = run("key", "create", "--name", "a\udcff", "--role", "caller", "--data-dir", tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr


def test_a_setting_that_is_wrong_is_named(tmp_path: Path) -> None:
    done = run("key", "list", GROUNDS_QUEUE_LIMIT="0", GROUNDS_DATA_DIR=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("grounds: GROUNDS_QUEUE_LIMIT: ")
    assert "Traceback" not in done.stderr


def test_a_setting_that_is_empty_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("publish_dir", "data_dir", "log_url", "queue_limit")
    for name in names:
        monkeypatch.setenv(f"GROUNDS_{name.upper()}", "")
    settings = Settings()
    for name in names:
        assert getattr(settings, name) == Settings.model_fields[name].default


def test_a_variable_that_is_like_a_setting_and_is_none_is_told_with_the_one_meant() -> None:
    given = ["GROUNDS_PUBLISHDIR", "GROUNDS_PUBLISH_DIR", "GROUNDS_KEY", "GROUNDS_ZZ", "PATH"]
    told = misspelt(given, known=["GROUNDS_KEY"])
    assert told == {"GROUNDS_PUBLISHDIR": "GROUNDS_PUBLISH_DIR", "GROUNDS_ZZ": None}


def test_a_bundle_that_would_be_served_is_said_to_be(tiny_models: Path) -> None:
    bundle = tiny_models / tiny.NAME / "bundle"
    result = here("bundle", "check", bundle)
    assert result.returncode == 0, result.stdout
    assert f"{bundle} can be served: {read(bundle).digest}" in result.stdout
    assert "6 samples are reproduced" in result.stdout
    assert "warning: the background has 5 rows; reasons are" in result.stdout
    assert re.search(r"largest residual over the samples: \d", result.stdout)


@pytest.mark.parametrize("missing", FILES)
def test_a_bundle_that_would_not_be_served_is_refused(
    tiny_models: Path, tmp_path: Path, missing: str
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_models / tiny.NAME / "bundle", bundle)
    (bundle / missing).unlink()
    result = here("bundle", "check", bundle)
    assert result.returncode == 2
    assert missing in result.stderr


def test_a_refused_bundle_ends_in_one_line_and_code_2(tmp_path: Path) -> None:
    done = here("bundle", "check", tmp_path / "[/none]")
    assert done.returncode == 2
    assert done.stderr.startswith("grounds: ")
    assert "[/none]" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_card_is_shown_as_it_is_written(tiny_models: Path) -> None:
    result = here("bundle", "show", tiny_models / tiny.NAME / "bundle")
    assert result.returncode == 0
    assert f"Title {tiny.HOSTILE} (tiny 1)" in result.stdout
    for name in ("amount", "count", "answer", "yes, no"):
        assert name in result.stdout


def parts(tiny_models: Path, tmp_path: Path) -> dict[str, Path]:
    """A bundle's files in another place, and its background as CSV beside them."""
    source = tiny_models / tiny.NAME / "bundle"
    files = {name: tmp_path / "parts" / name for name in FILES}
    (tmp_path / "parts").mkdir()
    for name, path in files.items():
        path.write_bytes((source / name).read_bytes())
    files["background.csv"] = tmp_path / "parts" / "background.csv"
    files["background.csv"].write_text(csv_of(list(tiny.BACKGROUND)))
    return files


def csv_of(rows: list[Any]) -> str:
    written = io.StringIO()
    table = csv.DictWriter(written, fieldnames=list(rows[0]))
    table.writeheader()
    table.writerows(rows)
    return written.getvalue()


def build(
    target: Path, files: dict[str, Path], background: str
) -> "subprocess.CompletedProcess[str]":
    return here(
        "bundle", "build", target,
        "--model", files["model.onnx"],
        "--card", files["card.yaml"],
        "--background", files[background],
        "--samples", files["samples.json"],
    )  # fmt: skip


@pytest.mark.parametrize("background", ["background.parquet", "background.csv"])
def test_a_bundle_is_built_from_its_parts(
    tiny_models: Path, tmp_path: Path, background: str
) -> None:
    target = tmp_path / "built"
    result = build(target, parts(tiny_models, tmp_path), background)
    assert result.returncode == 0, result.stderr
    built = read(target)
    assert result.stdout.splitlines()[-1] == f"{target}: {built.digest}"
    source = read(tiny_models / tiny.NAME / "bundle")
    assert {name: built.contents[name] for name in FILES} == {
        name: content
        for name, content in source.contents.items()
        if name not in ("model.sig", "datasheet.yaml")
    }
    assert set(built.contents) == {*FILES, "acceptance.json"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("count", "cuont"), "got columns amount, cuont, answer"),
        (lambda text: text.replace("6", "six"), "background, line 3, count"),
        (lambda text: text.replace("4.0,1,no", "4.0,1"), "background, line 2: got 2 cells; want 3"),
        (lambda text: text.replace("4.0,1,no", "4.0,1,no,x"), "background, line 2: got 4 cells"),
        (lambda text: text.replace("yes", "\udcff"), "want UTF-8"),
        (lambda text: text.replace("yes", '"yes'), "want a CSV file"),
        (lambda text: text.replace("8.0", "nan"), "amount"),
        (lambda _: "", "got columns ; want amount, count, answer"),
    ],
)
def test_a_csv_file_that_does_not_fit_is_refused_with_the_place(
    tiny_models: Path, tmp_path: Path, change: Callable[[str], str], message: str
) -> None:
    files = parts(tiny_models, tmp_path)
    changed = change(files["background.csv"].read_text())
    files["background.csv"].write_bytes(changed.encode(errors="surrogateescape"))
    result = build(tmp_path / "built", files, "background.csv")
    assert result.returncode == 2
    assert result.stderr.startswith("grounds: ")
    assert message in result.stderr
    assert not (tmp_path / "built").exists()


def test_a_csv_file_as_a_spreadsheet_writes_it_is_read(tiny_models: Path, tmp_path: Path) -> None:
    files = parts(tiny_models, tmp_path)
    text = files["background.csv"].read_text()
    files["background.csv"].write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    result = build(tmp_path / "built", files, "background.csv")
    assert result.returncode == 0, result.stderr


def test_samples_that_the_graph_does_not_reproduce_leave_nothing_behind(
    tiny_models: Path, tmp_path: Path
) -> None:
    files = parts(tiny_models, tmp_path)
    text = files["samples.json"].read_text()
    files["samples.json"].write_text(text.replace("0.9", "0.8"))
    result = build(tmp_path / "built", files, "background.csv")
    assert result.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["parts"]


def test_a_sound_log_is_verified(recorded: tuple[Settings, list[str]]) -> None:
    settings, _ = recorded
    done = run("verify", "--data-dir", settings.data_dir)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "sound"
    told = here("verify", "--json", "--data-dir", settings.data_dir)
    assert told.returncode == 0
    report = json.loads(told.stdout)
    assert (report["sound"], report["size"], report["faults"]) == (True, size(settings), [])


def test_a_log_is_verified_from_a_held_checkpoint_on(copy: Settings, tmp_path: Path) -> None:
    held, earlier = tmp_path / "held", size(copy)
    shutil.copyfile(copy.data_dir / "log" / "checkpoint", held)
    with start(copy) as service:
        service.ask(tiny.NAME, tiny.CASE)
    asked = ("--json", "--workers", "1", "--data-dir", copy.data_dir)
    told = json.loads(here("verify", "--from", held, *asked).stdout)
    assert (told["first"], told["size"], told["sound"]) == (earlier, size(copy), True)
    assert size(copy) > earlier
    told = json.loads(here("verify", "--checkpoint", held, *asked).stdout)
    assert (told["first"], told["sound"]) == (0, True)
    # The near miss: a checkpoint that the log does not continue.
    held.write_text(held.read_text().replace(f"\n{earlier}\n", f"\n{earlier - 1}\n", 1))
    for option in ("--from", "--checkpoint"):
        assert here("verify", option, held, *asked).returncode != 0


def test_a_log_whose_keys_are_unreadable_is_verified_without(copy: Settings) -> None:
    for key in (copy.data_dir / "log" / "keys").iterdir():
        key.write_bytes(b"junk")
    assert here("verify", "--data-dir", copy.data_dir).returncode == 2
    without = here("verify", "--data-dir", copy.data_dir, "--no-keys")
    assert without.returncode == 0, without.stdout + without.stderr


def test_one_changed_byte_of_a_decision_is_found_with_its_index(copy: Settings) -> None:
    database = apsw.Connection(str(copy.data_dir / "log" / "log.sqlite3"))
    *_, (index, leaf) = database.execute("SELECT seq, leaf FROM entry ORDER BY seq")
    path = copy.data_dir / "log" / "log.sqlite3"
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    content = bytearray(path.read_bytes())
    place = content.index(leaf)
    content[place + len(leaf) // 2] ^= 1
    path.write_bytes(content)
    done = run("verify", "--data-dir", copy.data_dir)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(rf"FAULT +entry {index}: ", done.stdout)
    assert done.stdout.splitlines()[-1].endswith(" faults")


def test_where_there_is_no_log_nothing_can_be_verified(tmp_path: Path) -> None:
    done = run("verify", "--data-dir", tmp_path)
    assert done.returncode == 2
    assert "cannot verify" in done.stderr
    assert done.stdout == ""


def test_a_key_that_is_not_the_logs_does_not_verify_it(
    recorded: tuple[Settings, list[str]], tmp_path: Path
) -> None:
    settings, _ = recorded
    (tmp_path / "models").symlink_to(settings.models_dir)
    with start(settings.model_copy(update={"data_dir": tmp_path / "data"})) as other:
        vkey = other.parts.log.verifier_key
    done = here("verify", "--vkey", vkey, "--data-dir", settings.data_dir)
    assert done.returncode == 1, done.stdout + done.stderr


def test_every_decision_is_replayed_and_each_replay_recorded(copy: Settings) -> None:
    before = size(copy)
    done = replay(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("3 decisions replayed: 3 identical\nresults sha256 ")
    assert "on record as " in done.stdout
    assert size(copy) == before + 1
    assert here("verify", "--data-dir", copy.data_dir).returncode == 0


def test_a_replay_without_a_record_leaves_the_log_as_it_was(
    recorded: tuple[Settings, list[str]],
) -> None:
    settings, ids = recorded
    log = settings.data_dir / "log"
    before = {path.name: path.read_bytes() for path in log.iterdir() if path.suffix == ".sqlite3"}
    entries = size(settings)
    with closing(
        LogReader.open_readonly(settings.data_dir / "log", origin=settings.log_origin)
    ) as reader:
        first = reader.receipt(ids[0]).index
    for arguments, count in (
        ([], 3),
        (["--limit", "2"], 2),
        (["--from-index", str(first + 1)], 2),
        (["--to-index", str(first)], 1),
        (["--model", tiny.NAME, "--until", "2020-01-01"], 0),
        (["--version", "1", "--since", "2020-01-01", "--until", "2999-01-01T00:00:00Z"], 3),
        (["--until", "2020-01-01"], 0),
    ):
        done = replay(settings, "--no-record", *arguments)
        assert done.returncode == 0, done.stderr
        told = f"{count} identical" if count else "none found"
        assert done.stdout.startswith(f"{count} decisions replayed: {told}\nresults sha256 ")
    done = replay(settings, "--no-record", ids[1])
    assert (done.returncode, done.stdout) == (0, f"{ids[1]}: identical\n")
    done = replay(settings, "--no-record", "--json", ids[1])
    assert json.loads(done.stdout)["verdict"] == "identical"
    assert size(settings) == entries
    assert {name: (log / name).read_bytes() for name in before} == before


@pytest.mark.parametrize(
    "asked", [("--model", "another"), ("--version", "2.9"), ("--digest", f"sha256:{'ab' * 32}")]
)
def test_a_model_that_never_advised_is_no_replay_that_passed(
    recorded: tuple[Settings, list[str]], asked: tuple[str, str]
) -> None:
    done = replay(recorded[0], "--no-record", *asked)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"grounds: {' '.join(asked)}: no decision of this log is by that\n"


def test_a_decision_whose_model_is_gone_is_told_so(
    recorded: tuple[Settings, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, ids = recorded
    monkeypatch.setenv("GROUNDS_STORE_DIR", str(tmp_path / "store"))
    tiny.write(tmp_path / "models" / tiny.NAME, takes_unknown=False)
    other = settings.model_copy(update={"models_dir": tmp_path / "models"})
    done = replay(other, "--no-record", ids[0])
    assert done.returncode == 1
    assert f"{ids[0]}: model missing: no bundle sha256:" in done.stdout
    done = replay(other, "--no-record")
    assert done.returncode == 1
    assert "3 decisions replayed: 3 model missing" in done.stdout
    assert replay(other, "--no-record", "--bundles", settings.models_dir).returncode == 0


def test_what_was_lawfully_erased_fails_no_run(
    copy: Settings, recorded: tuple[Settings, list[str]]
) -> None:
    gone = recorded[1][0]
    done = here("erase", "--record", gone, "--basis", "A test.", "--data-dir", copy.data_dir)
    assert done.returncode == 0, done.stdout + done.stderr
    done = replay(copy, "--no-record")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n3 decisions replayed: 2 identical, 1 erased\n" in done.stdout
    done = replay(copy, "--no-record", gone)
    assert (done.returncode, done.stdout) == (1, f"{gone}: erased: its content was erased\n")


def test_a_report_and_its_results_are_written(
    recorded: tuple[Settings, list[str]], tmp_path: Path
) -> None:
    settings, _ = recorded
    report, results = tmp_path / "report.json", tmp_path / "results.txt"
    done = replay(
        settings, "--no-record", "--json", "--out", report, "--results", results, "--workers", "1"
    )
    told = json.loads(done.stdout)
    assert told == json.loads(report.read_bytes())
    assert told["results_sha256"] == hashlib.sha256(results.read_bytes()).hexdigest()
    assert len(results.read_bytes().splitlines()) == told["decisions"] == 3


@pytest.mark.parametrize("option", ["--since", "--until"])
@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "2026-11-23T10:20:30"])
def test_a_moment_that_is_none_is_refused(
    recorded: tuple[Settings, list[str]], option: str, text: str
) -> None:
    settings, _ = recorded
    done = replay(settings, "--no-record", option, text)
    assert done.returncode == 2
    assert done.stderr.startswith(f"grounds: {option}: want a")


def test_an_unknown_decision_cannot_be_replayed(recorded: tuple[Settings, list[str]]) -> None:
    settings, _ = recorded
    done = replay(settings, "--no-record", "019a9f3e-5c1d-7a52-9c0a-6f2e1b7d4c11")
    assert (done.returncode, done.stderr) == (2, "grounds: the log has no such decision\n")


def test_a_running_services_log_is_not_written_to(copy: Settings) -> None:
    with start(copy) as service:
        before = service.parts.log.size
        done = replay(copy)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert replay(copy, "--no-record").returncode == 0
        assert service.parts.log.size == before


def test_a_service_without_models_does_not_start_and_says_why(tmp_path: Path) -> None:
    done = run(
        "serve",
        GROUNDS_MODELS_DIR=str(tmp_path / "none"),
        GROUNDS_DATA_DIR=str(tmp_path / "data"),
        GROUNDS_PORT="0",
    )
    assert done.returncode == 3
    assert "there is no directory of models" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_document_is_printed_as_yaml() -> None:
    result = here("openapi")
    assert result.returncode == 0
    assert yaml.safe_load(result.stdout)["openapi"].startswith("3.1")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[str], Any]]:
    """``grounds demo`` up to the point where it waits: its directory, its lines, its process."""
    directory = tmp_path_factory.mktemp("demo")
    # A shell's background jobs ignore Ctrl-C, and so would what they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(  # noqa: S603  # our own program
        [sys.executable, "-m", "app", "demo", "--port", "0", "--directory", str(directory)],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    assert process.stdout is not None
    watchdog = threading.Timer(300, process.kill)
    watchdog.start()
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if "Ctrl-C stops" in line:
            break
    yield directory, lines, process
    watchdog.cancel()
    process.kill()
    process.wait()
    process.stdout.close()


def after(lines: list[str], label: str) -> str:
    """Return the line after the one that begins with ``label``."""
    place = next(place for place, line in enumerate(lines) if line.startswith(label))
    return lines[place + 1].strip()


def test_the_demonstration_tells_a_newcomer_everything(demo: tuple[Path, list[str], Any]) -> None:
    _, lines, _ = demo
    text = "\n".join(lines)
    assert re.search(
        r"The model suggests: Give priority\. Its estimate for this case is \d+%", text
    )
    reasons = [
        line for line in lines if re.match(r"  [123]\. .* the estimate by .* points?\.", line)
    ]
    assert len(reasons) == 3, text
    assert re.search(r"Receipt: entry \d+ of the log localhost/grounds", text)
    page = after(lines, "See it as a page")
    with httpx.Client(
        base_url=page.partition("/decisions/")[0], follow_redirects=True, timeout=60
    ) as browser:
        form = re.search(r'name="csrf" value="([^"]+)"', browser.get("/sign-in").text)
        assert form is not None
        browser.post(
            "/sign-in/demonstration", data={"csrf": form[1], "person": "demo-caseworker"}
        ).raise_for_status()
        response = browser.get(page)
    assert response.status_code == 200
    assert "Give priority" in response.text


def test_the_demonstrations_curl_command_works_as_printed(
    demo: tuple[Path, list[str], Any],
) -> None:
    _, lines, _ = demo
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    start_of = next(place for place, line in enumerate(lines) if line.startswith("Try it yourself"))
    command = "\n".join(lines[start_of + 1 :]).split("\n\n")[0]
    assert command.strip().startswith("curl ")
    done = subprocess.run(  # noqa: S602  # printed to be given to a shell
        command, shell=True, capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout)
    assert answer["recommendation"]["outcome"] == "priority"
    assert answer["receipt"]["index"] > 1


def test_ctrl_c_ends_the_demonstration_cleanly_and_its_log_verifies(
    demo: tuple[Path, list[str], Any],
) -> None:
    directory, lines, process = demo
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(60) == 0
    assert "Stopped." in rest
    assert "Traceback" not in rest
    with pytest.raises(httpx.TransportError):
        httpx.get(after(lines, "See it as a page"))
    verified = run("verify", "--data-dir", directory / "data")
    assert verified.returncode == 0, verified.stdout
    for line in (directory / "service.log").read_text().splitlines():
        assert json.loads(line)["level"] in {"info", "warning"}, line
