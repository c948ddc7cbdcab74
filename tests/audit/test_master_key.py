"""A master key that a program gives: on no disk, the same log otherwise, and refused when it is not the one."""

import base64
import os
import shlex
import signal
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.__main__ import main as command
from audit.errors import KeyFileError
from audit.log import Log
from audit.master_key import Command, command_of, printed_key
from audit.reader import LogReader
from audit.verify import verify
from tests.audit.conftest import ORIGIN, Clock, MakeRecord

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER = base64.b64encode(bytes(32)).decode()

MakeProgram = Callable[..., Command]


@pytest.fixture
def program(tmp_path: Path) -> MakeProgram:
    """Make a program that stands for a key management service's client."""

    def make(text: str = KEY, *, fails: bool = False) -> Command:
        path = tmp_path / f"unwrap-{len(list(tmp_path.glob('unwrap-*')))}"
        path.write_text(
            f"import sys\nprint({text!r})\nopen({str(path) + '.asked'!r}, 'a').write('x')\n"
            f"sys.exit({int(fails)})\n"
        )
        return (sys.executable, str(path))

    return make


def opened(directory: Path, master_command: Command, *, create: bool = False) -> Log:
    return Log.open(
        directory, origin=ORIGIN, clock=Clock(), create=create, master_command=master_command
    )


def test_a_log_whose_master_key_a_program_gives_keeps_it_nowhere(
    tmp_path: Path, record: MakeRecord, program: MakeProgram
) -> None:
    directory, unwrap = tmp_path / "log", program()
    log = opened(directory, unwrap, create=True)
    (receipt,) = log.append([record(b"payload")])
    log.rotate_key()
    log.checkpoint()
    log.close()
    keys = {each.name for each in (directory / "keys").iterdir()}
    assert keys == {"digest.key", "log.key", "log.key.retiring"}
    for file in (each for each in directory.rglob("*") if each.is_file()):
        content = file.read_bytes()
        assert bytes(range(32)) not in content
        assert KEY.encode() not in content
    again = opened(directory, unwrap)
    assert again.read_index(receipt.index).payload == b"payload"
    reader = LogReader.open_readonly(directory, origin=ORIGIN, master_command=unwrap)
    assert reader.read_index(receipt.index).payload == b"payload"
    reader.close()
    again.close()
    report = verify(directory, workers=2, master_command=unwrap)
    assert report.sound
    assert report.payloads_opened
    words = ["verify", str(directory), "--quiet", f"--master-key-command={shlex.join(unwrap)}"]
    assert command(words) == 0
    assert Path(f"{unwrap[1]}.asked").read_text() == "x", "this process asked once"
    # Whoever has the disk alone opens nothing, and checks all the rest.
    with pytest.raises(KeyFileError, match=r"master\.key is missing.*name the program"):
        opened(directory, ())
    assert verify(directory, use_keys=False).sound


def test_another_key_than_the_logs_is_refused(tmp_path: Path, program: MakeProgram) -> None:
    directory = tmp_path / "log"
    opened(directory, program(), create=True).close()
    with pytest.raises(KeyFileError, match="the master key is not this log's"):
        opened(directory, program(OTHER))
    faults = verify(directory, master_command=program(OTHER)).faults
    assert [fault.kind for fault in faults] == ["key-file"]


def test_a_key_in_a_file_moves_into_a_service(
    tmp_path: Path, record: MakeRecord, program: MakeProgram
) -> None:
    directory = tmp_path / "log"
    log = opened(directory, (), create=True)
    (receipt,) = log.append([record(b"payload")])
    log.close()
    file = directory / "keys" / "master.key"
    same = program(file.read_text().strip())
    opened(directory, same).close()
    with pytest.raises(KeyFileError, match="is another master key than the one"):
        opened(directory, program(OTHER))
    file.unlink()
    moved = opened(directory, same)
    assert moved.read_index(receipt.index).payload == b"payload"
    moved.close()


def test_a_program_that_gives_no_key_is_named_and_nothing_it_printed(
    tmp_path: Path, program: MakeProgram
) -> None:
    short = base64.b64encode(b"secret-ish").decode()
    for gives_none, said in (
        (program(fails=True), "failed with exit code 1"),
        (program(short), "printed no base64 of 32 bytes"),
        (program(KEY[:-1]), "printed no base64 of 32 bytes"),
        (program("\u00e9"), "printed no base64 of 32 bytes"),
        ((str(tmp_path / "nowhere"),), "cannot be run: "),
    ):
        with pytest.raises(KeyFileError) as refused:
            opened(tmp_path / "log", gives_none, create=True)
        message = str(refused.value)
        assert f"the program {gives_none[0]}, which gives the master key, {said}" in message
        assert short not in message
        assert KEY[:-1] not in message
        assert refused.value.__cause__ is None or isinstance(refused.value.__cause__, OSError)
    opened(tmp_path / "log", program(), create=True).close()


def test_a_program_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.master_key.SECONDS", 0.1)
    with pytest.raises(KeyFileError, match=r"did not end within 0\.1 seconds"):
        printed_key(("sleep", "60"))


def test_what_a_program_prints_without_end_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.master_key.SECONDS", 0.1)
    tracemalloc.start()
    try:
        with pytest.raises(KeyFileError, match="did not end within"):
            printed_key(("yes", KEY))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_program_may_leave_a_process_running(tmp_path: Path) -> None:
    """An agent, say, which keeps the standard output that it was started with."""
    left = tmp_path / "left"
    code = f"sleep 60 & echo $! > {left}; echo {KEY}"
    try:
        assert printed_key(("sh", "-c", code)) == bytes(range(32))
    finally:
        os.kill(int(left.read_text()), signal.SIGKILL)


def test_a_program_that_is_ended_is_said_to_be() -> None:
    with pytest.raises(KeyFileError, match="was ended by signal 9"):
        printed_key(("sh", "-c", f"echo {KEY}; kill -9 $$"))


def test_words_are_read_as_a_shell_would_and_none_runs_one() -> None:
    assert command_of("") == ()
    assert command_of("unwrap --file 'a b' $(id)") == ("unwrap", "--file", "a b", "$(id)")
    with pytest.raises(KeyFileError, match="No closing quotation"):
        command_of("unwrap 'a")
