"""Grounds as it is measured: signed bundles, a key, an empty log; on SQLite or on PostgreSQL."""

import re
import time
from collections.abc import Iterator
from compileall import compile_dir
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree

import httpx
from pydantic import SecretStr

import app
import audit
import explainers
import models
from app.domain import Role
from app.ids import utc_now
from app.keys import KeyStore
from app.log_store import log_directory, log_store
from app.records import RECOMMENDATION
from app.settings import Settings
from audit.leaf import parse_leaf
from audit.reader import LogReader
from benchmarks.shared_model import write_models
from models.signing import make_key
from tests.postgres import Server

MODEL = "gbc"
WITH_CHANGE = "gbc-change"
"""The same model under a policy that asks what would have changed the recommendation."""

ENTRIES = 10_000
"""How many entries of the log are read at a time."""


_BEHIND = re.compile(r"^grounds_(monitoring_lag|index_behind)_entries (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Settings to serve with, and a caller's key."""

    settings: Settings
    key: str


def prepare_grounds(place: Path, rows: Path, *, names: tuple[str, ...]) -> Prepared:
    """Write the models, their supplier and a key.

    Our own bytecode too, as an installed copy has it: an environment may tell Python not to.
    """
    for package in (app, audit, explainers, models):
        compile_dir(Path(package.__file__ or "").parent, quiet=2)
    settings = Settings(
        models_dir=place / "models",
        data_dir=place / "data",
        suppliers_dir=place / "suppliers",
        profile="none",
    )
    supplier, _ = make_key(settings.suppliers_dir, "bench")
    write_models(rows, settings.models_dir, names=names, key=supplier)
    with closing(KeyStore(settings.data_dir / "access.sqlite3")) as store:
        return Prepared(settings, store.create(name="bench", role=Role.CALLER, clock=utc_now))


def grounds_environment(settings: Settings, port: int) -> dict[str, str]:
    """Return the environment that ``grounds serve`` reads these settings from."""
    told = {
        "GROUNDS_DATA_DIR": str(settings.data_dir),
        "GROUNDS_MODELS_DIR": str(settings.models_dir),
        "GROUNDS_SUPPLIERS_DIR": str(settings.suppliers_dir),
        "GROUNDS_PROFILE": settings.profile,
        "GROUNDS_PORT": str(port),
    }
    if settings.log_url is not None:
        told["GROUNDS_LOG_URL"] = settings.log_url.get_secret_value()
    return told


def wait_until_read(address: str) -> None:
    """Wait until whatever follows the log of a service has read it through, as after each start."""
    while any(
        float(entries) for _, entries in _BEHIND.findall(httpx.get(f"{address}/metrics").text)
    ):
        time.sleep(0.1)


def recorded(settings: Settings) -> int:
    """Return how many recommendations the log holds, each read back."""
    with closing(
        LogReader.open_readonly(
            log_directory(settings), origin=settings.log_origin, store=log_store(settings)
        )
    ) as log:
        return sum(
            parse_leaf(row.leaf).type == RECOMMENDATION
            for start in range(0, log.size, ENTRIES)
            for row in log.entries(start, start + ENTRIES)
        )


@contextmanager
def on_postgres(first: Prepared, place: Path) -> Iterator[Prepared]:
    """The same models and key, with the log in a PostgreSQL that runs until the block ends."""
    server = Server()
    try:
        with server.database() as database:
            settings = first.settings.model_copy(
                update={"data_dir": place / "one", "log_url": SecretStr(database.url)}
            )
            settings.data_dir.mkdir(parents=True)
            (settings.data_dir / "access.sqlite3").write_bytes(
                (first.settings.data_dir / "access.sqlite3").read_bytes()
            )
            yield Prepared(settings, first.key)
    finally:
        server.remove()


def replica(of: Prepared, place: Path) -> Prepared:
    """Return a second service on the same log, with the keys and checkpoint of the first."""
    copytree(of.settings.data_dir, place / "two")
    return Prepared(of.settings.model_copy(update={"data_dir": place / "two"}), of.key)
