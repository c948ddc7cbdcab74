"""One connection to PostgreSQL, used from ordinary threads; the only file that knows ``asyncpg``.

The connection's event loop runs in whichever thread is calling, and only while it calls. A loop in a
thread of its own would hand every answer of the server from thread to thread, and under load each
such step can wait for the interpreter's lock.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeAlias, TypeVar
from urllib.parse import urlsplit

from audit.errors import (
    DamagedLogError,
    LogFullError,
    LogMissingError,
    LogStateError,
    LogUnavailableError,
)
from audit.store import ConstraintViolationError

try:
    import asyncpg
except ModuleNotFoundError as _err:
    raise LogStateError(
        "the log is in PostgreSQL, and its driver is not installed: install the extra `postgres`"
    ) from _err

Result = TypeVar("Result")
Connection: TypeAlias = asyncpg.Connection
Work = Callable[[Connection], Awaitable[Result]]

SCHEMA = "grounds"
LOCKS = 0x47726E64
"""First half of the advisory locks' keys: ASCII "Grnd"."""
APPENDING, SIGNING, STORING, MIGRATING = 1, 2, 3, 4
"""Second halves: what is done while one is held."""
CONNECT_SECONDS = 5.0
CALL_SECONDS = 8.0
"""How long one call may take, of several statements perhaps, before this side gives up: less than the
server's own limit for one, so that it is never the server that ends the wait for a standby and then
reports success."""
APPLICATION_NAME = "grounds"
_SERVER_SETTINGS = {
    "application_name": APPLICATION_NAME,
    "search_path": f"{SCHEMA}, pg_temp",
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
    "standard_conforming_strings": "on",
    "statement_timeout": "10s",
    "lock_timeout": "5s",
    # A process that hangs while it holds the lock on appending loses it, and its transaction.
    "idle_in_transaction_session_timeout": "10s",
}

_UNAVAILABLE = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InvalidAuthorizationSpecificationError,
)
FAILURES = (*_UNAVAILABLE, asyncpg.PostgresError)
"""What the driver raises."""


