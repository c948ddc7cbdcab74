"""``python -m audit verify`` as an auditor runs it."""

import io
import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from audit.__main__ import main
from tests.audit.conftest import MakeRecord, OpenLog

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    return main(arguments, out=out, err=err), out.getvalue(), err.getvalue()


@pytest.fixture
def vkey(open_log: OpenLog, record: MakeRecord) -> str:
    log = open_log()
    log.append([record(b"payload", subject="s"), record(None)])
    log.checkpoint()
    vkey = str(log.read_index(0).facts["vkey"])
    log.close()
    return vkey


def test_a_sound_log_gives_zero(vkey: str, directory: Path) -> None:
    code, out, err = run("verify", str(directory), "--vkey", vkey)
    assert (code, err) == (0, "")
    assert out.endswith("sound\n")
    assert "entries      3 (0 erased lawfully)" in out
    assert "decrypted and compared" in out
    code, out, _ = run("verify", str(directory), "--no-keys")
    assert code == 0
    assert "hashed, not decrypted" in out
    assert "give --vkey" in out


def test_faults_give_one_and_name_the_entry(vkey: str, directory: Path) -> None:
    database = directory / "log.sqlite3"
    content = database.read_bytes()
    at = content.index(b'"name":"demo"')
    database.write_bytes(content[:at] + b"?" + content[at + 1 :])
    code, out, _ = run("verify", str(directory), "--vkey", vkey)
    assert code == 1
    assert "FAULT        entry " in out
    code, out, _ = run("verify", str(directory), "--json")
    report = json.loads(out)
    assert code == 1
    assert report["sound"] is False
    assert {fault["index"] for fault in report["faults"]} & {1, 2}


def test_what_a_log_says_begins_no_line_of_the_report(vkey: str, directory: Path) -> None:
    with closing(apsw.Connection(str(directory / "log.sqlite3"))) as connection:
        connection.execute('CREATE TABLE "x\x1b[2K\nsound" (a)')
    code, out, _ = run("verify", str(directory), "--vkey", vkey)
    assert code == 1
    assert "x\\x1b[2K\\nsound is not what" in out
    assert "\x1b" not in out
    assert "sound" not in out.splitlines()


@pytest.mark.parametrize("arguments", [["--vkey", "nonsense"], []])
def test_what_cannot_be_checked_gives_two(tmp_path: Path, arguments: list[str]) -> None:
    code, out, err = run("verify", str(tmp_path), *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("cannot verify ")


def test_progress_is_shown_on_a_terminal(vkey: str, directory: Path) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    assert main(["verify", str(directory), "--vkey", vkey], out=io.StringIO(), err=shown) == 0
    assert "3 of 3 entries" in shown.getvalue()
    quiet = Terminal()
    main(["verify", str(directory), "--quiet"], out=io.StringIO(), err=quiet)
    assert quiet.getvalue() == ""


def test_the_command_needs_only_its_two_libraries(vkey: str, directory: Path) -> None:
    program = (
        "import sys\n"
        "allowed = {'audit', 'apsw', 'cryptography', '_cffi_backend', '__main__'}\n"
        "from audit.__main__ import main\n"
        "code = main(['verify', sys.argv[1], '--vkey', sys.argv[2]])\n"
        "tops = {name.partition('.')[0] for name in sys.modules}\n"
        "foreign = {name for name in tops - allowed - set(sys.stdlib_module_names)\n"
        "    if 'site-packages' in str(getattr(sys.modules[name], '__file__', '')) }\n"
        "assert not foreign, foreign\n"
        "sys.exit(code)\n"
    )
    ran = subprocess.run(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-c", program, str(directory), vkey],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.endswith("sound\n")
