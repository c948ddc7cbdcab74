"""Pages of digests: a table of SQLite that finds entries by digest, made for appending and erasing.

A row ``(first, entries)`` holds the digests whose first 4 bytes, as a number, are at least ``first`` and
below the next row's. ``entries`` are zeros, then up to 1,008 entries of 8 bytes as they came (those 4, and
the index of the log's entry in 4), then the CRC-32 of it all. A row that is full is cut in two.

Each row is as long as a page of the file, and so fills one alone: SQLite overwrites it in place and
has nothing else to move when pages are split. In an index of digests it would, and leave copies of
moved ones behind in pages' unused bytes, which no erasure reaches.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final, Literal, TypeAlias
from zlib import crc32

import apsw

from audit.errors import DamagedLogError

Table: TypeAlias = Literal["handle_page", "request_page"]

PREFIX_BYTES: Final = 4
"""Enough to tell nearly all digests apart; whoever finds one compares the rest with the entry's row."""
INDEX_BYTES: Final = 4
ENTRY_BYTES: Final = PREFIX_BYTES + INDEX_BYTES
CAPACITY: Final = 1_008
ENTRIES_BYTES: Final = CAPACITY * ENTRY_BYTES
ROW_BYTES: Final = ENTRIES_BYTES + 4
MOST_ENTRIES: Final = 1 << 8 * INDEX_BYTES
END: Final = 1 << 8 * PREFIX_BYTES
"""Beyond all positions."""
_ENTRY = Struct(f"{ENTRY_BYTES}s")
_MARK = Struct(">2xH4x")
"""The part of an entry that its mark is made of: its place does not tell it."""
_NOTHING = bytes(ENTRY_BYTES)
_CUT_TO = CAPACITY * 5 // 8
"""About how many entries each part of a row gets that must be cut."""
_MARKS_BYTES = 2_048
_MOST_IN_MEMORY = 4_096
"""Rows, of some 650 digests each: 42 MB."""


def entry(digest: bytes, index: int) -> bytes:
    """Return what a page holds of a digest."""
    return digest[:PREFIX_BYTES] + index.to_bytes(INDEX_BYTES, "big")


def split(content: bytes | bytearray) -> list[bytes]:
    """Return the entries of which bytes are made."""
    return [each for (each,) in _ENTRY.iter_unpack(content)]


def position(digest: bytes) -> int:
    """Return where a digest, or an entry, belongs."""
    return int.from_bytes(digest[:PREFIX_BYTES], "big")


def pack(first: int, entries: Sequence[bytes]) -> bytes:
    """Return a row's bytes."""
    return _sealed(first, b"".join(entries).rjust(ENTRIES_BYTES, b"\0"))


def unpack(first: int, row: object) -> list[bytes]:
    """Return a row's entries. Raises DamagedLogError when it is not as ``pack`` makes it."""
    return split(_used(_opened(first, row)))


def indexes_in(row: bytes, digest: bytes) -> list[int]:
    """Return the indexes under which a row has the digest, or another one that begins alike."""
    prefix = digest[:PREFIX_BYTES]
    found = []
    at = row.find(prefix, 0, ENTRIES_BYTES)
    while at != -1:
        if at % ENTRY_BYTES == 0:
            index = int.from_bytes(row[at + PREFIX_BYTES : at + ENTRY_BYTES], "big")
            if index:  # else it is one of the zeros
                found.append(index)
        at = row.find(prefix, at + 1, ENTRIES_BYTES)
    return found


def page_statement(table: Table) -> str:
    """Return the query for the row that would hold the digest of a position, its parameter."""
    return f"SELECT entries FROM {table} WHERE first <= $1 ORDER BY first DESC LIMIT 1"  # noqa: S608


@dataclass(slots=True)
class _Page:
    """A row in memory."""

    row: bytes
    marks: bytearray
    """16,384 bits, one set for each digest: a new one is nearly always known to be new by them."""


