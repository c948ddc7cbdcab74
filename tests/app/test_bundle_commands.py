"""The supplier's and the buyer's commands, as people type them."""

import json
import shutil
from pathlib import Path

import pytest

from models.bundle import SIGNATURE
from tests.app import tiny
from tests.app.test_cli import here


@pytest.fixture
def bundle(tiny_models: Path, tmp_path: Path) -> Path:
    """A bundle that nobody has signed yet."""
    path = tmp_path / "bundle"
    shutil.copytree(tiny_models / tiny.NAME / "bundle", path)
    (path / SIGNATURE).unlink()
    return path


def test_a_supplier_signs_and_a_buyer_verifies(bundle: Path, tmp_path: Path) -> None:
    made = here("bundle", "key", tmp_path / "keys", "--name", "acme")
    assert made.returncode == 0, made.stderr
    (tmp_path / "trusted").mkdir()
    (tmp_path / "keys" / "acme.pem").rename(tmp_path / "trusted" / "acme.pem")
    trusted = ("--suppliers", tmp_path / "trusted")

    refused = here("bundle", "verify", bundle, *trusted)
    assert (refused.returncode, "got no signature" in refused.stderr) == (2, True)
    signed = here("bundle", "sign", bundle, "--key", tmp_path / "keys" / "acme.key")
    assert signed.returncode == 0, signed.stderr
    verified = here("bundle", "verify", bundle, *trusted)
    assert verified.returncode == 0, verified.stderr
    (bundle / "card.yaml").write_bytes((bundle / "card.yaml").read_bytes() + b"\n")
    edited = here("bundle", "verify", bundle, *trusted)
    assert (edited.returncode, "card.yaml" in edited.stderr) == (2, True)


def test_lint_lists_gaps_and_ends_with_1(tmp_path: Path, demo_models: Path) -> None:
    tiny.write(tmp_path, told=tiny.card().model_copy(update={"assessments": ()}))
    bundle = tmp_path / "bundle"
    bare = here("bundle", "lint", bundle, "--profile", "uk", "--on", "2026-11-24")
    assert bare.returncode == 1
    assert "ESSENTIAL gdpr-dpia" in bare.stdout
    assert "cannot be activated" in bare.stdout
    whole = here("bundle", "lint", demo_models / "housing-support" / "bundle", "--on", "2026-11-24")
    assert whole.returncode == 0, whole.stdout
    assert "covered  atrs-purpose" in whole.stdout
    later = here("bundle", "lint", bundle, "--profile", "eu", "--on", "2027-12-02")
    assert "ESSENTIAL aia-27" in later.stdout
    assert here("bundle", "lint", bundle, "--on", "yesterday").returncode == 2


def test_a_report_that_is_not_all_passed_ends_with_1_and_is_signed(
    bundle: Path, tiny_models: Path, tmp_path: Path
) -> None:
    here("bundle", "key", tmp_path / "keys", "--name", "buyer")
    report = tmp_path / "report.json"
    tried = here(
        "bundle", "accept", bundle,
        "--policy", tiny_models / tiny.NAME / "policy.yaml",
        "--key", tmp_path / "keys" / "buyer.key",
        "--report", report,
    )  # fmt: skip
    assert tried.returncode == 1, tried.stderr
    assert "NOT accepted" in tried.stdout
    assert "not done fairness: no evaluation set" in tried.stdout
    assert report.with_suffix(".md").read_text().startswith("# Acceptance of tiny 1: Not accepted")
    shown = here("bundle", "report", report, "--key", tmp_path / "keys" / "buyer.pem")
    assert shown.returncode == 0, shown.stderr
    here("bundle", "key", tmp_path / "keys", "--name", "other")
    wrong = here("bundle", "report", report, "--key", tmp_path / "keys" / "other.pem")
    assert (wrong.returncode, "does not hold" in wrong.stderr) == (2, True)


@pytest.mark.parametrize(
    ("command", "first"),
    [("atrs", "ATRS"), ("cyclonedx", "CycloneDX"), ("register", "Annex VIII")],
)
def test_records_are_printed_as_json(command: str, first: str, bundle: Path) -> None:
    done = here("publish", command, bundle)
    assert done.returncode == 0, done.stderr
    assert first in json.dumps(json.loads(done.stdout))


def test_cards_are_printed_for_reading(bundle: Path) -> None:
    assert here("publish", "atrs", bundle, "--format", "md").stdout.startswith("# ")
    assert here("publish", "huggingface", bundle).stdout.startswith("---\n")
    missing = here("publish", "register", bundle, "--deployment", "nowhere.yaml")
    assert missing.returncode == 2
