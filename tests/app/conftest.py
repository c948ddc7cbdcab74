"""The small model, started once for the tests of a module: starting takes longer than asking."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import Settings
from tests.app import tiny
from tests.started import Started, start


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models directory with the small model in it."""
    directory = tmp_path_factory.mktemp("tiny-models")
    tiny.write(directory / tiny.NAME)
    return directory


@pytest.fixture(scope="module")
def service(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """The service with the small model and a log that one module shares."""
    data = tmp_path_factory.mktemp("service") / "data"
    with start(Settings(models_dir=tiny_models, data_dir=data)) as started:
        yield started


@pytest.fixture(scope="module")
def demonstration(demo_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """The service with the demonstration's model: many fields, and values that may be missing."""
    data = tmp_path_factory.mktemp("demonstration") / "data"
    with start(Settings(models_dir=demo_models, data_dir=data)) as started:
        yield started
