"""Which contests wait for a review: read from the leaves alone, without opening a payload."""

from dataclasses import dataclass

from app.case_events import CONTEST, REVIEW
from audit.rare import RareEntries
from audit.reader import LogReader


@dataclass(frozen=True, slots=True)
class Waiting:
    """One contest without a review."""

    decision: str
    since: str
    due: str
    """The day by which it is to be answered."""


def contest_entries(log: LogReader) -> RareEntries:
    """Return the log's contests and reviews, found as they are needed."""
    return RareEntries(log, (CONTEST, REVIEW))


def open_contests(entries: RareEntries) -> list[Waiting]:
    """Return the contests that nobody has reviewed, the longest waiting first."""
    waiting: dict[str, Waiting] = {}
    for _, leaf in entries.entries():
        decision = leaf.id.rpartition(".")[0]
        if leaf.type == REVIEW:
            waiting.pop(decision, None)
        else:
            waiting[decision] = Waiting(decision, leaf.timestamp, str(leaf.facts["due"]))
    return list(waiting.values())
