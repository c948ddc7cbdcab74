"""Ctrl-C in a parallel ``grounds replay``: it ends, says so, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from app.api.batch_answer import NDJSON
from app.cli_replay import INTERRUPTED
from app.domain import Role
from app.ids import utc_now
from app.log_store import log_directory
from app.replay_run import _deaf
from app.settings import Settings
from audit.log import Log
from audit.verify import verify
from tests.app import tiny
from tests.started import start

ROOT = Path(__file__).parents[2]
BATCHES, BATCH = 4, 1_000
PATIENCE_SECONDS = 120


@pytest.fixture(scope="module")
def stopped(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A stopped service with thousands of decisions: several ranges for each process."""
    data = tmp_path_factory.mktemp("interrupted") / "data"
    settings = Settings(models_dir=tiny_models, data_dir=data)
    with start(settings) as service:
        for _ in range(BATCHES):
            service.client.post(
                f"/v1/models/{tiny.NAME}/decisions/batch",
                content="\n".join([json.dumps({"case": tiny.CASE})] * BATCH),
                headers={"Content-Type": NDJSON, **service.key(Role.CALLER)},
            ).raise_for_status()
    return settings


def has_workers(group: int, _folder: Path) -> bool:
    """Whether both processes that recompute have been started."""
    return sum("spawn_main" in command for command in _commands(group)) == 2


def has_results(_group: int, folder: Path) -> bool:
    """Whether the first range has come back."""
    return any(path.stat().st_size > 0 for path in folder.iterdir())


@pytest.mark.parametrize("moment", [has_workers, has_results])
def test_ctrl_c_ends_a_replay_and_leaves_nothing_behind(
    stopped: Settings, tmp_path: Path, moment: Callable[[int, Path], bool]
) -> None:
    size, root = _log_state(stopped)
    # A shell's background jobs ignore Ctrl-C, and so would what they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(  # noqa: S603  # our own program
        [
            *(sys.executable, "-m", "app", "replay", "--workers", "2"),
            *("--data-dir", str(stopped.data_dir), "--models-dir", str(stopped.models_dir)),
            *("--out", str(tmp_path / "report.json"), "--results", str(tmp_path / "results")),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not moment(process.pid, tmp_path):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == INTERRUPTED
    assert out == ""
    assert err.count("\n") == 1, err
    assert "nothing was recorded or written" in err
    assert list(tmp_path.iterdir()) == []
    while _commands(process.pid):  # the one that tells the others' semaphores ends last
        assert time.monotonic() < deadline, _commands(process.pid)
        time.sleep(0.005)
    # Nothing was appended, and nobody holds the log.
    assert _log_state(stopped) == (size, root)
    assert verify(log_directory(stopped)).sound


def test_ctrl_c_while_processes_begin_is_heard_afterwards_whichever_thread_hears_it() -> None:
    done = threading.Event()
    other = threading.Thread(target=done.wait)  # blocks nothing, so the signal may be given to it
    other.start()
    reached = []

    def interrupted() -> None:
        with _deaf():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
            reached.append("the end")

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert reached == ["the end"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, handler)
        done.set()
        other.join()


def _log_state(settings: Settings) -> tuple[int, bytes]:
    with closing(
        Log.open(log_directory(settings), origin=settings.log_origin, clock=utc_now)
    ) as log:
        return log.size, log.root()


def _commands(group: int) -> list[str]:
    """Return the command lines of a process group that have not ended."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(directory.name)) == group:
                command = (directory / "cmdline").read_text()
                found += [command] if command else []
        except (ProcessLookupError, FileNotFoundError):
            continue
    return found