class Session:
    """A connection that is opened when it is needed, and again when it was lost."""

    def __init__(
        self,
        url: str,
        *,
        writes: bool,
        settings: Mapping[str, str] | None = None,
        call_seconds: float | None = CALL_SECONDS,
    ) -> None:
        """``url`` holds a password, and appears in no message. ``writes`` asks for a primary."""
        self.name = describe(url)
        self._url = url
        self._settings = {**_SERVER_SETTINGS, **(settings or {})}
        self._writes = writes
        self._call_seconds = call_seconds
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, as far as this side knows."""
        return self._connection is not None and not self._connection.is_closed()

    def run(self, work: Work[Result], *, what: str, reopen: bool = False) -> Result:
        """Return the result of ``work`` on the connection, which is opened if it is not.

        With ``reopen``, a connection found to be lost is opened again and the work done once more:
        for what may be done twice. Raises LogStateError (and its kinds); after LogUnavailableError
        the connection is gone, and what the server had begun for it is undone or will be.
        """
        with self._lock:
            was_open = self.is_open
            try:
                return self._call(work, opens=True)
            except FAILURES as err:
                again = reopen and was_open and not self.is_open
                if not again:
                    raise self._failed(err, what) from err
            try:
                return self._call(work, opens=True)
            except FAILURES as err:
                raise self._failed(err, what) from err

    def go_on(self, work: Work[Result], *, what: str) -> Result:
        """Return the result of ``work``, which goes on from what was begun on the connection.

        On another one no lock is held, and COMMIT succeeds without having committed anything. Raises
        as ``run``, LogUnavailableError when the connection was lost.
        """
        with self._lock:
            try:
                return self._call(work, opens=False)
            except FAILURES as err:
                raise self._failed(err, what) from err

    def drop(self) -> None:
        """End the connection without a word to the server."""
        with self._lock:
            self._drop()

    def close(self) -> None:
        """End the connection and its event loop."""
        with self._lock:
            if self._loop.is_closed():
                return
            self._in_free_thread(self._loop.run_until_complete, self._say_goodbye())
            self._loop.close()

    def _call(self, work: Work[Result], *, opens: bool) -> Result:
        if self._loop.is_closed():
            raise LogStateError(f"the connection to {self.name} was closed")

        async def call() -> Result:
            connection = self._connection
            if connection is None or connection.is_closed():
                if not opens:
                    raise asyncpg.ConnectionDoesNotExistError("the connection was lost")
                connection = self._connection = await self._connect()
            async with asyncio.timeout(self._call_seconds):
                return await work(connection)

        return self._in_free_thread(self._loop.run_until_complete, call())

    async def _connect(self) -> Connection:
        try:
            return await asyncpg.connect(
                self._url,
                server_settings=self._settings,
                timeout=CONNECT_SECONDS,
                target_session_attrs="read-write" if self._writes else "any",
            )
        except asyncpg.TargetServerAttributeNotMatched as err:
            raise asyncpg.PostgresConnectionError(
                "the server takes no writes: a standby, or default_transaction_read_only"
            ) from err
        except OSError:
            raise  # a certificate that is not trusted is a ValueError too
        except (ValueError, asyncpg.ClientConfigurationError):
            # Without its cause: that may quote the address, and with it the password.
            raise LogStateError(
                f"the address of {self.name} is not one of PostgreSQL, or a file for TLS is missing"
            ) from None

    def _failed(self, err: BaseException, what: str) -> LogStateError:
        """Return what ``err`` means to the log; a connection in an unknown state is dropped."""
        message = f"{what} in {self.name} failed: {type(err).__name__}: {_first_line(err)}"
        if isinstance(err, asyncpg.UniqueViolationError):
            return ConstraintViolationError(message)
        if isinstance(err, asyncpg.DiskFullError):
            return LogFullError(message)
        if isinstance(err, _UNAVAILABLE):
            self._drop()
            return LogUnavailableError(message)
        if isinstance(err, asyncpg.UndefinedTableError | asyncpg.InvalidSchemaNameError):
            return LogMissingError(
                f"{self.name} holds no log, or none that this role may read: run `grounds log migrate`"
                " as the tables' owner, with --role and this role's name"
            )
        if isinstance(err, asyncpg.DataCorruptedError | asyncpg.IndexCorruptedError):
            return DamagedLogError(message)
        return LogStateError(message)

    async def _say_goodbye(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            with suppress(*FAILURES):
                await connection.close(timeout=1.0)
        await asyncio.sleep(0)  # what the driver left to be called once more

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    @staticmethod
    def _in_free_thread(
        run: Callable[[Awaitable[Result]], Result], awaitable: Awaitable[Result]
    ) -> Result:
        """Run the loop here, or, where this thread runs another one already, in a thread for it."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return run(awaitable)
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(run, awaitable).result()


def describe(url: str) -> str:
    """Return what messages call the database at ``url``: no user, no password.

    Raises LogStateError when it is no URL of PostgreSQL.
    """
    try:
        parts = urlsplit(url)
        place = f"{parts.hostname or 'local'}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        parts, place = urlsplit(""), ""
    # An `@` or a fragment is of a password in which `/` or `#` was not escaped, or of another slip.
    misread = "@" in parts.path or parts.netloc.count("@") > 1 or parts.fragment
    if parts.scheme not in ("postgresql", "postgres") or misread:
        raise LogStateError(
            "the log's address is not a URL like postgresql://user@host/database, where `/`, `#`, `?`,"
            " `@` and `%` of a password are written as %2F, %23, %3F, %40 and %25"
        )
    return f"PostgreSQL database {parts.path.lstrip('/') or 'of the user'} on {place}"


def _first_line(err: BaseException) -> str:
    """Return what went wrong, without the details, in which a server may quote rows."""
    if isinstance(err, OSError) and err.strerror:
        text = err.strerror
    else:
        text = str(err.args[0]) if err.args else ""
    return text.splitlines()[0] if text else "no answer in time"
