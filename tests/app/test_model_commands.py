"""The registry from the command line, against a running service."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from app import terminal
from app.cli import app
from app.client import KEY_VARIABLE, ServiceRefusedError
from app.domain import Kind, Role
from app.ids import utc_now
from app.keys import KeyStore
from app.settings import Settings
from tests.app import tiny
from tests.app.test_lifecycle import second
from tests.app.versions import Submitted, report
from tests.service import ServiceProcess

Run = Callable[..., Result]


@pytest.fixture
def run(tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A running service, and the command with an owner's key."""
    settings = Settings(models_dir=tiny_models, data_dir=tmp_path / "data")
    with closing(KeyStore(settings.data_dir / "access.sqlite3")) as store:
        key = store.create(
            name="o", role=Role.MODEL_OWNER, clock=utc_now, kind=Kind.HUMAN, actor="olga"
        )
    monkeypatch.setenv(KEY_VARIABLE, key)
    monkeypatch.setenv("GROUNDS_DATA_DIR", str(settings.data_dir))
    monkeypatch.setattr(terminal.out, "width", 200)  # whenever it was made
    with ServiceProcess(settings) as service:

        def command(*words: object) -> Result:
            return CliRunner().invoke(app, [*map(str, words), "--url", service.address])

        yield command


def test_a_version_is_submitted_moved_and_rolled_back(run: Run, tmp_path: Path) -> None:
    tiny.write(tmp_path / "second", told=second())
    submitted = run(
        "bundle", "submit", tmp_path / "second" / "bundle",
        "--policy", tmp_path / "second" / "policy.yaml", "--reason", "This year's.",
    )  # fmt: skip
    assert submitted.exit_code == 0, submitted.output
    bundle, policy = (line.split()[1] for line in submitted.output.splitlines()[:2])
    named = ("--bundle", bundle[7:15], "--policy", policy, "--reason", "A test.")
    unreported = run("model", "stage", tiny.NAME, "accepted", *named)
    assert isinstance(unreported.exception, ServiceRefusedError)
    assert "no acceptance report" in str(unreported.exception)
    path = tmp_path / "report.json"

    path.write_text(json.dumps(report(tiny.NAME, Submitted(bundle, policy))))
    for words in (
        ("model", "stage", tiny.NAME, "accepted", *named, "--report", path),
        ("model", "stage", tiny.NAME, "shadow", *named),
        ("model", "compare", tiny.NAME, "--bundle", bundle, "--policy", policy),
        ("model", "stage", tiny.NAME, "live", *named, "--percent", 10),
        ("model", "rollback", tiny.NAME, "--reason", "A test."),
        ("model", "stage", tiny.NAME, "live", *named),
    ):
        done = run(*words)
        assert done.exit_code == 0, (words, done.output, done.exception)
    shown = run("model", "versions", tiny.NAME).output
    assert "retired" in shown
    assert bundle[7:19] in shown
    told = run("model", "history", tiny.NAME).output
    assert "stage_changed" in told
    assert "live 10 %, by olga: A test." in told
    assert "rollback to shadow, by olga: A test." in told
    half = run("model", "rollback", tiny.NAME, "--reason", "A test.", "--bundle", bundle)
    assert "given together" in half.output
    back = run("model", "rollback", tiny.NAME, *named)
    assert back.exit_code == 0, (back.output, back.exception)


def test_a_policy_is_changed_with_one_command(run: Run, tmp_path: Path) -> None:

    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump({**tiny.policy(), "version": "2"}))
    done = run("model", "policy", tiny.NAME, path, "--reason", "New guidance.")
    assert done.exit_code == 0, (done.output, done.exception)
    assert "policy_changed" in run("model", "history", tiny.NAME).output


def test_what_the_service_or_the_key_refuses_is_said(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = run("model", "versions", "never")
    assert "No such model is served" in str(unknown.exception)
    none = run("model", "stage", tiny.NAME, "live", "--bundle", "00", "--policy", "00",
               "--reason", "x")  # fmt: skip
    assert "0 versions of tiny begin so" in str(none.exception)
    whole = run("model", "stage", tiny.NAME, "live", "--bundle", "", "--policy", "",
                "--reason", "x", "--percent", 100)  # fmt: skip
    assert "percent: Want a number of at most 99" in str(whole.exception)
    monkeypatch.delenv(KEY_VARIABLE)
    assert "set GROUNDS_KEY" in str(run("model", "versions", tiny.NAME).exception)


def test_a_key_goes_to_no_other_machine_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "grounds_0123_secret")
    done = CliRunner().invoke(app, ["model", "versions", "any", "--url", "http://service.invalid"])
    assert isinstance(done.exception, ServiceRefusedError)
    assert "would go out unencrypted" in str(done.exception)
