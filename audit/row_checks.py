"""Checks of rows against each other that only show once all entries are read."""

from audit.entry_checks import erased_by
from audit.envelope import WRAPPED_SUBJECT_KEY_BYTES
from audit.errors import LeafError
from audit.faults import Faults
from audit.findings import RangeFindings
from audit.records import ERASURE
from audit.scan import Scanner, Source
from audit.scanned_leaf import LeafScanner

_PUT_BACK = (
    "SELECT DISTINCT k.subject FROM erased e JOIN subject_key k ON k.subject = e.subject"
    " WHERE k.wrapped <> $1 AND NOT EXISTS (SELECT 1 FROM record_key r WHERE r.subject = k.subject"
    " AND NOT EXISTS (SELECT 1 FROM erased f WHERE f.seq = r.seq))"
)
"""Subjects who have a key although every record of theirs is erased: with a handle, whose they are."""
_ONE_HANDLE = (
    "SELECT subject FROM subject_key WHERE handle IN"
    " (SELECT handle FROM subject_key GROUP BY handle HAVING count(*) > 1) ORDER BY subject"
)
_ONE_KEY = (
    "SELECT seq FROM idempotency WHERE key IN"
    " (SELECT key FROM idempotency GROUP BY key HAVING count(*) > 1) ORDER BY seq"
)
"""Rows that share what no two may. SQLite has no index that sees to it."""