class DigestPages:
    """A table as the writer uses it: with its rows' beginnings, and those that it met, in memory."""

    def __init__(self, connection: apsw.Connection, table: Table) -> None:
        self._run = connection.cursor().execute
        self._table = table
        self._firsts: list[bytes] = []
        """As the first bytes of a digest, which compare as the numbers do."""
        self._pages: list[_Page | None] = []
        self._in_memory = 0

    def load(self) -> None:
        """Learn which rows there are. Also after a rollback."""
        rows = self._run(f"SELECT first FROM {self._table} ORDER BY first")  # noqa: S608
        self._firsts = [int(str(first)).to_bytes(PREFIX_BYTES, "big") for (first,) in rows]
        self._forget_pages()

    def find(self, digests: Iterable[bytes]) -> dict[bytes, list[int]]:
        """Return, by digest, the entries that have it or another one that begins alike."""
        found: dict[bytes, list[int]] = {}
        if not self._firsts:
            return found
        self._limit_memory()
        firsts, pages = self._firsts, self._pages
        for digest in digests:
            at = bisect_right(firsts, digest) - 1
            page = pages[at] or self._page(at)
            # Nearly every digest of a log comes here, so marks are read in this very line.
            if page.marks[digest[2] << 3 | digest[3] >> 5] & 1 << (digest[3] >> 2 & 7):
                indexes = indexes_in(page.row, digest)
                if indexes:
                    found[digest] = indexes
        return found

    def add(self, entries: Sequence[bytes], *, may_be_there: bool = False) -> None:
        """Add entries, in order. ``may_be_there`` if some could be there already."""
        self._limit_memory()
        if entries and not self._firsts:
            self._insert(0, 0, [])
        start = 0
        while start < len(entries):
            at = bisect_right(self._firsts, entries[start]) - 1
            stop = len(entries)
            if at + 1 < len(self._firsts):
                stop = bisect_left(entries, self._firsts[at + 1], start)
            self._add_to(at, entries[start:stop], may_be_there=may_be_there)
            start = stop

    def remove(self, digest: bytes, index: int) -> None:
        """Take an entry out, if it is there, leaving no byte of it."""
        at = bisect_right(self._firsts, digest) - 1
        if at >= 0:
            kept, gone = split(_used(self._page(at).row)), entry(digest, index)
            if gone in kept:
                kept.remove(gone)
                self._update(at, pack(_number(self._firsts[at]), kept))

    def _add_to(self, at: int, new: Sequence[bytes], *, may_be_there: bool) -> None:
        page = self._page(at)
        if may_be_there:
            held = frozenset(split(_used(page.row)))
            new = [each for each in new if each not in held]
        more = b"".join(new)
        if len(more) > _unused(page.row):
            self._cut(at, [*split(_used(page.row)), *new])
            return
        first = _number(self._firsts[at])
        self._update(at, _sealed(first, page.row[len(more) : ENTRIES_BYTES] + more))
        _mark(page.marks, more)

    def _cut(self, at: int, entries: list[bytes]) -> None:
        """Divide a row's entries, too many for it, among it and new ones after it."""
        entries.sort()
        part, *others = _parts(entries)
        self._update(at, pack(_number(self._firsts[at]), part))
        self._page(at).marks = _marks_of(part)
        below = part[-1]
        for number, other in enumerate(others, at + 1):
            self._insert(number, _boundary(below, other[0]), other)
            below = other[-1]

    def _page(self, at: int) -> _Page:
        page = self._pages[at]
        if page is None:
            first = _number(self._firsts[at])
            statement = f"SELECT entries FROM {self._table} WHERE first = ?"  # noqa: S608
            ((row,),) = self._run(statement, (first,)).fetchall()
            page = _Page(_opened(first, row), _marks_of(unpack(first, row)))
            self._pages[at] = page
            self._in_memory += 1
        return page

    def _update(self, at: int, row: bytes) -> None:
        self._run(
            f"UPDATE {self._table} SET entries = ? WHERE first = ?",  # noqa: S608
            (row, _number(self._firsts[at])),
        )
        self._page(at).row = row

    def _insert(self, at: int, first: int, entries: Sequence[bytes]) -> None:
        row = pack(first, entries)
        self._run(f"INSERT INTO {self._table} VALUES (?, ?)", (first, row))  # noqa: S608
        self._firsts.insert(at, first.to_bytes(PREFIX_BYTES, "big"))
        self._pages.insert(at, _Page(row, _marks_of(entries)))
        self._in_memory += 1

    def _limit_memory(self) -> None:
        if self._in_memory > _MOST_IN_MEMORY:
            self._forget_pages()

    def _forget_pages(self) -> None:
        self._pages = [None] * len(self._firsts)
        self._in_memory = 0


def _number(first: bytes) -> int:
    return int.from_bytes(first, "big")


def _sealed(first: int, content: bytes) -> bytes:
    return content + _sum(first, content)


def _opened(first: int, row: object) -> bytes:
    """Return a row, once its length and sum are seen to be right."""
    if not isinstance(row, bytes) or len(row) != ROW_BYTES:
        raise DamagedLogError(f"the page of digests from {first} has not its length")
    if _sum(first, row[:ENTRIES_BYTES]) != row[ENTRIES_BYTES:]:
        raise DamagedLogError(f"the page of digests from {first} has not its sum")
    return row


def _sum(first: int, content: bytes) -> bytes:
    return crc32(content, first & 0xFFFFFFFF ^ first >> 32).to_bytes(4, "big")


def _used(row: bytes) -> bytes:
    return row[_unused(row) : ENTRIES_BYTES]


def _unused(row: bytes) -> int:
    """Return how many bytes of a row come before the first entry.

    No entry is all zeros: the log's entry 0 has neither subject nor request.
    """
    low, high = 0, CAPACITY
    while low < high:
        middle = (low + high) // 2
        if row[middle * ENTRY_BYTES : (middle + 1) * ENTRY_BYTES] == _NOTHING:
            low = middle + 1
        else:
            high = middle
    return low * ENTRY_BYTES


def _parts(entries: Sequence[bytes]) -> list[Sequence[bytes]]:
    """Cut entries, in order, into parts for rows of their own; those that begin alike stay together."""
    count = -(-len(entries) // _CUT_TO)
    parts, start = [], 0
    for number in range(1, count + 1):
        stop = len(entries) * number // count
        while start < stop < len(entries) and _begin_alike(entries[stop - 1], entries[stop]):
            stop += 1
        if stop > start:
            parts.append(entries[start:stop])
            start = stop
    if max(map(len, parts)) > CAPACITY:
        raise DamagedLogError(f"more than {CAPACITY} digests begin alike")
    return parts


def _begin_alike(one: bytes, other: bytes) -> bool:
    return one[:PREFIX_BYTES] == other[:PREFIX_BYTES]


def _boundary(below: bytes, above: bytes) -> int:
    """Return where a row begins whose first entry is ``above``: with as little of it as will do.

    It stays when that entry is erased.
    """
    low, high = position(below), position(above)
    for shift in range(8 * PREFIX_BYTES - 1, 0, -1):
        found = high >> shift << shift
        if found > low:
            return found
    return high


def _marks_of(entries: Iterable[bytes]) -> bytearray:
    marks = bytearray(_MARKS_BYTES)
    _mark(marks, b"".join(entries))
    return marks


def _mark(marks: bytearray, entries: bytes) -> None:
    for (mark,) in _MARK.iter_unpack(entries):
        marks[mark >> 5] |= 1 << (mark >> 2 & 7)
