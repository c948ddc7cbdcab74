"""Serving needs little: no training library, nothing of the tests, and our own packages."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("app", "models", "explainers", "audit")
NOT_FOR_SERVING = ("sklearn", "skl2onnx", "shap", "rfc3161_client", "requests", "pandas", "pytest")


def loaded_by(module: str) -> set[str]:
    """Return the top-level names that importing ``module`` loads in a fresh interpreter."""
    done = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_serving_loads_no_library_of_training_or_testing() -> None:
    loaded = loaded_by("app.main, app.server")
    assert loaded >= {"fastapi", "onnxruntime", *PACKAGES}
    assert loaded & set(NOT_FOR_SERVING) == set()


def test_what_is_not_for_serving_would_be_seen() -> None:
    assert "sklearn" in loaded_by("models.demo.train")


def test_the_audit_package_checks_a_log_without_the_rest() -> None:
    loaded = loaded_by("audit.__main__, audit.verify")
    assert loaded.isdisjoint({"app", "models", "explainers", "fastapi", "onnxruntime", "numpy"})


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_the_one_of_this_repository(package: str) -> None:
    done = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-c", f"import {package}; print({package}.__file__)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()) == ROOT / package / "__init__.py"


def test_packages_keep_to_the_import_rules() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run(  # noqa: S603  # beside our own interpreter
        [linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout
