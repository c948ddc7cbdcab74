"""The demonstration, started once for all tests of the contract, and the document it serves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings
from tests.started import Started, start


@pytest.fixture(scope="session")
def service(demo_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    data = tmp_path_factory.mktemp("contract") / "data"
    with start(Settings(models_dir=demo_models, data_dir=data)) as started:
        yield started


@pytest.fixture(autouse=True)
def _nothing_stays_stopped(service: Started) -> Iterator[None]:
    """A test that stops the advice must not stop the others'."""
    yield
    service.resume_all()


@pytest.fixture(scope="session")
def document(service: Started) -> dict[str, Any]:
    """The document as it is served, not as the application holds it."""
    response = service.client.get("/openapi.json")
    content: dict[str, Any] = response.json()
    return content
