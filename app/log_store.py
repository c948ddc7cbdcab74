"""Where the log's rows are, as the settings say: the one place that reads the database's address."""

from pathlib import Path

from app.settings import Settings
from audit.scan import Source
from audit.sqlite_scan import SqliteSource
from audit.store import Store, open_store


def log_directory(settings: Settings) -> Path:
    """Return the directory of keys and checkpoint, and of the log's file where it has one."""
    return settings.data_dir / "log"


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
