"""Erasing: payloads, keys and salts go with the very transaction that records that they went.

Leaves stay, so every proof still verifies, and ``verify`` tells erased from missing by the entry
that says so.
"""

from collections.abc import Callable, Sequence

from audit.appender import Appender
from audit.errors import DamagedLogError
from audit.records import ERASURE, Erasure, NewRecord, check_distinct, check_ids
from audit.row_reader import RowReader

_ERASED_PER_ENTRY = 40
"""Indexes in one erasure entry, so that its leaf stays below its limit."""


def erase(
    appender: Appender,
    rows: RowReader,
    find: Callable[[], Sequence[int]],
    *,
    basis: str,
    actor: str,
    new_id: Callable[[], str],
) -> Erasure:
    """Erase the entries that ``find`` returns, and append what says so.

    ``find`` runs while nobody else can write: what another erases meanwhile is not erased twice.
    Raises as ``Log.append``.
    """
    with appender.exclusively():
        indexes = find()
        records = [
            NewRecord(
                type=ERASURE,
                id=new_id(),
                facts={
                    "of": indexes[start : start + _ERASED_PER_ENTRY],
                    "basis": basis,
                    "actor": actor,
                },
            )
            for start in range(0, len(indexes), _ERASED_PER_ENTRY)
        ]
        check_ids(records)
        check_distinct(records)
        erased = [
            (index, appender.size + at // _ERASED_PER_ENTRY, _subject_of(rows, index))
            for at, index in enumerate(indexes)
        ]
        receipts = appender.add(records, erased=erased) if records else []
    # Rows are overwritten in the file only when the WAL is copied into it, and stay readable in
    # the WAL until that is cut to nothing.
    return Erasure(tuple(indexes), tuple(receipts), purged=appender.purge())


def _subject_of(rows: RowReader, index: int) -> int:
    key = rows.record_key(index)
    if key is None or rows.subject(key[0]) is None:
        raise DamagedLogError(f"the key of entry {index} is missing and was not erased")
    return key[0]
