"""Where the log is, as the settings say: the one place that reads the database's address."""

from pathlib import Path

from app.domain import Clock
from app.settings import Settings
from audit.errors import LogLockedError
from audit.log import Log
from audit.master_key import Command, command_of
from audit.reader import LogReader
from audit.scan import Source
from audit.sqlite_scan import SqliteSource
from audit.store import Store, open_store


def log_directory(settings: Settings) -> Path:
    """Return the directory of keys and checkpoint, and of the log's file where it has one."""
    return settings.data_dir / "log"


def read_log(settings: Settings, *, with_keys: bool = True) -> LogReader:
    """Open the log for reading, beside its writer. Raises AuditError."""
    return LogReader.open_readonly(
        log_directory(settings),
        origin=settings.log_origin,
        with_keys=with_keys,
        store=log_store(settings),
        master_command=master_command(settings),
    )


def write_log(settings: Settings, *, clock: Clock, create: bool = False) -> Log:
    """Open the log for writing; with ``create``, make it where there is none. Raises AuditError."""
    return Log.open(
        log_directory(settings),
        origin=settings.log_origin,
        clock=clock,
        create=create,
        store=log_store(settings),
        master_command=master_command(settings),
    )


def master_command(settings: Settings) -> Command:
    """Return the program that gives the log's master key; empty where a file does. Raises KeyFileError."""
    words = settings.master_key_command
    return command_of("" if words is None else words.get_secret_value())


def log_store(settings: Settings) -> Store:
    """Return the log's store. Raises LogStateError for an address that is none."""
    return open_store(log_directory(settings), _url(settings))


def log_source(settings: Settings) -> Source:
    """Return what ``verify`` reads the log through. Raises LogStateError."""
    url = _url(settings)
    if url is None:
        return SqliteSource(log_directory(settings))
    from audit.postgres_scan import PostgresSource  # needs the extra `postgres`

    return PostgresSource(url)


def _url(settings: Settings) -> str | None:
    return None if settings.log_url is None else settings.log_url.get_secret_value()


def may_change_log(settings: Settings) -> bool:
    """Return whether the database lets this service do more than read and add. Raises AuditError."""
    url = _url(settings)
    if url is None:
        return False
    from audit.postgres import PostgresStore  # only with the extra `postgres`

    return PostgresStore(url).may_change()


def refuse_while_others_use_it(settings: Settings) -> None:
    """Raise LogLockedError while a service, or another command, is connected to a shared log.

    A log in a file has a lock of its own. A service goes on signing with the keys that it has read: what
    it signs after a change of keys, nobody could open once the earlier key is retired.
    """
    url = _url(settings)
    if url is not None:
        from audit.postgres import PostgresStore  # only with the extra `postgres`

        store = PostgresStore(url)
        if store.is_in_use():
            raise LogLockedError(
                f"{store.name} is in use: stop every service on this log first, and every command"
            )
