"""Checks of what entries say of each other: which one they follow, and the numbers in their ids."""

import re
from collections.abc import Sequence

from audit.faults import Faults
from audit.note import encode_base64
from audit.scan import Scanner
from audit.scanned_leaf import ScannedLeaf
from audit.store import SqlRow, SqlValue

_SERIES = frozenset({b"registry", b"control"})
"""What stands before the number in ids that are numbered over the whole log."""
_NUMBER = re.compile(rb"[1-9][0-9]{0,17}").fullmatch

Entry = tuple[int, ScannedLeaf]
Found = dict[SqlValue, SqlRow | None]
"""Rows by what was asked for: None for one that cannot be read, nothing for one that is not there."""


def has_steps(leaf: ScannedLeaf) -> bool:
    """Return whether ``check_steps`` has something to check of an entry."""
    return _follows(leaf) or (b"." in leaf.id and _series(leaf) in _SERIES)


def check_steps(scanner: Scanner, faults: Faults, entries: Sequence[Entry]) -> None:
    """Report entries that follow another leaf than they name, and gaps in numbered ids.

    What they name may stand anywhere before them, so it is looked up for all of ``entries`` together.
    What cannot be read is told at its own place.
    """
    numbered = [entry for entry in entries if _series(entry[1]) in _SERIES]
    numbered += _check_followed(scanner, faults, [entry for entry in entries if _follows(entry[1])])
    wanted: dict[int, bytes] = {}
    for index, leaf in numbered:
        series, _, number = leaf.id.rpartition(b".")
        if _NUMBER(number) is None:
            faults.add(index, "step", f"has the id {leaf.id.decode()}, which ends in no number")
        elif number != b"1":
            wanted[index] = b"%s.%d" % (series, int(number) - 1)
    found = _look_up(scanner, "seq", "id", [id_.decode() for id_ in wanted.values()])
    for index, id_ in wanted.items():
        row = found.get(id_.decode(), ())
        if row is not None and not (row and isinstance(row[0], int) and row[0] < index):
            faults.add(index, "step", f"no entry before it has the id {id_.decode()}")


def _follows(leaf: ScannedLeaf) -> bool:
    return "leaf" in leaf.facts and "of" in leaf.facts


def _series(leaf: ScannedLeaf) -> bytes:
    return leaf.id.rpartition(b".")[0]


def _check_followed(scanner: Scanner, faults: Faults, entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries whose ids are numbered after the one they follow."""
    indexes = {
        of for index, leaf in entries if type(of := leaf.facts["of"]) is int and 0 <= of < index
    }
    found = _look_up(scanner, f"{scanner.id_as_bytes}, leaf_hash", "seq", sorted(indexes))
    numbered: list[Entry] = []
    for index, leaf in entries:
        of = leaf.facts["of"]
        if type(of) is not int or of >= index or of not in found:
            faults.add(index, "step", "follows what is not before it")
            continue
        row = found[of]
        if row is None or not isinstance(row[0], bytes) or not isinstance(row[1], bytes):
            continue
        if leaf.facts["leaf"] != encode_base64(row[1]):
            faults.add(index, "step", f"follows entry {of}, which has another leaf")
        if not leaf.id.startswith(row[0] + b"."):
            faults.add(index, "step", f"follows entry {of}, whose id does not begin its own")
        elif _series(leaf) == row[0]:
            numbered.append((index, leaf))
    return numbered


def _look_up(scanner: Scanner, columns: str, key: str, values: Sequence[int | str]) -> Found:
    """Return entries' columns by ``key``: one by one where they cannot be read together."""
    if not values:
        return {}
    places = ", ".join(f"${at + 1}" for at in range(len(values)))
    rows = scanner.rows(f"SELECT {key}, {columns} FROM entry WHERE {key} IN ({places})", *values)  # noqa: S608
    if rows is not None:
        return {row[0]: row[1:] for row in rows}
    if len(values) == 1:
        return {values[0]: None}
    found: Found = {}
    for value in values:
        found |= _look_up(scanner, columns, key, [value])
    return found
