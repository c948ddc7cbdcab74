"""One check to run after every step of a test: the log agrees with itself and with what it signed."""

from collections.abc import Sequence
from pathlib import Path

from audit import merkle
from audit.layout import KEYS_DIRECTORY
from audit.log import Log
from audit.note import SigningKey
from audit.postgres import PostgresStore
from audit.postgres_scan import PostgresSource
from audit.records import Receipt
from audit.store import Store
from audit.verify import Report, verify
from tests.reference import naive_merkle


def check_log(
    directory: Path, *, acknowledged: Sequence[Receipt] = (), store: Store | None = None
) -> Report:
    """Verify every byte, trusting the key on disk; every acknowledged receipt must be honoured."""
    key = SigningKey.parse((directory / KEYS_DIRECTORY / "log.key").read_text().strip())
    vkey = key.verifier.format()
    source = PostgresSource(store.url) if isinstance(store, PostgresStore) else None
    without_keys = verify(directory, vkeys=[vkey], use_keys=False, source=source)
    report = verify(directory, vkeys=[vkey], source=source)
    assert (report.faults, without_keys.faults) == ((), ())
    for receipt in acknowledged:
        assert receipt.index < report.size
    return report


def check_open_log(log: Log, *, acknowledged: Sequence[Receipt] = ()) -> Report:
    """As check_log, on a log in use; roots are compared with the naive recursion while small."""
    report = check_log(log.directory, acknowledged=acknowledged, store=log.store)
    assert (log.size, log.root()) == (report.size, report.root)
    entries = log.entries(0, log.size)
    assert [entry.seq for entry in entries] == list(range(log.size))
    if log.size <= 300:
        assert naive_merkle.mth([entry.leaf for entry in entries]) == log.root()
    for receipt in acknowledged:
        entry = entries[receipt.index]
        assert merkle.leaf_hash(entry.leaf) == receipt.leaf_hash
    return report
