"""Which recorded decisions a run goes through: told from the leaves alone, without opening a payload."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from app.errors import InvalidRequestError, UnknownDecisionError
from app.records import RECOMMENDATION
from audit.errors import UnknownRecordError
from audit.leaf import Leaf, format_timestamp, leaf_ending, parse_leaf
from audit.reader import LogReader
from audit.rows import EntryRow

_ENDING = leaf_ending(RECOMMENDATION)
_CHUNK = 1_024


@dataclass(frozen=True, slots=True)
class Selection:
    """Recommendations by place, time and model; everything by default."""

    start: int = 0
    """The first index."""
    stop: int | None = None
    """The first index that is not wanted any more; None for the log's end."""
    since: str | None = None
    until: str | None = None
    """Moments as leaves have them; ``until`` itself is not wanted any more."""
    model: str | None = None
    version: str | None = None
    digest: str | None = None
    """The bundle's, as ``sha256:...``."""

    def takes(self, leaf: Leaf) -> bool:
        """Return whether a recommendation's leaf is among them."""
        told = leaf.facts.get("model")
        model = told if isinstance(told, dict) else {}
        return (
            (self.since is None or leaf.timestamp >= self.since)
            and (self.until is None or leaf.timestamp < self.until)
            and (self.model is None or model.get("name") == self.model)
            and (self.version is None or model.get("version") == self.version)
            and (self.digest is None or f"sha256:{model.get('sha256')}" == self.digest)
        )

    def body(self) -> dict[str, object]:
        """Return it as a report says it."""
        return asdict(self)


def moment(text: str, *, option: str) -> str:
    """Return a day or a moment as leaves spell it. Raises InvalidRequestError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as err:
        raise InvalidRequestError(
            f"{option}: want a day as 2026-11-23, or a moment as 2026-11-23T10:20:30Z"
        ) from err
    if found.tzinfo is None:
        if len(text) > len("2026-11-23"):
            raise InvalidRequestError(f"{option}: want a time zone, such as Z for UTC")
        found = datetime.fromisoformat(f"{text}T00:00:00+00:00")
    return format_timestamp(found)


def only(log: LogReader, decision: str) -> Selection:
    """Return the selection of one decision. Raises UnknownDecisionError when there is none."""
    try:
        index = log.receipt(decision).index
    except UnknownRecordError as err:
        raise UnknownDecisionError from err
    if not any(recommendations(log, index, index + 1)):
        raise UnknownDecisionError
    return Selection(index, index + 1)


def latest(log: LogReader, selection: Selection, *, count: int) -> Selection:
    """Return a selection, whose ``stop`` is known, narrowed to its latest ``count`` decisions."""
    found = 0
    at = selection.stop or 0
    while at > selection.start and found < count:
        start = max(selection.start, at - _CHUNK)
        for row, leaf in reversed(list(recommendations(log, start, at))):
            found += selection.takes(leaf)
            if found == count:
                return replace(selection, start=row.seq)
        at = start
    return selection


def check_named(log: LogReader, selection: Selection) -> None:
    """Raise InvalidRequestError when a model, version or bundle is named that never advised here."""
    named = replace(selection, start=0, stop=None, since=None, until=None)
    if named == Selection():
        return
    for start in range(0, log.size, _CHUNK):
        if any(named.takes(leaf) for _, leaf in recommendations(log, start, start + _CHUNK)):
            return
    asked = (("--model", named.model), ("--version", named.version), ("--digest", named.digest))
    told = " ".join(f"{option} {value}" for option, value in asked if value is not None)
    raise InvalidRequestError(f"{told}: no decision of this log is by that")


def recommendations(log: LogReader, start: int, stop: int) -> Iterator[tuple[EntryRow, Leaf]]:
    """Yield the recommendations among the entries ``start <= index < stop``."""
    for row in log.entries(start, stop):
        if row.leaf.endswith(_ENDING):
            yield row, parse_leaf(row.leaf)
