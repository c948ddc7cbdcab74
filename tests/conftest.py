"""Fixtures for tests of the whole service: the production application on a demonstration model."""

import fcntl
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import hypothesis
import pytest
from fastapi.testclient import TestClient
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling, Scheduling

from app.domain import Role
from app.keys import KeyStore
from app.main import create_app
from app.settings import Settings
from explainers.warm import warm_up
from models.bundle import BundleFiles, read
from models.demo.build import build_demo
from tests.signed import signed, trust_tests
from tests.started import make_key

# How long an example takes is no claim: on a busy machine it would fail what holds.
hypothesis.settings.register_profile("grounds", deadline=None)
hypothesis.settings.load_profile("grounds")

POLICY = Path(__file__).parent.parent / "app" / "demo" / "policy.yaml"


APART = ("tests/browser/test_pages.py::", "tests/contract/test_fuzz.py::")
"""Their tests share only what a session shares, and take minutes: each goes to whoever is free."""


class ByFile(LoadFileScheduling):  # type: ignore[misc]  # xdist ships no types
    """Gives a file to one process, as its tests share what they start; large files go first."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith(APART) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    return ByFile(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test an identifier of its own: of two with one, several processes would run one.

    schemathesis makes a test for each operation of the document, and names all of them alike.
    """
    for item in items:
        operation = getattr(item, "operation_label", None)
        if operation is not None:
            item._id = item._id.with_params(operation)  # there is no other way
    alike = [name for name, count in Counter(item.nodeid for item in items).items() if count > 1]
    if alike:
        raise pytest.UsageError(f"several tests are called {alike[0]}: only one of them would run")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile before several processes would: numba's cache must have one writer at a time."""
    if session.config.getoption("numprocesses", None):
        say = session.config.get_terminal_writer().line
        say(
            "Loading the compiled kernels; in a fresh clone they are compiled first, for a minute ..."
        )
        for _ in warm_up():
            pass


@pytest.fixture(scope="session", autouse=True)
def _trusted_supplier(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every bundle that a test serves is signed, as anywhere else."""
    trust_tests(tmp_path_factory.mktemp("trust"))


@pytest.fixture(scope="session")
def demo_bundle(tmp_path_factory: pytest.TempPathFactory) -> BundleFiles:
    """The demonstration's bundle, not signed, made once a run by whichever process is first."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    target = shared / "demonstration"
    with (shared / "demonstration.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return read(target) if target.exists() else build_demo(target)


@pytest.fixture(scope="session")
def demo_models(demo_bundle: BundleFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models directory with the demonstration's bundle and policy, made once a session."""
    directory = tmp_path_factory.mktemp("models")
    signed(read(copytree(demo_bundle.path, directory / "housing-support" / "bundle")))
    for path in (POLICY, POLICY.with_name("practice.yaml")):
        (directory / "housing-support" / path.name).write_bytes(path.read_bytes())
    return directory


@pytest.fixture
def settings(demo_models: Path, tmp_path: Path) -> Settings:
    """Settings of a service with an empty log."""
    return Settings(models_dir=demo_models, data_dir=tmp_path / "data")


@pytest.fixture
def keys(settings: Settings) -> dict[Role, str]:
    """One key for each role."""
    store = KeyStore(settings.data_dir / "access.sqlite3")
    made = {role: make_key(store, role) for role in Role}
    store.close()
    return made


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """The service, started, without a key."""
    with TestClient(create_app(settings), raise_server_exceptions=False) as started:
        yield started


@pytest.fixture
def caller(client: TestClient, keys: dict[Role, str]) -> TestClient:
    """The service with the key of a case-management system."""
    client.headers["Authorization"] = f"Bearer {keys[Role.CALLER]}"
    return client