class RowChecks:
    """Takes ranges' findings in, and compares them with each other and with the tables."""

    def __init__(self, scanner: Scanner, faults: Faults, *, first: int, size: int) -> None:
        """``first`` is the first entry that is read, ``size`` how many there are."""
        self._scanner = scanner
        self._faults = faults
        self._first = first
        self._size = size
        self._erased: dict[int, int] = {}
        self._erasures: dict[int, frozenset[int]] = {}
        self._has_payload = bytearray()
        self._subjects: list[int] = []
        self._idempotent = 0

    @property
    def erased_count(self) -> int:
        """Return how many payloads were erased, among the entries that were read."""
        return len(self._erased)

    def add(self, found: RangeFindings) -> None:
        """Take the next range in."""
        self._erased.update(found.erased)
        self._erasures.update({at: frozenset(of) for at, of in found.erasures.items()})
        self._has_payload += found.has_payload
        self._subjects += found.subjects
        self._idempotent += found.idempotent

    def finish(self, source: Source) -> None:
        """Compare. ``source`` gives a later view, for erasures made while a live log was read."""
        later = {erasure for erasure in self._erased.values() if erasure >= self._size}
        if later and self._scanner.is_live:
            self._read_later_erasures(source, later)
        for index, erasure in self._erased.items():
            named = self._erasures.get(erasure)
            if named is None and erasure < self._first:
                named = self._read_erasure(self._scanner, erasure)
            if named is None or index not in named:
                self._faults.add(
                    index,
                    "erasure",
                    f"is marked as erased by entry {erasure}, which does not say so",
                )
        for erasure, indexes in self._erasures.items():
            for index in sorted(indexes):
                if index not in self._erased and not self._was_erased_before(index, erasure):
                    self._faults.add(
                        index, "erasure", f"entry {erasure} erased it, yet it is there"
                    )
        for (subject,) in self._scanner.rows(_PUT_BACK, bytes(WRAPPED_SUBJECT_KEY_BYTES)) or []:
            if isinstance(subject, int):
                self._faults.add(
                    subject,
                    "subject-key",
                    "all records of the subject are erased, yet its key and handle are not",
                )
        self._check_shared()
        self._check_counts()

    def name_page_damage(self) -> None:
        """Look every row up by its key and through every index, to name those not found there.

        On a damaged page a row can be seen in passing and yet not be found when it is wanted.
        """
        for index, has_payload in enumerate(self._has_payload, self._first):
            self._expect_found(
                index, "id", "entry WHERE id = (SELECT id FROM entry WHERE seq = $1)"
            )
            if not has_payload:
                continue
            self._expect_found(index, "payload", "payload WHERE seq = $1")
            self._expect_found(
                index,
                "key",
                "record_key WHERE seq = $1"
                " AND subject = (SELECT subject FROM record_key WHERE seq = $1)",
            )
        for index in self._erased:
            self._expect_found(index, "erasure", "erased WHERE seq = $1")
        for subject in self._subjects:
            self._expect_found(
                subject,
                "subject-key",
                "subject_key WHERE subject = $1",
                key="subject",
            )

    def _expect_found(self, index: int, kind: str, where: str, *, key: str = "seq") -> None:
        found = self._scanner.rows(f"SELECT {key} FROM {where}", index)  # noqa: S608 - texts above
        if found != [(index,)]:
            self._faults.add(index, kind, "is not found where it belongs: a page is damaged")

    def _check_shared(self) -> None:
        """Report digests that two rows have: who is looked up by one would find only one of them."""
        for statement, table, kind, what in (
            (_ONE_HANDLE, "subject_key", "subject-key", "has the handle of another subject"),
            (_ONE_KEY, "idempotency", "idempotency", "has the idempotency key of another entry"),
        ):
            rows = self._scanner.rows(statement)
            if rows is None:
                self._faults.add(None, table, "cannot be searched for two rows with one digest")
            for (row,) in rows or []:
                if isinstance(row, int):
                    self._faults.add(row, kind, what)

    def _was_erased_before(self, index: int, erasure: int) -> bool:
        """Return whether an entry before the first that was read is marked as erased, and zeros."""
        if not 0 <= index < self._first:
            return False
        marks = self._scanner.rows("SELECT erasure FROM erased WHERE seq = $1", index)
        rows = self._scanner.rows(
            "SELECT p.envelope, k.wrapped FROM payload p, record_key k"
            " WHERE p.seq = $1 AND k.seq = p.seq",
            index,
        )
        return (
            marks == [(erasure,)]
            and rows is not None
            and len(rows) == 1
            and all(isinstance(value, bytes) and not any(value) for value in rows[0])
        )

    def _read_later_erasures(self, source: Source, erasures: set[int]) -> None:
        """Look at erasures that were appended after the entries to check were counted."""
        later = source.open()
        try:
            for erasure in erasures:
                named = self._read_erasure(later, erasure)
                if named is not None:
                    self._erasures[erasure] = named & self._erased.keys()
        finally:
            later.close()

    @staticmethod
    def _read_erasure(scanner: Scanner, erasure: int) -> frozenset[int] | None:
        """Return what an erasure entry, whose leaf is not checked here, says it erased."""
        rows = scanner.rows("SELECT leaf FROM entry WHERE seq = $1", erasure)
        if not rows or not isinstance(rows[0][0], bytes):
            return None
        try:
            leaf = LeafScanner().scan(rows[0][0])
        except LeafError:
            return None
        named = erased_by(leaf)
        return None if leaf.type != ERASURE.encode() or named is None else frozenset(named)

    def _name_idempotency_rows(self) -> None:
        """Report the entries that more rows lead to than their leaves explain."""
        counted = self._scanner.rows(
            "SELECT seq, count(*) FROM idempotency GROUP BY seq ORDER BY seq"
        )
        for index, got in counted or []:
            if not isinstance(index, int) or not isinstance(got, int):
                continue
            leaves = self._scanner.rows("SELECT leaf FROM entry WHERE seq = $1", index)
            if not leaves or not isinstance(leaves[0][0], bytes):
                continue  # told where the entry is read
            try:
                want = int(LeafScanner().scan(leaves[0][0]).idempotency_key is not None)
            except LeafError:
                continue
            if got > want:
                self._faults.add(
                    index, "idempotency", f"{got} idempotency keys lead to it, its leaf has {want}"
                )

    def _check_counts(self) -> None:
        """Report rows that no entry accounts for."""
        payloads = self._has_payload.count(1)
        for table, key, want in (
            ("entry", "seq", None),
            ("payload", "seq", payloads),
            ("record_key", "seq", payloads),
            ("erased", "seq", len(self._erased)),
            ("subject_key", "subject", len(self._subjects)),
            ("checkpoint", "size", None),
            ("idempotency", "seq", self._idempotent),
        ):
            if want is not None and not self._first:
                got = self._scanner.value(f"SELECT count(*) FROM {table}")  # noqa: S608 - names above
                if got != want and not (self._scanner.is_live and table == "erased"):
                    self._faults.add(
                        None, table, f"{table} has {got} rows, the entries explain {want}"
                    )
                    if table == "idempotency":
                        self._name_idempotency_rows()
            least, most = (1, self._size + 1) if table == "checkpoint" else (0, self._size)
            what = f"{key}, {self._scanner.id_as_bytes}" if table == "entry" else key
            beyond = self._scanner.rows(
                f"SELECT {what} FROM {table} WHERE {key} < $1 OR {key} >= $2",  # noqa: S608
                least,
                most,
            )
            for at, *named in beyond or []:
                row = f"{table} has a row for {key} {at!r}"
                row += "".join(f" with the id {name!r}" for name in named)
                self._faults.add(None, table, f"{row}, the log has {self._size} entries")
        for level, position in (
            self._scanner.rows("SELECT level, position FROM tile WHERE level < 0 OR position < 0")
            or []
        ):
            self._faults.add(None, "tile", f"there is a tile {level!r}/{position!r}")
