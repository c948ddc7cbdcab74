"""``grounds monitor`` and ``fsck`` as a shell runs them: beside a live service, and a forged log."""

import json
from contextlib import closing
from itertools import count, repeat
from pathlib import Path

import httpx
import pytest

from app.cli_monitor import HttpSource
from app.client import KEY_VARIABLE, ServiceRefusedError
from app.domain import Role
from app.ids import utc_now
from app.settings import Settings
from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.log import Log
from audit.note import SigningKey
from audit.publish import publish
from audit.published_log import MAX_RESOURCE_BYTES, SourceError
from audit.records import NewRecord
from tests.app import tiny
from tests.app.test_cli import here
from tests.service import ServiceProcess
from tests.started import make_keys


def test_a_live_service_is_followed_over_its_own_address(
    tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(models_dir=tiny_models, data_dir=tmp_path / "data")
    keys = make_keys(settings)
    with ServiceProcess(settings) as service:
        caller = {"Authorization": f"Bearer {keys[Role.CALLER]}"}

        def ask() -> None:
            answer = httpx.post(
                f"{service.address}/v1/models/{tiny.NAME}/decisions",
                json={"case": tiny.CASE},
                headers=caller,
                timeout=60,
            )
            assert answer.status_code == 201

        ask()
        checkpoint = httpx.get(f"{service.address}/v1/audit/checkpoint", headers=caller, timeout=60)
        vkey = checkpoint.headers["Log-Verifier-Key"]
        follow = ("monitor", f"{service.address}/log", "--once", "--json",
                  "--state", tmp_path / "monitor")  # fmt: skip
        monkeypatch.delenv(KEY_VARIABLE, raising=False)
        refused = here(*follow, "--vkey", vkey)
        assert refused.returncode == 2
        assert "401" in refused.stderr
        monkeypatch.setenv(KEY_VARIABLE, keys[Role.AUDITOR])
        first = json.loads(here(*follow, "--vkey", vkey).stdout)
        assert (first["sound"], first["new"]) == (True, first["size"])
        for _ in range(3):
            ask()
        # A fresh checkpoint; the published one is a second behind at most.
        httpx.get(f"{service.address}/v1/audit/checkpoint", headers=caller, timeout=60)
        done = here(*follow)
        second = json.loads(done.stdout)
        assert done.returncode == 0
        assert second["sound"]
        assert second["verified"] == second["size"] >= first["size"]


def test_a_forged_log_ends_the_command_with_1_and_evidence(tmp_path: Path) -> None:
    public, state = tmp_path / "public", tmp_path / "monitor"
    public.mkdir()
    with closing(
        Log.open(tmp_path / "log", origin="forged.example/log", clock=utc_now, create=True)
    ) as log:
        log.append([NewRecord("event", f"e{at}", {}) for at in range(5)])
        log.checkpoint()
        publish(log, public)
        vkey = log.verifier_key
    follow = ("monitor", public, "--state", state, "--vkey", vkey)
    done = here(*follow, "--once")
    assert done.returncode == 0, done.stderr
    assert "sound: forged.example/log has 6 entries, 6 of them new" in done.stdout
    key = SigningKey.parse((tmp_path / "log" / "keys" / "log.key").read_text().strip())
    note = sign_checkpoint(Checkpoint("forged.example/log", 6, bytes(32)), key)
    (public / "checkpoint").write_bytes(note)
    done = here(*follow)  # following, and yet it ends: two signed checkpoints prove it
    assert done.returncode == 1
    assert "split-view: two roots are signed for size 6; evidence in " in done.stdout
    (evidence,) = state.glob("evidence-split-view-*.json")
    assert json.loads(evidence.read_bytes())["shown"] == note.decode()


def test_a_second_monitor_of_one_state_and_an_unknown_log_are_refused(tmp_path: Path) -> None:
    done = here("monitor", tmp_path, "--once", "--state", tmp_path / "monitor")
    assert done.returncode == 2
    assert "must come from you" in done.stderr


def test_a_source_that_sends_too_much_or_nothing_is_no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("large"):
            return httpx.Response(200, content=bytes(MAX_RESOURCE_BYTES + 1))
        if request.url.path.endswith("closed"):
            return httpx.Response(401)
        return httpx.Response(404 if request.url.path.endswith("none") else 500)

    source = HttpSource("https://log.example.org/log", transport=httpx.MockTransport(answer))
    with closing(source):
        assert source.get("none") is None
        with pytest.raises(SourceError, match=f"auditor in {KEY_VARIABLE}"):
            source.get("closed")
        for path in ("large", "broken"):
            with pytest.raises(SourceError):
                source.get(path)
    monkeypatch.setenv(KEY_VARIABLE, "a.key")
    with pytest.raises(ServiceRefusedError, match="unencrypted"):
        HttpSource("http://log.example.org/log")


def test_a_log_that_cannot_be_reached_is_named_with_the_reason_and_no_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    reason = r"^http://127\.0\.0\.1:1/log/checkpoint: .+ refused"
    source = HttpSource("http://me:s3cret@127.0.0.1:1/log")
    with closing(source), pytest.raises(SourceError, match=reason):
        source.get("checkpoint")


def test_a_source_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    minutes = count()
    drops = repeat(b"x", 1_000)

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=drops)

    source = HttpSource(
        "https://log.example.org/log",
        transport=httpx.MockTransport(answer),
        clock=lambda: 60.0 * next(minutes),
    )
    with closing(source), pytest.raises(SourceError, match="took more than 300 s"):
        source.get("checkpoint")
    assert next(minutes) < 10


def test_published_files_are_compared_with_the_log(tiny_models: Path, tmp_path: Path) -> None:
    data, public = tmp_path / "data", tmp_path / "public"
    public.mkdir()
    origin = Settings(models_dir=tiny_models).log_origin
    with closing(Log.open(data / "log", origin=origin, clock=utc_now, create=True)) as log:
        log.append([NewRecord("event", "e", {})])
        log.checkpoint()
        publish(log, public)
    done = here("fsck", public, "--data-dir", data)
    assert (done.returncode, done.stdout) == (0, "2 entries published, 2 files compared: sound\n")
    (tile,) = (public / "tile" / "0").rglob("2")
    tile.write_bytes(bytes(64))
    done = here("fsck", public, "--data-dir", data)
    assert done.returncode == 1
    assert "FAULT entries from 0, 2: differs: tile/0/000.p/2" in done.stdout
    assert "2 files compared: 1 fault\n" in done.stdout
    assert json.loads(here("fsck", public, "--data-dir", data, "--json").stdout)["sound"] is False
    (public / "backup.sqlite3").write_bytes(b"")
    done = here("fsck", public, "--data-dir", data)
    assert "note: backup.sqlite3 is no part of the log, and public" in done.stdout
    missing = here("fsck", tmp_path / "typo", "--data-dir", data)
    assert missing.returncode == 2
    assert "there is no directory" in missing.stderr
