"""Small databases beside the log, each a file of its own that only its owner reads."""

from pathlib import Path

import apsw


def open_private(path: Path) -> apsw.Connection:
    """Open a SQLite file, made if it is missing. Raises OSError, apsw.Error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.touch(mode=0o600)  # before SQLite makes it, for whoever may
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(2000)
    return connection
