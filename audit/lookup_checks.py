"""Checks that a SQLite log's lookups lead to what its rows hold, to all of it and to nothing else.

See ``audit.lookups``. Of entries from ``upto`` on, which are being moved perhaps, none needs to be there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from audit.digest_pages import END, INDEX_BYTES, PREFIX_BYTES, Table, entry, position, unpack
from audit.errors import DamagedLogError
from audit.lookups import extent_sum
from audit.scan import LookupFault, Scanner

_COMPARED_AT_ONCE = 500_000
"""Digests held in memory: some 150 MB."""
_BEYOND = b"\xff" * (PREFIX_BYTES + 1)

_LATER_MISSING = """
SELECT seq FROM record_key AS k WHERE seq < $1 AND subject <> seq AND NOT EXISTS
  (SELECT 1 FROM later_record AS l WHERE l.part = k.subject % 256 AND l.subject = k.subject AND l.seq = k.seq)"""
_LATER_WRONG = """
SELECT seq FROM later_record AS l WHERE part <> subject % 256 OR subject = seq OR NOT EXISTS
  (SELECT 1 FROM record_key AS k WHERE k.seq = l.seq AND k.subject = l.subject)"""


@dataclass(frozen=True, slots=True)
class _Digests:
    """A table of pages, and the rows whose digests it is to find."""

    table: Table
    what: str
    rows: str
    """Takes the first 4 bytes from which, and before which, digests are wanted."""


_DIGESTS = (
    _Digests(
        "handle_page",
        "its subject's handle",
        "SELECT subject, handle FROM subject_key WHERE substr(handle, 1, 4) >= $1"
        " AND substr(handle, 1, 4) < $2 AND substr(handle, 1, 8) <> zeroblob(8)",
    ),
    _Digests(
        "request_page",
        "its request's key",
        "SELECT seq, key FROM idempotency WHERE substr(key, 1, 4) >= $1 AND substr(key, 1, 4) < $2",
    ),
)


def lookup_faults(scanner: Scanner) -> list[LookupFault]:
    """Return (index, what is wrong) of each entry that is not found, or found where it is not."""
    faults: list[LookupFault] = []
    upto = _upto(scanner, faults)
    for digests in _DIGESTS:
        faults += _Comparison(scanner, digests, upto).faults()
    for statement, parameters, what in (
        (_LATER_MISSING, (upto,), "is not found among its subject's records"),
        (_LATER_WRONG, (), "is found among the records of a subject whose it is not"),
    ):
        rows = scanner.rows(statement, *parameters)
        if rows is None:
            faults.append((None, "later_record cannot be read"))
        faults += [(_index(seq), what) for (seq,) in rows or []]
    return faults


def _upto(scanner: Scanner, faults: list[LookupFault]) -> int:
    size = scanner.value("SELECT size FROM head") or 0
    rows = scanner.rows("SELECT upto, one, sum FROM lookup_extent") or []
    upto = rows[0][0] if len(rows) == 1 else None
    if isinstance(upto, int) and 0 <= upto <= size and rows[0][1:] == (1, extent_sum(upto)):
        return upto
    faults.append((None, "lookup_extent does not say how far lookups go"))
    return 0


class _Comparison:
    """One table of pages, compared with its rows a stretch of pages at a time."""

    def __init__(self, scanner: Scanner, digests: _Digests, upto: int) -> None:
        self._scanner = scanner
        self._digests = digests
        self._upto = upto
        self._faults: list[LookupFault] = []

    def faults(self) -> list[LookupFault]:
        """Return what is wrong."""
        stored: set[bytes] = set()
        start = 0
        for first, end, entries in self._pages():
            if len(stored) > _COMPARED_AT_ONCE:
                self._compare(start, first, stored)
                stored, start = set(), first
            self._check_places(first, end, entries)
            stored.update(entries)
        self._compare(start, END, stored)
        return self._faults

    def _pages(self) -> Iterator[tuple[int, int, list[bytes]]]:
        """Yield (first, the next one's first, entries) of the pages that can be read."""
        table = self._digests.table
        before: tuple[int, list[bytes]] | None = None
        for first, row in self._scanner.walk(
            f"SELECT first, entries FROM {table} ORDER BY first"  # noqa: S608 - names above
        ):
            if not isinstance(first, int) or not 0 <= first < END or (before is None and first):
                self._faults.append((None, f"{table} has a page from {first!r}"))
                continue
            try:
                entries = unpack(first, row)
            except DamagedLogError as err:
                self._faults.append((None, f"{table}: {err}"))
                entries = []
            if before is not None:
                yield before[0], first, before[1]
            before = first, entries
        if before is not None:
            yield before[0], END, before[1]

    def _check_places(self, first: int, end: int, entries: Sequence[bytes]) -> None:
        seen: set[bytes] = set()
        for each in entries:
            if each in seen or not first <= position(each) < end:
                self._faults.append((_index_of(each), f"is out of place in {self._digests.table}"))
            seen.add(each)

    def _compare(self, start: int, end: int, stored: set[bytes]) -> None:
        what = self._digests.what
        seen: dict[bytes, int] = {}
        low = start.to_bytes(PREFIX_BYTES, "big")
        high = _BEYOND if end == END else end.to_bytes(PREFIX_BYTES, "big")
        for seq, digest in self._scanner.walk(self._digests.rows, low, high):
            if not isinstance(seq, int) or not isinstance(digest, bytes):
                continue  # told where rows are checked
            if not 0 <= seq < 1 << 8 * INDEX_BYTES:
                continue
            if seen.setdefault(digest, seq) != seq:
                self._faults.append((seq, f"has {what} in common with entry {seen[digest]}"))
            expected = entry(digest, seq)
            if expected in stored:
                stored.remove(expected)
            elif seq < self._upto:
                self._faults.append((seq, f"is not found by {what}"))
        for each in sorted(stored):
            self._faults.append((_index_of(each), f"is found by what is not {what}"))


def _index_of(each: bytes) -> int:
    return int.from_bytes(each[PREFIX_BYTES:], "big")


def _index(value: object) -> int | None:
    return value if isinstance(value, int) else None
